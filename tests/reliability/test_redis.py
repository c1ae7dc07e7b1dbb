"""Redis is killed, stands still, or comes back empty, while two workers serve: check 101."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp.server.mcpserver import Context, MCPServer

from tests.gateway.client import CAPABILITIES, Answer, Client, Session
from tests.gateway.test_changes import change, listening
from tests.gateway.upstreams.raw import RawServer
from tests.lab.common import Word
from tests.redis import Redis
from tests.reliability.clock import AT_ONCE, until_true, within
from tests.stdio import stdio
from tests.workers.running import RunningWorkers, workers_over

FORMS: dict[str, Any] = {CAPABILITIES: {"elicitation": {}}}
GIVEN = {"action": "accept", "content": {"word": "leaf"}}


@dataclass(frozen=True, slots=True)
class Site:
    """A gateway of two workers and what it needs."""

    workers: RunningWorkers
    redis: Redis
    modern: RawServer
    pids: list[int]

    def here(self) -> Client:
        return self.workers.at(self.pids[0])

    def there(self) -> Client:
        return self.workers.at(self.pids[1])

    async def unaffected(self, what: str) -> None:
        """Checks what needs no other process, at each worker."""
        for client in (self.here(), self.there()):
            async with within(AT_ONCE, f"{what}: discover, list and calls of a modern client"):
                assert (await client.modern("server/discover")).result()["capabilities"]
                assert (await client.modern("tools/list")).result()["tools"]
                for name in ("um__echo", "us__echo", "ul__plain"):
                    assert not (await client.call(name)).result().get("isError")

    async def whole(self, what: str) -> None:
        """Waits until everything works again, by the same processes."""

        async def interacts() -> bool:
            asked = (await ask(self.here())).message()
            return "result" in asked and await accepted(retry(self.there(), asked["result"]))

        await until_true(interacts, f"{what}: a question that is answered at another worker")
        session = await self.here().session()
        there = Session(self.there(), session.id, "2025-11-25")
        async with within(AT_ONCE, f"{what}: a legacy session at another worker"):
            assert (await there.call("um__echo")).result()["content"]
            stream = await there.listen()
        await change(self.modern, "echo", what.split(",")[0].replace(" ", "_"))
        async with within(AT_ONCE, f"{what}: a change of a list"):
            assert (await stream.message())["method"] == "notifications/tools/list_changed"
        await stream.close()
        assert sorted(self.workers.pids()) == sorted(self.pids)


@pytest.fixture
async def site(redis: Redis, prefix: str, tmp_path: Path) -> AsyncIterator[Site]:
    server: MCPServer[Any] = MCPServer("asking", log_level="WARNING")

    @server.tool()
    async def ask(ctx: Context[Any]) -> str:
        return (await ctx.elicit("A word?", Word)).action

    @server.tool()
    def plain() -> str:
        return "plain"

    modern = RawServer("modern")
    servers: dict[str, Any] = {"um": modern, "ul": server.streamable_http_app(), "us": stdio()}
    config = {"ul": {"era": "legacy"}}
    async with workers_over(servers, redis=redis, prefix=prefix, folder=tmp_path, config=config) as workers:
        yield Site(workers, redis, modern, workers.pids())


async def ask(client: Client, **more: Any) -> Answer:
    return await client.modern("tools/call", {"name": "ul__ask", "arguments": {}, **more}, meta=FORMS)


async def retry(client: Client, asked: dict[str, Any]) -> Answer:
    answers = dict.fromkeys(asked["inputRequests"], GIVEN)
    return await ask(client, requestState=asked["requestState"], inputResponses=answers)


async def test_check_101_redis_is_killed_and_comes_back_empty(site: Site) -> None:
    session = await site.here().session()
    asked = (await ask(site.here())).result()
    site.redis.kill()
    await site.unaffected("Redis killed")
    async with within(AT_ONCE, "Redis killed: a retry that is for another worker"):
        refused = await retry(site.there(), asked)
    assert (refused.status, refused.code(), refused.header("retry-after")) == (503, -32603, "5")
    assert "Redis" in refused.error()["message"]
    async with within(AT_ONCE, "Redis killed: a retry that comes to its owner"):
        assert await accepted(retry(site.here(), asked))
    there = Session(site.there(), session.id, "2025-11-25")
    async with within(AT_ONCE, "Redis killed: a request of a legacy session"):
        refused_call = await there.call("um__echo")
    assert (refused_call.status, refused_call.code()) == (503, -32603)
    async with within(AT_ONCE, "Redis killed: a legacy stream"):
        opened = await there.client.send("GET", [("Accept", "text/event-stream"), *there.headers])
    assert (opened.status, opened.code()) == (503, -32603)
    site.redis.start()
    await site.whole("Redis back, empty")
    async with within(AT_ONCE, "Redis back: the session of before"):
        assert (await there.call("um__echo")).result()["content"]


async def test_check_101_redis_forgets_everything(site: Site) -> None:
    session = await site.here().session()
    stream = await listening(site.here(), "tools")
    asked = (await ask(site.here())).result()
    assert site.redis.cli("flushall") == "OK"
    await site.unaffected("FLUSHALL")
    async with within(AT_ONCE, "FLUSHALL: a parked call goes on at another worker"):
        await until_true(lambda: accepted(retry(site.there(), asked)), "FLUSHALL: a parked call")
    assert (await Session(site.there(), session.id, "2025-11-25").call("um__echo")).result()["content"]
    await stream.close()
    await site.whole("FLUSHALL")


async def accepted(answer: Any) -> bool:
    message = (await answer).message()
    return "result" in message and message["result"]["content"][0]["text"] == "accept"


async def test_redis_answers_nothing(site: Site) -> None:
    asked = (await ask(site.here())).result()
    site.redis.signal(signal.SIGSTOP)
    try:
        await site.unaffected("Redis stopped")
        async with within(10, "Redis stopped: a retry that is for another worker"):
            refused = await retry(site.there(), asked)
        assert refused.code() == -32603, refused
    finally:
        site.redis.signal(signal.SIGCONT)
    await site.whole("Redis goes on")


async def test_a_retry_in_flight_when_redis_is_killed(site: Site) -> None:
    session = await site.here().session("2025-11-25", {"elicitation": {}})
    exchange = await session.start("tools/call", {"name": "ul__ask", "arguments": {}}, id=3)
    assert await exchange.head() == 200
    question = await asyncio.wait_for(exchange.message(), 30)
    site.redis.kill()
    there = Session(site.there(), session.id, "2025-11-25")
    async with within(AT_ONCE, "Redis killed: an answer of a legacy client at another worker"):
        told = await there.respond(question, result=GIVEN)
    assert (told.status, told.code()) == (503, -32603)
    site.redis.start()

    async def passed_on() -> bool:
        return (await there.respond(question, result=GIVEN)).status == 202

    await until_true(passed_on, "Redis back: the same answer once more")
    async with within(AT_ONCE, "Redis back: the call's end"):
        assert (await exchange.message())["result"]["content"][0]["text"] == "accept"
    await exchange.close()
    with contextlib.suppress(ConnectionError):
        await session.end()
