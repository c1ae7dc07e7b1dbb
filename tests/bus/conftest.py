"""Buses of the tests: `make_bus()` gives another process's view of the same gateway, where there can be one."""

from collections.abc import AsyncIterator

import pytest

from metamcp_asgi.bus.open import open_bus
from metamcp_asgi.bus.protocol import Bus
from tests.redis import Redis, RedisCluster


@pytest.fixture(
    params=["memory", "redis", pytest.param("cluster", marks=pytest.mark.xdist_group("redis-cluster"))],
)
def url(request: pytest.FixtureRequest) -> str | None:
    """Of the Redis that all processes share, on every kind of bus."""
    if request.param == "memory":
        return None
    server: Redis | RedisCluster = request.getfixturevalue(
        "shared_redis" if request.param == "redis" else "redis_cluster"
    )
    return server.url


@pytest.fixture
async def pair(url: str | None, prefix: str) -> AsyncIterator[tuple[Bus, Bus]]:
    """A caller's bus and an owner's, neither started; both are the same where there is one process."""
    caller = open_bus(url, prefix)
    owner = caller if caller.alone else open_bus(url, prefix)
    yield caller, owner
    await caller.aclose()
    await owner.aclose()
