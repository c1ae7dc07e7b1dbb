"""The laboratory of eras.md 4: a gateway of two processes in front of a server of each kind.

Each request is a connection of its own and reaches another process than the one before. `um` is modern HTTP and `us`
modern stdio, made with the Python SDK 2. `ul` is legacy Streamable HTTP with sessions, `ux` HTTP+SSE and `ud` legacy
stdio, made with the SDK 1: the first two with one of 2025-11-25, the last with one of 2025-06-18. `raw` and `old` are
scripted, modern and legacy, for what no SDK does.

The endpoints are `open`; `keyed` and `second`, which want KEY_A or KEY_B; `filtered`, which shows A more tools than B
(filtering.py); `public`, where nothing is private; `kept` and `kept-open`, which have the legacy servers again, with
one session for each principal.
"""

import asyncio
import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from mcp.server.subscriptions import InMemorySubscriptionBus
from starlette.types import ASGIApp, Receive, Scope, Send

from metamcp_asgi.aggregate.interaction.state import State
from metamcp_asgi.aggregate.page import Cursor
from metamcp_asgi.protocol.sealed import KeyRing, Sealer
from tests.gateway.client import JSON
from tests.gateway.running import KEY_A, KEY_B, document_of, served
from tests.gateway.upstreams.raw import RawServer, Seen, text_result, tool_named
from tests.gateway.witness import Witness, witness_at
from tests.lab import filtering, modern
from tests.lab.common import Tap
from tests.lab.nodes import BetweenNodes, Nodes
from tests.places import ROOT, client_python
from tests.processes import Program
from tests.redis import Redis
from tests.workers.running import Alternating, RunningWorkers, workers_for

KINDS = ("um", "us", "ul", "ux", "ud")
"""The servers of real SDKs."""

MODERN_KINDS = ("um", "us")
LEGACY_KINDS = ("ul", "ux", "ud")
PAGE_KINDS = ("um", "us", "ul", "ux")
"""Those whose revision can send the user to a page."""

PAGE_SIZE = 25
KEEPALIVE = 1.0
"""Seconds of silence before a comment."""
_TAGS = itertools.count()

SECRET = "the laboratory's key has 32 bytes and more"
HDR = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "flag": {"type": "boolean", "x-mcp-header": "Flag"},
        "deep": {"type": "object", "properties": {"er": {"type": "string", "x-mcp-header": "Deeper"}}},
    },
}
BAD_HDR = {"type": "object", "properties": {"a": {"type": "string", "x-mcp-header": "not a token"}}}


def scripted(canary: str) -> tuple[str | JSON, ...]:
    """Returns the tools of `raw` and `old`; what `odd` does is for each test to say."""
    return (
        "echo",
        "other",
        "odd",
        {**tool_named("hdr"), "inputSchema": HDR},
        {**tool_named("bad_hdr"), "inputSchema": BAD_HDR},
        {**tool_named("ref"), "inputSchema": {"type": "object", "properties": {"x": {"$ref": canary}}}},
        tool_named("numbers", outputSchema={"type": "array", "items": {"type": "integer"}}),
        tool_named("table", outputSchema={"type": "object"}),
        tool_named("task", execution={"taskSupport": "optional"}),
    )


def credential(kind: str) -> str:
    """Returns the token that the gateway has for a server."""
    return f"the-gateways-own-for-{kind}"


def paged(seen: Seen) -> JSON:
    """Answers tools/list in pages whose cursors are odd: an empty one, and one that leads back."""
    cursors: dict[str | None, str] = {None: "", "": "2", "2": ""}
    cursor = seen.params.get("cursor")
    return seen.server.listed("tools", [tool_named(f"page_{cursor or len(cursors) - 2}")], nextCursor=cursors[cursor])


SDK_1 = {"ul": "mcp-1.30.0", "ux": "mcp-1.30.0", "ud": "mcp-1.12.4"}


@dataclass(frozen=True, slots=True)
class Arrived:
    """One request as it arrived at a server."""

    headers: list[tuple[str, str]]
    message: JSON

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]


@dataclass(frozen=True, slots=True)
class Lab:
    """The laboratory."""

    running: "RunningWorkers | Nodes"
    witness: Witness
    raw: RawServer
    old: RawServer
    um: Any
    bus: InMemorySubscriptionBus
    canary: list[str]
    servers: dict[str, JSON]

    @property
    def port(self) -> int:
        return self.running.port

    def client(self, endpoint: str = "open", key: str | None = None) -> "Alternating | BetweenNodes":
        return self.running.client(endpoint, key)

    @property
    def a(self) -> "Alternating | BetweenNodes":
        return self.client("keyed", KEY_A)

    @property
    def b(self) -> "Alternating | BetweenNodes":
        return self.client("keyed", KEY_B)

    def tag(self) -> str:
        """Returns a text that no other test has, and no token contains."""
        return f"the {next(_TAGS)}th"

    def said(self, kind: str, text: str) -> list[JSON]:
        """Returns the messages with a text in them that a server over HTTP has sent."""
        start = f"{kind} said "
        found = [report.removeprefix(start) for report in self.witness.reports if report.startswith(start)]
        return [json.loads(each) for each in found if text in each]

    def arrived(self, kind: str, text: str) -> list[Arrived]:
        """Returns the requests with a text in their body that a server over HTTP was sent."""
        start = f"{kind} http "
        found = [json.loads(report.removeprefix(start)) for report in self.witness.reports if report.startswith(start)]
        return [Arrived([(k, v) for k, v in lines], json.loads(body)) for lines, body in found if text in body]


@contextlib.asynccontextmanager
async def program(kind: str, transport: str, folder: Path) -> AsyncIterator[str]:
    """Runs a server of SDK 1; yields its URL."""
    command = [*legacy_command(kind, folder), transport]
    started = await asyncio.to_thread(Program, command, {"PYTHONPATH": str(ROOT)}, ROOT)
    try:
        yield (await asyncio.to_thread(started.wait_for_line, r"^ready (\S+)"))[1]
    finally:
        await asyncio.to_thread(started.stop)


def legacy_command(kind: str, folder: Path) -> list[str | Path]:
    """Returns what runs a server of SDK 1, but for its transport."""
    return [client_python(SDK_1[kind]), "-m", "tests.lab.legacy", kind, folder / "witness"]


@contextlib.asynccontextmanager
async def running_lab(folder: Path, redis: Redis) -> AsyncIterator[Lab]:
    """Runs the laboratory for the length of a `with` block."""
    async with contextlib.AsyncExitStack() as stack:
        witness = await stack.enter_async_context(witness_at(folder / "witness"))
        bus = InMemorySubscriptionBus()
        um = modern.build("um", witness, bus)
        canary: list[str] = []
        there = await stack.enter_async_context(served(_canary(canary), "off"))
        tools = scripted(f"http://127.0.0.1:{there}/schema")
        raw, old = RawServer("modern", tools), RawServer("legacy", tools)
        complete = {"resultType": "complete"}
        raw.behaviour |= {
            "tools/call hdr": text_result("ok", **complete),
            "tools/call ref": text_result("ok", **complete),
            "tools/call numbers": text_result("[1,2]", structuredContent=[1, 2], **complete),
            "tools/call table": text_result('{"a":1}', structuredContent={"a": 1}, **complete),
        }
        apps = (Tap(um.streamable_http_app(), "um", witness), raw, old, RawServer(behaviour={"tools/list": paged}))
        urls = [f"http://127.0.0.1:{await stack.enter_async_context(served(app))}/mcp" for app in apps]
        programs = (("ul", "http"), ("ux", "sse"))
        ul, ux = await asyncio.gather(*(stack.enter_async_context(program(*each, folder)) for each in programs))
        python, *arguments = map(str, legacy_command("ud", folder))
        path = {"PYTHONPATH": str(ROOT)}
        here = ["-m", "tests.lab.modern", "us", str(folder / "witness")]
        servers: dict[str, JSON] = {
            "um": {"url": urls[0], "bearerToken": credential("um")},
            "us": {"command": sys.executable, "args": here, "env": path},
            "ul": {"url": ul, "bearerToken": credential("ul")},
            "ux": {"url": ux, "type": "sse", "bearerToken": credential("ux")},
            "ud": {"command": python, "args": [*arguments, "stdio"], "env": path},
            "raw": {"url": urls[1]},
            "old": {"url": urls[2]},
            "odd": {"url": urls[3]},
        }
        environment = {"PYTHONPATH": f"{_installed(folder)}{os.pathsep}{ROOT}"}
        settings = {"page_size": PAGE_SIZE, "keepalive_seconds": KEEPALIVE, "secret_keys": SECRET}
        workers = workers_for(document(servers), redis, folder.name, folder, environment=environment, **settings)
        yield Lab(await stack.enter_async_context(workers), witness, raw, old, um, bus, canary, servers)


def document(servers: dict[str, JSON]) -> JSON:
    """Returns the gateway's configuration."""
    whole = document_of(servers, endpoints={"second": {}})
    whole["namespaces"]["all"]["servers"].remove("odd")
    kept = {f"k{name}": {**servers[name], "sharing": "principal"} for name in LEGACY_KINDS}
    whole["mcpServers"] |= kept
    whole["namespaces"] |= {
        "kept": {"servers": list(kept)},
        "filtered": {"servers": ["um", "us", "ul", "ud", "raw"], "middlewares": ["filtering"]},
        "public": {"servers": ["raw", "odd"]},
    }
    whole["endpoints"] |= {
        "kept": {"namespace": "kept"},
        "kept-open": {"namespace": "kept", "apiKeyAuth": False},
        "filtered": {"namespace": "filtered"},
        "public": {"namespace": "public", "apiKeyAuth": False},
    }
    return whole


def _canary(seen: list[str]) -> ASGIApp:
    """Returns an application that nobody may ever ask anything."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])

    return app


def _installed(folder: Path) -> Path:
    """Installs the middleware as a package would be, for whoever has the folder on its path."""
    info = folder / "lab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[metamcp_asgi.middleware]\nfiltering = lab_filtering:Filtering\n")
    (folder / "lab_filtering.py").write_text(Path(filtering.__file__).read_text())
    return folder


def expired(token: str) -> str:
    """Returns a cursor or a requestState of the laboratory as it is when its time is over."""
    prefix = token.partition(".")[0]
    sealer: Sealer[Any] = KeyRing([SECRET.encode()]).sealer(prefix, {"c1": Cursor, "g1": State}[prefix])
    opened = sealer.open(token)
    assert opened is not None
    return sealer.seal(msgspec.structs.replace(opened, expires=int(time.time()) - 1))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lab(shared_redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    async with running_lab(tmp_path_factory.mktemp("lab"), shared_redis) as lab:
        yield lab
