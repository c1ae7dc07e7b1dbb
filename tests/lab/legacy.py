"""A server of the laboratory made with the Python SDK 1, which asks in the middle of a call; a program of its own.

    python -m tests.lab.legacy NAME WITNESS_SOCKET stdio | http | sse

Run with an interpreter that has that SDK (scripts/install-test-peers.sh). Over HTTP it prints its URL when ready.
"""

import asyncio
import socket
import sys
from collections import defaultdict
from typing import Any
from weakref import WeakSet

import anyio
import uvicorn
from mcp.server.elicitation import AcceptedElicitation
from mcp.server.fastmcp import Context, FastMCP
from mcp.types import SamplingMessage, TextContent
from pydantic import AnyUrl

from tests.gateway.witness import RemoteWitness, Reports
from tests.lab.common import PAGE, Tap, Word, add_common


def build(name: str, witness: Reports) -> "FastMCP[Any]":
    """Returns a server.

    Args:
        name: Its name, which its URIs have as their scheme.
        witness: Where its tools report.
    """
    server: FastMCP[Any] = FastMCP(name, log_level="WARNING")
    add_common(server, name, witness)

    async def word(topic: str, question: str = "") -> str:
        witness.report(f"{name} asks about {topic}")
        answer = await server.get_context().elicit(question or f"A word for {topic}?", Word)
        return answer.data.word if isinstance(answer, AcceptedElicitation) else answer.action

    async def sampled(topic: str) -> str:
        context = server.get_context()
        message = SamplingMessage(role="user", content=TextContent(type="text", text=f"Write about {topic}"))
        result = await context.session.create_message(
            [message], max_tokens=50, include_context="allServers", related_request_id=context.request_id
        )
        return result.content.text if isinstance(result.content, TextContent) else str(result.content)

    @server.tool()
    async def ask(topic: str) -> str:
        said = await word(topic)
        witness.report(f"{name} answered about {topic}")
        return f"{topic}: {said}"

    @server.tool()
    async def ask_twice(topic: str) -> str:
        said = await word(topic)
        return f"{topic}: {said}, {await word(topic, f'And one after {said}?')}"

    @server.tool()
    async def all_at_once(topic: str) -> str:
        said: dict[str, Any] = {}

        async def each(what: str, call: Any, *arguments: Any) -> None:
            said[what] = await call(*arguments)

        async with anyio.create_task_group() as group:
            group.start_soon(each, "word", word, topic)
            group.start_soon(each, "text", sampled, topic)
            group.start_soon(each, "roots", server.get_context().session.list_roots)
        return f"{said['word']} / {said['text']} / {len(said['roots'].roots)}"

    @server.tool()
    async def progress_and_ask(topic: str, ctx: Context) -> str:  # type: ignore[type-arg]
        await ctx.report_progress(1, 3, "before")
        said = await word(topic)
        await ctx.report_progress(2, 3, "after")
        return f"{topic}: {said}"

    @server.tool()
    async def ask_and_hold(topic: str) -> str:
        """Never ends by itself, whatever it is answered."""
        witness.report(f"{topic} was told {await word(topic)}")
        try:
            await anyio.sleep(30)
        except anyio.get_cancelled_exc_class():
            witness.report(f"{topic} cancelled")
            raise
        return "held"

    @server.tool()
    async def mutate(ctx: Context) -> str:  # type: ignore[type-arg]
        """Changes the list of tools."""
        grown = f"grown_{len(await server.list_tools())}"
        server.add_tool(lambda: grown, grown)
        await ctx.session.send_tool_list_changed()
        return grown

    @server.prompt()
    async def story(topic: str) -> str:
        return f"{topic} with {await word(topic)}"

    @server.resource(f"{name}://asked/{{topic}}")
    async def asked(topic: str) -> str:
        return f"{topic} with {await word(topic)}"

    add_watching(server, name, witness)
    if hasattr(Context, "elicit_url"):
        add_pages(server, word)
    return server


def add_watching(server: "FastMCP[Any]", name: str, witness: Reports) -> None:
    """Lets resources be subscribed to: the SDK has handlers for that, and declares it of no server by itself."""
    low = server._mcp_server
    watching: dict[str, WeakSet[Any]] = defaultdict(WeakSet)
    declared = low.get_capabilities

    def declaring(*arguments: Any) -> Any:
        capabilities = declared(*arguments)
        capabilities.resources.subscribe = True
        return capabilities

    low.get_capabilities = declaring  # type: ignore[method-assign]

    @low.subscribe_resource()
    async def subscribe(uri: AnyUrl) -> None:
        watching[str(uri)].add(low.request_context.session)
        witness.report(f"subscribed to {uri}")

    @low.unsubscribe_resource()
    async def unsubscribe(uri: AnyUrl) -> None:
        watching[str(uri)].discard(low.request_context.session)
        witness.report(f"unsubscribed from {uri}")

    @server.tool()
    async def touch() -> str:
        for session in list(watching[f"{name}://doc"]):
            await session.send_resource_updated(AnyUrl(f"{name}://doc"))
        return "touched"


def add_pages(server: "FastMCP[Any]", word: Any) -> None:
    """Adds what came with 2025-11-25: pages that users are sent to."""
    from mcp.shared.exceptions import UrlElicitationRequiredError
    from mcp.types import ElicitRequestURLParams

    opened: set[str] = set()

    @server.tool()
    async def open_page(ctx: Context) -> str:  # type: ignore[type-arg]
        return str((await ctx.elicit_url("Connect your account", PAGE, "connect-1")).action)

    @server.tool()
    async def locked(topic: str, asks: bool = False) -> str:
        """Refuses, the first time, until the user has opened a page."""
        if asks:
            await word(topic)
        if topic not in opened:
            opened.add(topic)
            page = ElicitRequestURLParams(message="Open this", url=f"{PAGE}?{topic}", elicitationId=f"id-{topic}")
            raise UrlElicitationRequiredError([page])
        return f"{topic} is open"

    asked: set[str] = set()
    background: set[asyncio.Task[None]] = set()

    @server.tool()
    async def account(topic: str) -> str:
        """Refuses until the user is through with a page, and says so in the session in which it refused first."""
        if topic not in opened and topic not in asked:
            asked.add(topic)
            background.add(asyncio.create_task(through(topic, server.get_context().session)))
        if topic in opened:
            return f"{topic} is connected"
        page = ElicitRequestURLParams(message="Open this", url=f"{PAGE}?{topic}", elicitationId=f"id-{topic}")
        raise UrlElicitationRequiredError([page])

    async def through(topic: str, session: Any) -> None:
        await asyncio.sleep(0.3)  # a user takes a while
        opened.add(topic)
        await session.send_elicit_complete(f"id-{topic}")


def serve(app: Any, path: str) -> None:
    """Serves an application on a free port, and prints its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"ready http://127.0.0.1:{listener.getsockname()[1]}{path}", flush=True)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    name, told, transport = sys.argv[1:]
    reports = RemoteWitness(told)
    server = build(name, reports)
    if transport == "stdio":
        server.run(transport="stdio")
    elif transport == "http":
        serve(Tap(server.streamable_http_app(), name, reports), "/mcp")
    else:
        serve(Tap(server.sse_app(), name, reports), "/sse")
