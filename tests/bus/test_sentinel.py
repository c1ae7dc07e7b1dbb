"""A primary that is found by Sentinels, dies, and is followed by its replica."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from metamcp_asgi.bus.protocol import BusUnavailable
from metamcp_asgi.bus.redis import RedisBus
from tests.processes import free_port
from tests.redis import Redis

PASSWORD = "right-word"


@pytest.fixture
def primary() -> Iterator[Redis]:
    server = Redis("--requirepass", PASSWORD, "--masterauth", PASSWORD)
    yield server
    server.close()


@pytest.fixture
def replica(primary: Redis) -> Iterator[Redis]:
    options = ("--repl-diskless-sync-delay", "0", "--requirepass", PASSWORD, "--masterauth", PASSWORD)
    server = Redis(*options, "--replicaof", f"127.0.0.1 {primary.port}")
    yield server
    server.close()


@pytest.fixture
def sentinel(primary: Redis, replica: Redis, tmp_path: Path) -> Iterator[int]:
    """The port of a Sentinel that knows the primary, and the replica by it."""
    port = free_port()
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\n"
        f"sentinel monitor main 127.0.0.1 {primary.port} 1\n"
        f"sentinel auth-pass main {PASSWORD}\n"
        "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
    )
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([primary.program, str(config), "--sentinel"], stdout=log, stderr=log)
    yield port
    process.kill()
    process.wait(30)


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - Redis tells no event
            await asyncio.sleep(0.02)


@pytest.fixture
async def buses(primary: Redis, replica: Redis, sentinel: int, prefix: str) -> AsyncIterator[list[RedisBus]]:
    url = f"redis+sentinel://:{PASSWORD}@127.0.0.1:1,127.0.0.1:{sentinel}/main/0"

    def knows_both() -> bool:
        found = subprocess.run(
            [Path(primary.program).with_name("redis-cli"), "-p", str(sentinel), "sentinel", "replicas", "main"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        return str(replica.port) in found.stdout and "master-link-status\nok" in found.stdout

    async def ready() -> bool:
        return await asyncio.to_thread(knows_both)

    await until(ready)
    opened = [RedisBus(url, prefix) for _ in range(2)]
    yield opened
    for bus in opened:
        await bus.aclose()


async def test_the_replica_takes_over(primary: Redis, buses: list[RedisBus]) -> None:
    one, other = buses

    async def echo(message: bytes) -> AsyncIterator[bytes]:
        yield message

    other.serve("echo", echo)
    for bus in buses:
        await bus.start()
    first = await one.lease("x", 600)
    assert first is not None

    async def echoes() -> bool:
        with contextlib.suppress(BusUnavailable):
            async with contextlib.aclosing(one.call(other.name, "echo", b"x")) as answer:
                return [frame async for frame in answer] == [b"x"]
        return False

    assert await echoes()
    primary.kill()
    with pytest.raises(BusUnavailable, match="the primary main of 127") as caught:
        await one.put("x", b"", 60)
    assert PASSWORD not in str(caught.value)
    await until(echoes)
    second = await one.lease("x", 600, seize=True)
    assert second is not None
    assert second.number > first.number


async def test_no_sentinel_is_told_at_once(prefix: str) -> None:
    port = free_port()
    with pytest.raises(BusUnavailable, match=f"the primary main of 127.0.0.1:{port} cannot be reached"):
        await RedisBus(f"redis+sentinel://127.0.0.1:{port}/main", prefix).start()
