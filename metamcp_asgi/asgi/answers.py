"""JSON answers that a layer gives by itself, in the shape that MetaMCP's clients know.

Knows ASGI messages and the time of day; knows nothing of why a layer answers.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec
from starlette.types import Scope, Send

__all__ = ["send_json", "send_refusal", "timestamp"]

_encode = msgspec.json.Encoder().encode


def timestamp() -> str:
    """Return the present time as JavaScript's ``toISOString`` writes it: UTC, milliseconds, ``Z``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


async def send_json(
    scope: Scope, send: Send, status: int, content: bytes, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send one complete JSON answer; to ``HEAD`` the headers only (RFC 9110 9.3.2).

    Args:
        scope: The request's scope; only its method is read.
        send: Where the answer goes.
        status: HTTP status.
        content: The encoded JSON document.
        headers: More headers, names in lower case.
    """
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(content)),
                # A 404 may be cached without being asked to (RFC 9110 15.1), and endpoints come and go.
                (b"cache-control", b"no-store"),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})


async def send_refusal(
    scope: Scope, send: Send, status: int, body: Mapping[str, object], headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send ``body`` with MetaMCP's ``timestamp`` added; arguments as for ``send_json``."""
    await send_json(scope, send, status, _encode({**body, "timestamp": timestamp()}), headers)
