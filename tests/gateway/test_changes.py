"""Who hears of which change: acceptance checks 77, 80 and 81, and where `listen` begins and ends."""

import asyncio
import contextlib
from typing import Any

import pytest
from mcp.server.subscriptions import ToolsListChanged

from metamcp_asgi.config.file import compile_document
from tests.gateway.client import JSON, Client, Exchange
from tests.gateway.running import document_of, gateway_for, gateway_over, served
from tests.gateway.upstreams.raw import RawServer, tool_named
from tests.lab.running import Lab

pytestmark = pytest.mark.asyncio(loop_scope="session")

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
KINDS = ("tools", "prompts", "resources")


async def listening(client: Client, *kinds: str, id: Any = 7, **more: Any) -> Exchange:  # noqa: A002
    """Opens a listen stream and takes its acknowledgement."""
    wanted = {f"{kind}ListChanged": True for kind in kinds} | more
    exchange = await client.start("subscriptions/listen", {"notifications": wanted}, id=id)
    assert await exchange.head() == 200
    first = await asyncio.wait_for(exchange.message(), 30)
    assert first["method"] == "notifications/subscriptions/acknowledged"
    assert first["params"]["_meta"][SUBSCRIPTION] == id
    assert type(first["params"]["_meta"][SUBSCRIPTION]) is type(id)
    honoured = {name for name, value in first["params"]["notifications"].items() if value}
    assert honoured == {f"{kind}ListChanged" for kind in kinds}
    return exchange


async def silent(exchange: Exchange, seconds: float = 0.35) -> None:
    """Checks that nothing comes, for longer than changes are gathered."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(exchange.message(), seconds)


async def announced(lab: Lab, stream: Exchange) -> JSON:
    """Has the SDK's server announce a change until it is heard of: it tells nobody who does not listen yet."""
    async with asyncio.timeout(30):
        while True:
            await lab.bus.publish(ToolsListChanged())
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(stream.message(), 5)


def change(server: RawServer, *tools: str | JSON) -> Any:
    server.behaviour["tools/list"] = server.listed(
        "tools", [tool_named(tool) if isinstance(tool, str) else tool for tool in tools]
    )
    return server.announce("tools")


@pytest.mark.parametrize("id", [7, "7"])
async def test_check_76_the_first_message_is_the_acknowledgement(lab: Lab, id: Any) -> None:  # noqa: A002
    exchange = await listening(lab.client(), "tools", id=id, unknownListChanged=True)
    await exchange.close()


@pytest.mark.parametrize("id", [7, "7"])
async def test_check_76_of_what_was_asked_for_that_is_acknowledged_which_there_is(lab: Lab, id: Any) -> None:  # noqa: A002
    wanted = {"toolsListChanged": True, "resourceSubscriptions": ["um://doc", "us://doc", "x://none"]}
    for pid in lab.running.pids():
        exchange = await lab.running.at(pid).start("subscriptions/listen", {"notifications": wanted}, id=id)
        assert await exchange.head() == 200
        first = await asyncio.wait_for(exchange.message(), 30)
        assert first["method"] == "notifications/subscriptions/acknowledged"
        assert first["params"]["_meta"] == {SUBSCRIPTION: id}
        honoured = {**wanted, "resourceSubscriptions": ["um://doc", "us://doc"]}
        assert first["params"]["notifications"] == honoured
        await exchange.close()


@pytest.mark.parametrize("params", [{}, {"notifications": None}, {"notifications": {"toolsListChanged": "yes"}}])
async def test_check_76_a_malformed_filter(lab: Lab, params: Any) -> None:
    assert (await lab.client().modern("subscriptions/listen", params)).code() == -32602


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_check_77_one_notification_to_each_who_asked(era: str) -> None:
    server = RawServer(era, ("one",))
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        tools = await listening(client, "tools", "prompts", id="t")
        prompts = await listening(client, "prompts")
        session = await client.session()
        legacy = await session.listen()
        await change(server, "one", "two")
        await server.announce("tools")
        told = await asyncio.wait_for(tools.message(), 30)
        assert told == {
            "jsonrpc": "2.0",
            "method": "notifications/tools/list_changed",
            "params": {"_meta": {SUBSCRIPTION: "t"}},
        }
        told = await asyncio.wait_for(legacy.message(), 30)
        assert told == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
        names = [tool["name"] for tool in (await client.modern("tools/list")).result()["tools"]]
        assert names == ["raw__one", "raw__two"]
        for stream in (tools, prompts, legacy):
            await silent(stream)
            await stream.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_check_77_each_kind_of_list(kind: str) -> None:
    server = RawServer("modern")
    async with gateway_over({"raw": server}) as running:
        stream = await listening(running.client(), *KINDS)
        item = {"name": "new", "uri": "x://new", "inputSchema": {"type": "object"}}
        server.behaviour[f"{kind}/list"] = server.listed(kind, [item])
        await server.announce(kind)
        told = await asyncio.wait_for(stream.message(), 30)
        assert told["method"] == f"notifications/{kind}/list_changed"
        await silent(stream)
        await stream.close()


async def test_check_77_a_real_server_announces(lab: Lab) -> None:
    client = lab.client()
    stream = await listening(client, "tools")
    lab.um.add_tool(lambda: "here", "arrived")
    try:
        assert (await announced(lab, stream))["method"] == "notifications/tools/list_changed"
        async with asyncio.timeout(30):  # of several processes, another one may hear of it a moment later
            while "error" in (answer := await client.call("um__arrived")).message():
                pass
        assert answer.result()["content"][0]["text"] == "here"
    finally:
        lab.um.remove_tool("arrived")
    assert (await announced(lab, stream))["method"] == "notifications/tools/list_changed"
    # The SDK's list is the same as before, so nobody has to be told (eras.md 2.10).
    await lab.bus.publish(ToolsListChanged())
    await silent(stream)
    await stream.close()


async def test_check_77_a_tool_that_is_switched_off_in_the_configuration() -> None:
    server = RawServer("modern", ("one", "two"))
    async with served(server) as port:
        servers = {"raw": {"url": f"http://127.0.0.1:{port}/mcp"}}
        async with gateway_for(document_of(servers)) as running:
            client = running.client()
            stream = await listening(client, *KINDS)
            legacy = await (await client.session()).listen()
            off = {"tools": {"raw__two": {"enabled": False}}}
            running.gateway.apply(compile_document(document_of(servers, off)))
            for each in (stream, legacy):
                told = await asyncio.wait_for(each.message(), 30)
                assert told["method"] == "notifications/tools/list_changed"
                await silent(each)
                await each.close()
            names = [tool["name"] for tool in (await client.modern("tools/list")).result()["tools"]]
            assert names == ["raw__one"]
            assert server.count("server/discover") == 1


async def test_check_80_a_change_that_is_not_visible_is_not_told() -> None:
    server = RawServer("modern", ("shown", "hidden"))
    override = {"tools": {"raw__hidden": {"enabled": False}}}
    async with gateway_over({"raw": server}, namespace=override) as running:
        stream = await listening(running.client(), *KINDS)
        server.behaviour["tools/list"] = server.listed(
            "tools", [tool_named("shown"), {**tool_named("hidden"), "title": "x"}]
        )
        while not server.arrived.empty():
            server.arrived.get_nowait()
        await server.announce("tools")
        await server.arrival("tools/list")
        await silent(stream)
        await stream.close()


async def test_check_80_changes_of_another_endpoint_are_not_told() -> None:
    mine, other = RawServer(), RawServer()
    async with served(mine) as a, served(other) as b:
        document = {
            "mcpServers": {"mine": {"url": f"http://127.0.0.1:{a}/mcp"}, "other": {"url": f"http://127.0.0.1:{b}/mcp"}},
            "namespaces": {"mine": {"servers": ["mine"]}, "other": {"servers": ["other"]}},
            "endpoints": {name: {"namespace": name, "apiKeyAuth": False} for name in ("mine", "other")},
        }
        async with gateway_for(document) as running:
            stream = await listening(running.client("mine"), *KINDS)
            theirs = await listening(running.client("other"), *KINDS)
            await change(other, "new")
            await asyncio.wait_for(theirs.message(), 30)
            await silent(stream)
            await stream.close()
            await theirs.close()


async def test_check_81_a_graceful_end() -> None:
    async with gateway_over({"raw": RawServer()}) as running:
        client = running.client()
        streams = [await listening(client, "tools", id=id_) for id_ in (5, "five")]
        legacy = await (await client.session()).listen()
        running.gateway.close_streams()
        for stream, id_ in zip(streams, (5, "five"), strict=True):
            answer = await asyncio.wait_for(stream.answer(), 30)
            assert answer.message() == {
                "jsonrpc": "2.0",
                "id": id_,
                "result": {"resultType": "complete", "_meta": {SUBSCRIPTION: id_}},
            }
        assert (await asyncio.wait_for(legacy.answer(), 30)).messages() == []


async def test_streams_are_limited_and_given_back() -> None:
    async with gateway_over({"raw": RawServer()}, max_streams=2) as running:
        client = running.client()
        streams = [await listening(client, "tools") for _ in range(2)]
        refused = await client.modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        assert refused.error()["message"]
        session = await client.session()
        full = await client.send("GET", [("Accept", "text/event-stream"), *session.headers])
        assert full.status == 503
        assert full.header("retry-after")
        await streams[0].close()
        async with asyncio.timeout(30):
            while True:
                exchange = await client.start("subscriptions/listen", {"notifications": {}})
                await exchange.head()
                if dict(exchange.headers)[b"content-type"].startswith(b"text/event-stream"):
                    break
                await exchange.close()
        await exchange.close()
        await streams[1].close()


async def test_an_idle_stream_is_kept_alive() -> None:
    async with gateway_over({"raw": RawServer()}, keepalive_seconds=0.05) as running:
        client = running.client()
        for stream in (await listening(client, "tools"), await (await client.session()).listen()):
            comments = 0
            async for chunk in stream.chunks():
                assert chunk.startswith(b":")
                comments += 1
                if comments == 3:
                    break
            await stream.close()
