"""The laboratory: one gateway in front of a server of each kind, shared by the tests of a worker.

`um` modern HTTP, `us` modern stdio, `ul` legacy Streamable HTTP with sessions, `ux` HTTP+SSE and `ud` legacy stdio are
made with the Python SDK; `raw` and `old` are scripted, modern and legacy.
"""

import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from mcp.server.mcpserver import MCPServer
from mcp.server.subscriptions import InMemorySubscriptionBus
from starlette.types import ASGIApp

from tests.gateway.client import Client
from tests.gateway.running import KEY_A, KEY_B, RunningGateway, document_of, gateway_for, served
from tests.gateway.upstreams import sdk
from tests.gateway.upstreams.raw import RawServer
from tests.gateway.witness import Witness, witness_at
from tests.places import ROOT

KINDS = ("um", "us", "ul", "ux", "ud")
"""The SDK's servers."""


@dataclass(frozen=True, slots=True)
class Lab:
    """The laboratory."""

    running: RunningGateway
    witness: Witness
    raw: RawServer
    old: RawServer
    um: MCPServer[Any]
    bus: InMemorySubscriptionBus

    @property
    def port(self) -> int:
        return self.running.port

    def client(self, endpoint: str = "open", key: str | None = None) -> Client:
        return self.running.client(endpoint, key)

    @property
    def a(self) -> Client:
        return self.client("keyed", KEY_A)

    @property
    def b(self) -> Client:
        return self.client("keyed", KEY_B)


@dataclass(frozen=True, slots=True)
class Servers:
    """The laboratory's servers, and how a gateway is configured for them."""

    configured: dict[str, dict[str, object]]
    witness: Witness
    raw: RawServer
    old: RawServer
    um: MCPServer[Any]
    bus: InMemorySubscriptionBus

    def lab(self, running: RunningGateway) -> Lab:
        """Returns the laboratory with a gateway over them."""
        return Lab(running, self.witness, self.raw, self.old, self.um, self.bus)


@contextlib.asynccontextmanager
async def lab_servers(folder: Path) -> AsyncIterator[Servers]:
    """Runs the servers; their witness listens in the folder."""
    async with contextlib.AsyncExitStack() as stack:
        witness = await stack.enter_async_context(witness_at(folder / "witness"))
        bus = InMemorySubscriptionBus()
        um = sdk.build("um", witness, bus)
        raw = RawServer("modern", ("echo", "other"))
        old = RawServer("legacy", ("echo", "other"))
        apps: dict[str, ASGIApp] = {
            "um": um.streamable_http_app(),
            "ul": sdk.build("ul", witness).streamable_http_app(),
            "ux": sdk.build("ux", witness).sse_app(),
            "raw": raw,
            "old": old,
        }
        urls = {}
        for name, app in apps.items():
            port = await stack.enter_async_context(served(app))
            urls[name] = f"http://127.0.0.1:{port}/{'sse' if name == 'ux' else 'mcp'}"

        def stdio(name: str, era: str) -> dict[str, object]:
            arguments = ["-m", "tests.gateway.upstreams.sdk", name, str(folder / "witness")]
            return {"command": sys.executable, "args": arguments, "cwd": str(ROOT), "era": era}

        servers: dict[str, dict[str, object]] = {
            "um": {"url": urls["um"]},
            "us": stdio("us", "auto"),
            "ul": {"url": urls["ul"], "era": "legacy"},
            "ux": {"type": "sse", "url": urls["ux"]},
            "ud": stdio("ud", "legacy"),
            "raw": {"url": urls["raw"]},
            "old": {"url": urls["old"]},
        }
        yield Servers(servers, witness, raw, old, um, bus)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    async with (
        lab_servers(tmp_path_factory.mktemp("lab")) as servers,
        gateway_for(document_of(servers.configured)) as running,
    ):
        states = {
            name: server.error for name, server in running.gateway.aggregator.pool.servers.items() if server.error
        }
        assert not states, states
        yield servers.lab(running)
