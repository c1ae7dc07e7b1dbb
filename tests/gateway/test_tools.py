"""Tools, names and errors: acceptance checks 45, 50 to 54, 82, 83, 91 and 97, and what arrives byte by byte."""

import asyncio
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from metamcp_asgi.upstream import stdio
from tests.gateway.client import BASE, CAPABILITIES, CLIENT_INFO, MODERN, SERVER_INFO, VERSION, modern_request
from tests.gateway.running import KEY_A, KEY_B, gateway_over
from tests.gateway.test_lists import names, pages
from tests.gateway.upstreams.raw import Error, Plain, RawServer, Seen, Stream, text_result, tool_named
from tests.gateway.witness import witness_at
from tests.lab.running import KINDS, Lab

pytestmark = pytest.mark.asyncio(loop_scope="session")

COMPLETE = {"resultType": "complete"}


async def test_check_45_names(lab: Lab) -> None:
    client = lab.client()
    found = names(await pages(client))
    assert len(set(found)) == len(found)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", name) for name in found)
    assert {f"{kind}__echo" for kind in (*KINDS, "raw", "old")} <= set(found)
    # They are made of nothing but the servers' names and tools, so processes that began at other times have the same.
    for pid in lab.running.pids():
        again = names(await pages(lab.running.at(pid)))
        assert [name for name in again if name.endswith("echo")] == [name for name in found if name.endswith("echo")]


async def test_check_45_names_split_at_the_first_separator() -> None:
    servers = {
        "a": RawServer(
            "modern", ("b__c", "__d", "e_"), {"tools/call": lambda s: text_result(s.params["name"], **COMPLETE)}
        )
    }
    async with gateway_over(servers) as running:
        client = running.client()
        for name in ("b__c", "__d", "e_"):
            assert (await client.call(f"a__{name}")).result()["content"][0]["text"] == name


@pytest.mark.parametrize("prefix", ["never", "on-collision"])
async def test_check_45_without_prefixes(prefix: str) -> None:
    def who(name: str) -> Any:
        return lambda seen: text_result(f"{name} {seen.params['name']}", **COMPLETE)

    first = RawServer("modern", ("same", "one"), behaviour={"tools/call": who("first")})
    second = RawServer("modern", ("same", "two"), behaviour={"tools/call": who("second")})
    async with gateway_over({"first": first, "second": second}, namespace={"prefix": prefix}) as running:
        client = running.client()
        tools = (await client.modern("tools/list")).result()["tools"]
        listed = [tool["name"] for tool in tools]
        assert {"one", "two"} <= set(listed)
        for name in listed:
            assert (await client.call(name)).result()["content"][0]["text"].split()[1] in ("same", "one", "two")
        if prefix == "never":
            assert listed.count("same") == 1
            assert (await client.call("same")).result()["content"][0]["text"] == "first same"
        else:
            assert {"first__same", "second__same"} <= set(listed)
            assert (await client.call("second__same")).result()["content"][0]["text"] == "second same"


async def test_check_50_modern_clients_get_any_structured_content(lab: Lab) -> None:
    result = (await lab.client().call("raw__numbers")).result()
    assert result["structuredContent"] == [1, 2]
    assert json.loads(result["content"][0]["text"]) == [1, 2]
    tools = {tool["name"]: tool for page in await pages(lab.client()) for tool in page["tools"]}
    assert tools["raw__numbers"]["outputSchema"]["type"] == "array"


@pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
async def test_check_50_legacy_clients_that_know_structured_content(lab: Lab, revision: str) -> None:
    session = await lab.client("public").session(revision)
    assert (await session.call("raw__table")).result()["structuredContent"] == {"a": 1}
    assert (await session.call("raw__numbers")).result()["content"][0]["text"] == "[1,2]"
    tools = {tool["name"]: tool for tool in (await session.request("tools/list")).result()["tools"]}
    assert tools["raw__table"]["outputSchema"] == {"type": "object"}


@pytest.mark.parametrize("kind", KINDS)
async def test_check_50_what_real_servers_say_is_said_in_the_words_of_the_revision(lab: Lab, kind: str) -> None:
    result = (await lab.client().call(f"{kind}__table", {"rows": 2})).result()
    assert result["structuredContent"] == {"rows": 2}
    for revision in ("2024-11-05", "2025-03-26", "2025-11-25"):
        session = await lab.client().session(revision)
        told = (await session.call(f"{kind}__table", {"rows": 2})).result()
        assert ("structuredContent" in told) == (revision == "2025-11-25")
        assert json.loads(told["content"][0]["text"]) == {"rows": 2}


async def test_check_52_references_to_other_places_are_never_followed(lab: Lab) -> None:
    [tool] = [tool for page in await pages(lab.client()) for tool in page["tools"] if tool["name"] == "raw__ref"]
    assert tool["inputSchema"]["properties"]["x"]["$ref"].startswith("http://127.0.0.1:")
    for caller in (lab.client(), await lab.client().session()):
        assert (await caller.call("raw__ref", {"x": 1})).result()["content"][0]["text"] == "ok"
    assert lab.canary == []


async def test_check_53_execution_is_a_matter_of_legacy_clients(lab: Lab) -> None:
    session = await lab.client().session("2025-11-25")
    first = (await session.request("tools/list")).result()
    modern = [tool for page in await pages(lab.client()) for tool in page["tools"]]
    legacy = [tool for page in await pages(lab.client(), legacy=True) for tool in page["tools"]]
    assert first["tools"] == legacy[: len(first["tools"])]
    assert not any("execution" in tool for tool in modern)
    [told] = [tool["execution"] for tool in legacy if tool["name"] == "old__task"]
    assert told in ({"taskSupport": "optional"}, {"taskSupport": "forbidden"})


async def test_check_54_a_server_with_state_keeps_principals_apart() -> None:
    def counted(seen: Seen) -> Any:
        [session] = seen.header("mcp-session-id")
        calls = [s for s in seen.server.seen if s.method == "tools/call" and s.header("mcp-session-id") == [session]]
        return text_result(str(len(calls)))

    server = RawServer("legacy", ("counter",), behaviour={"tools/call": counted})
    async with gateway_over({"old": server}, config={"old": {"sharing": "principal"}}) as running:

        async def count(endpoint: str, key: str | None) -> str:
            answer = await running.client(endpoint, key).call("old__counter")
            text: str = answer.result()["content"][0]["text"]
            return text

        assert [await count("keyed", KEY_A) for _ in range(3)] == ["1", "2", "3"]
        assert await count("keyed", KEY_B) == "1"
        assert [await count("open", None) for _ in range(2)] == ["1", "1"]
        assert await count("keyed", KEY_A) == "4"


@pytest.mark.parametrize("code", [-32002, -32602])
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_check_82_a_resource_that_a_server_has_not(era: str, code: int) -> None:
    server = RawServer(era, behaviour={"resources/read": Error(code, "no such", {"uri": "x://own"}, 200)})
    server.behaviour["resources/list"] = server.listed("resources", [{"uri": "x://doc", "name": "doc"}])
    async with gateway_over({"raw": server}) as running:
        for uri in ("x://doc", "x://other", "y://nobody"):
            answer = await running.client().modern("resources/read", {"uri": uri})
            assert answer.code() == -32602
            assert answer.error()["data"]["uri"] == uri
            legacy = await (await running.client().session()).request("resources/read", {"uri": uri})
            assert legacy.code() == -32002
            assert legacy.error()["data"]["uri"] == uri


@pytest.mark.parametrize("kind", KINDS)
async def test_check_82_with_real_servers(lab: Lab, kind: str) -> None:
    uri = f"{kind}://nothing/here/at/all"
    answer = await lab.client().modern("resources/read", {"uri": uri})
    assert answer.code() == -32602
    assert answer.error()["data"]["uri"] == uri
    assert (await (await lab.client().session()).request("resources/read", {"uri": uri})).code() == -32002


MISSING_SAMPLING = Error(-32021, "sampling is needed", {"requiredCapabilities": {"sampling": {}}}, 400)


async def test_check_83_a_missing_capability_is_the_clients_only_if_it_did_not_declare_it() -> None:
    server = RawServer("modern", ("asks",), {"tools/call": MISSING_SAMPLING})
    async with gateway_over({"raw": server}) as running:
        lacking = await running.client().call("raw__asks")
        assert (lacking.status, lacking.code()) == (400, -32021)
        assert lacking.error()["data"]["requiredCapabilities"] == {"sampling": {}}
        declaring = await running.client().call("raw__asks", meta={CAPABILITIES: {"sampling": {}}})
        assert (declaring.status, declaring.code()) == (200, -32603)
        legacy = await (await running.client().session()).call("raw__asks")
        assert legacy.result()["isError"] is True


@pytest.mark.parametrize(
    "result",
    [
        {"resultType": "input_required", "inputRequests": {}, "requestState": "x"},
        {"resultType": "task", "taskId": "1"},
        {"resultType": "odd", "content": []},
        {"resultType": 5, "content": []},
        b"[]",
        b"null",
        b'"text"',
    ],
)
async def test_check_83_results_that_were_not_agreed_on(result: Any) -> None:
    server = RawServer("modern", ("odd",), {"tools/call": result})
    async with gateway_over({"raw": server}) as running:
        for answer in (
            await running.client().call("raw__odd"),
            await (await running.client().session()).call("raw__odd"),
        ):
            assert answer.status == 200
            assert answer.code() == -32603


@pytest.mark.parametrize("name", ["raw", "old"])
@pytest.mark.parametrize("code", [-32000, -32001, -32002, -32019, -32020, -32022, -32042, -32050, -32099])
async def test_check_83_codes_that_must_not_be_passed_on(lab: Lab, name: str, code: int) -> None:
    data = {"supported": [MODERN], "requested": MODERN} if code == -32022 else {"own": 1}
    getattr(lab, name).behaviour["tools/call odd"] = Error(code, "odd thing", data, 400 if name == "raw" else 200)
    for answer in (await lab.client().call(f"{name}__odd"), await (await lab.client().session()).call(f"{name}__odd")):
        message = answer.message()
        if "result" in message:
            assert message["result"]["isError"] is True
        else:
            assert message["error"]["code"] == -32603
            assert message["error"]["data"]["upstream"]["code"] == code
        assert answer.status == 200


@pytest.mark.parametrize("code", [-32603, -32602, 1, 42900, -1])
async def test_codes_that_have_one_meaning_are_passed_on(code: int) -> None:
    server = RawServer("modern", ("odd",), behaviour={"tools/call": Error(code, "told so", {"why": ["ü", 1.0]})})
    async with gateway_over({"raw": server}) as running:
        for answer in (
            await running.client().call("raw__odd"),
            await (await running.client().session()).call("raw__odd"),
        ):
            assert answer.error() == {"code": code, "message": "told so", "data": {"why": ["ü", 1.0]}}


async def test_check_91_credentials_of_the_client_stay_here() -> None:
    new, old = RawServer(), RawServer("legacy")
    own = {"bearerToken": "upstream-token", "headers": {"X-Own": "yes"}}
    async with gateway_over({"new": new, "old": old}, config={"new": own}) as running:
        cookies = [("Cookie", "sid=1"), ("Authorization", f"Bearer {KEY_A}"), ("X-Forwarded-For", "10.0.0.1")]
        client = running.client("keyed")
        for name in ("new__echo", "old__echo"):
            answer = await client.call(name, {"n": 1}, headers=cookies)
            assert answer.status == 200
        by_query = await client.send(
            "POST",
            [*modern_request("tools/call", {"name": "new__echo"})[0], ("X-API-Key", KEY_A)],
            modern_request("tools/call", {"name": "new__echo"})[1],
            f"{client.path}?api_key={KEY_A}",
        )
        assert by_query.status == 200
        for server in (new, old):
            for seen in server.seen:
                everything = b" ".join(name + b": " + value for name, value in seen.headers) + seen.body
                assert KEY_A.encode() not in everything
                assert b"sid=1" not in everything
                names = {name for name, _ in seen.headers}
                assert not names & {b"cookie", b"x-api-key", b"x-forwarded-for"}
        assert new.last("tools/call").header("authorization") == [b"Bearer upstream-token"]
        assert new.last("tools/call").header("x-own") == [b"yes"]
        assert old.last("tools/call").header("authorization") == []


@pytest.mark.parametrize("name", ["raw", "old"])
@pytest.mark.parametrize("status", [401, 403])
async def test_check_92_a_servers_challenge_is_not_passed_on(lab: Lab, name: str, status: int) -> None:
    challenge = (b"www-authenticate", b'Bearer resource_metadata="https://inside.example/prm", error="invalid_token"')
    getattr(lab, name).behaviour["tools/call odd"] = Plain(status, b"go away", headers=(challenge,))
    for caller in (lab.client(), await lab.client().session()):
        answer = await caller.call(f"{name}__odd")
        assert answer.status == 200
        assert answer.header("www-authenticate") is None
        assert b"inside.example" not in answer.body
        assert answer.result()["isError"] is True
        assert f"'{name}'" in answer.result()["content"][0]["text"]


async def test_check_97_metadata_of_the_clients_hop_stays_here(lab: Lab) -> None:
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "com.example/own": {"n": [1]}}
    reserved = {"io.modelcontextprotocol/logLevel": "debug"}
    assert (await lab.client().call("old__echo", {"n": 97}, meta={**trace, **reserved})).status == 200
    arrived = lab.old.last("tools/call").params.get("_meta", {})
    assert not any(key.startswith("io.modelcontextprotocol/") for key in arrived)
    assert arrived["com.example/own"] == {"n": [1]}
    assert arrived["traceparent"].split("-")[1] == "0af7651916cd43dd8448eb211c80319c"
    assert (await lab.client().call("raw__echo", {"n": 97}, meta={**trace, **reserved})).status == 200
    arrived = lab.raw.last("tools/call").params["_meta"]
    assert arrived[VERSION] == MODERN
    assert arrived[CLIENT_INFO]["name"] == "metamcp-asgi"
    assert arrived[CAPABILITIES] == {}
    assert arrived["com.example/own"] == {"n": [1]}


async def test_check_97_a_legacy_client_cannot_put_words_in_our_mouth(lab: Lab) -> None:
    session = await lab.client().session()
    params = {
        "name": "raw__echo",
        "arguments": {},
        "_meta": {VERSION: MODERN, CAPABILITIES: {"sampling": {}}, "own": 1},
    }
    await session.request("tools/call", params)
    arrived = lab.raw.last("tools/call").params["_meta"]
    assert arrived[CAPABILITIES] == {}
    assert arrived[CLIENT_INFO]["name"] == "metamcp-asgi"
    assert arrived["own"] == 1


ARGUMENTS = (
    b'{ "big": 123456789012345678901234567890, "float": 1.0, "exp": 1E400, "neg": -0.0, "null": null,'
    b' "unicode": "\\u00fc \\ud83d\\ude00 \xc3\xbc \xf0\x9f\x98\x80 \\u2028", "esc": "\\/\\b\\n",'
    b' "nested": { "b": [ ], "a": { } }, "again": [1,  2,\t3] }'
)


@pytest.mark.parametrize("name", ["raw", "old"])
async def test_arguments_arrive_byte_by_byte(lab: Lab, name: str) -> None:
    headers, _ = modern_request("tools/call", {"name": f"{name}__echo"})
    fields = json.dumps({VERSION: MODERN, CAPABILITIES: {}}).encode()
    body = b'{"params":{"arguments":%b,"_meta":%b,"name":"%b__echo"},"method":"tools/call","id":1,"jsonrpc":"2.0"}'
    answer = await lab.client().send("POST", headers, body % (ARGUMENTS, fields, name.encode()))
    assert answer.status == 200, answer
    server = lab.raw if name == "raw" else lab.old
    assert b'"arguments":' + ARGUMENTS in server.last("tools/call").body


async def test_arguments_of_a_legacy_client_arrive_byte_by_byte(lab: Lab) -> None:
    session = await lab.client().session()
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"raw__echo","arguments":%b}}' % ARGUMENTS
    assert (await session.client.send("POST", [*BASE, *session.headers], body)).status == 200
    assert b'"arguments":' + ARGUMENTS in lab.raw.last("tools/call").body


RESULT_PARTS = (
    b'"content":[ {"type":"text", "text":"\\u00fc \xc3\xbc \\ud83d\\ude00"} ]',
    b'"structuredContent":{ "big":123456789012345678901234567890, "float":1.0, "exp":1E400, "null":null }',
    b'"isError":false',
    b'"x-unknown":[1.50, {"z":1,"a":2}]',
)


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_results_come_back_byte_by_byte(era: str) -> None:
    head = b'"resultType":"complete",' if era == "modern" else b""
    server = RawServer(era, ("exact",), behaviour={"tools/call": b"{" + head + b",".join(RESULT_PARTS) + b"}"})
    async with gateway_over({"raw": server}) as running:
        for answer in (
            await running.client().call("raw__exact"),
            await (await running.client().session()).call("raw__exact"),
        ):
            for part in RESULT_PARTS:
                assert part in answer.body
        modern = (await running.client().call("raw__exact")).result()
        assert modern["resultType"] == "complete"
        assert modern["_meta"][SERVER_INFO]["name"] == "metamcp-asgi"


async def test_a_pretty_printed_body_is_one_line_for_a_stdio_server(tmp_path: Path) -> None:
    script = Path(__file__).parent / "upstreams" / "raw_stdio.py"
    async with witness_at(tmp_path / "w"):
        base = {"command": sys.executable, "args": [str(script), str(tmp_path / "w")], "era": "modern"}
        async with gateway_over(
            {"new": base, "old": {**base, "args": [*base["args"], "legacy"], "era": "legacy"}}
        ) as g:
            for name in ("new", "old"):
                arguments = {"text": "a\nb\r\nc", "list": [1, {"x": None}]}
                headers, body = modern_request("tools/call", {"name": f"{name}__line", "arguments": arguments})
                pretty = json.dumps(json.loads(body), indent=2).replace("\n", "\r\n").encode()
                answer = await g.client().send("POST", headers, pretty)
                message = json.loads(answer.result()["content"][0]["text"])
                assert message["params"]["arguments"] == arguments
                assert message["params"]["name"] == "line"


async def test_a_modern_server_that_takes_long_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Every start takes longer than a millisecond; the package runner of a real one may take a minute.
    monkeypatch.setattr(stdio, "PROBE_ALONE", 0.001)
    script = Path(__file__).parent / "upstreams" / "raw_stdio.py"
    async with witness_at(tmp_path / "w"):
        server = {"command": sys.executable, "args": [str(script), str(tmp_path / "w")]}
        servers = {"told": {**server, "era": "modern"}, "asked": server}
        async with gateway_over(servers) as running:
            tools = (await running.client().modern("tools/list")).result()["tools"]
            assert [tool["name"] for tool in tools] == ["told__line", "asked__line"]


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_stdio_server_that_dies_is_started_again(tmp_path: Path, era: str) -> None:
    script = Path(__file__).parent / "upstreams" / "raw_stdio.py"
    async with witness_at(tmp_path / "w"):
        server = {"command": sys.executable, "args": [str(script), str(tmp_path / "w"), era], "era": era}
        async with gateway_over({"raw": server}) as running:
            answer = await asyncio.wait_for(running.client().call("raw__line", {"die": True}), 30)
            assert answer.result()["isError"] is True
            assert "raw" in answer.result()["content"][0]["text"]
            answer = await asyncio.wait_for(running.client().call("raw__line", {"n": 2}), 30)
            assert json.loads(answer.result()["content"][0]["text"])["params"]["arguments"] == {"n": 2}
            tools = (await running.client().modern("tools/list")).result()["tools"]
            assert [tool["name"] for tool in tools] == ["raw__line"]


async def test_a_server_that_forgot_our_session_gets_a_new_one() -> None:
    def forgetful(seen: Seen) -> Any:
        return Plain(404) if seen.header("mcp-session-id") == [b"raw-1"] else text_result("remembered")

    server = RawServer("legacy", ("echo",), {"tools/call echo": forgetful})
    async with gateway_over({"old": server}) as running:
        for answer in (
            await running.client().call("old__echo"),
            await (await running.client().session()).call("old__echo"),
        ):
            assert answer.status == 200
            assert answer.result()["content"][0]["text"] == "remembered"
        assert server.sessions == 2


async def test_check_70_a_legacy_server_asks_in_the_middle_of_a_call() -> None:
    async def asking(seen: Seen) -> Any:
        for number, method in enumerate(("ping", "sampling/createMessage", "roots/list", "elicitation/create")):
            yield {"jsonrpc": "2.0", "id": f"srv{number}", "method": method, "params": {}}
            async with asyncio.timeout(30):
                while (told := await seen.server.arrived.get()).message.get("id") != f"srv{number}":
                    pass
            assert ("result" in told.message) == (method == "ping"), told
        yield {"jsonrpc": "2.0", "id": seen.message["id"], "result": text_result("asked")}

    server = RawServer("legacy", ("asks",), {"tools/call": lambda seen: Stream(asking(seen))})
    async with gateway_over({"old": server}) as running:
        for answer in (
            await running.client().call("old__asks"),
            await (await running.client().session()).call("old__asks"),
        ):
            assert [message.get("method") for message in answer.messages()] == [None]
            assert answer.result()["content"][0]["text"] == "asked"


@pytest.mark.parametrize("kind", [*KINDS, "raw", "old"])
async def test_a_megabyte_of_arguments(lab: Lab, kind: str) -> None:
    text = "ü" * 200_000 + "x" * 600_000
    answer = await lab.client().call(f"{kind}__echo", {"text": text})
    content = answer.result()["content"][0]["text"]
    assert (json.loads(content)["text"] if kind in ("raw", "old") else content) == text


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_results_of_five_megabytes(era: str) -> None:
    text = "0123456789" * 500_000
    server = RawServer(
        era, ("large",), behaviour={"tools/call": text_result(text, **(COMPLETE if era == "modern" else {}))}
    )
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session()
        for answer in (await running.client().call("raw__large"), await session.call("raw__large")):
            assert answer.result()["content"][0]["text"] == text


async def test_a_slow_server_gets_its_timeout() -> None:
    async def never(_: Seen) -> Any:
        await asyncio.sleep(60)

    server = RawServer("modern", ("never", "echo"), behaviour={"tools/call never": never})
    async with gateway_over({"raw": server}, config={"raw": {"timeout": 0.9}}) as running:
        began = time.monotonic()
        answer = await running.client().call("raw__never")
        assert time.monotonic() - began < 30
        assert answer.result()["isError"] is True
        assert "0.9 seconds" in answer.result()["content"][0]["text"]
        assert (await asyncio.wait_for(server.disconnected.get(), 30)).method == "tools/call"
        assert (await running.client().call("raw__echo", {"n": 1})).result()["content"]


async def test_overrides() -> None:
    tool = tool_named("tool", annotations={"readOnlyHint": True, "title": "Own"})
    override = {"name": "renamed", "title": "New", "description": "Better", "annotations": {"destructiveHint": False}}
    server = RawServer("modern", (tool,), behaviour={"tools/call tool": text_result("called", **COMPLETE)})
    async with gateway_over({"raw": server}, namespace={"tools": {"raw__tool": override}}) as running:
        client = running.client()
        [listed] = (await client.modern("tools/list")).result()["tools"]
        assert (listed["name"], listed["title"], listed["description"]) == ("raw__renamed", "New", "Better")
        assert listed["annotations"] == {"readOnlyHint": True, "title": "Own", "destructiveHint": False}
        for name in ("raw__renamed", "raw__tool"):
            assert (await client.call(name)).result()["content"][0]["text"] == "called"
        assert dict(server.last("tools/call").headers)[b"mcp-name"] == b"tool"


async def test_the_same_resource_on_two_servers() -> None:
    def read(seen: Seen) -> Any:
        contents = [{"uri": seen.params["uri"], "text": seen.header("host")[0].decode()}]
        return {**COMPLETE, "contents": contents, "ttlMs": 0, "cacheScope": "private"}

    servers = {name: RawServer(behaviour={"resources/read": read}) for name in ("one", "two")}
    for server in servers.values():
        server.behaviour["resources/list"] = server.listed("resources", [{"uri": "x://doc", "name": "doc"}])
    async with gateway_over(servers) as running:
        client = running.client()
        uris = [r["uri"] for r in (await client.modern("resources/list")).result()["resources"]]
        assert len(set(uris)) == 2
        hosts = set()
        for uri in uris:
            [contents] = (await client.modern("resources/read", {"uri": uri})).result()["contents"]
            assert contents["uri"] == uri
            hosts.add(contents["text"])
        assert len(hosts) == 2
        assert [server.count("resources/read") for server in servers.values()] == [1, 1]
