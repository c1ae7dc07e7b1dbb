"""What a modern client can ask for beside plain calls: logs, input, completion, resources, traces (by check number)."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp_types import methods

from metamcp_asgi.protocol.levels import LEVELS
from tests.gateway.client import CAPABILITIES, JSON, MODERN, SERVER_INFO, Client, Exchange
from tests.gateway.running import RunningGateway, gateway_over
from tests.gateway.upstreams.raw import Error, RawServer, Seen, Stream, text_result, tool_named
from tests.lab.running import Lab

pytestmark = pytest.mark.asyncio(loop_scope="session")

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
LOG_LEVEL = "io.modelcontextprotocol/logLevel"
TASKS = "io.modelcontextprotocol/tasks"
COMPLETE = {"resultType": "complete"}
SUBSCRIBING = {"tools": {"listChanged": True}, "resources": {"listChanged": True, "subscribe": True}}
FORM: JSON = {
    "method": "elicitation/create",
    "params": {"message": "Sure?", "requestedSchema": {"type": "object", "properties": {"ok": {"type": "boolean"}}}},
}


def message(level: Any, data: Any, **more: Any) -> JSON:
    params = {"level": level, "data": data, **more}
    return {"jsonrpc": "2.0", "method": "notifications/message", "params": params}


def logging_server() -> RawServer:
    async def logs(seen: Seen) -> AsyncIterator[JSON | bytes]:
        for level in LEVELS:
            yield message(level, {"said": level}, logger="raw")
        yield message("loud", "no level")
        yield {"jsonrpc": "2.0", "id": seen.message["id"], "result": text_result("logged", **COMPLETE)}

    return RawServer("modern", ("log",), {"tools/call": lambda seen: Stream(logs(seen))})


async def test_check_74_logs_only_where_a_level_was_given() -> None:
    server = logging_server()
    async with gateway_over({"raw": server}) as running:
        silent = await running.client().call("raw__log", meta={"progressToken": 1})
        assert [each.get("method") for each in silent.messages()] == [None]
        assert LOG_LEVEL not in server.last("tools/call").params["_meta"]
        for threshold in LEVELS:
            answer = await running.client().call("raw__log", meta={LOG_LEVEL: threshold})
            *logs, result = answer.messages()
            assert [log["params"]["level"] for log in logs] == list(LEVELS[LEVELS.index(threshold) :])
            assert all(log["method"] == "notifications/message" for log in logs)
            assert logs[0]["params"]["data"] == {"said": threshold}
            assert "logger" in logs[0]["params"]
            assert result["result"]["content"][0]["text"] == "logged"
            assert server.last("tools/call").params["_meta"][LOG_LEVEL] == threshold


@pytest.mark.parametrize("level", ["loud", "WARNING", "", 5, None, {}])
async def test_check_74_no_such_level(lab: Lab, level: Any) -> None:
    answer = await lab.client().call("raw__echo", meta={LOG_LEVEL: level})
    assert (answer.status, answer.code()) == (400, -32602)
    assert "warning" in answer.error()["message"]


async def test_what_a_client_can_do_reaches_the_server() -> None:
    server = RawServer("modern", ("echo",))
    async with gateway_over({"raw": server}) as running:
        declared = {
            "elicitation": {"form": {}, "url": {}},
            "sampling": {"tools": {}},
            "roots": {},
            "experimental": {"x": {}},
            "extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html"]}, "com.example/auth": {}},
        }
        assert (await running.client().call("raw__echo", meta={CAPABILITIES: declared})).status == 200
        told = server.last("tools/call").params["_meta"][CAPABILITIES]
        assert told["elicitation"] == {"form": {}, "url": {}}
        assert (told["sampling"], told["roots"]) == ({"tools": {}}, {})
        assert told["extensions"] == {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html"]}}
        assert "experimental" not in told
        assert (await running.client().call("raw__echo")).status == 200
        assert server.last("tools/call").params["_meta"][CAPABILITIES] == {}


@pytest.mark.parametrize("declared", ["[]", '"x"', "null", '{"x":"' + "x" * 20_000 + '"}'])
async def test_capabilities_that_are_none(lab: Lab, declared: str) -> None:
    meta = f'"io.modelcontextprotocol/protocolVersion":"2026-07-28","{CAPABILITIES}":{declared}'
    body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"raw__echo","_meta":{META}}}'
    headers = [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "tools/call"), ("Mcp-Name", "raw__echo")]
    answer = await lab.client().post(body.replace("META", meta).encode(), headers)
    assert (answer.status, answer.code()) == (400, -32602), answer


def asking_server(**more: Any) -> RawServer:
    """Returns a modern server that asks for input once, with a state of its own, and then tells what it got."""

    def answer(seen: Seen) -> Any:
        if "inputResponses" not in seen.params:
            return {"resultType": "input_required", "inputRequests": {"a": FORM}, "requestState": "its own", **more}
        told = {name: seen.params.get(name) for name in ("inputResponses", "requestState")}
        if seen.method == "tools/call":
            return text_result(json.dumps(told), **COMPLETE)
        if seen.method == "prompts/get":
            block = {"role": "user", "content": {"type": "text", "text": json.dumps(told)}}
            return {**COMPLETE, "messages": [block]}
        return {**COMPLETE, "contents": [{"uri": "x://doc", "text": json.dumps(told)}]}

    server = RawServer("modern", ("ask",))
    server.behaviour |= dict.fromkeys(("tools/call", "prompts/get", "resources/read"), answer)
    server.behaviour["prompts/list"] = server.listed("prompts", [{"name": "ask"}])
    server.behaviour["resources/list"] = server.listed("resources", [{"uri": "x://doc", "name": "doc"}])
    return server


CAN_FORM: JSON = {CAPABILITIES: {"elicitation": {}}}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {"name": "raw__ask", "arguments": {"n": 1}}),
        ("prompts/get", {"name": "raw__ask", "arguments": {"n": "1"}}),
        ("resources/read", {"uri": "x://doc"}),
    ],
)
async def test_check_55_the_form_of_a_call_that_needs_input(method: str, params: JSON) -> None:
    server = asking_server()
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        asked = (await client.modern(method, params, meta=CAN_FORM)).result()
        # Check 43: nothing that could be cached.
        assert asked.keys() == {"resultType", "inputRequests", "requestState", "_meta"}
        assert asked["resultType"] == "input_required"
        assert asked["_meta"][SERVER_INFO]["name"]
        [(key, question)] = asked["inputRequests"].items()
        assert question["method"] == "elicitation/create"
        assert question["params"]["requestedSchema"] == FORM["params"]["requestedSchema"]
        assert "its own" not in asked["requestState"]
        methods.validate_server_result(method, MODERN, asked)
        more = {"inputResponses": {key: {"action": "accept"}}, "requestState": asked["requestState"]}
        done = (await client.modern(method, {**params, **more}, meta=CAN_FORM, id=2)).result()
        methods.validate_server_result(method, MODERN, done)
        assert done["resultType"] == "complete"
        assert '\\"accept\\"' in json.dumps(done)
        assert '\\"its own\\"' in json.dumps(done)


@pytest.mark.parametrize(
    "inputs",
    [
        {"requestState": 5},
        {"requestState": None},
        {"requestState": {}},
        {"inputResponses": []},
        {"inputResponses": None},
        {"inputResponses": "x"},
        {"inputResponses": {"a": "accept"}},
        {"inputResponses": {"a": {"action": "accept"}, "b": None}},
    ],
)
async def test_check_59_malformed_inputs(lab: Lab, inputs: JSON) -> None:
    before = lab.raw.count("tools/call")
    answer = await lab.client().call("raw__echo", meta=CAN_FORM)
    assert answer.status == 200
    refused = await lab.client().modern("tools/call", {"name": "raw__echo", **inputs}, meta=CAN_FORM)
    assert (refused.status, refused.code()) == (400, -32602), refused
    assert lab.raw.count("tools/call") == before + 1


@pytest.mark.parametrize("method", ["tools/list", "server/discover", "completion/complete", "subscriptions/listen"])
async def test_inputs_belong_to_three_methods_only(lab: Lab, method: str) -> None:
    brought: list[JSON] = [{"requestState": "x"}, {"inputResponses": {}}]
    for inputs in brought:
        answer = await lab.client().modern(method, inputs)
        assert (answer.status, answer.code()) == (400, -32602), answer


@pytest.mark.parametrize(
    ("declared", "required", "lacks"),
    [
        ({}, {"elicitation": {}}, True),
        ({"elicitation": {}}, {"elicitation": {}}, False),
        ({"elicitation": {}}, {"elicitation": {"form": {}}}, False),
        ({"elicitation": {}}, {"elicitation": {"url": {}}}, True),
        ({"elicitation": {"url": {}}}, {"elicitation": {"form": {}}}, True),
        ({"elicitation": {"url": {}}}, {"elicitation": {"url": {}}}, False),
        ({"sampling": {}}, {"sampling": {"tools": {}}}, True),
        ({"roots": {}}, {"extensions": {TASKS: {}}}, True),
        ({"extensions": {"io.modelcontextprotocol/ui": {}}}, {"extensions": {TASKS: {}}}, True),
        ({"extensions": {TASKS: {}}}, {"extensions": {TASKS: {}}}, False),
    ],
)
async def test_check_61_parts_of_a_missing_capability(declared: JSON, required: JSON, lacks: bool) -> None:
    error = Error(-32021, "needs more", {"requiredCapabilities": required}, 400)
    async with gateway_over({"raw": RawServer("modern", ("ask",), {"tools/call": error})}) as running:
        answer = await running.client().call("raw__ask", meta={CAPABILITIES: declared})
        assert (answer.status, answer.code()) == ((400, -32021) if lacks else (200, -32603))
        if lacks:
            assert answer.error()["data"]["requiredCapabilities"] == required


@pytest.mark.parametrize("revision", ["2025-11-25", "2025-06-18"])
async def test_check_63_a_server_is_answered_in_the_words_of_its_revision(revision: str) -> None:
    async def asks(seen: Seen) -> AsyncIterator[JSON | bytes]:
        question = {"messages": [{"role": "user", "content": {"type": "text", "text": "Hi"}}], "maxTokens": 5}
        yield {"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage", "params": question}
        async with asyncio.timeout(15):
            while (told := await seen.server.arrived.get()).message.get("id") != "q":
                pass
        text = json.dumps(told.message["result"]["content"])
        yield {"jsonrpc": "2.0", "id": seen.message["id"], "result": text_result(text)}

    info = {"name": "raw", "version": "1"}
    server = RawServer("legacy", ("ask",), {"tools/call": lambda seen: Stream(asks(seen))})
    server.behaviour["initialize"] = {
        "protocolVersion": revision,
        "capabilities": server.capabilities,
        "serverInfo": info,
    }
    async with gateway_over({"raw": server}) as running:
        able: JSON = {CAPABILITIES: {"sampling": {}}}
        asked = (await running.client().call("raw__ask", meta=able)).result()
        [key] = asked["inputRequests"]
        parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
        answer = {"role": "assistant", "model": "m", "content": parts}
        params = {"name": "raw__ask", "arguments": {}, "requestState": asked["requestState"]}
        repeated = {**params, "inputResponses": {key: answer}}
        done = (await running.client().modern("tools/call", repeated, meta=able)).result()
        told = json.loads(done["content"][0]["text"])
        assert told == (parts if revision == "2025-11-25" else {"type": "text", "text": "one\ntwo"})


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_completion(era: str) -> None:
    values = {"completion": {"values": ["Ada", "Alan"], "total": 2, "hasMore": False}}
    server = RawServer(era, behaviour={"completion/complete": {**(COMPLETE if era == "modern" else {}), **values}})
    server.capabilities = {**server.capabilities, "completions": {}}
    server.behaviour["prompts/list"] = server.listed("prompts", [{"name": "greet"}])
    async with gateway_over({"raw": server}) as running:
        params = {
            "ref": {"type": "ref/prompt", "name": "raw__greet"},
            "argument": {"name": "who", "value": "A"},
            "context": {"arguments": {"lang": "en"}},
        }
        answer = await running.client().modern("completion/complete", params)
        assert answer.status == 200
        result = answer.result()
        assert result["completion"] == values["completion"]
        assert result["resultType"] == "complete"
        assert result["_meta"][SERVER_INFO]["name"]
        told = server.last("completion/complete").params
        assert told["ref"]["name"] == "greet"
        assert told["argument"] == params["argument"]
        assert told["context"] == params["context"]
        unknown = await running.client().modern("completion/complete", {**params, "ref": {"type": "ref/prompt"}})
        assert unknown.code() == -32602


async def listening(client: Client, notifications: JSON, id: Any = 7) -> tuple[Exchange, JSON]:  # noqa: A002
    """Opens a listen stream; returns it, and what its acknowledgement says."""
    exchange = await client.start("subscriptions/listen", {"notifications": notifications}, id=id)
    assert await exchange.head() == 200
    first = await next_of(exchange)
    assert first["method"] == "notifications/subscriptions/acknowledged"
    assert first["params"]["_meta"] == {SUBSCRIPTION: id}
    assert type(first["params"]["_meta"][SUBSCRIPTION]) is type(id)
    honoured: JSON = first["params"]["notifications"]
    return exchange, honoured


async def next_of(exchange: Exchange) -> JSON:
    return await asyncio.wait_for(exchange.message(), 15)


def subscribing(era: str, *uris: str) -> RawServer:
    """Returns a server that tells of updates of its resources."""
    server = RawServer(era, behaviour={"resources/subscribe": {}, "resources/unsubscribe": {}})
    server.capabilities = SUBSCRIBING
    server.behaviour["resources/list"] = server.listed("resources", [{"uri": uri, "name": uri} for uri in uris])
    return server


async def updated(server: RawServer, running: RunningGateway, exchange: Exchange, uri: str) -> JSON:
    """Has a server announce an update, until the stream of changes that it goes over is open."""
    await server.tell("notifications/resources/updated", uri=uri)
    return await next_of(exchange)


@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("id", [7, "7"])
async def test_check_76_updates_of_resources(era: str, id: Any) -> None:  # noqa: A002
    server = subscribing(era, "x://doc", "x://other")
    async with gateway_over({"raw": server}) as running:
        asked = {"toolsListChanged": True, "resourceSubscriptions": ["x://doc", "y://none", "x://doc"]}
        exchange, honoured = await listening(running.client(), asked, id)
        assert honoured == {"toolsListChanged": True, "resourceSubscriptions": ["x://doc"]}
        told = await updated(server, running, exchange, "x://doc")
        assert told == {
            "jsonrpc": "2.0",
            "method": "notifications/resources/updated",
            "params": {"uri": "x://doc", "_meta": {SUBSCRIPTION: id}},
        }
        # Check 78: not what it did not ask for.
        await server.tell("notifications/resources/updated", uri="x://other")
        assert (await updated(server, running, exchange, "x://doc"))["params"]["uri"] == "x://doc"
        running.gateway.close_streams()
        last = (await asyncio.wait_for(exchange.answer(), 15)).message()
        assert last == {"jsonrpc": "2.0", "id": id, "result": {**COMPLETE, "_meta": {SUBSCRIPTION: id}}}


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_check_78_the_published_uri(era: str) -> None:
    one, two = subscribing(era, "x://doc"), subscribing(era, "x://doc")
    async with gateway_over({"one": one, "two": two}) as running:
        listed = (await running.client().modern("resources/list")).result()["resources"]
        [published] = [each["uri"] for each in listed if each["uri"].startswith("two+")]
        exchange, honoured = await listening(running.client(), {"resourceSubscriptions": [published]})
        assert honoured == {"resourceSubscriptions": [published]}
        assert (await updated(two, running, exchange, "x://doc"))["params"]["uri"] == published
        await exchange.close()


async def test_check_79_the_last_who_leaves_ends_the_subscription_at_the_server() -> None:
    server = subscribing("legacy", "x://doc")
    async with gateway_over({"raw": server}) as running:
        streams = [(await listening(running.client(), {"resourceSubscriptions": ["x://doc"]}))[0] for _ in range(2)]
        assert server.count("resources/subscribe") == 1
        await streams[0].close()
        assert (await updated(server, running, streams[1], "x://doc"))["params"]["uri"] == "x://doc"
        await streams[1].close()
        assert (await server.arrival("resources/unsubscribe")).params["uri"] == "x://doc"
        assert server.count("resources/unsubscribe") == 1


async def test_a_server_that_refuses_is_not_in_the_acknowledgement() -> None:
    server = subscribing("legacy", "x://doc")
    server.behaviour["resources/subscribe"] = Error(-32602, "no")
    async with gateway_over({"raw": server}) as running:
        exchange, honoured = await listening(running.client(), {"resourceSubscriptions": ["x://doc"]})
        assert honoured == {}
        await exchange.close()


@pytest.mark.parametrize("wanted", ["x://doc", [5], {"x://doc": True}, None, ["x://doc"] * 257])
async def test_check_76_malformed_subscriptions(lab: Lab, wanted: Any) -> None:
    params = {"notifications": {"resourceSubscriptions": wanted}}
    assert (await lab.client().modern("subscriptions/listen", params)).code() == -32602


async def test_tasks_need_their_extension(lab: Lab) -> None:
    params = {"notifications": {"taskIds": ["t1"]}}
    refused = await lab.client().modern("subscriptions/listen", params)
    assert (refused.status, refused.code()) == (400, -32021)
    assert refused.error()["data"]["requiredCapabilities"] == {"extensions": {TASKS: {}}}


PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_check_97_a_trace_goes_on_at_the_server(lab: Lab) -> None:
    trace = {"traceparent": PARENT, "tracestate": "vendor=1", "baggage": "user=5"}
    headers = list(trace.items())
    for how in ({"meta": trace}, {"headers": headers}):
        assert (await lab.client().call("raw__echo", {"n": 97}, **how)).status == 200
        seen = lab.raw.last("tools/call")
        meta = seen.params["_meta"]
        version, trace_id, span, flags = meta["traceparent"].split("-")
        assert (version, trace_id, flags) == ("00", PARENT.split("-")[1], "01")
        assert span != PARENT.split("-")[2]
        assert meta["tracestate"] == "vendor=1"
        assert "baggage" not in meta
        assert seen.header("traceparent") == [meta["traceparent"].encode()]
        assert seen.header("tracestate") == [b"vendor=1"]
        assert seen.header("baggage") == []
    assert (await lab.client().call("raw__echo", {"n": 97})).status == 200
    seen = lab.raw.last("tools/call")
    assert seen.header("traceparent") == []
    assert not {"traceparent", "tracestate", "baggage"} & seen.params["_meta"].keys()


async def test_check_97_baggage_where_it_is_allowed() -> None:
    server = RawServer()
    async with gateway_over({"raw": server}, forward_baggage=True) as running:
        trace = {"traceparent": PARENT, "baggage": "user=5"}
        assert (await running.client().call("raw__echo", meta=trace)).status == 200
        seen = server.last("tools/call")
        assert seen.params["_meta"]["baggage"] == "user=5"
        assert seen.header("baggage") == [b"user=5"]


async def test_check_97_a_trace_between_other_eras(lab: Lab) -> None:
    session = await lab.client().session()
    for name, server in (("old__echo", lab.old), ("raw__echo", lab.raw)):
        params = {"name": name, "arguments": {}, "_meta": {"traceparent": PARENT}}
        for answer in (
            await session.request("tools/call", params),
            await lab.client().call(name, meta={"traceparent": PARENT}),
        ):
            assert answer.status == 200
            seen = server.last("tools/call")
            told = seen.params["_meta"]["traceparent"]
            assert told.split("-")[1] == PARENT.split("-")[1]
            assert told != PARENT
            assert seen.header("traceparent") == [told.encode()]


async def test_check_87_an_app_of_a_tool() -> None:
    async with contextlib.AsyncExitStack() as stack:
        servers = {}
        for name in ("one", "two"):
            app = {"contents": [{"uri": "ui://app", "mimeType": "text/html;profile=mcp-app", "text": f"app of {name}"}]}
            tools = (tool_named("show", _meta={"ui": {"resourceUri": "ui://app"}}), tool_named(f"only_{name}"))
            results = {"resources/read": {**COMPLETE, **app}, "tools/call": text_result(name, **COMPLETE)}
            servers[name] = server = RawServer("modern", tools, results)
            server.behaviour["resources/list"] = server.listed("resources", [{"uri": "ui://app", "name": "app"}])
        running = await stack.enter_async_context(gateway_over(servers))
        session = await running.client().session()
        listed = (await running.client().modern("tools/list")).result()["tools"]
        assert listed == (await session.request("tools/list")).result()["tools"]
        for name in servers:
            [tool] = [each for each in listed if each["name"] == f"{name}__show"]
            uri = tool["_meta"]["ui"]["resourceUri"]
            assert uri.startswith("ui://"), "hosts insist on the scheme"
            for answer in (
                await running.client().modern("resources/read", {"uri": uri}),
                await session.request("resources/read", {"uri": uri}),
            ):
                [content] = answer.result()["contents"]
                assert (content["uri"], content["text"]) == (uri, f"app of {name}")
            # The page calls the tool by the name that its server gave it.
            assert (await running.client().call(f"only_{name}")).result()["content"][0]["text"] == name
        ambiguous = await running.client().call("show")
        assert ambiguous.code() == -32602


async def test_capabilities_by_revision(lab: Lab) -> None:
    listing = {"listChanged": True}
    everything = {
        "tools": listing,
        "prompts": listing,
        "resources": {"listChanged": True, "subscribe": True},
        "completions": {},
        "logging": {},
    }
    discovered = (await lab.client().modern("server/discover")).result()["capabilities"]
    assert discovered == {**everything, "extensions": {TASKS: {}}}
    for revision in ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"):
        told = (await lab.client().initialize(revision)).result()["capabilities"]
        expected = {k: v for k, v in everything.items() if revision != "2024-11-05" or k != "completions"}
        if revision == "2025-11-25":
            expected["tasks"] = {"cancel": {}, "requests": {"tools": {"call": {}}}}
        assert told == expected, revision
