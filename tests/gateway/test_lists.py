"""Lists: acceptance checks 34 to 44 — pages, caching, freshness, and servers that are missing."""

import asyncio
import time
from typing import Any

import pytest

from metamcp_asgi.aggregate import catalogue, namespace, page
from tests.gateway.client import Client
from tests.gateway.running import KEY_A, KEY_B, gateway_over
from tests.gateway.upstreams.raw import Error, RawServer, Seen, tool_named
from tests.lab.running import KINDS, Lab

pytestmark = pytest.mark.asyncio(loop_scope="session")

LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
UNAVAILABLE = "io.github.metamcp-asgi/unavailableServers"
NOWHERE = {"url": "http://127.0.0.1:9/mcp"}


async def pages(client: Client, method: str = "tools/list", legacy: bool = False) -> list[dict[str, Any]]:
    """Follows the cursors of a list to its end."""
    session = await client.session() if legacy else None
    found: list[dict[str, Any]] = []
    params: dict[str, Any] = {}
    while True:
        answer = await (session.request(method, params) if session else client.modern(method, params))
        found.append(answer.result())
        if "nextCursor" not in found[-1]:
            return found
        assert found[-1]["nextCursor"] not in ("", None)
        params = {"cursor": found[-1]["nextCursor"]}


def names(results: list[dict[str, Any]]) -> list[str]:
    return [tool["name"] for result in results for tool in result["tools"]]


async def test_check_36_a_cursor_survives_changes_of_the_list() -> None:
    server = RawServer("modern", tuple(f"t{n}" for n in range(6)))
    async with gateway_over({"raw": server}, page_size=2) as running:
        client = running.client()
        page = (await client.modern("tools/list")).result()
        assert names([page]) == ["raw__t0", "raw__t1"]
        server.behaviour["tools/list"] = server.listed("tools", [tool_named(f"t{n}") for n in (0, 2, 3, 4, 5, 6)])
        await server.announce("tools")
        await settled(client, "raw__t6")
        rest = (await client.modern("tools/list", {"cursor": page["nextCursor"]})).result()
        assert names([rest]) == ["raw__t2", "raw__t3"]


async def settled(client: Client, name: str) -> list[dict[str, Any]]:
    """Lists the tools until one of that name is there."""
    async with asyncio.timeout(30):
        while True:
            results = await pages(client)
            if name in names(results):
                return results


class Later:
    """The module `time` of a room, some seconds later."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.time = time.time

    def monotonic(self) -> float:
        return time.monotonic() + self.seconds


async def test_check_37_the_freshness_of_a_merged_list_is_what_remains_of_the_shortest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later = Later()
    for room in (catalogue, page, namespace):
        monkeypatch.setattr(room, "time", later)
    long, short = RawServer(), RawServer()
    long.behaviour["tools/list"] = long.listed("tools", [tool_named("a")], ttlMs=300_000)
    short.behaviour["tools/list"] = short.listed("tools", [tool_named("b")], ttlMs=150_000)
    async with gateway_over({"long": long, "short": short}) as running:
        client = running.client()
        first = (await client.modern("tools/list")).result()["ttlMs"]
        assert 100_000 < first <= 150_000
        later.seconds = 200
        # The short one is read again, so it is fresh; of the long one's 300 s, 200 s are over.
        async with asyncio.timeout(30):
            while short.count("tools/list") < 2:
                result = (await client.modern("tools/list")).result()
        result = (await client.modern("tools/list")).result()
        assert 0 < result["ttlMs"] <= 100_000
        assert names([result]) == ["long__a", "short__b"]
        assert (long.count("tools/list"), short.count("tools/list")) == (1, 2)


@pytest.mark.parametrize(
    ("hints", "expected"),
    [
        ({"ttlMs": -5}, 0),
        ({"ttlMs": "soon"}, 0),
        ({"ttlMs": None}, 0),
        ({"ttlMs": 1.5}, 1),
    ],
)
async def test_check_37_odd_freshness(hints: dict[str, Any], expected: int) -> None:
    server = RawServer()
    server.behaviour["tools/list"] = server.listed("tools", [tool_named("a")], **hints)
    async with gateway_over({"raw": server}) as running:
        result = (await running.client().modern("tools/list")).result()
        assert isinstance(result["ttlMs"], int)
        assert 0 <= result["ttlMs"] <= expected
        assert names([result]) == ["raw__a"]


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        (("public", "public"), "public"),
        (("public", "private"), "private"),
        (("public", None), "private"),
        (("public", "odd"), "private"),
    ],
)
async def test_check_38_the_scope_is_the_same_on_all_pages(scopes: tuple[str | None, str], expected: str) -> None:
    servers = {}
    for number, scope in enumerate(scopes):
        servers[f"s{number}"] = server = RawServer()
        listed = server.listed("tools", [tool_named(f"t{n}") for n in range(4)])
        server.behaviour["tools/list"] = listed | {"cacheScope": scope} if scope else {**listed}
        if scope is None:
            del listed["cacheScope"]
            server.behaviour["tools/list"] = listed
    async with gateway_over(servers, page_size=2) as running:
        found = await pages(running.client())
        assert [page["cacheScope"] for page in found] == [expected] * 4


async def test_check_38_legacy_servers_and_private_pages() -> None:
    async with gateway_over({"old": RawServer("legacy"), "new": RawServer()}) as running:
        assert (await running.client().modern("tools/list")).result()["cacheScope"] == "private"

    def paged(seen: Seen) -> Any:
        if "cursor" in seen.params:
            return {**seen.server.listed("tools", [tool_named("second")]), "cacheScope": "private"}
        return seen.server.listed("tools", [tool_named("first")], nextCursor="2")

    async with gateway_over({"raw": RawServer(behaviour={"tools/list": paged})}) as running:
        result = (await running.client().modern("tools/list")).result()
        assert names([result]) == ["raw__first", "raw__second"]
        assert result["cacheScope"] == "private"


async def test_check_39_a_hidden_tool_is_neither_listed_nor_callable() -> None:
    server = RawServer("modern", ("shown", "hidden"))
    override = {"tools": {"raw__hidden": {"enabled": False}}}
    async with gateway_over({"raw": server}, namespace=override) as running:
        a = running.client("keyed", KEY_A)
        result = (await a.modern("tools/list")).result()
        assert names([result]) == ["raw__shown"]
        assert result["cacheScope"] == "private"
        for name in ("raw__hidden", "hidden"):
            for answer in (await a.call(name), await (await a.session()).call(name)):
                assert answer.result()["isError"] is True
                assert "Tool has been marked as inactive in this namespace" in answer.result()["content"][0]["text"]
        assert server.count("tools/call") == 0


async def test_check_40_private_reads_are_not_shared() -> None:
    def read(seen: Seen) -> Any:
        contents = [{"uri": seen.params["uri"], "text": f"read {seen.server.count('resources/read')}"}]
        return {"resultType": "complete", "contents": contents, "ttlMs": 60_000, "cacheScope": "private"}

    server = RawServer(behaviour={"resources/read": read})
    server.behaviour["resources/list"] = server.listed("resources", [{"uri": "x://doc", "name": "doc"}])
    async with gateway_over({"raw": server}) as running:
        for number, key in enumerate((KEY_A, KEY_B), 1):
            answer = await running.client("keyed", key).modern("resources/read", {"uri": "x://doc"})
            assert answer.result()["contents"][0]["text"] == f"read {number}"
            assert answer.result()["cacheScope"] == "private"


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_check_41_a_change_makes_the_next_list_new(era: str) -> None:
    server = RawServer(era, ("before",))
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        assert names(await pages(client)) == ["raw__before"]
        server.behaviour["tools/list"] = server.listed("tools", [tool_named("after")])
        await server.announce("tools")
        assert names(await settled(client, "raw__after")) == ["raw__after"]
        assert (await client.call("raw__after")).status == 200
        assert (await client.call("raw__before")).code() == -32602


async def test_check_41_a_stale_list_is_read_again_when_somebody_asks() -> None:
    server = RawServer("modern", ("before",))
    server.capabilities = {"tools": {}}
    server.behaviour["tools/list"] = server.listed("tools", [tool_named("before")], ttlMs=1)
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        assert names(await pages(client)) == ["raw__before"]
        server.behaviour["tools/list"] = server.listed("tools", [tool_named("after")], ttlMs=1)
        assert names(await settled(client, "raw__after")) == ["raw__after"]


async def test_check_42_a_server_that_is_down_is_missing_and_named() -> None:
    up, down = RawServer(), RawServer()
    down.down = True
    async with gateway_over({"up": up, "down": down, "gone": NOWHERE}, wait=False) as running:
        client = running.client()
        answer = await client.modern("tools/list")
        assert answer.status == 200
        result = answer.result()
        assert names([result]) == ["up__echo"]
        assert result["ttlMs"] <= 5000
        missing = {entry["server"]: entry["reason"] for entry in result["_meta"][UNAVAILABLE]}
        assert missing.keys() == {"down", "gone"}
        assert all(missing.values())
        legacy = (await (await client.session()).request("tools/list")).result()
        assert {entry["server"] for entry in legacy["_meta"][UNAVAILABLE]} == {"down", "gone"}
        call = await client.call("gone__anything")
        assert call.result()["isError"] is True
        assert "gone" in call.result()["content"][0]["text"]

        session = await client.session()
        stream = await session.listen()
        down.down = False
        async with asyncio.timeout(30):
            while (await stream.message())["method"] != "notifications/tools/list_changed":
                pass
        await stream.close()
        assert names(await settled(client, "down__echo")) == ["up__echo", "down__echo"]


async def test_check_42_a_slow_server_holds_nobody_up_for_long() -> None:
    async def never(_: Seen) -> Any:
        await asyncio.sleep(60)

    slow = RawServer(behaviour={"tools/list": never})
    document = {"up": RawServer(), "slow": slow}
    async with slow_gateway(document) as running:
        await running.gateway.aggregator.catalogues["up"].ready()
        began = time.monotonic()
        result = (await running.client().modern("tools/list")).result()
        assert time.monotonic() - began < 4
        assert names([result]) == ["up__echo"]
        assert [entry["server"] for entry in result["_meta"][UNAVAILABLE]] == ["slow"]
        began = time.monotonic()
        assert (await running.client().call("up__echo", {"n": 1})).status == 200
        assert time.monotonic() - began < 4


def slow_gateway(servers: dict[str, RawServer]) -> Any:
    return gateway_over(servers, wait=False, server_deadline=0.3)


async def test_check_42_a_broken_server_is_left_out() -> None:
    broken = {
        "text": RawServer(behaviour={"tools/list": {"resultType": "complete", "tools": "none"}}),
        "error": RawServer(behaviour={"tools/list": Error(-32603, "out of order")}),
        "bytes": RawServer(behaviour={"tools/list": b"[]"}),
        "partly": RawServer(behaviour={"tools/list": {"resultType": "complete", "tools": [5, {}, tool_named("good")]}}),
    }
    async with gateway_over({"up": RawServer(), **broken}, server_deadline=20.0) as running:
        result = (await running.client().modern("tools/list")).result()
        assert names([result]) == ["up__echo", "partly__good"]
        missing = {entry["server"]: entry["reason"] for entry in result["_meta"][UNAVAILABLE]}
        assert missing.keys() == {"text", "error", "bytes"}
        assert "out of order" in missing["error"]


@pytest.mark.parametrize("kind", [*KINDS, "all"])
async def test_check_43_cacheable_results_carry_hints(lab: Lab, kind: str) -> None:
    client = lab.client()
    requests: list[tuple[str, dict[str, Any]]] = [(method, {}) for method in (*LISTS, "server/discover")]
    if kind != "all":
        requests = [("resources/read", {"uri": f"{kind}://doc"}), ("resources/read", {"uri": f"{kind}://items/5"})]
    for method, params in requests:
        result = (await client.modern(method, params)).result()
        assert result["resultType"] == "complete"
        assert isinstance(result["ttlMs"], int), result
        assert result["ttlMs"] >= 0
        assert result["cacheScope"] in ("public", "private")


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_check_44_an_empty_cursor_is_followed(era: str) -> None:
    def paged(seen: Seen) -> Any:
        if "cursor" not in seen.params:
            return seen.server.listed("tools", [tool_named("first")], nextCursor="")
        assert seen.params["cursor"] == ""
        return seen.server.listed("tools", [tool_named("second")], nextCursor=None)

    async with gateway_over({"raw": RawServer(era, behaviour={"tools/list": paged})}) as running:
        assert names(await pages(running.client())) == ["raw__first", "raw__second"]


async def test_check_44_a_loop_of_cursors_ends() -> None:
    def paged(seen: Seen) -> Any:
        number = int(seen.params.get("cursor", "0"))
        return seen.server.listed("tools", [tool_named(f"t{number}")], nextCursor=str((number + 1) % 3))

    server = RawServer(behaviour={"tools/list": paged})
    async with gateway_over({"raw": server}) as running:
        assert names(await pages(running.client())) == ["raw__t0", "raw__t1", "raw__t2"]
        assert server.count("tools/list") < 10


async def test_a_server_without_prompts_is_not_asked_for_them() -> None:
    server = RawServer()
    server.capabilities = {"tools": {}}
    async with gateway_over({"raw": server}) as running:
        for method, member in LISTS.items():
            result = (await running.client().modern(method)).result()
            assert len(result[member]) == (1 if method == "tools/list" else 0)
        assert server.count("prompts/list") == server.count("resources/list") == 0


async def test_a_namespace_without_servers_has_empty_lists() -> None:
    async with gateway_over({}) as running:
        for method, member in LISTS.items():
            result = (await running.client().modern(method)).result()
            assert result[member] == []
            assert result["ttlMs"] >= 0
            assert (await (await running.client().session()).request(method)).result() == {member: []}


async def test_definitions_keep_all_that_their_server_said() -> None:
    tool = {
        "name": "full",
        "title": "Full",
        "description": 'ü \u2028 "quoted"',
        "inputSchema": {"type": "object", "properties": {"n": {"type": "integer", "maximum": 12345678901234567890123}}},
        "outputSchema": {"type": "object"},
        "annotations": {"readOnlyHint": True, "x-own": [1.0, None]},
        "icons": [{"src": "https://example.com/i.png"}],
        "_meta": {"com.example/own": 1},
        "x-unknown": {"kept": True},
    }
    async with gateway_over({"raw": RawServer("modern", (tool,))}) as running:
        [listed] = (await running.client().modern("tools/list")).result()["tools"]
        assert listed == {**tool, "name": "raw__full"}
