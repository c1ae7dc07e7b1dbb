from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp_asgi.asgi.bucket import Bucket, Buckets
from metamcp_asgi.asgi.ratelimit import RateLimit, policy_of_endpoint
from metamcp_asgi.config.snapshot import ANONYMOUS, ClientRateLimit, Endpoint, Principal
from metamcp_asgi.config.snapshot import RateLimit as EndpointRateLimit

from .driver import Inner, ask


class Clock:
    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


async def statuses(app, count, **more):
    return [(await ask(app, **more)).status for _ in range(count)]


async def test_the_endpoint_limit_is_full_at_start_and_refills_evenly(clock):
    app = RateLimit(Inner(), (EndpointRateLimit(5, 60), None), clock)
    assert await statuses(app, 7) == [200] * 5 + [503] * 2
    clock.now += 12
    assert await statuses(app, 2) == [200, 503]
    clock.now += 3600
    assert await statuses(app, 7) == [200] * 5 + [503] * 2


async def test_over_the_endpoint_limit(clock):
    app = RateLimit(Inner(), (EndpointRateLimit(1, 90), None), clock)
    first = await ask(app)
    assert first.headers["ratelimit-policy"] == '"endpoint";q=1;w=90'
    assert first.headers["ratelimit"] == '"endpoint";r=0;t=90'
    assert "retry-after" not in first.headers
    answer = await ask(app)
    assert (answer.status, answer.json["error"]) == (503, "Rate limit exceeded")
    assert answer.json["timestamp"].endswith("Z")
    assert answer.headers["retry-after"] == "90"
    assert answer.headers["ratelimit"] == '"endpoint";r=0;t=90'


async def test_over_the_client_limit(clock):
    app = RateLimit(Inner(), (EndpointRateLimit(100, 100), ClientRateLimit(2, 30)), clock)
    first = await ask(app)
    assert first.headers["ratelimit-policy"] == '"client";q=2;w=30, "endpoint";q=100;w=100'
    assert first.headers["ratelimit"] == '"client";r=1;t=15, "endpoint";r=99;t=1'
    await ask(app)
    answer = await ask(app)
    assert answer.status == 429
    assert answer.json["error"] == "Rate limit exceeded: 2 requests per 30 second/s"
    assert answer.headers["retry-after"] == "15"
    assert answer.headers["ratelimit"] == '"client";r=0;t=15, "endpoint";r=98;t=1'


async def test_waiting_as_told_is_enough(clock):
    app = RateLimit(Inner(), (EndpointRateLimit(7, 3), None), clock)
    for _ in range(200):
        answer = await ask(app)
        if answer.status == 503:
            wait = int(answer.headers["retry-after"])
            assert wait >= 1
            clock.now += wait
            assert (await ask(app)).status == 200


async def test_clients_are_told_apart_by_address(clock):
    app = RateLimit(Inner(), (None, ClientRateLimit(1, 60)), clock)
    assert await statuses(app, 2, client=("192.0.2.1", 1)) == [200, 429]
    assert await statuses(app, 2, client=("192.0.2.2", 1)) == [200, 429]
    assert await statuses(app, 2, client=None) == [200, 429]


async def test_clients_are_told_apart_by_a_header_or_else_by_address(clock):
    app = RateLimit(Inner(), (None, ClientRateLimit(1, 60, "X-Tenant")), clock)
    for tenant in ("a", "b", "c" * 5000, "c" * 4999 + "d"):
        assert await statuses(app, 2, headers={"x-tenant": tenant}) == [200, 429]
    assert await statuses(app, 2) == [200, 429]
    assert await statuses(app, 2, client=("192.0.2.9", 1)) == [200, 429]


async def test_a_limit_by_key_still_works_after_the_key_was_taken_away(clock):
    app = RateLimit(Inner(), (None, ClientRateLimit(1, 60, "x-api-key")), clock)
    for principal in ("ada", "bob"):
        more = {"metamcp.principal": Principal(id=principal, kind="key")}
        assert await statuses(app, 2, **more) == [200, 429]
    assert await statuses(app, 2, **{"metamcp.principal": ANONYMOUS}) == [200, 429]


async def test_clients_are_told_apart_by_principal_and_strangers_by_address(clock):
    app = RateLimit(Inner(), (None, ClientRateLimit(1, 60, by_principal=True)), clock)
    ada = {"metamcp.principal": Principal(id="key:ada", kind="key")}
    assert await statuses(app, 2, **ada) == [200, 429]
    assert await statuses(app, 1, client=("192.0.2.2", 1), **ada) == [429]
    assert await statuses(app, 2, **{"metamcp.principal": Principal(id="key:bob", kind="key")}) == [200, 429]
    # What a stranger writes into a header makes nobody else of it.
    for header in ("a", "b"):
        more = {"metamcp.principal": ANONYMOUS, "headers": {"authorization": header}}
        assert await statuses(app, 1, **more) == [200 if header == "a" else 429]
    assert await statuses(app, 2, client=("192.0.2.2", 1), **{"metamcp.principal": ANONYMOUS}) == [200, 429]


async def test_a_refusal_takes_nothing_from_the_other_bucket(clock):
    app = RateLimit(Inner(), (EndpointRateLimit(3, 3000), ClientRateLimit(2, 20)), clock)
    one, two = {"client": ("192.0.2.1", 1)}, {"client": ("192.0.2.2", 1)}
    assert await statuses(app, 10, **one) == [200] * 2 + [429] * 8
    assert await statuses(app, 10, **two) == [200] + [503] * 9
    assert (await ask(app, **two)).headers["ratelimit"].startswith('"client";r=1;')


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
async def test_every_method_counts(clock, method):
    app = RateLimit(Inner(), (EndpointRateLimit(1, 60), None), clock)
    assert await statuses(app, 2, method=method) == [200, 503]


async def test_without_limits_nothing_is_added():
    inner = Inner()
    answer = await ask(RateLimit(inner, (None, None)))
    assert answer.headers == {"content-type": "text/plain"}


async def test_buckets_outlast_a_reload_that_changes_nothing(clock):
    app = RateLimit(Inner(), policy_of_endpoint, clock)

    def endpoint(name="e", rate=2, client_rate=5):
        limits = {"rate_limit": EndpointRateLimit(rate, 60), "client_rate_limit": ClientRateLimit(client_rate, 60)}
        return {"metamcp.endpoint": Endpoint(name=name, namespace="n", **limits)}

    assert await statuses(app, 3, **endpoint()) == [200, 200, 503]
    assert await statuses(app, 1, **endpoint()) == [503], "an equal policy keeps its bucket"
    assert await statuses(app, 1, **endpoint("f")) == [200], "endpoints do not share"
    assert await statuses(app, 4, **endpoint(rate=50)) == [200, 200, 200, 429], "the client's bucket goes on"
    assert await statuses(app, 7, **endpoint(rate=50, client_rate=6)) == [200] * 6 + [429], "a new one starts anew"


async def test_the_clients_remembered_are_bounded(clock):
    app = RateLimit(Inner(), (None, ClientRateLimit(1, 60, "x-tenant")), clock)
    for number in range(10_050):
        await ask(app, headers={"x-tenant": str(number)})
    assert len(app._clients) == 10_000


def test_the_client_seen_last_is_kept():
    buckets = Buckets(2)
    first = buckets.get("a", 1, 1)
    buckets.get("b", 1, 1)
    assert buckets.get("a", 1, 1) is first
    buckets.get("c", 1, 1)
    assert buckets.get("a", 1, 1) is first
    assert len(buckets) == 2


@given(
    st.integers(1, 20),
    st.floats(0.01, 1000),
    st.lists(st.floats(0, 100), min_size=1, max_size=200),
)
def test_no_window_admits_more_than_capacity_and_refill(max_rate, seconds, pauses):
    bucket, now, admitted = Bucket(max_rate, seconds), 12345.6, []
    for pause in pauses:
        now += pause * seconds / max_rate / 30
        left, _ = bucket.left(now)
        wait = bucket.wait(now)
        assert (left >= 1) == (wait == 0)
        assert 0 <= left <= max_rate
        if wait:
            assert bucket.wait(now + wait) == 0, "waiting as told is enough"
            continue
        bucket.take(now)
        assert bucket.left(now)[0] == left - 1
        admitted.append(now)
    for first, begin in enumerate(admitted):
        for last in range(first, len(admitted)):
            allowed = max_rate + (admitted[last] - begin) * max_rate / seconds
            assert last - first + 1 <= allowed + 0.01


@given(st.integers(1, 50), st.floats(0.1, 100))
def test_a_client_at_exactly_the_rate_is_never_refused(max_rate, seconds):
    bucket = Bucket(max_rate, seconds)
    outcome = Counter()
    for number in range(max_rate * 5):
        now = 1e6 + number * seconds / max_rate
        outcome[bucket.wait(now) == 0] += 1
        bucket.take(now)
    assert outcome[False] == 0
