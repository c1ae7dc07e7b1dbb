"""One task of ours: a call that runs on while its client is away, what it asks, and what became of it.

Knows neither how its client finds it again nor what a client is shown.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final, TypeAlias

import msgspec

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.interaction.open_questions import MAX_OPEN, OpenQuestions
from metamcp_asgi.aggregate.longrunning.state import State, ended
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol.jsonrpc import Members
from metamcp_asgi.protocol.outcome import Failure, Outcome, internal
from metamcp_asgi.upstream.questions import withdrawal
from metamcp_asgi.upstream.request import Answer, Question

__all__ = ["Held", "Work"]

logger = logging.getLogger("metamcp.tasks")

BEGIN_SECONDS: Final = 1.0
"""How long a client waits for its task at the most, while its server has neither made one nor ended the call."""

Work: TypeAlias = Callable[[Call], Awaitable[Outcome]]
"""Answers a call, whose client can be asked while it waits; failures of servers are outcomes, too."""


class Held:
    """One task; runs from the start.

    Args:
        call: The call.
        work: Answers it.
        when_ended: Is called when the call has ended by itself.
    """

    def __init__(self, call: Call, work: Work, when_ended: Callable[["Held"], None]) -> None:
        self.id = os.urandom(16).hex()
        self.whose = call.endpoint, call.principal.id
        self.created = time.time()
        self.expiry: asyncio.TimerHandle | None = None
        self._when_ended = when_ended
        self._updated = self.created
        self._message = ""
        self._frame = b""
        self._cancelled = False
        self._questions = OpenQuestions(self._changed)
        self._begun = asyncio.Event()
        self._change = asyncio.Event()
        kept = msgspec.structs.replace(
            call,
            ask=self._ask if call.capabilities.interactive else None,
            on_progress=self._progress,
            on_log=None,
            log_level=None,
            begun=self._begun.set,
        )
        self._outcome: Outcome | None = None
        self._job = asyncio.ensure_future(self._run(kept, work))

    @property
    def size(self) -> int:
        """The bytes that are kept of the outcome."""
        return len(self._frame)

    async def at_once(self) -> Outcome | None:
        """Return what became of the call if that is known before its server has made a task or asked something."""
        begun = asyncio.ensure_future(self._begun.wait())
        try:
            await asyncio.wait({begun, self._job}, timeout=BEGIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            begun.cancel()
        return None if self._begun.is_set() else self._outcome

    def state(self) -> State:
        """Return how it is now."""
        questions = {key: (each.method, bytes(each.params)) for key, each in self._questions.shown().items()}
        return State(self._updated, self._message, questions, self._frame, self._cancelled)

    async def states(self) -> AsyncGenerator[State, None]:
        """Yield how it is now, and again whenever that has changed, until it is over."""
        while True:
            change, state = self._change, self.state()
            yield state
            if state.over:
                return
            await change.wait()

    def answer(self, given: Members) -> None:
        """Answer open questions as a modern client does.

        Raises:
            ProtocolError: An answer is malformed; then nothing is answered.
        """
        self._questions.answer(given)

    def settle(self, key: str, answer: Answer) -> None:
        """Answer one open question as a legacy client does."""
        self._questions.settle({key: answer})

    def cancel(self) -> None:
        """End it; its server is told so. What has ended stays as it is."""
        if not self._cancelled and not self._frame:
            self._cancelled = True
            self._job.cancel()
            self._changed()

    async def aclose(self) -> None:
        """End it and wait for that."""
        if self.expiry is not None:
            self.expiry.cancel()
        self.cancel()
        await asyncio.wait({self._job})

    async def _run(self, call: Call, work: Work) -> None:
        try:
            outcome = await work(call)
        except asyncio.CancelledError:
            self.cancel()  # whoever cancelled it, nothing more will come of it
            raise
        except ProtocolError as error:
            outcome = Failure(error.code, error.message, error.data)
        except Exception:  # its client waits for an end, whatever went wrong on our side
            logger.exception("The task of %s for %s failed", call.target, call.principal.id)
            outcome = internal("The task failed because of an internal error")
        if not self._cancelled:
            self._outcome, self._frame = outcome, ended(outcome)
            self._changed()
            self._when_ended(self)

    async def _ask(self, question: Question) -> Answer:
        if len(self._questions) >= MAX_OPEN:
            return withdrawal(question.method)
        self._begun.set()
        return await self._questions.ask(question)

    def _progress(self, members: Members) -> None:
        text = members.get("message")
        if text is not None:
            try:
                self._message = msgspec.json.decode(text, type=str)
            except msgspec.ValidationError:
                return
            self._changed()

    def _changed(self) -> None:
        self._updated = time.time()
        self._change.set()
        self._change = asyncio.Event()
