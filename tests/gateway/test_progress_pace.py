"""How often clients hear of progress (PG-01): servers that report much more than anybody can look at."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.gateway.client import Exchange
from tests.gateway.running import RunningGateway, gateway_over
from tests.gateway.test_cancel_progress import progress_of
from tests.gateway.upstreams.raw import RawServer, Seen, Stream, text_result

pytestmark = pytest.mark.asyncio(loop_scope="session")

MANY = 500


def reporting(release: asyncio.Event | None = None) -> RawServer:
    """Returns a server whose tool reports progress all at once, and ends at once or when it may."""

    async def messages(seen: Seen) -> AsyncIterator[Any]:
        token = seen.params["_meta"]["progressToken"]
        for value in range(1, MANY + 1):
            params = {"progressToken": token, "progress": value, "total": MANY}
            yield {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        if release is not None:
            await release.wait()
        yield {"jsonrpc": "2.0", "id": seen.message["id"], "result": text_result("done", resultType="complete")}

    return RawServer("modern", ("busy",), {"tools/call busy": lambda seen: Stream(messages(seen))})


async def begun(running: RunningGateway, era: str) -> Exchange:
    params = {"name": "raw__busy", "arguments": {}}
    if era == "modern":
        return await running.client().start("tools/call", params, meta={"progressToken": "mine"})
    session = await running.client().session()
    return await session.start("tools/call", {**params, "_meta": {"progressToken": "mine"}})


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_few_are_told_and_the_last_one_before_the_result(era: str) -> None:
    async with gateway_over({"raw": reporting()}) as running:
        answer = await asyncio.wait_for((await begun(running, era)).answer(), 30)
        told = [params["progress"] for params in progress_of(answer.messages())]
        assert told[:10] == list(range(1, 11))
        assert told == sorted(set(told))
        assert told[-1] == MANY
        assert len(told) < MANY / 2
        assert answer.result()["content"][0]["text"] == "done"


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_the_latest_is_told_soon_although_the_call_goes_on(era: str) -> None:
    release = asyncio.Event()
    async with gateway_over({"raw": reporting(release)}) as running:
        exchange = await begun(running, era)
        await exchange.head()
        async with asyncio.timeout(30):
            while (await exchange.message())["params"]["progress"] < MANY:
                pass
        release.set()
        rest = (await asyncio.wait_for(exchange.answer(), 30)).messages()
        assert progress_of(rest) == []
