"""The bus of a gateway that is one process: every call goes straight to its handler.

Knows no other process; a name that is not its own belonged to one that is gone.
"""

import heapq
import logging
import os
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from typing import Final

from metamcp_asgi.bus.handlers import Handlers, check_size, refused
from metamcp_asgi.bus.protocol import BusUnavailable, Handler, Lease, OwnerLost, Take
from metamcp_asgi.errors import MetaMCPError

__all__ = ["MAX_FACTS", "Listeners", "MemoryBus"]

logger = logging.getLogger("metamcp")

MAX_FACTS: Final = 100_000
"""Facts kept at a time. None is dropped before its time, because a claim that is forgotten can be made again."""


class MemoryBus:
    """A ``Bus`` within one process.

    Args:
        clock: Seconds, never going backwards.
        take: What stands for shared buckets; ``None``: this process counts in its own memory.
    """

    alone: bool = True

    def __init__(self, clock: Callable[[], float] = time.monotonic, take: Take | None = None) -> None:
        self.take = take
        self.name = secrets.token_urlsafe(12)
        self._process = os.getpid()
        self._closed = False
        self._handlers = Handlers()
        self._listeners = Listeners()
        self._facts = _Facts(clock)
        self._numbers = 0
        self._leased: dict[str, int] = {}
        """The number of the latest lease of each key."""

    async def start(self) -> None:
        """Take a new name in a process that was forked."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self.name = secrets.token_urlsafe(12)

    async def aclose(self) -> None:
        """Answer nothing more; calls in flight are their callers' own, and end with them."""
        self._closed = True
        await self._handlers.aclose()

    def serve(self, kind: str, handler: Handler) -> None:
        """Answer calls and tells of a kind."""
        self._handlers.serve(kind, handler)

    def call(self, owner: str, kind: str, message: bytes) -> AsyncGenerator[bytes, None]:
        """Yield the frames of this process's own answer."""
        try:
            self._check(owner, message)
        except MetaMCPError as error:
            return refused(error)
        return self._handlers.run(kind, message)

    async def tell(self, owner: str, kind: str, message: bytes) -> None:
        """Start a handler in the background."""
        self._check(owner, message)
        self._handlers.tell(kind, message)

    async def tell_all(self, kind: str, message: bytes) -> None:
        """Do nothing: there is no other process."""
        check_size(message)

    async def publish(self, topic: str, event: bytes) -> None:
        """Tell this process's listeners."""
        check_size(event)
        self._listeners.tell(topic, event)

    def subscribe(self, topic: str, listener: Callable[[bytes | None], None]) -> Callable[[], None]:
        """Have events told, none of which is ever missed."""
        return self._listeners.add(topic, listener)

    async def get(self, key: str) -> bytes | None:
        """Return a fact."""
        return self._facts.get("fact:" + key)

    async def put(self, key: str, value: bytes, seconds: float) -> None:
        """Keep a fact.

        Raises:
            BusUnavailable: There are ``MAX_FACTS`` already.
        """
        check_size(value)
        self._facts.put("fact:" + key, value, seconds)

    async def claim(self, key: str, seconds: float) -> bool:
        """Claim a key; it shares its name with no fact.

        Raises:
            BusUnavailable: There are ``MAX_FACTS`` already.
        """
        if self._facts.get("claim:" + key) is not None:
            return False
        self._facts.put("claim:" + key, b"", seconds)
        return True

    async def lease(self, key: str, seconds: float, *, seize: bool | str = False) -> Lease | None:
        """Take a lease.

        Raises:
            BusUnavailable: There are ``MAX_FACTS`` already.
        """
        note = self._facts.get("lease:" + key)
        if note is not None and seize not in (True, self.name):
            return None
        self._numbers += 1
        self._leased[key] = self._numbers
        self._facts.put("lease:" + key, note or b"", seconds)
        return Lease(key, self._numbers, None if note is None else self.name, note or b"")

    async def renew(self, lease: Lease, seconds: float, note: bytes | None = None) -> bool:
        """Renew a lease."""
        found = self._facts.get("lease:" + lease.key)
        if found is None or self._leased.get(lease.key) != lease.number:
            return False
        self._facts.put("lease:" + lease.key, found if note is None else note, seconds)
        return True

    async def release(self, lease: Lease) -> None:
        """Give a lease up."""
        if self._leased.get(lease.key) == lease.number:
            del self._leased[lease.key]
            self._facts.drop("lease:" + lease.key)

    async def holder(self, key: str) -> str | None:
        """Return this process, if it holds a lease."""
        return None if self._facts.get("lease:" + key) is None else self.name

    def _check(self, owner: str, message: bytes) -> None:
        check_size(message)
        if self._closed or owner != self.name:
            raise OwnerLost("the process that held this is gone")


class Listeners:
    """Who is told what in this process."""

    __slots__ = ("_by_topic",)

    def __init__(self) -> None:
        self._by_topic: dict[str, dict[object, Callable[[bytes | None], None]]] = {}

    def add(self, topic: str, listener: Callable[[bytes | None], None]) -> Callable[[], None]:
        """Add a listener, and return what removes it; calling that twice is harmless."""
        mark = object()
        self._by_topic.setdefault(topic, {})[mark] = listener

        def remove() -> None:
            listeners = self._by_topic.get(topic)
            if listeners is not None and listeners.pop(mark, None) is not None and not listeners:
                del self._by_topic[topic]

        return remove

    def tell(self, topic: str, event: bytes) -> None:
        """Tell the listeners of a topic."""
        for listener in tuple(self._by_topic.get(topic, {}).values()):
            _tell(listener, topic, event)

    def tell_missed(self) -> None:
        """Tell the listeners of every topic that events may have been missed."""
        for topic, listeners in tuple(self._by_topic.items()):
            for listener in tuple(listeners.values()):
                _tell(listener, topic, None)


def _tell(listener: Callable[[bytes | None], None], topic: str, event: bytes | None) -> None:
    try:
        listener(event)
    except Exception:  # one listener's defect is not to keep the event from the others
        logger.exception("A listener to %s failed", topic)


class _Facts:
    """Values with an end."""

    __slots__ = ("_clock", "_ends", "_values")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._values: dict[str, tuple[float, bytes]] = {}
        self._ends: list[tuple[float, str]] = []
        """Soonest first; also the former ends of keys that were put again."""

    def get(self, key: str) -> bytes | None:
        found = self._values.get(key)
        return found[1] if found is not None and found[0] > self._clock() else None

    def drop(self, key: str) -> None:
        self._values.pop(key, None)

    def put(self, key: str, value: bytes, seconds: float) -> None:
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            _, ended = heapq.heappop(self._ends)
            found = self._values.get(ended)
            if found is not None and found[0] <= now:
                del self._values[ended]
        if key not in self._values and len(self._values) >= MAX_FACTS:
            raise BusUnavailable(f"{MAX_FACTS} facts are kept already, and none is over")
        end = now + seconds
        self._values[key] = (end, value)
        heapq.heappush(self._ends, (end, key))
        if len(self._ends) > 2 * MAX_FACTS:
            self._ends = [(end, key) for key, (end, _) in self._values.items()]
            heapq.heapify(self._ends)
