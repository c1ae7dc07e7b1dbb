"""Who wants to know of changes of which resource; a server is asked once for all of them (eras.md 2.10)."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from metamcp_asgi.aggregate.published import Route
from metamcp_asgi.aggregate.shares import Most, Shares
from metamcp_asgi.config.snapshot import Principal
from metamcp_asgi.errors import UpstreamError
from metamcp_asgi.protocol.jsonrpc import INTERNAL_ERROR
from metamcp_asgi.protocol.outcome import Failure, internal
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.interface import Server

__all__ = ["Watches"]

logger = logging.getLogger("metamcp")

MAX_WATCHES: Final = 65_536
"""Subscriptions of this process, each a few hundred bytes and its URI."""
MAX_OF_SERVER: Final = 16_384
"""Those at one server, which has to look through them at each change."""
MAX_OF_PRINCIPAL: Final = 4096
"""Those of one principal on one endpoint: a key may be that of a whole team."""
MAX_OF_STRANGERS: Final = 4096
"""Those of all strangers of one endpoint."""
MAX_OF_ADDRESS: Final = 512
"""Those of one address among them."""


class Watches:
    """The subscriptions to resources of all endpoints."""

    def __init__(self) -> None:
        self._by_server: dict[Server, set[_Watch]] = {}
        self._shares = Shares()
        self._tasks = Tasks()

    async def add(
        self, endpoint: str, principal: Principal, route: Route, uri: str, listener: Callable[[str], None]
    ) -> Failure | Callable[[], None]:
        """Subscribe to a resource.

        Args:
            endpoint: Where it is published.
            principal: Who wants to know.
            route: Where it is.
            uri: Its published URI.
            listener: Gets that URI when it, or something below it, has changed.

        Returns:
            What ends the subscription, or why there is none.
        """
        most = Most(MAX_WATCHES, MAX_OF_PRINCIPAL, MAX_OF_STRANGERS, MAX_OF_ADDRESS)
        if self._shares.full(endpoint, principal, most):
            return Failure(INTERNAL_ERROR, "Too many resources are subscribed to already; end some subscriptions first")
        if len(self._by_server.get(route.server, ())) >= MAX_OF_SERVER:
            return Failure(INTERNAL_ERROR, f"Server {route.server.name!r} has too many subscriptions; try again later")
        watch = _Watch(endpoint, principal, route, uri, listener)
        self._shares.take(endpoint, principal)
        self._by_server.setdefault(route.server, set()).add(watch)
        try:
            failure = await route.server.subscribe(route.key)
        except UpstreamError as error:
            failure = internal(str(error))
        except asyncio.CancelledError:
            self._discard(watch)
            raise
        if failure is not None:
            self._discard(watch)
            return failure
        return partial(self._end, watch)

    def updated(self, server: Server, uri: str) -> None:
        """Tell whoever watches a resource, or what it is part of, that it has changed."""
        for watch in tuple(self._by_server.get(server, ())):
            if watch.covers(uri):
                watch.listener(watch.uri)

    def keep(self, publishes: Callable[[str, Server], bool]) -> None:
        """End the subscriptions to what is no longer published where they were made.

        Args:
            publishes: Tells whether an endpoint publishes anything of a server.
        """
        for watches in list(self._by_server.values()):
            for watch in tuple(watches):
                if not publishes(watch.endpoint, watch.server):
                    self._end(watch)

    def move(self, servers: Mapping[str, Server]) -> None:
        """Subscribe at the servers that took the place of others; what has no server any more is over.

        Args:
            servers: Those that run now, by name.
        """
        for server in [server for server in self._by_server if servers.get(server.name) is not server]:
            successor = servers.get(server.name)
            for watch in self._by_server.pop(server):
                if successor is None:
                    self._shares.give_back(watch.endpoint, watch.principal)
                else:
                    watch.server = successor
                    self._by_server.setdefault(successor, set()).add(watch)
                    self._tasks.start(self._renew(watch), f"subscribe at {successor.name}")

    async def aclose(self) -> None:
        """End all subscriptions; the servers are stopped after."""
        self._by_server.clear()
        await self._tasks.aclose()

    async def _renew(self, watch: "_Watch") -> None:
        try:
            failure = await watch.server.subscribe(watch.key)
        except UpstreamError as error:
            failure = internal(str(error))
        if failure is not None:
            logger.info("%s is no longer watched at %s: %s", watch.uri, watch.server.name, failure.message)
            self._discard(watch)
        else:
            # What changed with the server is not known.
            watch.listener(watch.uri)

    def _end(self, watch: "_Watch") -> None:
        if self._discard(watch):
            self._tasks.start(_unsubscribe(watch), f"unsubscribe at {watch.server.name}")

    def _discard(self, watch: "_Watch") -> bool:
        watches = self._by_server.get(watch.server, set())
        found = watch in watches
        if found:
            watches.discard(watch)
            self._shares.give_back(watch.endpoint, watch.principal)
        if not watches:
            self._by_server.pop(watch.server, None)
        return found


class _Watch:
    """One subscription of one client."""

    __slots__ = ("endpoint", "key", "listener", "principal", "server", "uri")

    def __init__(
        self, endpoint: str, principal: Principal, route: Route, uri: str, listener: Callable[[str], None]
    ) -> None:
        self.endpoint = endpoint
        self.principal = principal
        self.key = route.key
        self.server = route.server
        self.uri = uri
        self.listener = listener

    def covers(self, uri: str) -> bool:
        """Tell whether a change of one of the server's URIs concerns what is watched.

        What lies below it does, too (RE-06), but is not named: not everybody who may see the one may see the other.
        """
        return uri == self.key or uri.startswith(self.key if self.key.endswith("/") else f"{self.key}/")


async def _unsubscribe(watch: _Watch) -> None:
    try:
        await watch.server.unsubscribe(watch.key)
    except UpstreamError as error:
        logger.debug("Could not unsubscribe from %s: %s", watch.uri, error)
