"""API keys and access tokens: who calls, and may they use this endpoint?

Knows keys as digests only, and takes the key out of every request before it goes inward. Of access tokens it knows
whom to ask.
"""

import hmac
import math
import time
from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace
from starlette.types import ASGIApp, Receive, Scope, Send

from metamcp_asgi.asgi.answers import send_refusal
from metamcp_asgi.asgi.bearer import Rejected, Tokens, base_of, challenge
from metamcp_asgi.asgi.bucket import Bucket, Buckets, Take, WhenAway
from metamcp_asgi.asgi.fixed import always
from metamcp_asgi.asgi.query import hide_keys, key_in, without_keys
from metamcp_asgi.config.snapshot import ANONYMOUS, Endpoint, Key, OAuth, Principal, digest_of
from metamcp_asgi.errors import MetaMCPError

__all__ = ["Access", "Authenticate", "key_in_headers", "opened_by"]

FAILURES_PER_MINUTE = 20
"""Wrong keys from one address for one endpoint before 429; MetaMCP's limit."""

_CREDENTIALS = frozenset((b"authorization", b"x-api-key"))
# Without ``resource_metadata``, which would start an OAuth flow that cannot succeed (AU-06);
# a 401 without any challenge would break RFC 9110 15.5.2.
_CHALLENGE = ((b"www-authenticate", b'Bearer realm="MetaMCP"'),)


class Access(Struct, frozen=True):
    """Which keys an application asks for; an ``Endpoint`` will do as well.

    ``name`` is what a key's ``endpoints`` are compared with.
    """

    name: str = ""
    api_key_auth: bool = True
    query_param_auth: bool = False
    oauth: OAuth | None = None


class Authenticate:
    """Admit whoever has a key or an access token for the endpoint; who it is, is at ``metamcp.principal`` of the scope.

    The key is taken from ``X-API-Key``, else ``Authorization: Bearer``, else, where allowed, from ``?api_key=`` or
    ``?apikey=``. An access token is only taken from a header. The inner application sees none of these. Only HTTP is
    guarded: do not put an application that serves WebSockets behind this layer.

    Args:
        app: The application inside.
        keys: Keys by ``digest_of`` the key, or a callable that gives the present ones, called once per request.
        access: What is asked for: one for all requests, or a callable that finds it in the scope.
        clock: Seconds, never going backwards.
        take: Takes from buckets that many processes share, to count wrong keys in; ``None``: each process counts.
        when_away: What happens with wrong keys while shared buckets cannot be reached: ``local`` counts in this
            process's memory, ``refuse`` answers 429. Right keys are not held up.
        used: Called with the digest of each key that admitted a request; must be quick.
        tokens: Tells who an access token is of; without it, nobody has a good one.
        app_url: Public URL of the gateway, for challenges; ``None``: the one that the request came to.

    Example::

        from metamcp_asgi.asgi.auth import Authenticate
        from metamcp_asgi.config.snapshot import Key, Principal, digest_of

        async def hello(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": scope["metamcp.principal"].name.encode()})

        key = Key(digest_of("sk_mt_example"), Principal(id="key:1", kind="key", name="Ada"))
        app = Authenticate(hello, {key.digest: key})
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Callable[[], Mapping[bytes, Key]] | Mapping[bytes, Key],
        access: Callable[[Scope], Access | Endpoint] | Access | Endpoint = Access(),  # noqa: B008 - immutable
        *,
        clock: Callable[[], float] = time.monotonic,
        take: Take | None = None,
        when_away: WhenAway = "local",
        used: Callable[[bytes], object] | None = None,
        tokens: Tokens | None = None,
        app_url: str | None = None,
    ) -> None:
        self.app = app
        self._tokens = tokens
        self._app_url = app_url
        self._take = take
        self._when_away = when_away
        self._used = used
        self._keys = keys if callable(keys) else always(keys)
        self._access = access if callable(access) else always(access)
        self._clock = clock
        self._failures = Buckets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit or refuse one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        access = self._access(scope)
        query: bytes = scope.get("query_string", b"")
        if query:
            scope = hide_keys(scope)
        credentials: list[tuple[bytes, bytes]] = []
        headers: list[tuple[bytes, bytes]] = []
        for header in scope["headers"]:
            (credentials if header[0] in _CREDENTIALS else headers).append(header)
        if not access.api_key_auth and access.oauth is None:
            principal = _stranger(scope)
        else:
            presented = token = _key_in(credentials)
            if presented is None and query and access.api_key_auth and access.query_param_auth:
                presented = key_in(query)
            if presented is None:
                await self._ask(scope, send, access)
                return
            digest = digest_of(presented)
            key = self._keys().get(digest) if access.api_key_auth else None
            if key is not None and hmac.compare_digest(key.digest, digest):
                if key.endpoints is not None and access.name not in key.endpoints:
                    message = f"This API key does not open endpoint {access.name}."
                    body = {"error": "Access denied", "message": message}
                    challenges = self._challenge(scope, access) if access.oauth is not None else ()
                    await send_refusal(scope, send, 403, body, challenges)
                    return
                principal = key.principal
                if self._used is not None:
                    self._used(digest)
            else:
                try:
                    principal = await self._bearer(scope, access, token, digest)
                except Rejected as error:
                    await self._refuse(scope, send, access, error)
                    return
        inner = {
            **scope,
            "headers": headers,
            "metamcp.principal": principal,
        }
        if query:
            inner["query_string"] = without_keys(query)
        await self.app(inner, receive, send)

    async def _bearer(self, scope: Scope, access: Access | Endpoint, token: bytes | None, digest: bytes) -> Principal:
        """Return who an access token is of.

        Raises:
            Rejected: It is not good here, or what was presented is none.
        """
        if isinstance(access, Endpoint) and access.oauth is not None and self._tokens is not None and token is not None:
            return await self._tokens.principal(token, digest, access, base_of(scope, self._app_url))
        raise Rejected(401, "invalid_token", "The provided API key is invalid or expired", guessed=True)

    def _challenge(
        self,
        scope: Scope,
        access: Access | Endpoint,
        error: str = "",
        description: str = "",
        scopes: tuple[str, ...] = (),
    ) -> tuple[tuple[bytes, bytes], ...]:
        if isinstance(access, Endpoint) and access.oauth is not None:
            return (challenge(scope, self._app_url, access, error, description, scopes or None),)
        return _CHALLENGE

    async def _ask(self, scope: Scope, send: Send, access: Access | Endpoint) -> None:
        methods = ["X-API-Key header"] if access.api_key_auth else []
        if access.api_key_auth and access.query_param_auth:
            methods.append("query parameter (api_key or apikey)")
        body: dict[str, object] = {
            "error": "authentication_required",
            "error_description": "Authentication required via API key",
            "supported_methods": methods,
        }
        if access.oauth is not None:
            methods.append("Authorization header (Bearer token)")
            either = "API key or " if access.api_key_auth else ""
            body["error_description"] = f"Authentication required via {either}OAuth"
        await send_refusal(scope, send, 401, body, self._challenge(scope, access))

    async def _refuse(self, scope: Scope, send: Send, access: Access | Endpoint, why: Rejected) -> None:
        client = scope.get("client")
        wait = await self._count(str(client[0]) if client else "", access.name) if why.guessed else 0.0
        if wait:
            message = "Too many failed authentication attempts. Please try again later."
            body = {"error": "too_many_requests", "error_description": message}
            await send_refusal(scope, send, 429, body, [(b"retry-after", b"%d" % math.ceil(wait))])
            return
        error, told = why.error, why.error
        if why.status == 401 and access.api_key_auth:
            # MetaMCP's words, which depend on what might have been presented.
            told = "invalid_credentials" if access.oauth is not None else "invalid_api_key"
        body = {"error": told, "error_description": why.description}
        headers = self._challenge(scope, access, error if error != "access_denied" else "", why.description, why.scopes)
        await send_refusal(scope, send, why.status, body, headers)

    async def _count(self, address: str, name: str) -> float:
        """Count one wrong key, and return the seconds for which no other is looked at, 0.0 if this one is."""
        if self._take is not None:
            try:
                empty, debts = await self._take(name, [(f"failures {address}", FAILURES_PER_MINUTE, 60.0)])
            except MetaMCPError:
                if self._when_away == "refuse":
                    return 1.0
            else:
                return 0.0 if empty < 0 else Bucket.owing(FAILURES_PER_MINUTE, 60.0, debts[0], 0.0).wait(0.0)
        now = self._clock()
        failures = self._failures.get((address, name), FAILURES_PER_MINUTE, 60.0)
        wait = failures.wait(now)
        if not wait:
            failures.take(now)
        return wait


def _stranger(scope: Scope) -> Principal:
    client = scope.get("client")
    return replace(ANONYMOUS, address=str(client[0])) if client else ANONYMOUS


def opened_by(scope: Scope, keys: Mapping[bytes, Key]) -> Callable[[Endpoint], bool]:
    """Return what tells whether the caller of a request may use an endpoint: it is open, or the key opens it.

    Args:
        scope: The request; only keys in its headers count.
        keys: Keys by ``digest_of`` the key.
    """
    presented = key_in_headers(scope)
    key = keys.get(digest_of(presented)) if presented is not None else None
    if key is None:
        return lambda endpoint: endpoint.open
    return lambda endpoint: endpoint.open or key.endpoints is None or endpoint.name in key.endpoints


def key_in_headers(scope: Scope) -> bytes | None:
    """Return the first ``X-API-Key``, else the first bearer token, empty ones being none.

    Args:
        scope: The request.
    """
    return _key_in(scope["headers"])


def _key_in(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    bearer: bytes | None = None
    for name, value in headers:
        if name == b"x-api-key":
            if value:
                return bytes(value)
        elif name == b"authorization" and bearer is None and value[:7].lower() == b"bearer ":
            bearer = value[7:].strip() or None
    return bearer
