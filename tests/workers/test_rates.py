"""Limits of two processes together, counted by who calls and by what is called: check 96."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.gateway.client import Session
from tests.gateway.running import KEY_A, KEY_B
from tests.gateway.upstreams.raw import RawServer, text_result
from tests.redis import Redis
from tests.workers.running import workers_over

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_check_96_limits_hold_over_all_processes(shared_redis: Redis, prefix: str, tmp_path: Path) -> None:
    each = {"clientRateLimit": {"maxRate": 12, "maxRateSeconds": 3600, "strategy": "principal"}}
    by_tool = {"rate_limit": {"maxRate": 4, "maxRateSeconds": 3600, "tools": ["raw__other"]}}
    raw = RawServer(tools=("echo", "other"), behaviour={"tools/call other": text_result("done")})
    async with workers_over(
        {"raw": raw},
        redis=shared_redis,
        prefix=prefix,
        folder=tmp_path,
        namespace={"middlewares": [by_tool]},
        endpoints={"each": each},
    ) as workers:
        # By principal: however many connections, whichever process.
        ada = workers.client("each", KEY_A)
        answers = [await ada.call("raw__echo") for _ in range(14)]
        assert len(set(ada.reached)) == 2
        assert Counter(answer.status for answer in answers) == {200: 12, 429: 2}
        assert 1 <= int(answers[-1].header("retry-after") or 0) <= 300
        assert (await workers.client("each", KEY_B).call("raw__echo")).status == 200

        # By tool: a legacy client's headers claim another one, and the body decides.
        client = workers.client("keyed", KEY_A)
        session = await client.session()
        spoofed = Session(client, session.id, "2025-11-25")
        spoofed.headers += [("Mcp-Method", "ping"), ("Mcp-Name", "raw__echo")]
        async with asyncio.timeout(30):
            statuses = [(await spoofed.call("raw__other")).status for _ in range(3)]
            statuses += [(await client.call("raw__other")).status]
            assert statuses == [200] * 4
            for over in (await spoofed.call("raw__other"), await client.call("raw__other")):
                assert (over.status, over.code()) == (429, 42900)
                assert over.header("retry-after") == str(over.error()["data"]["retryAfter"])
        spoofed.headers[-1] = ("Mcp-Name", "raw__other")
        assert (await spoofed.call("raw__echo")).status == 200, "and does so the other way round"
        assert sum(seen.params.get("name") == "other" for seen in raw.seen) == 4
