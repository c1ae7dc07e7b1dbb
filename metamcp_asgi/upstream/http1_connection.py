"""One HTTP/1.1 connection to a server, and the response that is being read from it.

Knows how a request is written and how a response is framed (RFC 9112), and every limit on what a server may send.
Does not know how the connection was opened, or who waits for one: the pool does. This is the hottest code of the
product, so it is flat: one parser and one future a request, state in slots, bytes passed on as they came.

A connection is *idle* (nothing may arrive), or *busy* from ``request`` until the response is complete. The response
is given to whoever sent the request when it is complete, or at its head if it is an event stream.
"""

import asyncio
import select
from typing import TYPE_CHECKING, cast

import httptools

from metamcp_asgi.errors import UpstreamError, UpstreamProtocolError, UpstreamUnavailable
from metamcp_asgi.upstream.http1_response import HTTPLimits, Response

if TYPE_CHECKING:
    from metamcp_asgi.upstream.http1_pool import Pool

__all__ = ["Connection"]

_DRAIN_SECONDS = 1.0
_DRAIN_BYTES = 65536


class Connection(asyncio.Protocol):
    """One connection. Made by a pool, which learns when it is free again or gone.

    Args:
        where: ``host:port`` for messages.
        limits: What the server may send.
    """

    __slots__ = (
        "_complete",
        "_drained",
        "_framed",
        "_framing_bytes",
        "_head_bytes",
        "_head_only",
        "_headers",
        "_hint",
        "_keep_alive",
        "_limits",
        "_paused",
        "_pieces",
        "_poll",
        "_response",
        "_size",
        "_stream",
        "_transport",
        "_waiter",
        "closed",
        "deadline",
        "draining",
        "error",
        "keepalive",
        "loop",
        "lost",
        "parser",
        "pool",
        "where",
    )

    def __init__(self, where: str, limits: HTTPLimits) -> None:
        self.where = where
        self.loop = asyncio.get_running_loop()
        self.parser = httptools.HttpResponseParser(self)
        self.pool: Pool | None = None
        self.closed = False
        self.error: UpstreamError | None = None
        self.lost: asyncio.Future[None] | None = None
        self.keepalive = limits.keepalive
        self.deadline = 0.0
        self.draining = False
        self._limits = limits
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._waiter: asyncio.Future[Response] | None = None
        self._response: Response | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._hint = b""
        self._head_only = self._paused = False
        self._begin()

    def _begin(self) -> None:
        self._head_bytes = self._framing_bytes = self._size = self._drained = 0
        self._framed = self._complete = self._keep_alive = self._stream = False

    # --- the pool's and the client's side

    def usable(self) -> bool:
        """Whether a request may be written to this idle connection, as far as anybody can know."""
        transport = self._transport
        return not (
            self.closed
            or transport is None
            or transport.is_closing()
            or self.deadline < self.loop.time()
            # The server's FIN may lie unread in the socket. Asking costs 1 us, not asking costs a failed call.
            or self._poll.poll(0)
        )

    def request(self, data: bytes, body: bytes | None, *, head_only: bool) -> "asyncio.Future[Response]":
        """Write a request, and return the future of its response. Cancelling the future needs ``close`` beside it.

        Args:
            data: The head, and a small body.
            body: A large body, written after it without copying the two together.
            head_only: Whether the request is ``HEAD``.
        """
        transport = self._transport
        assert transport is not None
        self._begin()
        self._headers = []
        self._pieces = []
        self._head_only = head_only
        self._waiter = waiter = self.loop.create_future()
        if body is None:
            transport.write(data)
        else:
            transport.writelines((data, body))
        return waiter

    def close(self) -> None:
        """Close at once. TLS is not shut down in form: nobody waits for what would come."""
        if self.closed:
            return
        self.closed = True
        if self.pool is not None:
            self.pool.forget(self)
        if self._transport is not None:
            self._transport.abort()

    def fail(self, error: UpstreamError) -> None:
        """Close, and tell whoever waits for the response."""
        self.error = error
        waiter, response = self._waiter, self._response
        self._waiter = self._response = None
        self.close()
        if response is not None:
            response.end(error)
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)

    def resume(self) -> None:
        """Read on, if reading was paused."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def drain(self) -> None:
        """Throw away the rest of the response, within limits that the pool's timer and ``on_body`` keep."""
        if not self.draining and self.pool is not None:
            self.draining = True
            self.deadline = self.loop.time() + _DRAIN_SECONDS
            self.resume()
            self.pool.watch(self)

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        if self.closed:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; give the response on when it is complete."""
        if self._waiter is None:
            if not self.closed:
                self.fail(UpstreamProtocolError(f"{self.where} sent data that no request asked for"))
            return
        self._framing_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            cause = error.__context__  # what one of our callbacks raised
            if self._complete:  # The response stands; what follows it nobody asked for.
                self._finish(reusable=False)
            elif isinstance(cause, UpstreamError):
                self.fail(cause)
            elif cause is None:
                self.fail(UpstreamProtocolError(f"{self.where} sent malformed HTTP: {error}"))
            else:
                raise
            return
        if self._complete:
            self._finish(reusable=self._keep_alive)
        elif self._framing_bytes > self._limits.max_header_bytes:
            self.fail(
                UpstreamProtocolError(
                    f"{self.where} sent a head or trailers of more than {self._limits.max_header_bytes} bytes"
                )
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """End the response: as complete when the end of the connection is its end, else as broken off."""
        if self.lost is not None and not self.lost.done():
            self.lost.set_result(None)
        if self._response is not None and not self._framed and exc is None:
            self._finish(reusable=False)
        elif self._waiter is not None:
            state = "before it answered" if self._response is None else "in the middle of its answer"
            happened = "closed the connection" if exc is None else "broke the connection"
            self.fail(UpstreamUnavailable(f"{self.where} {happened} {state}", sent=True))
        else:
            self.close()
        # The parser holds bound methods of this object: without it, reference counting frees both.
        del self.parser

    # --- the parser's side

    def on_message_begin(self) -> None:
        """Refuse a second response to one request."""
        if self._complete:
            raise UpstreamProtocolError(f"{self.where} sent data that no request asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field of the head; trailers are only counted."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self._limits.max_header_bytes:
            raise self._oversized_head()
        if self._response is not None:
            return
        name = name.lower()
        value = value.strip(b" \t")
        self._headers.append((name, value))
        if name == b"content-length":
            self._framed = True
        elif name == b"content-type":
            self._stream = value[:17].lower() == b"text/event-stream" and value[17:18] in b"; \t"
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise UpstreamProtocolError(f"{self.where} sent an unknown transfer encoding")
            self._framed = True
        elif name == b"content-encoding":
            if value.lower() not in (b"identity", b""):
                raise UpstreamProtocolError(f"{self.where} sent a compressed body, which was not asked for")
        elif name == b"keep-alive" and value != self._hint:
            self._hint = value
            self.keepalive = _shortened(self._limits.keepalive, value)

    def on_headers_complete(self) -> None:
        """Decide from the head how the body is to be delivered."""
        status = self.parser.get_status_code()
        if status < 200:
            if status == 101:
                raise UpstreamProtocolError(f"{self.where} switched to another protocol")
            return
        stream = self._stream = self._stream and status == 200 and not self._head_only
        self._response = response = Response(status, self._headers, event_stream=stream, connection=self)
        if self._head_only:
            # The parser doesn't know the request, and would wait for a body: the connection is not used again.
            self._complete = True
        elif status in (204, 304):
            self._framed = True
        if stream and not self._waiter.done():  # type: ignore[union-attr]
            self._waiter.set_result(response)  # type: ignore[union-attr]

    def on_body(self, data: bytes) -> None:
        """Collect or stream a piece of the body."""
        self._framing_bytes = 0
        if self.draining:
            self._drained += len(data)
            if self._drained > _DRAIN_BYTES:
                self.close()
        elif self._stream:
            if self._response.feed(data, self._limits.max_buffered_bytes) and not self._paused:  # type: ignore[union-attr]
                self._paused = True
                self._transport.pause_reading()  # type: ignore[union-attr]
        elif not self._head_only:
            self._size += len(data)
            if self._size > self._limits.max_body_bytes:
                raise UpstreamProtocolError(
                    f"{self.where} sent a body of more than {self._limits.max_body_bytes} bytes"
                )
            if self._response is None:
                raise UpstreamProtocolError(f"{self.where} sent a body with an interim response")
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        """Note the end of the response; what was read with it decides whether the connection is used again."""
        if self._response is None:  # 100, 103: the final response follows
            self._headers = []
            self._framed = self._stream = False
        else:
            self._complete = True
            # Only now: before, the parser doesn't know; afterwards, it has forgotten.
            self._keep_alive = not self._head_only and self.parser.should_keep_alive()

    def _oversized_head(self) -> UpstreamProtocolError:
        return UpstreamProtocolError(
            f"{self.where} sent a head or trailers of more than {self._limits.max_header_bytes} bytes"
        )

    def _finish(self, *, reusable: bool) -> None:
        response, waiter, transport = self._response, self._waiter, self._transport
        assert response is not None
        assert waiter is not None
        assert transport is not None
        self._response = self._waiter = None
        if not response.event_stream:
            pieces = self._pieces
            response.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        response.end(None)
        # The connection is free before anybody wakes: whoever sends next takes this one.
        if reusable and self.pool is not None and not self.closed and transport.get_write_buffer_size() == 0:
            self.draining = False
            self.resume()
            self.pool.release(self)
        else:
            self.close()
        if not waiter.done():
            waiter.set_result(response)


def _shortened(keepalive: float, hint: bytes) -> float:
    # `Keep-Alive: timeout=5`. Ours must run out first, or a request crosses the server's FIN.
    for parameter in hint.split(b","):
        name, _, seconds = parameter.strip().partition(b"=")
        if name.lower() == b"timeout" and seconds.isdigit() and len(seconds) < 10:
            return min(keepalive, max(int(seconds) - 1.0, int(seconds) / 2))
    return keepalive
