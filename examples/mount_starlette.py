"""The gateway inside a Starlette application that has things of its own to start and stop.

    uvicorn --app-dir examples mount_starlette:app --port 8000

Clients connect to http://127.0.0.1:8000/tools/metamcp/default/mcp.
"""

import contextlib
import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from metamcp_asgi import Gateway

gateway = Gateway.from_file(os.environ.get("MCP_CONFIG", "examples/mcp.json"))


async def home(request: Request) -> PlainTextResponse:
    return PlainTextResponse("The tools are at /tools/metamcp/default/mcp")


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    # Left out, the first request starts the gateway, and the end of the process stops it.
    async with gateway.lifespan():
        yield


app = Starlette(routes=[Route("/", home), Mount("/tools", gateway)], lifespan=lifespan)
