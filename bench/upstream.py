"""A bare MCP server for HTTP: as little as a correct server can do, so that it is never what limits a measurement.

The path says what kind of server it is and how many tools it has: ``/modern/500``, ``/json/50`` (legacy, answering
JSON), ``/sse/50`` (legacy, answering event streams); what follows is ignored, so that one process is many servers.
"""

import msgspec
from msgspec import UNSET
from starlette.types import Receive, Scope, Send

from bench import answers

__all__ = ["upstream"]

_request = msgspec.json.Decoder(answers.Request)
_JSON = (b"content-type", b"application/json")
_STREAM = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
_SESSION = (b"mcp-session-id", b"bench-session")


async def upstream(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request."""
    _, kind, count, *_ = scope["path"].split("/")
    if scope["method"] != "POST":
        await _send(send, 200 if scope["method"] == "DELETE" else 405, b"")
        return
    message = await receive()
    body = message["body"]
    while message["more_body"]:
        message = await receive()
        body += message["body"]
    request = _request.decode(body)
    headers = dict(scope["headers"])
    if kind == "modern":
        await _modern(request, headers, int(count), send)
    else:
        await _legacy(request, headers, int(count), send, stream=kind == "sse")


async def _modern(request: answers.Request, headers: dict[bytes, bytes], count: int, send: Send) -> None:
    method = request.method
    if headers.get(b"mcp-method") != method.encode() or headers.get(b"mcp-protocol-version") != b"2026-07-28":
        await _send(send, 400, _error(request, -32020, "Mcp-Method or MCP-Protocol-Version differs from the body"))
        return
    if method == "tools/call":
        result = answers.call(request.params, modern=True)
    elif method == "tools/list":
        result = answers.listing(count, modern=True)
    elif method == "server/discover":
        result = answers.discover()
    else:
        await _send(send, 404, _error(request, -32601, f"Method not found: {method}"))
        return
    await _send(send, 200, b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (msgspec.json.encode(request.id), result))


async def _legacy(
    request: answers.Request, headers: dict[bytes, bytes], count: int, send: Send, *, stream: bool
) -> None:
    method = request.method
    if method != "initialize" and headers.get(b"mcp-session-id") != b"bench-session":
        await _send(send, 400, _error(request, -32600, "Bad Request: Missing session ID"))
        return
    if request.id is UNSET:
        await _send(send, 202, b"")
        return
    if method == "tools/call":
        result = answers.call(request.params, modern=False)
    elif method == "tools/list":
        result = answers.listing(count, modern=False)
    elif method == "initialize":
        result = answers.initialize()
    else:
        await _send(send, 200, _error(request, -32601, f"Method not found: {method}"))
        return
    body = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (msgspec.json.encode(request.id), result)
    if stream:
        await send({"type": "http.response.start", "status": 200, "headers": [*_STREAM, _SESSION]})
        event = b"event: message\r\ndata: %b\r\n\r\n" % body
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    else:
        await _send(send, 200, body, _SESSION)


async def _send(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    given = [_JSON, (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": given})
    await send({"type": "http.response.body", "body": body})


def _error(request: answers.Request, code: int, message: str) -> bytes:
    request_id = None if request.id is UNSET else request.id
    return msgspec.json.encode({"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}})
