"""One call of a legacy server that waits for a modern client: its open questions, and their answers."""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec import Raw

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.interaction.open_questions import MAX_OPEN, OpenQuestions
from metamcp_asgi.aggregate.interaction.questions import presented
from metamcp_asgi.protocol.jsonrpc import Members, encode
from metamcp_asgi.protocol.outcome import Outcome
from metamcp_asgi.upstream.questions import withdrawal
from metamcp_asgi.upstream.request import Answer, OnLog, OnProgress, Question

__all__ = ["Parked"]

logger = logging.getLogger("metamcp.interaction")

COALESCE: Final = 0.025
"""Seconds that further questions have after the first, so that they are asked together."""
MAX_LOGS: Final = 32
"""How many log messages are kept for a client that is away; the oldest give way."""
MAX_KEPT_BYTES: Final = 8 * 1024
"""How large one that is kept may be."""


class Parked:
    """One call of a server that may ask, and the questions that are open.

    Args:
        call: The call.
        server: The server's name.
        admit: Tells whether it may wait for its client, and counts it from then on.
    """

    def __init__(self, call: Call, server: str, admit: Callable[["Parked"], bool]) -> None:
        self.pid = os.urandom(16)
        self.call = call
        self.server = server
        self.round = 0
        self.running = True
        self.task: asyncio.Future[Outcome]
        self.timer: asyncio.TimerHandle | None = None
        self._on_progress: OnProgress | None = None
        self._on_log: OnLog | None = None
        self._progress: Members | None = None
        self._logs: deque[Members] = deque(maxlen=MAX_LOGS)
        self._admit = admit
        self._questions = OpenQuestions(self._changed)
        self._something = asyncio.Event()

    async def ask(self, question: Question) -> Answer:
        """Have a question answered by the client, whenever it comes back."""
        if len(self._questions) >= MAX_OPEN or not self._admit(self):
            logger.warning("Too many calls of %s wait for input; %s is not asked", self.call.principal.id, self.server)
            return withdrawal(question.method)
        return await self._questions.ask(question)

    def progress(self, members: Members) -> None:
        """Pass progress on to the client, or keep it: the last is what a client that comes back wants to know."""
        if self._on_progress is not None:
            self._on_progress(members)
        elif _small(members):
            self._progress = members

    def log(self, members: Members) -> None:
        """Pass a log message on to the client, or keep it while the client is away."""
        if self._on_log is not None:
            self._on_log(members)
        elif not self.running and _small(members):
            self._logs.append(members)

    def attend(self, on_progress: OnProgress | None, on_log: OnLog | None) -> None:
        """Note that the client is there, and tell it what it has missed.

        Args:
            on_progress: Gets progress from now on; ``None`` when the client wants none.
            on_log: Gets log messages from now on; ``None`` when the client wants none, those that were kept included.
        """
        self._on_progress, self._on_log = on_progress, on_log
        logs, self._logs = self._logs, deque(maxlen=MAX_LOGS)
        for members in logs if on_log is not None else ():
            self.log(members)
        if on_progress is not None and self._progress is not None:
            on_progress(self._progress)
            self._progress = None

    def leave(self) -> None:
        """Note that the client is away."""
        self._on_progress = self._on_log = None

    def asked(self) -> Members:
        """Return the open questions as a client is shown them."""
        shown = {key: presented(question, self.server) for key, question in self._questions.shown().items()}
        return {key: Raw(encode({"method": each.method, "params": each.params})) for key, each in shown.items()}

    def answer(self, given: Members) -> None:
        """Answer what is answered; what is not open is ignored (MR-05).

        Raises:
            ProtocolError: An answer is malformed; then nothing is answered.
        """
        self._questions.answer(given)

    def abandon(self) -> None:
        """Answer all that is open as if the client had cancelled."""
        self._questions.abandon()

    async def until_asked_or_done(self) -> None:
        """Wait for the outcome, or for a question and those that come right after it."""
        while not self.task.done():
            something = asyncio.ensure_future(self._something.wait())
            try:
                await asyncio.wait((self.task, something), return_when=asyncio.FIRST_COMPLETED)
            finally:
                something.cancel()
            await asyncio.wait({self.task}, timeout=COALESCE)
            if self._questions:
                return

    def _changed(self) -> None:
        if self._questions:
            self._something.set()
        else:
            self._something.clear()


def _small(members: Members) -> bool:
    return sum(map(len, members.values())) <= MAX_KEPT_BYTES
