"""Rewrites the URIs in results of servers that share a URI with another one (eras.md 2.14).

Only such servers' results are ever decoded here.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from metamcp_asgi.protocol.jsonrpc import Members, encode

__all__ = ["published_uris"]


def published_uris(members: Members, published: Callable[[str], str]) -> Members:
    """Return a result with its URIs as the endpoint publishes them.

    Covers the contents of a resource, resource links, and resources embedded in a tool's or prompt's content.

    Args:
        members: The result.
        published: Gives the published form of one of the server's own URIs.
    """
    changed = dict(members)
    for member in ("contents", "content", "messages"):
        if member in changed:
            changed[member] = Raw(encode(_rewritten(msgspec.json.decode(changed[member]), published)))
    return changed


def _rewritten(node: Any, published: Callable[[str], str]) -> Any:
    if isinstance(node, list):
        return [_rewritten(item, published) for item in node]
    if not isinstance(node, dict):
        return node
    changed = {
        name: _rewritten(value, published) if name in ("content", "resource") else value for name, value in node.items()
    }
    if isinstance(uri := changed.get("uri"), str):
        changed["uri"] = published(uri)
    return changed
