"""One grant at work: which token a session sends, and what is done when it ends or is refused.

A refresh token is often good once, so that only one process may use it: whoever wants to refresh holds the lock of the
grant and looks first whether somebody else has done it.
"""

import asyncio
import copy
import logging
import time
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from metamcp_asgi.config.snapshot import GrantSpec
from metamcp_asgi.errors import UpstreamError
from metamcp_asgi.grants import tokens as endpoint
from metamcp_asgi.grants.alone import PATIENCE
from metamcp_asgi.grants.discovery import discover
from metamcp_asgi.grants.fetch import Fetch, GrantError, Refused
from metamcp_asgi.grants.kept import Kept, Ledger
from metamcp_asgi.grants.registration import KEYED, Ourselves, client_for, given
from metamcp_asgi.grants.tokens import Tokens
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.granted import AuthorizationNeeded

__all__ = ["OneGrant"]

logger = logging.getLogger("metamcp.grants")

LONGEST_SCOPE: Final = 2000
"""Characters of what a server says to need, after which it is no longer noted."""
EARLY: Final = 30.0
"""Seconds before its end from which a token is not sent any more: it has to last for the request."""


class OneGrant:
    """What ``upstream.granted.Grant`` promises.

    Args:
        url: The server's URL.
        spec: How it is used.
        ledger: Where the grant is kept.
        fetch: Sends requests.
        ourselves: How we describe ourselves to authorization servers.
        page: Where a person agrees, if anywhere.
        tasks: Whose tasks renew it.
        clock: Gives the present time, in seconds since the epoch.
    """

    def __init__(
        self,
        url: str,
        spec: GrantSpec,
        ledger: Ledger,
        fetch: Fetch,
        ourselves: Ourselves,
        page: str | None,
        tasks: Tasks,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._spec = spec
        self._ledger = ledger
        self._fetch = fetch
        self._ourselves = ourselves
        self._page = page
        self._clock = clock
        self._kept: Kept | None = None
        self._line = b""
        self._until: float | None = None
        self._tasks = tasks
        self._renewing: asyncio.Task[UpstreamError | None] | None = None

    @property
    def ready(self) -> bytes | None:
        """The header line to send, if it needs nothing to be done first; see ``Grant.ready``."""
        if self._kept is None or (self._until is not None and self._clock() >= self._until):
            return None
        return self._line

    async def line(self) -> bytes:
        """Return the header line to send; see ``Grant.line``."""
        if self._kept is None:
            self._take(await self._ledger.read())
        if self._until is not None and self._clock() >= self._until:
            await self._renew(self._line)
        return self._line

    async def refused(self, line: bytes, status: int, challenge: str) -> None:
        """See to another token; see ``Grant.refused``."""
        if self._line != line:
            return  # there is another one already
        self._take(await self._ledger.read())
        if self._line != line:
            return
        if status == 403:
            raise await self._stepped(challenge)
        await self._renew(line, challenge)

    def forget(self) -> None:
        """Read what is kept again, before the next request."""
        self._kept, self._until = None, None

    async def _renew(self, line: bytes, challenge: str = "") -> None:
        """Get another token than the one in ``line``; whoever wants that meanwhile waits for the same."""
        if self._renewing is None or self._renewing.done():
            self._renewing = self._tasks.start(self._renewed(line, challenge), "renew a grant")
        # Who no longer waits must not take the new token, which is good once, away from the others.
        failure = await asyncio.shield(self._renewing)
        if failure is not None:
            raise copy.copy(failure)  # to which each who waits may add something

    async def _renewed(self, line: bytes, challenge: str) -> UpstreamError | None:
        """Get another token, and return why that cannot be done."""
        try:
            async with asyncio.timeout(PATIENCE), self._ledger.lock():
                kept = await self._ledger.read()
                self._take(kept)
                if self._line != line and not self._expired():
                    return None
                kept = await (self._own(kept, challenge) if self._by_ourselves else self._refresh(kept))
                await self._ledger.refreshed(kept)
                # What somebody has had forgotten meanwhile is not kept, and must not be used either.
                self._take(await self._ledger.read())
        except TimeoutError:
            return GrantError(f"could not be authorized within {PATIENCE:g} seconds")
        except UpstreamError as error:
            return error
        return None

    async def _stepped(self, challenge: str) -> AuthorizationNeeded:
        """Note what the server needs besides, so that the next one to agree is asked for that, too (AU-26)."""
        import httpx2
        from mcp.client.auth import utils

        wanted = utils.extract_scope_from_www_auth(httpx2.Response(403, headers={"WWW-Authenticate": challenge}))
        if wanted is not None:
            async with asyncio.timeout(PATIENCE), self._ledger.lock():
                kept = await self._ledger.read()
                more = utils.union_scopes(kept.wanted, wanted)
                if more != kept.wanted and len(more or "") <= LONGEST_SCOPE:
                    await self._ledger.refreshed(replace(kept, wanted=more))
        return self._needed("wants further permissions")

    async def _refresh(self, kept: Kept) -> Kept:
        if kept.tokens is None or kept.tokens.refresh is None or kept.client is None or kept.url != self._url:
            raise self._needed("wants to be authorized")
        if kept.client.method == KEYED and self._spec.private_key is None:
            raise self._needed("is configured otherwise than when it was connected, and wants to be authorized again")
        try:
            tokens = await endpoint.by_refresh(
                self._fetch,
                kept.token_endpoint,
                kept.client,
                self._spec,
                tokens=kept.tokens,
                resource=kept.resource,
                now=self._clock(),
            )
        except Refused as error:
            logger.info("A grant at %s has ended: %s", kept.client.issuer, error.error)
            lapsed = replace(kept, tokens=None)
            await self._ledger.refreshed(lapsed)
            self._take(lapsed)
            raise self._needed("wants to be authorized again") from None
        return replace(kept, tokens=tokens)

    async def _own(self, kept: Kept, challenge: str) -> Kept:
        found = await discover(self._fetch, self._url, challenge)
        spec = self._spec
        client = await client_for(
            self._fetch,
            found.issuer,
            self._ourselves,
            given=given(spec),
            known=kept.client,
            scope=None,
            now=self._clock(),
        )
        scope = " ".join(spec.scopes) or found.scope
        where = found.issuer.token_endpoint
        tokens: Tokens = await endpoint.by_credentials(
            self._fetch, where, client, spec, scope=scope, resource=found.resource, now=self._clock()
        )
        return Kept(client, where, found.resource, scope, self._url, tokens)

    @property
    def _by_ourselves(self) -> bool:
        return self._spec.flow == "client_credentials"

    def _take(self, kept: Kept) -> None:
        self._kept = kept
        # Who may change the server's URL must not get the tokens that somebody gave for another one.
        tokens = kept.tokens if kept.url == self._url else None
        self._line = b"" if tokens is None else b"Authorization: Bearer %b\r\n" % tokens.access.encode("ascii")
        self._until = None if tokens is None or tokens.expires is None else tokens.expires - EARLY

    def _expired(self) -> bool:
        return self._until is not None and self._clock() >= self._until

    def _needed(self, what: str) -> AuthorizationNeeded:
        where = f"; open {self._page}" if self._page is not None else ""
        return AuthorizationNeeded(f"{what}{where}", self._page)
