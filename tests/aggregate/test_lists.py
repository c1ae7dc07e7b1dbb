"""What lists say while servers are slow, down, broken or changing; and that clients are told."""

import asyncio
from typing import ClassVar

import pytest

from metamcp_asgi.aggregate import catalogue as catalogue_module
from metamcp_asgi.settings import Settings
from metamcp_asgi.upstream import http_modern
from metamcp_asgi.upstream import server as server_module
from tests.scripted import LegacyServer, ModernServer, Offer, SSEServer, body_of, reply, tool
from tests.serving import UNAVAILABLE, gateway, serving, until

KINDS = [LegacyServer, ModernServer, SSEServer]
CHANGED = "notifications/tools/list_changed"


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(server_module, "BACKOFF", (0.05, 0.1))
    monkeypatch.setattr(server_module, "ASK_AGAIN", 0.02)
    monkeypatch.setattr(http_modern, "LISTEN_BACKOFF", (0.05,))


async def hangs(scope, receive, send):
    """A server that takes requests and never answers."""
    await body_of(receive)
    await asyncio.Event().wait()


class TestOneBadServer:
    async def test_one_that_hangs_is_left_out_after_the_deadline(self):
        async with serving(hangs) as bad, serving(LegacyServer(Offer())) as good:
            servers = {"bad": {"url": f"{bad.origin}/mcp"}, "good": {"url": f"{good.origin}/mcp"}}
            async with gateway(servers, Settings(server_deadline=0.3)) as g:
                await g.ready("good")
                for client in (g, await g.session()):
                    async with asyncio.timeout(15):
                        result = await client.result("tools/list")
                    assert [each["name"] for each in result["tools"]] == ["good__echo"]
                    assert result["_meta"][UNAVAILABLE] == [{"server": "bad", "reason": "is starting"}]

    async def test_one_that_answers_initialize_but_not_its_lists(self):
        offer = Offer()
        gate = asyncio.Event()

        async def wait(method):
            if method == "tools/list":
                await gate.wait()

        offer.before = wait
        async with serving(LegacyServer(offer)) as bad, serving(LegacyServer(Offer())) as good:
            servers = {"bad": {"url": f"{bad.origin}/mcp"}, "good": {"url": f"{good.origin}/mcp"}}
            async with gateway(servers, Settings(server_deadline=0.3)) as g, g.listening() as changes:
                await g.ready("good")
                async with asyncio.timeout(15):
                    assert await g.tools() == ["good__echo"]
                    assert list(await g.missing()) == ["bad"]
                    assert await g.text("good__echo") == "{}"
                gate.set()
                while "bad__echo" not in await g.tools():
                    await changes.of_method(CHANGED)

    async def test_many_that_hang_do_not_keep_a_good_one_from_starting(self):
        """As many as may be connected to at the same time."""
        async with serving(hangs) as bad, serving(LegacyServer(Offer())) as good:
            servers = {f"bad{number}": {"url": f"{bad.origin}/{number}"} for number in range(8)}
            servers["good"] = {"url": f"{good.origin}/mcp"}
            async with gateway(servers, Settings(server_deadline=0.3, connect_concurrency=8)) as g:
                async with asyncio.timeout(30):
                    while await g.tools() != ["good__echo"]:
                        pass

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param({"tools": "none"}, id="not-a-list"),
            pytest.param({"tools": None}, id="null"),
            pytest.param([], id="not-an-object"),
            pytest.param("", id="text"),
        ],
    )
    async def test_one_whose_list_is_nonsense(self, answer):
        class Broken(LegacyServer):
            async def request(self, message, session, receive, send):
                if message["method"] == "tools/list":
                    await reply(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": answer})
                else:
                    await super().request(message, session, receive, send)

        async with serving(Broken(Offer())) as bad, serving(LegacyServer(Offer())) as good:
            servers = {"bad": {"url": f"{bad.origin}/mcp"}, "good": {"url": f"{good.origin}/mcp"}}
            async with gateway(servers, Settings(server_deadline=60.0)) as g:
                async with asyncio.timeout(15):
                    assert await g.tools() == ["good__echo"]
                    assert list(await g.missing()) == ["bad"]

    @pytest.mark.parametrize(
        "item",
        [
            None,
            7,
            "echo",
            [],
            {},
            {"name": 7},
            {"name": None},
            {"name": "bad", "inputSchema": "x-mcp-header"},
            {"name": "bad", "inputSchema": ["x-mcp-header"]},
            {"name": "bad", "inputSchema": {"properties": ["x-mcp-header"]}},
            {"name": "bad", "inputSchema": {"properties": {"a": "x-mcp-header"}}},
            {"name": "bad", "inputSchema": {"properties": {"a": {"x-mcp-header": 7}}}},
            {"name": "bad", "inputSchema": {"properties": {"a": {"type": "object", "x-mcp-header": "A"}}}},
            {"name": "bad", "annotations": 7},
        ],
    )
    @pytest.mark.parametrize("kind", [LegacyServer, ModernServer])
    async def test_one_bad_tool_does_not_take_the_good_ones_along(self, kind, item):
        offer = Offer()
        offer.lists["tools/list"].insert(0, item)
        overrides = {"s__bad": {"annotations": {"readOnlyHint": True}}}
        sections = {
            "namespaces": {"n": {"servers": ["s"], "tools": overrides}},
            "endpoints": {"default": {"namespace": "n", "apiKeyAuth": False}},
        }
        async with serving(kind(offer)) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}, **sections) as g:
            assert "s__echo" in await g.tools()
            assert await g.missing() == {}

    async def test_a_server_without_a_capability_is_not_asked_for_it(self):
        class ToolsOnly(ModernServer):
            def discovered(self):
                return {**super().discovered(), "capabilities": {"tools": {}}}

        offer = Offer()
        async with serving(ToolsOnly(offer)) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            await g.ready()
            assert (await g.result("prompts/list"))["prompts"] == []
            assert set(offer.asked) == {"tools/list"}

    async def test_a_list_that_the_server_does_not_implement_after_all_is_empty(self):
        offer = Offer()

        class Half(LegacyServer):
            async def request(self, message, session, receive, send):
                if message["method"].startswith("prompts"):
                    error = {"code": -32601, "message": "Method not found"}
                    await reply(send, 200, {"jsonrpc": "2.0", "id": message["id"], "error": error})
                else:
                    await super().request(message, session, receive, send)

        async with serving(Half(offer)) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            assert await g.tools() == ["s__echo"]
            assert (await g.result("prompts/list"))["prompts"] == []
            assert await g.missing() == {}


class TestPages:
    """Servers that give their list in pages."""

    class Paged(LegacyServer):
        cursors: tuple[str | None, ...] = ("", "next", None)

        async def request(self, message, session, receive, send):
            if message["method"] != "tools/list":
                await super().request(message, session, receive, send)
                return
            cursor = message["params"].get("cursor")
            number = 0 if cursor is None else self.cursors.index(cursor) + 1
            result = {"tools": [tool(f"page{number}")], "nextCursor": self.cursors[number]}
            await reply(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    async def test_all_pages_are_read_even_after_an_empty_cursor(self):
        async with serving(self.Paged(Offer())) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            assert await g.tools() == ["s__page0", "s__page1", "s__page2"]

    async def test_a_cursor_that_comes_again_ends_the_list(self):
        app = self.Paged(Offer())
        app.cursors = ("same", "same")
        async with serving(app) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            async with asyncio.timeout(30):
                assert await g.tools() == ["s__page0", "s__page1"]


class TestStale:
    async def test_a_lost_servers_tools_stay_listed_for_a_while_then_go_then_come_back(self):
        offer = Offer()
        async with (
            serving(LegacyServer(offer)) as up,
            gateway({"s": {"url": f"{up.origin}/mcp"}}, Settings(stale_seconds=2.0)) as g,
        ):
            await g.ready()
            legacy = await g.session()
            async with g.listening() as modern_changes, legacy.listening() as legacy_changes:
                await up.kill()
                await until(lambda: g.server("s").state == "failed")
                assert await g.tools() == ["s__echo"]
                assert list(await g.missing()) == ["s"], "it is said that the list may be outdated"
                for changes in (modern_changes, legacy_changes):
                    await changes.of_method(CHANGED)
                assert await g.tools() == await legacy.tools() == []
                assert list(await g.missing()) == ["s"]
                await up.start(LegacyServer(offer))
                for changes in (modern_changes, legacy_changes):
                    await changes.of_method(CHANGED)
                assert await g.tools() == await legacy.tools() == ["s__echo"]
                assert await g.missing() == {}

    async def test_a_restart_within_that_time_is_not_worth_a_notification(self):
        offer = Offer()
        async with serving(LegacyServer(offer)) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            await g.ready()
            async with g.listening() as changes:
                await up.kill()
                await until(lambda: g.server("s").state == "failed")
                await up.start(LegacyServer(offer))
                await until(lambda: g.server("s").state == "ready")
                offer.add("later")
                up.app.announce("tools")
                # Had the restart been announced, there would be two messages before this tool is listed.
                await changes.of_method(CHANGED)
                assert "s__later" in await g.tools()

    async def test_a_hole_is_not_to_be_cached(self):
        async with serving(hangs) as bad, serving(ModernServer(Offer())) as good:
            servers = {"bad": {"url": f"{bad.origin}/mcp"}, "good": {"url": f"{good.origin}/mcp"}}
            async with gateway(servers, Settings(server_deadline=0.1)) as g:
                result = await g.result("tools/list")
                assert result["ttlMs"] <= 1000

    async def test_the_freshness_of_the_list_is_that_of_its_shortest_part(self):
        quick, slow = Offer(), Offer()
        quick.ttl_ms, slow.ttl_ms = 30_000, 3_000_000
        async with (
            serving(ModernServer(quick)) as a,
            serving(ModernServer(slow)) as b,
            gateway({"a": {"url": f"{a.origin}/mcp"}, "b": {"url": f"{b.origin}/mcp"}}) as g,
        ):
            await g.ready()
            assert 20_000 < (await g.result("tools/list"))["ttlMs"] <= 30_000


class TestChanges:
    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_change_reaches_clients_of_either_era(self, kind):
        offer = Offer()
        app = kind(offer)
        async with serving(app) as up, gateway({"s": {"url": f"{up.origin}/sse"}}) as g:
            await g.ready()
            await until(lambda: app.listeners)
            legacy = await g.session()
            async with g.listening() as modern_changes, legacy.listening() as legacy_changes:
                offer.add("later")
                app.announce("tools")
                await modern_changes.of_method(CHANGED)
                await legacy_changes.of_method(CHANGED)
                assert "s__later" in await g.tools()
                assert "s__later" in await legacy.tools()
                assert await g.text("s__later") == "{}"

    @pytest.mark.parametrize(
        ("kind", "method", "item"),
        [
            ("prompts", "prompts/list", {"name": "greet"}),
            ("resources", "resources/list", {"uri": "file:///x", "name": "x"}),
            ("resources", "resources/templates/list", {"uriTemplate": "file:///{x}", "name": "x"}),
        ],
    )
    async def test_changes_of_other_lists(self, kind, method, item):
        offer = Offer()
        app = LegacyServer(offer)
        async with serving(app) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            await g.ready()
            await until(lambda: app.listeners)
            async with g.listening() as changes:
                offer.lists[method].append(item)
                app.announce(kind)
                await changes.of_method(f"notifications/{kind}/list_changed")
                result = await g.result(method)
                assert any(len(value) == 1 for value in result.values() if isinstance(value, list))

    async def test_clients_are_not_told_of_a_change_that_they_cannot_see(self):
        offer = Offer()
        app = LegacyServer(offer)
        async with serving(app) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            await g.ready()
            await until(lambda: app.listeners)
            async with g.listening() as changes:
                asked = offer.asked.count("tools/list")
                app.announce("tools")
                await until(lambda: offer.asked.count("tools/list") > asked)
                offer.lists["prompts/list"].append({"name": "greet"})
                app.announce("prompts")
                assert (await changes.message())["method"] == "notifications/prompts/list_changed"

    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_change_while_the_list_is_being_read_is_not_lost(self, kind):
        offer = Offer()
        app = kind(offer)
        reading, gate = asyncio.Event(), asyncio.Event()

        async def wait(method):
            if method == "tools/list":
                reading.set()
                await gate.wait()

        async with serving(app) as up, gateway({"s": {"url": f"{up.origin}/sse"}}) as g:
            await g.ready()
            await until(lambda: app.listeners)
            offer.before = wait
            app.announce("tools")
            await reading.wait()
            # The answer to this reading was already worked out, so it does not have the tool.
            offer.add("later")
            app.announce("tools")
            await asyncio.sleep(0.05)
            gate.set()
            async with asyncio.timeout(30):
                while "s__later" not in await g.tools():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

    async def test_lists_that_are_read_at_the_same_time_do_not_undo_each_other(self, monkeypatch):
        monkeypatch.setattr(catalogue_module, "LEAST_FRESH", 0.0)
        offer = Offer()
        offer.ttl_ms = 0
        reading, gate = asyncio.Event(), asyncio.Event()

        async def wait(method):
            if method == "prompts/list":
                reading.set()
                await gate.wait()

        async with (
            serving(ModernServer(offer, list_changed=False)) as up,
            gateway({"s": {"url": f"{up.origin}/mcp"}}) as g,
        ):
            await g.ready()
            offer.before = wait
            prompts = asyncio.create_task(g.result("prompts/list"))
            await reading.wait()
            offer.add("later")
            assert "s__later" in await g.tools()
            offer.ttl_ms = 60_000
            gate.set()
            await prompts
            catalogue = g.gateway.aggregator.catalogues["s"]
            await until(lambda: not catalogue._reading)
            assert catalogue.find_tool("later") is not None

    @pytest.mark.parametrize("kind", [LegacyServer, ModernServer])
    async def test_what_changed_while_the_stream_was_broken_is_noticed(self, kind):
        offer = Offer()
        app = kind(offer)
        async with serving(app) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            await g.ready()
            await until(lambda: app.listeners)
            async with g.listening() as changes:
                offer.add("later")
                app.hang_up()
                await changes.of_method(CHANGED)
                assert "s__later" in await g.tools()

    async def test_a_server_that_announces_changes_but_has_no_stream_is_asked_again(self, monkeypatch):
        monkeypatch.setattr(catalogue_module, "SILENT_FRESH", 0.05)
        monkeypatch.setattr(catalogue_module, "LEAST_FRESH", 0.0)
        offer = Offer()
        async with (
            serving(LegacyServer(offer, has_stream=False)) as up,
            gateway({"s": {"url": f"{up.origin}/mcp"}}) as g,
        ):
            assert await g.tools() == ["s__echo"]
            offer.add("later")
            async with asyncio.timeout(30):
                while "s__later" not in await g.tools():  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

    async def test_a_silent_servers_new_tool_is_found_when_it_is_called(self, monkeypatch):
        monkeypatch.setattr(catalogue_module, "SILENT_FRESH", 0.0)
        monkeypatch.setattr(catalogue_module, "LEAST_FRESH", 0.0)
        offer = Offer()
        async with (
            serving(LegacyServer(offer, list_changed=False)) as up,
            gateway({"s": {"url": f"{up.origin}/mcp"}}) as g,
        ):
            assert await g.tools() == ["s__echo"]
            offer.add("later")
            assert await g.text("s__later") == "{}"


class TestSwitchedOff:
    """What a client sees of a tool that the namespace switches off, or changes."""

    SECTIONS: ClassVar = {
        "namespaces": {
            "n": {
                "servers": ["s"],
                "tools": {
                    "s__echo": {"enabled": False, "name": "repeat"},
                    "s__other": {"name": "better", "description": "changed"},
                },
            }
        },
        "endpoints": {"default": {"namespace": "n", "apiKeyAuth": False}},
    }

    async def test_it_answers_with_metamcps_text_to_clients_of_either_era(self):
        offer = Offer()
        offer.add("other")
        async with (
            serving(LegacyServer(offer)) as up,
            gateway({"s": {"url": f"{up.origin}/mcp"}}, **self.SECTIONS) as g,
        ):
            for client in (g, await g.session()):
                assert await client.tools() == ["s__better"]
                for name in ("s__echo", "s__repeat", "echo", "repeat"):
                    result = await client.call(name)
                    assert result["isError"] is True
                    assert result["content"] == [
                        {
                            "type": "text",
                            "text": f'Access denied to tool "{name}": '
                            "Tool has been marked as inactive in this namespace",
                        }
                    ]
                for name in ("s__better", "s__other"):
                    assert await client.text(name) == "{}"
                for name in ("s__nothing", "nothing", "t__echo", "s__", "__echo", ""):
                    assert (await client.ask("tools/call", name=name, arguments={}))["error"]["code"] == -32602
            assert [name for name, _ in offer.executed] == ["other"] * 4

    async def test_it_is_refused_even_when_called_before_anything_was_listed(self):
        async with (
            serving(LegacyServer(Offer())) as up,
            gateway({"s": {"url": f"{up.origin}/mcp"}}, **self.SECTIONS) as g,
        ):
            assert "marked as inactive" in (await g.call("s__echo"))["content"][0]["text"]
