"""The three pipes of a stdio server as asyncio protocols: batched lines in, complete lines out, the tail of stderr.

Knows bytes and lines (T-90); knows nothing of processes or JSON-RPC. Each tells its owner by a
callback that it was lost.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, cast

from metamcp_asgi.errors import UpstreamUnavailable
from metamcp_asgi.lines.lines import MOST_A_SECOND

__all__ = ["MAX_BUFFERED_BYTES", "ErrorTail", "LineReader", "LineWriter"]

MAX_BUFFERED_BYTES: Final = 64 * 1024 * 1024
"""What is kept for a server that does not read its input, before writes to it fail."""

_BATCH_BYTES: Final = 64 * 1024  # asyncio's high-water mark: more than this is not kept for the end of the loop's turn
_TAIL_LINES: Final = 50
_TAIL_BYTES: Final = 16 * 1024
_TOLD_A_SECOND: Final = MOST_A_SECOND + 1
"""Lines of stderr; the one too many has whoever listens say that there were more."""

_stderr_logger = logging.getLogger("metamcp.upstream.stderr")


class LineWriter(asyncio.BaseProtocol):
    """Our end of the server's stdin.

    Args:
        on_lost: Called once when the pipe is closed, by us or by the server.
    """

    __slots__ = ("_lines", "_on_lost", "_queued", "_transport", "_writable")

    def __init__(self, on_lost: Callable[[], None]) -> None:
        self._on_lost = on_lost
        self._lines: list[bytes] = []
        self._queued = 0
        self._transport: asyncio.WriteTransport | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def write(self, line: bytes) -> None:
        """Queue ``line``; the lines of one turn of the event loop are written together.

        Raises:
            UpstreamUnavailable: The server leaves more than 64 MiB unread; ``line`` was not queued.
        """
        waiting = self._queued if self._writable.is_set() else self._queued + self._buffered
        if waiting and waiting + len(line) > MAX_BUFFERED_BYTES:
            raise UpstreamUnavailable(f"the server does not read its input: {waiting} bytes are waiting for it")
        if b"\n" in line or b"\r" in line:
            # Strings escape these, so what is here is layout that a client chose; it would cut the message (T-90).
            line = line.replace(b"\n", b" ").replace(b"\r", b" ")
        if not self._lines:
            asyncio.get_running_loop().call_soon(self.flush)
        self._lines.append(line)
        self._queued += len(line) + 1
        if self._queued >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is queued."""
        if self._lines and self._transport is not None:
            self._lines.append(b"")
            batch = b"\n".join(self._lines)
            self._lines.clear()
            self._queued = 0
            self._transport.write(batch)

    async def drain(self) -> None:
        """Return once the pipe accepts more, or is lost."""
        if not self._writable.is_set():
            await self._writable.wait()

    def close(self) -> None:
        """Write what is queued, then close."""
        if self._transport is not None and not self._transport.is_closing():
            self.flush()
            self._transport.close()

    def abort(self) -> None:
        """Close and forget what was not read."""
        if self._transport is None:
            return
        # asyncio's abort() reports the loss twice when a close is already under way with nothing left to write.
        if self._buffered:
            self._transport.abort()
        else:
            self._transport.close()

    @property
    def _buffered(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was not written."""
        self._transport = None
        self._lines.clear()
        self._queued = 0
        self._writable.set()
        self._on_lost()

    def pause_writing(self) -> None:
        """Make ``drain`` wait: the server is slower than we are."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let ``drain`` return."""
        self._writable.set()


class LineReader(asyncio.Protocol):
    """Our end of the server's stdout: hands on each complete, non-empty line without its ``\\n`` or ``\\r\\n``.

    Args:
        on_line: Called synchronously; must not raise.
        on_too_long: Called once when a line exceeds ``limit``; nothing is read after that.
        on_lost: Called once when the pipe is closed. A line without its end is dropped then.
        limit: Bytes in a line.
    """

    __slots__ = ("_limit", "_on_lost", "_on_too_long", "_partial", "_partial_bytes", "_transport", "on_line")

    def __init__(
        self,
        on_line: Callable[[bytes], None],
        on_too_long: Callable[[], None],
        on_lost: Callable[[], None],
        limit: int,
    ) -> None:
        self.on_line = on_line
        self._on_too_long = on_too_long
        self._on_lost = on_lost
        self._limit = limit
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Cut ``data`` into lines; the rest waits, uncopied, for its end."""
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._partial:
            lines[0] = b"".join((*self._partial, lines[0]))
            self._partial.clear()
            self._partial_bytes = 0
        limit = self._limit
        on_line = self.on_line
        for line in lines:
            if line.endswith(b"\r"):
                line = line[:-1]
            if len(line) > limit:
                return self._give_up()
            if line:
                on_line(line)
        if rest:
            self._partial.append(rest)
            self._partial_bytes += len(rest)
            if self._partial_bytes > limit:
                self._give_up()
        return None

    def _give_up(self) -> None:
        self._partial.clear()
        assert self._transport is not None
        self._transport.close()
        self._on_too_long()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the line that has no end."""
        self._partial.clear()
        self._on_lost()


class ErrorTail(asyncio.Protocol):
    """Our end of the server's stderr: keeps its end, tells its lines, and logs them at DEBUG (they may hold secrets).

    What is written here is no sign of an error (T-90). A server that writes without end costs next to nothing: of one
    read the last lines are told, no more of them in a second than are kept, and the others are not even looked at.

    Args:
        name: The server's name, for logs.
        on_lost: Is called when it has ended.
        heard: Is told each line that is not blank.
        clock: Seconds, never going backwards.
    """

    __slots__ = ("_clock", "_heard", "_name", "_on_lost", "_rest", "_second", "_tail", "_told")

    def __init__(
        self,
        name: str,
        on_lost: Callable[[], None],
        heard: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._on_lost = on_lost
        self._heard = heard
        self._tail = bytearray()
        self._rest = b""
        self._clock = clock
        self._second = 0
        self._told = 0

    def data_received(self, data: bytes) -> None:
        """Keep the end of ``data``, and tell its lines."""
        tail = self._tail
        tail += data
        if len(tail) > 2 * _TAIL_BYTES:
            # The byte before the tail stays, to tell whether the tail begins with a whole line.
            del tail[: -_TAIL_BYTES - 1]
        whole, _, rest = (self._rest + data).rpartition(b"\n")
        if len(rest) > _TAIL_BYTES:
            whole, rest = b"\n".join((whole, rest)), b""
        self._rest = rest
        if whole:
            self._tell(whole)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner; what was kept stays readable."""
        rest, self._rest = self._rest, b""
        self._tell(rest)
        self._on_lost()

    def _tell(self, lines: bytes) -> None:
        second = int(self._clock())
        if second != self._second:
            self._second, self._told = second, 0
        room = _TOLD_A_SECOND - self._told
        if room <= 0:
            return
        logs = _stderr_logger.isEnabledFor(logging.DEBUG)
        for line in lines.rsplit(b"\n", room)[-room:]:
            if text := line[:_TAIL_BYTES].decode(errors="replace").rstrip():
                self._told += 1
                self._heard(text)
                if logs:
                    _stderr_logger.debug("%s: %s", self._name, text)

    def text(self) -> str:
        """Return the last lines, at most 50 and 16 KiB of them, decoded as UTF-8 with replacement characters."""
        kept = bytes(self._tail)
        if len(kept) > _TAIL_BYTES:
            cut, newline, whole = kept[-_TAIL_BYTES - 1 :].partition(b"\n")
            # A single line longer than everything we keep is shown by its end.
            kept = whole if newline and whole else cut[-_TAIL_BYTES:]
        return "\n".join(kept.decode(errors="replace").splitlines()[-_TAIL_LINES:])
