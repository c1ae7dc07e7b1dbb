"""What a client says of itself, in a registration (RFC 7591) or in a document of its own (CIMD): read and checked.

Sans-IO. Knows what our server can do with a client; knows nothing of where its words come from.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from metamcp_asgi.oauth.errors import OAuthError
from metamcp_asgi.oauth.redirects import fault_of_redirect
from metamcp_asgi.store.services.inputs import Invalid
from metamcp_asgi.store.services.oauth import KEYED, TOKEN_EXCHANGE, public_keys

__all__ = ["GRANT_TYPES", "JWT_BEARER", "METHODS", "Client", "ClientMetadata", "read_metadata"]

GRANT_TYPES: Final = ("authorization_code", "refresh_token", "client_credentials")
JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
"""RFC 7523 2.1; there where an OpenID provider is set up."""

METHODS: Final = ("none", "client_secret_basic", "client_secret_post", KEYED)

_MOST_REDIRECTS: Final = 20
_LONGEST_NAME: Final = 200
_LONGEST: Final = 1000
_KEPT: Final = ("client_uri", "logo_uri", "tos_uri", "policy_uri", "software_id", "software_version", "scope")


class ClientMetadata(Struct, frozen=True, kw_only=True):
    """What a client says of itself; ``attributes`` is the rest of it that is worth keeping, its keys among it."""

    name: str
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...]
    method: str
    attributes: Mapping[str, Any]


class Client(Struct, frozen=True, kw_only=True):
    """A client as it is known here.

    ``document`` is the host of the document that describes it, if one does. ``owned`` says whether somebody made it,
    ``acts`` whether it may act for its owner by itself, which only such a one may. ``proven`` says whether it has shown
    that it is the one that it says. One with keys, in ``jwks`` or at ``jwks_uri``, must show that by one of these.
    """

    client_id: str
    name: str
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...]
    secret_digest: bytes | None = None
    document: str = ""
    owned: bool = False
    acts: bool = False
    proven: bool = False
    jwks: Sequence[Mapping[str, Any]] = ()
    jwks_uri: str = ""

    @property
    def keyed(self) -> bool:
        """Whether it authenticates with a key."""
        return bool(self.jwks or self.jwks_uri)

    def with_keys(self, method: object, attributes: Mapping[str, Any]) -> "Client":
        """Return the same with the keys that it told, if it authenticates with them.

        Args:
            method: How it authenticates.
            attributes: Those of ``ClientMetadata``.
        """
        if method != KEYED:
            return self
        return replace(self, jwks=attributes.get("jwks", {}).get("keys", ()), jwks_uri=attributes.get("jwks_uri", ""))


def read_metadata(given: Mapping[str, Any], method: str) -> ClientMetadata:
    """Return what a client says of itself.

    Args:
        given: The members, as they came.
        method: How it authenticates if it does not say.

    Raises:
        OAuthError: It cannot be a client of ours.
    """
    redirects = given.get("redirect_uris")
    if not isinstance(redirects, list) or not redirects or not all(isinstance(each, str) for each in redirects):
        raise OAuthError("invalid_redirect_uri", "redirect_uris must be a list of at least one URI")
    if len(redirects) > _MOST_REDIRECTS:
        raise OAuthError("invalid_redirect_uri", f"redirect_uris may have {_MOST_REDIRECTS} entries at most")
    for uri in redirects:
        if fault := fault_of_redirect(uri):
            raise OAuthError("invalid_redirect_uri", f"a redirect URI {fault}")
    grants = _texts(given, "grant_types", ("authorization_code", "refresh_token"))
    grants = tuple(each for each in grants if each in (*GRANT_TYPES, JWT_BEARER, TOKEN_EXCHANGE))
    if not grants:
        raise OAuthError("invalid_client_metadata", f"grant_types may be {', '.join(GRANT_TYPES)}")
    if "code" not in _texts(given, "response_types", ("code",)) and "authorization_code" in grants:
        raise OAuthError("invalid_client_metadata", 'response_types must have "code"')
    wanted = given.get("token_endpoint_auth_method", method)
    if wanted not in METHODS:
        raise OAuthError("invalid_client_metadata", f"token_endpoint_auth_method may be {', '.join(METHODS)}")
    name = given.get("client_name")
    name = " ".join(name.split())[:_LONGEST_NAME] if isinstance(name, str) else ""
    if not name.isprintable():
        raise OAuthError("invalid_client_metadata", "client_name must be text that can be seen")
    attributes: dict[str, Any] = _keys(given) if wanted == KEYED else {}
    for field in _KEPT:
        value = given.get(field)
        if value is None:
            continue
        if not isinstance(value, str) or len(value) > _LONGEST or not value.isprintable():
            raise OAuthError("invalid_client_metadata", f"{field} must be text of {_LONGEST} characters at most")
        if field.endswith("_uri") and not _is_web(value):
            raise OAuthError("invalid_client_metadata", f"{field} must be a URL")
        attributes[field] = value
    return ClientMetadata(
        name=name,
        redirect_uris=tuple(dict.fromkeys(redirects)),
        grant_types=grants,
        method=wanted,
        attributes=attributes,
    )


def _keys(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return where a client's public keys are: ``jwks``, or ``jwks_uri`` (RFC 7591 2)."""
    uri, jwks = given.get("jwks_uri"), given.get("jwks")
    if (uri is None) == (jwks is None):
        raise OAuthError("invalid_client_metadata", f"{KEYED} needs jwks or jwks_uri, and not both")
    if uri is not None:
        if not isinstance(uri, str) or len(uri) > _LONGEST or not uri.isprintable() or not _is_web(uri):
            raise OAuthError("invalid_client_metadata", "jwks_uri must be a URL")
        return {"jwks_uri": uri}
    try:
        return {"jwks": public_keys(jwks)}
    except Invalid as error:
        raise OAuthError("invalid_client_metadata", str(error)) from None


def _texts(given: Mapping[str, Any], field: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = given.get(field)
    if value is None:
        return default
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise OAuthError("invalid_client_metadata", f"{field} must be a list of texts")
    return tuple(value)


def _is_web(url: str) -> bool:
    try:
        return urlsplit(url).scheme in ("https", "http")
    except ValueError:
        return False
