"""What people granted to clients: begun with a code, carried on by refresh tokens, and ended; or vouched for, once.

Each change is one transaction, and transactions that write come one after the other, so that a code, a refresh token
or an assertion is good once, whichever process it is shown to. Only a beginning and a revocation are told in the audit.
"""

import base64
import hashlib
import hmac
import math
import secrets
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import delete, update

from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.oauth.errors import OAuthError
from metamcp_asgi.oauth.metadata import Client
from metamcp_asgi.oauth.signing import LIFE
from metamcp_asgi.oauth.vouching import Vouched
from metamcp_asgi.protocol.sealed import KeyRing
from metamcp_asgi.store.audit import Actor
from metamcp_asgi.store.columns import now
from metamcp_asgi.store.models import User
from metamcp_asgi.store.oauth_models import OAuthGrant
from metamcp_asgi.store.repository import Store
from metamcp_asgi.store.transaction import Writer

__all__ = ["Granted", "Grants", "Wanted"]

CODE: Final = timedelta(seconds=60)
"""How long a code is good; the client has it at once."""

REFRESH: Final = timedelta(days=30)
"""How long a refresh token is good; each one brings the next."""

LONGEST: Final = timedelta(days=180)
"""How long a grant lasts, however often it is refreshed: then the person is asked again."""

LEEWAY: Final = timedelta(seconds=5)
"""How long the refresh token before the last still gets the last again: two processes of a client may share one, and an
answer may be lost."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What a person allowed a client, before there is a grant."""

    client_id: str
    name: str
    redirect_uri: str
    scope: str
    audience: str
    challenge: str
    keyed: bool = False


class Granted(Struct, frozen=True, kw_only=True):
    """A grant for which tokens are to be made; ``refresh`` is empty for a client that takes no refresh tokens.

    ``until`` is when they must have ended, in seconds since 1970.
    """

    id: str
    user: str
    client_id: str
    scope: str
    audience: str
    refresh: str = ""
    until: float = math.inf


class _Refresh(Struct, frozen=True):
    grant: str
    generation: int


class Grants:
    """The grants of our authorization server.

    Args:
        store: Gives the open store.
        keys: Seal refresh tokens.
        revoked: Is awaited after a revocation, so that it holds at once in this process.
    """

    def __init__(
        self, store: Callable[[], Awaitable[Store]], keys: KeyRing, revoked: Callable[[], Awaitable[Any]]
    ) -> None:
        self._store = store
        self._sealer = keys.sealer("mcp_refresh_1", _Refresh)
        self._revoked = revoked

    async def begin(self, user: uuid.UUID, actor: Actor, wanted: Wanted) -> str:
        """Write down what a person allowed, and return the code for the client.

        Args:
            user: The person.
            actor: The same, for the audit.
            wanted: What they allowed.
        """
        code = f"mcp_code_{secrets.token_urlsafe(32)}"
        async with (await self._store()).write(actor) as tx:
            await _forget(tx)
            await tx.add(
                OAuthGrant(
                    user_id=user,
                    client_id=wanted.client_id,
                    name=wanted.name,
                    scope=wanted.scope,
                    audience=wanted.audience,
                    redirect_uri=wanted.redirect_uri,
                    code_digest=digest_of(code),
                    code_challenge=wanted.challenge,
                    keyed=wanted.keyed,
                    expires_at=now() + CODE,
                )
            )
        return code

    async def vouched(
        self, user: User, client: Client, vouched: Vouched, scope: str, audience: str, endpoint: str
    ) -> Granted:
        """Return a grant for which the person's OpenID provider vouches; it has no refresh token.

        What is good more than once gives the same grant for the same again, so that it is told, listed and revoked
        once, and nothing more after a revocation, whatever is asked for.

        Args:
            user: The person.
            client: Who is let act for them.
            vouched: What the provider says.
            scope: What the client may.
            audience: What the token is for.
            endpoint: The endpoint that this is a URL of; empty for all.

        Raises:
            OAuthError: It is good once and was shown before, or what was granted for it is revoked.
        """
        # No code that a client sends can be these texts: forms with a NUL are refused.
        source = ("", vouched.id) if vouched.once else ("", vouched.id, str(user.id), client.client_id)
        # By what it opens: the same is written in many ways, URLs and scopes.
        opened = () if vouched.once else (endpoint, *sorted(scope.split()))
        mark, digest = digest_of("\0".join(source)).hex(), digest_of("\0".join((*source, *opened)))
        async with (await self._store()).write(Actor(user.id, user.email)) as tx:
            await _forget(tx)
            row = await tx.find(OAuthGrant, code_digest=digest)
            if row is not None and vouched.once:
                raise OAuthError("invalid_grant", "the assertion was used before")
            of_it = OAuthGrant.user_id == user.id, OAuthGrant.client_id == client.client_id
            ended = OAuthGrant.code_challenge == mark, OAuthGrant.revoked_at.is_not(None)
            if await tx.list(OAuthGrant, *of_it, *ended, limit=1):
                raise OAuthError("invalid_request", "what was granted for the subject token is revoked")
            if row is None:
                remembered = max(vouched.until, now() + timedelta(seconds=LIFE)) if vouched.once else vouched.until
                row = await tx.add(
                    OAuthGrant(
                        user_id=user.id,
                        client_id=client.client_id,
                        name=client.name,
                        scope=scope,
                        audience=audience,
                        redirect_uri="",
                        code_digest=digest,
                        code_challenge=mark,
                        keyed=client.keyed,
                        redeemed_at=now(),
                        expires_at=remembered,
                    )
                )
        until = math.inf if vouched.once else vouched.until.timestamp()
        return Granted(
            id=str(row.id), user=str(user.id), client_id=client.client_id, scope=scope, audience=audience, until=until
        )

    async def redeem(self, client: Client, code: str, verifier: str, redirect_uri: str, resource: str) -> Granted:
        """Return the grant of a code, which is good no more then.

        Args:
            client: Who shows it.
            code: The code.
            verifier: What the challenge was made of (RFC 7636).
            redirect_uri: Where the code was sent; empty when the client does not say, as in OAuth 2.1.
            resource: What the token is for, if the client says it again.

        Raises:
            OAuthError: It is not good, or not this client's. One that is shown twice ends the grant.
        """
        async with (await self._store()).read() as tx:
            # Anybody can guess; only who has a code may hold up those who write.
            if await tx.find(OAuthGrant, code_digest=digest_of(code)) is None:
                raise OAuthError("invalid_grant", "the code is unknown, or of another client")
        async with (await self._store()).write(Actor(None, "oauth client")) as tx:
            row = await tx.find(OAuthGrant, code_digest=digest_of(code))
            if row is None or row.client_id != client.client_id or row.revoked_at is not None:
                raise OAuthError("invalid_grant", "the code is unknown, or of another client")
            _check_proven(row, client)
            stolen = row.redeemed_at is not None
            if stolen:
                row.revoked_at = now()  # one of the two who have it stole it (RFC 6749 4.1.2)
                await tx.flush()
            else:
                if row.expires_at < now():
                    raise OAuthError("invalid_grant", "the code has expired")
                if redirect_uri and redirect_uri != row.redirect_uri:
                    raise OAuthError("invalid_grant", "redirect_uri is not the one that the code was sent to")
                if not _fits(verifier, row.code_challenge):
                    raise OAuthError("invalid_grant", "code_verifier is not what code_challenge was made of")
                audience = _narrowed(row.audience, resource)
                granted = await self._next(tx, row, client, 1, audience)
        if stolen:
            await self._revoked()
            raise OAuthError("invalid_grant", "the code was used before; what it gave is revoked")
        return granted

    async def refresh(self, client: Client, token: str, scope: str, resource: str) -> Granted:
        """Return the grant of a refresh token, and the next refresh token with it.

        Args:
            client: Who shows it.
            token: The refresh token.
            scope: Of its scopes those that the client wants; empty for all.
            resource: What the token is for, if the client says it again.

        Raises:
            OAuthError: It is not good, or not this client's. One that was followed by others ends the grant.
        """
        told = self._sealer.open(token)
        if told is None:
            raise OAuthError("invalid_grant", "the refresh token is unknown")
        async with (await self._store()).write(Actor(None, "oauth client")) as tx:
            row = await tx.find(OAuthGrant, id=uuid.UUID(told.grant))
            if row is None or row.client_id != client.client_id or row.revoked_at is not None:
                raise OAuthError("invalid_grant", "the refresh token was revoked, or is of another client")
            _check_proven(row, client)
            user = await tx.find(User, id=row.user_id)
            if row.expires_at < now() or user is None or user.disabled:
                raise OAuthError("invalid_grant", "the refresh token has expired")
            again = told.generation == row.generation - 1 and (row.rotated_at or row.created_at) > now() - LEEWAY
            stolen = told.generation != row.generation and not again
            if stolen:
                row.revoked_at = now()  # RFC 9700 4.14.2
                await tx.flush()
            else:
                if not set(scope.split()) <= set(row.scope.split()):
                    raise OAuthError("invalid_scope", "more scopes than were granted")
                audience = _narrowed(row.audience, resource)
                granted = await self._next(tx, row, client, row.generation + (not again), audience)
        if stolen:
            await self._revoked()
            raise OAuthError("invalid_grant", "the refresh token was used before; what it belongs to is revoked")
        return Granted(
            id=granted.id,
            user=granted.user,
            client_id=granted.client_id,
            scope=scope or granted.scope,
            audience=granted.audience,
            refresh=granted.refresh,
        )

    def grant_of(self, token: str) -> str | None:
        """Return the id of the grant that a refresh token is of; ``None`` when it is none of ours."""
        told = self._sealer.open(token)
        return None if told is None else told.grant

    async def live(self, client: Client, token: str) -> OAuthGrant | None:
        """Return the grant of a client's refresh token, if that is good at this moment."""
        told = self._sealer.open(token)
        if told is None:
            return None
        async with (await self._store()).read() as tx:
            row = await tx.find(OAuthGrant, id=uuid.UUID(told.grant))
        good = row is not None and row.client_id == client.client_id and row.generation == told.generation
        return row if good and row is not None and row.revoked_at is None and row.expires_at > now() else None

    async def revoke(self, client: Client, grant: str) -> None:
        """End a grant of a client; do nothing when there is none, or it is another's."""
        async with (await self._store()).write(Actor(None, "oauth client")) as tx:
            row = await tx.find(OAuthGrant, id=uuid.UUID(grant))
            if row is None or row.client_id != client.client_id or row.revoked_at is not None:
                return
            _check_proven(row, client)
            row.revoked_at = now()
        await self._revoked()

    async def _next(self, tx: Writer, row: OAuthGrant, client: Client, generation: int, audience: str) -> Granted:
        lasting = "refresh_token" in client.grant_types
        # No change of what is served, and so neither a revision nor an entry in the audit.
        values: dict[str, Any] = {"generation": generation, "redeemed_at": row.redeemed_at or now()}
        soon = now() + (REFRESH if lasting else timedelta(hours=1))
        values["expires_at"] = min(soon, row.created_at + LONGEST)
        if generation != row.generation:
            values["rotated_at"] = now()
        written = update(OAuthGrant).where(OAuthGrant.id == row.id).values(values)
        await tx.session.execute(written, execution_options={"synchronize_session": False})
        return Granted(
            id=str(row.id),
            user=str(row.user_id),
            client_id=row.client_id,
            scope=row.scope,
            audience=audience,
            refresh=self._sealer.seal(_Refresh(str(row.id), generation)) if lasting else "",
        )


async def _forget(tx: Writer) -> None:
    """Remove grants of which nothing is about any more."""
    await tx.session.execute(delete(OAuthGrant).where(OAuthGrant.expires_at < now() - timedelta(hours=2)))


def _check_proven(row: OAuthGrant, client: Client) -> None:
    """Let pass who has shown to be the client, if the client can: a code or token that somebody found is no proof."""
    if row.keyed and not client.proven:
        raise OAuthError("invalid_client", "this client must authenticate with its key (private_key_jwt)", 401)


def _fits(verifier: str, challenge: str) -> bool:
    made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("utf-8", "replace")).digest()).rstrip(b"=")
    return 43 <= len(verifier) <= 128 and hmac.compare_digest(made, challenge.encode())


def _narrowed(audience: str, resource: str) -> str:
    """Return what a token is for: what was granted, or the part of it that the client names (RFC 8707 2.2)."""
    if not resource or resource == audience:
        return audience
    if resource.startswith(audience.rstrip("/") + "/") or resource == audience.rstrip("/"):
        return resource
    raise OAuthError("invalid_target", "resource is not what was granted")
