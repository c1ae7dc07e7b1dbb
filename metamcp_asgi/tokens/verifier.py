"""Who an access token is of: verified when it comes for the first time, and then known until it expires.

A known token costs a look into a dictionary, and no signature, no database, no other server. What may change while a
token lives is asked each time, of the snapshot: whether the person is still there, and the grant.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from msgspec import Struct

from metamcp_asgi.asgi.bearer import Rejected, names_this_machine
from metamcp_asgi.config.snapshot import Endpoint, OAuth, Principal, Snapshot
from metamcp_asgi.outward.guard import Guard
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.tokens.claims import audiences_of, foreign_principal, own_principal

__all__ = ["Verifier"]

MOST: Final = 10_000
"""Tokens that are known at a time; the oldest is forgotten for a new one, and verified again when it comes."""

LONGEST: Final = 16 * 1024
"""Bytes of a token, which comes in a header."""

_URLS: Final = ("", "/mcp", "/sse", "/api")


class _Known(Struct, frozen=True):
    oauth: OAuth
    issuer: str
    audiences: frozenset[str]
    principal: Principal


class Verifier:
    """Knows the tokens of all issuers; ``asgi.bearer.Tokens``.

    Args:
        snapshot: Gives what is served at the time.
        guard: Where issuers may be asked.
        named: Whether the operator has said what we are called; else ``Host`` says it, and so whoever asks.
        own: Reads the public keys of our own authorization server; ``None``: there is none.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        guard: Guard,
        named: bool = False,
        own: Any = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.own = own
        self._snapshot = snapshot
        self._guard = guard
        self._named = named
        self._clock = clock
        self._known: dict[tuple[bytes, str], _Known] = {}
        self._keysets: dict[tuple[str, str], Any] = {}
        self._accepted: dict[tuple[str, str, str], frozenset[str]] = {}
        self._fetcher: Any = None
        self._tasks = Tasks()
        self.closing: list[Callable[[], Awaitable[None]]] = []

    async def principal(self, token: bytes, digest: bytes, endpoint: Endpoint, base: str) -> Principal:
        """Return who comes with a token; as ``Tokens.principal``.

        Raises:
            Rejected: It does not admit anybody there.
        """
        oauth = endpoint.oauth
        if oauth is None:
            raise Rejected(401, "invalid_token", "This endpoint takes no access tokens")
        place = (digest, endpoint.name)
        known = self._known.get(place)
        if known is None or (known.oauth is not oauth and known.oauth != oauth):
            known = await self._verified(token, oauth)
            if len(self._known) >= MOST:
                del self._known[next(iter(self._known))]
            self._known[place] = known
        if known.principal.expires <= self._clock():
            del self._known[place]
            raise Rejected(401, "invalid_token", "The access token has expired")
        accepted = self._accepted.get((endpoint.name, base, oauth.issuer))
        if accepted is None:
            accepted = self._audiences(endpoint.name, base, oauth.issuer)
        if known.audiences.isdisjoint(accepted if not oauth.audiences else accepted.union(oauth.audiences)):
            why = "" if accepted else "; one for this URL needs APP_URL, by which the gateway knows its own name"
            raise Rejected(401, "invalid_token", f"The access token is for another resource{why}")
        principal = known.principal
        if not oauth.issuer:
            if known.issuer != base:
                raise Rejected(401, "invalid_token", "The access token was issued at another address of this gateway")
            snapshot = self._snapshot()
            if not snapshot.lets(endpoint.name, principal):
                if principal.grant in snapshot.revoked or principal.id not in snapshot.people:
                    raise Rejected(401, "invalid_token", "The access token was revoked")
                text = "You can only access endpoints you own or public endpoints."
                raise Rejected(403, "access_denied", text)
        if principal.scopes is not None and not principal.scopes.issuperset(oauth.scopes):
            text = f"This needs the scopes {' '.join(oauth.scopes)}"
            raise Rejected(403, "insufficient_scope", text, scopes=oauth.scopes)
        return principal

    async def ours(self, token: bytes, base: str) -> dict[str, Any]:
        """Return the claims of a token of ours that is good at this moment, for whatever it is.

        Args:
            token: The token.
            base: The public URL of the gateway.

        Raises:
            Rejected: It is not.
        """
        from metamcp_asgi.tokens.signature import verified

        keys = self._keyset(OAuth())
        if keys is None or len(token) > LONGEST or token.count(b".") != 2:
            raise Rejected(401, "invalid_token", "This is no access token", guessed=True)
        claims = await verified(token, keys, None)
        principal, snapshot = own_principal(claims), self._snapshot()
        if claims["exp"] <= self._clock() or claims["iss"] != base or principal.grant in snapshot.revoked:
            raise Rejected(401, "invalid_token", "The access token has expired or was revoked")
        if principal.id not in snapshot.people:
            raise Rejected(401, "invalid_token", "The access token is of nobody who is known here")
        return claims

    async def aclose(self) -> None:
        """End what is going on, and close all connections."""
        await self._tasks.aclose()
        for close in self.closing:
            await close()
        if self._fetcher is not None:
            await self._fetcher.aclose()

    async def _verified(self, token: bytes, oauth: OAuth) -> _Known:
        from metamcp_asgi.tokens.signature import verified

        if len(token) > LONGEST or token.count(b".") != 2:
            raise Rejected(401, "invalid_token", "The provided credential is neither known nor a token", guessed=True)
        keys = self._keyset(oauth)
        if keys is None:
            raise Rejected(401, "invalid_token", "There is no authorization server here")
        claims = await verified(token, keys, oauth.issuer or None)
        principal = foreign_principal(claims, oauth) if oauth.issuer else own_principal(claims)
        return _Known(oauth, claims["iss"], audiences_of(claims), principal)

    def _keyset(self, oauth: OAuth) -> Any:
        from metamcp_asgi.tokens.keyset import KeySet

        place = (oauth.issuer, oauth.jwks_uri)
        found = self._keysets.get(place)
        if found is None:
            if not oauth.issuer:
                if self.own is None:
                    return None
                found = KeySet("this gateway", self.own, self._tasks)
            else:
                from metamcp_asgi.outward.fetch import Fetcher
                from metamcp_asgi.tokens.issuers import read_keys

                if self._fetcher is None:
                    self._fetcher = Fetcher(self._guard)
                fetcher = self._fetcher
                found = KeySet(oauth.issuer, lambda: read_keys(oauth, fetcher), self._tasks)
            self._keysets[place] = found
        return found

    def _audiences(self, name: str, base: str, issuer: str) -> frozenset[str]:
        """Return what a token may be for: the endpoint, by any of its URLs, or all of the gateway (dossier 4.2).

        Nothing, where whoever has another server's token could call us by the name of that server. Ours we have made
        for the name that they are shown under.
        """
        if len(self._accepted) >= MOST:  # anybody can send any Host, where any is allowed
            self._accepted.clear()
        found = frozenset({base, f"{base}/", *(f"{base}/metamcp/{name}{leaf}" for leaf in _URLS)})
        if issuer and not self._named and not names_this_machine(base):
            found = frozenset()
        self._accepted[name, base, issuer] = found
        return found
