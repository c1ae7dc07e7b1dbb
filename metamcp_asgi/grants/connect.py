"""Connecting a server: what happens when a person is sent to its authorization server, and when they come back.

Knows who may do that by the policy, and nothing of pages: what is shown is made by who calls.
"""

import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from metamcp_asgi.bus.protocol import Bus
from metamcp_asgi.config.servers import docker_internal
from metamcp_asgi.config.snapshot import GrantSpec
from metamcp_asgi.grants import flow, rows
from metamcp_asgi.grants.book import Book
from metamcp_asgi.grants.discovery import Found, discover, issuer
from metamcp_asgi.grants.fetch import GrantError, check_installed
from metamcp_asgi.grants.flow import Pending
from metamcp_asgi.grants.kept import Kept
from metamcp_asgi.grants.registration import Client, client_for, given
from metamcp_asgi.protocol.sealed import KeyRing
from metamcp_asgi.store.grants import spec_of
from metamcp_asgi.store.models import Server
from metamcp_asgi.store.policy import Acting, check_change, may_change
from metamcp_asgi.store.repository import Store
from metamcp_asgi.store.services import servers
from metamcp_asgi.store.transaction import Reader

__all__ = ["Connecting", "Departure"]

PROBE: Final = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


class Departure(Struct, frozen=True):
    """Where a person goes.

    Args:
        url: The page of the authorization server.
        browser: A secret to be kept in their browser until they come back.
    """

    url: str
    browser: str


class Connecting:
    """Gets grants from people, in two steps.

    Args:
        store: Gives the open store.
        book: What is told of new grants, and knows how to ask for them.
        bus: Sees that a state is used once.
        keys: Seal what is remembered.
        transform_localhost: Whether server URLs on ``localhost`` mean the machine that runs our container; then that is
            the URL which a grant is for.
        clock: Gives the present time, in seconds since the epoch.
    """

    def __init__(
        self,
        store: Callable[[], Awaitable[Store]],
        book: Book,
        bus: Bus,
        keys: KeyRing,
        *,
        transform_localhost: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._book = book
        self._bus = bus
        self._states = keys.sealer("n1", Pending)
        self._transform_localhost = transform_localhost
        self._fetch = book.fetch
        self.ourselves = book.ourselves
        self._clock = clock

    async def about(self, acting: Acting, server: uuid.UUID) -> tuple[Server, bool, bool]:
        """Return a server, whether each user has a grant of their own there, and whether somebody may change it.

        Raises:
            NotFound: There is no such server that they may see.
        """
        async with (await self._store()).read() as tx:
            row = await servers.get(tx, acting, server)
        personal = row.oauth is not None and row.oauth["grant"] == "user"
        return row, personal, may_change(acting, row)

    async def look(self, acting: Acting, server: uuid.UUID, *, own: bool = False) -> Found:
        """Return what a server asks for, as ``depart`` would ask for it; raises what that raises."""
        async with (await self._store()).read() as tx:
            place = await self._place(tx, acting, server, own)
            before = await rows.read(tx, server, place.user)
        found = await discover(self._fetch, place.url, await self._challenge(place))
        return replace(found, scope=_scope(place.spec, found, before))

    async def depart(self, acting: Acting, server: uuid.UUID, *, own: bool = False) -> Departure:
        """Send somebody to the authorization server of a server.

        Args:
            acting: Who it is.
            server: The server's id.
            own: Whether the grant will be theirs alone, which a server has to be configured for.

        Raises:
            NotFound: There is no such server that they may see.
            Forbidden: The grant would be everybody's, and they may not change the server.
            GrantError: The server cannot be connected; the message goes after its name.
        """
        async with (await self._store()).read() as tx:
            place = await self._place(tx, acting, server, own)
            mine, shared = await rows.read(tx, server, place.user), await rows.read(tx, server, None)
        found = await self.look(acting, server, own=own)
        client = await self._client(found, place.spec, mine, shared)
        if client != mine.client:
            async with rows.only(self._bus, server, place.user), (await self._store()).write(acting) as tx:
                latest = await rows.read(tx, server, place.user)
                # Tokens are refreshed by the client that got them; another one takes its place together with new ones.
                if latest.tokens is None:
                    await rows.keep(tx, server, place.user, replace(latest, client=client))
        browser = secrets.token_urlsafe(32)
        pending = flow.begin(
            found,
            client,
            url=place.url,
            key=str(server),
            user=None if place.user is None else str(place.user),
            by=str(acting.id),
            browser=browser,
            now=self._clock(),
        )
        state, redirect_uri = self._states.seal(pending), self.ourselves.redirect_uri
        url = flow.authorization_url(found, client, pending, state=state, redirect_uri=redirect_uri)
        return Departure(url, browser)

    async def arrive(self, acting: Acting, browser: str, query: Mapping[str, str]) -> Server:
        """Take what an authorization server answered, and return the server that is connected now.

        Args:
            acting: Who comes back.
            browser: The secret in their browser.
            query: The query of the URL to which they were sent back.

        Raises:
            NotFound: The server is gone.
            Forbidden: They may not change it any more.
            BusUnavailable: Nobody can tell whether the answer was used before.
            GrantError: It is no answer to a question of ours, or the answer is no.
        """
        now = self._clock()
        pending = self._states.open(query.get("state", ""))
        good = pending is not None and pending.expires > now and pending.by == str(acting.id)
        if pending is None or not good or not flow.same_browser(pending, browser):
            raise GrantError("got an answer to a question that was not asked here, or too long ago; connect it again")
        if not await self._bus.claim(f"grant-state:{pending.id}", flow.STATE_SECONDS):
            raise GrantError("got the same answer a second time; connect it again if it does not work")
        server, own = uuid.UUID(pending.key), pending.user is not None
        async with (await self._store()).read() as tx:
            place = await self._place(tx, acting, server, own)
            _same(place, pending)
        asked, client = await issuer(self._fetch, pending.issuer), pending.client
        tokens = await flow.finish(
            self._fetch, pending, asked, client, place.spec, query, redirect_uri=self.ourselves.redirect_uri, now=now
        )
        grant = Kept(client, asked.token_endpoint, pending.resource, pending.scope, pending.url, tokens)
        async with rows.only(self._bus, server, place.user), (await self._store()).write(acting) as tx:
            place = await self._place(tx, acting, server, own)
            _same(place, pending)
            await rows.keep(tx, server, place.user, grant)
            row = await servers.get(tx, acting, server)
        await self._book.tell(pending.key)
        return row

    async def _place(self, tx: Reader, acting: Acting, server: uuid.UUID, own: bool) -> "_Place":
        row = await servers.get(tx, acting, server)
        secrets_of = tx.secrets(row)
        spec = spec_of(row.oauth, secrets_of, str(server)) or GrantSpec(key=str(server))
        if not row.url or spec.flow != "authorization_code":
            raise GrantError("is used without a person's authorization: see its oauth")
        if own and spec.per != "user":
            raise GrantError('is used with one authorization for everybody ("oauth": {"grant": "server"})')
        if not own:
            check_change(acting, row)
        url = secrets_of.url or row.url
        if self._transform_localhost:
            url = docker_internal(url)
        return _Place(url, spec, dict(secrets_of.headers), acting.id if own else None)

    async def _challenge(self, place: "_Place") -> str:
        """Return the server's ``WWW-Authenticate`` for a request without a token."""
        check_installed()
        import httpx2

        headers = {**place.headers, "Content-Type": "application/json"}
        headers["Accept"] = "application/json, text/event-stream"
        response = await self._fetch(httpx2.Request("POST", place.url, content=PROBE, headers=headers))
        return response.headers.get("WWW-Authenticate", "") if response.status_code == 401 else ""

    async def _client(self, found: Found, spec: GrantSpec, mine: Kept, shared: Kept) -> Client:
        ours = given(spec)
        return await client_for(
            self._fetch,
            found.issuer,
            self.ourselves,
            given=ours,
            known=mine.client if mine.client is not None or ours is None else shared.client,
            scope=found.scope,
            now=self._clock(),
        )


def _same(place: "_Place", pending: Pending) -> None:
    """Let pass an answer for a server that is configured as it was when somebody was asked.

    Raises:
        GrantError: It is not; the token would go where nobody has agreed to.
    """
    ours = place.spec.client_id
    if place.url != pending.url or (ours is not None and ours != pending.client.id):
        raise GrantError("is configured otherwise than when this began; connect it again")


class _Place(Struct, frozen=True):
    """A server that is to be connected; ``user`` is whose grant it will be, ``None`` for everybody's."""

    url: str
    spec: GrantSpec
    headers: dict[str, str]
    user: uuid.UUID | None


def _scope(spec: GrantSpec, found: Found, before: Kept) -> str | None:
    """Return what to ask for: what is configured or the server says, and what it has said to need besides."""
    scopes = " ".join(spec.scopes) or found.scope or ""
    if before.wanted is not None:
        known = scopes.split()
        scopes = " ".join([*known, *(scope for scope in before.wanted.split() if scope not in known)])
    return scopes or None
