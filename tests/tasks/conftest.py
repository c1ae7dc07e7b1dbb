"""One gateway over servers with tasks: `http`, `stdio` and `apart` of 2025-11-25, and `modern` with the extension."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conformance.tasks_server import TasksServer
from tests.gateway.client import JSON
from tests.gateway.running import RunningGateway, document_of, gateway_for, served
from tests.places import client_python
from tests.processes import running
from tests.redis import Redis
from tests.workers.running import RunningWorkers, workers_for

SERVER = Path(__file__).with_name("server_2025.py")


@contextlib.asynccontextmanager
async def task_servers() -> AsyncIterator[JSON]:
    """Runs the servers; yields how a gateway is configured for them."""
    python = client_python("mcp-1.30.0")
    stdio: JSON = {"command": str(python), "args": [str(SERVER), "stdio"], "era": "legacy"}
    with running([python, SERVER, "http"], r"^ready (\S+)") as (_, ready):
        async with served(TasksServer()) as port:
            yield {
                "http": {"url": ready[1]},
                "stdio": stdio,
                # Gives every caller a session of its own.
                "apart": {**stdio, "sharing": "principal"},
                "modern": {"url": f"http://127.0.0.1:{port}/mcp"},
            }


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=["one process", "two workers"])
async def tasks(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningGateway | RunningWorkers]:
    """The gateway: one process, or two of which each request reaches another one than the request before."""
    async with task_servers() as servers:
        if request.param == "one process":
            async with gateway_for(document_of(servers)) as gateway:
                yield gateway
        else:
            redis: Redis = request.getfixturevalue("shared_redis")
            folder = tmp_path_factory.mktemp("tasks")
            async with workers_for(document_of(servers), redis, folder.name, folder) as workers:
                yield workers
