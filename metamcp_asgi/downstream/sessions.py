"""Client sessions of the legacy era: ids that carry the session themselves (eras.md 3.2).

An idle session costs nothing here, and any process with the same keys knows it. What cannot be sealed is that a
session was ended: those are remembered, in this process.
"""

import os
import time
from collections import OrderedDict
from typing import Final

from msgspec import Struct

from metamcp_asgi.protocol.sealed import KeyRing

__all__ = ["ClientSession", "ClientSessions"]

LIFETIME: Final = 7 * 24 * 3600
"""Seconds after which a session id is no longer known; a client then starts anew, as it must (T-70)."""
REMEMBERED: Final = 4096
"""How many opened ids, and sixteen times as many ended sessions, are kept."""


class ClientSession(Struct, frozen=True, array_like=True):
    """What a session id carries; ``since`` is in seconds since the epoch."""

    sid: bytes
    endpoint: str
    principal: str
    revision: str
    since: int


class ClientSessions:
    """Makes, reads and ends session ids.

    Args:
        keys: What seals them.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._sealer = keys.sealer("s1", ClientSession)
        self._opened: OrderedDict[bytes, ClientSession] = OrderedDict()
        self._ended: OrderedDict[bytes, None] = OrderedDict()

    def create(self, endpoint: str, principal: str, revision: str) -> str:
        """Return a new session id for a principal on an endpoint."""
        return self._sealer.seal(ClientSession(os.urandom(16), endpoint, principal, revision, int(time.time())))

    def find(self, session_id: bytes, endpoint: str, principal: str) -> ClientSession | None:
        """Return the session of an id, or ``None``: unknown, ended, expired and somebody else's look all the same."""
        session = self._opened.get(session_id)
        if session is None:
            session = self._sealer.open(session_id)
            if session is None:
                return None
            self._opened[session_id] = session
            if len(self._opened) > REMEMBERED:
                self._opened.popitem(last=False)
        if (
            session.endpoint != endpoint
            or session.principal != principal
            or session.sid in self._ended
            or session.since + LIFETIME < time.time()
        ):
            return None
        return session

    def end(self, session: ClientSession) -> None:
        """Make a session unknown."""
        self._ended[session.sid] = None
        if len(self._ended) > 16 * REMEMBERED:
            self._ended.popitem(last=False)
