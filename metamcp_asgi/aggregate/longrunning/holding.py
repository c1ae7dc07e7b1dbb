"""The tasks of ours that this process owns, and the way to those that others own.

A task is found through its owner's name in its id. It is lost with its owner, as the socket or the pipe is on which its
server would tell what became of it; whoever asks then is told that it has failed.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final, Literal

import msgspec
from msgspec import Raw, Struct

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.interaction.wire import Frame
from metamcp_asgi.aggregate.longrunning.held import Held, Work
from metamcp_asgi.aggregate.longrunning.state import Handle, State, ended
from metamcp_asgi.bus.protocol import Bus, CallFailed, OwnerLost
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol.outcome import Failure, internal
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.request import Answer

__all__ = ["Holding", "Unknown"]

DEFAULT_TTL: Final = 3_600_000
"""Milliseconds for which a task is kept from its beginning on, ended or not, where its client wants no other time."""
LEAST_TTL, MOST_TTL = 60_000, 3_600_000
MAX_PER_PRINCIPAL: Final = 32
"""How many tasks of one principal may be kept."""
MAX_OF_STRANGERS: Final = 512
"""The same of all strangers of one endpoint together, who cannot be told apart."""
MAX_HELD: Final = 4096
"""How many tasks this process keeps."""
MAX_BYTES: Final = 256 * 1024 * 1024
"""Bytes of outcomes that this process keeps; those that ended first are forgotten for the sake of new ones."""

_KIND: Final = "task"
_LOST: Final = "The task was lost, because the process that held it has stopped; see what was done, then call again"


class Unknown(Exception):
    """There is no such task, or there is no more."""


class _Wish(Struct, frozen=True, array_like=True):
    """What somebody wants of a task at its owner; ``answers`` are JSON by key, ``failures`` what a client refused."""

    what: Literal["look", "follow", "answer", "settle", "cancel"]
    id: str
    whose: tuple[str, str]
    answers: dict[str, bytes] = {}
    failures: dict[str, tuple[int, str]] = {}


class Holding:
    """The tasks.

    Args:
        bus: Reaches the other processes.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._held: dict[str, Held] = {}
        self._of: Counter[tuple[str, str]] = Counter()
        self._bytes = 0
        self._tasks = Tasks()
        self._closing = False
        bus.serve(_KIND, self._arrived)

    def begin(self, call: Call, work: Work) -> Held | None:
        """Begin a task; ``None`` when there are too many.

        Args:
            call: The call.
            work: Answers it.
        """
        whose = call.endpoint, call.principal.id
        most = MAX_OF_STRANGERS if call.principal.kind == "anonymous" else MAX_PER_PRINCIPAL
        if self._closing or len(self._held) >= MAX_HELD or self._of[whose] >= most:
            return None
        held = Held(call, work, self._ended)
        self._held[held.id] = held
        self._of[whose] += 1
        return held

    def keep(self, held: Held, server: str, wanted: int | None) -> Handle:
        """Keep a task that its client is going to know; return what its id says.

        Args:
            held: The task.
            server: The name of the server that its call is for.
            wanted: The milliseconds for which the client wants it kept; a client may get less or more.
        """
        ttl = min(max(wanted or DEFAULT_TTL, LEAST_TTL), MOST_TTL)
        held.expiry = asyncio.get_running_loop().call_later(ttl / 1000, self._expire, held)
        return Handle(*held.whose, server, held.id, self._bus.name, held.created, ttl)

    async def drop(self, held: Held) -> None:
        """End a task of which no client will know, and forget it."""
        self._forget(held)
        await held.aclose()

    async def look(self, handle: Handle) -> State:
        """Return how a task is.

        Raises:
            Unknown: There is no such task.
            BusUnavailable: Its owner cannot be reached.
        """
        async with aclosing(self._at_owner(handle, "look")) as states:
            async for state in states:
                return state
        raise Unknown

    def follow(self, handle: Handle) -> AsyncGenerator[State, None]:
        """Yield how a task is, and again whenever that has changed, until it is over; raises as ``look`` does."""
        return self._at_owner(handle, "follow")

    async def cancel(self, handle: Handle) -> State:
        """End a task, if it has not ended; return how it was before. Raises as ``look`` does."""
        async with aclosing(self._at_owner(handle, "cancel")) as states:
            async for state in states:
                return state
        raise Unknown

    async def answer(self, handle: Handle, given: dict[str, Raw]) -> None:
        """Answer what a task asks, as a modern client does.

        Raises:
            ProtocolError: An answer is malformed; then nothing is answered.
            Unknown: There is no such task.
            BusUnavailable: Its owner cannot be reached.
        """
        answers = {key: bytes(value) for key, value in given.items()}
        async with aclosing(self._at_owner(handle, "answer", answers)) as states:
            async for state in states:
                if isinstance(refused := state.outcome(), Failure):
                    raise ProtocolError(refused.code, refused.message)

    async def settle(self, handle: Handle, key: str, answer: Answer) -> None:
        """Answer one question of a task, as a legacy client does; raises as ``look`` does."""
        answers = {} if answer.result is None else {key: bytes(answer.result)}
        failure = answer.failure
        failures = {} if failure is None else {key: (failure.code, failure.message)}
        async with aclosing(self._at_owner(handle, "settle", answers, failures)) as states:
            async for _ in states:
                pass

    async def aclose(self) -> None:
        """End all tasks; their servers are told so."""
        self._closing = True
        await asyncio.gather(*(self.drop(held) for held in list(self._held.values())))
        await self._tasks.aclose()

    async def _at_owner(
        self,
        handle: Handle,
        what: Literal["look", "follow", "answer", "settle", "cancel"],
        answers: dict[str, bytes] = {},  # noqa: B006 - is only read
        failures: dict[str, tuple[int, str]] = {},  # noqa: B006 - is only read
    ) -> AsyncGenerator[State, None]:
        wish = _Wish(what, handle.id, (handle.endpoint, handle.principal), answers, failures)
        if handle.owner == self._bus.name:
            async with aclosing(self._done(wish)) as states:
                async for state in states:
                    yield state
            return
        try:
            async with aclosing(self._bus.call(handle.owner, _KIND, msgspec.msgpack.encode(wish))) as frames:
                async for frame in frames:
                    if not frame:
                        raise Unknown
                    yield msgspec.msgpack.decode(frame, type=State)
        except OwnerLost:
            yield State(handle.created, frame=ended(internal(_LOST)))
        except CallFailed as error:
            yield State(handle.created, frame=ended(internal(str(error))))

    async def _arrived(self, message: bytes) -> AsyncIterator[bytes]:
        try:
            async with aclosing(self._done(msgspec.msgpack.decode(message, type=_Wish))) as states:
                async for state in states:
                    yield msgspec.msgpack.encode(state)
        except Unknown:
            yield b""

    async def _done(self, wish: _Wish) -> AsyncGenerator[State, None]:
        """Do what somebody wants here, and yield how the task is; the owner checks again whose it is (SB-05)."""
        held = self._held.get(wish.id)
        if held is None or held.whose != wish.whose:
            raise Unknown
        if wish.what == "follow":
            async with aclosing(held.states()) as states:
                async for state in states:
                    yield state
            return
        before = held.state()
        if wish.what == "cancel":
            held.cancel()
        elif wish.what == "answer":
            try:
                held.answer({key: Raw(value) for key, value in wish.answers.items()})
            except ProtocolError as error:
                yield State(before.updated, frame=Frame.of(error))
            return
        elif wish.what == "settle":
            for key, value in wish.answers.items():
                held.settle(key, Answer(result=Raw(value)))
            for key, (code, text) in wish.failures.items():
                held.settle(key, Answer(failure=Failure(code, text)))
            return
        yield before

    def _ended(self, held: Held) -> None:
        """Count what is kept of a task that has ended, and make room for it."""
        if held.id not in self._held:
            return
        self._bytes += held.size
        for other in list(self._held.values()):
            if self._bytes <= MAX_BYTES:
                break
            if other is not held and other.size:
                self._forget(other)

    def _expire(self, held: Held) -> None:
        self._forget(held)
        self._tasks.start(held.aclose(), "end a task whose time is over")

    def _forget(self, held: Held) -> None:
        if held.expiry is not None:
            held.expiry.cancel()
        if self._held.pop(held.id, None) is not None:
            self._bytes -= held.size
            self._of[held.whose] -= 1
            if not self._of[held.whose]:
                del self._of[held.whose]
