"""What a client sent, read once: the headers that matter here, and the body within its bound."""

import asyncio
from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from starlette.types import Receive

from metamcp_asgi.errors import MetaMCPError
from metamcp_asgi.protocol import hops, trace

__all__ = ["BodyTooLarge", "ClientGone", "Headers", "read_body", "read_headers"]

_ROUTING: Final = frozenset({b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"mcp-session-id"})
_OF_ALL_HTTP: Final = frozenset({b"accept", b"content-type", b"content-length"})
_WANTED: Final = _ROUTING | _OF_ALL_HTTP | {b"last-event-id", hops.HEADER} | trace.HEADERS


BODY_SECONDS: Final = 30.0
"""How long a client may be silent in the middle of its body."""


class BodyTooLarge(MetaMCPError):
    """The body is larger than allowed."""


class ClientGone(MetaMCPError):
    """The client left, or fell silent, before its request was complete."""


class Headers(Struct, gc=False):
    """The headers of a request that MCP gives a meaning.

    ``values`` has the first value of each by its lower-case name; ``params`` every value of every ``Mcp-Param-*``;
    ``repeated`` the first routing header that came twice, which first-copy and last-copy readers would read differently
    (T-24); ``size`` all header bytes.
    """

    values: dict[bytes, bytes]
    params: dict[bytes, list[bytes]]
    repeated: bytes
    size: int


def read_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return what the header lines of an ASGI scope say to us."""
    values: dict[bytes, bytes] = {}
    params: dict[bytes, list[bytes]] = {}
    repeated = b""
    size = 0
    for name, value in headers:
        size += len(name) + len(value) + 4
        if name in _WANTED:
            if name not in values:
                values[name] = value
            elif name in _ROUTING:
                repeated = repeated or name
        elif name.startswith(b"mcp-param-"):
            params.setdefault(name, []).append(value)
    return Headers(values, params, repeated, size)


async def read_body(receive: Receive, declared: bytes | None, limit: int) -> bytes:
    """Return the whole body.

    Args:
        receive: The ASGI channel.
        declared: The ``Content-Length``, to refuse a body without reading it.
        limit: The largest body, in bytes.

    Raises:
        BodyTooLarge: It is larger.
        ClientGone: The client left, or was silent for too long.
    """
    if declared is not None and declared.isdigit() and int(declared[:20]) > limit:
        raise BodyTooLarge
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body", False) and len(body) <= limit:
        return body
    parts, size = [body], len(body)
    try:
        async with asyncio.timeout(BODY_SECONDS) as clock:
            while message.get("more_body", False):
                if size > limit:
                    raise BodyTooLarge
                message = await receive()
                part = message.get("body", b"")
                parts.append(part)
                size += len(part)
                clock.reschedule(asyncio.get_running_loop().time() + BODY_SECONDS)
    except TimeoutError:
        raise ClientGone from None
    if message["type"] == "http.disconnect":
        raise ClientGone
    if size > limit:
        raise BodyTooLarge
    return b"".join(parts)
