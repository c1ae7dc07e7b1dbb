"""What the gateway says of itself, in the words of either era."""

from typing import Any, Final

from msgspec import Raw

from metamcp_asgi import __version__
from metamcp_asgi.protocol.capabilities import TASKS
from metamcp_asgi.protocol.jsonrpc import encode
from metamcp_asgi.protocol.meta import SERVER_INFO as SERVER_INFO_KEY
from metamcp_asgi.protocol.revisions import ALL, LATEST_LEGACY

__all__ = ["SERVER_INFO", "SERVER_INFO_JSON", "discover_result", "initialize_result"]

SERVER_INFO: Final = {"name": "metamcp-asgi", "title": "MetaMCP", "version": __version__}
SERVER_INFO_JSON: Final = Raw(encode(SERVER_INFO))

# The same for every endpoint, whatever its servers can do now: lists may be empty (TO-01), and so the answer
# never depends on a server's health (eras.md 2.3).
_CAPABILITIES: Final[dict[str, Any]] = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "completions": {},
    "logging": {},
}
# Whether a server ever answers with a task, it decides per call; a client must know before that we could pass it on.
# Legacy revisions have another thing of that name (TK-06).
_EXTENSIONS: Final[dict[str, Any]] = {TASKS: {}}
_TASKS: Final[dict[str, Any]] = {"tasks": {"cancel": {}, "requests": {"tools": {"call": {}}}}}
"""The tasks of 2025-11-25. There is no list of them: it could show one client what another one does (TK-07)."""
_STATELESS: Final[dict[str, Any]] = {"tools": {}, "prompts": {}, "resources": {}, "completions": {}}
"""What is left for legacy sessions of which no process keeps anything (eras.md 3.4)."""
_UNKNOWN_TO: Final = {"2024-11-05": ("completions",)}
"""The capabilities that a revision has no flag for, though it may have the method (CO-01)."""

DISCOVER_TTL_MS: Final = 60_000


def discover_result(instructions: str, *, private: bool) -> bytes:
    """Return the ``DiscoverResult`` of an endpoint (I-02).

    Args:
        instructions: What a model should know of the endpoint; may be empty.
        private: Whether the endpoint asks for credentials.
    """
    result: dict[str, Any] = {
        "resultType": "complete",
        "supportedVersions": ALL,
        "capabilities": {**_CAPABILITIES, "extensions": _EXTENSIONS},
        "ttlMs": DISCOVER_TTL_MS,
        "cacheScope": "private" if private else "public",
        "_meta": {SERVER_INFO_KEY: SERVER_INFO},
    }
    return encode({**result, "instructions": instructions} if instructions else result)


def initialize_result(revision: str, instructions: str, *, stateless: bool = False) -> bytes:
    """Return the ``InitializeResult`` of an endpoint (I-06).

    Args:
        revision: The negotiated revision.
        instructions: What a model should know of the endpoint; may be empty.
        stateless: Whether nothing is kept of the session.
    """
    capabilities = _STATELESS if stateless else _CAPABILITIES
    result: dict[str, Any] = {
        "protocolVersion": revision,
        "capabilities": {
            **{k: v for k, v in capabilities.items() if k not in _UNKNOWN_TO.get(revision, ())},
            **(_TASKS if revision == LATEST_LEGACY and not stateless else {}),
        },
        "serverInfo": SERVER_INFO,
    }
    return encode({**result, "instructions": instructions} if instructions else result)
