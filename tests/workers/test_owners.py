"""One session over all processes with a server that keeps something for it, and what becomes of it with its owner."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.client import Client
from tests.gateway.running import KEY_A, KEY_B
from tests.gateway.upstreams.raw import RawServer, Seen, text_result
from tests.redis import Redis
from tests.workers.running import until, workers_over

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Counting(RawServer):
    """A legacy server that counts the calls of each session; `hold` is answered when ``release`` is set."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.counts: dict[bytes, int] = {}
        super().__init__(
            "legacy", ("counter", "hold"), {"tools/call counter": self._counted, "tools/call hold": self._held}
        )

    def _counted(self, seen: Seen) -> Any:
        [session] = seen.header("mcp-session-id")
        self.counts[session] = self.counts.get(session, 0) + 1
        return text_result(str(self.counts[session]))

    async def _held(self, _: Seen) -> Any:
        await self.release.wait()
        return text_result("held")


async def count(client: Client, server: str = "kept") -> int:
    return int((await client.call(f"{server}__counter")).result()["content"][0]["text"])


async def test_check_54_one_session_whichever_process_is_asked_until_its_owner_is_killed(
    shared_redis: Redis, prefix: str, tmp_path: Path
) -> None:
    kept, each = Counting(), Counting()
    config = {"kept": {"sharing": "principal"}, "each": {"sharing": "session"}}
    given: Any = {"redis": shared_redis, "prefix": prefix, "folder": tmp_path, "config": config}
    async with workers_over({"kept": kept, "each": each}, **given) as workers:
        a, b = workers.client("keyed", KEY_A), workers.client("keyed", KEY_B)
        # Many at once begin it.
        assert sorted(await asyncio.gather(*(count(a) for _ in range(8)))) == list(range(1, 9))
        assert [await count(b) for _ in range(2)] == [1, 2]
        sessions = [await a.session() for _ in range(2)]
        for expected in (1, 2, 3):
            for session in sessions:
                result = (await session.call("each__counter")).result()
                assert result["content"][0]["text"] == str(expected)
        assert len(each.counts) == 2

        # Of a third server session, it is known which process owns it: the one that was asked first.
        owner, other = workers.pids()
        session = await workers.at(owner, "keyed", KEY_B).session()
        assert (await session.call("each__counter")).result()["content"][0]["text"] == "1"
        session.client = workers.at(other, "keyed", KEY_B)
        assert (await session.call("each__counter")).result()["content"][0]["text"] == "2"
        lost = asyncio.create_task(session.call("each__hold"))
        await until(lambda: each.count("tools/call") == 9)
        os.kill(owner, signal.SIGKILL)
        async with asyncio.timeout(10):
            answer = (await lost).result()
        assert answer["isError"]
        assert "was lost with the process of the gateway" in answer["content"][0]["text"]
        async with asyncio.timeout(10):
            assert (await session.call("each__counter")).result()["content"][0]["text"] == "1"
        await workers.replaced(owner)
        session.client = workers.client("keyed", KEY_B)
        assert [(await session.call("each__counter")).result()["content"][0]["text"] for _ in range(3)] == list("234")


async def test_a_call_for_another_process_finishes_before_the_owner_ends(
    shared_redis: Redis, prefix: str, tmp_path: Path
) -> None:
    server = Counting()
    given: Any = {"redis": shared_redis, "prefix": prefix, "folder": tmp_path, "shutdown_seconds": 30}
    async with workers_over({"kept": server}, config={"kept": {"sharing": "principal"}}, **given) as workers:
        owner, other = before = workers.pids()
        assert await count(workers.at(owner, "keyed", KEY_A)) == 1
        call = await workers.at(other, "keyed", KEY_A).start("tools/call", {"name": "kept__hold"})
        await until(lambda: server.count("tools/call") == 2)
        workers.reload()
        await until(lambda: len(set(workers.pids()) - set(before)) == 2)
        await workers.said(rf"\[{owner}\] INFO +uvicorn.error: Waiting for application shutdown")
        # Whoever comes now is not kept waiting by it.
        later = workers.anywhere("keyed", KEY_A)
        assert [await count(later) for _ in range(2)] == [1, 2]
        server.release.set()
        assert (await asyncio.wait_for(call.answer(), 15)).result()["content"][0]["text"] == "held"
        await until(lambda: not set(workers.pids()) & set(before))
        assert await count(later) == 3
    assert len(server.counts) == 2, "the next owner has a session of its own"
    assert server.count("tools/call") == 5, "nothing is done twice"


async def test_while_redis_is_away_the_owner_serves_and_nobody_begins_a_second_session(
    redis: Redis, prefix: str, tmp_path: Path
) -> None:
    server = Counting()
    given: Any = {"redis": redis, "prefix": prefix, "folder": tmp_path, "config": {"kept": {"sharing": "principal"}}}
    async with workers_over({"kept": server}, **given) as workers:
        owner, other = (workers.at(pid, "keyed", KEY_A) for pid in workers.pids())
        assert [await count(owner), await count(other)] == [1, 2]
        redis.kill()
        assert await count(owner) == 3, "for as long as the lease lasts"
        refused = await other.call("kept__counter")
        assert (refused.status, refused.code()) == (503, -32603)
        assert len(server.counts) == 1
        await asyncio.to_thread(redis.start)
        async with asyncio.timeout(30):
            while (await other.call("kept__counter")).status == 503:
                pass
