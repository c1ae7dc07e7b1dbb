"""`/ready`: whether a gateway can serve, what it lacks, and what it keeps to itself."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from metamcp_asgi.config.file import compile_document
from metamcp_asgi.config.snapshot import Snapshot
from metamcp_asgi.gateway import Gateway
from metamcp_asgi.operations.ready import FRESH_SECONDS, Ready
from metamcp_asgi.settings import Settings
from metamcp_asgi.store.repository import Store
from tests.asgi.driver import ask
from tests.databases import SECRET
from tests.redis import Redis
from tests.serving import Served, serving

EMPTY: Snapshot = compile_document({"mcpServers": {}}, environ={})
NO_REDIS = "the other processes cannot be reached (is Redis away?)"
NO_DATABASE = "the database cannot be reached"


async def asked(served: Served, path: str = "/ready") -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=20) as http:
        return await http.get(f"{served.origin}{path}")


async def becomes(served: Served, status: int) -> dict[str, object]:
    """Waits until the answer has a status; returns the answer."""
    async with asyncio.timeout(30):
        while (answer := await asked(served)).status_code != status:  # noqa: ASYNC110 - it is asked, it tells nothing
            await asyncio.sleep(0.1)
        found: dict[str, object] = answer.json()
        return found


async def test_a_gateway_that_needs_nothing_is_ready_until_it_ends() -> None:
    gateway = Gateway(EMPTY, Settings())
    async with serving(gateway, lifespan="on") as served:
        answer = await asked(served)
        assert (answer.status_code, answer.json()) == (200, {"status": "ready"})
        assert answer.headers["cache-control"] == "no-store"
        gateway.close_streams()
        answer = await asked(served)
        assert (answer.status_code, answer.json()["reasons"]) == (503, ["it is about to end"])
        assert (await asked(served, "/health")).status_code == 200


async def test_redis_goes_and_comes_back(redis: Redis, prefix: str) -> None:
    settings = Settings(redis_url=redis.url.replace("//", "//user:hunter2@"), redis_prefix=prefix)
    user = ("acl", "setuser", "user", "on", ">hunter2", "~*", "&*", "+@all")
    redis.cli(*user)
    async with serving(Gateway(EMPTY, settings), lifespan="on") as served:
        assert (await asked(served)).status_code == 200
        redis.kill()
        answer = await becomes(served, 503)
        assert answer == {"status": "unavailable", "reasons": [NO_REDIS]}
        text = str(answer)
        assert "hunter2" not in text
        assert str(redis.port) not in text
        redis.start()
        redis.cli(*user)
        assert await becomes(served, 200) == {"status": "ready"}


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
    writer.close()


async def test_a_database_goes(postgres_url: Callable[[], str], tmp_path: Path) -> None:
    url = postgres_url()
    # Connections go through a socket of ours, which can be cut off.
    there = Path(url.partition("host=")[2], ".s.PGSQL.5432")
    open_ends: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_unix_connection(str(there))
        open_ends.extend((writer, requests))
        await asyncio.gather(pump(reader, requests), pump(answers, writer))

    wire = await asyncio.start_unix_server(connected, str(tmp_path / ".s.PGSQL.5432"))
    await (await Store.open(url, environ={}, secret_keys=(SECRET,))).aclose()
    through = url.replace(str(there.parent), str(tmp_path))
    gateway = await asyncio.to_thread(Gateway.from_store, through, Settings(secret_keys=(SECRET,)))
    async with serving(gateway, lifespan="on") as served:
        assert (await asked(served)).status_code == 200
        wire.close()
        for end in open_ends:
            end.transport.abort()
        answer = await becomes(served, 503)
        assert answer == {"status": "unavailable", "reasons": [NO_DATABASE]}
        assert (await asked(served, "/health")).status_code == 200, "it serves what it knows"


async def test_what_hangs_counts_as_missing_and_is_asked_for_once_a_second() -> None:
    now = 0.0
    asked_for = 0

    async def check() -> None:
        nonlocal asked_for
        asked_for += 1
        raise OSError("postgresql://user:hunter2@db")

    ready = Ready({"the thing": check}, lambda: False, lambda: now)
    answers = await asyncio.gather(*(ask(ready) for _ in range(5)))
    assert {answer.status for answer in answers} == {503}
    assert asked_for == 1
    assert b"hunter2" not in answers[0].body
    now += FRESH_SECONDS
    await ask(ready)
    assert asked_for == 2


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_it_is_only_read(method: str) -> None:
    answer = await ask(Ready({}, lambda: False), method=method)
    assert answer.status == 405
