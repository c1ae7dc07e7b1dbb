"""Client sessions of the legacy era: ids that carry the session themselves (eras.md 3.2).

An idle session costs nothing here, and any process with the same keys knows it. What cannot be sealed is what happens
to a session later: that it was ended, and its log level. These are kept here, and where there are more processes than
this one, also on the bus: a fact that lasts, and an event that tells of it at once.
"""

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from metamcp_asgi.bus.protocol import Bus
from metamcp_asgi.config.snapshot import ANONYMOUS
from metamcp_asgi.metrics.sheet import uncounted
from metamcp_asgi.protocol.capabilities import NOTHING, Capabilities
from metamcp_asgi.protocol.sealed import KeyRing

__all__ = ["LIFETIME", "ClientSession", "ClientSessions"]

LIFETIME: Final = 7 * 24 * 3600
"""Seconds after which a session id is no longer known; a client then starts anew, as it must (T-70)."""
LIFETIME_OF_STRANGERS: Final = 24 * 3600
"""The same for a session that anybody can open."""
MAX_FACTS_OF_STRANGERS: Final = 10_000
"""Facts that the strangers of one endpoint may have kept on the bus at once, and in each of their lifetimes. Of more,
processes are told, and only one that was not there does not know."""
REMEMBERED: Final = 4096
"""How many opened ids, and sixteen times as many ended sessions and log levels, are kept."""

_TOPIC: Final = "legacy:sessions"

V = TypeVar("V")


class ClientSession(Struct, frozen=True, array_like=True):
    """What a session id carries; ``since`` is in seconds since the epoch."""

    sid: bytes
    endpoint: str
    principal: str
    revision: str
    since: int
    capabilities: Capabilities = NOTHING


class _News(Struct, array_like=True):
    """What has become of a session: another log level, or, without one, its end."""

    sid: bytes
    level: str | None


class ClientSessions:
    """Makes, reads and ends session ids.

    Args:
        keys: What seals them.
        bus: Tells other processes.
        opened: Is told of one session more.
    """

    def __init__(self, keys: KeyRing, bus: Bus, opened: Callable[[int], object] = uncounted) -> None:
        self._count = opened
        self._sealer = keys.sealer("s1", ClientSession)
        self._bus = bus
        self._opened: OrderedDict[bytes, ClientSession] = OrderedDict()
        self._ended: OrderedDict[bytes, None] = OrderedDict()
        self._levels: OrderedDict[bytes, str] = OrderedDict()
        self._asked: OrderedDict[bytes, None] = OrderedDict()
        self._when_ended: list[Callable[[bytes], None]] = []
        bus.subscribe(_TOPIC, self._heard)

    def create(self, endpoint: str, principal: str, revision: str, capabilities: Capabilities = NOTHING) -> str:
        """Return a new session id for a principal on an endpoint."""
        now = int(time.time())
        self._count(1)
        return self._sealer.seal(ClientSession(os.urandom(16), endpoint, principal, revision, now, capabilities))

    def when_ended(self, listener: Callable[[bytes], None]) -> None:
        """Have ``listener`` given the ``sid`` of each session that ends, wherever its end was asked for."""
        self._when_ended.append(listener)

    async def find(self, session_id: bytes, endpoint: str, principal: str) -> ClientSession | None:
        """Return the session of an id, or ``None``: unknown, ended, expired and somebody else's look all the same.

        Raises:
            BusUnavailable: Another process may know that it has ended, and cannot be asked.
        """
        session = self._opened.get(session_id)
        if session is None:
            session = self._sealer.open(session_id)
            if session is None:
                return None
            _keep(self._opened, session_id, session, REMEMBERED)
        if (
            session.endpoint != endpoint
            or session.principal != principal
            or _left(session) <= 0
            or session.sid in self._ended
        ):
            return None
        if not self._bus.alone and session.sid not in self._asked:
            await self._ask(session)
            if session.sid in self._ended:
                return None
        return session

    async def end(self, session: ClientSession) -> None:
        """Make a session unknown.

        Raises:
            BusUnavailable: Other processes cannot be told.
        """
        if not self._bus.alone:
            await self._put(session, "ended", b"1")
            await self._bus.publish(_TOPIC, msgspec.msgpack.encode(_News(session.sid, None)))
        self._end(session.sid)

    def level(self, session: ClientSession) -> str | None:
        """Return the log level that the client has set, ``None`` when it never did (LO-02)."""
        return self._levels.get(session.sid)

    async def set_level(self, session: ClientSession, level: str) -> None:
        """Keep the log level of a session.

        Raises:
            BusUnavailable: Other processes cannot be told.
        """
        if not self._bus.alone:
            await self._put(session, "level", level.encode())
            await self._bus.publish(_TOPIC, msgspec.msgpack.encode(_News(session.sid, level)))
        _keep(self._levels, session.sid, level, 16 * REMEMBERED)

    async def _put(self, session: ClientSession, fact: str, value: bytes) -> None:
        if session.principal == ANONYMOUS.id and self._bus.take is not None:
            bucket = ("strangers", MAX_FACTS_OF_STRANGERS, float(LIFETIME_OF_STRANGERS))
            full, _ = await self._bus.take(f"facts {session.endpoint}", [bucket])
            if full >= 0:
                return
        await self._bus.put(_key(session.sid, fact), value, max(1.0, _left(session)))

    async def _ask(self, session: ClientSession) -> None:
        """Learn what other processes were told of a session before this one heard of it."""
        sid = session.sid
        # Noted first: what is published from now on is newer than what is asked for here.
        _keep(self._asked, sid, None, REMEMBERED)
        try:
            ended, level = await asyncio.gather(self._bus.get(_key(sid, "ended")), self._bus.get(_key(sid, "level")))
        except BaseException:
            self._asked.pop(sid, None)
            raise
        if ended is not None:
            self._end(sid)
        elif level is not None and sid not in self._levels:
            _keep(self._levels, sid, level.decode(), 16 * REMEMBERED)

    def _heard(self, event: bytes | None) -> None:
        if event is None:  # some may have been missed, so all is asked for anew
            self._asked.clear()
            self._levels.clear()
            return
        news = msgspec.msgpack.decode(event, type=_News)
        if news.level is None:
            self._end(news.sid)
        else:
            _keep(self._levels, news.sid, news.level, 16 * REMEMBERED)

    def _end(self, sid: bytes) -> None:
        if sid in self._ended:
            return
        _keep(self._ended, sid, None, 16 * REMEMBERED)
        self._levels.pop(sid, None)
        for listener in self._when_ended:
            listener(sid)


def _keep(kept: OrderedDict[bytes, V], key: bytes, value: V, limit: int) -> None:
    kept[key] = value
    if len(kept) > limit:
        kept.popitem(last=False)


def _key(sid: bytes, fact: str) -> str:
    return f"legacy:{sid.hex()}:{fact}"


def _left(session: ClientSession) -> float:
    """Return the seconds that a session can still be used."""
    lifetime = LIFETIME_OF_STRANGERS if session.principal == ANONYMOUS.id else LIFETIME
    return session.since + lifetime - time.time()
