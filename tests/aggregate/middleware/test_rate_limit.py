"""The middleware `rate_limit`, over real HTTP in front of servers whose every answer the test decides."""

import json
from typing import Any

import pytest

from metamcp_asgi.aggregate.middleware.rate_limit import ROUNDS
from tests.aggregate.middleware.installing import through
from tests.gateway.client import CAPABILITIES, JSON, Answer
from tests.gateway.running import KEY_A, KEY_B
from tests.gateway.upstreams.raw import RawServer, Reply, Seen, text_result
from tests.redis import Redis

RATE_LIMITED = 42900


def rate_limit(**options: Any) -> dict[str, JSON]:
    return {"rate_limit": {"maxRate": 2, "maxRateSeconds": 3600, **options}}


def is_refused(answer: Answer) -> None:
    """Checks an answer to a call that is one too many."""
    assert answer.status == 429, answer
    error = answer.error()
    assert error["code"] == RATE_LIMITED
    wait = int(answer.header("retry-after") or 0)
    assert wait == error["data"]["retryAfter"]
    assert 1700 < wait <= 1800
    assert f"try again in {wait} s" in error["message"]


async def test_a_tool_may_be_called_so_often_by_each_caller() -> None:
    raw = RawServer(tools=("echo", "other"), behaviour={"tools/call other": text_result("done")})
    async with through([rate_limit(tools=["raw__echo"])], raw=raw) as running:
        ada, bob = running.client("keyed", KEY_A), running.client("keyed", KEY_B)
        for _ in range(2):
            assert (await ada.call("raw__echo")).status == 200
        is_refused(await ada.call("raw__echo", id="x"))
        assert (await ada.call("raw__echo", id="x")).message()["id"] == "x"
        assert raw.count("tools/call") == 2, "what is refused does not reach the server"
        assert [(await ada.call("raw__other")).status for _ in range(3)] == [200] * 3
        assert [(await bob.call("raw__echo")).status for _ in range(3)] == [200, 200, 429]
        # Strangers are told apart by their address, and by nothing that they say.
        assert [(await running.client().call("raw__echo")).status for _ in range(3)] == [200, 200, 429]


async def test_a_legacy_client_is_limited_too_and_its_session_is_nothing_to_it() -> None:
    raw = RawServer(tools=("echo", "other"))
    async with through([rate_limit()], raw=raw) as running:
        client = running.client("keyed", KEY_A)
        for _ in range(2):
            assert (await (await client.session()).call("raw__echo")).status == 200
        is_refused(await (await client.session()).call("raw__echo"))
        is_refused(await client.call("raw__echo"))


async def test_one_limit_for_all_callers_of_an_endpoint() -> None:
    raw = RawServer()
    async with through([rate_limit(per="endpoint")], raw=raw) as running:
        assert (await running.client("keyed", KEY_A).call("raw__echo")).status == 200
        assert (await running.client("keyed", KEY_B).call("raw__echo")).status == 200
        is_refused(await running.client("keyed", KEY_A).call("raw__echo"))
        assert (await running.client("open").call("raw__echo")).status == 200


async def test_a_tool_is_the_same_under_another_name() -> None:
    raw = RawServer()
    tools = {"tools": {"raw__echo": {"name": "say"}}}
    async with through([rate_limit(tools=["raw__ec*"])], raw=raw, namespace=tools) as running:
        client = running.client("keyed", KEY_A)
        renamed = (await client.modern("tools/list")).result()["tools"][0]["name"]
        assert renamed != "raw__echo"
        assert (await client.call("raw__echo")).status == 200
        assert (await client.call(renamed)).status == 200
        is_refused(await client.call("raw__echo"))


async def test_the_rest_face_says_429() -> None:
    async with through([rate_limit()], raw=RawServer()) as running:
        client = running.client("open")
        headers = [("Content-Type", "application/json")]
        target = "/metamcp/open/api/raw__echo"
        statuses = [(await client.send("POST", headers, b"{}", target)).status for _ in range(2)]
        assert statuses == [200, 200]
        refused = await client.send("POST", headers, b"{}", target)
        assert refused.status == 429
        assert 1700 < int(refused.header("retry-after") or 0) <= 1800
        assert json.loads(refused.body)["error"] == "Rate limit exceeded"


async def test_answers_to_a_servers_questions_are_no_new_calls_but_not_without_end() -> None:
    question: JSON = {"method": "elicitation/create", "params": {"message": "Sure?", "requestedSchema": {}}}

    def ask(seen: Seen) -> Reply:
        return {"resultType": "input_required", "inputRequests": {"k": question}, "requestState": "inner"}

    raw = RawServer("modern", ("ask",), {"tools/call ask": ask})
    async with through([rate_limit(maxRate=1)], raw=raw) as running:
        client = running.client("keyed", KEY_A)
        able = {CAPABILITIES: {"elicitation": {}}}

        async def call(state: str | None) -> Answer:
            given: JSON = {"name": "raw__ask", "arguments": {}}
            if state is not None:
                given |= {"requestState": state, "inputResponses": {"k": {"action": "accept", "content": {}}}}
            return await client.modern("tools/call", given, meta=able)

        state = (await call(None)).result()["requestState"]
        for _ in range(ROUNDS):
            state = (await call(state)).result()["requestState"]
        assert (await call(state)).status == 429
        assert (await call(None)).status == 429


@pytest.mark.parametrize(("when_away", "statuses"), [("local", [200, 200, 429]), ("refuse", [503] * 3)])
async def test_while_redis_is_away(redis: Redis, prefix: str, when_away: str, statuses: list[int]) -> None:
    more = {"redis_url": redis.url, "redis_prefix": prefix, "limits_without_redis": when_away}
    async with through([rate_limit()], raw=RawServer(), **more) as running:
        client = running.client("keyed", KEY_A)
        redis.kill()
        answers = [await client.call("raw__echo") for _ in range(3)]
        assert [answer.status for answer in answers] == statuses
        if when_away == "refuse":
            assert (answers[0].code(), answers[0].header("retry-after")) == (-32603, "5")
            assert str(redis.port) not in answers[0].error()["message"]
