"""Limits that all processes share: the answers of one process's memory, exact over all; and life without Redis."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from metamcp_asgi.asgi.auth import FAILURES_PER_MINUTE, Authenticate
from metamcp_asgi.asgi.bucket import Take
from metamcp_asgi.asgi.ratelimit import RateLimit, policy_of_endpoint
from metamcp_asgi.bus.redis import RedisBus
from metamcp_asgi.config.snapshot import ClientRateLimit, Endpoint, Key, Principal, digest_of
from metamcp_asgi.config.snapshot import RateLimit as EndpointRateLimit
from tests.asgi.driver import Answer, Inner, ask
from tests.redis import Redis, RedisCluster

HOUR = 3600.0


@pytest.fixture(params=["redis", pytest.param("cluster", marks=pytest.mark.xdist_group("redis-cluster"))])
async def takes(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[list[Take]]:
    """The shared buckets as three processes see them."""
    name = "shared_redis" if request.param == "redis" else "redis_cluster"
    server: Redis | RedisCluster = request.getfixturevalue(name)
    buses = [RedisBus(server.url, prefix) for _ in range(3)]
    for bus in buses:
        await bus.start()
    yield [bus.take for bus in buses if bus.take is not None]
    for bus in buses:
        await bus.aclose()


def rounded(answer: Answer) -> tuple[Any, ...]:
    """What an answer says, with its seconds in tens: two sequences do not run at the same speed."""
    seconds = {
        name: re.sub(r"(?<=t=)\d+|^\d+$", lambda found: str((int(found[0]) + 9) // 10), answer.headers[name])
        for name in ("ratelimit", "ratelimit-policy", "retry-after")
        if name in answer.headers
    }
    said = {name: value for name, value in (answer.json if answer.status != 200 else {}).items() if name != "timestamp"}
    return answer.status, seconds, said


async def test_the_answers_are_those_of_one_process(takes: list[Take]) -> None:
    # Intervals of 100 s or more, whose tens of seconds do not change within the test.
    endpoint = Endpoint(
        name="e",
        namespace="n",
        rate_limit=EndpointRateLimit(7, HOUR),
        client_rate_limit=ClientRateLimit(3, HOUR, "x-c"),
    )
    here = RateLimit(Inner(), policy_of_endpoint)
    shared = [RateLimit(Inner(), policy_of_endpoint, take=take) for take in takes]
    for number, client in enumerate("aaaabbbcccaabbccdddd"):
        more: dict[str, Any] = {"headers": {"x-c": client}, "metamcp.endpoint": endpoint}
        assert rounded(await ask(shared[number % 3], **more)) == rounded(await ask(here, **more)), number


async def test_check_96_a_limit_is_exact_over_all_processes(takes: list[Take]) -> None:
    policy = EndpointRateLimit(50, HOUR), ClientRateLimit(20, HOUR)
    apps = [RateLimit(Inner(), policy, take=take) for take in takes]
    answers = await asyncio.gather(
        *(ask(apps[number % 3], client=(f"192.0.2.{number // 3 % 4}", 1)) for number in range(300))
    )
    # 4 clients may have 20 each, of which the endpoint admits 50.
    assert Counter(answer.status for answer in answers)[200] == 50


async def test_a_bucket_fills_evenly_by_the_clock_of_redis(takes: list[Take]) -> None:
    apps = [RateLimit(Inner(), (EndpointRateLimit(2, 1.0), None), take=take) for take in takes]
    async with asyncio.timeout(30):
        began = asyncio.get_running_loop().time()
        admitted = 0
        while admitted < 6:
            answer = await ask(apps[admitted % 3])
            admitted += answer.status == 200
            await asyncio.sleep(0.01)
        # Two at once, then one each half second.
        assert asyncio.get_running_loop().time() - began > 1.9


async def test_waiting_as_told_is_enough(takes: list[Take]) -> None:
    app = RateLimit(Inner(), (EndpointRateLimit(1, 1.0), None), take=takes[0])
    assert (await ask(app)).status == 200
    answer = await ask(app)
    assert answer.status == 503
    await asyncio.sleep(int(answer.headers["retry-after"]))
    assert (await ask(app)).status == 200


async def test_a_refusal_takes_nothing_from_the_other_bucket(takes: list[Take]) -> None:
    policy = EndpointRateLimit(3, HOUR), ClientRateLimit(1, HOUR)
    app = RateLimit(Inner(), policy, take=takes[0])
    for client, status in (("a", 200), ("a", 429), ("a", 429), ("b", 200), ("c", 200), ("d", 503), ("d", 503)):
        assert (await ask(app, client=(client, 1))).status == status
    changed = RateLimit(Inner(), (EndpointRateLimit(4, HOUR), ClientRateLimit(1, HOUR)), take=takes[0])
    assert (await ask(changed, client=("d", 1))).status == 200  # the endpoint's refusal took nothing from the client


async def test_endpoints_have_their_own_buckets(takes: list[Take]) -> None:
    app = RateLimit(Inner(), policy_of_endpoint, take=takes[0])
    for name in ("one", "two", "{one}"):
        endpoint = Endpoint(name=name, namespace="n", rate_limit=EndpointRateLimit(1, HOUR))
        assert [(await ask(app, **{"metamcp.endpoint": endpoint})).status for _ in range(2)] == [200, 503]


def guarded(take: Take | None, **more: Any) -> Authenticate:
    key = Key(digest_of("right-key-of-tests"), Principal(id="key:1", kind="key", name="Ada"))
    return Authenticate(Inner(), {key.digest: key}, take=take, **more)


async def test_wrong_keys_count_over_all_processes(takes: list[Take]) -> None:
    apps = [guarded(take) for take in takes]
    wrong = {"headers": {"x-api-key": "wrong"}}
    statuses = [(await ask(apps[number % 3], **wrong)).status for number in range(FAILURES_PER_MINUTE)]
    assert statuses == [401] * FAILURES_PER_MINUTE
    refused = await ask(apps[0], **wrong)
    assert refused.status == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 3
    assert (await ask(apps[1], headers={"x-api-key": "right-key-of-tests"})).status == 200
    assert (await ask(apps[1], client=("192.0.2.9", 1), **wrong)).status == 401


async def test_without_redis_each_process_counts_for_itself_or_refuses(redis: Redis, prefix: str) -> None:
    bus = RedisBus(redis.url, prefix)
    await bus.start()
    policy = EndpointRateLimit(2, HOUR), None
    local = RateLimit(Inner(), policy, take=bus.take)
    refusing = RateLimit(Inner(), policy, take=bus.take, when_away="refuse")
    wrong = {"headers": {"x-api-key": "wrong"}}
    try:
        redis.kill()
        assert [(await ask(local)).status for _ in range(3)] == [200, 200, 503]
        answer = await ask(refusing)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert (await ask(guarded(bus.take), **wrong)).status == 401
        assert (await ask(guarded(bus.take, when_away="refuse"), **wrong)).status == 429
        right = {"headers": {"x-api-key": "right-key-of-tests"}}
        assert (await ask(guarded(bus.take, when_away="refuse"), **right)).status == 200
        redis.start()
        async with asyncio.timeout(30):
            while (await ask(refusing)).status == 503:  # noqa: ASYNC110 - Redis comes back at its own time
                await asyncio.sleep(0.05)
    finally:
        await bus.aclose()
