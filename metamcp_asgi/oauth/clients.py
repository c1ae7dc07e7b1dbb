"""Who a client is: found by its id, registered by itself, or shown to be itself by a secret or a key.

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
from starlette.requests import Request

from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.oauth.attempts import Attempts, address_of
from metamcp_asgi.oauth.documents import Documents, is_document
from metamcp_asgi.oauth.errors import OAuthError
from metamcp_asgi.oauth.metadata import Client, read_metadata
from metamcp_asgi.oauth.proofs import PROOF, Proofs, client_in
from metamcp_asgi.store.audit import Actor
from metamcp_asgi.store.columns import now
from metamcp_asgi.store.models import OAuthClient
from metamcp_asgi.store.repository import Store
from metamcp_asgi.store.services.oauth import KEYED

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
        proofs: Checks those of clients that have keys.
        lookups: Counts how often an address has us look for a document or keys.
    """

    def __init__(
        self, store: Callable[[], Awaitable[Store]], documents: Documents, proofs: Proofs, lookups: Attempts
    ) -> None:
        self._store = store
        self._documents = documents
        self._proofs = proofs
        self._lookups = lookups

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

    async def authenticated(self, request: Request, form: Mapping[str, str], base: str) -> Client:
        """Return the client that makes a request, by its secret (RFC 6749 2.3.1), its key (RFC 7523) or its word.

        Args:
            request: The request.
            form: What it says.
            base: Our issuer.

        Raises:
            OAuthError: It is not the one that it says (401).
        """
        client_id, secret = _credentials(request.headers, form)
        if "client_assertion" in form or "client_assertion_type" in form:
            if secret or "authorization" in request.headers:
                raise OAuthError("invalid_request", "a client authenticates in one way only")
            return await self._by_key(form, client_id, base, address_of(request.scope))
        if not client_id:
            raise OAuthError("invalid_client", "client_id is missing", 401)
        if is_document(client_id):
            # Its code or token was issued to this very id; there is nothing that the document could add. Of one that
            # has keys, the grant knows that.
            return Client(
                client_id=client_id, name="", redirect_uris=(), grant_types=("authorization_code", "refresh_token")
            )
        client = await self.find(client_id)
        if client.keyed:
            raise OAuthError("invalid_client", "this client must authenticate with its key (private_key_jwt)", 401)
        if client.secret_digest is None:
            if secret:
                raise OAuthError("invalid_client", "this client has no secret, and must not send one", 401)
        elif not secret or not hmac.compare_digest(client.secret_digest, digest_of(secret)):
            raise OAuthError("invalid_client", "the client's secret is missing or wrong", 401)
        return replace(client, proven=client.secret_digest is not None)

    async def _by_key(self, form: Mapping[str, str], client_id: str, base: str, address: str) -> Client:
        if form.get("client_assertion_type") != PROOF:
            raise OAuthError("invalid_client", f"client_assertion_type must be {PROOF}", 401)
        proof = form.get("client_assertion", "")
        named = client_in(proof)
        if client_id and client_id != named:
            raise OAuthError("invalid_client", "client_id is another than that of client_assertion", 401)
        if is_document(named) and not self._documents.knows(named):
            await self._lookups.count(address)  # nobody has signed in for this
        client = await self.find(named)
        if not client.keyed:
            raise OAuthError("invalid_client", "this client has told no keys; it cannot use client_assertion", 401)
        await self._proofs.check(proof, client, base, address)
        return replace(client, proven=True)

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
        secret = None if metadata.method in ("none", KEYED) else f"mcp_secret_{secrets.token_urlsafe(32)}"
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
    client = Client(
        client_id=row.client_id,
        name=row.name,
        redirect_uris=tuple(row.redirect_uris),
        grant_types=tuple(grants),
        secret_digest=row.secret_digest,
        owned=row.owner_id is not None,
    ).with_keys(row.attributes.get("token_endpoint_auth_method"), row.attributes)
    able = client.keyed or client.secret_digest is not None
    return replace(client, acts=client.owned and able and "client_credentials" in grants)


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
