"""One call of a legacy server that waits for a modern client: its open questions, and their answers."""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Final

from msgspec import Raw

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.interaction.questions import answer_of, presented
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, Members, encode
from metamcp_asgi.protocol.outcome import Outcome
from metamcp_asgi.upstream.questions import withdrawal
from metamcp_asgi.upstream.request import Answer, OnLog, OnProgress, Question

__all__ = ["Parked"]

logger = logging.getLogger("metamcp.interaction")

COALESCE: Final = 0.025
"""Seconds that further questions have after the first, so that they are asked together."""
MAX_OPEN: Final = 32
"""How many questions one call may have open."""


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
        self.on_progress: OnProgress | None = None
        self.on_log: OnLog | None = None
        self._admit = admit
        self._open: dict[str, tuple[Question, asyncio.Future[Answer]]] = {}
        self._number = 0
        self._something = asyncio.Event()

    async def ask(self, question: Question) -> Answer:
        """Have a question answered by the client, whenever it comes back."""
        if len(self._open) >= MAX_OPEN or not self._admit(self):
            logger.warning("Too many calls of %s wait for input; %s is not asked", self.call.principal.id, self.server)
            return withdrawal(question.method)
        self._number += 1
        key = f"k{self._number}"
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._open[key] = question, future
        self._something.set()
        try:
            return await future
        finally:
            self._close(key)

    def progress(self, members: Members) -> None:
        """Pass progress on to the client, if it is there."""
        if self.on_progress is not None:
            self.on_progress(members)

    def log(self, members: Members) -> None:
        """Pass a log message on to the client, if it is there."""
        if self.on_log is not None:
            self.on_log(members)

    def asked(self) -> Members:
        """Return the open questions as a client is shown them."""
        shown = {key: presented(question, self.server) for key, (question, _) in self._open.items()}
        return {key: Raw(encode({"method": each.method, "params": each.params})) for key, each in shown.items()}

    def answer(self, given: Members) -> None:
        """Answer what is answered; what is not open is ignored (MR-05).

        Raises:
            ProtocolError: An answer is malformed; then nothing is answered.
        """
        answers: dict[str, Answer] = {}
        for key, value in given.items():
            if key in self._open:
                try:
                    answers[key] = answer_of(self._open[key][0], value)
                except ValueError as error:
                    raise ProtocolError(INVALID_PARAMS, f"inputResponses.{key}: {error}") from None
        for key, answer in answers.items():
            self._settle(key, answer)

    def abandon(self) -> None:
        """Answer all that is open as if the client had cancelled."""
        for key, (question, _) in list(self._open.items()):
            self._settle(key, withdrawal(question.method))

    async def until_asked_or_done(self) -> None:
        """Wait for the outcome, or for a question and those that come right after it."""
        while not self.task.done():
            something = asyncio.ensure_future(self._something.wait())
            try:
                await asyncio.wait((self.task, something), return_when=asyncio.FIRST_COMPLETED)
            finally:
                something.cancel()
            await asyncio.wait({self.task}, timeout=COALESCE)
            if self._open:
                return

    def _settle(self, key: str, answer: Answer) -> None:
        future = self._open[key][1]
        self._close(key)
        if not future.done():
            future.set_result(answer)

    def _close(self, key: str) -> None:
        self._open.pop(key, None)
        if not self._open:
            self._something.clear()
