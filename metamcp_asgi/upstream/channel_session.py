"""A session on a channel, in either era: what ``Session`` promises, for stdio and HTTP+SSE."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from metamcp_asgi.protocol.outcome import Failure, Outcome
from metamcp_asgi.upstream.channel import Channel
from metamcp_asgi.upstream.legacy import LegacyLeg
from metamcp_asgi.upstream.listening import Listener, Take
from metamcp_asgi.upstream.logs import Level
from metamcp_asgi.upstream.modern import ModernLeg
from metamcp_asgi.upstream.request import Events, Leg, Peer, Request
from metamcp_asgi.upstream.subscriptions import LegacyWatch

__all__ = ["ChannelSession"]

LISTEN_AGAIN: Final = 1.0
"""Seconds between the end of a listen stream and the next."""


class ChannelSession:
    """A session on a channel.

    Args:
        peer: What the server said of itself.
        channel: The open channel.
        events: Is told what happens on a modern server's listen stream; a legacy one's is the transport's matter.
        aclose: Ends the transport below.
    """

    __slots__ = ("_channel", "_close", "_leg", "_level", "_listener", "_watch", "correlates", "peer")

    def __init__(self, peer: Peer, channel: Channel, events: Events, aclose: Callable[[], Awaitable[None]]) -> None:
        self.peer = peer
        self.correlates = False
        self._channel = channel
        self._close = aclose
        self._level: Level | None = None
        self._listener: Listener | None = None
        self._watch: _Watches
        self._leg: Leg
        if peer.era == "modern":
            self._leg = ModernLeg()
            channel.logs_on_demand = True
            # Streams of one pipe are in order: what comes after an acknowledgement comes on the new one, too.
            self._watch = self._listener = Listener(peer, self._listen, events, (LISTEN_AGAIN,), linger=0.0)
        else:
            self._leg = LegacyLeg()
            self._watch = LegacyWatch(peer, self.send)
            if channel.terms.private:
                channel.level = self._level = Level(peer, self.send)

    @property
    def listening(self) -> bool:
        """Whether the server can tell of changes; see ``Session``."""
        return self._listener is None or self._listener.listening

    async def send(self, request: Request) -> Outcome:
        """Send a request and return its outcome; see ``Session.send``."""
        if self._level is not None and request.log_level is not None and request.on_log is not None:
            await self._level.need(request.log_level)
        return await self._send(request, request.on_event)

    async def watch(self, uris: frozenset[str]) -> Mapping[str, Failure]:
        """Be told of updates of exactly these resources; see ``Session.watch``."""
        return await self._watch.watch(uris)

    def roots_changed(self) -> None:
        """Tell the server that it may ask for other roots; see ``Session.roots_changed``."""
        self._channel.dialogue.roots_changed()

    async def aclose(self) -> None:
        """Stop the transport, then the channel."""
        if self._listener is not None:
            await self._listener.aclose()
        await self._close()
        await self._channel.aclose()

    async def _send(self, request: Request, take: Take | None = None) -> Outcome:
        leg = self._leg
        message = await self._channel.call(request.method, lambda number: leg.params(request, number), request, take)
        return leg.outcome(message, request)

    async def _listen(self, request: Request, take: Take) -> Outcome:
        return await self._send(request, take)


class _Watches(Protocol):
    async def watch(self, uris: frozenset[str]) -> Mapping[str, Failure]: ...
