"""The Python SDK's own legacy client, over both legacy transports, is asked by the SDK's legacy servers (LC x LU)."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from mcp import Client, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from tests.gateway.running import document_of, gateway_for, served
from tests.gateway.upstreams import asking
from tests.peers.clients import DRIVERS
from tests.places import ROOT, client_python

pytestmark = [
    pytest.mark.xdist_group("legacy-clients"),
    pytest.mark.asyncio(loop_scope="session"),
    # Questions to clients and log messages are deprecated by SEP-2577, and what legacy sessions are about.
    pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning"),
]

KINDS = ("http", "sse", "stdio")


class User:
    """Who sits in front of the client."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[str] = []
        self.logged: list[tuple[str, Any]] = []

    async def elicited(self, context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        self.asked.append(params.message)
        if "decline" in params.message:
            return types.ElicitResult(action="decline")
        return types.ElicitResult(action="accept", content={"sure": True})

    async def sampled(self, context: Any, params: types.CreateMessageRequestParams) -> Any:
        content = params.messages[0].content
        assert isinstance(content, types.TextContent)
        if "refuse" in content.text:
            return types.ErrorData(code=-1, message="User rejected sampling request")
        text = types.TextContent(type="text", text=f"{self.name}: {content.text}")
        return types.CreateMessageResult(role="assistant", content=text, model="m")

    async def roots(self, context: Any) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root(uri=f"file:///{self.name}")])  # type: ignore[arg-type]

    async def log(self, params: types.LoggingMessageNotificationParams) -> None:
        self.logged.append((params.level, params.data))


@contextlib.asynccontextmanager
async def connected(port: int, transport: str, user: User) -> AsyncIterator[Client]:
    url = f"http://127.0.0.1:{port}/metamcp/open"
    over = streamable_http_client(f"{url}/mcp") if transport == "http" else sse_client(f"{url}/sse")
    async with Client(
        over,
        mode="legacy",
        elicitation_callback=user.elicited,
        sampling_callback=user.sampled,
        list_roots_callback=user.roots,
        logging_callback=user.log,
    ) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def port() -> AsyncIterator[int]:
    """Where a gateway listens in front of such a server of each kind."""
    async with (
        served(asking.build().streamable_http_app()) as http,
        served(asking.build().sse_app()) as sse,
    ):
        program = ["-m", "tests.gateway.upstreams.asking"]
        servers = {
            "http": {"url": f"http://127.0.0.1:{http}/mcp", "era": "legacy"},
            "sse": {"type": "sse", "url": f"http://127.0.0.1:{sse}/sse"},
            "stdio": {"command": sys.executable, "args": program, "cwd": str(ROOT), "era": "legacy"},
        }
        async with gateway_for(document_of(servers)) as running:
            yield running.port


async def text(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    [block] = result.content
    assert isinstance(block, types.TextContent)
    return block.text


@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_check_65_everything_that_a_legacy_server_may_ask(transport: str, port: int) -> None:
    one, two = User("one"), User("two")
    async with connected(port, transport, one) as first, connected(port, transport, two) as second:
        for kind in KINDS:
            assert await text(first, f"{kind}__ask", what=f"{kind} for one") == "accept True"
            assert await text(second, f"{kind}__ask", what=f"decline {kind}") == "decline"
            assert await text(second, f"{kind}__sample", prompt=kind) == f"two: {kind}"
            assert await text(first, f"{kind}__roots") == "file:///one"
            with pytest.raises(MCPError, match="User rejected"):  # the SDK's server makes an error of it
                await first.call_tool(f"{kind}__sample", {"prompt": "refuse"})
        # Nobody sees what another one is asked (trap 3).
        assert [question.split("] ")[-1] for question in one.asked] == [f"{kind} for one" for kind in KINDS]
        assert [question.split("] ")[-1] for question in two.asked] == [f"decline {kind}" for kind in KINDS]


@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_check_75_what_a_legacy_server_logs(transport: str, port: int) -> None:
    user = User("one")
    async with connected(port, transport, user) as client:
        await client.set_logging_level("warning")
        for kind in KINDS:
            user.logged.clear()
            assert await text(client, f"{kind}__log") == "logged"
            assert user.logged == [("warning", "a warning"), ("error", "a error")]


@pytest.mark.peers
@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_check_65_the_client_of_the_older_sdk(transport: str, port: int) -> None:
    url = f"http://127.0.0.1:{port}/metamcp/open/{'mcp' if transport == 'http' else 'sse'}"
    calls = [["http__ask", {"what": "?"}], ["sse__sample", {"prompt": "x"}], ["http__roots"], ["http__log"]]
    program = await asyncio.create_subprocess_exec(
        str(client_python("mcp-1.30.0")),
        str(DRIVERS / "python_sdk_1_asked.py"),
        *(url, transport, json.dumps(calls)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        output, errors = await program.communicate()
    assert program.returncode == 0, errors.decode()
    found = json.loads(output)
    assert found == {"texts": ["accept True", "said x", "file:///old", "logged"], "logged": ["error"]}
