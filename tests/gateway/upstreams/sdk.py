"""A server made with the Python SDK, the same over every transport; as a program it speaks stdio.

python -m tests.gateway.upstreams.sdk NAME WITNESS_SOCKET
"""

import sys
from typing import Annotated, Any, Protocol

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp.types import ToolAnnotations
from pydantic import Field


class Reports(Protocol):
    """Where a server says what happens in it."""

    def report(self, what: str) -> None:
        """Report one thing."""


def build(name: str, witness: Reports, bus: InMemorySubscriptionBus | None = None) -> MCPServer[Any]:
    """Returns a server.

    Args:
        name: Its name, which its URIs have as their scheme.
        witness: Where its tools report.
        bus: Where it announces changes to modern clients.
    """
    server: MCPServer[Any] = MCPServer(name, subscriptions=bus, log_level="WARNING")
    counts = {"counter": 0}

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def echo(text: str) -> str:
        return text

    @server.tool()
    async def slow(tag: str, steps: int, ctx: Context[Any]) -> str:
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
    async def hold(tag: str, ctx: Context[Any]) -> str:
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
    def counter() -> str:
        counts["counter"] += 1
        return str(counts["counter"])

    @server.tool()
    def fail() -> str:
        raise ToolError("it failed")

    @server.tool()
    def region(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "") -> str:
        return region

    @server.tool()
    def table(rows: int) -> dict[str, int]:
        return {"rows": rows}

    @server.resource(f"{name}://doc")
    def doc() -> str:
        return f"document of {name}"

    @server.resource(f"{name}://items/{{item}}")
    def item(item: str) -> str:
        return f"item {item} of {name}"

    @server.prompt()
    def greet(who: str) -> str:
        return f"Greet {who} from {name}"

    return server


if __name__ == "__main__":
    from tests.gateway.witness import RemoteWitness

    build(sys.argv[1], RemoteWitness(sys.argv[2])).run(transport="stdio")
