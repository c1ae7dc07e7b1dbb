"""A server of either era in which a test decides every byte: what no SDK would send, and a look at all that arrives."""

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from tests.gateway.client import JSON, MODERN, SERVER_INFO

CAPABILITIES = {kind: {"listChanged": True} for kind in ("tools", "prompts", "resources")}


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived."""

    method: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    message: JSON
    server: "RawServer"

    @property
    def params(self) -> JSON:
        params: JSON = self.message.get("params", {})
        return params

    def header(self, name: str) -> list[bytes]:
        return [value for key, value in self.headers if key == name.lower().encode()]


@dataclass(frozen=True, slots=True)
class Error:
    """A JSON-RPC error, with the HTTP status that it comes with."""

    code: int
    message: str = "no"
    data: Any = None
    status: int = 200


@dataclass(frozen=True, slots=True)
class Plain:
    """A response that is not JSON-RPC."""

    status: int
    body: bytes = b""
    content_type: bytes = b"text/html"
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Stream:
    """An event stream: messages, or bytes that go out as they are. Ends when they end, or breaks off."""

    messages: AsyncIterator[JSON | bytes]
    broken: bool = False


class Broken(Exception):
    """Makes uvicorn close the connection in the middle of a response."""


Reply = JSON | bytes | Error | Plain | Stream | None
Behaviour = Reply | Callable[[Seen], Any]


class RawServer:
    """The server, as an ASGI application.

    `behaviour` maps a method, or `tools/call NAME`, to what it answers: a result as an object or as bytes, an
    `Error`, a `Plain`, a `Stream`, or a function that is given the request and returns one of these.

    Args:
        era: "modern" or "legacy".
        tools: Definitions or names of its tools.
        behaviour: Further entries of `behaviour`.
    """

    def __init__(
        self,
        era: str = "modern",
        tools: tuple[str | JSON, ...] = ("echo",),
        behaviour: Mapping[str, Behaviour] | None = None,
    ) -> None:
        self.era = era
        self.capabilities: JSON = CAPABILITIES
        self.instructions: str | None = None
        self.seen: list[Seen] = []
        self.disconnected: asyncio.Queue[Seen] = asyncio.Queue()
        self.arrived: asyncio.Queue[Seen] = asyncio.Queue()
        self.listeners: set[asyncio.Queue[JSON]] = set()
        self.listening = asyncio.Event()
        self.sessions = 0
        self.down = False
        definitions = [tool_named(tool) if isinstance(tool, str) else tool for tool in tools]
        self.behaviour: dict[str, Behaviour] = {
            "tools/list": self.listed("tools", definitions),
            "prompts/list": self.listed("prompts", []),
            "resources/list": self.listed("resources", []),
            "resources/templates/list": self.listed("resourceTemplates", []),
            "tools/call echo": _echo,
            **(behaviour or {}),
        }

    def listed(self, member: str, items: list[JSON], **more: Any) -> JSON:
        """Returns a list result of this server's era."""
        hints = {"resultType": "complete", "ttlMs": 60_000, "cacheScope": "public"} if self.era == "modern" else {}
        return {**hints, member: items, **more}

    def count(self, method: str) -> int:
        """Returns how often a method was called."""
        return sum(seen.method == method for seen in self.seen)

    def last(self, method: str) -> Seen:
        return next(seen for seen in reversed(self.seen) if seen.method == method)

    async def arrival(self, method: str) -> Seen:
        """Waits for the next request of a method."""
        async with asyncio.timeout(30):
            while (seen := await self.arrived.get()).method != method:
                pass
        return seen

    async def announce(self, kind: str) -> None:
        """Tells whoever listens that a list has changed."""
        await self.tell(f"notifications/{kind}/list_changed")

    async def tell(self, method: str, **params: Any) -> None:
        """Sends a notification to whoever listens."""
        async with asyncio.timeout(30):
            await self.listening.wait()
        for queue in self.listeners:
            queue.put_nowait({"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})})

    def end_streams(self) -> None:
        """Ends the streams of whoever listens, without a response."""
        for queue in self.listeners:
            queue.put_nowait({})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if self.down:
            await _document(send, 503, b"<h1>down</h1>", b"text/html")
        elif scope["method"] == "POST":
            await self._post(scope, receive, send)
        elif self.era == "modern":
            await _document(send, 405, b"", b"text/plain")
        elif scope["method"] == "GET":
            await self._stream(receive, send, None)
        else:
            await _document(send, 200, b"", b"text/plain")

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            part = await receive()
            body += part.get("body", b"")
            more = part.get("more_body", False)
        message = json.loads(body)
        seen = Seen(message.get("method", ""), list(scope["headers"]), body, message, self)
        self.seen.append(seen)
        self.arrived.put_nowait(seen)
        if "id" not in message:
            await _document(send, 202, b"", b"text/plain")
            return
        if seen.method == "subscriptions/listen" and self.era == "modern":
            await self._stream(receive, send, message)
            return
        work = asyncio.ensure_future(self._respond(seen, send))
        leaving = asyncio.ensure_future(_gone(receive))
        await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            self.disconnected.put_nowait(seen)
            work.cancel()
        leaving.cancel()
        await asyncio.gather(work, leaving, return_exceptions=True)
        if not work.cancelled() and (error := work.exception()) is not None:
            raise error

    async def _respond(self, seen: Seen, send: Send) -> None:
        name = f"{seen.method} {seen.params.get('name', seen.params.get('uri'))}"
        answer = self.behaviour.get(name, self.behaviour.get(seen.method, self._own(seen)))
        if callable(answer):
            answer = answer(seen)
            if inspect.isawaitable(answer):
                answer = await answer
        headers = []
        if seen.method == "initialize" and self.era == "legacy":
            self.sessions += 1
            headers = [(b"mcp-session-id", b"raw-%d" % self.sessions)]
        if isinstance(answer, Plain):
            await _document(send, answer.status, answer.body, answer.content_type, list(answer.headers))
        elif isinstance(answer, Stream):
            await _events(send, answer)
        elif isinstance(answer, Error):
            error = {"code": answer.code, "message": answer.message}
            if answer.data is not None:
                error["data"] = answer.data
            await _document(send, answer.status, encode({"jsonrpc": "2.0", "id": seen.message["id"], "error": error}))
        else:
            await _document(send, 200, response(seen, answer), b"application/json", headers)

    def _own(self, seen: Seen) -> Reply:
        if seen.method == "initialize" and self.era == "legacy":
            info = {"name": "raw", "version": "1"}
            told: JSON = {"protocolVersion": "2025-11-25", "capabilities": self.capabilities, "serverInfo": info}
            return told if self.instructions is None else {**told, "instructions": self.instructions}
        if seen.method == "server/discover" and self.era == "modern":
            told = {
                "resultType": "complete",
                "supportedVersions": [MODERN],
                "capabilities": self.capabilities,
                "ttlMs": 60_000,
                "cacheScope": "public",
                "_meta": {SERVER_INFO: {"name": "raw", "version": "1"}},
            }
            return told if self.instructions is None else {**told, "instructions": self.instructions}
        if seen.method == "ping" and self.era == "legacy":
            return {}
        if self.era == "legacy" and seen.method == "server/discover":
            return Error(-32600, "Missing session ID", status=400)
        return Error(-32601, f"no {seen.method}", status=404 if self.era == "modern" else 200)

    async def _stream(self, receive: Receive, send: Send, listen: JSON | None) -> None:
        queue: asyncio.Queue[JSON] = asyncio.Queue()
        tag = {"io.modelcontextprotocol/subscriptionId": listen["id"]} if listen else {}

        async def messages() -> AsyncIterator[JSON | bytes]:
            if listen:
                params = {"notifications": listen["params"]["notifications"], "_meta": tag}
                yield {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params}
            else:
                yield b": open\n\n"
            self.listeners.add(queue)
            self.listening.set()
            while True:
                if not (message := await queue.get()):
                    return
                yield {**message, "params": {**message.get("params", {}), "_meta": tag}} if tag else message

        work = asyncio.ensure_future(_events(send, Stream(messages())))
        leaving = asyncio.ensure_future(_gone(receive))
        await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
        self.listeners.discard(queue)
        if not self.listeners:
            self.listening.clear()
        for task in (work, leaving):
            task.cancel()
        await asyncio.gather(work, leaving, return_exceptions=True)


def tool_named(name: str, **more: Any) -> JSON:
    """Returns the definition of a tool that takes anything."""
    return {"name": name, "description": f"The tool {name}", "inputSchema": {"type": "object"}, **more}


def text_result(text: str, **more: Any) -> JSON:
    return {"content": [{"type": "text", "text": text}], **more}


def response(seen: Seen, result: Any) -> bytes:
    """Returns the response message to a request, with a result in bytes as it is."""
    raw = result if isinstance(result, bytes) else encode(result)
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (encode(seen.message["id"]), raw)


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def _echo(seen: Seen) -> JSON:
    hints = {"resultType": "complete"} if seen.server.era == "modern" else {}
    return text_result(json.dumps(seen.params.get("arguments")), **hints)


async def _gone(receive: Receive) -> None:
    message: Message = {}
    while message.get("type") != "http.disconnect":
        message = await receive()


async def _document(
    send: Send,
    status: int,
    body: bytes,
    content_type: bytes = b"application/json",
    headers: list[tuple[bytes, bytes]] | None = None,
) -> None:
    lines = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


async def _events(send: Send, stream: Stream) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async for message in stream.messages:
        data = message if isinstance(message, bytes) else b"event: message\ndata: %b\n\n" % encode(message)
        await send({"type": "http.response.body", "body": data, "more_body": True})
    if stream.broken:
        raise Broken
    await send({"type": "http.response.body", "body": b""})
