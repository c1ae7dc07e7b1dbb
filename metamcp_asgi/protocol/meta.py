"""``_meta``: the fields that belong to one hop, and the stamps of the modern revisions on results.

Fields of a hop say who speaks on this connection; a gateway ends the hop, so it never forwards them but
writes its own (eras.md 2.5, T-45). Everything else in ``_meta`` passes through.
"""

from typing import Final

from msgspec import Raw, ValidationError

from metamcp_asgi.protocol.jsonrpc import Members, decode_members, encode

__all__ = [
    "CLIENT_CAPABILITIES",
    "CLIENT_INFO",
    "LOG_LEVEL",
    "PROGRESS_TOKEN",
    "PROTOCOL_VERSION",
    "RELATED_TASK",
    "SERVER_INFO",
    "SUBSCRIPTION_ID",
    "UNAVAILABLE",
    "end_to_end",
    "legacy_result",
    "modern_result",
]

PROTOCOL_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
CLIENT_INFO: Final = "io.modelcontextprotocol/clientInfo"
CLIENT_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
LOG_LEVEL: Final = "io.modelcontextprotocol/logLevel"
SERVER_INFO: Final = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION_ID: Final = "io.modelcontextprotocol/subscriptionId"
PROGRESS_TOKEN: Final = "progressToken"
RELATED_TASK: Final = "io.modelcontextprotocol/related-task"
"""Ties a message to a task of 2025-11-25."""
UNAVAILABLE: Final = "io.github.metamcp-asgi/unavailableServers"
"""Our own key on list results: which servers are missing from the list, and why."""

_HOP: Final = (PROTOCOL_VERSION, CLIENT_INFO, CLIENT_CAPABILITIES, LOG_LEVEL)
_COMPLETE: Final = Raw(b'"complete"')
_MODERN_ONLY: Final = ("resultType", "ttlMs", "cacheScope")


def end_to_end(meta: Members) -> Members:
    """Return the fields of a request's ``_meta`` that are for whoever serves the request in the end.

    The progress token is of one hop, too, but the leg that relays progress takes it out itself.
    """
    for key in _HOP:
        meta.pop(key, None)
    return meta


def modern_result(members: Members, server_info: Raw) -> bytes:
    """Return a result as a modern client expects it: typed, and signed with our own ``serverInfo`` (ME-01, ME-02)."""
    meta = _meta_of(members)
    meta[SERVER_INFO] = server_info
    return encode({"resultType": _COMPLETE, **members, "_meta": meta})


def legacy_result(members: Members) -> bytes:
    """Return a modern server's result without what legacy revisions do not know (eras.md 2.4)."""
    kept = {name: value for name, value in members.items() if name not in _MODERN_ONLY}
    if "_meta" in kept:
        meta = _meta_of(kept)
        meta.pop(SERVER_INFO, None)
        if meta:
            kept["_meta"] = Raw(encode(meta))
        else:
            del kept["_meta"]
    return encode(kept)


def _meta_of(result: Members) -> Members:
    """Return the ``_meta`` of a result; one that is no object, as the ``null`` of some servers, says nothing."""
    try:
        return decode_members(result["_meta"]) if "_meta" in result else {}
    except ValidationError:
        return {}
