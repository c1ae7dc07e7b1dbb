"""What belongs to a legacy session: log level, subscriptions, completion (checks 74, 75, 79; CO-01, LO-02, SU-06)."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from metamcp_asgi.aggregate import watches
from metamcp_asgi.downstream import sessions, subscriptions
from metamcp_asgi.downstream.subscriptions import MAX_URI_LENGTH
from metamcp_asgi.protocol.levels import LEVELS
from tests.gateway.client import JSON, Session
from tests.gateway.running import KEY_A, KEY_B, gateway_over
from tests.gateway.upstreams.raw import Error, RawServer, Seen, Stream, text_result
from tests.lab.running import Lab

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOG_LEVEL = "io.modelcontextprotocol/logLevel"
SUBSCRIBING: JSON = {"tools": {"listChanged": True}, "resources": {"listChanged": True, "subscribe": True}}


def logging_server(era: str) -> RawServer:
    async def logs(seen: Seen) -> AsyncIterator[JSON | bytes]:
        for level in LEVELS:
            params = {"level": level, "data": {"said": level}, "logger": "raw"}
            yield {"jsonrpc": "2.0", "method": "notifications/message", "params": params}
        yield {"jsonrpc": "2.0", "id": seen.message["id"], "result": text_result("logged", resultType="complete")}

    return RawServer(era, ("log",), {"tools/call": lambda seen: Stream(logs(seen))})


async def levels(session: Session) -> list[str]:
    """Returns the levels of what is logged in a call."""
    *logs, result = (await session.call("raw__log")).messages()
    assert result["result"]["content"][0]["text"] == "logged"
    assert all(log["params"]["data"] == {"said": log["params"]["level"]} for log in logs)
    return [log["params"]["level"] for log in logs]


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_check_75_a_session_has_its_own_level(era: str) -> None:
    server = logging_server(era)
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        strict, open_ = await client.session(), await client.session()
        assert (await strict.request("logging/setLevel", {"level": "error"})).result() == {}
        assert (await open_.request("logging/setLevel", {"level": "debug"})).result() == {}
        assert await levels(strict) == ["error", "critical", "alert", "emergency"]
        assert await levels(open_) == list(LEVELS)
        assert (await strict.request("logging/setLevel", {"level": "emergency"})).result() == {}
        assert await levels(strict) == ["emergency"]
        if era == "modern":
            assert server.last("tools/call").params["_meta"][LOG_LEVEL] == "emergency"
            await levels(await client.session())
            assert LOG_LEVEL not in server.last("tools/call").params["_meta"]


@pytest.mark.parametrize("params", [{}, {"level": "loud"}, {"level": 3}, {"level": "ERROR"}, []])
async def test_check_74_an_unknown_level(lab: Lab, params: object) -> None:
    session = await lab.client().session()
    assert (await session.request("logging/setLevel", params or {"level": None})).code() == -32602


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_what_initialize_announces(lab: Lab, revision: str) -> None:
    capabilities = (await lab.client().initialize(revision)).result()["capabilities"]
    assert capabilities["logging"] == {}
    assert capabilities["resources"] == {"listChanged": True, "subscribe": True}
    assert ("completions" in capabilities) == (revision != "2024-11-05")


async def test_completion() -> None:
    values = {"completion": {"values": ["Graz"], "hasMore": False}}
    server = RawServer("legacy", (), {"completion/complete": values})
    server.capabilities = {**SUBSCRIBING, "prompts": {}, "completions": {}}
    server.behaviour["prompts/list"] = server.listed("prompts", [{"name": "p", "arguments": [{"name": "city"}]}])
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session()
        params = {"ref": {"type": "ref/prompt", "name": "raw__p"}, "argument": {"name": "city", "value": "G"}}
        assert (await session.request("completion/complete", params)).result() == values
        assert server.last("completion/complete").params["ref"] == {"type": "ref/prompt", "name": "p"}
        assert (await session.request("completion/complete", {"ref": 1})).code() == -32602


def watched_server(era: str = "legacy") -> RawServer:
    server = RawServer(era, (), {"resources/subscribe": {}, "resources/unsubscribe": {}})
    server.capabilities = SUBSCRIBING
    resources = [{"uri": f"raw://{name}", "name": name} for name in ("a", "b")]
    server.behaviour["resources/list"] = server.listed("resources", resources)
    return server


async def update(server: RawServer, uri: str) -> None:
    async with asyncio.timeout(15):
        await server.listening.wait()
    params = {"uri": uri}
    for queue in server.listeners:
        queue.put_nowait({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params})


async def test_check_79_updates_come_on_the_stream_of_the_session() -> None:
    server = watched_server()
    async with gateway_over({"raw": server}) as running:
        one, two = await running.client().session(), await running.client().session()
        for session in (one, two):
            assert (await session.request("resources/subscribe", {"uri": "raw://a"})).result() == {}
            assert (await session.request("resources/subscribe", {"uri": "raw://a"})).result() == {}
        assert server.count("resources/subscribe") == 1
        streams = [await one.listen(), await two.listen()]
        await update(server, "raw://b")
        await update(server, "raw://a")
        for stream in streams:
            message = await stream.message()
            assert message["method"] == "notifications/resources/updated"
            assert message["params"] == {"uri": "raw://a"}
        assert (await one.request("resources/unsubscribe", {"uri": "raw://a"})).result() == {}
        await update(server, "raw://a")
        assert (await streams[1].message())["params"] == {"uri": "raw://a"}
        assert server.count("resources/unsubscribe") == 0
        assert (await two.request("resources/unsubscribe", {"uri": "raw://a"})).result() == {}
        async with asyncio.timeout(15):
            await server.arrival("resources/unsubscribe")
        for stream in streams:
            await stream.close()


async def test_an_update_is_told_when_the_stream_is_back() -> None:
    server = watched_server()
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        away, witness = await client.session(), await client.session()
        for session in (away, witness):
            await session.request("resources/subscribe", {"uri": "raw://a"})
        stream = await witness.listen()
        await update(server, "raw://a")
        await stream.message()
        late = await away.listen()
        assert (await late.message())["params"] == {"uri": "raw://a"}
        await late.close()
        await stream.close()


async def test_a_uri_that_is_too_long_is_not_subscribed_to() -> None:
    async with gateway_over({"raw": watched_server()}) as running:
        client = running.client()
        uri = "raw://" + "a" * MAX_URI_LENGTH
        refused = await (await client.session()).request("resources/subscribe", {"uri": uri})
        assert refused.code() == -32602
        wanted = {"notifications": {"resourceSubscriptions": [uri]}}
        assert (await client.modern("subscriptions/listen", wanted)).code() == -32602


@pytest.mark.parametrize("how", ["delete", "away"])
async def test_subscriptions_end_with_their_session(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "LINGER", 0.05)
    server = watched_server()
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session()
        stream = await session.listen()
        await session.request("resources/subscribe", {"uri": "raw://a"})
        if how == "delete":
            await session.end()
        else:
            await stream.close()
        await server.arrival("resources/unsubscribe")


async def test_what_lies_below_is_told_as_what_was_subscribed_to() -> None:
    """Somebody else may watch `raw://a/b`, whose name is not everybody's to know."""
    server = watched_server()
    resources = [{"uri": uri, "name": uri} for uri in ("raw://a", "raw://a/b", "raw://ab")]
    server.behaviour["resources/list"] = server.listed("resources", resources)
    async with gateway_over({"raw": server}) as running:
        parent, child = await running.client().session(), await running.client().session()
        streams = [await parent.listen(), await child.listen()]
        assert (await parent.request("resources/subscribe", {"uri": "raw://a"})).result() == {}
        assert (await child.request("resources/subscribe", {"uri": "raw://a/b"})).result() == {}
        await update(server, "raw://ab")
        await update(server, "raw://a/b")
        assert (await streams[0].message())["params"] == {"uri": "raw://a"}
        assert (await streams[1].message())["params"] == {"uri": "raw://a/b"}
        for stream in streams:
            await stream.close()


async def test_what_is_no_longer_published_is_no_longer_watched() -> None:
    server = watched_server()
    async with gateway_over({"raw": server, "other": RawServer()}) as running:
        session = await running.client().session()
        assert (await session.request("resources/subscribe", {"uri": "raw://a"})).result() == {}
        snapshot = running.gateway.snapshot
        alone = {name: replace(each, servers=("other",)) for name, each in snapshot.namespaces.items()}
        running.gateway.apply(replace(snapshot, namespaces=alone))
        async with asyncio.timeout(15):
            await server.arrival("resources/unsubscribe")


async def test_what_cannot_be_subscribed_to() -> None:
    server = watched_server()
    server.behaviour["resources/subscribe raw://b"] = Error(-32602, "not this one")
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session()
        unknown = await session.request("resources/subscribe", {"uri": "nowhere://x"})
        assert unknown.code() == -32002
        assert unknown.error()["data"] == {"uri": "nowhere://x"}
        assert "error" in (await session.request("resources/subscribe", {"uri": "raw://b"})).message()
        for params in ({}, {"uri": 5}):
            assert (await session.request("resources/subscribe", params)).code() == -32602
        assert (await session.request("resources/unsubscribe", {"uri": "nowhere://x"})).result() == {}


async def test_a_session_of_a_stranger_lasts_for_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway_over({"raw": RawServer()}) as running:
        stranger, known = await running.client().session(), await running.client("keyed", KEY_A).session()
        now = time.time()
        for hours, statuses in ((23, (200, 200)), (25, (404, 200)), (24 * 7 + 1, (404, 404))):
            monkeypatch.setattr(sessions.time, "time", lambda hours=hours: now + 3600 * hours)
            assert ((await stranger.request("ping")).status, (await known.request("ping")).status) == statuses


async def test_a_principal_and_a_server_have_a_limited_number_of_subscriptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "MAX_OF_PRINCIPAL", 2)
    monkeypatch.setattr(watches, "MAX_OF_SERVER", 3)
    async with gateway_over({"raw": watched_server("modern")}) as running:
        first, second = [await running.client("keyed", KEY_A).session() for _ in range(2)]
        other = await running.client("keyed", KEY_B).session()
        for session, uri in ((first, "raw://a"), (second, "raw://a")):
            assert (await session.request("resources/subscribe", {"uri": uri})).result() == {}
        assert (await first.request("resources/subscribe", {"uri": "raw://b"})).code() == -32603
        # The streams of modern clients count, too: what is not honoured is not acknowledged.
        listening = await running.client("keyed", KEY_A).start(
            "subscriptions/listen", {"notifications": {"resourceSubscriptions": ["raw://b"]}}
        )
        assert await listening.head() == 200
        assert (await listening.message())["params"]["notifications"] == {}
        await listening.close()
        assert (await other.request("resources/subscribe", {"uri": "raw://a"})).result() == {}
        full = await other.request("resources/subscribe", {"uri": "raw://b"})
        assert full.code() == -32603
        assert "raw" in full.error()["message"]
        # And what has ended makes room.
        assert (await second.request("resources/unsubscribe", {"uri": "raw://a"})).result() == {}
        assert (await first.request("resources/subscribe", {"uri": "raw://b"})).result() == {}


async def test_a_session_subscribes_to_a_limited_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "MAX_SUBSCRIPTIONS", 1)
    async with gateway_over({"raw": watched_server()}) as running:
        session = await running.client().session()
        assert (await session.request("resources/subscribe", {"uri": "raw://a"})).result() == {}
        assert (await session.request("resources/subscribe", {"uri": "raw://b"})).code() == -32603
