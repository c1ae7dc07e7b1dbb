"""An answer whose bytes are prepared, and which a client that has it already is spared (RFC 9110 13.1.2)."""

from collections.abc import Iterable

from starlette.types import Scope, Send

__all__ = ["send_prepared"]


async def send_prepared(
    scope: Scope,
    send: Send,
    etag: bytes,
    headers: Iterable[tuple[bytes, bytes]],
    kind: bytes,
    *parts: bytes,
) -> None:
    """Send an answer to ``GET`` or ``HEAD``, or 304 when the client's ``If-None-Match`` has its entity tag.

    Args:
        scope: The request's scope.
        send: The ASGI channel.
        etag: The strong entity tag, in its quotes.
        headers: Headers of 200 and 304.
        kind: The ``Content-Type``.
        parts: The body; a large part is not copied.
    """
    known = b",".join(value for name, value in scope["headers"] if name == b"if-none-match")
    tags = [tag.strip().removeprefix(b"W/") for tag in known.split(b",")]
    shared = [(b"etag", etag), *headers]
    if etag in tags or b"*" in tags:
        await send({"type": "http.response.start", "status": 304, "headers": shared})
        await send({"type": "http.response.body", "body": b""})
        return
    length = b"%d" % sum(map(len, parts))
    described = [(b"content-type", kind), (b"content-length", length), *shared]
    await send({"type": "http.response.start", "status": 200, "headers": described})
    for part in parts if scope["method"] == "GET" else ():
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
