"""What clients ask by themselves: for tokens, whether one is good, to end one, who it is of, to be registered.

Each answer is JSON that nobody may keep. Knows the grant types; knows nothing of pages.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from metamcp_asgi.asgi.bearer import Rejected, base_of, names_this_machine
from metamcp_asgi.asgi.bucket import Counting
from metamcp_asgi.config.snapshot import Snapshot
from metamcp_asgi.oauth.assertions import Assertions
from metamcp_asgi.oauth.attempts import Attempts, address_of
from metamcp_asgi.oauth.bodies import form_in, json_in
from metamcp_asgi.oauth.clients import Clients
from metamcp_asgi.oauth.errors import OAuthError
from metamcp_asgi.oauth.exchange import ACCESS_TOKEN, Exchange
from metamcp_asgi.oauth.grants import Granted, Grants
from metamcp_asgi.oauth.metadata import GRANT_TYPES, Client
from metamcp_asgi.oauth.resources import audience_of, known_scopes, scopes_within
from metamcp_asgi.oauth.signing import Signing
from metamcp_asgi.store.models import User
from metamcp_asgi.store.repository import Store
from metamcp_asgi.tokens.verifier import Verifier

__all__ = ["TokenEndpoints"]

WRONG_PER_MINUTE: Final = 20
"""Wrong requests of one address; MetaMCP's limit."""

REGISTRATIONS_PER_MINUTE: Final = 20

VOUCHED_PER_MINUTE: Final = 600
"""Good assertions and subject tokens of one client; each is a transaction that writes."""

_encode: Final = msgspec.json.Encoder().encode


class TokenEndpoints:
    """Answers ``/oauth/token`` and its neighbours.

    Args:
        clients: Knows the clients.
        grants: Knows what they were granted.
        readers: Read what the OpenID provider vouches for, by their grant types; empty: there is none.
        signing: Signs access tokens.
        verifier: Verifies them.
        store: Gives the open store.
        snapshot: Gives what is served at the time.
        reload: Has the snapshot know what has just been written.
        app_url: Public URL of the gateway; ``None``: the one that a request came to.
        counting: Counts what is wrong, and what comes too often.
    """

    def __init__(
        self,
        clients: Clients,
        grants: Grants,
        readers: Mapping[str, Assertions | Exchange],
        signing: Signing,
        verifier: Verifier,
        store: Callable[[], Awaitable[Store]],
        snapshot: Callable[[], Snapshot],
        reload: Callable[[], Awaitable[Any]],
        app_url: str | None,
        counting: Counting,
    ) -> None:
        self._clients = clients
        self._grants = grants
        self._readers = readers
        self._signing = signing
        self._verifier = verifier
        self._store = store
        self._snapshot = snapshot
        self._reload = reload
        self._app_url = app_url
        self._wrong = Attempts(counting, "wrong", WRONG_PER_MINUTE)
        self._registrations = Attempts(counting, "registration", REGISTRATIONS_PER_MINUTE)
        self._vouchings = Attempts(counting, "vouched", VOUCHED_PER_MINUTE)

    async def token(self, request: Request) -> Response:
        """Answer ``POST /oauth/token``."""
        return await self._answered(request, self._token)

    async def revoke(self, request: Request) -> Response:
        """Answer ``POST /oauth/revoke`` (RFC 7009): with 200, whatever the token was."""
        return await self._answered(request, self._revoke)

    async def introspect(self, request: Request) -> Response:
        """Answer ``POST /oauth/introspect`` (RFC 7662), to clients that authenticate and of their own tokens only."""
        return await self._answered(request, self._introspect)

    async def register(self, request: Request) -> Response:
        """Answer ``/oauth/register`` (RFC 7591); ``GET`` tells people what it is for."""
        if request.method != "POST":
            text = (
                'POST the metadata of a client here (RFC 7591), for example {"redirect_uris": ["http://127.0.0.1/"]}.'
            )
            return _json({"message": text})
        try:
            await self._registrations.count(address_of(request.scope))
            return _json(await self._clients.register(await json_in(request)), 201)
        except OAuthError as error:
            return _refused(error)

    async def userinfo(self, request: Request) -> Response:
        """Answer ``GET /oauth/userinfo``: who the access token in the header is of."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise Rejected(401, "invalid_token", "An access token is needed")
            claims = await self._verifier.ours(token.strip().encode(), base_of(request.scope, self._app_url))
        except Rejected as error:
            return _challenged(error)
        kind, _, identity = claims["sub"].partition(":")
        told = {"sub": claims["sub"], "scope": claims["scope"]}
        if kind == "user":
            async with (await self._store()).read() as tx:
                user = await tx.find(User, id=uuid.UUID(identity))
            if user is not None:
                told |= {"email": user.email, "name": user.name or user.email, "preferred_username": user.email}
        return _json(told)

    async def _answered(self, request: Request, answer: Callable[..., Awaitable[dict[str, Any]]]) -> Response:
        try:
            form = await form_in(request)
            client = await self._clients.authenticated(request, form, self._named(request, form))
            return _json(await answer(request, form, client))
        except OAuthError as error:
            # Only who is wrong is held up: many clients may share the address of a proxy.
            try:
                await self._wrong.count(address_of(request.scope))
            except OAuthError as too_many:
                return _refused(too_many)
            return _refused(error)

    async def _token(self, request: Request, form: Mapping[str, str], client: Client) -> dict[str, Any]:
        base = base_of(request.scope, self._app_url)
        kind, resource = form.get("grant_type", ""), form.get("resource", "").rstrip("/")
        if kind == "authorization_code":
            redirect_uri, verifier = form.get("redirect_uri", ""), form.get("code_verifier", "")
            granted = await self._grants.redeem(client, form.get("code", ""), verifier, redirect_uri, resource)
        elif kind == "refresh_token":
            granted = await self._grants.refresh(client, form.get("refresh_token", ""), form.get("scope", ""), resource)
        elif kind == "client_credentials":
            return await self._itself(client, form, base)
        elif (reader := self._readers.get(kind)) is not None:
            return await self._vouched(reader, client, form, base)
        else:
            text = f"grant_type may be {', '.join((*GRANT_TYPES, *self._readers))}"
            raise OAuthError("unsupported_grant_type", text)
        return await self._issued(base, f"user:{granted.user}", granted)

    def _named(self, request: Request, form: Mapping[str, str]) -> str:
        """Return our issuer.

        Raises:
            OAuthError: Something that was made for one server is shown, and which one we are only the request says.
        """
        base = base_of(request.scope, self._app_url)
        made = "client_assertion" in form or form.get("grant_type") in self._readers
        # Else whoever has one that was made for them could show it here, and call us by their name.
        if made and self._app_url is None and not names_this_machine(base):
            raise OAuthError("invalid_request", "this needs APP_URL, by which the gateway knows its own name")
        return base

    async def _vouched(
        self, reader: Assertions | Exchange, client: Client, form: Mapping[str, str], base: str
    ) -> dict[str, Any]:
        """Return what the person's OpenID provider lets a client have, without anybody being asked."""
        if client.owned and not await self._known(f"client:{client.client_id}"):
            raise OAuthError("unauthorized_client", "the owner of this client is disabled")
        vouched = await reader.read(form, client, base)
        await self._vouchings.count(client.client_id)
        audience, endpoint = audience_of(self._snapshot(), base, [vouched.resource])
        wanted = form.get("resource", "").rstrip("/")
        if wanted and audience_of(self._snapshot(), base, [wanted])[0] != audience:
            raise OAuthError("invalid_target", "resource is not the one that the assertion is for")
        scope = scopes_within(self._snapshot(), endpoint, vouched.scope, form.get("scope", ""))
        user = await reader.vouching.person(vouched.known)
        subject = f"user:{user.id}"
        if endpoint and (not await self._known(subject) or endpoint not in self._snapshot().people[subject]):
            raise OAuthError("invalid_target", f"the person may not use endpoint {endpoint}; it is somebody else's")
        await self._clients.used(client.client_id)
        granted = await self._grants.vouched(user, client, vouched, scope, audience, endpoint)
        issued = await self._issued(base, subject, granted)
        return issued if vouched.once else {**issued, "issued_token_type": ACCESS_TOKEN}

    async def _itself(self, client: Client, form: Mapping[str, str], base: str) -> dict[str, Any]:
        """Return a token with which a client acts for its owner by itself."""
        if not client.acts:
            raise OAuthError("unauthorized_client", "only a client that somebody made for this may act by itself")
        resource = form.get("resource", "")
        audience, endpoint = audience_of(self._snapshot(), base, [resource] if resource else [])
        scope = " ".join(known_scopes(self._snapshot(), endpoint, form.get("scope", "")))
        granted = Granted(id="", user="", client_id=client.client_id, scope=scope, audience=audience)
        return await self._issued(base, f"client:{client.client_id}", granted)

    async def _issued(self, base: str, subject: str, granted: Granted) -> dict[str, Any]:
        await self._known(subject)
        claims = {
            "iss": base,
            "sub": subject,
            "aud": granted.audience,
            "client_id": granted.client_id,
            "scope": granted.scope,
            **({"gid": granted.id} if granted.id else {}),
        }
        token, life = await self._signing.token(claims, granted.until)
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": life, "scope": granted.scope}
        return answer | ({"refresh_token": granted.refresh} if granted.refresh else {})

    async def _known(self, subject: str) -> bool:
        """Tell whether somebody can be here, who may be new."""
        if subject not in self._snapshot().people:
            await self._reload()
        return subject in self._snapshot().people

    async def _revoke(self, request: Request, form: Mapping[str, str], client: Client) -> dict[str, Any]:
        token = form.get("token", "")
        grant = self._grants.grant_of(token)
        if grant is None:
            try:
                claims = await self._verifier.ours(token.encode(), base_of(request.scope, self._app_url))
            except Rejected:
                return {}
            grant = claims.get("gid")
        if grant:
            await self._grants.revoke(client, grant)
        return {}

    async def _introspect(self, request: Request, form: Mapping[str, str], client: Client) -> dict[str, Any]:
        if not client.proven:
            raise OAuthError("invalid_client", "only a client that authenticates may ask this", 401)
        token, base = form.get("token", ""), base_of(request.scope, self._app_url)
        row = await self._grants.live(client, token)
        if row is not None:
            told = {"active": True, "token_type": "refresh_token", "client_id": row.client_id, "scope": row.scope}
            return told | {"sub": f"user:{row.user_id}", "aud": row.audience, "iss": base}
        try:
            claims = await self._verifier.ours(token.encode(), base)
        except Rejected:
            return {"active": False}
        if claims.get("client_id") != client.client_id:
            return {"active": False}
        told = {name: claims[name] for name in ("scope", "client_id", "sub", "aud", "iss", "exp", "iat", "jti")}
        return {"active": True, "token_type": "Bearer", **told}


def _json(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    kept = {"cache-control": "no-store", "pragma": "no-cache", "x-content-type-options": "nosniff"}
    return Response(_encode(body), status, {**kept, **(headers or {})}, "application/json")


def _refused(error: OAuthError) -> Response:
    headers = {"retry-after": str(error.wait)} if error.wait else {}
    if error.status == 401:
        headers["www-authenticate"] = 'Basic realm="MetaMCP"'  # RFC 6749 5.2
    return _json({"error": error.error, "error_description": error.description}, error.status, headers)


def _challenged(error: Rejected) -> Response:
    challenge = f'Bearer realm="MetaMCP", error="{error.error}", error_description="{error.description}"'
    body = {"error": error.error, "error_description": error.description}
    return _json(body, error.status, {"www-authenticate": challenge})
