"""Rewrites the URIs in results of servers that share a URI with another one (eras.md 2.14).

Only such servers' results are ever decoded here.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from metamcp_asgi.protocol.jsonrpc import Members, encode

__all__ = ["published_uris"]


def published_uris(members: Members, renamed: Mapping[str, str]) -> Members:
    """Return a result with its URIs as the endpoint publishes them.

    Covers the contents of a resource, resource links, and resources embedded in a tool's or prompt's content.

    Args:
        members: The result.
        renamed: The server's own URIs that are published in another form.
    """
    changed = dict(members)
    for member in ("contents", "content", "messages"):
        if member in changed:
            changed[member] = Raw(encode(_renamed(msgspec.json.decode(changed[member]), renamed)))
    return changed


def _renamed(node: Any, renamed: Mapping[str, str]) -> Any:
    if isinstance(node, list):
        return [_renamed(item, renamed) for item in node]
    if not isinstance(node, dict):
        return node
    changed = {
        name: _renamed(value, renamed) if name in ("content", "resource") else value for name, value in node.items()
    }
    if isinstance(uri := changed.get("uri"), str) and uri in renamed:
        changed["uri"] = renamed[uri]
    return changed
