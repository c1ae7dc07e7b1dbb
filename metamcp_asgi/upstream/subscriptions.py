"""Which resources of one server are watched, by how many; told to whichever session is the main one.

Level-triggered: a session is told what is to be watched and works out by itself what that changes (eras.md 2.10).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from msgspec import Raw

from metamcp_asgi.errors import UpstreamError
from metamcp_asgi.protocol.jsonrpc import METHOD_NOT_FOUND, encode
from metamcp_asgi.protocol.outcome import Failure, Outcome
from metamcp_asgi.upstream.request import Peer, Request, Session

__all__ = ["LegacyWatch", "Subscriptions"]

logger = logging.getLogger("metamcp.upstream")


class Subscriptions:
    """The subscriptions of one server.

    Args:
        session: Returns the main session, waiting for it if need be.
        personal: Whether each user has a grant of their own there. Nothing is watched then: the main session is of none
            of them, and what it hears may be none of their business.
    """

    def __init__(self, session: Callable[[], Awaitable[Session]], *, personal: bool = False) -> None:
        self._session = session
        self._personal = personal
        self._counts: dict[str, int] = {}
        self._watching: Session | None = None
        self._watched: frozenset[str] = frozenset()
        self._missed: frozenset[str] = frozenset()
        self._lock = asyncio.Lock()

    async def add(self, uri: str) -> Failure | None:
        """Count one more subscriber of a resource, and see that it is watched.

        Returns:
            Why it cannot be watched; the subscriber does not count then.

        Raises:
            UpstreamError: The server could not be asked; the subscriber does not count.
        """
        if self._personal:
            return Failure(
                METHOD_NOT_FOUND, "The server is used with a grant of each user, and tells nobody of updates"
            )
        self._counts[uri] = self._counts.get(uri, 0) + 1
        try:
            async with self._lock:
                session = await self._session()
                if session is self._watching and uri in self._watched:
                    return None
                failure = (await self._watch(session)).get(uri)
        except BaseException:
            self._uncount(uri)
            raise
        if failure is not None:
            self._uncount(uri)
        return failure

    async def remove(self, uri: str) -> None:
        """Count one subscriber less; without any left, the resource is no longer watched."""
        if not self._uncount(uri):
            return
        async with self._lock:
            if uri in self._counts or uri not in self._watched or self._watching is None:
                return
            try:
                await self._watch(self._watching)
            except UpstreamError as error:
                # The session is over, and all that it watched with it.
                logger.debug("Could not end the subscription to %s: %s", uri, error)

    async def renew(self, session: Session) -> frozenset[str]:
        """Watch through a new main session what was watched through the last one.

        Returns:
            What was watched before, and is wanted still: changes of it may have been missed.

        Raises:
            UpstreamError: The server could not be asked.
        """
        async with self._lock:
            if self._counts and session is not self._watching:
                await self._watch(session)
            missed, self._missed = self._missed & self._counts.keys(), frozenset()
            return missed

    async def _watch(self, session: Session) -> Mapping[str, Failure]:
        uris = frozenset(self._counts)
        if session is not self._watching:
            self._missed |= self._watched
            self._watching, self._watched = session, frozenset()
        refused = await session.watch(uris)
        self._watched = uris - refused.keys()
        return refused

    def _uncount(self, uri: str) -> bool:
        """Count one less, and return whether it was the last."""
        left = self._counts.get(uri, 0) - 1
        if left > 0:
            self._counts[uri] = left
            return False
        return self._counts.pop(uri, None) is not None


class LegacyWatch:
    """The subscriptions of one legacy session: one request for each (SU-06).

    Args:
        peer: The server.
        send: Sends a request in the session.
    """

    __slots__ = ("_peer", "_send", "watched")

    def __init__(self, peer: Peer, send: Callable[[Request], Awaitable[Outcome]]) -> None:
        self._peer = peer
        self._send = send
        self.watched: frozenset[str] = frozenset()

    async def watch(self, uris: frozenset[str]) -> Mapping[str, Failure]:
        """Watch exactly these; see ``Session.watch``."""
        if not self._peer.subscribable:
            return dict.fromkeys(uris, Failure(METHOD_NOT_FOUND, "The server tells of no updates of its resources"))
        refused = {}
        for uri in sorted(uris - self.watched):
            outcome = await self._ask("resources/subscribe", uri)
            if isinstance(outcome, Failure):
                refused[uri] = outcome
            else:
                self.watched |= {uri}
        for uri in sorted(self.watched - uris):
            self.watched -= {uri}
            await self._ask("resources/unsubscribe", uri)
        return refused

    async def _ask(self, method: str, uri: str) -> Outcome:
        return await self._send(Request(method, {"uri": Raw(encode(uri))}))
