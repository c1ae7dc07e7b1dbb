"""The calls that this process has made to others and waits for.

Decides when an owner counts as lost. Knows the messages of ``wire.py``, and nothing of Redis.
"""

import asyncio
import collections
from collections.abc import Callable, Iterator

from metamcp_asgi.bus.protocol import BusUnavailable, CallFailed, OwnerLost
from metamcp_asgi.bus.wire import WINDOW, End, Part, Pong, weight
from metamcp_asgi.errors import MetaMCPError

__all__ = ["LOST", "Asked", "AskedCalls"]

LOST = "the process that held this is gone"


class Asked:
    """One call: what came of its answer, in order, until somebody takes it.

    Args:
        number: Its number in this process.
        owner: Who answers.
        now: Seconds.
    """

    __slots__ = (
        "_error",
        "_frames",
        "_granted",
        "_index",
        "_parts",
        "_taken",
        "_waiter",
        "ended",
        "heard",
        "number",
        "owner",
        "sent",
    )

    def __init__(self, number: int, owner: str, now: float) -> None:
        self.number = number
        self.owner = owner
        self.heard = now
        """When its owner was last heard of."""
        self.sent = False
        """Whether its owner may know it, and so is asked about it."""
        self.ended = False
        """Whether the owner works on it no more."""
        self._index = 0
        self._parts: list[bytes] = []
        self._frames: collections.deque[tuple[bytes, int]] = collections.deque()
        self._taken = 0
        self._granted = 0
        self._error: MetaMCPError | StopAsyncIteration | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def taken(self) -> int:
        """What was taken of the answer in all, by ``weight``."""
        return self._taken

    def grant(self) -> bool:
        """Tell whether so much was taken since the last time that the owner should know."""
        if self._taken - self._granted < WINDOW // 2:
            return False
        self._granted = self._taken
        return True

    def part(self, part: Part) -> None:
        """Take in a part; one that came before is dropped."""
        if self._next(part.index):
            self._parts.append(part.data)
            if part.more:
                # Room is made at once: the frame is wanted whole, and its size is bounded by its sender.
                self._taken += weight(part.data)
            else:
                frame = part.data if len(self._parts) == 1 else b"".join(self._parts)
                self._parts = []
                self._frames.append((frame, weight(part.data)))
            self._notify()

    def end(self, end: End) -> None:
        """Take in the end."""
        if end.left:
            # Whatever was still on its way will not come.
            self.ended = True
            self.fail(OwnerLost(LOST, sent=True))
        elif self._next(end.index):
            self.ended = True
            if end.failure is not None:
                self.fail(CallFailed(end.failure))
            else:
                self._error = StopAsyncIteration()
                self._notify()

    def pong(self, sent: int | None) -> None:
        """Compare with what the owner has sent; ``None`` when it doesn't know the call."""
        if sent is None or sent > self._index:
            # Redis has lost something, or the owner was asked to stop.
            self.fail(OwnerLost(LOST, sent=True))

    def fail(self, error: MetaMCPError) -> None:
        """Let the call fail, after the frames that came whole."""
        if self._error is None:
            self._error = error
            self._notify()

    async def next(self) -> bytes | None:
        """Wait for a frame and return it, ``None`` at the end.

        Raises:
            OwnerLost: The owner is gone.
            CallFailed: Its handler failed.
            BusUnavailable: Redis was away for too long.
        """
        while not self._frames:
            if isinstance(self._error, StopAsyncIteration):
                return None
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        frame, weighs = self._frames.popleft()
        self._taken += weighs
        return frame

    def _next(self, index: int) -> bool:
        if self._error is not None or index <= self._index:
            return False
        if index > self._index + 1:
            # What is missing failed to be sent, and will come again with what follows; else the pong tells.
            return False
        self._index = index
        return True

    def _notify(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class AskedCalls:
    """All calls of this process to others.

    Args:
        clock: Seconds, never going backwards.
    """

    __slots__ = ("_by_number", "_clock", "_last")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_number: dict[int, Asked] = {}
        self._last = 0

    def add(self, owner: str) -> Asked:
        """Make a call known, before it is sent."""
        self._last += 1
        asked = self._by_number[self._last] = Asked(self._last, owner, self._clock())
        return asked

    def remove(self, asked: Asked) -> None:
        """Forget a call that nobody waits for."""
        del self._by_number[asked.number]

    def part(self, part: Part) -> Asked | None:
        """Take in a part of an answer, and return the call, unless nobody waits for it any more."""
        if (asked := self._by_number.get(part.number)) is not None:
            asked.heard = self._clock()
            asked.part(part)
        return asked

    def end(self, end: End) -> None:
        """Take in the end of an answer."""
        if (asked := self._by_number.get(end.number)) is not None:
            asked.end(end)

    def pong(self, pong: Pong) -> None:
        """Take in that an owner lives, and what it works on."""
        now = self._clock()
        for number, sent in pong.sent.items():
            asked = self._by_number.get(number)
            if asked is not None and asked.owner == pong.owner:
                asked.heard = now
                asked.pong(None if sent < 0 else sent)

    def pings(self) -> Iterator[tuple[str, dict[int, int]]]:
        """Yield, for each owner, what was taken of each of its answers."""
        owners: dict[str, dict[int, int]] = {}
        for asked in self._by_number.values():
            if asked.sent and not asked.ended:
                owners.setdefault(asked.owner, {})[asked.number] = asked.taken
        yield from owners.items()

    def expire(self, silence: float, *, reachable: bool) -> None:
        """Give up the calls whose owner was not heard of.

        Args:
            silence: Seconds.
            reachable: Whether messages of the owners would have come.
        """
        now = self._clock()
        for asked in self._by_number.values():
            if not asked.ended and now - asked.heard > silence:
                asked.fail(OwnerLost(LOST, sent=True) if reachable else BusUnavailable("Redis was away for too long"))

    def forgive(self) -> None:
        """Begin the silence of all owners anew, after this process stood still itself."""
        now = self._clock()
        for asked in self._by_number.values():
            asked.heard = now

    def fail(self, error: MetaMCPError) -> None:
        """Let all calls fail."""
        for asked in self._by_number.values():
            asked.fail(error)
