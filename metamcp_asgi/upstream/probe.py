"""Which era does a server speak? What an answer to ``server/discover`` tells (V-05 to V-08, eras.md 2.3).

Only reads messages; who sends the probe, and what follows, is the transports' matter. A verdict is about
the server, so it is remembered for as long as its configuration stays the same.
"""

import msgspec
from msgspec import UNSET

from metamcp_asgi.errors import UpstreamProtocolError
from metamcp_asgi.protocol.jsonrpc import (
    HEADER_MISMATCH,
    MISSING_CAPABILITY,
    UNSUPPORTED_VERSION,
    ErrorObject,
    Message,
)
from metamcp_asgi.protocol.revisions import ALL, LATEST_MODERN, LEGACY, MODERN
from metamcp_asgi.upstream import modern
from metamcp_asgi.upstream.request import Peer, Request

__all__ = ["DISCOVER", "judge"]

DISCOVER = modern.ModernLeg().params(Request("server/discover", {}), 0)


class _Versions(msgspec.Struct):
    supported: list[str] = []


def judge(answer: Message | None) -> Peer | None:
    """Return what a modern server said of itself, or ``None`` when the server has to be taken for legacy.

    Args:
        answer: The response to ``server/discover``; ``None`` when there was none that could be read.

    Raises:
        UpstreamProtocolError: The server speaks only revisions that we don't.
    """
    if answer is None:
        return None
    if answer.error is UNSET:
        return _discovered(answer)
    try:
        error = msgspec.json.decode(answer.error, type=ErrorObject)
    except msgspec.DecodeError:
        return None
    if error.code in (HEADER_MISMATCH, MISSING_CAPABILITY):
        return Peer(era="modern", revision=LATEST_MODERN, capabilities={"tools": {}, "prompts": {}, "resources": {}})
    if error.code == UNSUPPORTED_VERSION and error.data is not UNSET:
        supported = _supported(error.data)
        # A server that refuses 2026-07-28 and lists only handshake revisions advertises them explicitly.
        if supported and not set(supported) & set(ALL):
            raise UpstreamProtocolError(f"speaks only revisions {', '.join(supported)[:200]}, none of which we speak")
    return None


def _discovered(answer: Message) -> Peer | None:
    if answer.result is UNSET:
        return None
    try:
        versions = msgspec.json.decode(answer.result, type=modern.Discovered).supportedVersions
        if set(versions) & set(MODERN):
            return modern.peer_of(answer.result)
    except msgspec.DecodeError:
        return None
    if versions and not set(versions) & set(LEGACY):
        raise UpstreamProtocolError(f"speaks only revisions {', '.join(versions)[:200]}, none of which we speak")
    return None


def _supported(data: msgspec.Raw) -> list[str]:
    try:
        return msgspec.json.decode(data, type=_Versions).supported
    except msgspec.DecodeError:
        return []
