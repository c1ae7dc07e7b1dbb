"""What a middleware can do: rewrite arguments and results, leave things out of lists, answer in a server's place."""

import asyncio
import json

import pytest

from tests.aggregate.middleware.installing import installed, through
from tests.gateway.running import KEY_A, KEY_B
from tests.gateway.upstreams.raw import Error, RawServer, text_result, tool_named

MODULE = '''
from msgspec import Struct
from metamcp_asgi.aggregate.middleware import CallFailed, ToolResult

seen = []

class Elsewhere:
    """Sends every call to another region."""
    async def call_tool(self, call, next):
        call.arguments = {**call.arguments, "region": "Süd"}
        return await next(call)

class OnlySome:
    """Leaves out what begins with an x; counts how often it is asked."""
    async def list_tools(self, call, next):
        seen.append((call.method, call.principal, call.endpoint))
        return [item for item in await next(call) if not item.own_name.startswith("x")]
    async def list_prompts(self, call, next):
        return [item for item in await next(call) if not item.own_name.startswith("x")]
    async def list_resources(self, call, next):
        return [item for item in await next(call) if not item.own_name.startswith("x")]
    list_resource_templates = list_prompts

class Renames:
    async def list_tools(self, call, next):
        items = list(await next(call))
        for item in items:
            item.definition = {**item.definition, "name": "other", "description": f"from {item.server}"}
        return items[::-1]

class Mine:
    """Shows everybody the tool that has the name of the caller's key."""
    per_principal = True
    async def list_tools(self, call, next):
        return [item for item in await next(call) if item.own_name == call.principal.name]

class Shout:
    async def call_tool(self, call, next):
        result = await next(call)
        assert result.content[0]["type"] == "text" and result.structured is None and not result.is_error
        result.content = [{**block, "text": block["text"].upper()} for block in result.content]
        return result

class Instead:
    async def call_tool(self, call, next):
        if call.arguments.get("fail"):
            raise CallFailed.of(-32602, "not like this")
        return ToolResult.error(f"{call.principal.name} may not use {call.name} ({call.own_name} of {call.server})")

class Defect:
    async def call_tool(self, call, next):
        return None
    async def list_tools(self, call, next):
        raise KeyError("x")

class Letter(Struct):
    letter: str = ""

class Order:
    Options = Letter
    def __init__(self, options):
        self.letter = options.letter
    async def call_tool(self, call, next):
        result = await next(call)
        result.content = [{"type": "text", "text": result.content[0]["text"] + self.letter}]
        return result
'''


@pytest.fixture(autouse=True)
def _package(tmp_path, monkeypatch):
    import sys

    sys.modules.pop("mw_tests", None)
    names = ("Elsewhere", "OnlySome", "Renames", "Mine", "Shout", "Instead", "Defect", "Order")
    with installed(tmp_path, monkeypatch, "mw_tests", MODULE, **{name.lower(): name for name in names}):
        yield


def seen():
    import mw_tests  # type: ignore[import-not-found]

    return mw_tests.seen


HDR = tool_named(
    "hdr",
    inputSchema={"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}},
)


async def test_check_47_rewritten_arguments_reach_body_and_headers():
    """eras.md 4, test 47: T-31, T-45."""
    raw = RawServer(tools=(HDR,), behaviour={"tools/call": text_result("done")})
    async with through(["elsewhere"], raw=raw) as running:
        client = running.client()
        sent = await client.call("raw__hdr", {"region": "Nord"}, headers=[("Mcp-Param-Region", "Nord")])
        assert sent.result()["content"][0]["text"] == "done"
        got = raw.last("tools/call")
        assert got.params["arguments"] == {"region": "Süd"}
        assert got.header("mcp-param-region") == [b"=?base64?U8O8ZA==?="]
        legacy = await (await client.session()).call("raw__hdr", {})
        assert legacy.result()["content"][0]["text"] == "done"
        assert raw.last("tools/call").header("mcp-param-region") == [b"=?base64?U8O8ZA==?="]


async def test_what_the_client_mirrored_is_checked_against_what_it_sent():
    raw = RawServer(tools=(HDR,), behaviour={"tools/call": text_result("done")})
    async with through(["elsewhere"], raw=raw) as running:
        call = running.client().call
        assert (await call("raw__hdr", {"region": "Nord"}, headers=[("Mcp-Param-Region", "West")])).code() == -32020
        assert (await call("raw__hdr", {"region": "Nord"})).code() == -32020
        assert raw.count("tools/call") == 0


async def test_arguments_that_could_be_read_in_two_ways_are_refused():
    raw = RawServer()
    async with through(["elsewhere"], raw=raw) as running:
        session = await running.client().session()
        params = b'{"name":"raw__echo","arguments":{"a":1, "a":2}}'
        body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%b}' % params
        assert "names the same member twice" in (await session.post(body)).error()["message"]
        assert raw.count("tools/call") == 0


async def test_what_is_left_out_of_a_list_is_not_callable():
    templates = [{"uriTemplate": "x:///{a}", "name": "t"}, {"uriTemplate": "y:///{a}", "name": "t"}]
    raw = RawServer(
        tools=("xen", "echo"),
        behaviour={
            "tools/call": text_result("done"),
            "prompts/get": {"messages": []},
            "resources/read": {"contents": [], "ttlMs": 0, "cacheScope": "private"},
        },
    )
    raw.behaviour["prompts/list"] = raw.listed("prompts", [{"name": "xp"}, {"name": "p"}])
    raw.behaviour["resources/list"] = raw.listed(
        "resources", [{"uri": u, "name": u} for u in ("xr:1", "r:1", "x:///r")]
    )
    raw.behaviour["resources/templates/list"] = raw.listed("resourceTemplates", templates)
    async with through(["onlysome"], raw=raw) as running:
        client = running.client()
        assert [t["name"] for t in (await client.modern("tools/list")).result()["tools"]] == ["raw__echo"]
        for name in ("raw__xen", "xen"):
            assert (await client.call(name)).error() == {"code": -32602, "message": f"Unknown tool: {name}"}
        assert not (await client.call("raw__echo")).result().get("isError")
        assert (await client.modern("prompts/get", {"name": "raw__xp"})).code() == -32602
        assert (await client.modern("prompts/get", {"name": "raw__p"})).result()["messages"] == []
        for uri, readable in (("xr:1", False), ("r:1", True), ("x:///z", False), ("x:///r", False), ("y:///z", True)):
            assert ("error" not in (await client.modern("resources/read", {"uri": uri})).message()) == readable, uri


async def test_lists_are_made_when_they_change_and_not_for_each_request():
    raw = RawServer(tools=("xen", "echo", "more"))
    async with through(["onlysome"], raw=raw) as running:
        client = running.client()
        for _ in range(3):
            await client.modern("tools/list")
            await client.call("raw__echo")
        assert seen() == [("tools/list", None, None)]
        raw.behaviour["tools/list"] = raw.listed("tools", [tool_named("xylo"), tool_named("yes")])
        await raw.announce("tools")
        async with asyncio.timeout(30):
            while [t["name"] for t in (await client.modern("tools/list")).result()["tools"]] != ["raw__yes"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await client.call("raw__xylo")).code() == -32602


async def test_pages_of_a_filtered_list():
    raw = RawServer(tools=tuple(f"{letter}{n}" for n in range(5) for letter in "xy"))
    async with through(["onlysome"], raw=raw, page_size=2) as running:
        client, names, params = running.client(), [], {}
        while True:
            page = (await client.modern("tools/list", params)).result()
            names += [tool["name"] for tool in page["tools"]]
            if "nextCursor" not in page:
                break
            params = {"cursor": page["nextCursor"]}
        assert names == [f"raw__y{n}" for n in range(5)]


async def test_names_and_order_stay_the_namespaces():
    raw = RawServer(tools=("a", "b"), behaviour={"tools/call": text_result("done")})
    async with through(["renames"], raw=raw) as running:
        tools = (await running.client().modern("tools/list")).result()["tools"]
        assert [(tool["name"], tool["description"]) for tool in tools] == [
            ("raw__a", "from raw"),
            ("raw__b", "from raw"),
        ]


async def test_a_list_per_principal_is_private_and_its_own():
    """eras.md 4, test 39: CA-07, TO-01."""
    raw = RawServer(tools=("A", "B"), behaviour={"tools/call": text_result("done")})
    endpoints = {"keyed": {"apiKeyAuth": True}}
    async with through(["mine"], raw=raw, endpoints=endpoints) as running:
        for _ in range(2):
            for key, own, other in ((KEY_A, "A", "B"), (KEY_B, "B", "A")):
                client = running.client("keyed", key)
                listed = (await client.modern("tools/list")).result()
                assert [tool["name"] for tool in listed["tools"]] == [f"raw__{own}"]
                assert listed["cacheScope"] == "private"
                assert not (await client.call(f"raw__{own}")).result().get("isError")
                assert (await client.call(f"raw__{other}")).code() == -32602
        anybody = (await running.client().modern("tools/list")).result()
        assert (anybody["tools"], anybody["cacheScope"]) == ([], "private")


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_results_may_be_changed_and_replaced(era):
    raw = RawServer(era, behaviour={"tools/call echo": text_result("quiet", _meta={"kept": 1})})
    async with through(["shout"], raw=raw) as running:
        for caller in (running.client(), await running.client().session()):
            result = (await caller.call("raw__echo", {})).result()
            assert result["content"] == [{"type": "text", "text": "QUIET"}]
            assert result["_meta"]["kept"] == 1
    async with through(["instead"], raw=raw) as running:
        client = running.client("keyed", KEY_A)
        result = (await client.call("raw__echo")).result()
        assert result["content"][0]["text"] == "A may not use raw__echo (echo of raw)"
        assert result["isError"]
        assert (await client.call("raw__echo", {"fail": 1})).error() == {"code": -32602, "message": "not like this"}


async def test_the_first_is_the_outermost():
    raw = RawServer(behaviour={"tools/call echo": text_result("")})
    async with through([{"order": {"letter": "a"}}, {"order": {"letter": "b"}}], raw=raw) as running:
        assert (await running.client().call("raw__echo")).result()["content"][0]["text"] == "ba"


async def test_a_defect_is_an_error_and_no_way_around(caplog):
    raw = RawServer(behaviour={"tools/call": Error(-1, "never")})
    async with through(["defect"], raw=raw) as running:
        # Its list fails, and with it nothing is known to be callable.
        for answer in (await running.client().modern("tools/list"), await running.client().call("raw__echo")):
            assert answer.error()["message"] == "A middleware of namespace all failed; the log of the gateway says more"
        assert raw.count("tools/call") == 0
    assert "KeyError" in caplog.text


async def test_switches_and_overrides_stay_with_the_view():
    raw = RawServer(
        tools=("on", "off"), behaviour={"tools/call": lambda seen: text_result(json.dumps(seen.params["name"]))}
    )
    namespace = {"tools": {"raw__off": {"enabled": False}, "raw__on": {"name": "better"}}}
    async with through(["shout"], raw=raw, namespace=namespace) as running:
        client = running.client()
        assert [t["name"] for t in (await client.modern("tools/list")).result()["tools"]] == ["raw__better"]
        assert (await client.call("raw__better")).result()["content"][0]["text"] == '"ON"'


async def test_a_namespace_without_has_no_chain():
    async with through([], raw=RawServer()) as running:
        namespace = running.gateway.aggregator.namespace("open")
        assert namespace is not None
        assert namespace.chain is None
