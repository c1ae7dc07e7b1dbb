"""One gateway in front of a server of each kind that asks: `um` modern HTTP, `us` modern stdio, `ul` legacy Streamable
HTTP, `ux` HTTP+SSE, `ud` legacy stdio."""

import contextlib
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from starlette.types import ASGIApp

from tests.gateway.running import RunningGateway, document_of, gateway_for, served
from tests.interaction.server import build
from tests.places import ROOT
from tests.redis import Redis
from tests.workers.running import RunningWorkers, workers_for

KINDS = ("um", "us", "ul", "ux", "ud")


@contextlib.asynccontextmanager
async def asking_servers() -> AsyncIterator[dict[str, dict[str, object]]]:
    """Runs the servers; yields how a gateway is configured for them."""
    async with contextlib.AsyncExitStack() as stack:
        apps: dict[str, ASGIApp] = {
            "um": build("um").streamable_http_app(),
            "ul": build("ul").streamable_http_app(),
            "ux": build("ux").sse_app(),
        }
        ports = {name: await stack.enter_async_context(served(app)) for name, app in apps.items()}

        def stdio(name: str, era: str) -> dict[str, object]:
            arguments = ["-m", "tests.interaction.server", name]
            return {"command": sys.executable, "args": arguments, "cwd": str(ROOT), "era": era}

        yield {
            "um": {"url": f"http://127.0.0.1:{ports['um']}/mcp"},
            "us": stdio("us", "auto"),
            "ul": {"url": f"http://127.0.0.1:{ports['ul']}/mcp", "era": "legacy"},
            "ux": {"type": "sse", "url": f"http://127.0.0.1:{ports['ux']}/sse"},
            "ud": stdio("ud", "legacy"),
        }


@contextlib.asynccontextmanager
async def asking_gateway(**settings: object) -> AsyncIterator[RunningGateway]:
    """Runs the servers and a gateway over them."""
    async with asking_servers() as servers, gateway_for(document_of(servers), **settings) as running:
        states = {
            name: server.error for name, server in running.gateway.aggregator.pool.servers.items() if server.error
        }
        assert not states, states
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=["one process", "two workers"])
async def asking(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningGateway | RunningWorkers]:
    """The gateway: one process, or two of which each request reaches another one than the request before."""
    if request.param == "one process":
        async with asking_gateway() as running:
            yield running
    else:
        redis: Redis = request.getfixturevalue("shared_redis")
        folder = tmp_path_factory.mktemp("asking")
        async with (
            asking_servers() as servers,
            workers_for(document_of(servers), redis, folder.name, folder) as workers,
        ):
            yield workers
