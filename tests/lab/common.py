"""The tools of the laboratory's servers that are written alike in every generation of the Python SDK.

Knows that a server of SDK 1 runs in an environment of its own, where nothing of ours can be imported but this package
and the witness.
"""

import json
from typing import Annotated, Any
from weakref import WeakKeyDictionary

import anyio
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

from tests.gateway.witness import Reports

try:
    from mcp.server.fastmcp import Context, FastMCP
    from mcp.server.fastmcp.exceptions import ToolError
except ImportError:  # SDK 2
    from mcp.server.mcpserver import Context
    from mcp.server.mcpserver import MCPServer as FastMCP
    from mcp.server.mcpserver.exceptions import ToolError

PAGE = "https://example.com/connect"
MAX_TAPPED = 50_000
LEVELS = ("debug", "info", "warning", "error")


class Word(BaseModel):
    """What users are asked for."""

    word: str


def add_common(server: "FastMCP[Any]", name: str, witness: Reports) -> None:
    """Adds the tools, the resources and the prompt that need nothing of the client.

    Args:
        server: The server.
        name: Its name, which its URIs have as their scheme.
        witness: Where its tools report.
    """
    counts: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    @server.tool(annotations=ToolAnnotations.model_validate({"readOnlyHint": True}))
    def echo(text: str) -> str:
        return text

    @server.tool()
    async def slow(tag: str, steps: int, ctx: Context) -> str:  # type: ignore[type-arg]
        """Reports progress at each step."""
        witness.report(f"{tag} started")
        try:
            for step in range(1, steps + 1):
                await ctx.report_progress(step, steps, f"step {step}")
                await anyio.sleep(0.01)
        except anyio.get_cancelled_exc_class():
            witness.report(f"{tag} cancelled")
            raise
        witness.report(f"{tag} finished")
        return f"{tag} done"

    @server.tool()
    async def hold(tag: str, ctx: Context) -> str:  # type: ignore[type-arg]
        """Never ends by itself."""
        witness.report(f"{tag} started")
        try:
            await ctx.report_progress(1, 2)
            await anyio.sleep(30)
        except anyio.get_cancelled_exc_class():
            witness.report(f"{tag} cancelled")
            raise
        return "held"

    @server.tool()
    def counter(ctx: Context) -> str:  # type: ignore[type-arg]
        """Counts the calls of a session."""
        counts[ctx.session] = counts.get(ctx.session, 0) + 1
        return str(counts[ctx.session])

    @server.tool()
    def count(tag: str) -> str:
        """Reports that it was called."""
        witness.report(f"{tag} counted")
        return tag

    @server.tool()
    def told(ctx: Context) -> str:  # type: ignore[type-arg]
        """Says what the client is able to, as far as this server knows."""
        able = getattr(ctx, "client_capabilities", None) or getattr(ctx.session.client_params, "capabilities", None)
        return able.model_dump_json(exclude_none=True, by_alias=True) if able else "{}"

    @server.tool()
    def fail() -> str:
        raise ToolError("it failed")

    @server.tool()
    def region(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "") -> str:
        return region

    @server.tool()
    def table(rows: int) -> dict[str, int]:
        return {"rows": rows}

    @server.tool()
    async def log(ctx: Context) -> str:  # type: ignore[type-arg]
        for level in LEVELS:
            await ctx.log(level, f"a {level}")  # type: ignore[arg-type]
        return "logged"

    @server.resource(f"{name}://doc")
    def doc() -> str:
        return f"document of {name}"

    @server.resource(f"{name}://items/{{item}}")
    def item(item: str) -> str:
        return f"item {item} of {name}"

    @server.prompt()
    def greet(who: str) -> str:
        return f"Greet {who} from {name}"


class Tap:
    """An ASGI application around that of a server, which reports what it is sent and what it sends.

    It reports a request as `NAME http ` and a JSON array of the header lines, pairs of strings, and the body; a message
    of an answer, in JSON or on a stream, as `NAME said ` and the message.
    """

    def __init__(self, app: Any, name: str, witness: Reports) -> None:
        self.app = app
        self.name = name
        self.witness = witness

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
        body = b""

        async def tapped() -> Any:
            nonlocal body
            message = await receive()
            if message["type"] == "http.request":
                body += message.get("body", b"")
                # A datagram has no room for more.
                if not message.get("more_body") and scope["method"] == "POST" and len(body) < MAX_TAPPED:
                    self.witness.report(f"{self.name} http {json.dumps([headers, body.decode()])}")
            return message

        async def telling(message: Any) -> None:
            for line in message.get("body", b"").splitlines():
                said = line.removeprefix(b"data: ")
                if said.startswith(b"{") and len(said) < MAX_TAPPED:
                    self.witness.report(f"{self.name} said {said.decode()}")
            await send(message)

        await self.app(scope, tapped, telling)
