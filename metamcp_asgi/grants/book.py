"""All grants of a process: one object for each server and user that is asked for, and what follows when one changes.

Without a store there is nowhere to keep what a person agrees to; then we can only ask in our own name.
"""

import contextlib
import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final
from weakref import WeakValueDictionary

from metamcp_asgi.bus.protocol import Bus, BusUnavailable
from metamcp_asgi.config.snapshot import GrantSpec, Server
from metamcp_asgi.grants.fetch import GrantError, Outward
from metamcp_asgi.grants.grant import OneGrant
from metamcp_asgi.grants.kept import Kept, Ledger
from metamcp_asgi.grants.registration import Ourselves
from metamcp_asgi.tasks import Tasks

__all__ = ["Book"]

logger = logging.getLogger("metamcp.grants")

TOPIC: Final = "grants"


class Book:
    """What ``upstream.granted.Grants`` promises.

    Args:
        fetch: Sends requests; closed with the book.
        ourselves: How we describe ourselves to authorization servers.
        bus: By which other processes learn of new grants.
        clock: Gives the present time, in seconds since the epoch.
    """

    def __init__(
        self, fetch: Outward, ourselves: Ourselves, bus: Bus, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.ledgers: Callable[[GrantSpec, str | None], Ledger] | None = None
        """Gives where the grants of a server are kept, for a user or for everybody; ``None``: nowhere."""
        self.page: Callable[[str], str] | None = None
        """Gives the page on which a person agrees, by the key of a server's grants."""
        self.changed: Callable[[str], object] | None = None
        """Is told the key of a server with a new grant."""
        self.fetch = fetch
        self.ourselves = ourselves
        self._bus = bus
        self._clock = clock
        self._tasks = Tasks()
        self._grants: WeakValueDictionary[tuple[str, GrantSpec, str | None], OneGrant] = WeakValueDictionary()
        bus.subscribe(TOPIC, self._told)

    def of(self, server: Server, user: str | None = None) -> OneGrant | None:
        """Return the grant for a server; see ``Grants.of``."""
        spec = server.grant
        if spec is None or spec.flow == "none":
            return None
        whose = user if spec.per == "user" else None
        place = (server.url, spec, whose)
        grant = self._grants.get(place)
        if grant is None:
            ledger = Unkept(spec) if self.ledgers is None else self.ledgers(spec, whose)
            page = self.page(spec.key) if self.page is not None and spec.flow == "authorization_code" else None
            grant = OneGrant(server.url, spec, ledger, self.fetch, self.ourselves, page, self._tasks, clock=self._clock)
            self._grants[place] = grant
        return grant

    async def tell(self, key: str) -> None:
        """Have all processes use a new grant, or none any more.

        Args:
            key: The key of the server's grants.
        """
        try:
            await self._bus.publish(TOPIC, key.encode())
        except BusUnavailable:
            # Others look when the token that they have is refused.
            logger.warning("The other processes are not told of a new grant")
            self._told(key.encode())

    def read_again(self) -> None:
        """Read each grant again before its next request, as one of them has changed in the store."""
        self._told(None)

    async def aclose(self) -> None:
        """Stop renewing, and close all connections to authorization servers."""
        await self._tasks.aclose()
        await self.fetch.aclose()

    def _told(self, event: bytes | None) -> None:
        key = None if event is None else event.decode()
        for (_, spec, _), grant in list(self._grants.items()):
            if key is None or spec.key == key:
                grant.forget()
        if key is not None and self.changed is not None:
            self.changed(key)


class Unkept:
    """What ``grant.Ledger`` promises, for tokens that we can ask for again at any time.

    Args:
        spec: How they are got.
    """

    def __init__(self, spec: GrantSpec) -> None:
        self._kept = Kept()
        self._by_person = spec.flow != "client_credentials"

    async def read(self) -> Kept:
        """Return what this process has got last.

        Raises:
            GrantError: It takes a person.
        """
        if self._by_person:
            raise GrantError(
                "is configured with OAuth, for which somebody has to agree; a gateway that serves a file can keep no "
                'tokens: put it into the database (metamcp apply), or use the flow "client_credentials"'
            )
        return self._kept

    async def refreshed(self, kept: Kept) -> None:
        """Keep new tokens while this process lives."""
        self._kept = kept

    def lock(self) -> AbstractAsyncContextManager[object]:
        """Nobody else has these tokens."""
        return contextlib.nullcontext()
