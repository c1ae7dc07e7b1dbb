"""The sites of our authorization server, by their paths: the composition root of this room."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from metamcp_asgi.asgi.answers import send_refusal
from metamcp_asgi.asgi.auth import Access
from metamcp_asgi.asgi.bearer import base_of
from metamcp_asgi.asgi.bucket import Counting
from metamcp_asgi.asgi.origin import OriginGuard
from metamcp_asgi.config.oauth import BASE_SCOPE
from metamcp_asgi.config.snapshot import Snapshot
from metamcp_asgi.oauth.assertions import ID_JAG_PROFILE, Assertions
from metamcp_asgi.oauth.attempts import Attempts
from metamcp_asgi.oauth.authorize import Authorize
from metamcp_asgi.oauth.clients import Clients
from metamcp_asgi.oauth.documents import Documents
from metamcp_asgi.oauth.exchange import Exchange
from metamcp_asgi.oauth.grants import Grants
from metamcp_asgi.oauth.metadata import GRANT_TYPES, JWT_BEARER, METHODS
from metamcp_asgi.oauth.proofs import PROOFS_PER_MINUTE, Proofs
from metamcp_asgi.oauth.signing import Signing
from metamcp_asgi.oauth.token import TokenEndpoints
from metamcp_asgi.oauth.vouching import Vouching
from metamcp_asgi.outward.guard import Guard
from metamcp_asgi.protocol.sealed import KeyRing
from metamcp_asgi.signin.people import for_people
from metamcp_asgi.signin.provider import Provider
from metamcp_asgi.signin.sessions import Sessions
from metamcp_asgi.store.services.oauth import TOKEN_EXCHANGE
from metamcp_asgi.tokens.verifier import Verifier

__all__ = ["authorization_server"]

_GUARDED: Final = Access(name="oauth")

LOOKUPS_PER_MINUTE: Final = 20
"""Documents and keys of clients for which one address has us ask others, without anybody having signed in."""


def authorization_server(
    sessions: Sessions,
    verifier: Verifier,
    snapshot: Callable[[], Snapshot],
    reload: Callable[[], Awaitable[Any]],
    *,
    secret_keys: tuple[bytes, ...],
    guard: Guard,
    counting: Counting,
    app_url: str | None = None,
    provider: Provider | None = None,
    hosts: Collection[str] | None = None,
    origins: Collection[str] = (),
) -> Mapping[str, ASGIApp]:
    """Return the sites; they are there while an endpoint takes our tokens.

    Args:
        sessions: Who is signed in.
        verifier: Verifies access tokens; is told where our keys are.
        snapshot: Gives what is served at the time.
        reload: Has the snapshot know what has just been written.
        secret_keys: Seal refresh tokens and what pages ask.
        guard: Where documents of clients may be.
        counting: Counts what comes too often.
        app_url: Public URL of the gateway; ``None``: the one that a request came to.
        provider: Where people sign in; what it signed is taken for grants. ``None``: nothing is.
        hosts: ``Host`` values to answer, as for ``OriginGuard``.
        origins: ``Origin`` values to answer besides our own.
    """
    store, keys = sessions.store, KeyRing(secret_keys)
    documents = Documents(guard)
    lookups = Attempts(counting, "looked up", LOOKUPS_PER_MINUTE)
    proofs = Proofs(store, guard, lookups, Attempts(counting, "proof", PROOFS_PER_MINUTE))
    clients = Clients(store, documents, proofs, lookups)
    grants = Grants(store, keys, reload)
    signing = Signing(store)
    verifier.own = signing.public
    verifier.closing += (documents.aclose, proofs.aclose)
    readers: dict[str, Assertions | Exchange] = {}
    if provider is not None:
        readers[JWT_BEARER] = Assertions(Vouching(provider, store, what="assertion", error="invalid_grant"))
        readers[TOKEN_EXCHANGE] = Exchange(Vouching(provider, store, what="subject token", error="invalid_request"))
    tokens = TokenEndpoints(clients, grants, readers, signing, verifier, store, snapshot, reload, app_url, counting)

    async def published(request: Request) -> Response:
        body = msgspec.json.encode({"keys": list(await signing.public())})
        return Response(body, 200, {"cache-control": "max-age=300"}, "application/json")

    asked = Router(
        [
            Route("/oauth/token", tokens.token, methods=["POST"]),
            Route("/oauth/revoke", tokens.revoke, methods=["POST"]),
            Route("/oauth/introspect", tokens.introspect, methods=["POST"]),
            Route("/oauth/register", tokens.register, methods=["GET", "POST"]),
            Route("/oauth/userinfo", tokens.userinfo, methods=["GET", "POST"]),
            Route("/oauth/jwks.json", published, methods=["GET"]),
        ],
        redirect_slashes=False,
        default=_nothing,
    )
    authorize = Authorize(clients, grants, snapshot, keys, app_url, counting)
    page = for_people(
        Router([Route("/oauth/authorize", authorize.__call__, methods=["GET", "POST"])], redirect_slashes=False),
        sessions,
        sessions.place,
        required=False,
        hosts=hosts,
        origins=origins,
    )
    served = partial(_WhileWanted, snapshot=snapshot)
    guarded = served(OriginGuard(asked, hosts=hosts, origins=origins))
    discovery = served(partial(_discovery, app_url, tuple(readers)))
    return {
        "/oauth": guarded,
        "/oauth/authorize": served(page),
        "/.well-known/oauth-authorization-server": discovery,
        "/.well-known/openid-configuration": discovery,
    }


class _WhileWanted:
    """Serve an application while an endpoint takes tokens of ours; otherwise there is nothing here.

    Args:
        app: The application inside.
        snapshot: Gives what is served at the time.
    """

    def __init__(self, app: Any, snapshot: Callable[[], Snapshot]) -> None:
        self.app = app
        self._snapshot = snapshot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        endpoints = self._snapshot().endpoints.values()
        if not any(each.oauth is not None and not each.oauth.issuer for each in endpoints):
            await _nothing(scope, receive, send)
            return
        root: str = scope.get("root_path", "")
        path: str = scope["path"]
        # As in ``NamespaceRouter``: some hosts leave the mount point out of the path.
        inside = path[len(root) :] if root and path.startswith(root + "/") else path
        await self.app({**scope, "path": root + inside, "metamcp.endpoint": _GUARDED}, receive, send)


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    await send_refusal(scope, send, 404, {"error": "Not found", "message": "There is no authorization server here."})


async def _discovery(app_url: str | None, vouched: tuple[str, ...], scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with RFC 8414's document, which is OpenID Connect's, too, and names one issuer in either."""
    if scope["path"].removeprefix(scope.get("root_path", "")).count("/") > 2:  # of another issuer
        await _nothing(scope, receive, send)
        return
    from metamcp_asgi.config.jwk import ALGORITHMS  # with PyJWT, which a gateway does not need to start

    base = base_of(scope, app_url)
    document = {
        "issuer": base,
        "authorization_endpoint": f"{base}/oauth/authorize",
        "token_endpoint": f"{base}/oauth/token",
        "registration_endpoint": f"{base}/oauth/register",
        "revocation_endpoint": f"{base}/oauth/revoke",
        "introspection_endpoint": f"{base}/oauth/introspect",
        "userinfo_endpoint": f"{base}/oauth/userinfo",
        "jwks_uri": f"{base}/oauth/jwks.json",
        "scopes_supported": [BASE_SCOPE],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [*GRANT_TYPES, *vouched],
        "token_endpoint_auth_methods_supported": list(METHODS),
        "revocation_endpoint_auth_methods_supported": list(METHODS),
        "introspection_endpoint_auth_methods_supported": [each for each in METHODS if each != "none"],
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "revocation_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "introspection_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "client_id_metadata_document_supported": True,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        **({"authorization_grant_profiles_supported": [ID_JAG_PROFILE]} if vouched else {}),
    }
    await Response(msgspec.json.encode(document), 200, {"cache-control": "no-store"}, "application/json")(
        scope, receive, send
    )
