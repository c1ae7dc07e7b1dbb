"""Legacy sessions over several processes, none of which is the only one a client speaks to (check 98).

Two gateways share nothing but their keys and a Redis, as two workers or two machines do.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.types import ASGIApp

from metamcp_asgi.downstream import sessions
from tests.gateway.client import JSON, Client, Exchange, Session
from tests.gateway.running import KEY_A, KEY_B, RunningGateway, document_of, gateway_for, served
from tests.gateway.test_legacy_asking import ACCEPTED, EVERYTHING, FORM, answers, asking_server, until_asked
from tests.gateway.test_legacy_resume import Events, Steps, refused, resumed, started
from tests.gateway.test_legacy_sessions import levels, logging_server, update, watched_server
from tests.gateway.test_legacy_sse import session as sse_session
from tests.gateway.upstreams.raw import Seen
from tests.redis import Redis

pytestmark = pytest.mark.asyncio(loop_scope="session")


@dataclass(frozen=True, slots=True)
class Two:
    """Two processes of one gateway."""

    one: RunningGateway
    two: RunningGateway

    def there(self, session: Session) -> Session:
        """Returns a session as its client uses it at the other process."""
        client = Client(self.two.port)
        client.path, client.headers = session.client.path, session.client.headers
        other = Session(client, session.id, "2025-11-25")
        other.headers = session.headers
        return other


@contextlib.asynccontextmanager
async def two_over(server: ASGIApp, redis: Redis, prefix: str) -> AsyncIterator[Two]:
    async with served(server) as port:
        document = document_of({"raw": {"url": f"http://127.0.0.1:{port}/mcp"}})
        common: dict[str, Any] = {
            "secret_keys": (b"k" * 32,),
            "redis_url": redis.url,
            "redis_prefix": prefix,
        }
        async with gateway_for(document, **common) as one, gateway_for(document, **common) as two:
            yield Two(one, two)


async def test_check_65_an_answer_that_reaches_another_process(shared_redis: Redis, prefix: str) -> None:
    server = asking_server(FORM)
    async with two_over(server, shared_redis, prefix) as both:
        session = await both.one.client("keyed", KEY_A).session("2025-11-25", EVERYTHING)
        exchange, question = await until_asked(session)
        stranger = await both.two.client("keyed", KEY_B).session("2025-11-25", EVERYTHING)
        assert (await stranger.respond(question, result={"action": "decline"})).status == 202
        told = await both.there(session).respond(question, result=ACCEPTED)
        assert (told.status, told.body) == (202, b"")
        assert answers(await exchange.message()) == {"q0": ACCEPTED}
        await exchange.close()
        assert (await both.there(session).respond(question, result=ACCEPTED)).status == 202
        assert server.count("tools/call") == 2


async def test_check_73_a_cancellation_that_reaches_another_process(shared_redis: Redis, prefix: str) -> None:
    async with two_over(asking_server(FORM), shared_redis, prefix) as both:
        session = await both.one.client().session("2025-06-18", EVERYTHING)
        exchange, question = await until_asked(session)
        assert (await both.there(session).notify("notifications/cancelled", {"requestId": 3})).status == 202
        [cancelled] = (await asyncio.wait_for(exchange.answer(), 15)).messages()
        assert cancelled["params"]["requestId"] == question["id"]


async def test_check_24_an_end_that_another_process_was_told(shared_redis: Redis, prefix: str) -> None:
    async with two_over(watched_server(), shared_redis, prefix) as both:
        known, unseen = await both.one.client().session(), await both.one.client().session()
        stream = await both.there(known).listen()
        for session in (known, unseen):
            assert (await session.end()).status == 200
        await asyncio.wait_for(stream.answer(), 15)
        for session in (known, unseen):
            assert (await both.there(session).request("ping")).status == 404


async def test_little_is_kept_of_the_sessions_of_strangers(
    redis: Redis, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_FACTS_OF_STRANGERS", 2)
    async with asyncio.timeout(60), two_over(watched_server(), redis, prefix) as both:
        ended = [await both.one.client().session() for _ in range(5)]
        for session in ended:
            assert (await session.end()).status == 200
        facts = redis.cli("keys", "*:fact:*").splitlines()
        assert len(facts) == 2
        day = 24 * 3600 * 1000
        assert all(0 < int(redis.cli("pttl", fact)) <= day for fact in facts)
        # All processes were told; what is kept is for those that were not there.
        for session in ended:
            while (await both.there(session).request("ping")).status != 404:
                pass
        keyed = await both.one.client("keyed", KEY_A).session()
        await keyed.end()
        [kept] = set(redis.cli("keys", "*:fact:*").splitlines()) - set(facts)
        assert int(redis.cli("pttl", kept)) > 6 * day


async def test_check_75_a_level_that_another_process_was_told(shared_redis: Redis, prefix: str) -> None:
    async with two_over(logging_server("modern"), shared_redis, prefix) as both:
        session = await both.one.client().session()
        await session.request("logging/setLevel", {"level": "alert"})
        there = both.there(session)
        assert await levels(there) == ["alert", "emergency"]
        await there.request("logging/setLevel", {"level": "emergency"})
        async with asyncio.timeout(15):
            while await levels(session) != ["emergency"]:
                pass


async def test_check_79_a_subscription_that_reaches_another_process(shared_redis: Redis, prefix: str) -> None:
    server = watched_server()
    async with two_over(server, shared_redis, prefix) as both:
        session = await both.one.client().session()
        there = both.there(session)
        stream = await there.listen()
        assert (await session.request("resources/subscribe", {"uri": "raw://a"})).result() == {}
        assert (await session.request("resources/subscribe", {"uri": "nowhere://"})).code() == -32002
        await update(server, "raw://a")
        assert (await stream.message())["params"] == {"uri": "raw://a"}
        await session.request("resources/unsubscribe", {"uri": "raw://a"})
        await server.arrival("resources/unsubscribe")
        await stream.close()


async def test_check_79_a_stream_that_moves_takes_the_subscriptions_along(shared_redis: Redis, prefix: str) -> None:
    server = watched_server()
    async with two_over(server, shared_redis, prefix) as both:
        session = await both.one.client().session()
        before = await session.listen()
        await session.request("resources/subscribe", {"uri": "raw://a"})
        after = await both.there(session).listen()
        await asyncio.wait_for(before.answer(), 15)
        # Whether it has changed in between, nobody knows.
        assert (await after.message())["params"] == {"uri": "raw://a"}
        await update(server, "raw://a")
        assert (await after.message())["params"] == {"uri": "raw://a"}
        await after.close()


class Reading:
    """A stream that is read for as long as it lasts."""

    def __init__(self, exchange: Exchange) -> None:
        self.read = b""
        self._exchange = exchange
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        if await self._exchange.head() == 200:
            async for chunk in self._exchange.chunks():
                self.read += chunk

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})
        await self._exchange.close()


async def test_check_79_of_two_streams_opened_at_the_same_time_one_stays(shared_redis: Redis, prefix: str) -> None:
    server = watched_server()
    async with asyncio.timeout(60), two_over(server, shared_redis, prefix) as both:
        session = await both.one.client().session()
        await session.request("resources/subscribe", {"uri": "raw://a"})
        accept = ("Accept", "text/event-stream")
        for round_ in range(8):
            clients = [session.client, both.there(session).client][:: 1 if round_ % 2 else -1]
            opened = await asyncio.gather(*(each.open("GET", [accept, *session.headers]) for each in clients))
            streams = [Reading(exchange) for exchange in opened]
            done, _ = await asyncio.wait([each.task for each in streams], return_when=asyncio.FIRST_COMPLETED)
            assert len(done) == 1, "the newer one goes on"
            [stays] = [each for each in streams if each.task not in done]
            before = stays.read.count(b"raw://a")
            await update(server, "raw://a")
            while stays.read.count(b"raw://a") == before:  # noqa: ASYNC110 - what is read tells no event
                await asyncio.sleep(0.01)
            assert not stays.task.done()
            # A request that comes to either process finds it.
            for each in (session, both.there(session)):
                assert (await each.request("resources/subscribe", {"uri": f"raw://{round_}"})).result() == {}
            for each in streams:
                await each.close()


async def test_nothing_is_kept_of_a_session_without_a_stream_and_subscriptions(redis: Redis, prefix: str) -> None:
    server = watched_server()
    async with asyncio.timeout(60), two_over(server, redis, prefix) as both:
        session = await both.one.client().session()
        stream = await session.listen()
        assert redis.cli("keys", "*:lease:*")
        await stream.close()
        there = both.there(session)
        await there.request("resources/subscribe", {"uri": "raw://a"})
        await session.request("resources/unsubscribe", {"uri": "raw://a"})
        while redis.cli("keys", "*:lease:*"):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
        assert not redis.cli("keys", "*:fact:*")


async def test_a_session_that_ends_while_its_stream_moves(shared_redis: Redis, prefix: str) -> None:
    server = watched_server()
    let_go = asyncio.Event()

    async def held(seen: Seen) -> JSON:
        await let_go.wait()
        return {}

    async with two_over(server, shared_redis, prefix) as both:
        session = await both.one.client().session()
        await session.request("resources/subscribe", {"uri": "raw://a"})
        await server.arrival("resources/subscribe")
        server.behaviour["resources/subscribe"] = held
        there = both.there(session)
        stream = await there.client.open("GET", [("Accept", "text/event-stream"), *there.headers])
        await server.arrival("resources/subscribe")
        assert (await there.end()).status == 200
        let_go.set()
        assert await asyncio.wait_for(stream.head(), 15) != 500
        await stream.close()


async def test_check_79_what_was_subscribed_to_before_there_was_a_stream(redis: Redis, prefix: str) -> None:
    server = watched_server()
    async with two_over(server, redis, prefix) as both:
        session = await both.one.client().session()
        assert (await session.request("resources/subscribe", {"uri": "raw://a"})).result() == {}
        assert (await both.there(session).request("resources/subscribe", {"uri": "raw://b"})).result() == {}
        stream = await both.there(session).listen()
        # Whether they have changed before, nobody knows.
        assert {(await stream.message())["params"]["uri"] for _ in range(2)} == {"raw://a", "raw://b"}
        for uri in ("raw://a", "raw://b"):
            await update(server, uri)
            assert (await stream.message())["params"] == {"uri": uri}
        await stream.close()


async def test_check_28_messages_that_reach_another_process(shared_redis: Redis, prefix: str) -> None:
    async with two_over(asking_server(FORM), shared_redis, prefix) as both:
        key = both.one.client("keyed", KEY_A)
        async with sse_session(key, "2025-06-18", capabilities=EVERYTHING) as stream:
            stream.client = both.two.client("keyed", KEY_A)
            await stream.tell("tools/call", {"name": "raw__ask", "arguments": {}}, id=5)
            question = await stream.exchange.message()
            stream.client = both.one.client("keyed", KEY_A)
            await stream.post({"jsonrpc": "2.0", "id": question["id"], "result": ACCEPTED})
            assert answers(await stream.exchange.message()) == {"q0": ACCEPTED}
            stream.client = both.two.client("keyed", KEY_B)
            assert (await stream.post({"jsonrpc": "2.0", "id": 1, "method": "ping"})).status == 404
        stream.client = both.two.client("keyed", KEY_A)
        async with asyncio.timeout(15):
            while (await stream.post({"jsonrpc": "2.0", "id": 1, "method": "ping"})).status != 404:
                pass


async def test_check_32_a_stream_that_is_resumed_at_another_process(shared_redis: Redis, prefix: str) -> None:
    steps = Steps()
    async with two_over(steps.server, shared_redis, prefix) as both:
        session = await both.one.client().session("2025-11-25")
        first = await started(session)
        await steps.step()
        await first.exchange.head()
        await first.until(1)
        again: Events = await resumed(both.there(session), first.ids[0])
        await again.until(1)
        await steps.step()
        steps.finish()
        await again.to_the_end()
        assert again.progress == [1, 2]
        assert again.messages[-1]["id"] == 3
        stranger = await both.two.client().session("2025-11-25")
        assert await refused(stranger.client, stranger, first.ids[0]) == 400
