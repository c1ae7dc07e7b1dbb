"""Clients that show who they are by a key of their own: ``private_key_jwt`` (RFC 7523 2.2), each proof good once.

Their public keys are in their registration, or at a URL that this names and that is asked under guard. Whether a client
may use keys is ``metadata``'s matter.
"""

import hashlib
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import delete, insert

from metamcp_asgi.asgi.bearer import Rejected
from metamcp_asgi.errors import MetaMCPError
from metamcp_asgi.oauth.attempts import Attempts
from metamcp_asgi.oauth.errors import OAuthError
from metamcp_asgi.oauth.metadata import Client
from metamcp_asgi.outward.guard import Guard
from metamcp_asgi.store.audit import Actor
from metamcp_asgi.store.columns import now
from metamcp_asgi.store.oauth_models import OAuthProof
from metamcp_asgi.store.repository import Store
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.tokens.claims import LEEWAY, type_of

if TYPE_CHECKING:
    from metamcp_asgi.outward.fetch import Fetcher
    from metamcp_asgi.tokens.keyset import KeySet

__all__ = ["PROOF", "PROOFS_PER_MINUTE", "Proofs", "client_in"]

PROOF: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_TYPES: Final = ("", "jwt", "client-authentication+jwt")
"""What the header may say that it is: a client's key may sign other things, too (draft-ietf-oauth-rfc7523bis)."""

LONGEST_SECONDS: Final = 300
"""How long a proof may be good from now on: it is made for one request."""

PROOFS_PER_MINUTE: Final = 600
"""Good proofs of one client; each is a transaction that writes."""

MOST: Final = 500
"""Clients whose keys are kept; the oldest go for new ones."""

FRESH: Final = 3600.0
"""Seconds after which the keys of a client are read anew before they count: one may have been withdrawn."""

LONGEST: Final = 8 * 1024
"""Characters of a proof."""


class Proofs:
    """Checks proofs.

    Args:
        store: Gives the open store, which remembers those that were used.
        guard: Where keys may be.
        lookups: Counts how often an address has us look for keys.
        uses: Counts the good proofs of a client.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        store: Callable[[], Awaitable[Store]],
        guard: Guard,
        lookups: Attempts,
        uses: Attempts,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._guard = guard
        self._lookups = lookups
        self._uses = uses
        self._clock = clock
        self._tasks = Tasks()
        self._fetcher: Fetcher | None = None
        self._kept: dict[bytes, tuple[float, KeySet]] = {}

    async def check(self, proof: str, client: Client, base: str, address: str) -> None:
        """Let pass a client that shows a good proof; it is good no more then.

        Args:
            proof: The JWT.
            client: Who it must be of.
            base: Our issuer.
            address: Where it comes from.

        Raises:
            OAuthError: It is not good (401), the client shows too many, or the address has us look for too many keys
                (429).
        """
        from metamcp_asgi.tokens.signature import verified

        if len(proof) > LONGEST:
            raise refused(f"it has more than {LONGEST} characters")
        header, keys = _part(proof, 0), self._keys(client)
        if type_of(header) not in _TYPES:
            raise refused("the typ of its header is of another JWT")
        if client.jwks_uri and not keys.knows(header.get("kid")):
            await self._lookups.count(address)
        try:
            claims = await verified(proof.encode(), keys, client.client_id)
        except Rejected:
            raise refused("no key of the client has signed it, or its times or its iss are wrong") from None
        if claims.get("sub") != client.client_id:
            raise refused("its sub must be the client_id")
        # Alone: another that it is for could be the client here with it (draft-ietf-oauth-rfc7523bis).
        audience = claims.get("aud")
        audience = audience[0] if isinstance(audience, list) and len(audience) == 1 else audience
        if audience not in (base, f"{base}/", f"{base}/oauth/token"):
            raise refused(f"its aud must be our issuer, {base}, or the token endpoint, and nobody else")
        ends, identity = float(claims["exp"]), claims.get("jti")
        if ends <= self._clock():
            raise refused("it has expired")
        if ends > self._clock() + LONGEST_SECONDS + LEEWAY:
            raise refused(f"it would be good for more than {LONGEST_SECONDS} seconds")
        if not isinstance(identity, str) or not identity:
            raise refused("its jti must be a text")
        await self._uses.count(client.client_id)  # whoever has the key: anybody may register one
        await self._use(f"{client.client_id}\0{identity}", ends)

    async def aclose(self) -> None:
        """End what is going on, and close all connections."""
        await self._tasks.aclose()
        if self._fetcher is not None:
            await self._fetcher.aclose()

    async def _use(self, name: str, ends: float) -> None:
        """Remember a proof until it has ended.

        Raises:
            OAuthError: It was used before.
        """
        digest = hashlib.sha256(name.encode()).digest()
        # No change of what is served, and so neither a revision nor an entry in the audit.
        async with (await self._store()).write(Actor(None, "oauth client")) as tx:
            await tx.session.execute(delete(OAuthProof).where(OAuthProof.expires_at < now()))
            if await tx.find(OAuthProof, digest=digest) is not None:
                raise refused("it was used before")
            until = datetime.fromtimestamp(math.ceil(ends) + LEEWAY, UTC)
            await tx.session.execute(insert(OAuthProof).values(digest=digest, expires_at=until))

    def _keys(self, client: Client) -> "KeySet":
        from metamcp_asgi.tokens.keyset import KeySet

        # By what the client says at present: other keys are another entry.
        place = hashlib.sha256(
            msgspec.json.encode((client.client_id, client.jwks, client.jwks_uri), order="sorted")
        ).digest()
        until, found = self._kept.get(place, (0.0, None))
        if found is None or until <= self._clock():
            self._kept.pop(place, None)
            if len(self._kept) >= MOST:
                del self._kept[next(iter(self._kept))]
            found = KeySet(f"client {client.client_id}", lambda: self._read(client), self._tasks)
            self._kept[place] = (self._clock() + FRESH, found)
        return found

    async def _read(self, client: Client) -> Sequence[Mapping[str, Any]]:
        if not client.jwks_uri:
            return client.jwks
        if self._fetcher is None:
            from metamcp_asgi.outward.fetch import Fetcher

            self._fetcher = Fetcher(self._guard)
        answer = await self._fetcher.fetch(client.jwks_uri)
        keys = (answer.document() or {}).get("keys") if answer.status == 200 else None
        if not isinstance(keys, list):
            raise MetaMCPError(f"there are no keys at {client.jwks_uri}")
        return keys


def client_in(proof: str) -> str:
    """Return the client whose proof this would be, of which nothing is checked yet.

    Raises:
        OAuthError: It is no JWT, or names nobody.
    """
    subject = _part(proof, 1).get("sub") if len(proof) <= LONGEST else None
    if not isinstance(subject, str) or not subject or "\0" in subject:
        raise refused("it is no JWT with the client_id in sub")
    return subject


def refused(why: str) -> OAuthError:
    """Return the error of a proof that is not good."""
    return OAuthError("invalid_client", f"client_assertion is refused: {why}", 401)


def _part(proof: str, index: int) -> dict[str, Any]:
    """Return the header or the claims of a JWT, unchecked; nothing when it is none."""
    from jwt.utils import base64url_decode

    parts = proof.split(".")
    try:
        return msgspec.json.decode(base64url_decode(parts[index]), type=dict[str, Any])
    except (ValueError, IndexError, RecursionError):
        return {}
