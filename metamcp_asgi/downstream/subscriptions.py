"""The resources that legacy sessions have subscribed to, and where their updates go (eras.md 2.10).

Updates go to the stream that the session keeps open, so the process of that stream holds the subscriptions; a request
that arrives elsewhere is sent there. Which process that is, and what the session has subscribed to, are facts on the
bus: when the stream is opened anew at another process, or its process has died, that one takes them over. Updates
that nobody could be told in between are told then. With one process, none of this touches the bus.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from functools import partial
from typing import Final

import msgspec
from msgspec import Struct

from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.bus.protocol import Bus, CallFailed, OwnerLost
from metamcp_asgi.config.snapshot import Principal
from metamcp_asgi.downstream.sessions import LIFETIME, ClientSession
from metamcp_asgi.downstream.streams import Streams
from metamcp_asgi.protocol.jsonrpc import INTERNAL_ERROR, encode, notification
from metamcp_asgi.protocol.outcome import Failure
from metamcp_asgi.protocol.sse import frame
from metamcp_asgi.timers import Delay, Delayed

__all__ = ["LINGER", "MAX_SUBSCRIPTIONS", "MAX_URI_LENGTH", "Subscriptions"]

LINGER: Final = 300.0
"""Seconds that subscriptions outlast the stream of their session, which may open it again."""
MAX_SUBSCRIPTIONS: Final = 256
"""Resources that one session may subscribe to."""
MAX_URI_LENGTH: Final = 8192
"""Characters of the URI of a resource that a client may subscribe to; it is kept as long as the subscription."""

_ASKED: Final = "legacy.subscribe"
_MOVED: Final = "legacy.moved"


class _Wish(Struct, array_like=True):
    """What a session wants: a resource subscribed to, or no longer."""

    session: ClientSession
    principal: Principal
    uri: str
    wanted: bool


class _Held(Struct, eq=False):
    """The subscriptions of one session; ``ends`` has what ends each, ``missed`` what nobody could be told."""

    session: ClientSession
    ends: dict[str, Callable[[], None]] = {}
    missed: dict[str, None] = {}
    lingering: Delayed | None = None


class Subscriptions:
    """The subscriptions of the sessions whose streams are in this process.

    Args:
        aggregator: Subscribes.
        streams: The open streams.
        bus: Leads to the other processes.
    """

    def __init__(self, aggregator: Aggregator, streams: Streams, bus: Bus) -> None:
        self._aggregator = aggregator
        self._streams = streams
        self._bus = bus
        self._held: dict[bytes, _Held] = {}
        self._linger = Delay(LINGER)
        bus.serve(_ASKED, self._arrived)
        bus.serve(_MOVED, self._moved)

    async def change(self, session: ClientSession, principal: Principal, uri: str, wanted: bool) -> Failure | None:
        """Subscribe a session to a resource, or end that; both are harmless when it is so already.

        Args:
            session: The session.
            principal: Whose it is.
            uri: The resource, as the endpoint publishes it.
            wanted: Whether to subscribe.

        Returns:
            Why it cannot be; ``None`` when it is done.

        Raises:
            BusUnavailable: It is not known where the session's stream is.
        """
        if not self._bus.alone and not self._streams.has(session.sid):
            owner = await self._bus.get(_stream(session.sid))
            if owner is not None and owner.decode() != self._bus.name:
                wish = msgspec.msgpack.encode(_Wish(session, principal, uri, wanted))
                try:
                    async with aclosing(self._bus.call(owner.decode(), _ASKED, wish)) as frames:
                        return msgspec.json.decode(await anext(frames), type=Failure | None)
                except OwnerLost:
                    owner = None  # and the stream with it
                except CallFailed as error:
                    return Failure(INTERNAL_ERROR, str(error))
            if owner is None:
                # Before there is a stream, or when it was lost: whichever process it comes to takes over from this one.
                await self.arrive(session, principal)
        return await self._change(session, principal, uri, wanted)

    async def arrive(self, session: ClientSession, principal: Principal) -> None:
        """Hold what a session has subscribed to, because its stream is to be here, or nowhere for the time being.

        Args:
            session: The session.
            principal: Whose it is.

        Raises:
            BusUnavailable: It is not known what that is.
        """
        if self._bus.alone:
            return
        sid, me = session.sid, self._bus.name
        owner = await self._bus.get(_stream(sid))
        await self._bus.put(_stream(sid), me.encode(), LIFETIME)
        if owner is None or owner.decode() == me:
            return
        with suppress(OwnerLost):  # its stream is gone with it
            await self._bus.tell(owner.decode(), _MOVED, msgspec.msgpack.encode(session))
        uris = await self._bus.get(_uris(sid))
        for uri in msgspec.msgpack.decode(uris, type=list[str]) if uris is not None else ():
            failure = await self._subscribe(session, principal, uri)
            # The session may have ended meanwhile, or gone on to another process.
            if failure is None and (held := self._held.get(sid)) is not None:
                held.missed[uri] = None

    def opened(self, session: ClientSession, put: Callable[[bytes], None]) -> Callable[[], None]:
        """Note that the stream of a session is open.

        Args:
            session: The session.
            put: Takes events for the stream.

        Returns:
            What notes that it is closed.
        """
        held = self._held.get(session.sid)
        if held is not None:
            if held.lingering is not None:
                held.lingering.cancel()
            missed, held.missed = held.missed, {}
            for uri in missed:
                put(_update(uri))
        return partial(self._closed, session.sid)

    def end(self, sid: bytes) -> None:
        """End all subscriptions of a session."""
        held = self._held.pop(sid, None)
        if held is not None:
            if held.lingering is not None:
                held.lingering.cancel()
            for end in held.ends.values():
                end()

    async def _change(self, session: ClientSession, principal: Principal, uri: str, wanted: bool) -> Failure | None:
        failure = None
        if wanted:
            failure = await self._subscribe(session, principal, uri)
        elif (held := self._held.get(session.sid)) is not None and (end := held.ends.pop(uri, None)) is not None:
            end()
            if not held.ends:
                self.end(session.sid)
        if failure is None and not self._bus.alone:
            now = self._held.get(session.sid)
            uris = msgspec.msgpack.encode(list(now.ends) if now is not None else [])
            await self._bus.put(_uris(session.sid), uris, LIFETIME)
        return failure

    async def _subscribe(self, session: ClientSession, principal: Principal, uri: str) -> Failure | None:
        held = self._held.get(session.sid)
        if held is None:
            held = self._held[session.sid] = _Held(session)
            self._closed(session.sid)
        if uri in held.ends:
            return None
        if len(held.ends) >= MAX_SUBSCRIPTIONS:
            return Failure(INTERNAL_ERROR, f"A session may subscribe to {MAX_SUBSCRIPTIONS} resources, not more")
        ended = await self._aggregator.subscribe(session.endpoint, uri, partial(self._updated, held), principal)
        if isinstance(ended, Failure):
            if not held.ends and self._held.get(session.sid) is held:
                self.end(session.sid)
            return ended
        if self._held.get(session.sid) is not held or uri in held.ends:
            ended()  # the session has ended meanwhile, or asked twice at a time
        else:
            held.ends[uri] = ended
        return None

    def _updated(self, held: _Held, uri: str) -> None:
        if not self._streams.put(held.session.sid, _update(uri)) and len(held.missed) < MAX_SUBSCRIPTIONS:
            held.missed[uri] = None

    def _closed(self, sid: bytes) -> None:
        held = self._held.get(sid)
        if held is None or self._streams.has(sid):
            return
        if held.lingering is not None:
            held.lingering.cancel()
        held.lingering = self._linger.call(partial(self.end, sid))

    async def _arrived(self, message: bytes) -> AsyncIterator[bytes]:
        wish = msgspec.msgpack.decode(message, type=_Wish)
        yield encode(await self._change(wish.session, wish.principal, wish.uri, wish.wanted))

    async def _moved(self, message: bytes) -> AsyncIterator[bytes]:
        session = msgspec.msgpack.decode(message, type=ClientSession)
        self._streams.end(session.sid)
        self.end(session.sid)
        return
        yield b""


def _update(uri: str) -> bytes:
    return frame(notification("notifications/resources/updated", encode({"uri": uri})))


def _stream(sid: bytes) -> str:
    return f"legacy:{sid.hex()}:stream"


def _uris(sid: bytes) -> str:
    return f"legacy:{sid.hex()}:uris"
