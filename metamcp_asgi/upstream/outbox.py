"""What waits to be taken by another process: the frames of one call, of which a bounded number may only inform.

A server can log faster than a bus carries. Its answer and its questions are kept, whatever waits; what only informs is
dropped when too much does, as for a client that reads slowly. Knows frames; knows nothing of how they travel.
"""

import asyncio
from typing import Final

import msgspec

from metamcp_asgi.upstream.companion import wire

__all__ = ["MAX_WAITING", "MAX_WAITING_BYTES", "Outbox"]

MAX_WAITING: Final = 256
"""How many frames may wait, before what only informs is dropped."""
MAX_WAITING_BYTES: Final = 4 << 20
"""How large they may be together before; the last one may be larger."""


class Outbox:
    """The frames of one call that wait."""

    __slots__ = ("_frames", "_size")

    def __init__(self) -> None:
        self._frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._size = 0

    def say(self, frame: wire.ToWorker) -> None:
        """Add a frame; drop a log message, progress or an event when too much waits."""
        full = self._frames.qsize() >= MAX_WAITING or self._size >= MAX_WAITING_BYTES
        if full and isinstance(frame, wire.Told):
            return
        data = msgspec.msgpack.encode(frame)
        self._size += len(data)
        self._frames.put_nowait(data)

    def end(self) -> None:
        """Say that nothing follows."""
        self._frames.put_nowait(None)

    async def next(self) -> bytes | None:
        """Wait for the next frame; ``None`` after the last."""
        data = await self._frames.get()
        self._size -= len(data or b"")
        return data
