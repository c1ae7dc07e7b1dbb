"""MCP servers that do what a test tells them, over HTTP in every transport; they note all that is asked of them.

Raw ASGI, so that they can also do what no library would. Knows nothing of the gateway.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Message, Receive, Scope, Send

LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
METHOD_OF = {kind: f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources")}


@dataclass
class Context:
    """One request of which a tool hears."""

    session: str
    arguments: dict[str, Any]
    meta: dict[str, Any]
    tell: Callable[[dict[str, Any]], Awaitable[None]]

    async def progress(self, done: int) -> None:
        """Reports progress, if the client asked for it."""
        if (token := self.meta.get("progressToken")) is not None:
            params = {"progressToken": token, "progress": done}
            await self.tell({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})


Tool = Callable[[Context], Awaitable[Any]]


class RPCError(Exception):
    """Answers the request with a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, **({"data": data} if data is not None else {})}


def text(value: object) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": str(value)}]}


async def echo(context: Context) -> Any:
    return text(json.dumps(context.arguments))


class Offer:
    """What a server has and what it was asked, whichever transport and however many restarts there are.

    Attributes:
        lists: what each list method answers.
        executed: name and session of every tool call, in order.
        asked: every method that was received, in order.
        before: is awaited with the method before a request is answered.
    """

    def __init__(self, **tools: Tool) -> None:
        self.tools: dict[str, Tool] = tools or {"echo": echo}
        self.lists: dict[str, list[dict[str, Any]]] = {method: [] for method in LISTS}
        self.lists["tools/list"] = [tool(name) for name in self.tools]
        self.read: Callable[[str], Any] = lambda uri: {"contents": [{"uri": uri, "text": f"content of {uri}"}]}
        self.executed: list[tuple[str, str]] = []
        self.asked: list[str] = []
        self.before: Callable[[str], Awaitable[None]] | None = None
        self.ttl_ms = 60_000
        self.counters: dict[str, Iterator[int]] = {}

    def add(self, name: str, run: Tool = echo) -> None:
        self.tools[name] = run
        self.lists["tools/list"].append(tool(name))

    async def count(self, context: Context) -> Any:
        """A tool with a state: counts the calls of its session."""
        return text(next(self.counters.setdefault(context.session, itertools.count(1))))

    async def answer(self, message: Mapping[str, Any], session: str, tell: Any, modern: bool = False) -> dict[str, Any]:
        """Returns the response to a request."""
        try:
            result = await self._answer(message["method"], message.get("params", {}), session, tell)
        except RPCError as error:
            return {"jsonrpc": "2.0", "id": message["id"], "error": error.error}
        if modern:
            result = {"resultType": "complete", **result}
            if message["method"] in LISTS:
                result |= {"ttlMs": self.ttl_ms, "cacheScope": "public"}
        return {"jsonrpc": "2.0", "id": message["id"], "result": result}

    async def _answer(self, method: str, params: Mapping[str, Any], session: str, tell: Any) -> dict[str, Any]:
        self.asked.append(method)
        # A list is what it was when it was asked for, however long the answer takes.
        listed = list(self.lists.get(method, ()))
        if self.before is not None:
            await self.before(method)
        if method in LISTS:
            return {LISTS[method]: listed}
        if method == "tools/call":
            name = params["name"]
            if name not in self.tools:
                raise RPCError(-32602, f"Unknown tool: {name}")
            self.executed.append((name, session))
            context = Context(session, params.get("arguments", {}), params.get("_meta", {}), tell)
            result: dict[str, Any] = await self.tools[name](context)
            return result
        if method == "resources/read":
            found: dict[str, Any] = self.read(params["uri"])
            return found
        if method == "prompts/get":
            return {"messages": [{"role": "user", "content": {"type": "text", "text": params["name"]}}]}
        if method == "ping":
            return {}
        raise RPCError(-32601, f"Method not found: {method}")


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object"}, **more}


def capabilities(list_changed: bool) -> dict[str, Any]:
    return {kind: {"listChanged": list_changed} for kind in ("tools", "prompts", "resources")}


async def body_of(receive: Receive) -> bytes:
    parts = []
    while True:
        event = await receive()
        parts.append(event.get("body", b""))
        if not event.get("more_body"):
            return b"".join(parts)


async def reply(send: Send, status: int, content: Any = b"", **headers: str) -> None:
    """Sends a whole response: bytes as they are, anything else as JSON."""
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    if not isinstance(content, bytes):
        content = json.dumps(content).encode()
        lines.append((b"content-type", b"application/json"))
    lines.append((b"content-length", b"%d" % len(content)))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": content})


class EventStream:
    """An open event stream."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def open(self, **headers: str) -> "EventStream":
        lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        lines.append((b"content-type", b"text/event-stream"))
        await self._send({"type": "http.response.start", "status": 200, "headers": lines})
        return self

    async def raw(self, data: str) -> None:
        await self._send({"type": "http.response.body", "body": data.encode(), "more_body": True})

    async def message(self, message: Mapping[str, Any], event_id: str = "") -> None:
        await self.raw(
            f"{f'id: {event_id}{chr(10)}' if event_id else ''}event: message\ndata: {json.dumps(message)}\n\n"
        )

    async def close(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})


async def pump(stream: EventStream, queue: "asyncio.Queue[dict[str, Any] | None]", receive: Receive) -> None:
    """Sends what is put into the queue until `None` comes or the client leaves."""

    async def left() -> Message:
        while (event := await receive())["type"] != "http.disconnect":
            pass
        return event

    leaving = asyncio.ensure_future(left())
    try:
        while True:
            getting = asyncio.ensure_future(queue.get())
            await asyncio.wait({leaving, getting}, return_when=asyncio.FIRST_COMPLETED)
            if not getting.done():
                getting.cancel()
                return
            if (message := getting.result()) is None:
                await stream.close()
                return
            await stream.message(message)
    finally:
        leaving.cancel()


class _Announcing:
    """Knows who listens for changes."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.listeners: set[asyncio.Queue[dict[str, Any] | None]] = set()

    @contextlib.contextmanager
    def listener(self) -> Iterator["asyncio.Queue[dict[str, Any] | None]"]:
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.listeners.add(queue)
        try:
            yield queue
        finally:
            self.listeners.discard(queue)

    def announce(self, kind: str) -> None:
        """Says that a list has changed to all who listen."""
        for queue in self.listeners:
            queue.put_nowait({"jsonrpc": "2.0", "method": METHOD_OF[kind]})

    def hang_up(self) -> None:
        """Ends the streams of all who listen."""
        for queue in self.listeners:
            queue.put_nowait(None)


class LegacyServer(_Announcing):
    """Streamable HTTP of 2025-11-25 with sessions, in one process: a new one knows no session of the old one.

    Args:
        offer: what it has.
        list_changed: whether it says that it announces changes.
        unknown: the status for a session that it does not know.
        has_stream: whether GET opens a stream.
    """

    _numbers = itertools.count(1)

    def __init__(self, offer: Offer, *, list_changed: bool = True, unknown: int = 404, has_stream: bool = True) -> None:
        super().__init__(offer)
        self.list_changed = list_changed
        self.unknown = unknown
        self.has_stream = has_stream
        self.sessions: set[str] = set()
        self.opened: list[str] = []
        self.ended: list[str] = []
        self.cancelled: list[Any] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value.decode() for name, value in scope["headers"]}
        session = headers.get(b"mcp-session-id", "")
        if scope["method"] == "POST":
            message = json.loads(await body_of(receive))
            if message.get("method") == "initialize":
                await self._initialize(message, send)
                return
            if not session:
                await reply(
                    send, 400, {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "No session"}}
                )
                return
        if session not in self.sessions:
            error = {"code": -32001, "message": "Session not found"}
            await reply(send, self.unknown, {"jsonrpc": "2.0", "id": None, "error": error})
        elif scope["method"] == "DELETE":
            self.sessions.discard(session)
            self.ended.append(session)
            await reply(send, 200)
        elif scope["method"] == "GET":
            await self._stream(headers, receive, send)
        elif "id" in message:
            await self.request(message, session, receive, send)
        else:
            if message["method"] == "notifications/cancelled":
                self.cancelled.append(message["params"]["requestId"])
            await reply(send, 202)

    async def request(self, message: dict[str, Any], session: str, receive: Receive, send: Send) -> None:
        """Answers one request: as JSON, or as a stream as soon as something comes before the response."""
        stream: EventStream | None = None

        async def tell(notification: dict[str, Any]) -> None:
            nonlocal stream
            stream = stream or await EventStream(send).open()
            await stream.message(notification)

        answer = await self.offer.answer(message, session, tell)
        if stream is None:
            await reply(send, 200, answer)
        else:
            await stream.message(answer)
            await stream.close()

    async def _initialize(self, message: dict[str, Any], send: Send) -> None:
        session = f"session-{next(self._numbers)}"
        self.sessions.add(session)
        self.opened.append(session)
        result = {
            "protocolVersion": "2025-11-25",
            "capabilities": capabilities(self.list_changed),
            "serverInfo": {"name": "scripted", "version": "1"},
        }
        await reply(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result}, mcp_session_id=session)

    async def _stream(self, headers: Mapping[bytes, str], receive: Receive, send: Send) -> None:
        if not self.has_stream:
            await reply(send, 405)
            return
        stream = await EventStream(send).open()
        with self.listener() as queue:
            await stream.raw(": open\n\n")
            await pump(stream, queue, receive)


class ModernServer(_Announcing):
    """Streamable HTTP of 2026-07-28."""

    def __init__(self, offer: Offer, *, list_changed: bool = True) -> None:
        super().__init__(offer)
        self.list_changed = list_changed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await reply(send, 405)
            return
        message = json.loads(await body_of(receive))
        meta = message.get("params", {}).get("_meta", {})
        if "io.modelcontextprotocol/protocolVersion" not in meta:
            error = {"code": -32022, "message": "Unsupported version", "data": {"supported": ["2026-07-28"]}}
            await reply(send, 400, {"jsonrpc": "2.0", "id": message.get("id"), "error": error})
        elif message["method"] == "server/discover":
            await reply(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": self.discovered()})
        elif message["method"] == "subscriptions/listen":
            await self._listen(message, receive, send)
        else:
            stream: EventStream | None = None

            async def tell(notification: dict[str, Any]) -> None:
                nonlocal stream
                stream = stream or await EventStream(send).open()
                await stream.message(notification)

            answer = await self.offer.answer(message, "", tell, modern=True)
            if stream is None:
                await reply(send, 200, answer)
            else:
                await stream.message(answer)
                await stream.close()

    def discovered(self) -> dict[str, Any]:
        return {
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": capabilities(self.list_changed),
            "ttlMs": 0,
            "cacheScope": "private",
        }

    async def _listen(self, message: dict[str, Any], receive: Receive, send: Send) -> None:
        stream = await EventStream(send).open()
        tag = {"io.modelcontextprotocol/subscriptionId": message["id"]}
        params = {"notifications": message["params"]["notifications"], "_meta": tag}
        await stream.message({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params})
        with self.listener() as queue:
            await pump(stream, queue, receive)


class SSEServer(_Announcing):
    """HTTP+SSE of 2024-11-05: GET /sse, then POST /messages."""

    _numbers = itertools.count(1)

    def __init__(self, offer: Offer) -> None:
        super().__init__(offer)
        self.streams: dict[str, asyncio.Queue[dict[str, Any] | None]] = {}
        self.opened: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "GET" and scope["path"] == "/sse":
            session = f"sse-{next(self._numbers)}"
            stream = await EventStream(send).open()
            with self.listener() as queue:
                self.streams[session] = queue
                self.opened.append(session)
                await stream.raw(f"event: endpoint\ndata: /messages?session={session}\n\n")
                await pump(stream, queue, receive)
                del self.streams[session]
        elif scope["method"] == "POST" and scope["path"] == "/messages":
            session = scope["query_string"].decode().removeprefix("session=")
            queue_of_session = self.streams.get(session)
            message = json.loads(await body_of(receive))
            if queue_of_session is None:
                await reply(send, 404)
                return
            await reply(send, 202, b"Accepted")
            if "id" in message:
                task = asyncio.create_task(self._answer(message, session, queue_of_session))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        else:
            await reply(send, 405)

    async def _answer(self, message: dict[str, Any], session: str, queue: "asyncio.Queue[Any]") -> None:
        async def tell(notification: dict[str, Any]) -> None:
            queue.put_nowait(notification)

        if message["method"] == "initialize":
            result = {
                "protocolVersion": "2024-11-05",
                "capabilities": capabilities(True),
                "serverInfo": {"name": "scripted", "version": "1"},
            }
            queue.put_nowait({"jsonrpc": "2.0", "id": message["id"], "result": result})
        else:
            queue.put_nowait(await self.offer.answer(message, session, tell))
