"""Servers that do not tell when their lists change, and clients that want to hear of it (METAMCP_POLL_SECONDS)."""

import asyncio

import pytest

from metamcp_asgi.aggregate import catalogue
from tests.gateway.running import gateway_over
from tests.gateway.test_changes import listening
from tests.gateway.upstreams.raw import Error, RawServer, tool_named

pytestmark = pytest.mark.asyncio(loop_scope="session")


def silent_server() -> RawServer:
    """Returns a server that announces no changes, and gives its lists no time."""
    server = RawServer("modern", ("one",))
    server.capabilities = {"tools": {}}
    offer(server, "one")
    return server


def offer(server: RawServer, *tools: str) -> None:
    server.behaviour["tools/list"] = {
        **server.listed("tools", [tool_named(tool) for tool in tools]),
        "ttlMs": 0,
        "cacheScope": "private",
    }


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "LEAST_FRESH", 0.0)


async def test_who_listens_hears_of_it() -> None:
    server = silent_server()
    async with gateway_over({"raw": server}, poll_seconds=0.1) as running, asyncio.timeout(30):
        stream = await listening(running.client(), "tools")
        while server.count("tools/list") < 3:  # the same as before is no news
            await server.arrival("tools/list")
        offer(server, "one", "two")
        assert (await stream.message())["method"] == "notifications/tools/list_changed"
        listed = (await running.client().modern("tools/list")).result()["tools"]
        assert [tool["name"] for tool in listed] == ["raw__one", "raw__two"]
        await stream.close()


async def test_a_server_that_fails_is_left_alone_more_and_more_and_heard_of_when_it_is_back() -> None:
    server = silent_server()
    async with gateway_over({"raw": server}, poll_seconds=0.1) as running, asyncio.timeout(30):
        stream = await listening(running.client(), "tools")
        server.behaviour["tools/list"] = Error(-32603, "not now")
        for _ in range(3):
            await server.arrival("tools/list")
        offer(server, "three")
        assert (await stream.message())["method"] == "notifications/tools/list_changed"
        await stream.close()


@pytest.mark.parametrize(
    ("poll_seconds", "listens", "announces"), [(None, True, False), (0.05, False, False), (0.05, True, True)]
)
async def test_nobody_is_asked_without_need(poll_seconds: float | None, listens: bool, announces: bool) -> None:
    server = silent_server()
    if announces:
        server.capabilities = {"tools": {"listChanged": True}}
    async with gateway_over({"raw": server}, poll_seconds=poll_seconds) as running:
        stream = await listening(running.client(), "tools") if listens else None
        await running.client().modern("tools/list")
        before = server.count("tools/list")
        await asyncio.sleep(0.3)  # several times as long as the time between two looks
        assert server.count("tools/list") == before
        if stream is not None:
            await stream.close()
