"""What ``initialize`` agrees on: a revision, and what its client can be asked for in the words of that revision."""

from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol.capabilities import NOTHING, Capabilities, read
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, Members, encode
from metamcp_asgi.protocol.revisions import negotiate

__all__ = ["expressible", "read_handshake"]

_UI: Final = "io.modelcontextprotocol/ui"
"""The one extension that legacy sessions declare; tasks are another thing before 2026-07-28 (eras.md 2.13)."""
MAX_CAPABILITIES: Final = 16 * 1024


def read_handshake(params: Members) -> tuple[str, Capabilities]:
    """Return the revision of a new session (V-03) and its client's capabilities.

    Args:
        params: The params of the ``initialize`` request.

    Raises:
        ProtocolError: They are malformed.
    """
    try:
        requested = msgspec.json.decode(params.get("protocolVersion", Raw(b"null")), type=str)
    except msgspec.DecodeError:
        raise ProtocolError(INVALID_PARAMS, "params.protocolVersion must be a string") from None
    revision = negotiate(requested)
    declared = bytes(params.get("capabilities", Raw(b"{}")))
    if len(declared) > MAX_CAPABILITIES:
        raise ProtocolError(INVALID_PARAMS, f"params.capabilities is larger than {MAX_CAPABILITIES} bytes")
    try:
        capabilities = NOTHING if declared == b"null" else read(declared)
    except msgspec.DecodeError:
        raise ProtocolError(INVALID_PARAMS, "params.capabilities must be an object") from None
    return revision, expressible(capabilities, revision)


def expressible(capabilities: Capabilities, revision: str) -> Capabilities:
    """Return what of ``capabilities`` a server can ask for in messages of a legacy revision (eras.md 2.17).

    Args:
        capabilities: What a client declared.
        revision: The revision of its session.
    """
    extensions: dict[str, Any] = msgspec.json.decode(capabilities.extensions) if capabilities.extensions else {}
    latest = revision >= "2025-11-25"
    return replace(
        capabilities,
        form=capabilities.form and revision >= "2025-06-18",
        url=capabilities.url and latest,
        tools=capabilities.tools and latest,
        context=capabilities.context and latest,
        extensions=encode({_UI: extensions[_UI]}) if _UI in extensions else b"",
    )
