"""Streams that clients keep open to hear of changes: the GET stream of legacy sessions, and modern ``listen``.

Bounded in number, kept alive by comments, ended by the client's leaving, or its ceasing to read, by a newer stream of
the same session (T-57), by the end of the token that it was opened with, or by ``close`` when the process stops.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Final, Protocol

from starlette.types import Receive, Send

from metamcp_asgi.aggregate.shares import Most, Shares
from metamcp_asgi.config.snapshot import Principal
from metamcp_asgi.downstream.reply import STREAM_HEADERS
from metamcp_asgi.metrics.sheet import uncounted
from metamcp_asgi.protocol.sse import KEEP_ALIVE

__all__ = ["LASTS_SIGNED_IN", "MAX_WAITING", "MAX_WAITING_BYTES", "STALL_SECONDS", "Put", "Streams"]

MAX_WAITING: Final = 256
"""How many events may wait for a client that does not read; more end its stream."""
MAX_WAITING_BYTES: Final = 4 << 20
"""How large what waits may be together; a single event may be larger."""
STALL_SECONDS: Final = 60.0
"""How long a client may read nothing of what is sent."""
GRACE_SECONDS: Final = 1.0
"""How long a client may take to read the end of a stream that is ended from our side."""
LASTS_SIGNED_IN: Final = 60.0
"""Seconds after which a stream of who is signed in ends: who opens the next one is asked whether they still are."""
LASTS: Final = 7 * 86400.0
"""Seconds after which any other stream with a token ends, unless that ends earlier, which ends the stream, too."""
LEAST_SHARE: Final = 16
"""How many streams anybody may have where a quarter of all is less."""

_CHUNK: Final = 64 << 10
"""Bytes that are sent at a time: of what the server's buffers hold, this much is ours to answer for."""


class Put(Protocol):
    """Takes an event's bytes for a stream."""

    def __call__(self, event: bytes, /, *, spare: bool = False) -> None:
        """Send an event; a ``spare`` one is dropped, rather than the stream ended, when too many wait."""

    async def place(self, event: bytes) -> None:
        """Send an event as soon as there is room; do nothing when the stream has ended."""


class Streams:
    """The open streams of this process.

    Args:
        limit: How many may be open; a quarter of them by one principal on one endpoint, and a quarter of that by one
            address of strangers.
        keepalive: Seconds of silence before a comment is sent.
        changed: Is told of one stream more, or of one less.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        limit: int,
        keepalive: float,
        changed: Callable[[int], object] = uncounted,
        clock: Callable[[], float] = time.time,
    ) -> None:
        share = max(limit // 4, LEAST_SHARE)
        self._most = Most(limit, share, share, max(share // 4, LEAST_SHARE))
        self._shares = Shares()
        self._keepalive = keepalive
        self._changed = changed
        self._clock = clock
        self._open: set[_Stream] = set()
        self._by_key: dict[bytes, _Stream] = {}
        self._closing = False

    def full(self, endpoint: str, principal: Principal) -> bool:
        """Tell whether somebody may open no further stream on an endpoint; strangers share what one principal has."""
        return self._closing or self._shares.full(endpoint, principal, self._most)

    @contextmanager
    def reserved(self, endpoint: str, principal: Principal) -> Iterator[None]:
        """Count a stream that is about to be opened, as long as the context lasts."""
        self._shares.take(endpoint, principal)
        try:
            yield
        finally:
            self._shares.give_back(endpoint, principal)

    async def serve(
        self,
        receive: Receive,
        send: Send,
        subscribe: Callable[[Put], Callable[[], None]],
        *,
        whose: tuple[str, Principal],
        key: bytes | None = None,
        first: Sequence[bytes] = (),
        last: bytes = b"",
    ) -> None:
        """Serve one stream until it ends.

        Args:
            receive: The ASGI channel, read only to see the client leave.
            send: The ASGI channel.
            subscribe: Is given what takes an event's bytes; returns what ends the subscription.
            whose: The endpoint, and who listens there.
            key: Streams with the same key replace each other.
            first: Events that come first.
            last: Is sent when the stream is ended from our side.
        """
        stream = _Stream(whose)
        if key is not None:
            self.end(key)
            self._by_key[key] = stream
        unsubscribe = subscribe(stream)
        lasts = LASTS_SIGNED_IN if whose[1].signed_in else math.inf
        try:
            await self._serve(stream, receive, send, b"".join(first), last, lasts)
        finally:
            if key is not None and self._by_key.get(key) is stream:
                del self._by_key[key]
            unsubscribe()

    async def relay(
        self, receive: Receive, send: Send, events: AsyncGenerator[bytes, None], *, whose: tuple[str, Principal]
    ) -> None:
        """Serve one stream of events that exist already or are still to come, until they end.

        Args:
            receive: The ASGI channel, read only to see the client leave.
            send: The ASGI channel.
            events: The events; closed at the end. A client that reads slowly makes them wait.
            whose: The endpoint, and who listens there.
        """
        stream = _Stream(whose)
        pump = asyncio.create_task(stream.take(events), name="relay stream")
        try:
            await self._serve(stream, receive, send, b"", b"")
        finally:
            pump.cancel()
            await asyncio.wait({pump})
        if not pump.cancelled():
            pump.result()

    def put(self, key: bytes, event: bytes) -> bool:
        """Send an event on the stream of a key; tell whether there is one, which has not ended."""
        stream = self._by_key.get(key)
        if stream is None or stream.ended:
            return False
        stream(event)
        return True

    def has(self, key: bytes) -> bool:
        """Tell whether the stream of a key is open."""
        return key in self._by_key

    def keep(self, allowed: Callable[[str, Principal], bool]) -> None:
        """End the streams of those who may no longer listen.

        Args:
            allowed: Tells whether a principal may still use an endpoint.
        """
        for stream in self._open:
            if not allowed(*stream.whose):
                stream.end()

    def close(self) -> None:
        """End all streams; no further one is opened."""
        self._closing = True
        for stream in self._open:
            stream.end()

    def end(self, key: bytes) -> None:
        """End the stream of a key, if there is one."""
        if (stream := self._by_key.get(key)) is not None:
            stream.end()

    async def _serve(
        self, stream: "_Stream", receive: Receive, send: Send, first: bytes, last: bytes, lasts: float = math.inf
    ) -> None:
        if (expires := stream.whose[1].expires) != math.inf:
            lasts = min(lasts, LASTS, expires - self._clock())
        ending = None if lasts == math.inf else asyncio.get_running_loop().call_later(lasts, stream.end)
        self._open.add(stream)
        self._changed(1)
        watch = asyncio.create_task(_until_gone(receive, stream), name="watch client")
        try:
            with self.reserved(*stream.whose):
                async with asyncio.timeout(STALL_SECONDS):
                    await send({"type": "http.response.start", "status": 200, "headers": list(STREAM_HEADERS)})
                # An event at once tells the client, and every proxy between, that the stream is open.
                await stream.say(send, first or KEEP_ALIVE)
                while not stream.ended:
                    await self._send_next(send, stream)
                if not stream.gone:
                    await stream.say(send, (stream.taken() if stream.complete else b"") + last, more=False)
        except TimeoutError:
            # The client does not read. The response stays incomplete, on which the server closes the connection.
            pass
        finally:
            if ending is not None:
                ending.cancel()
            stream.end()
            watch.cancel()
            await asyncio.wait({watch})
            self._open.discard(stream)
            self._changed(-1)

    async def _send_next(self, send: Send, stream: "_Stream") -> None:
        try:
            async with asyncio.timeout(self._keepalive):
                await stream.more.wait()
        except TimeoutError:
            events = KEEP_ALIVE
        else:
            events = stream.taken()
        if events:
            await stream.say(send, events)


class _Stream:
    """One open stream and what waits to be sent on it."""

    __slots__ = ("_fewer", "_hurried", "_limit", "_size", "_waiting", "complete", "ended", "gone", "more", "whose")

    def __init__(self, whose: tuple[str, Principal]) -> None:
        self.whose = whose
        self.more = asyncio.Event()
        self.complete = False
        """Whether it ends because nothing further comes, so that the client is to get what waits."""
        self.ended = False
        self.gone = False
        self._waiting: list[bytes] = []
        self._size = 0
        self._fewer = asyncio.Event()
        self._limit: asyncio.Timeout | None = None
        self._hurried = False

    def __call__(self, event: bytes, /, *, spare: bool = False) -> None:
        if self.ended or (spare and not self._room(event)):
            return
        if self._waiting and (len(self._waiting) >= MAX_WAITING or self._size + len(event) > MAX_WAITING_BYTES):
            self.end()
            return
        self._waiting.append(event)
        self._size += len(event)
        self.more.set()

    async def place(self, event: bytes) -> None:
        """Send an event as soon as there is room; do nothing when the stream has ended."""
        while not (self.ended or self._room(event)):
            self._fewer.clear()
            await self._fewer.wait()
        self(event)

    async def take(self, events: AsyncGenerator[bytes, None]) -> None:
        """Take all events, as fast as the client reads them, and end with them."""
        try:
            async with aclosing(events):
                async for event in events:
                    await self.place(event)
                    if self.ended:
                        return
            self.complete = self.ended = True
            self.more.set()
        finally:
            if not self.complete:
                self.end()

    def taken(self) -> bytes:
        """Return what waits, which from now on does so no more."""
        self.more.clear()
        events, self._waiting, self._size = self._waiting, [], 0
        self._fewer.set()
        return b"".join(events)

    async def say(self, send: Send, body: bytes, *, more: bool = True) -> None:
        """Send a part of the body.

        Raises:
            TimeoutError: The client does not read, or not what remains of a stream that was ended.
        """
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(GRACE_SECONDS if self._hurried else STALL_SECONDS) as self._limit:
                for at in range(0, len(body) or 1, _CHUNK):
                    rest = more or at + _CHUNK < len(body)
                    await send({"type": "http.response.body", "body": body[at : at + _CHUNK], "more_body": rest})
                    if not (self._hurried or self._limit.expired()):
                        self._limit.reschedule(clock() + STALL_SECONDS)
        finally:
            self._limit = None

    def end(self) -> None:
        """End the stream soon, whether its client reads or not."""
        self.ended = True
        self.more.set()
        self._fewer.set()
        if not self._hurried:
            self._hurried = True
            if self._limit is not None and not self._limit.expired():
                self._limit.reschedule(asyncio.get_running_loop().time() + GRACE_SECONDS)

    def _room(self, event: bytes) -> bool:
        waiting = self._waiting
        return not waiting or (len(waiting) < MAX_WAITING // 2 and self._size + len(event) <= MAX_WAITING_BYTES)


async def _until_gone(receive: Receive, stream: _Stream) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.gone = True
    stream.end()
