"""The HTTP status of an error of ours that is not the request's fault: come back later, and when.

The body stays a JSON-RPC error, because an empty 4xx would send a modern client back to ``initialize`` (eras.md 2.12).
Where a stream has begun, its status was sent long ago, and the body says it all.
"""

from typing import Any, Final

from metamcp_asgi.protocol.outcome import Failure

__all__ = ["AWAY_SECONDS", "later"]

AWAY_SECONDS: Final = 5
"""Seconds after which a client may ask again when the processes cannot reach each other."""

_AWAY: Final = (503, ((b"retry-after", b"%d" % AWAY_SECONDS),))


def later(failure: Failure) -> tuple[int, tuple[tuple[bytes, bytes], ...]] | None:
    """Return status and headers of a failure that passes with time, ``None`` for any other.

    Args:
        failure: What became of a call.
    """
    if failure.cause == "away":
        return _AWAY
    if failure.cause == "limited":
        data: dict[str, Any] = failure.data
        return 429, ((b"retry-after", b"%d" % data["retryAfter"]),)
    return None
