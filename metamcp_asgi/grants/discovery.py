"""Whom to ask for a token: from a server's challenge to its authorization server (eras.md AU-20, AU-26).

Sources: RFC 9728, RFC 8414, MCP basic/authorization/authorization-server-discovery.mdx. The documents and the order in
which they are looked for are the SDK's; what they must say to be trusted is decided here.
"""

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from msgspec import Struct

from metamcp_asgi.grants.fetch import Fetch, GrantError, check_installed

if TYPE_CHECKING:
    import httpx2
    from mcp.shared.auth import OAuthMetadata, ProtectedResourceMetadata

__all__ = ["Found", "Issuer", "discover", "issuer"]

_REVISION: Final = "2026-07-28"


class Issuer(Struct, frozen=True):
    """An authorization server, as its metadata describe it; checked.

    ``name`` is its issuer identifier, compared as a plain string everywhere (RFC 8414 section 3.3).
    """

    name: str
    authorization_endpoint: str
    token_endpoint: str
    registration_endpoint: str | None
    pkce: bool
    """Whether it supports PKCE with S256."""
    names_itself: bool
    """Whether it says ``iss`` in its authorization responses (RFC 9207)."""
    documents: bool
    """Whether a client may be a URL that describes it (CIMD)."""
    methods: tuple[str, ...]
    """How clients authenticate at the token endpoint; empty when it does not say."""
    scopes: tuple[str, ...]


class Found(Struct, frozen=True):
    """What a server asks of its callers.

    ``resource`` is what tokens must be for (RFC 8707); ``scope`` what to ask for, ``None`` for the server's default.
    """

    resource: str
    issuer: Issuer
    scope: str | None


async def discover(fetch: Fetch, url: str, challenge: str = "") -> Found:
    """Return what a server asks for.

    Args:
        fetch: Sends requests.
        url: The server's URL.
        challenge: Its ``WWW-Authenticate``, where it has sent one.

    Raises:
        GrantError: It does not say, or what it says contradicts itself.
    """
    check_installed()
    import httpx2
    from mcp.client.auth import utils
    from mcp.shared.auth_utils import resource_url_from_server_url

    refused = httpx2.Response(401, headers={"WWW-Authenticate": challenge} if challenge else {})
    named = utils.extract_resource_metadata_from_www_auth(refused)
    resource, prm = resource_url_from_server_url(url), None
    for place in utils.build_protected_resource_metadata_discovery_urls(named, url):
        prm = await _resource(fetch, place)
        if prm is not None:
            resource = _checked(prm, resource)
            break
    # Without such a document, servers of 2025-03-26 are authorization servers of their own.
    found = await issuer(fetch, str(prm.authorization_servers[0]) if prm is not None else None, url)
    scope = utils.extract_scope_from_www_auth(refused)
    if scope is None and prm is not None and prm.scopes_supported is not None:
        scope = " ".join(prm.scopes_supported)
    if scope is not None and "offline_access" in found.scopes and "offline_access" not in scope.split():
        scope = f"{scope} offline_access".strip()  # SEP-2207
    return Found(resource, found, scope or None)


async def issuer(fetch: Fetch, name: str | None, url: str = "") -> Issuer:
    """Return an authorization server by its issuer identifier.

    Args:
        fetch: Sends requests.
        name: The identifier; ``None``: the origin of ``url``.
        url: The URL of the server that it is for.

    Raises:
        GrantError: It has no metadata, or they are those of another one.
    """
    from mcp.client.auth import utils
    from mcp.shared.auth import OAuthMetadata
    from pydantic import ValidationError

    for place in utils.build_oauth_authorization_server_metadata_discovery_urls(name, url):
        response = await fetch(_get(place))
        if response.status_code != 200:
            continue
        try:
            told = OAuthMetadata.model_validate_json(response.content)
        except ValidationError:
            continue
        expected = name if name is not None else _origin(url)
        if not (str(told.issuer) == expected or (name is None and utils.issuers_match(str(told.issuer), expected))):
            raise GrantError(f"has metadata of another issuer at {place}: {told.issuer} instead of {expected}")
        return _issuer(told)
    where = name if name is not None else _origin(url)
    raise GrantError(f"wants OAuth, but no authorization server metadata (RFC 8414) were found for {where}")


def _issuer(told: "OAuthMetadata") -> Issuer:
    for endpoint in (told.authorization_endpoint, told.token_endpoint, told.registration_endpoint):
        if endpoint is not None and endpoint.scheme not in ("http", "https"):
            raise GrantError(f"has an authorization server with an endpoint that is no web address: {endpoint.scheme}")
    return Issuer(
        name=str(told.issuer),
        authorization_endpoint=str(told.authorization_endpoint),
        token_endpoint=str(told.token_endpoint),
        registration_endpoint=str(told.registration_endpoint) if told.registration_endpoint is not None else None,
        pkce="S256" in (told.code_challenge_methods_supported or ()),
        names_itself=bool(told.authorization_response_iss_parameter_supported),
        documents=bool(told.client_id_metadata_document_supported),
        methods=tuple(told.token_endpoint_auth_methods_supported or ()),
        scopes=tuple(told.scopes_supported or ()),
    )


async def _resource(fetch: Fetch, place: str) -> "ProtectedResourceMetadata | None":
    from mcp.shared.auth import ProtectedResourceMetadata
    from pydantic import ValidationError

    response = await fetch(_get(place))
    if response.status_code >= 500 or response.status_code == 429:
        # Says nothing of whether there is such a document, so it must not lead to another authorization server.
        raise GrantError(f"does not tell now who authorizes for it: HTTP {response.status_code} from {place}")
    if response.status_code != 200:
        return None
    try:
        return ProtectedResourceMetadata.model_validate_json(response.content)
    except ValidationError:
        return None


def _checked(prm: "ProtectedResourceMetadata", expected: str) -> str:
    from mcp.shared.auth_utils import check_resource_allowed

    resource = str(prm.resource)
    if not check_resource_allowed(requested_resource=expected, configured_resource=resource):
        raise GrantError(f"says that its tokens are for {resource}, which is not where it is ({expected})")
    return resource


def _get(url: str) -> "httpx2.Request":
    import httpx2

    return httpx2.Request("GET", url, headers={"Accept": "application/json", "MCP-Protocol-Version": _REVISION})


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
