"""Who a client is: found by its id, registered by itself, or shown to be itself by its secret.

Knows the store and documents. What a client may then have is not its matter.
"""

import base64
import binascii
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import unquote

from msgspec.structs import replace
from sqlalchemy import delete, func, select, update

from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.oauth.documents import Documents, is_document
from metamcp_asgi.oauth.errors import OAuthError
from metamcp_asgi.oauth.metadata import Client, read_metadata
from metamcp_asgi.store.audit import Actor
from metamcp_asgi.store.columns import now
from metamcp_asgi.store.models import OAuthClient
from metamcp_asgi.store.repository import Store

__all__ = ["Clients"]

MOST: Final = 1000
"""Clients that registered themselves and that nobody has allowed anything yet; the oldest make room."""

UNUSED: Final = timedelta(minutes=15)
"""How long such a client may rest before it makes room for others."""

_ITSELF: Final = Actor(None, "oauth client")


class Clients:
    """The clients of our authorization server.

    Args:
        store: Gives the open store.
        documents: The clients that are described by documents.
    """

    def __init__(self, store: Callable[[], Awaitable[Store]], documents: Documents) -> None:
        self._store = store
        self._documents = documents

    async def find(self, client_id: str) -> Client:
        """Return a client.

        Raises:
            OAuthError: There is none of this id.
        """
        if is_document(client_id):
            return await self._documents.client(client_id)
        async with (await self._store()).read() as tx:
            # A URL and a Basic header may have any character, of which PostgreSQL does not take this one.
            row = None if "\0" in client_id else await tx.find(OAuthClient, client_id=client_id[:300])
        if row is None:
            raise OAuthError("invalid_client", "no client has this client_id; it has to register first", 401)
        return _client(row)

    async def authenticated(self, headers: Mapping[str, str], form: Mapping[str, str]) -> Client:
        """Return the client that makes a request, by ``Authorization: Basic`` or ``client_secret`` (RFC 6749 2.3.1).

        Args:
            headers: Those of the request, names in lower case.
            form: What it says.

        Raises:
            OAuthError: It is not the one that it says (401).
        """
        client_id, secret = _credentials(headers, form)
        if not client_id:
            raise OAuthError("invalid_client", "client_id is missing", 401)
        if is_document(client_id):
            # Its code or token was issued to this very id; there is nothing that the document could add.
            return Client(
                client_id=client_id, name="", redirect_uris=(), grant_types=("authorization_code", "refresh_token")
            )
        client = await self.find(client_id)
        if client.secret_digest is None:
            if secret:
                raise OAuthError("invalid_client", "this client has no secret, and must not send one", 401)
        elif not secret or not hmac.compare_digest(client.secret_digest, digest_of(secret)):
            raise OAuthError("invalid_client", "the client's secret is missing or wrong", 401)
        return replace(client, proven=client.secret_digest is not None)

    async def register(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Register a client by its own word, and return what it is told (RFC 7591).

        Raises:
            OAuthError: It cannot be one, or there are too many already.
        """
        metadata = read_metadata(given, "none")
        # Acting for nobody in particular, a stranger would act for all: that is for clients that somebody made.
        grants = tuple(each for each in metadata.grant_types if each != "client_credentials")
        if "authorization_code" not in grants:
            raise OAuthError("invalid_client_metadata", "a client that registers itself needs authorization_code")
        client_id = f"mcp_client_{secrets.token_urlsafe(16)}"
        secret = None if metadata.method == "none" else f"mcp_secret_{secrets.token_urlsafe(32)}"
        described: dict[str, Any] = {
            "grant_types": list(grants),
            "response_types": ["code"],
            "token_endpoint_auth_method": metadata.method,
            **metadata.attributes,
        }
        row = OAuthClient(
            client_id=client_id,
            secret_digest=None if secret is None else digest_of(secret),
            name=metadata.name,
            redirect_uris=list(metadata.redirect_uris),
            attributes=described,
        )
        async with (await self._store()).write(_ITSELF) as tx:
            strangers = OAuthClient.owner_id.is_(None) & OAuthClient.used_at.is_(None)
            count = select(func.count()).select_from(OAuthClient).where(strangers)
            if (await tx.session.scalars(count)).one() >= MOST:
                await tx.session.execute(delete(OAuthClient).where(strangers, OAuthClient.created_at < now() - UNUSED))
                if (await tx.session.scalars(count)).one() >= MOST:
                    raise OAuthError("temporarily_unavailable", "too many clients have registered lately", 503, 3600)
            await tx.add(row)
        answer = {
            "client_id": client_id,
            "client_id_issued_at": int(row.created_at.timestamp()),
            "client_name": metadata.name,
            "redirect_uris": list(metadata.redirect_uris),
            **described,
        }
        if secret is not None:
            answer |= {"client_secret": secret, "client_secret_expires_at": 0}
        return answer

    async def used(self, client_id: str) -> None:
        """Note that somebody allowed a client something, so that it stays."""
        if not is_document(client_id):
            async with (await self._store()).write(_ITSELF) as tx:
                noted = update(OAuthClient).where(OAuthClient.client_id == client_id)
                await tx.session.execute(noted.values(used_at=now()))


def _client(row: OAuthClient) -> Client:
    grants = row.attributes.get("grant_types") or ()
    acts = row.owner_id is not None and row.secret_digest is not None and "client_credentials" in grants
    return Client(
        client_id=row.client_id,
        name=row.name,
        redirect_uris=tuple(row.redirect_uris),
        grant_types=tuple(grants),
        secret_digest=row.secret_digest,
        owned=row.owner_id is not None,
        acts=acts,
    )


def _credentials(headers: Mapping[str, str], form: Mapping[str, str]) -> tuple[str, str]:
    scheme, _, text = headers.get("authorization", "").partition(" ")
    client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    if scheme.lower() != "basic":
        return client_id, secret
    try:
        name, _, password = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise OAuthError("invalid_client", "the Authorization header is no Basic one", 401) from None
    name, password = unquote(name), unquote(password)
    if secret or (client_id and client_id != name):
        raise OAuthError("invalid_request", "a client authenticates in one way only")
    return name, password
