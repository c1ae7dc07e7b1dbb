"""What a cluster of Redis does that one Redis does not: keys move to other nodes, and nodes die."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from metamcp_asgi.bus.protocol import BusUnavailable
from metamcp_asgi.bus.redis import RedisBus
from metamcp_asgi.errors import ConfigError
from tests.redis import Redis, RedisCluster

pytestmark = pytest.mark.xdist_group("redis-cluster")


@contextlib.asynccontextmanager
async def two(url: str, prefix: str) -> AsyncIterator[tuple[RedisBus, RedisBus]]:
    """Runs two buses, of which the second echoes."""

    async def echo(message: bytes) -> AsyncIterator[bytes]:
        yield message

    one, other = (RedisBus(url, prefix) for _ in range(2))
    other.serve("echo", echo)
    try:
        for bus in (one, other):
            await bus.start()
        yield one, other
    finally:
        for bus in (one, other):
            await bus.aclose()


async def until_all_works(one: RedisBus, other: RedisBus) -> None:
    """Waits until calls, events, leases and limits work, between both."""
    heard = asyncio.Event()
    end = other.subscribe("news", lambda event: heard.set() if event == b"now" else None)
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(BusUnavailable, TimeoutError):
                async with contextlib.aclosing(one.call(other.name, "echo", b"x")) as answer:
                    assert [frame async for frame in answer] == [b"x"]
                await one.publish("news", b"now")
                async with asyncio.timeout(1):
                    await heard.wait()
                assert await one.lease("x", 600, seize=True)
                assert await other.holder("x") == one.name
                assert one.take is not None
                assert (await one.take("group", [("x", 1000, 1.0), ("y", 1000, 1.0)]))[0] == -1
                end()
                return
            await asyncio.sleep(0.02)


async def test_keys_that_move_to_another_node_are_followed(redis_cluster: RedisCluster, prefix: str) -> None:
    nodes = redis_cluster.nodes
    slot = int(nodes[0].cli("cluster", "keyslot", f"{{{prefix}}}"))
    ids = {node.cli("cluster", "myid"): node for node in nodes}
    [holder] = [name for name, node in ids.items() if "MOVED" not in node.cli("get", f"{{{prefix}}}")]
    target = next(name for name in ids if name != holder)
    async with two(redis_cluster.url, prefix) as (one, other):
        await until_all_works(one, other)
        lease = await one.lease("kept", 600)
        await asyncio.to_thread(move, ids, slot, holder, target)
        try:
            await until_all_works(one, other)
            assert await one.holder("kept") == one.name
            assert lease is not None
            assert await one.renew(lease, 600)
        finally:
            await asyncio.to_thread(move, ids, slot, target, holder)


def move(ids: dict[str, Redis], slot: int, holder: str, target: str) -> None:
    """Moves a slot with all its keys to another node, as `redis-cli --cluster reshard` does."""
    ids[target].cli("cluster", "setslot", str(slot), "importing", holder)
    ids[holder].cli("cluster", "setslot", str(slot), "migrating", target)
    while keys := ids[holder].cli("cluster", "getkeysinslot", str(slot), "100").split():
        ids[holder].cli("migrate", "127.0.0.1", str(ids[target].port), "", "0", "5000", "keys", *keys)
    for node in (target, holder, *(each for each in ids if each not in (target, holder))):
        ids[node].cli("cluster", "setslot", str(slot), "node", target)


@pytest.fixture
def small() -> Iterator[RedisCluster]:
    """A cluster of one node and its replica, which it may lose."""
    cluster = RedisCluster(1, replicas=1)
    yield cluster
    cluster.close()


async def test_a_replica_takes_over(small: RedisCluster, prefix: str) -> None:
    primary, replica = small.nodes
    async with two(small.url, prefix) as (one, other):
        await until_all_works(one, other)
        first = await one.lease("x", 600, seize=True)
        async with asyncio.timeout(30):
            while "master_link_status:up" not in await asyncio.to_thread(replica.cli, "info", "replication"):
                pass
        primary.kill()
        with pytest.raises(BusUnavailable, match="the cluster of 127"):
            await one.put("x", b"", 60)
        assert await asyncio.to_thread(replica.cli, "cluster", "failover", "takeover") == "OK"
        await until_all_works(one, other)
        second = await one.lease("x", 600, seize=True)
        assert first is not None
        assert second is not None
        assert second.number > first.number


async def test_one_node_of_a_cluster_is_told_from_a_redis(redis_cluster: RedisCluster, prefix: str) -> None:
    with pytest.raises(BusUnavailable, match=r"one node of a cluster, whose URL begins with redis\+cluster://"):
        await RedisBus(redis_cluster.nodes[0].url, prefix).start()


async def test_a_node_that_does_not_answer_is_passed_over(redis_cluster: RedisCluster, prefix: str) -> None:
    async with two(redis_cluster.url.replace("//", "//127.0.0.1:1,"), prefix) as (one, other):
        await until_all_works(one, other)


@pytest.mark.parametrize("rest", ["host:port", "", "host,", ":secret@host:6379/1"])
def test_a_wrong_url_is_refused_without_being_shown(rest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RedisBus(f"redis+cluster://{rest}", "metamcp")
    assert "secret" not in str(caught.value)
    assert "redis+cluster://" in str(caught.value)
