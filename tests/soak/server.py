"""A server under soak, made with the Python SDK; it writes down each thing that it does, in one line of a file.

python -m tests.soak.server http|sse|stdio LOG [PORT]
"""

import asyncio
import os
import sys
from typing import Annotated, Any

import uvicorn
from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, Resolve
from pydantic import BaseModel


class Word(BaseModel):
    """What users are asked for."""

    word: str


def build(log: str) -> MCPServer[Any]:
    """Returns the server.

    Args:
        log: The file. What is appended to it outlives a kill, and is whole: it is one small write.
    """
    server: MCPServer[Any] = MCPServer("soak", log_level="ERROR")
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def done(what: str) -> None:
        os.write(file, what.encode() + b"\n")

    def asked(call: str) -> Elicit[Word]:
        return Elicit(f"A word for {call}?", Word)

    @server.tool()
    async def work(call: str) -> str:
        done(call)
        return call

    @server.tool()
    async def ask(call: str, answer: Annotated[ElicitationResult[Word], Resolve(asked)]) -> str:
        done(call)
        return f"{call} {answer.data.word}" if isinstance(answer, AcceptedElicitation) else f"{call} {answer.action}"

    @server.tool()
    async def slow(call: str, ctx: Context[Any]) -> str:
        for step in range(100):
            await ctx.report_progress(step, 100)
            await asyncio.sleep(0.1)
        done(call)
        return call

    @server.resource("soak://doc")
    def doc() -> str:
        return "a text"

    return server


def main(kind: str, log: str, port: str = "0") -> None:
    """Serves until it is ended."""
    server = build(log)
    if kind == "stdio":
        server.run(transport="stdio")
    else:
        app = server.sse_app() if kind == "sse" else server.streamable_http_app()
        uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
