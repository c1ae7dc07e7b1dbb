"""Gateways that share nothing but their keys, and keys that change one after the other (checks 35 and 103)."""

import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp.server.mcpserver import Context, MCPServer

from tests.gateway.client import CAPABILITIES, JSON, Session
from tests.gateway.running import KEY_A, RunningGateway, document_of, gateway_for, gateway_over, served
from tests.gateway.upstreams.raw import RawServer, Reply, Seen, text_result
from tests.lab.common import Word
from tests.redis import Redis

pytestmark = pytest.mark.asyncio(loop_scope="session")

OLD, NEW = b"old" * 11, b"new" * 11
TASKS = "io.modelcontextprotocol/tasks"
ABLE: JSON = {CAPABILITIES: {"elicitation": {}, "extensions": {TASKS: {}}}}
QUESTION: JSON = {"method": "elicitation/create", "params": {"message": "Sure?", "requestedSchema": {}}}
ANSWERS: JSON = {"k": {"action": "accept", "content": {}}}


def server() -> RawServer:
    """Returns a server that asks, and that gives out tasks."""

    def ask(seen: Seen) -> Reply:
        if seen.params.get("requestState") == "inner":
            return text_result("asked", resultType="complete")
        return {"resultType": "input_required", "inputRequests": {"k": QUESTION}, "requestState": "inner"}

    task: JSON = {"taskId": "t", "status": "working", "ttlMs": None}
    behaviour: dict[str, Any] = {
        "tools/call ask": ask,
        "tools/call slow": {**task, "resultType": "task"},
        "tasks/get": {**task, "resultType": "complete"},
    }
    return RawServer("modern", ("ask", "slow", "echo", "more"), behaviour)


@contextlib.asynccontextmanager
async def node(raw: RawServer, *keys: bytes) -> AsyncIterator[RunningGateway]:
    async with gateway_over({"raw": raw}, page_size=2, secret_keys=keys) as running:
        yield running


class Begun:
    """What a client has from one gateway: a page's cursor, a session, a question's state and a task."""

    def __init__(self, cursor: str, session: str, state: str, task: str) -> None:
        self.cursor = cursor
        self.session = session
        self.state = state
        self.task = task

    @classmethod
    async def at(cls, running: RunningGateway) -> "Begun":
        client = running.client("keyed", KEY_A)
        return cls(
            (await client.modern("tools/list")).result()["nextCursor"],
            (await client.session()).id,
            (await client.call("raw__ask", meta=ABLE)).result()["requestState"],
            (await client.call("raw__slow", meta=ABLE)).result()["taskId"],
        )

    async def goes_on_at(self, running: RunningGateway) -> None:
        client = running.client("keyed", KEY_A)
        page = (await client.modern("tools/list", {"cursor": self.cursor})).result()
        assert [tool["name"] for tool in page["tools"]] == ["raw__more", "raw__slow"]
        session = Session(client, self.session, "2025-11-25")
        assert (await session.call("raw__echo")).status == 200
        given: JSON = {"name": "raw__ask", "arguments": {}, "requestState": self.state, "inputResponses": ANSWERS}
        assert (await client.modern("tools/call", given, meta=ABLE)).result()["content"][0]["text"] == "asked"
        headers = [("Mcp-Name", self.task)]
        got = await client.modern("tasks/get", {"taskId": self.task}, meta=ABLE, headers=headers)
        assert got.result()["status"] == "working"

    async def is_unknown_at(self, running: RunningGateway) -> None:
        client = running.client("keyed", KEY_A)
        assert (await client.modern("tools/list", {"cursor": self.cursor})).code() == -32602
        assert (await Session(client, self.session, "2025-11-25").call("raw__echo")).status == 404
        given: JSON = {"name": "raw__ask", "arguments": {}, "requestState": self.state, "inputResponses": ANSWERS}
        assert (await client.modern("tools/call", given, meta=ABLE)).code() == -32602
        headers = [("Mcp-Name", self.task)]
        got = await client.modern("tasks/get", {"taskId": self.task}, meta=ABLE, headers=headers)
        assert got.code() == -32602


async def test_check_35_what_one_node_gave_out_is_good_at_another() -> None:
    raw = server()
    async with node(raw, OLD) as one, node(raw, OLD) as two:
        await (await Begun.at(one)).goes_on_at(two)
        await (await Begun.at(two)).goes_on_at(one)


async def test_check_103_keys_change_one_after_the_other() -> None:
    raw = server()
    steps = [(OLD,), (OLD, NEW), (NEW, OLD), (NEW,)]
    async with contextlib.AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(node(raw, *keys)) for keys in steps]
        # While the nodes are restarted one by one, two neighbouring steps run side by side.
        for before, after in itertools.pairwise(nodes):
            await (await Begun.at(before)).goes_on_at(after)
            await (await Begun.at(after)).goes_on_at(before)


async def test_check_103_a_parked_call_goes_on_while_keys_change(shared_redis: Redis, prefix: str) -> None:
    server: MCPServer[Any] = MCPServer("asking", log_level="WARNING")

    @server.tool()
    async def ask(ctx: Context[Any]) -> str:
        return (await ctx.elicit("A word?", Word)).action

    common: dict[str, Any] = {"redis_url": shared_redis.url, "redis_prefix": prefix}
    steps = [(OLD,), (OLD, NEW), (NEW, OLD), (NEW,)]
    async with served(server.streamable_http_app()) as port, contextlib.AsyncExitStack() as stack:
        document = document_of({"ul": {"url": f"http://127.0.0.1:{port}/mcp", "era": "legacy"}})
        nodes = [await stack.enter_async_context(gateway_for(document, secret_keys=keys, **common)) for keys in steps]
        for before, after in [*itertools.pairwise(nodes), *itertools.pairwise(reversed(nodes))]:
            asked = (await before.client("keyed", KEY_A).call("ul__ask", meta=ABLE)).result()
            given = {key: {"action": "accept", "content": {"word": "leaf"}} for key in asked["inputRequests"]}
            more: JSON = {"requestState": asked["requestState"], "inputResponses": given}
            there = after.client("keyed", KEY_A)
            done = await there.modern("tools/call", {"name": "ul__ask", "arguments": {}, **more}, meta=ABLE)
            assert done.result()["content"][0]["text"] == "accept"


async def test_keys_that_are_gone_open_nothing() -> None:
    raw = server()
    async with node(raw, OLD) as one, node(raw, NEW) as two:
        await (await Begun.at(one)).is_unknown_at(two)
