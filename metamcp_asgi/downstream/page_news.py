"""``notifications/elicitation/complete``: a legacy client hears that its user is through with a page (2025-11-25).

That may be in the middle of the call for which the user was sent there, or long after it. Then it goes to the stream
that the session keeps open, whatever process that is at; a session without one does not hear of it, and asks again.
"""

from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import Final

import msgspec
from msgspec import Struct

from metamcp_asgi.bus.protocol import Bus, BusUnavailable
from metamcp_asgi.downstream.reply import Outlet
from metamcp_asgi.downstream.streams import Streams
from metamcp_asgi.protocol.jsonrpc import encode, notification
from metamcp_asgi.protocol.sse import frame
from metamcp_asgi.tasks import Tasks

__all__ = ["PageNews"]

_TOPIC: Final = "legacy:page"


class _Through(Struct, array_like=True):
    sid: bytes
    elicitation_id: str


class PageNews:
    """Tells sessions of pages.

    Args:
        streams: The open streams.
        bus: Leads to the other processes.
    """

    def __init__(self, streams: Streams, bus: Bus) -> None:
        self._streams = streams
        self._bus = bus
        self._tasks = Tasks()
        bus.subscribe(_TOPIC, self._heard)

    def teller(self, sid: bytes, outlet: Outlet) -> "Teller":
        """Return what tells a session, during one of its calls and after it.

        Args:
            sid: The session.
            outlet: Where its client reads what belongs to the call.
        """
        return Teller(self, sid, outlet)

    def tell(self, sid: bytes, elicitation_id: str) -> None:
        """Tell a session on its own stream."""
        if not self._streams.put(sid, frame(_message(elicitation_id))) and not self._bus.alone:
            self._tasks.start(self._publish(_Through(sid, elicitation_id)), "tell of a page")

    async def aclose(self) -> None:
        """Tell nobody any more."""
        await self._tasks.aclose()

    async def _publish(self, through: _Through) -> None:
        with suppress(BusUnavailable):  # the client finds out when it asks again
            await self._bus.publish(_TOPIC, msgspec.msgpack.encode(through))

    def _heard(self, event: bytes | None) -> None:
        if event is not None:
            through = msgspec.msgpack.decode(event, type=_Through)
            self._streams.put(through.sid, frame(_message(through.elicitation_id)))


class Teller(AbstractContextManager[None]):
    """Called with the ids of pages; a context manager for as long as the call lasts."""

    __slots__ = ("_news", "_outlet", "_sid")

    def __init__(self, news: PageNews, sid: bytes, outlet: Outlet) -> None:
        self._news = news
        self._sid = sid
        self._outlet: Outlet | None = outlet

    def __call__(self, elicitation_id: str) -> None:
        """Tell the client that its user is through."""
        if self._outlet is not None:
            self._outlet.notify(_message(elicitation_id))
        else:
            self._news.tell(self._sid, elicitation_id)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._outlet = None


def _message(elicitation_id: str) -> bytes:
    return notification("notifications/elicitation/complete", encode({"elicitationId": elicitation_id}))
