"""Legacy clients that say that their roots have changed, and the servers that may ask for them (eras.md 2.11)."""

import asyncio

import pytest

from tests.gateway.client import JSON, Exchange, Session
from tests.gateway.one_or_two import at, one_or_two
from tests.gateway.running import KEY_A, gateway_over
from tests.gateway.upstreams.raw import RawServer, Reply, Seen, text_result
from tests.redis import Redis

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHANGED = "notifications/roots/list_changed"
ROOTS: JSON = {"roots": {"listChanged": True}}


class Slow(RawServer):
    """A legacy server whose tool ends when it may."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        super().__init__("legacy", ("echo", "slow"), {"tools/call slow": self._slow})

    async def _slow(self, _: Seen) -> Reply:
        await self.release.wait()
        return text_result("done")

    def session_of(self, method: str) -> list[list[bytes]]:
        """Returns the session in which each message of a method came."""
        return [seen.header("mcp-session-id") for seen in self.seen if seen.method == method]


async def slow(session: Session) -> Exchange:
    return await session.start("tools/call", {"name": "raw__slow", "arguments": {}}, id="slow")


async def test_the_server_is_told_at_once_in_the_course_of_a_call(redis_or_none: Redis | None, prefix: str) -> None:
    server = Slow()
    async with one_or_two(server, redis_or_none, prefix) as (here, there):
        session = await here.client("keyed", KEY_A).session("2025-11-25", ROOTS)
        other = await here.client("keyed", KEY_A).session("2025-11-25", ROOTS)
        calls = [await slow(session), await slow(other)]
        arrived = [await server.arrival("tools/call") for _ in calls]
        assert (await at(there, session).notify(CHANGED)).status == 202
        told = await server.arrival(CHANGED)
        server.release.set()
        for call in calls:
            await asyncio.wait_for(call.answer(), 30)
        # In the session of this client, and in no other's.
        assert told.header("mcp-session-id") in [seen.header("mcp-session-id") for seen in arrived]
        assert server.count(CHANGED) == 1
        assert server.last("initialize").params["capabilities"] == ROOTS


async def test_between_two_calls_the_server_is_told_with_the_next(redis_or_none: Redis | None, prefix: str) -> None:
    """It would ask for the roots, and a client can only be asked in the course of a call."""
    server = Slow()
    async with one_or_two(server, redis_or_none, prefix) as (here, there):
        session = await here.client("keyed", KEY_A).session("2025-11-25", ROOTS)
        await session.call("raw__echo")
        for _ in range(2):
            assert (await at(there, session).notify(CHANGED)).status == 202
        # What is published reaches the other process a moment later; a call may be before or after it.
        async with asyncio.timeout(30):
            while not server.count(CHANGED):
                await session.call("raw__echo")
        assert server.session_of(CHANGED)[0] == server.session_of("tools/call")[0]
        await session.call("raw__echo")
        assert server.count(CHANGED) <= 2


@pytest.mark.parametrize("capabilities", [{"roots": {}}, {"elicitation": {}}])
async def test_who_did_not_say_that_they_change_is_not_passed_on(capabilities: JSON) -> None:
    server = Slow()
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session("2025-11-25", capabilities)
        exchange = await slow(session)
        await server.arrival("tools/call")
        assert (await session.notify(CHANGED)).status == 202
        server.release.set()
        await asyncio.wait_for(exchange.answer(), 30)
        await session.call("raw__echo")
        assert server.count(CHANGED) == 0


async def test_a_modern_server_needs_not_be_told() -> None:
    server = RawServer("modern", ("echo",))
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session("2025-11-25", ROOTS)
        await session.call("raw__echo")
        assert (await session.notify(CHANGED)).status == 202
        await session.call("raw__echo")
        assert server.count(CHANGED) == 0
        told = server.last("tools/call").params["_meta"]["io.modelcontextprotocol/clientCapabilities"]
        assert told == {"roots": {}}
