"""Server-Sent Events on bytes: an incremental parser and the frames that we send.

Source: WHATWG HTML, "Server-sent events"; MCP streamable-http.mdx for how messages are framed.
"""

import re
from typing import Final

from msgspec import Struct

from metamcp_asgi.errors import UpstreamProtocolError
from metamcp_asgi.protocol.jsonrpc import single_line

__all__ = ["KEEP_ALIVE", "Event", "Parser", "frame"]

KEEP_ALIVE: Final = b": keep-alive\r\n\r\n"
"""A comment, which every receiver must ignore (T-10, T-34)."""

_LINE_END: Final = re.compile(rb"\r\n?|\n")
_BOM: Final = b"\xef\xbb\xbf"


class Event(Struct):
    """One dispatched event. ``retry`` is in milliseconds and, like ``id``, may come without data."""

    data: bytes
    event: bytes = b"message"
    id: bytes | None = None
    retry: int | None = None


class Parser:
    """Turns the bytes of an event stream into events, wherever the bytes are cut.

    Args:
        max_event_bytes: The largest event that is accepted, as the bytes of its lines.
    """

    __slots__ = ("_after_cr", "_buffer", "_data", "_event", "_first", "_id", "_limit", "_retry", "_scanned", "_size")

    def __init__(self, max_event_bytes: int) -> None:
        self._limit = max_event_bytes
        self._buffer = bytearray()
        self._scanned = 0
        self._after_cr = False
        self._first = True
        self._reset()

    def _reset(self) -> None:
        self._data: list[bytes] = []
        self._size = 0
        self._event = b"message"
        self._id: bytes | None = None
        self._retry: int | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that ``chunk`` completes.

        Events without data are returned only when they carry an id or a retry time, which a resuming
        client must remember (25c/transports "Resumability").

        Raises:
            UpstreamProtocolError: An event is larger than allowed.
        """
        events: list[Event] = []
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[0] == 0x0A:
                chunk = chunk[1:]
        buffer = self._buffer
        buffer += chunk
        start = 0
        while end := _LINE_END.search(buffer, max(start, self._scanned)):
            self._scanned = 0
            line = bytes(buffer[start : end.start()])
            start = end.end()
            # A CR at the very end may be half of a CRLF: the line is complete, a following LF is skipped.
            self._after_cr = start == len(buffer) and buffer[start - 1] == 0x0D
            if self._first:
                self._first = False
                line = line.removeprefix(_BOM)
            if line:
                self._admit(len(line))
                if line[0] != 0x3A:
                    self._size += len(line) + 1
                    self._field(line)
                continue
            if self._data or self._id is not None or self._retry is not None:
                events.append(Event(b"\n".join(self._data), self._event, self._id, self._retry))
            self._reset()
        del buffer[:start]
        self._scanned = len(buffer)
        if buffer:
            self._admit(len(buffer))
        return events

    def _admit(self, line: int) -> None:
        # Comments add nothing: a stream may consist of keep-alives that no blank line divides.
        if self._size + line + 1 > self._limit:
            raise UpstreamProtocolError(f"sent an event of more than {self._limit} bytes")

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value or b"message"
        elif name == b"id" and b"\0" not in value:
            self._id = value
        elif name == b"retry" and value.isdigit():
            self._retry = int(value[:9])


def frame(message: bytes) -> bytes:
    """Return a JSON-RPC message as one ``message`` event."""
    return b"event: message\r\ndata: %b\r\n\r\n" % single_line(message)
