"""What was sent on the streams of legacy clients, for those that lose a stream and resume it (T-54, T-58).

A GET with ``Last-Event-ID`` continues exactly the stream of that event, after it, and no other. The records are in the
memory of the process that answers the request, bounded in number, size and time; another process that gets the GET asks
that one. Knows nothing of what is in an event.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Final

import msgspec
from msgspec import Struct

from metamcp_asgi.bus.protocol import Bus, CallFailed, OwnerLost
from metamcp_asgi.downstream.sessions import ClientSession
from metamcp_asgi.timers import Delay, Delayed

__all__ = ["MAX_BYTES", "SECONDS", "Record", "Records"]

SECONDS: Final = 300.0
"""How long a stream that has come to its end can still be resumed."""
MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes of all events that are kept in this process; the oldest go first."""

_KIND: Final = "legacy.resume"
_FOUND: Final = b"1"


class _Wanted(Struct, array_like=True):
    session: ClientSession
    event_id: str


class Record:
    """The events of one stream; made by ``Records.begin``."""

    __slots__ = (
        "_follower",
        "_more",
        "_records",
        "done",
        "expiry",
        "id",
        "last",
        "left",
        "opening",
        "session",
        "taken",
    )

    def __init__(self, records: "Records", record_id: str, session: ClientSession) -> None:
        self._records = records
        self.id = record_id
        self.session = session
        self.last = 0
        """The number of the latest event."""
        self._follower: object | None = None
        self._more = asyncio.Event()
        self.done = False
        self.expiry: Delayed | None = None
        self.opening = b"id: %b-0\r\ndata: \r\n\r\n" % record_id.encode()
        """The event with which the stream begins: an id and no data (T-54)."""
        self.taken: Callable[[], None] = _nothing
        """Called when the client resumes the stream elsewhere."""
        self.left: Callable[[], None] = _nothing
        """Called when the stream on which it was resumed ends before it does."""

    @property
    def followed(self) -> bool:
        """Whether the client reads the events on a stream that it has resumed."""
        return self._follower is not None

    def add(self, event: bytes) -> bytes:
        """Keep an event; return it with its id."""
        self.last += 1
        event = b"id: %b-%d\r\n%b" % (self.id.encode(), self.last, event)
        self._records.keep((self.id, self.last), event)
        self._more.set()
        return event

    def end(self) -> None:
        """Note that no further event comes."""
        if not self.done:
            self.done = True
            self._more.set()
            self._records.ended(self)

    def all(self) -> Iterator[tuple[str, int]]:
        """Yield the keys of all its events, of which the oldest may be gone."""
        return ((self.id, number) for number in range(1, self.last + 1))

    def has(self, number: int) -> bool:
        """Tell whether everything after an event is still there."""
        return number == self.last or (self.id, number + 1) in self._records.events

    async def follow(self, number: int) -> AsyncGenerator[bytes, None]:
        """Yield the events after one, to the end of the stream or until somebody else follows it."""
        me = self._follower = object()
        self._more.set()
        self.taken()
        try:
            while self._follower is me:
                while number < self.last:
                    number += 1
                    event = self._records.events.get((self.id, number))
                    if event is None:  # its reader was too slow: better an end than a gap
                        return
                    yield event
                    if self._follower is not me:
                        return
                if self.done:
                    return
                self._more.clear()
                await self._more.wait()
        finally:
            if self._follower is me:
                self._follower = None
                if not self.done:
                    self.left()


class Records:
    """The streams of this process that can be resumed.

    Args:
        bus: Leads to the records of other processes.
        limit: How many events are kept; 0: none, and no stream can be resumed.
    """

    def __init__(self, bus: Bus, limit: int) -> None:
        self._bus = bus
        self._limit = limit
        self._records: dict[str, Record] = {}
        self.events: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        """All events, oldest first, by their record and number."""
        self._size = 0
        self._delay = Delay(SECONDS)
        bus.serve(_KIND, self._asked)

    def begin(self, session: ClientSession) -> Record:
        """Begin the record of a new stream of a session."""
        # The name of the process is in it, and nobody guesses the rest.
        record_id = f"{self._bus.name}-{secrets.token_hex(12)}"
        record = self._records[record_id] = Record(self, record_id, session)
        return record

    def offered(self, session: ClientSession) -> bool:
        """Tell whether the streams of a session can be resumed; older clients cannot parse an event without data."""
        return self._limit > 0 and session.revision >= "2025-11-25"

    def ours(self, event_id: bytes) -> bool:
        """Tell whether an event id looks like one that a gateway of ours has given."""
        owner, _, rest = event_id.decode("latin-1").rpartition("-")[0].rpartition("-")
        return bool(owner) and len(rest) == 24

    async def resume(self, session: ClientSession, event_id: bytes) -> AsyncGenerator[bytes, None] | None:
        """Return the events after one, or ``None`` when they are no longer kept, or are not the session's.

        Raises:
            BusUnavailable: The process that keeps them cannot be reached.
        """
        wanted = event_id.decode("latin-1")
        owner = wanted.rpartition("-")[0].rpartition("-")[0]
        if owner == self._bus.name:
            return self._find(session, wanted)
        if self._bus.alone:
            return None
        frames = self._bus.call(owner, _KIND, msgspec.msgpack.encode(_Wanted(session, wanted)))
        try:
            if await anext(frames, b"") == _FOUND:
                return frames
        except (OwnerLost, CallFailed):
            pass  # and its records with it
        await frames.aclose()
        return None

    def keep(self, key: tuple[str, int], event: bytes) -> None:
        """Keep an event, at the cost of the oldest ones."""
        self.events[key] = event
        self._size += len(event)
        while len(self.events) > self._limit or (self._size > MAX_BYTES and len(self.events) > 1):
            (record_id, number), oldest = self.events.popitem(last=False)
            self._size -= len(oldest)
            record = self._records[record_id]
            if record.done and number == record.last:
                self._forget(record)

    def ended(self, record: Record) -> None:
        """Forget a record after its time, or at once when nothing of it is kept."""
        if (record.id, record.last) in self.events:
            record.expiry = self._delay.call(lambda: self._forget(record))
        else:
            del self._records[record.id]

    def _forget(self, record: Record) -> None:
        del self._records[record.id]
        if record.expiry is not None:
            record.expiry.cancel()
        for key in record.all():
            self._size -= len(self.events.pop(key, b""))

    def _find(self, session: ClientSession, wanted: str) -> AsyncGenerator[bytes, None] | None:
        record_id, _, number = wanted.rpartition("-")
        record = self._records.get(record_id)
        if record is None or record.session != session or not (number.isdigit() and len(number) < 10):
            return None
        return record.follow(int(number)) if record.has(int(number)) else None

    async def _asked(self, message: bytes) -> AsyncIterator[bytes]:
        wanted = msgspec.msgpack.decode(message, type=_Wanted)
        events = self._find(wanted.session, wanted.event_id)
        if events is not None:
            yield _FOUND
            async with aclosing(events):
                async for event in events:
                    yield event


def _nothing() -> None:
    """Do nothing, until somebody wants to know."""
