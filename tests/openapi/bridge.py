"""A gateway over real servers, and a REST client of its OpenAPI bridge."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from enum import Enum
from typing import Any

import httpx2
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel

from tests.gateway.running import KEY_A, RunningGateway, gateway_over
from tests.gateway.upstreams.raw import RawServer

BEARER = {"Authorization": f"Bearer {KEY_A}"}
JSON = dict[str, Any]


class Node(BaseModel):
    """A tree, whose schema refers to itself."""

    label: str
    children: list["Node"] = []


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Sum(BaseModel):
    total: int


class Tools:
    """A server made with the SDK; its events tell what happens in it."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.server: MCPServer[Any] = MCPServer("tools", log_level="WARNING")
        self._add_tools()

    def _add_tools(self) -> None:
        server = self.server

        @server.tool()
        def add(a: int, b: int = 1) -> Sum:
            """Adds two numbers."""
            return Sum(total=a + b)

        @server.tool()
        def grow(tree: Node) -> Node:
            """Gives a tree another root."""
            return Node(label="root", children=[tree])

        @server.tool()
        def paint(colour: Colour, wet: bool = False, scale: float | None = None) -> str:
            return f"{colour!r} {wet!r} {scale!r}"

        @server.tool()
        def ping() -> str:
            return "pong"

        @server.tool()
        def fail() -> str:
            raise ToolError("it failed")

        @server.tool(name="天気", description="天気予報")
        def weather(city: str) -> str:
            return f"{city}: 晴れ"

        @server.tool()
        async def hold() -> str:
            self.started.set()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            return "held"


class Bridge:
    """One running gateway over `Tools` as server `t` and a scripted server `raw`."""

    def __init__(self, running: RunningGateway, http: httpx2.AsyncClient, tools: Tools, raw: RawServer) -> None:
        self.running = running
        self.http = http
        self.tools = tools
        self.raw = raw

    async def document(self, endpoint: str = "open", headers: Mapping[str, str] | None = None) -> JSON:
        answer = await self.http.get(f"/metamcp/{endpoint}/api/openapi.json", headers=headers)
        assert answer.status_code == 200, answer.text
        document: JSON = answer.json()
        return document

    async def post(self, tool: str, arguments: Any = None, **more: Any) -> httpx2.Response:
        body = {} if arguments is None else arguments
        return await self.http.post(f"/metamcp/open/api/{tool}", json=body, **more)

    async def get(self, tool: str, query: str = "", **more: Any) -> httpx2.Response:
        return await self.http.get(f"/metamcp/open/api/{tool}{query}", **more)


@contextlib.asynccontextmanager
async def bridge_over(raw: RawServer | None = None, **options: Any) -> AsyncIterator[Bridge]:
    """Runs the gateway for the length of an `async with` block; `options` as for `gateway_over`."""
    tools, raw = Tools(), raw or RawServer()
    app = tools.server.streamable_http_app()
    async with (
        gateway_over({"t": app, "raw": raw}, **options) as running,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=30) as http,
    ):
        yield Bridge(running, http, tools, raw)
