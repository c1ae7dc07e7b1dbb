"""A server with the tasks of 2025-11-25, made with the Python SDK 1; run with that SDK's interpreter.

python server_2025.py stdio | http
"""

import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import anyio
import mcp.types as types
from mcp.server.experimental.task_context import ServerTaskContext
from mcp.server.experimental.task_support import TaskSupport
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

# SDK 1.30 keeps the task group of one session for all of them, and each that ends takes it away from the others. Here
# each session has its own.
group: ContextVar[Any] = ContextVar("group", default=None)
TaskSupport._task_group = property(lambda _: group.get(), lambda _, new: group.set(new))  # type: ignore[assignment]

server: Server[Any, Any] = Server("tasks")
support = server.experimental.enable_tasks()
MODES = {
    "slow": "required",
    "wrong": "required",
    "broken": "required",
    "forever": "required",
    "ask": "required",
    "twice": "optional",
    "either": "optional",
    "states": "forbidden",
}
FORM = {"type": "object", "properties": {"sure": {"type": "boolean"}}}
started: list[str] = []


@server.list_tools()
async def tools() -> list[types.Tool]:
    schema = {"type": "object"}
    return [
        types.Tool(name=name, inputSchema=schema, execution=types.ToolExecution(taskSupport=mode))
        for name, mode in MODES.items()
    ]


@server.call_tool()
async def call(name: str, arguments: dict[str, Any]) -> Any:
    tasks = server.request_context.experimental
    if name == "states":
        known = [await support.store.get_task(task) for task in started]
        return _text(" ".join(task.status for task in known if task is not None))
    tasks.validate_task_mode(MODES[name])
    if not tasks.is_task:
        return _text("no task")

    async def work(task: ServerTaskContext) -> types.CallToolResult:
        started.append(task.task_id)
        await task.update_status(f"{name} has begun")
        if name == "slow":
            return _text(f"done with {arguments['what']}")
        if name == "wrong":
            return types.CallToolResult(content=[types.TextContent(type="text", text="it went wrong")], isError=True)
        if name == "broken":
            raise RuntimeError("it broke off")
        if name == "ask":
            return _text((await task.elicit("Sure?", FORM)).action)
        if name == "twice":
            answers = [await task.elicit(question, FORM) for question in ("Sure?", "Really?")]
            return _text(" ".join(f"{answer.action} {answer.content}" for answer in answers))
        await anyio.sleep_forever()
        raise AssertionError

    return await tasks.run_task(work)


def _text(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


async def over_stdio() -> None:
    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())


def over_http() -> None:
    import uvicorn
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from starlette.applications import Starlette
    from starlette.routing import Mount

    manager = StreamableHTTPSessionManager(server)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with manager.run():
            yield

    listener = socket.create_server(("127.0.0.1", 0))
    print(f"ready http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    app = Starlette(routes=[Mount("/", manager.handle_request)], lifespan=lifespan)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listener])


if __name__ == "__main__":
    if sys.argv[1] == "http":
        over_http()
    else:
        anyio.run(over_stdio)
