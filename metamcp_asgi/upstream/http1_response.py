"""A server's answer as the caller sees it, and the limits on what a server may cost.

Knows which part of a body has arrived and who waits for the next. Knows nothing of HTTP's framing: its connection
feeds it.
"""

import asyncio
from typing import TYPE_CHECKING

import msgspec

from metamcp_asgi.errors import UpstreamError, UpstreamUnavailable

if TYPE_CHECKING:
    from metamcp_asgi.upstream.http1_connection import Connection

__all__ = ["HTTPLimits", "Response"]


class HTTPLimits(msgspec.Struct, frozen=True):
    """What a server may cost us. Times in seconds, sizes in bytes.

    ``connect_timeout`` covers name resolution, TCP, TLS and a proxy's tunnel. ``max_connections`` counts per origin;
    further requests wait for a free connection, first come, first served. ``keepalive`` is how long an idle connection
    is kept: 4 s, because uvicorn and Node close it at 5 s; a server's own ``Keep-Alive: timeout`` can only shorten it.
    A head with its trailers has at most ``max_header_bytes``, a body that is collected whole ``max_body_bytes``.
    Of a stream that is not taken, ``max_buffered_bytes`` are held (and what was read with them); then reading pauses.
    """

    connect_timeout: float = 10.0
    max_connections: int = 256
    keepalive: float = 4.0
    max_header_bytes: int = 65536
    max_body_bytes: int = 64 * 1024 * 1024
    max_buffered_bytes: int = 1024 * 1024


class Response:
    """A server's answer.

    Attributes:
        status: The status code, 200 or above.
        headers: Fields in the order they came, names in lower case.
        event_stream: Whether ``chunk`` delivers the body: status 200 and ``Content-Type: text/event-stream``.
        body: The whole body, when not ``event_stream``.
    """

    __slots__ = (
        "_buffered",
        "_connection",
        "_error",
        "_pieces",
        "_waiter",
        "body",
        "event_stream",
        "headers",
        "status",
    )

    def __init__(
        self, status: int, headers: list[tuple[bytes, bytes]], *, event_stream: bool, connection: "Connection"
    ) -> None:
        self.status = status
        self.headers = headers
        self.event_stream = event_stream
        self.body = b""
        self._connection: Connection | None = connection  # None as soon as nothing more can come.
        self._pieces: list[bytes] = []
        self._buffered = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: UpstreamError | None = None

    def header(self, name: bytes) -> bytes | None:
        """Return the value of the first field called ``name`` (lower case), or ``None``."""
        for field, value in self.headers:
            if field == name:
                return value
        return None

    async def chunk(self) -> bytes:
        """Return all of the event stream that has arrived, ``b""`` at its end; suspends only when nothing has.

        May be cancelled (by a time limit, say) and called again; nothing is lost. One caller at a time.

        Raises:
            UpstreamUnavailable: The stream broke off, or was closed from this side.
            UpstreamProtocolError: It is not HTTP any more.
        """
        while not self._pieces:
            connection = self._connection
            if connection is None:
                if self._error is not None:
                    raise self._error
                return b""
            if self._waiter is not None:
                raise RuntimeError("chunk() is already being awaited")
            self._waiter = connection.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._buffered = 0
        if self._connection is not None:
            self._connection.resume()
        return data

    def detach(self) -> None:
        """Need no more of it: what is left is thrown away, and the connection used again if that ends soon.

        Soon is about 1 s and 64 KiB; else the connection is closed. Never blocks.
        """
        if self._connection is not None:
            self._pieces.clear()
            self._connection.drain()

    def close(self) -> None:
        """Close the connection now, if the response is not complete: to the server, this cancels the request."""
        if self._connection is not None:
            connection = self._connection
            connection.fail(UpstreamUnavailable(f"the stream from {connection.where} was closed", sent=True))

    def feed(self, data: bytes, limit: int) -> bool:
        """Take the next piece (the connection's side); return whether more than ``limit`` bytes are held now."""
        self._pieces.append(data)
        self._buffered += len(data)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        return self._buffered > limit

    def end(self, error: UpstreamError | None) -> None:
        """Learn that nothing more comes (the connection's side): the end, or what broke it off."""
        self._connection = None
        self._error = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
