"""uvicorn's HTTP/1.1 protocol, with bounds on the head of a request, and head and body of a response in one write.

Without the bounds one connection could fill the memory with headers before any layer sees the request, or stay open for
ever with half a head. The single write saves a system call for nearly every response. Used by ``metamcp serve``;
behind other servers both are the server's or nginx's matter.
"""

import asyncio
import select
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HEAD_SECONDS", "bounded"]

HEAD_SECONDS = 30.0
"""How long a client may take for the head of a request, from its first byte."""

_TEXT = b"Request headers are too large."
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_TEXT), _TEXT)
)


def bounded(max_header_bytes: int, *, drain_seconds: float = 0.0) -> type[HttpToolsProtocol]:
    """Return a protocol class for ``uvicorn.Config(http=...)``.

    Args:
        max_header_bytes: How much of a request may arrive before its headers are complete.
        drain_seconds: How long a connection without a request stays open when the process is told to stop: a request
            may be on its way there already, and is answered then. For processes of which another takes the new ones.
    """

    class BoundedHTTP(HttpToolsProtocol):
        _head_bytes = 0
        _in_head = True
        _draining = False
        _head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(_Corked(transport, self.loop))  # type: ignore[arg-type]
            self._head_timer = self.loop.call_later(HEAD_SECONDS, transport.close)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._in_head:
                # Only what came before the end of the headers is counted, in whole chunks.
                self._head_bytes += len(data)
                if self._head_bytes > max_header_bytes:
                    self.transport.write(_TOO_LARGE)
                    self.transport.close()
                elif self._head_timer is None and self._head_bytes:
                    self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

        def on_message_begin(self) -> None:
            self._in_head = True
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._in_head = False
            self._head_bytes = 0
            if self._head_timer is not None:
                self._stop_timer()
            super().on_headers_complete()
            if self._draining:
                self.cycle.keep_alive = False

        def shutdown(self) -> None:
            if not drain_seconds:
                super().shutdown()
                return
            self._draining = True
            if self._idle:
                self._linger()
            elif not self.cycle.response_started:
                self.cycle.keep_alive = False
            # Else the head has promised a connection that stays: a request may be on its way once this one is answered.

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self._draining and self._idle:
                self._linger()

        @property
        def _idle(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _linger(self) -> None:
            self._unset_keepalive_if_required()
            self.loop.call_later(drain_seconds, self._close_if_idle)

        def _close_if_idle(self) -> None:
            if not self._idle or self.transport.is_closing():
                return
            # Timers come before what has arrived meanwhile: to close over an unread request would reset the connection.
            unread = select.poll()
            unread.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
            if unread.poll(0):
                self._linger()
            else:
                self.transport.close()

        def _stop_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

    return BoundedHTTP


class _Corked:
    """A transport that holds the head of a response back until its body, or the end of the loop's turn, comes."""

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes) -> None:
        if self._held:
            self._held, data = b"", self._held + data
        elif data.startswith(b"HTTP/1."):
            self._held = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        # Asked for every response; what __getattr__ finds costs an exception each time.
        return self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)
