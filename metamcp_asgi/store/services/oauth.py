"""Clients of our authorization server that people make, and what they granted to clients: told, made and ended.

A client that somebody makes acts in its owner's place, by itself; its secret is told once. One that registered itself
is an admin's to see and to remove. Knows nothing of the protocol.
"""

import secrets
import uuid
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Final

from sqlalchemy import ColumnElement

from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.store.columns import now
from metamcp_asgi.store.errors import NotFound
from metamcp_asgi.store.models import OAuthClient
from metamcp_asgi.store.oauth_models import OAuthGrant
from metamcp_asgi.store.policy import Acting, check_admin, key_owner
from metamcp_asgi.store.services.fragments import short_text
from metamcp_asgi.store.services.inputs import Invalid, NewOAuthClient
from metamcp_asgi.store.services.rows import check_owner, check_version, having
from metamcp_asgi.store.transaction import Reader, Writer

__all__ = [
    "KEYED",
    "TOKEN_EXCHANGE",
    "clients",
    "create_client",
    "delete_client",
    "grants",
    "public_keys",
    "revoke_grant",
]

TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
"""RFC 8693."""

KEYED: Final = "private_key_jwt"
"""How clients authenticate with keys of their own, RFC 7523 2.2."""

MOST_KEYS: Final = 20


async def clients(
    tx: Reader, acting: Acting, *, search: str | None = None, after: Any = None, limit: int | None = None
) -> Sequence[OAuthClient]:
    """Return the clients that somebody may see, by name: all for an admin, else their own.

    Args:
        tx: The transaction.
        acting: Who asks.
        search: What their name or client id has in it, in whatever case.
        after: The place after which to begin.
        limit: How many at most.
    """
    where: list[ColumnElement[bool]] = [] if acting.admin else [OAuthClient.owner_id == acting.id]
    if search:
        where.append(having(search, OAuthClient.name, OAuthClient.client_id))
    return await tx.list(OAuthClient, *where, after=after, limit=limit)


async def create_client(tx: Writer, acting: Acting, new: NewOAuthClient) -> tuple[OAuthClient, str | None]:
    """Make a client that acts for its owner by itself, and return it with its secret, which cannot be had again.

    One that has keys has no secret.

    Raises:
        Forbidden: It would be for somebody else, or exchange tokens, and the caller is no admin.
        Invalid: A value is wrong, or it would be nobody's.
    """
    owner = key_owner(acting, new.owner_id)
    if owner is None:
        raise Invalid("ownerId", "must be a user, for whom the client acts")
    await check_owner(tx, owner)
    grants = ["client_credentials"]
    if new.token_exchange:
        check_admin(acting, "clients that exchange tokens")
        grants.append(TOKEN_EXCHANGE)
    secret: str | None = None
    if new.jwks is None:
        secret = f"mcp_secret_{secrets.token_urlsafe(32)}"
        shown: dict[str, Any] = {"token_endpoint_auth_method": "client_secret_basic"}
    else:
        shown = {"token_endpoint_auth_method": KEYED, "jwks": public_keys(new.jwks)}
    row = OAuthClient(
        client_id=f"mcp_client_{secrets.token_urlsafe(16)}",
        secret_digest=None if secret is None else digest_of(secret),
        name=short_text("name", new.name),
        owner_id=owner,
        attributes={"grant_types": grants, **shown},
    )
    return await tx.add(row), secret


def public_keys(jwks: Any) -> dict[str, Any]:
    """Return a set of public keys as it is kept (RFC 7517).

    Args:
        jwks: What a client or its owner says that they are.

    Raises:
        Invalid: It is none, or has a key with which nothing here is verified, or a private one.
    """
    if find_spec("jwt") is None:
        raise Invalid("jwks", 'needs further packages, which come with pip install "metamcp-asgi[oauth]"')
    from metamcp_asgi.config.jwk import public_key

    keys = jwks.get("keys") if isinstance(jwks, Mapping) else None
    if not isinstance(keys, list) or not 1 <= len(keys) <= MOST_KEYS or any(public_key(key) is None for key in keys):
        raise Invalid(
            "jwks", f"must be a set of 1 to {MOST_KEYS} public keys for signing, of RSA, EC or OKP, under keys"
        )
    return {"keys": keys}


async def delete_client(tx: Writer, acting: Acting, identity: uuid.UUID, *, version: int | None = None) -> None:
    """Remove a client, and end what was granted to it.

    Raises:
        NotFound: There is none that they may see.
        Conflict: It has another version.
    """
    row = await tx.get(OAuthClient, identity)
    if not acting.admin and (row.owner_id is None or row.owner_id != acting.id):
        raise NotFound("oauth_client", identity)
    check_version(row, version)
    for grant in await tx.list(OAuthGrant, OAuthGrant.client_id == row.client_id, OAuthGrant.revoked_at.is_(None)):
        grant.revoked_at = now()
    await tx.delete(row)


async def grants(
    tx: Reader, acting: Acting, *, user: uuid.UUID | None = None, after: Any = None, limit: int | None = None
) -> Sequence[OAuthGrant]:
    """Return the grants that are good, by the client's name: all for an admin, else their own.

    Args:
        tx: The transaction.
        acting: Who asks.
        user: Only those that this user gave.
        after: The place after which to begin.
        limit: How many at most.
    """
    where: list[ColumnElement[bool]] = [OAuthGrant.revoked_at.is_(None), OAuthGrant.expires_at > now()]
    if not acting.admin:
        where.append(OAuthGrant.user_id == acting.id)
    if user is not None:
        where.append(OAuthGrant.user_id == user)
    return await tx.list(OAuthGrant, *where, after=after, limit=limit)


async def revoke_grant(tx: Writer, acting: Acting, identity: uuid.UUID, *, version: int | None = None) -> None:
    """End a grant, and with it every token that it gave.

    Raises:
        NotFound: There is none that they may see.
        Conflict: It has another version.
    """
    row = await tx.get(OAuthGrant, identity)
    if not acting.admin and row.user_id != acting.id:
        raise NotFound("oauth_grant", identity)
    check_version(row, version)
    if row.revoked_at is None:
        row.revoked_at = now()
        await tx.flush()
