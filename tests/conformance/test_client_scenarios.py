"""The suite's client scenarios that need no OAuth: what a server sees of the gateway, of one process and of two.

What the suite's mock server judges is the gateway's upstream side; the client only makes it do what the scenario is
about. That client is the conformance client of the SDK, which knows from its environment which scenario that is.
"""

import asyncio
import contextlib
import json
import shlex
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conformance.spreading import spreading
from tests.conformance.suite import judge, run_client_scenario, scenarios
from tests.conftest import RunningGateway, StartGateway
from tests.gateway.running import gateway_for
from tests.places import SDK
from tests.redis import Redis
from tests.workers.running import until

pytestmark = [pytest.mark.conformance, pytest.mark.node, pytest.mark.xdist_group("conformance-clients")]

COMMAND = Path(__file__).with_name("client_command.py")
CLIENT = SDK / ".github" / "actions" / "conformance" / "client.py"

PROCESSES = 2

# Seconds that the client may take.
PATIENCE = 60

# Seconds that a list waits for the mock server; what it offers would be missing otherwise.
SERVER_DEADLINE = 15

# Seconds that it may take for a call. One that asks something of a client that can't be asked waits for a minute.
TIMEOUT = 20


def document(mock_url: str) -> dict[str, Any]:
    return {
        "mcpServers": {"mock": {"url": mock_url, "timeout": TIMEOUT}},
        "namespaces": {"plain": {"servers": ["mock"], "prefix": "never"}},
        "endpoints": {"conformance": {"namespace": "plain", "apiKeyAuth": False}},
    }


@contextlib.asynccontextmanager
async def one_process(mock_url: str) -> AsyncIterator[str]:
    async with gateway_for(document(mock_url), server_deadline=float(SERVER_DEADLINE)) as running:
        yield f"http://127.0.0.1:{running.port}/metamcp/conformance/mcp"


class TwoWorkers:
    """A gateway of two processes, which both read its file anew for each mock server."""

    def __init__(self, gateway: RunningGateway, port: int) -> None:
        self._gateway = gateway
        self._port = port
        self._reloads = 0

    async def __call__(self, mock_url: str) -> str:
        """Returns the URL of its endpoint, when both processes lead from there to this server."""
        # A process that reads its file for the first time has nothing to reload.
        await until(lambda: self._said("Application startup complete") >= PROCESSES)
        self._gateway.config.write_text(json.dumps(document(mock_url)))
        self._reloads += PROCESSES
        await until(lambda: self._said("metamcp: Reloaded") >= self._reloads)
        return f"http://127.0.0.1:{self._port}/metamcp/conformance/mcp"

    def _said(self, text: str) -> int:
        return self._gateway.program.output().count(text)


@pytest.fixture(scope="module")
def two_workers(gateway: StartGateway, shared_redis: Redis) -> Iterator[TwoWorkers]:
    env = {
        "METAMCP_WORKERS": str(PROCESSES),
        "METAMCP_REDIS_URL": shared_redis.url,
        "METAMCP_SERVER_DEADLINE": str(SERVER_DEADLINE),
    }
    running = gateway({"mcpServers": {}}, env)
    port = urlsplit(running.origin).port
    assert port is not None
    with spreading(port) as spread:
        yield TwoWorkers(running, spread)


@contextlib.asynccontextmanager
async def client_of(
    name: str, revision: str, reach: Callable[[str], Awaitable[str]], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """Yields a command for the suite, by which the SDK's client is led through the gateway to the mock server."""
    monkeypatch.setenv("MCP_CONFORMANCE_SCENARIO", name)
    monkeypatch.setenv("MCP_CONFORMANCE_PROTOCOL_VERSION", revision)

    async def drive(mock_url: str, context: str) -> None:
        if context:
            monkeypatch.setenv("MCP_CONFORMANCE_CONTEXT", context)
        spec = spec_from_file_location("conformance_client", CLIENT)
        assert spec is not None
        assert spec.loader is not None
        client = module_from_spec(spec)
        spec.loader.exec_module(client)
        async with asyncio.timeout(PATIENCE):
            await client.HANDLERS[name](await reach(mock_url))

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mock_url, _, context = (await reader.readline()).decode().strip().partition(" ")
        code = 0
        try:
            await drive(mock_url, context)
        except Exception:  # the client gives up, as some scenarios want it to
            traceback.print_exc()
            code = 1
        writer.write(f"{code}\n".encode())
        writer.close()

    # No port: what still looks for the mock server of another scenario could find it there.
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/client"
        async with await asyncio.start_unix_server(connected, path):
            yield shlex.join([sys.executable, "-I", "-S", str(COMMAND), path])


@pytest.mark.parametrize("processes", ["one process", "two workers"])
@pytest.mark.parametrize(("revision", "name"), scenarios("client"))
async def test_server_sees_a_conforming_client(
    processes: str,
    revision: str,
    name: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with contextlib.AsyncExitStack() as stack:

        async def reach(mock_url: str) -> str:
            if processes == "one process":
                return await stack.enter_async_context(one_process(mock_url))
            gateway: TwoWorkers = request.getfixturevalue("two_workers")
            return await gateway(mock_url)

        command = await stack.enter_async_context(client_of(name, revision, reach, monkeypatch))
        scenario, output = await asyncio.to_thread(run_client_scenario, command, name, revision, tmp_path)
    assert scenario.checks, output
    print(output)
    judge("client", scenario)
