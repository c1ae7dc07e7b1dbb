"""The requests of legacy clients that are being answered, which ``notifications/cancelled`` may end (CN-02).

A cancellation may reach another process than the request did. Which one that was is not noted anywhere, so that the
many requests that nobody cancels cost nothing on the bus; instead the cancellation is sent to every other process.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from msgspec import Struct

from metamcp_asgi.bus.protocol import Bus
from metamcp_asgi.protocol.jsonrpc import RequestId

__all__ = ["InFlight", "Work"]

_KIND: Final = "legacy.cancelled"


class Work:
    """A request in flight."""

    __slots__ = ("cancelled", "task")

    def __init__(self, task: "asyncio.Task[object]") -> None:
        self.task = task
        self.cancelled = False
        """Whether its client has cancelled it; a task may be cancelled for other reasons, too."""


class _Cancelled(Struct, array_like=True):
    sid: bytes
    request_id: RequestId


class InFlight:
    """The requests in flight in this process.

    Args:
        bus: Leads to the other processes.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._works: dict[tuple[bytes, RequestId], Work] = {}
        bus.serve(_KIND, self._arrived)

    def add(self, sid: bytes, request_id: RequestId, task: "asyncio.Task[object]") -> Work:
        """Note that a task answers a request of a session."""
        self._works[sid, request_id] = work = Work(task)
        return work

    def remove(self, sid: bytes, request_id: RequestId, work: Work) -> None:
        """Forget a request: what is being sent can no longer be cancelled."""
        if self._works.get((sid, request_id)) is work:
            del self._works[sid, request_id]

    async def cancel(self, sid: bytes, request_id: RequestId) -> None:
        """Cancel a request, wherever it is answered; unknown ids are normal: the response may be on its way.

        Raises:
            BusUnavailable: It is not in this process, and others cannot be told.
        """
        if not self._cancel(sid, request_id) and not self._bus.alone:
            await self._bus.tell_all(_KIND, msgspec.msgpack.encode(_Cancelled(sid, request_id)))

    def _cancel(self, sid: bytes, request_id: RequestId) -> bool:
        work = self._works.get((sid, request_id))
        if work is None:
            return False
        work.cancelled = True
        work.task.cancel()
        return True

    async def _arrived(self, message: bytes) -> AsyncIterator[bytes]:
        cancelled = msgspec.msgpack.decode(message, type=_Cancelled)
        self._cancel(cancelled.sid, cancelled.request_id)
        return
        yield b""
