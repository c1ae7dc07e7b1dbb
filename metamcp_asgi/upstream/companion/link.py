"""Frames over one connection of a Unix socket: each its length in four bytes and that many bytes.

Both ends run as the same user, or they do not talk; and both say first which version they are, as frames mean the same
only to equal versions. Knows nothing of what is in the frames.
"""

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable
from typing import Final, cast

import msgspec

from metamcp_asgi import __version__
from metamcp_asgi.errors import UpstreamUnavailable

__all__ = ["MAX_FRAME", "Link"]

logger = logging.getLogger("metamcp.companion")

MAX_FRAME: Final = 65 * 1024 * 1024
"""Bytes of one frame: a little more than the largest message that a server may send."""
MAX_WAITING: Final = 4 * MAX_FRAME
"""Bytes that may wait to be read by the other end; one that lets more wait hangs and is given up."""

_HELLO: Final = "metamcp-stdio"
_LENGTH: Final = struct.Struct(">I")
_CREDENTIALS: Final = struct.Struct("=iII")  # pid, uid, gid
_encode: Final = msgspec.msgpack.Encoder().encode


class Link(asyncio.Protocol):
    """One end of a connection.

    Args:
        received: Gets each frame; a ``DecodeError`` that it raises ends the connection.
        ended: Is called once with the reason when the connection is over.
    """

    def __init__(self, received: Callable[[bytes], None], ended: Callable[[str], None]) -> None:
        self.met: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Is done when the other end has said that it speaks as we do; fails with ``UpstreamUnavailable``."""
        self._received = received
        self._ended = ended
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._writable = asyncio.Event()
        self._writable.set()
        self._reason = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See who it is and say who we are."""
        self._transport = cast("asyncio.Transport", transport)
        uid = _uid(transport.get_extra_info("socket"))
        if uid is not None and uid != os.geteuid():
            self.close(f"runs as user {uid}, and not as our user {os.geteuid()}")
            return
        self.send([_HELLO, __version__])

    def data_received(self, data: bytes) -> None:
        """Take what has come, and pass on what is complete."""
        buffer, start = self._buffer, 0
        buffer += data
        while len(buffer) - start >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(buffer, start)
            if size > MAX_FRAME:
                self.close("sent something that is no frame")
                return
            if len(buffer) - start - _LENGTH.size < size:
                break
            start += _LENGTH.size
            with memoryview(buffer) as view:
                frame = bytes(view[start : start + size])
            start += size
            self._take(frame)
            if self._reason:
                return
        del buffer[:start]

    def pause_writing(self) -> None:
        """Note that the other end is slower than we are."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Note that it has caught up."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that it is over."""
        reason = self._reason or "has closed the connection"
        self._transport = None
        self._writable.set()
        if not self.met.done():
            self.met.set_exception(UpstreamUnavailable(reason))
            self.met.exception()  # on the companion's side nobody waits for it
        self._ended(reason)

    def send(self, frame: object) -> None:
        """Send a frame; one that comes after the end of the connection is dropped.

        Raises:
            OverflowError: It is too large.
        """
        transport = self._transport
        if transport is None or self._reason:
            return
        data = _encode(frame)
        if len(data) > MAX_FRAME:
            raise OverflowError(f"a message of {len(data)} bytes is larger than what passes between processes")
        transport.write(_LENGTH.pack(len(data)) + data)
        if transport.get_write_buffer_size() > MAX_WAITING:
            self.close("does not read what it is sent")

    async def drain(self) -> None:
        """Wait until the other end has caught up with what it was sent."""
        await self._writable.wait()

    def close(self, reason: str) -> None:
        """End the connection.

        Args:
            reason: What the other end did, as it goes after its name.
        """
        self._reason = self._reason or reason
        if self._transport is not None:
            self._transport.abort()

    def _take(self, frame: bytes) -> None:
        try:
            if self.met.done():
                self._received(frame)
            else:
                self._meet(frame)
        except msgspec.DecodeError as error:
            self.close(f"sent something that is no frame: {error}")
        except Exception:  # a defect in taking one frame must not end the calls of all others
            logger.exception("A frame could not be taken")

    def _meet(self, frame: bytes) -> None:
        name, version = msgspec.msgpack.decode(frame, type=tuple[str, str])
        if name != _HELLO:
            raise msgspec.DecodeError("it is somebody else's")
        if version != __version__:
            self.close(f"is version {version}, and we are {__version__}; restart what is older")
            return
        self.met.set_result(None)


def _uid(peer: socket.socket) -> int | None:
    """Return whose process is at the other end; ``None`` where the system does not say, and the file's mode decides."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    return cast("int", _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])
