"""Two processes over a Redis Cluster: what needs the bus, a lease and a limit, for clients of both eras."""

from pathlib import Path
from typing import Any

import pytest

from tests.gateway.client import CAPABILITIES
from tests.gateway.running import KEY_A, KEY_B
from tests.gateway.witness import Witness
from tests.lab.modern import build
from tests.redis import RedisCluster
from tests.workers.running import workers_over
from tests.workers.test_owners import Counting, count

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("redis-cluster")]

FORMS = {CAPABILITIES: {"elicitation": {}}}


async def test_two_processes_share_a_cluster(redis_cluster: RedisCluster, prefix: str, tmp_path: Path) -> None:
    servers = {"ul": build("ul", Witness()).streamable_http_app(), "kept": Counting()}
    config = {"ul": {"era": "legacy"}, "kept": {"sharing": "principal"}}
    limited = {
        "limited": {
            "namespace": "all",
            "clientRateLimit": {"maxRate": 5, "maxRateSeconds": 3600, "strategy": "principal"},
        }
    }
    given: Any = {"redis": redis_cluster, "prefix": prefix, "folder": tmp_path, "config": config, "endpoints": limited}
    async with workers_over(servers, **given) as workers:
        client = workers.client("keyed", KEY_A)
        for topic in ("tea", "coffee"):
            # The question is parked at one process, and the answer comes to the other.
            params = {"name": "ul__ask", "arguments": {"topic": topic}}
            asked = (await client.modern("tools/call", params, meta=FORMS)).result()
            answers = {key: {"action": "accept", "content": {"word": "leaf"}} for key in asked["inputRequests"]}
            again = {**params, "requestState": asked["requestState"], "inputResponses": answers}
            done = (await client.modern("tools/call", again, meta=FORMS)).result()
            assert done["content"][0]["text"] == f"{topic}: leaf"
            assert client.reached[-1] != client.reached[-2]

        # One session for both processes, by a lease.
        assert [await count(client) for _ in range(4)] == [1, 2, 3, 4]

        session = await client.session("2025-11-25", {"elicitation": {}})
        exchange = await session.start("tools/call", {"name": "ul__ask", "arguments": {"topic": "milk"}}, id=3)
        await exchange.head()
        question = await exchange.message()
        answer = {"action": "accept", "content": {"word": "cow"}}
        assert (await session.respond(question, result=answer)).status == 202
        assert (await exchange.message())["result"]["content"][0]["text"] == "milk: cow"
        await exchange.close()

        limited_client = workers.client("limited", KEY_B)
        statuses = [(await limited_client.modern("tools/list")).status for _ in range(7)]
        assert statuses == [200] * 5 + [429] * 2
