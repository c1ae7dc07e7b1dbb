"""Two processes without a Redis: what would need one is off for every request, said so, and the rest works at both."""

import json
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from mcp.server.mcpserver import Context, MCPServer

from tests.gateway.client import BASE, CAPABILITIES, JSON, Session
from tests.gateway.running import KEY_A
from tests.gateway.upstreams.raw import RawServer, Reply, Seen, text_result
from tests.lab.common import Word
from tests.places import BIN, ROOT
from tests.workers.running import RunningWorkers, workers_over

module = pytest.mark.asyncio(loop_scope="module")

FORMS: JSON = {CAPABILITIES: {"elicitation": {}}}
CANNOT_BE_ASKED = "the client declared no such capability"
QUESTION: JSON = {"method": "elicitation/create", "params": {"message": "Sure?", "requestedSchema": {}}}


def modern() -> RawServer:
    def ask(seen: Seen) -> Reply:
        if seen.params.get("requestState") == "inner":
            return text_result("asked", resultType="complete")
        return {"resultType": "input_required", "inputRequests": {"k": QUESTION}, "requestState": "inner"}

    return RawServer("modern", ("echo", "ask"), {"tools/call ask": ask})


def legacy() -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer("asking", log_level="WARNING")

    @server.tool()
    async def ask(ctx: Context[Any]) -> str:
        return (await ctx.elicit("A word?", Word)).action

    @server.tool()
    def can_be_asked(ctx: Context[Any]) -> str:
        params = ctx.session.client_params
        return str(params is not None and params.capabilities.elicitation is not None)

    return server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningWorkers]:
    folder = tmp_path_factory.mktemp("stateless")
    limit = {"clientRateLimit": {"maxRate": 2, "maxRateSeconds": 3600, "strategy": "principal"}}
    async with workers_over(
        {"um": modern(), "ul": legacy().streamable_http_app()},
        redis=None,
        prefix="unused",
        folder=folder,
        config={"ul": {"era": "legacy"}},
        endpoints={"limited": limit},
        stateless="true",
        limits_without_redis="refuse",
    ) as running:
        yield running


@module
async def test_it_says_what_is_off(workers: RunningWorkers) -> None:
    assert "METAMCP_STATELESS: legacy clients cannot be asked" in workers.program.output()


@module
async def test_a_legacy_session_works_at_both_and_promises_nothing_else(workers: RunningWorkers) -> None:
    client = workers.client()
    opened = await client.initialize(capabilities={"elicitation": {}, "roots": {}})
    assert opened.result()["capabilities"] == {"tools": {}, "prompts": {}, "resources": {}, "completions": {}}
    session = Session(client, opened.header("mcp-session-id") or "", "2025-11-25")
    for _ in range(4):
        assert (await session.call("um__echo")).result()["content"]
        assert (await session.call("ul__can_be_asked")).result()["content"][0]["text"] == "False"
        # The server is told that nobody can be asked, and says what it makes of that.
        assert CANNOT_BE_ASKED in (await session.call("ul__ask")).error()["data"]["upstream"]["message"]
        assert "asks for input" in (await session.call("um__ask")).result()["content"][0]["text"]
        for method, params in (
            ("logging/setLevel", {"level": "debug"}),
            ("resources/subscribe", {"uri": "x://doc"}),
        ):
            error = (await session.request(method, params)).error()
            assert error["code"] == -32601
            assert "keeps no sessions" in error["message"]
        assert (await session.notify("notifications/cancelled", {"requestId": 1})).status == 202
    assert len(set(client.reached)) == 2


@module
async def test_streams_and_ends_of_sessions_are_refused_everywhere(workers: RunningWorkers) -> None:
    client = workers.client()
    session = await client.session()
    for _ in range(2):
        for answer in (
            await client.send("GET", [("Accept", "text/event-stream"), *session.headers]),
            await session.end(),
        ):
            assert (answer.status, answer.header("allow")) == (405, "POST")
        sse = await client.send("GET", [("Accept", "text/event-stream")], target="/metamcp/open/sse")
        posted = await client.send("POST", BASE, b"{}", target="/metamcp/open/message?sessionId=x")
        for refused in (sse, posted):
            assert refused.status == 501
            assert "METAMCP_STATELESS" in json.loads(refused.body)["message"]
    assert (await session.call("um__echo")).status == 200, "what was not ended goes on"


@module
async def test_modern_clients_lack_nothing_but_questions_of_legacy_servers(workers: RunningWorkers) -> None:
    client = workers.client()
    for _ in range(2):
        discovered = (await client.modern("server/discover")).result()
        assert discovered["capabilities"]["resources"] == {"listChanged": True, "subscribe": True}
        # What asks statelessly goes on at the other process.
        asked = (await client.call("um__ask", meta=FORMS)).result()
        answers = {"k": {"action": "accept", "content": {}}}
        given = {"name": "um__ask", "arguments": {}, "requestState": asked["requestState"], "inputResponses": answers}
        assert (await client.modern("tools/call", given, meta=FORMS)).result()["content"][0]["text"] == "asked"
        assert (await client.call("ul__can_be_asked", meta=FORMS)).result()["content"][0]["text"] == "False"
        refused = (await client.call("ul__ask", meta=FORMS)).error()
        assert CANNOT_BE_ASKED in refused["data"]["upstream"]["message"]
    stream = await workers.client().start("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    assert await stream.head() == 200
    assert (await stream.message())["method"] == "notifications/subscriptions/acknowledged"
    await stream.close()


@module
async def test_limits_are_refused_where_that_is_asked_for(workers: RunningWorkers) -> None:
    client = workers.client("limited", KEY_A)
    assert [(await client.call("um__echo")).status for _ in range(4)] == [503] * 4


def test_it_does_not_go_with_a_redis(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text('{"mcpServers": {}}')
    env = {**os.environ, "METAMCP_STATELESS": "true", "METAMCP_REDIS_URL": "redis://127.0.0.1:1/0"}
    command = [BIN / "metamcp", "serve", path, "--port", "0", "--workers", "2"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, env=env)
    assert refused.returncode == 1
    assert "METAMCP_STATELESS" in refused.stderr
    assert "METAMCP_REDIS_URL" in refused.stderr
