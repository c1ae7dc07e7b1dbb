"""As whom to ask: the client that we are at an authorization server (eras.md AU-24, AU-25).

In this order: what the operator has registered there, the URL that describes us (CIMD), a registration of our own
(RFC 7591). What an issuer has given is never used at another.
"""

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from metamcp_asgi.config.snapshot import GrantSpec
from metamcp_asgi.grants.discovery import Issuer
from metamcp_asgi.grants.fetch import Fetch, GrantError

if TYPE_CHECKING:
    from mcp.shared.auth import OAuthClientInformationFull

__all__ = ["CALLBACK", "DOCUMENT", "KEYED", "Client", "Ourselves", "client_for", "document", "given"]

CALLBACK: Final = "/fe-oauth/callback"
"""The redirect URI that MetaMCP registered at the servers' authorization servers."""
DOCUMENT: Final = "/oauth/client-metadata.json"
NAME: Final = "metamcp-asgi"
KEYED: Final = "private_key_jwt"
"""How a client authenticates whose private key is configured; see ``proof``."""
_METHODS: Final = ("client_secret_basic", "client_secret_post", "none")
"""How we can authenticate at a token endpoint where we have registered ourselves, the best first."""


class Client(Struct, frozen=True):
    """A client at one issuer; ``method`` is how it authenticates at the token endpoint.

    A private key is not here: this is kept with the tokens, and travels in ``state``.
    """

    issuer: str
    id: str
    secret: str | None = None
    method: str = "none"
    expires: float | None = None
    """When the secret ends, in seconds since the epoch."""
    scope: str | None = None
    """What it may ask for, if it was registered for that only."""


class Ourselves(Struct, frozen=True):
    """How we describe ourselves to authorization servers.

    ``document`` is the URL of our client metadata document; ``None`` when others cannot read it there.
    """

    redirect_uri: str
    document: str | None = None

    @classmethod
    def at(cls, base: str) -> "Ourselves":
        """Return how a gateway describes itself.

        Args:
            base: Its public URL, without a slash at its end.
        """
        return cls(base + CALLBACK, base + DOCUMENT if base.startswith("https://") else None)


def document(ourselves: Ourselves) -> dict[str, object]:
    """Return our client metadata document (CIMD, RFC 7591 section 2)."""
    return {"client_id": ourselves.document, **_metadata(ourselves, "none", None)}


def given(spec: GrantSpec) -> Client | None:
    """Return the client that the operator has registered, at an issuer that is yet to be found."""
    if spec.client_id is None:
        return None
    return Client("", spec.client_id, spec.client_secret, "none" if spec.private_key is None else KEYED)


async def client_for(
    fetch: Fetch,
    found: Issuer,
    ourselves: Ourselves,
    *,
    given: Client | None,
    known: Client | None,
    scope: str | None,
    now: float,
) -> Client:
    """Return the client to be at an issuer.

    Args:
        fetch: Sends requests.
        found: The issuer.
        ourselves: How we describe ourselves.
        given: What the operator has registered; its issuer is taken to be this one.
        known: What was used last, perhaps at another issuer.
        scope: What will be asked for.
        now: The present time, in seconds since the epoch.

    Raises:
        GrantError: The issuer knows no way to register, or is not the one that what was given is for.
    """
    if given is not None:
        if known is not None and known.id == given.id and known.issuer != found.name:
            # Whoever runs the server could have its secret sent anywhere.
            raise GrantError(
                f"is authorized by {found.name} now and not, as before, by {known.issuer}, for which its clientId "
                "is; if that is right, add the server anew"
            )
        secret = given.secret
        return Client(found.name, given.id, secret, _method(found, secret) if given.method == "none" else given.method)
    if found.documents and ourselves.document is not None:
        return Client(found.name, ourselves.document)
    if known is not None and known.issuer == found.name and _usable(known, scope, now):
        return known
    if found.registration_endpoint is None:
        raise GrantError(
            f"is authorized by {found.name}, which registers no clients by itself: register {NAME} there with the "
            f"redirect URI {ourselves.redirect_uri} and give its id as oauth.clientId (and clientSecret or privateKey)"
        )
    return await _register(fetch, found, found.registration_endpoint, ourselves, scope)


def _usable(known: Client, scope: str | None, now: float) -> bool:
    if known.expires is not None and known.expires <= now + 60:
        return False
    return known.scope is None or set((scope or "").split()) <= set(known.scope.split())


async def _register(fetch: Fetch, found: Issuer, endpoint: str, ourselves: Ourselves, scope: str | None) -> Client:
    import httpx2
    from mcp.client.auth import OAuthRegistrationError
    from mcp.client.auth.oauth2 import check_registration_usable
    from mcp.client.auth.utils import handle_registration_response

    method = next((method for method in _METHODS if not found.methods or method in found.methods), "none")
    response = await fetch(httpx2.Request("POST", endpoint, json=_metadata(ourselves, method, scope)))
    try:
        registered = await handle_registration_response(response)
        if registered.token_endpoint_auth_method is None:
            # RFC 7591 section 2: what is left out is client_secret_basic, for who has a secret.
            registered.token_endpoint_auth_method = "client_secret_basic" if registered.client_secret else "none"
        check_registration_usable(registered)
    except OAuthRegistrationError as error:
        raise GrantError(f"is authorized by {found.name}, which did not register us: {_short(error)}") from None
    return _registered(found, registered)


def _registered(found: Issuer, told: "OAuthClientInformationFull") -> Client:
    return Client(
        issuer=found.name,
        id=told.client_id,
        secret=told.client_secret,
        method=told.token_endpoint_auth_method or "none",
        expires=float(told.client_secret_expires_at) if told.client_secret_expires_at else None,
        scope=told.scope,
    )


def _method(found: Issuer, secret: str | None) -> str:
    if secret is None:
        return "none"
    # RFC 8414 section 2: what says nothing supports client_secret_basic.
    return "client_secret_post" if found.methods and "client_secret_basic" not in found.methods else _METHODS[0]


def _metadata(ourselves: Ourselves, method: str, scope: str | None) -> dict[str, object]:
    return ({"scope": scope} if scope else {}) | {
        "client_name": NAME,
        "redirect_uris": [ourselves.redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
        "application_type": "web",  # a hosted gateway (AU-24)
    }


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
