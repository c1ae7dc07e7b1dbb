"""Who wants to know of changes of which resource; a server is asked once for all of them (eras.md 2.10)."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial

from metamcp_asgi.aggregate.published import Route
from metamcp_asgi.errors import UpstreamError
from metamcp_asgi.protocol.outcome import Failure, internal
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.interface import Server

__all__ = ["Watches"]

logger = logging.getLogger("metamcp")


class Watches:
    """The subscriptions to resources of all endpoints."""

    def __init__(self) -> None:
        self._by_server: dict[Server, set[_Watch]] = {}
        self._tasks = Tasks()

    async def add(self, route: Route, uri: str, listener: Callable[[str], None]) -> Failure | Callable[[], None]:
        """Subscribe to a resource.

        Args:
            route: Where it is.
            uri: Its published URI.
            listener: Gets the published URI of what has changed.

        Returns:
            What ends the subscription, or why there is none.
        """
        watch = _Watch(route, uri, listener)
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
            if (published := watch.published(uri)) is not None:
                watch.listener(published)

    def move(self, servers: Mapping[str, Server]) -> None:
        """Subscribe at the servers that took the place of others; what has no server any more is over.

        Args:
            servers: Those that run now, by name.
        """
        for server in [server for server in self._by_server if servers.get(server.name) is not server]:
            successor = servers.get(server.name)
            for watch in self._by_server.pop(server):
                if successor is not None:
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
        watches.discard(watch)
        if not watches:
            self._by_server.pop(watch.server, None)
        return found


class _Watch:
    """One subscription of one client."""

    __slots__ = ("_route", "listener", "server", "uri")

    def __init__(self, route: Route, uri: str, listener: Callable[[str], None]) -> None:
        self._route = route
        self.server = route.server
        self.uri = uri
        self.listener = listener

    @property
    def key(self) -> str:
        return self._route.key

    def published(self, uri: str) -> str | None:
        """Return the published form of one of the server's URIs, if it is watched."""
        if uri == self.key:
            return self.uri
        if not uri.startswith(self.key if self.key.endswith("/") else f"{self.key}/"):
            return None
        renamed = self._route.renamed
        return uri if renamed is None else renamed.published(uri)


async def _unsubscribe(watch: _Watch) -> None:
    try:
        await watch.server.unsubscribe(watch.key)
    except UpstreamError as error:
        logger.debug("Could not unsubscribe from %s: %s", watch.uri, error)
