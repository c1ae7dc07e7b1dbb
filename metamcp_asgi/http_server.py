"""uvicorn's HTTP/1.1 protocol with bounds on the head of a request, which it has none of its own for.

Without them one connection could fill the memory with headers before any layer sees the request, or hold a
connection open for ever with half a head. Used by ``metamcp serve``; behind other servers that is the server's or
nginx's matter.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HEAD_SECONDS", "bounded"]

HEAD_SECONDS = 30.0
"""How long a client may take for the head of a request, from its first byte."""

_TEXT = b"Request headers are too large."
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_TEXT), _TEXT)
)


def bounded(max_header_bytes: int) -> type[HttpToolsProtocol]:
    """Return a protocol class for ``uvicorn.Config(http=...)``.

    Args:
        max_header_bytes: How much of a request may arrive before its headers are complete.
    """

    class BoundedHTTP(HttpToolsProtocol):
        _head_bytes = 0
        _in_head = True
        _head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
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

        def _stop_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

    return BoundedHTTP
