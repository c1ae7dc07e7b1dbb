"""A client that sends exactly the bytes that it is told to, and shows all that comes back.

Knows HTTP/1.1 (h11 checks every response's framing) and event streams; of MCP only how a well-formed request looks.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, cast

import h11

VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO = "io.modelcontextprotocol/clientInfo"
SERVER_INFO = "io.modelcontextprotocol/serverInfo"
MODERN = "2026-07-28"
NAME_OF = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
BASE = (
    ("Content-Type", "application/json"),
    ("Accept", "application/json, text/event-stream"),
)

HeaderList = Sequence[tuple[str, str | bytes]]
JSON = dict[str, Any]


class Answer:
    """A complete response."""

    def __init__(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def __repr__(self) -> str:
        return f"<{self.status} {self.headers} {self.body[:2000]!r}>"

    def header(self, name: str) -> str | None:
        """Returns the value of a header that may be there once."""
        values = [value.decode("latin-1") for key, value in self.headers if key == name.lower().encode()]
        assert len(values) <= 1, f"{name} is there {len(values)} times"
        return values[0] if values else None

    @property
    def is_stream(self) -> bool:
        return (self.header("content-type") or "").startswith("text/event-stream")

    def messages(self) -> list[JSON]:
        """Returns every JSON-RPC message, of a stream or of a document."""
        if self.is_stream:
            return [json.loads(data) for data in events_of(self.body)]
        decoded = json.loads(self.body)
        return decoded if isinstance(decoded, list) else [decoded]

    def message(self) -> JSON:
        """Returns the response message, which is the last one."""
        return self.messages()[-1]

    def result(self) -> JSON:
        message = self.message()
        assert "result" in message, message
        return cast("JSON", message["result"])

    def error(self) -> JSON:
        message = self.message()
        assert "error" in message, message
        assert "result" not in message
        return cast("JSON", message["error"])

    def code(self) -> int:
        return int(self.error()["code"])


def events_of(stream: bytes) -> list[str]:
    """Returns the data of each event of a stream; comments, and events that only bring an id, are left out."""
    events = []
    for block in stream.decode().replace("\r\n", "\n").split("\n\n"):
        data = [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")]
        if any(data):
            events.append("\n".join(data))
    return events


def wire(port: int, method: str, target: str, headers: HeaderList, body: bytes) -> bytes:
    """Returns the bytes of a request; Host and Content-Length are added unless they are given."""
    names = {name.lower() for name, _ in headers}
    lines: list[tuple[str, str | bytes]] = []
    if "host" not in names:
        lines.append(("Host", f"127.0.0.1:{port}"))
    lines += headers
    if "content-length" not in names and "transfer-encoding" not in names and (body or method == "POST"):
        lines.append(("Content-Length", str(len(body))))
    raw = b"".join(
        b"%b: %b\r\n" % (name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in lines
    )
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method.encode(), target.encode(), raw, body)


class Exchange:
    """One request on a connection of its own, whose response is read piece by piece."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        # Tells h11 what kind of response to expect; the bytes are written by `start`.
        self._http.send(h11.Request(method=method, target="/", headers=[("Host", "x"), ("Connection", "close")]))
        self._http.send(h11.EndOfMessage())
        self._data = b""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []

    @classmethod
    async def start(cls, port: int, method: str, target: str, headers: HeaderList, body: bytes) -> "Exchange":
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        writer.write(wire(port, method, target, headers, body))
        # A server may refuse a large body before it has read it all.
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        return cls(reader, writer, method)

    async def _next(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(1 << 16))
        return event

    async def head(self) -> int:
        """Waits for status and headers."""
        event = await self._next()
        while isinstance(event, h11.InformationalResponse):
            event = await self._next()
        assert isinstance(event, h11.Response), event
        self.status, self.headers = event.status_code, list(event.headers)
        return self.status

    async def chunks(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)

    async def message(self) -> JSON:
        """Waits for the next message of an event stream."""
        while True:
            block, separator, rest = self._data.replace(b"\r\n", b"\n").partition(b"\n\n")
            if separator:
                self._data = rest
                if found := events_of(block):
                    return cast("JSON", json.loads(found[0]))
                continue
            event = await self._next()
            assert isinstance(event, h11.Data), f"the stream ended: {event}"
            self._data += bytes(event.data)

    async def answer(self) -> Answer:
        """Reads the response to its end."""
        if not self.status:
            await self.head()
        body = self._data + b"".join([chunk async for chunk in self.chunks()])
        await self.close()
        return Answer(self.status, self.headers, body)

    async def close(self) -> None:
        """Closes the connection, finished or not."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


class Client:
    """Sends requests to one endpoint.

    Args:
        port: Where the gateway listens.
        endpoint: The endpoint's name.
        key: The API key of every request.
    """

    def __init__(self, port: int, endpoint: str = "open", key: str | None = None) -> None:
        self.port = port
        self.path = f"/metamcp/{endpoint}/mcp"
        self.headers: list[tuple[str, str | bytes]] = [("X-API-Key", key)] if key else []

    async def open(
        self, method: str, headers: HeaderList = (), body: bytes = b"", target: str | None = None
    ) -> Exchange:
        return await Exchange.start(self.port, method, target or self.path, [*self.headers, *headers], body)

    async def send(self, method: str, headers: HeaderList = (), body: bytes = b"", target: str | None = None) -> Answer:
        async with asyncio.timeout(30):
            return await (await self.open(method, headers, body, target)).answer()

    async def post(self, body: Any, headers: HeaderList = ()) -> Answer:
        """Posts a document with the basic headers, as it is when it is bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.send("POST", [*BASE, *headers], data)

    async def modern(self, method: str, params: Mapping[str, Any] | None = None, **how: Any) -> Answer:
        """Sends a well-formed modern request, apart from what `how` (see `modern_request`) changes."""
        headers, body = modern_request(method, params, **how)
        return await self.send("POST", headers, body)

    async def start(self, method: str, params: Mapping[str, Any] | None = None, **how: Any) -> Exchange:
        """Like `modern`, but returns before the response."""
        headers, body = modern_request(method, params, **how)
        return await self.open("POST", headers, body)

    async def call(self, name: str, arguments: Any = None, **how: Any) -> Answer:
        """Calls a tool as a modern client."""
        return await self.modern("tools/call", {"name": name, "arguments": arguments or {}}, **how)

    async def session(self, revision: str = "2025-11-25", capabilities: JSON | None = None) -> "Session":
        """Opens a legacy session."""
        answer = await self.initialize(revision, capabilities=capabilities)
        assert answer.status == 200, answer
        session_id = answer.header("mcp-session-id")
        assert session_id is not None
        session = Session(self, session_id, answer.result()["protocolVersion"])
        assert (await session.notify("notifications/initialized")).status == 202
        return session

    async def initialize(
        self, revision: str = "2025-11-25", headers: HeaderList = (), capabilities: JSON | None = None
    ) -> Answer:
        info = {"name": "raw", "version": "1"}
        params = {"protocolVersion": revision, "capabilities": capabilities or {}, "clientInfo": info}
        return await self.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}, headers)


def modern_request(
    method: str,
    params: Mapping[str, Any] | None = None,
    *,
    id: Any = 1,  # noqa: A002 - JSON-RPC's own word
    meta: Mapping[str, Any] | None = None,
    without: Iterable[str] = (),
    headers: HeaderList = (),
    version: str = MODERN,
) -> tuple[HeaderList, bytes]:
    """Returns headers and body of a modern request.

    Args:
        method: The method.
        params: Its params without `_meta`.
        id: Its id.
        meta: Further members of `_meta`.
        without: Members of `_meta`, and lower-case names of headers, that are left out.
        headers: Further headers; one of the standard headers replaces it.
        version: The version in header and body.
    """
    fields = {VERSION: version, CLIENT_INFO: {"name": "raw", "version": "1"}, CAPABILITIES: {}, **(meta or {})}
    body = {
        "jsonrpc": "2.0",
        "id": id,
        "method": method,
        "params": {**(params or {}), "_meta": {k: v for k, v in fields.items() if k not in without}},
    }
    standard: list[tuple[str, str | bytes]] = [*BASE, ("MCP-Protocol-Version", version), ("Mcp-Method", method)]
    if params and method in NAME_OF and NAME_OF[method] in params:
        standard.append(("Mcp-Name", params[NAME_OF[method]]))
    replaced = {name.lower() for name, _ in headers} | set(without)
    return [*(line for line in standard if line[0].lower() not in replaced), *headers], json.dumps(body).encode()


class Session:
    """A legacy session of a client."""

    def __init__(self, client: Client, session_id: str, revision: str) -> None:
        self.client = client
        self.id = session_id
        self.headers: list[tuple[str, str | bytes]] = [("Mcp-Session-Id", session_id)]
        if revision >= "2025-06-18":
            self.headers.append(("MCP-Protocol-Version", revision))

    async def post(self, body: Any) -> Answer:
        return await self.client.post(body, self.headers)

    async def request(self, method: str, params: Any = None, *, id: Any = 1) -> Answer:  # noqa: A002
        return await self.post({"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}})

    async def start(self, method: str, params: Any = None, *, id: Any = 1) -> Exchange:  # noqa: A002
        body = json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}).encode()
        return await self.client.open("POST", [*BASE, *self.headers], body)

    async def call(self, name: str, arguments: Any = None, **more: Any) -> Answer:
        return await self.request("tools/call", {"name": name, "arguments": arguments or {}}, **more)

    async def notify(self, method: str, params: Any = None) -> Answer:
        message = {"jsonrpc": "2.0", "method": method} | ({"params": params} if params is not None else {})
        return await self.post(message)

    async def respond(self, request: JSON, **how: Any) -> Answer:
        """Posts the response to a request of the gateway, a `result` or an `error`."""
        return await self.post({"jsonrpc": "2.0", "id": request["id"], **how})

    async def listen(self, headers: HeaderList = ()) -> Exchange:
        """Opens the GET stream."""
        exchange = await self.client.open("GET", [("Accept", "text/event-stream"), *self.headers, *headers])
        assert await exchange.head() == 200
        return exchange

    async def end(self) -> Answer:
        return await self.client.send("DELETE", self.headers)
