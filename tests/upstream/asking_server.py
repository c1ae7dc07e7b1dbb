"""A server made with the Python SDK, of line 1 or 2, whose tools ask the client and log.

    python asking_server.py stdio | http | sse

Over HTTP it takes a port of its own and prints the URL. Needs nothing but the SDK of the interpreter that runs it.
"""

import asyncio
import json
import socket
import sys

import uvicorn
from pydantic import BaseModel

try:
    from mcp.server.fastmcp import Context, FastMCP
    from mcp.types import SamplingMessage, TextContent
except ImportError:
    from mcp.server.mcpserver import Context
    from mcp.server.mcpserver import MCPServer as FastMCP
    from mcp_types import (
        ElicitRequest,
        ElicitRequestFormParams,
        InputRequiredResult,
        SamplingMessage,
        TextContent,
    )

server = FastMCP("asking")


class Word(BaseModel):
    word: str


@server.tool()
async def ask(tag: str, ctx: Context) -> str:
    answer = await ctx.elicit(f"Word for {tag}?", Word)
    return f"{tag}: {answer.data.word}" if answer.action == "accept" else f"{tag}: {answer.action}"


@server.tool()
async def sample(tag: str, ctx: Context) -> str:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=tag))
    result = await ctx.session.create_message([message], max_tokens=5, related_request_id=ctx.request_id)
    return f"{tag}: {result.content.text}"


@server.tool()
async def roots(ctx: Context) -> str:
    return " ".join(str(root.uri) for root in (await ctx.session.list_roots()).roots)


@server.tool()
async def log(tag: str, ctx: Context) -> str:
    for level in ("debug", "info", "warning"):
        await ctx.log(level, f"{tag} {level}")
    return tag


if hasattr(server, "_mcp_server"):

    @server._mcp_server.set_logging_level()
    async def set_level(level: str) -> None:
        """Declares the capability; this SDK sends all levels whatever is set."""

else:

    @server.tool()
    async def input_required(ctx: Context) -> InputRequiredResult | str:
        """Asks as modern servers do."""
        if ctx.input_responses is None:
            params = ElicitRequestFormParams(message="Word?", requested_schema=Word.model_json_schema())
            return InputRequiredResult(input_requests={"w": ElicitRequest(params=params)}, request_state="kept")
        return f"{ctx.request_state}: {json.dumps(ctx.input_responses['w'].content)}"


@server.resource("x://doc")
def doc() -> str:
    return "text"


@server.tool()
async def touch(uri: str, ctx: Context) -> str:
    """Says that a resource has changed."""
    if hasattr(ctx, "notify_resource_updated"):
        await ctx.notify_resource_updated(uri)
    return uri


class Announcing(uvicorn.Server):
    """Prints the URL as soon as the socket listens."""

    async def startup(self, sockets: "list[socket.socket] | None" = None) -> None:
        await super().startup(sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        print(f"ready http://127.0.0.1:{port}", flush=True)


if __name__ == "__main__":
    kind = sys.argv[1]
    if kind == "stdio":
        server.run(transport="stdio")
    else:
        app = server.sse_app() if kind == "sse" else server.streamable_http_app()
        asyncio.run(Announcing(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", ws="none")).serve())
