"""MCP requests as the bench sends them: as parts for the load, or sent one by one to look at the answer."""

import http.client
import json
from typing import Any

from bench.answers import LEGACY, MODERN
from bench.load import Target
from bench.programs import BenchError

__all__ = ["ID", "initialize", "request", "target"]

_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "bench-client", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
ID = "987654321987654"
"""The id of the requests that ``request`` sends."""


def target(
    port: int, path: str, method: str, tool: str | None = None, *, key: str | None = None, session: str | None = None
) -> Target:
    """Return a request for the load.

    Args:
        port: Where it goes.
        path: Where it goes.
        method: ``tools/call`` or ``tools/list``.
        tool: The tool to call.
        key: The API key.
        session: The id of a legacy session; without it the request is a modern one.
    """
    head = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    head += [f"{name}: {value}" for name, value in _headers(method, tool, key, session).items()]
    # Without spaces, as clients in JavaScript and pydantic write it.
    parts = json.dumps(_message(method, tool, session), separators=(",", ":")).split(ID)
    return Target("\r\n".join([*head, "Content-Length: "]), parts)


def request(
    port: int,
    path: str,
    method: str,
    tool: str | None = None,
    *,
    key: str | None = None,
    session: str | None = None,
    cursor: str | None = None,
) -> bytes:
    """Send one request on a connection of its own and return the body of its answer; the arguments are as above.

    Raises:
        BenchError: The answer is not a success.
    """
    message = _message(method, tool, session)
    if cursor is not None:
        message["params"]["cursor"] = cursor
    _, body = _post(port, path, message, _headers(method, tool, key, session))
    return body


def initialize(port: int, path: str, *, key: str | None = None) -> str:
    """Open a legacy session and return its id."""
    params = {
        "protocolVersion": LEGACY,
        "capabilities": {},
        "clientInfo": {"name": "bench-client", "version": "1"},
    }
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    headers, _ = _post(port, path, message, _headers("initialize", None, key, ""))
    session = headers.get("mcp-session-id")
    if session is None:
        raise BenchError("initialize gave no session")
    _post(port, path, {"jsonrpc": "2.0", "method": "notifications/initialized"}, _headers("", None, key, session))
    return session


def _headers(method: str, tool: str | None, key: str | None, session: str | None) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    if session is None:
        headers |= {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if tool is not None:
            headers["Mcp-Name"] = tool
    elif session:
        headers |= {"MCP-Protocol-Version": LEGACY, "Mcp-Session-Id": session}
    return headers


def _message(method: str, tool: str | None, session: str | None) -> dict[str, Any]:
    # What a tool echoes has the id once more, so that no answer can be taken for another's.
    params: dict[str, Any] = {} if tool is None else {"name": tool, "arguments": {"text": f"bench {ID}."}}
    if session is None:
        params["_meta"] = _META
    return {"jsonrpc": "2.0", "id": int(ID), "method": method, "params": params}


def _post(
    port: int, path: str, message: dict[str, Any], headers: dict[str, str]
) -> tuple[http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, json.dumps(message), headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status >= 300 or b'"error":{' in body[:200]:
        raise BenchError(f"{path} answered {response.status}: {body[:300]!r}")
    return response.headers, body
