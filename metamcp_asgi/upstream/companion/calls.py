"""One call between two processes: ``Made`` where the client waits, ``Taken`` where the server is.

Used by the companion and its workers, and by workers among themselves (``upstream/owners.py``). Knows nothing of how
frames travel.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from metamcp_asgi.errors import UpstreamUnavailable
from metamcp_asgi.protocol.jsonrpc import INTERNAL_ERROR, Members, encode
from metamcp_asgi.protocol.outcome import Failure
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.companion import wire
from metamcp_asgi.upstream.request import Answer, Question, Request

__all__ = ["Made", "Taken"]

logger = logging.getLogger("metamcp.companion")

_DEFECT: Final = Answer(failure=Failure(INTERNAL_ERROR, "The client could not be asked"))


class Made:
    """A call that this process has made, and the questions in the midst of it.

    Args:
        request: What is told and asked meanwhile; ``None`` for a call that is no request.
        say: Sends an answer to the other process.
        tasks: Answer questions.
    """

    __slots__ = ("_questions", "_request", "_say", "_tasks", "end")

    def __init__(self, request: Request | None, say: Callable[[wire.Answered], object], tasks: Tasks) -> None:
        self.end: asyncio.Future[wire.End] = asyncio.get_running_loop().create_future()
        """What became of it."""
        self._request = request
        self._say = say
        self._tasks = tasks
        self._questions: dict[int, asyncio.Task[None]] = {}

    def received(self, frame: wire.Told | wire.Asks | wire.Withdrawn | wire.Done) -> None:
        """Take what the other process says of the call."""
        request = self._request
        if isinstance(frame, wire.Done):
            if not self.end.done():
                self.end.set_result(frame.end)
        elif isinstance(frame, wire.Asks):
            self._questions[frame.question] = self._tasks.start(self._answer(frame), f"answer {frame.method}")
        elif isinstance(frame, wire.Withdrawn):
            if (task := self._questions.pop(frame.question, None)) is not None:
                task.cancel()
        elif request is None:
            return
        elif frame.what == "event":
            if request.on_event is not None:
                members = wire.members_of(frame.members)
                request.on_event(msgspec.json.decode(members["method"]), members.get("params", UNSET))
        else:
            listener = request.on_progress if frame.what == "progress" else request.on_log
            if listener is not None:
                listener(wire.members_of(frame.members))

    def over(self) -> None:
        """Expect nothing more of it."""
        self.end.cancel()
        for task in self._questions.values():
            task.cancel()

    async def _answer(self, asks: wire.Asks) -> None:
        try:
            if self._request is None or self._request.ask is None:
                raise UpstreamUnavailable("asked in the course of a request that may not ask")
            answer = await self._request.ask(Question(asks.method, Raw(asks.params)))
        except Exception:  # the server waits for an answer, whatever went wrong on our side
            logger.exception("Asking for %s failed", asks.method)
            answer = _DEFECT
        self._questions.pop(asks.question, None)
        self._say(wire.answered(asks.call, asks.question, answer))


class Taken:
    """A call that another process has made, and what its server tells and asks meanwhile.

    Args:
        number: Its number there.
        say: Sends a frame to that process.
    """

    __slots__ = ("_number", "_numbers", "_questions", "_say")

    def __init__(self, number: int, say: Callable[[wire.Told | wire.Asks | wire.Withdrawn], object]) -> None:
        self._number = number
        self._say = say
        self._numbers = itertools.count(1)
        self._questions: dict[int, asyncio.Future[Answer]] = {}

    def request(self, told: wire.Asked) -> Request:
        """Return its request, with what passes back on the way that it came."""
        return wire.request_of(told, self.progress, self.log, self.ask, self.event)

    def progress(self, members: Members) -> None:
        """Pass progress on."""
        self._say(wire.Told(self._number, "progress", wire.packed(members)))

    def log(self, members: Members) -> None:
        """Pass a log message on."""
        self._say(wire.Told(self._number, "log", wire.packed(members)))

    def event(self, method: str, params: Raw | UnsetType) -> None:
        """Pass an event on."""
        told = {"method": encode(method)} if params is UNSET else {"method": encode(method), "params": bytes(params)}
        self._say(wire.Told(self._number, "event", told))

    async def ask(self, question: Question) -> Answer:
        """Have the client there answer a question."""
        number = next(self._numbers)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._questions[number] = answer
        try:
            self._say(wire.Asks(self._number, number, question.method, bytes(question.params)))
            return await answer
        except asyncio.CancelledError:
            self._say(wire.Withdrawn(self._number, number))
            raise
        finally:
            del self._questions[number]

    def answered(self, frame: wire.Answered) -> None:
        """Take the answer to a question; one that was withdrawn meanwhile gets none."""
        answer = self._questions.get(frame.question)
        if answer is not None and not answer.done():
            answer.set_result(wire.answer_of(frame))
