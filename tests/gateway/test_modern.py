"""A modern client on the wire: acceptance checks 1 to 21 and what belongs to them (numbers as in the requirements)."""

import asyncio
import base64
import json
from typing import Any

import pytest

from metamcp_asgi.protocol.revisions import ALL
from tests.gateway.client import CAPABILITIES, CLIENT_INFO, MODERN, SERVER_INFO, VERSION, Answer, modern_request, wire
from tests.gateway.running import gateway_over
from tests.gateway.upstreams.raw import Plain, RawServer, Stream
from tests.lab.running import KINDS, Lab

pytestmark = pytest.mark.asyncio(loop_scope="session")


def refused(answer: Answer, status: int, code: int, request_id: Any = 1) -> dict[str, Any]:
    """Checks the status and JSON-RPC error of a refusal, and returns the error."""
    assert (answer.status, answer.code()) == (status, code), answer
    assert answer.message()["id"] == request_id
    assert type(answer.message()["id"]) is type(request_id)
    assert answer.error()["message"]
    return answer.error()


async def test_check_01_discover(lab: Lab) -> None:
    answer = await lab.client().modern("server/discover", id="d1")
    assert answer.status == 200
    assert answer.message()["id"] == "d1"
    result = answer.result()
    assert MODERN in result["supportedVersions"]
    assert result["resultType"] == "complete"
    assert isinstance(result["ttlMs"], int)
    assert result["ttlMs"] >= 0
    assert result["cacheScope"] in ("public", "private")
    assert result["_meta"][SERVER_INFO]["name"]
    assert "serverInfo" not in result
    assert {"tools", "prompts", "resources"} <= result["capabilities"].keys()
    assert answer.header("mcp-session-id") is None


async def test_check_01_capabilities_are_served_and_no_others(lab: Lab) -> None:
    client = lab.client()
    capabilities = (await client.modern("server/discover")).result()["capabilities"]
    methods = {"completions": "completion/complete", "logging": "logging/setLevel"}
    for capability, method in methods.items():
        if capability not in capabilities:
            refused(await client.modern(method), 404, -32601)
    for method in ("tools/list", "prompts/list", "resources/list", "resources/templates/list"):
        assert (await client.modern(method)).status == 200


async def test_check_02_client_info_is_optional(lab: Lab) -> None:
    for method in ("server/discover", "tools/list"):
        assert (await lab.client().modern(method, without=[CLIENT_INFO])).status == 200
    assert (await lab.client().call("um__echo", {"text": "x"}, without=[CLIENT_INFO])).status == 200


@pytest.mark.parametrize("body", [{"params": {}}, {"params": {"_meta": {}}}, {}])
async def test_check_03_no_metadata_in_the_body(lab: Lab, body: dict[str, Any]) -> None:
    headers, _ = modern_request("tools/list")
    data = json.dumps({"jsonrpc": "2.0", "id": 3, "method": "tools/list", **body}).encode()
    refused(await lab.client().send("POST", headers, data), 400, -32602, 3)


async def test_check_04_no_client_capabilities(lab: Lab) -> None:
    error = refused(await lab.client().modern("tools/list", without=[CAPABILITIES]), 400, -32602)
    assert CAPABILITIES in error["message"]


async def test_check_05_header_and_body_disagree_about_the_version(lab: Lab) -> None:
    answer = await lab.client().modern("tools/list", meta={VERSION: "v999"})
    refused(answer, 400, -32020)


async def test_check_05_a_legacy_header_on_a_modern_body(lab: Lab) -> None:
    answer = await lab.client().modern("tools/list", headers=[("MCP-Protocol-Version", "2025-11-25")])
    refused(answer, 400, -32020)


async def test_check_06_an_unknown_version(lab: Lab) -> None:
    error = refused(await lab.client().modern("tools/list", version="v999"), 400, -32022)
    assert error["data"]["requested"] == "v999"
    supported = (await lab.client().modern("server/discover")).result()["supportedVersions"]
    assert error["data"]["supported"]
    assert set(error["data"]["supported"]) <= set(supported)


@pytest.mark.parametrize("version", [v for v in ALL if v != MODERN])
async def test_check_06_a_legacy_version_in_a_modern_request(lab: Lab, version: str) -> None:
    error = refused(await lab.client().modern("tools/list", version=version), 400, -32022)
    assert error["data"] == {"requested": version, "supported": [MODERN]}


async def test_check_07_modern_body_without_version_header(lab: Lab) -> None:
    before = lab.raw.count("tools/call")
    for name in ("raw__echo", "old__echo"):
        answer = await lab.client().call(name, {"n": 7}, without=["mcp-protocol-version"])
        refused(answer, 400, -32020)
    assert lab.raw.count("tools/call") == before


async def test_check_08_mcp_method(lab: Lab) -> None:
    client = lab.client()
    refused(await client.modern("tools/list", without=["mcp-method"]), 400, -32020)
    assert (await client.modern("tools/list", headers=[("mcp-method", "tools/list")])).status == 200
    refused(await client.modern("tools/list", headers=[("Mcp-Method", "TOOLS/LIST")]), 400, -32020)
    refused(await client.modern("tools/list", headers=[("Mcp-Method", "prompts/list")]), 400, -32020)
    refused(await client.modern("tools/list", headers=[("Mcp-Method", "")]), 400, -32020)


def encoded(name: str) -> str:
    return f"=?base64?{base64.b64encode(name.encode()).decode()}?="


@pytest.mark.parametrize(
    "value",
    ["raw__echo", "  raw__echo  ", "\traw__echo\t", encoded("raw__echo"), f" {encoded('raw__echo')} "],
)
async def test_check_09_mcp_name_that_says_the_same(lab: Lab, value: str) -> None:
    answer = await lab.client().call("raw__echo", {"n": 9}, headers=[("Mcp-Name", value)])
    assert answer.status == 200
    assert json.loads(answer.result()["content"][0]["text"]) == {"n": 9}


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "raw__other",
        "RAW__ECHO",
        "=?BASE64?cmF3X19lY2hv?=",
        "=?base64?cmF3X19lY2hv",
        "=?base64?cmF3X19lY2h?=",
        "=?base64?cmF3X19lY2h!?=",
        encoded("raw__other"),
        b"raw__echo\xff",
    ],
)
async def test_check_09_mcp_name_that_does_not(lab: Lab, value: str | bytes | None) -> None:
    how: dict[str, Any] = {"without": ["mcp-name"]} if value is None else {"headers": [("Mcp-Name", value)]}
    refused(await lab.client().call("raw__echo", {"n": 9}, **how), 400, -32020)


async def test_check_09_names_of_prompts_and_resources(lab: Lab) -> None:
    client = lab.client()
    read = {"uri": "um://doc"}
    refused(await client.modern("resources/read", read, without=["mcp-name"]), 400, -32020)
    refused(await client.modern("resources/read", read, headers=[("Mcp-Name", "um://other")]), 400, -32020)
    assert (await client.modern("resources/read", read)).status == 200
    got = {"name": "um__greet", "arguments": {"who": "Ada"}}
    refused(await client.modern("prompts/get", got, without=["mcp-name"]), 400, -32020)
    assert (await client.modern("prompts/get", got)).status == 200


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Mcp-Name", ["raw__echo", "raw__other"]),
        ("Mcp-Name", ["raw__other", "raw__echo"]),
        ("Mcp-Name", ["raw__echo", "raw__echo"]),
        ("Mcp-Method", ["tools/call", "tools/list"]),
        ("MCP-Protocol-Version", [MODERN, "2025-11-25"]),
        ("MCP-Protocol-Version", ["2025-11-25", MODERN]),
    ],
)
async def test_check_10_a_routing_header_sent_twice(lab: Lab, name: str, values: list[str]) -> None:
    answer = await lab.client().call("raw__echo", {}, headers=[(name, value) for value in values])
    refused(answer, 400, -32020)


@pytest.mark.parametrize(
    "method",
    [
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "initialize",
        "tasks/result",
        "tasks/list",
        "foo/bar",
    ],
)
async def test_check_11_methods_that_modern_revisions_do_not_have(lab: Lab, method: str) -> None:
    refused(await lab.client().modern(method, id="eleven"), 404, -32601, "eleven")


@pytest.mark.parametrize("without", [[], ["mcp-method"]])
async def test_check_12_a_notification(lab: Lab, without: list[str]) -> None:
    headers, body = modern_request("notifications/cancelled", {"requestId": 4}, without=without)
    message = json.loads(body)
    del message["id"]
    answer = await lab.client().send("POST", headers, json.dumps(message).encode())
    assert (answer.status, answer.body) == (202, b"")


@pytest.mark.parametrize(
    "message",
    [
        [],
        [{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}],
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "x"}},
        "text",
        7,
        None,
        {"id": 1, "method": "tools/list"},
        {"jsonrpc": "1.0", "id": 1, "method": "tools/list"},
        {"jsonrpc": "2.0", "id": 1, "method": 5},
        {"jsonrpc": "2.0", "id": {}, "method": "tools/list"},
        {"jsonrpc": "2.0", "id": None, "method": "tools/list"},
    ],
)
async def test_check_13_what_is_not_a_single_request(lab: Lab, message: Any) -> None:
    headers, _ = modern_request("tools/list")
    answer = await lab.client().send("POST", headers, json.dumps(message).encode())
    assert (answer.status, answer.code()) == (400, -32600), answer


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH", "HEAD"])
async def test_check_14_methods_of_http(lab: Lab, method: str) -> None:
    answer = await lab.client().send(method, [("MCP-Protocol-Version", MODERN), ("Accept", "text/event-stream")])
    assert answer.status == 405
    assert "POST" in (answer.header("allow") or "")
    assert answer.header("mcp-session-id") is None


async def test_check_15_headers_of_earlier_revisions_are_ignored(lab: Lab) -> None:
    headers = [("Mcp-Session-Id", "junk"), ("Last-Event-ID", "7")]
    for answer in (
        await lab.client().modern("tools/list", headers=headers),
        await lab.client().call("old__echo", {"n": 15}, headers=headers),
    ):
        assert answer.status == 200
        assert "result" in answer.message()
        assert answer.header("mcp-session-id") is None


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1.evil.example"])
async def test_check_16_foreign_origins(lab: Lab, method: str, origin: str) -> None:
    headers, body = modern_request("tools/list")
    if method != "POST":
        headers, body = [("Accept", "text/event-stream"), ("Mcp-Session-Id", "junk")], b""
    answer = await lab.client().send(method, [*headers, ("Origin", origin)], body)
    assert answer.status == 403
    initialized = await lab.client().initialize(headers=[("Origin", origin)])
    assert initialized.status == 403
    assert initialized.header("mcp-session-id") is None


async def test_check_16_foreign_hosts(lab: Lab) -> None:
    answer = await lab.client().modern("tools/list", headers=[("Host", "rebound.example")])
    assert answer.status == 403
    own = [("Origin", f"http://127.0.0.1:{lab.port}")]
    assert (await lab.client().modern("tools/list", headers=own)).status == 200
    assert (await lab.client().modern("tools/list", headers=[("Host", f"localhost:{lab.port}")])).status == 200


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "text/html", None])
async def test_check_17_accept_that_lacks_one_form(lab: Lab, accept: str | None) -> None:
    how: dict[str, Any] = {"headers": [("Accept", accept)]} if accept else {"without": ["accept"]}
    assert (await lab.client().modern("tools/list", **how)).status == 406


@pytest.mark.parametrize(
    "accept",
    ["*/*", "text/event-stream;q=0.9, application/json;q=0.1", "APPLICATION/JSON, Text/Event-Stream", "text/html,*/*"],
)
async def test_check_17_accept_that_has_both(lab: Lab, accept: str) -> None:
    assert (await lab.client().modern("tools/list", headers=[("Accept", accept)])).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list"',
        b"\xff\xfe",
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"x":NaN}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"x":Infinity}}',
        b'{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}{}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/\xff"}',
    ],
)
async def test_check_19_malformed_json(lab: Lab, body: bytes) -> None:
    headers, _ = modern_request("tools/list")
    answer = await lab.client().send("POST", headers, body)
    assert (answer.status, answer.code()) == (400, -32700), answer
    assert answer.message()["id"] is None


@pytest.mark.parametrize("attempt", range(3))
@pytest.mark.parametrize("chunked", [False, True])
async def test_check_19_a_body_over_the_limit(lab: Lab, chunked: bool, attempt: int) -> None:
    # Several times, because an answer that is followed by a reset gets lost only sometimes.
    headers, _ = modern_request("tools/list")
    body = b'{"x":"' + b"x" * (4 * 1024 * 1024) + b'"}'
    if chunked:
        headers = [*headers, ("Transfer-Encoding", "chunked")]
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    answer = await lab.client().send("POST", headers, body)
    assert answer.status == 413
    assert answer.code() == -32600


async def test_check_19_a_declared_length_over_the_limit_is_refused_unread(lab: Lab) -> None:
    headers, _ = modern_request("tools/list")
    answer = await lab.client().send("POST", [*headers, ("Content-Length", "999999999999")], b"{")
    assert answer.status == 413


async def test_check_19_headers_over_the_limit(lab: Lab) -> None:
    many = [(f"Mcp-Param-{number}", "x" * 1000) for number in range(60)]
    answer = await lab.client().modern("tools/list", headers=many)
    assert answer.status in (400, 431)


async def test_check_19_json_that_is_nested_too_deeply(lab: Lab) -> None:
    client = lab.client()
    for depth in (100, 100_000):
        body = (
            b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
        )
        answer = await client.send("POST", modern_request("tools/call", {"name": "x"})[0], body)
        assert answer.status == 400
        assert answer.code() in (-32600, -32700)


async def test_check_20_every_refusal_has_a_json_rpc_error(lab: Lab) -> None:
    client = lab.client()
    refusals = [
        await client.send("POST", modern_request("tools/list")[0], b"{"),
        await client.modern("tools/list", without=[VERSION]),
        await client.modern("tools/list", without=["mcp-method"]),
        await client.modern("nothing/here"),
        await client.modern("tools/list", version="v999"),
        await client.modern("tools/list", headers=[("Content-Type", "text/plain")]),
    ]
    for answer in refusals:
        assert 400 <= answer.status < 500, answer
        assert answer.header("content-type") == "application/json"
        assert answer.error()["message"]


@pytest.mark.parametrize("name", ["raw", "old"])
@pytest.mark.parametrize("status", [400, 404, 405, 500, 502, 503])
async def test_check_21_a_failing_server_does_not_look_like_another_era(lab: Lab, name: str, status: int) -> None:
    getattr(lab, name).behaviour["tools/call odd"] = Plain(status, b"")
    for answer in (await lab.client().call(f"{name}__odd"), await (await lab.client().session()).call(f"{name}__odd")):
        assert answer.status == 200
        assert answer.result()["isError"] is True
        assert name in answer.result()["content"][0]["text"]
    assert "isError" not in (await lab.client().call(f"{name}__echo")).result()


async def test_check_51_an_unknown_tool_in_both_eras(lab: Lab) -> None:
    answer = await lab.client().call("um__nothing")
    assert answer.code() == -32602
    assert "um__nothing" in answer.error()["message"]
    assert (await (await lab.client().session()).call("um__nothing")).code() == -32602
    assert (await lab.client().call("nobody__echo")).code() == -32602
    assert (await lab.client().modern("prompts/get", {"name": "um__nothing"})).code() == -32602


@pytest.mark.parametrize("kind", KINDS)
async def test_check_51_bad_arguments_are_a_result_that_the_model_reads(lab: Lab, kind: str) -> None:
    answer = await lab.client().call(f"{kind}__slow", {"tag": "x", "steps": "many"})
    assert answer.result()["isError"] is True
    assert answer.result()["resultType"] == "complete"


@pytest.mark.parametrize("kind", KINDS)
async def test_check_70_streams_carry_no_requests(lab: Lab, kind: str) -> None:
    answer = await lab.client().call(f"{kind}__slow", {"tag": "x70", "steps": 3}, meta={"progressToken": "p"})
    assert answer.is_stream
    *before, last = answer.messages()
    assert before
    assert all("id" not in message and message["method"] == "notifications/progress" for message in before)
    assert last["id"] == 1
    assert "result" in last


@pytest.mark.parametrize("kind", KINDS)
async def test_ids_come_back_in_their_own_type(lab: Lab, kind: str) -> None:
    ids: list[Any] = [0, -3, 7, "7", "", 'ü\u2028"', 2**53 - 1, 2**63 - 1, 2**64, -(2**63) - 1]
    answers = await asyncio.gather(*(lab.client().call(f"{kind}__echo", {"text": "x"}, id=i) for i in ids))
    got = [answer.message()["id"] for answer in answers]
    assert [(type(i), i) for i in got] == [(type(i), i) for i in ids]


@pytest.mark.parametrize("kind", [*KINDS, "raw", "old"])
async def test_requests_at_once_with_the_same_id(lab: Lab, kind: str) -> None:
    answers = await asyncio.gather(
        *(lab.client().call(f"{kind}__echo", {"text": f"number {n}"}, id=1) for n in range(20))
    )
    for number, answer in enumerate(answers):
        assert f"number {number}" in answer.result()["content"][0]["text"]


async def test_a_client_that_asks_for_a_connection_to_stay_gets_it(lab: Lab) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.port)
    request = wire(lab.port, "POST", lab.client().path, *modern_request("server/discover"))
    for _ in range(3):
        writer.write(request)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert head.startswith(b"HTTP/1.1 200")
        [length] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(int(length.split(b":")[1]))
    writer.close()


async def test_a_server_that_dies_in_the_middle_of_its_stream() -> None:
    async def half() -> Any:
        yield {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}}

    server = RawServer("modern", ("half",), behaviour={"tools/call half": lambda _: Stream(half(), broken=True)})
    async with gateway_over({"raw": server}) as running:
        answer = await asyncio.wait_for(running.client().call("raw__half"), 30)
        assert answer.status == 200
        assert answer.result()["isError"] is True
        assert server.count("tools/call") == 1


async def test_a_pretty_printed_body_reaches_a_server(lab: Lab) -> None:
    for kind in ("us", "ud", "um"):
        headers, body = modern_request("tools/call", {"name": f"{kind}__echo", "arguments": {"text": "a\nb"}})
        pretty = json.dumps(json.loads(body), indent=4).replace("\n", "\r\n").encode()
        answer = await lab.client().send("POST", headers, pretty)
        assert answer.result()["content"][0]["text"] == "a\nb"
