"""The resources that legacy sessions have subscribed to, and where their updates go (eras.md 2.10).

Updates go to the stream that the session keeps open, so the process of that stream holds the subscriptions; a request
that arrives elsewhere is sent there. That process has a lease of the session on the bus, with a note of what the
session has subscribed to. When the stream is opened anew at another process, that one seizes the lease and takes them
over, and its number tells which of two streams is the newer one (T-57). Updates that nobody could be told in between
are told then. With one process, none of this touches the bus.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from functools import partial
from typing import Final

import msgspec
from msgspec import Struct

from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.bus.protocol import Bus, BusUnavailable, CallFailed, Lease, OwnerLost
from metamcp_asgi.config.snapshot import Principal
from metamcp_asgi.downstream.sessions import ClientSession
from metamcp_asgi.downstream.streams import Streams
from metamcp_asgi.protocol.jsonrpc import INTERNAL_ERROR, encode, notification
from metamcp_asgi.protocol.outcome import Failure
from metamcp_asgi.protocol.sse import frame
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.timers import Delay, Delayed

__all__ = ["LINGER", "MAX_SUBSCRIPTIONS", "MAX_URI_LENGTH", "Subscriptions"]

LINGER: Final = 300.0
"""Seconds that subscriptions outlast the stream of their session, which may open it again; and the process of it."""
RENEW: Final = LINGER / 3
"""Seconds between two renewals of the leases that this process has."""
ATTEMPTS: Final = 3
"""How often a request is sent after a stream that moves on from process to process."""
MAX_SUBSCRIPTIONS: Final = 256
"""Resources that one session may subscribe to."""
MAX_URI_LENGTH: Final = 8192
"""Characters of the URI of a resource that a client may subscribe to; it is kept as long as the subscription."""

_ASKED: Final = "legacy.subscribe"
_MOVED: Final = "legacy.moved"
_NOT_HERE: Final = b""
"""The answer of a process that no longer has the stream of a session."""


class _Wish(Struct, array_like=True):
    """What a session wants: a resource subscribed to, or no longer."""

    session: ClientSession
    principal: Principal
    uri: str
    wanted: bool


class _Seized(Struct, array_like=True):
    """Tells a process that a session's stream is at another one now, whose lease has this number."""

    sid: bytes
    number: int


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
        self._leases: dict[bytes, Lease] = {}
        self._linger = Delay(LINGER)
        self._tasks = Tasks()
        self._renewing: asyncio.Task[None] | None = None
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
        sid = session.sid
        # A session over HTTP+SSE is its stream, which no other process has ever had.
        if self._bus.alone or (sid not in self._leases and self._streams.has(sid)):
            return await self._change(session, principal, uri, wanted)
        for _ in range(ATTEMPTS):
            if sid not in self._leases:
                owner = await self._bus.holder(_key(sid))
                if owner is not None and owner != self._bus.name:
                    wish = msgspec.msgpack.encode(_Wish(session, principal, uri, wanted))
                    try:
                        async with aclosing(self._bus.call(owner, _ASKED, wish)) as frames:
                            answer = await anext(frames)
                    except OwnerLost:
                        pass  # and the stream with it
                    except CallFailed as error:
                        return Failure(INTERNAL_ERROR, str(error))
                    else:
                        if answer != _NOT_HERE:
                            return msgspec.json.decode(answer, type=Failure | None)
                        continue
                # Before there is a stream, or when it was lost: whichever process it comes to takes over from this one.
                await self.arrive(session, principal)
            failure = await self._change(session, principal, uri, wanted)
            if await self._note(sid):
                self._closed(sid)
                return failure
        return Failure(INTERNAL_ERROR, "The stream of the session is opened again and again; try later")

    async def arrive(self, session: ClientSession, principal: Principal) -> bool:
        """Hold what a session has subscribed to, because its stream is to be here, or nowhere for the time being.

        Args:
            session: The session.
            principal: Whose it is.

        Returns:
            Whether it is still to be here, and at no process that was asked later.

        Raises:
            BusUnavailable: It is not known what that is.
        """
        if self._bus.alone:
            return True
        sid, me = session.sid, self._bus.name
        lease = await self._bus.lease(_key(sid), LINGER, seize=True)
        assert lease is not None, "seized"
        if (mine := self._leases.get(sid)) is None or mine.number < lease.number:
            self._leases[sid] = lease
            if self._renewing is None:
                self._renewing = self._tasks.start(self._renew(), "renew leases of sessions")
        if lease.before is not None and lease.before != me:
            try:
                await self._take_over(session, principal, lease, lease.before)
            except BaseException:
                self._closed(sid)  # there will be no stream here
                raise
        return sid in self._leases

    async def _take_over(self, session: ClientSession, principal: Principal, lease: Lease, before: str) -> None:
        sid = session.sid
        with suppress(OwnerLost):  # its stream is gone with it
            await self._bus.tell(before, _MOVED, msgspec.msgpack.encode(_Seized(sid, lease.number)))
        for uri in msgspec.msgpack.decode(lease.note, type=list[str]) if lease.note else ():
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
        self._drop(sid)
        if (lease := self._leases.pop(sid, None)) is not None:
            self._tasks.start(self._release(lease), "release lease of session")

    async def aclose(self) -> None:
        """End what runs in the background; the leases end with this process."""
        await self._tasks.aclose()

    def _drop(self, sid: bytes) -> None:
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
                self._drop(session.sid)
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
                self._drop(session.sid)
            return ended
        if self._held.get(session.sid) is not held or uri in held.ends:
            ended()  # the session has ended meanwhile, or asked twice at a time
        else:
            held.ends[uri] = ended
        return None

    def _updated(self, held: _Held, uri: str) -> None:
        if not self._streams.put(held.session.sid, _update(uri)) and len(held.missed) < MAX_SUBSCRIPTIONS:
            held.missed[uri] = None

    async def _note(self, sid: bytes) -> bool:
        """Renew the lease of a session, with a note of what it has subscribed to; false when it is at another process.

        Raises:
            BusUnavailable: That is not known.
        """
        lease = self._leases.get(sid)
        if lease is None:
            return False
        held = self._held.get(sid)
        note = msgspec.msgpack.encode(list(held.ends) if held is not None else [])
        if await self._bus.renew(lease, LINGER, note):
            return True
        # Redis has lost it, or somebody has seized it whose word is still on its way.
        again = await self._bus.lease(_key(sid), LINGER)
        if self._leases.get(sid) is not lease:
            return sid in self._leases
        if again is None:
            self._leave(sid)
            return False
        self._leases[sid] = again
        return await self._bus.renew(again, LINGER, note)

    async def _renew(self) -> None:
        while self._leases:
            await asyncio.sleep(RENEW)
            for sid in list(self._leases):
                with suppress(BusUnavailable):  # the next time makes it good
                    await self._note(sid)
        self._renewing = None

    async def _release(self, lease: Lease) -> None:
        with suppress(BusUnavailable):  # it ends with its time
            await self._bus.release(lease)

    def _leave(self, sid: bytes) -> None:
        """Let go of a session whose stream is at another process."""
        self._leases.pop(sid, None)
        self._streams.end(sid)
        self._drop(sid)

    def _closed(self, sid: bytes) -> None:
        if self._streams.has(sid):
            return
        held = self._held.get(sid)
        if held is None:
            self.end(sid)
            return
        if held.lingering is not None:
            held.lingering.cancel()
        held.lingering = self._linger.call(partial(self.end, sid))

    async def _arrived(self, message: bytes) -> AsyncIterator[bytes]:
        wish = msgspec.msgpack.decode(message, type=_Wish)
        sid = wish.session.sid
        if sid not in self._leases:
            yield _NOT_HERE
            return
        failure = await self._change(wish.session, wish.principal, wish.uri, wish.wanted)
        noted = await self._note(sid)
        self._closed(sid)
        yield encode(failure) if noted else _NOT_HERE

    async def _moved(self, message: bytes) -> AsyncIterator[bytes]:
        seized = msgspec.msgpack.decode(message, type=_Seized)
        # This process may have seized it back since.
        if (lease := self._leases.get(seized.sid)) is None or lease.number < seized.number:
            self._leave(seized.sid)
        return
        yield b""


def _update(uri: str) -> bytes:
    return frame(notification("notifications/resources/updated", encode({"uri": uri})))


def _key(sid: bytes) -> str:
    return f"legacy:{sid.hex()}"
