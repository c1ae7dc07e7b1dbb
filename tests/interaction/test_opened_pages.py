"""Servers that say when a user is through with a page, and those that wait for it (eras.md 2.6, 2025-11-25)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from metamcp_asgi.aggregate.interaction import interaction
from tests.gateway.client import CAPABILITIES, JSON, Client
from tests.gateway.one_or_two import at, one_or_two
from tests.gateway.running import KEY_A, gateway_over
from tests.gateway.upstreams.raw import Error, RawServer, Reply, Seen, Stream, text_result
from tests.interaction.test_leaving import Asking
from tests.redis import Redis

pytestmark = pytest.mark.asyncio(loop_scope="session")

COMPLETE = "notifications/elicitation/complete"
PAGES: JSON = {"elicitation": {"url": {}}}
URL = "https://example.com/connect"


def through(elicitation_id: str) -> JSON:
    return {"jsonrpc": "2.0", "method": COMPLETE, "params": {"elicitationId": elicitation_id}}


class Locked(RawServer):
    """A legacy server whose tool is refused until a page was opened."""

    def __init__(self, *, fresh: bool = False) -> None:
        self.open = False
        self.refused: asyncio.Queue[None] = asyncio.Queue()
        self.fresh = fresh
        self.url = URL
        super().__init__("legacy", ("locked",), {"tools/call": self._locked})

    def _locked(self, _: Seen) -> Reply:
        if self.open:
            return text_result("open")
        self.refused.put_nowait(None)
        number = self.count("tools/call") if self.fresh else 1
        url = f"{self.url}?attempt={number}"
        page = {"mode": "url", "elicitationId": f"e-{number}", "url": url, "message": "Connect"}
        return Error(-32042, "Connect first", {"elicitations": [page]})

    async def listened_to(self, streams: int) -> set[asyncio.Queue[JSON]]:
        """Waits until so many sessions have a stream on which they are told of things, and returns these."""
        while len(self.listeners) < streams:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
        return set(self.listeners)

    async def told_of(self, client: Client) -> tuple[JSON, JSON]:
        """Calls the tool; returns the params for the repetition by a user who opens the page, and what was asked."""
        result = (await client.modern("tools/call", CALL, meta={CAPABILITIES: PAGES})).result()
        ((key, question),) = result["inputRequests"].items()
        given = {"requestState": result["requestState"], "inputResponses": {key: {"action": "accept"}}}
        return {**CALL, **given}, question["params"]


CALL: JSON = {"name": "raw__locked", "arguments": {}}


async def test_a_legacy_client_hears_of_it_in_the_course_of_its_call() -> None:
    async def ask(seen: Seen) -> AsyncIterator[JSON | bytes]:
        params = {"mode": "url", "elicitationId": "theirs", "url": URL, "message": "Connect"}
        yield {"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": params}
        await server.answers.get()
        yield through("somebody else's")
        yield through("theirs")
        yield through("theirs")
        yield {"jsonrpc": "2.0", "id": seen.message["id"], "result": text_result("connected")}

    server = Asking({"tools/call ask": lambda seen: Stream(ask(seen))})
    async with gateway_over({"raw": server}) as running, asyncio.timeout(30):
        session = await running.client().session("2025-11-25", PAGES)
        exchange = await session.start("tools/call", {"name": "raw__ask", "arguments": {}}, id=3)
        await exchange.head()
        question = await exchange.message()
        ours = question["params"]["elicitationId"]
        assert ours != "theirs"
        await session.respond(question, result={"action": "accept"})
        assert await exchange.message() == through(ours)
        assert (await exchange.message())["result"]["content"][0]["text"] == "connected"
        await exchange.close()


async def test_a_legacy_client_hears_of_it_after_its_call(redis_or_none: Redis | None, prefix: str) -> None:
    server = Locked()
    async with one_or_two(server, redis_or_none, prefix) as (here, there), asyncio.timeout(30):
        session = await here.client("keyed", KEY_A).session("2025-11-25", PAGES)
        stream = await at(there, session).listen()
        processes = 1 if here is there else 2
        await server.listened_to(processes)
        other = await (await here.client("keyed", KEY_A).session("2025-11-25", PAGES)).listen()
        error = (await session.call("raw__locked")).error()
        assert error["code"] == -32042
        await server.listened_to(processes + 1)
        assert error["data"]["elicitations"][0]["elicitationId"] == "e-1"
        await server.tell(COMPLETE, elicitationId="nobody's")
        await server.tell(COMPLETE, elicitationId="e-1")
        assert await stream.message() == through("e-1")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(other.message(), 0.3)
        await other.close()
        await stream.close()


@pytest.mark.parametrize("fresh", [False, True])
async def test_a_modern_client_waits_for_it(
    redis_or_none: Redis | None, prefix: str, fresh: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interaction, "FIRST_PAUSE", 25.0)  # only the server's word ends the wait in time
    server = Locked(fresh=fresh)
    async with one_or_two(server, redis_or_none, prefix) as (here, there), asyncio.timeout(20):
        processes = 1 if here is there else 2
        before = await server.listened_to(processes)
        again, shown = await server.told_of(here.client("keyed", KEY_A))
        assert "elicitationId" not in shown
        # Told in the session of the first call alone, which is at the process that the client first came to.
        (session,) = await server.listened_to(processes + 1) - before
        await server.refused.get()
        client = there.client("keyed", KEY_A)
        exchange = await client.start("tools/call", again, meta={CAPABILITIES: PAGES})
        await server.refused.get()  # once more, as the user is still busy
        server.open = True
        session.put_nowait(through("e-1"))
        answer = await exchange.answer()
        assert answer.result()["content"][0]["text"] == "open"
        assert server.count("tools/call") == 3


async def test_a_server_that_says_nothing_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interaction, "FIRST_PAUSE", 0.05)
    server = Locked()
    async with gateway_over({"raw": server}) as running, asyncio.timeout(20):
        client = running.client()
        again, _ = await server.told_of(client)
        exchange = await client.start("tools/call", again, meta={CAPABILITIES: PAGES})
        for _ in range(4):
            await server.refused.get()
        server.open = True
        assert (await exchange.answer()).result()["content"][0]["text"] == "open"


async def test_a_user_who_takes_long_is_sent_there_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interaction, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(interaction, "PAGE_SECONDS", 0.2)
    server = Locked()
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        again, shown = await server.told_of(client)
        result = (await client.modern("tools/call", again, meta={CAPABILITIES: PAGES})).result()
        ((key, question),) = result["inputRequests"].items()
        assert question["params"] == shown
        server.open = True
        given = {"requestState": result["requestState"], "inputResponses": {key: {"action": "accept"}}}
        final = await client.modern("tools/call", {**CALL, **given}, meta={CAPABILITIES: PAGES})
        assert final.result()["content"][0]["text"] == "open"


async def test_another_page_is_shown_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interaction, "FIRST_PAUSE", 25.0)
    server = Locked()
    async with gateway_over({"raw": server}) as running, asyncio.timeout(20):
        client = running.client()
        again, _ = await server.told_of(client)
        server.url = "https://example.com/next"
        result = (await client.modern("tools/call", again, meta={CAPABILITIES: PAGES})).result()
        (question,) = result["inputRequests"].values()
        assert question["params"]["url"].startswith("https://example.com/next")


async def test_a_client_that_leaves_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interaction, "FIRST_PAUSE", 0.01)
    server = Locked()
    async with gateway_over({"raw": server}) as running, asyncio.timeout(20):
        client = running.client()
        again, _ = await server.told_of(client)
        exchange = await client.start("tools/call", again, meta={CAPABILITIES: PAGES})
        for _ in range(3):
            await server.refused.get()
        await exchange.close()
        waiting = running.gateway.aggregator._ways.interaction.pages._waiting
        while waiting:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
