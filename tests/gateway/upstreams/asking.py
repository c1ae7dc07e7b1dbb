"""A server made with the Python SDK whose tools ask the client, the same over every transport.

python -m tests.gateway.upstreams.asking
"""

from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.types import SamplingMessage, TextContent
from pydantic import BaseModel


class Sure(BaseModel):
    """What the form of the question has."""

    sure: bool


def build() -> MCPServer[Any]:
    """Returns the server; it asks in the way of legacy revisions, in the middle of a call."""
    server: MCPServer[Any] = MCPServer("asking", log_level="WARNING")

    @server.tool()
    async def ask(what: str, ctx: Context[Any]) -> str:
        answer = await ctx.elicit(what, Sure)
        return f"{answer.action} {answer.data.sure}" if answer.action == "accept" else answer.action

    @server.tool()
    async def sample(prompt: str, ctx: Context[Any]) -> str:
        message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
        result = await ctx.session.create_message([message], max_tokens=10, related_request_id=ctx.request_id)
        assert isinstance(result.content, TextContent)
        return result.content.text

    @server.tool()
    async def roots(ctx: Context[Any]) -> str:
        listed = await ctx.session.list_roots()
        return " ".join(str(root.uri) for root in listed.roots)

    @server.tool()
    async def log(ctx: Context[Any]) -> str:
        for level in ("debug", "warning", "error"):
            await ctx.log(level, f"a {level}")
        return "logged"

    return server


if __name__ == "__main__":
    build().run(transport="stdio")
