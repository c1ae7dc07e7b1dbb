"""The metadata of protected resources (RFC 9728): of each endpoint that takes access tokens, and of no other.

A site: serve it where the path begins with ``METADATA``. Knows endpoints; knows nothing of tokens.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send

from metamcp_asgi.asgi.answers import send_json, send_refusal
from metamcp_asgi.asgi.bearer import METADATA, base_of
from metamcp_asgi.config.snapshot import Endpoint

__all__ = ["ResourceMetadata"]

_LEAVES: Final = ("", "mcp", "sse", "api")


class ResourceMetadata:
    """Tell clients whose tokens an endpoint takes.

    Args:
        endpoints: Gives the endpoints of the time by name.
        app_url: Public URL of the gateway; ``None``: the one that a request came to.
    """

    def __init__(self, endpoints: Callable[[], Mapping[str, Endpoint]], app_url: str | None) -> None:
        self._endpoints = endpoints
        self._app_url = app_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        document = self._document(scope)
        if document is None:
            message = "Nothing at this path takes access tokens."
            await send_refusal(scope, send, 404, {"error": "Not found", "message": message})
        elif scope["method"] not in ("GET", "HEAD"):
            body = {"error": "Method not allowed", "message": "This URL answers GET and HEAD only."}
            await send_refusal(scope, send, 405, body, [(b"allow", b"GET, HEAD")])
        else:
            await send_json(scope, send, 200, msgspec.json.encode(document))

    def _document(self, scope: Scope) -> dict[str, Any] | None:
        base = base_of(scope, self._app_url)
        place = str(scope["path"]).partition(METADATA)[2].rstrip("/")
        if not place:
            return self._root(base)
        _, first, name, leaf, *rest = (*place.split("/"), "", "", "")
        endpoint = self._endpoints().get(name)
        if first != "metamcp" or any(rest) or leaf not in _LEAVES or endpoint is None or endpoint.oauth is None:
            return None
        oauth = endpoint.oauth
        return _described(f"{base}{place}", [oauth.issuer or base], oauth.scopes, f"MetaMCP endpoint {name}")

    def _root(self, base: str) -> dict[str, Any] | None:
        """Return what is said of the whole gateway, for clients that look nowhere else (AU-05)."""
        found = [endpoint.oauth for endpoint in self._endpoints().values() if endpoint.oauth is not None]
        if not found:
            return None
        # Ours first: it is the only one that can issue a token for the whole gateway.
        issuers = dict.fromkeys(oauth.issuer or base for oauth in sorted(found, key=lambda oauth: oauth.issuer))
        common = [scope for scope in found[0].scopes if all(scope in oauth.scopes for oauth in found)]
        return _described(f"{base}/", list(issuers), common, "MetaMCP Protected Resource")


def _described(resource: str, issuers: list[str], scopes: Any, name: str) -> dict[str, Any]:
    document: dict[str, Any] = {
        "resource": resource,
        "authorization_servers": issuers,
        "bearer_methods_supported": ["header"],
        "resource_name": name,
    }
    if scopes:
        document["scopes_supported"] = list(scopes)
    return document
