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

__all__ = ["DISCOVER", "judge", "wants_retry"]

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
    code, supported = _error(answer)
    if code in (HEADER_MISMATCH, MISSING_CAPABILITY) or wants_retry(answer):
        return Peer(era="modern", revision=LATEST_MODERN, capabilities={"tools": {}, "prompts": {}, "resources": {}})
    if code == UNSUPPORTED_VERSION and supported and not set(supported) & set(ALL):
        raise UpstreamProtocolError(f"speaks only revisions {', '.join(supported)[:200]}, none of which we speak")
    # A server that refuses 2026-07-28 and lists only handshake revisions advertises them explicitly.
    return None


def wants_retry(answer: Message | None) -> bool:
    """Tell whether a server refused the version but speaks one of ours: it is modern and is to be asked again."""
    if answer is None or answer.error is UNSET:
        return False
    code, supported = _error(answer)
    return code == UNSUPPORTED_VERSION and bool(set(supported) & set(MODERN))


def _error(answer: Message) -> tuple[int, list[str]]:
    """Return the code of an error, and the versions that it says are supported."""
    try:
        error = msgspec.json.decode(answer.error or b"", type=ErrorObject)
        versions = msgspec.json.decode(error.data, type=_Versions) if error.data is not UNSET else _Versions()
    except msgspec.DecodeError:
        return 0, []
    return error.code, versions.supported


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
