"""Streams that clients keep open to hear of changes: the GET stream of legacy sessions, and modern ``listen``.

Bounded in number, kept alive by comments, ended by the client's leaving, by a newer stream of the same session
(T-57), or by ``close`` when the process stops.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final, Protocol

from starlette.types import Receive, Send

from metamcp_asgi.config.snapshot import Principal
from metamcp_asgi.downstream.reply import STREAM_HEADERS
from metamcp_asgi.protocol.sse import KEEP_ALIVE

__all__ = ["MAX_WAITING", "Put", "Streams"]

MAX_WAITING: Final = 256
"""How many events may wait for a client that does not read; more end its stream."""


class Put(Protocol):
    """Takes an event's bytes for a stream."""

    def __call__(self, event: bytes, /, *, spare: bool = False) -> None:
        """Send an event; a ``spare`` one is dropped, rather than the stream ended, when too many wait."""


class Streams:
    """The open streams of this process.

    Args:
        limit: How many may be open.
        keepalive: Seconds of silence before a comment is sent.
    """

    def __init__(self, limit: int, keepalive: float) -> None:
        self._limit = limit
        self._keepalive = keepalive
        self._open: set[_Stream] = set()
        self._by_key: dict[bytes, _Stream] = {}
        self._closing = False

    @property
    def full(self) -> bool:
        """Whether no further stream may be opened."""
        return self._closing or len(self._open) >= self._limit

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
        unsubscribe = subscribe(stream.put)
        try:
            await self._serve(stream, receive, send, b"".join(first), last)
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
        """Send an event on the stream of a key; tell whether there is one."""
        stream = self._by_key.get(key)
        if stream is None:
            return False
        stream.put(event)
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

    async def _serve(self, stream: "_Stream", receive: Receive, send: Send, first: bytes, last: bytes) -> None:
        self._open.add(stream)
        watch = asyncio.create_task(_until_gone(receive, stream), name="watch client")
        try:
            await send({"type": "http.response.start", "status": 200, "headers": list(STREAM_HEADERS)})
            # An event at once tells the client, and every proxy between, that the stream is open.
            await _say(send, first or KEEP_ALIVE)
            while not stream.ended:
                await self._send_next(send, stream)
            if not stream.gone:
                rest = b"".join(stream.waiting) if stream.complete else b""
                await send({"type": "http.response.body", "body": rest + last})
        finally:
            watch.cancel()
            await asyncio.wait({watch})
            self._open.discard(stream)

    async def _send_next(self, send: Send, stream: "_Stream") -> None:
        try:
            async with asyncio.timeout(self._keepalive):
                await stream.more.wait()
        except TimeoutError:
            await _say(send, KEEP_ALIVE)
            return
        stream.more.clear()
        events, stream.waiting = stream.waiting, []
        stream.fewer.set()
        if events:
            await _say(send, b"".join(events))


class _Stream:
    """One open stream and what waits to be sent on it."""

    __slots__ = ("complete", "ended", "fewer", "gone", "more", "waiting", "whose")

    def __init__(self, whose: tuple[str, Principal]) -> None:
        self.whose = whose
        self.waiting: list[bytes] = []
        self.more = asyncio.Event()
        self.fewer = asyncio.Event()
        self.complete = False
        """Whether it ends because nothing further comes, so that the client is to get what waits."""
        self.ended = False
        self.gone = False

    def put(self, event: bytes, /, *, spare: bool = False) -> None:
        if spare and len(self.waiting) >= MAX_WAITING // 2:
            return
        self.waiting.append(event)
        self.more.set()
        if len(self.waiting) > MAX_WAITING:
            self.end()

    async def take(self, events: AsyncGenerator[bytes, None]) -> None:
        """Take all events, as fast as the client reads them, and end with them."""
        try:
            async with aclosing(events):
                async for event in events:
                    self.put(event)
                    if len(self.waiting) >= MAX_WAITING // 2:
                        self.fewer.clear()
                        await self.fewer.wait()
            self.complete = True
        finally:
            self.end()

    def end(self) -> None:
        self.ended = True
        self.more.set()


async def _until_gone(receive: Receive, stream: _Stream) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.gone = True
    stream.end()


async def _say(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})
