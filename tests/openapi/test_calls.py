"""Calls over REST: arguments in, the server's result out, and a status for whatever goes wrong."""

import asyncio
import json
import re

import httpx2
import pytest

from metamcp_asgi.config.file import compile_document
from tests.gateway.running import KEY_A, document_of, gateway_over, served
from tests.gateway.upstreams.raw import Error, Plain, RawServer, tool_named
from tests.openapi.bridge import BEARER, Bridge, bridge_over

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def refusal(answer: httpx2.Response) -> tuple[int, str, str]:
    """Returns status, error and message of an answer in MetaMCP's shape."""
    body = answer.json()
    assert STAMP.fullmatch(body.pop("timestamp"))
    assert set(body) == {"error", "message"}
    return answer.status_code, body["error"], body["message"]


def unprocessable(answer: httpx2.Response) -> str:
    """Returns the message of an answer in FastAPI's shape."""
    assert answer.status_code == 422, answer.text
    ((detail),) = answer.json()["detail"]
    assert set(detail) == {"loc", "msg", "type"}
    return str(detail["msg"])


async def test_a_post_gives_the_result_of_the_server(bridge: Bridge) -> None:
    answer = await bridge.post("t__add", {"a": 2, "b": 3})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["structuredContent"] == {"total": 5}
    assert json.loads(answer.json()["content"][0]["text"]) == {"total": 5}
    # What only the modern revisions of MCP have is not for REST.
    assert "resultType" not in answer.json()


async def test_arguments_arrive_byte_for_byte() -> None:
    async with bridge_over() as bridge:
        body = b'{"big": 123456789012345678901234567890, "f": 1.10, "u": "\\u00e9\xc3\xa9"}'
        headers = {"Content-Type": "application/json; charset=utf-8"}
        await bridge.http.post("/metamcp/open/api/raw__echo", content=body, headers=headers)
        assert body in bridge.raw.last("tools/call").body


async def test_a_body_may_be_left_out(bridge: Bridge) -> None:
    answer = await bridge.http.post("/metamcp/open/api/t__ping")
    assert answer.json()["content"][0]["text"] == "pong"


async def test_a_doubled_slash_is_forgiven(bridge: Bridge) -> None:
    assert (await bridge.http.post("/metamcp/open/api//t__ping", json={})).status_code == 200
    assert (await bridge.http.get("/metamcp/open/api//openapi.json")).json()["openapi"] == "3.1.0"


async def test_a_name_in_any_script(bridge: Bridge) -> None:
    answer = await bridge.post("t__天気", {"city": "東京"})
    assert answer.json()["content"][0]["text"] == "東京: 晴れ"


@pytest.mark.parametrize(
    ("query", "painted"),
    [
        ("?colour=red", "<Colour.RED: 'red'> False None"),
        ("?colour=blue&wet=true&scale=1.5", "<Colour.BLUE: 'blue'> True 1.5"),
        ("?colour=%72ed&scale=null", "<Colour.RED: 'red'> False None"),
    ],
)
async def test_a_query_holds_arguments_in_the_types_of_the_schema(bridge: Bridge, query: str, painted: str) -> None:
    answer = await bridge.get("t__paint", query)
    assert answer.json()["content"][0]["text"] == painted


async def test_a_query_of_a_tool_without_arguments(bridge: Bridge) -> None:
    assert (await bridge.get("t__ping")).json()["content"][0]["text"] == "pong"
    assert unprocessable(await bridge.get("t__ping", "?x=1")) == "x is no parameter of this tool; it takes none"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?a=two", "a must be of type integer"),
        ("?a=1&a=2", "a may be given once only"),
        ("?a=1&c=2", "c is no parameter of this tool; it takes a, b"),
        ("?a=%ff", "must be UTF-8"),
        ("?a=1.5", "a must be of type integer"),
    ],
)
async def test_a_wrong_query_is_told_what_is_wrong(bridge: Bridge, query: str, said: str) -> None:
    assert said in unprocessable(await bridge.get("t__add", query))


async def test_a_query_cannot_hold_an_object(bridge: Bridge) -> None:
    answer = await bridge.get("t__grow", "?tree=x")
    assert refusal(answer)[:2] == (405, "Method not allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"])
async def test_other_methods(bridge: Bridge, method: str) -> None:
    answer = await bridge.http.request(method, "/metamcp/open/api/t__ping")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")


async def test_a_failing_tool_is_no_failing_request(bridge: Bridge) -> None:
    answer = await bridge.post("t__fail")
    assert answer.status_code == 200
    assert answer.json()["isError"] is True
    assert "it failed" in answer.json()["content"][0]["text"]


async def test_arguments_that_the_tool_does_not_take_are_for_the_model_to_read(bridge: Bridge) -> None:
    answer = await bridge.post("t__add", {"a": "two"})
    assert (answer.status_code, answer.json()["isError"]) == (200, True)


@pytest.mark.parametrize("query", ["", "?x=1"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_such_tool(bridge: Bridge, method: str, query: str) -> None:
    answer = await bridge.http.request(method, f"/metamcp/open/api/t__nobody{query}")
    assert refusal(answer) == (404, "Tool not found", "Unknown tool: t__nobody")


async def test_no_such_endpoint(bridge: Bridge) -> None:
    answer = await bridge.http.post("/metamcp/nobody/api/t__ping", json={})
    assert refusal(answer)[:2] == (404, "Endpoint not found")


async def test_a_tool_that_is_switched_off() -> None:
    async with bridge_over(namespace={"tools": {"t__ping": {"enabled": False}}}) as bridge:
        for answer in (await bridge.post("t__ping"), await bridge.get("t__ping", "?x=1")):
            assert refusal(answer)[:2] == (403, "Tool access denied")
            assert "marked as inactive" in answer.json()["message"]
        assert "/t__ping" not in (await bridge.document())["paths"]


async def test_an_old_name_of_a_tool_still_works() -> None:
    async with bridge_over(namespace={"tools": {"t__ping": {"name": "pong"}}}) as bridge:
        assert "/t__pong" in (await bridge.document())["paths"]
        assert (await bridge.get("t__pong")).status_code == 200
        assert (await bridge.post("t__ping")).status_code == 200


@pytest.mark.parametrize(
    "body", [b"[1]", b'"x"', b"nul", b'{"a": NaN}', b'{"a": 1, "a": 2}', b'{"a": "\xff"}', b"{" * 5000, b'{"a":1}x']
)
async def test_a_body_that_is_no_json_object(bridge: Bridge, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await bridge.http.post("/metamcp/open/api/t__add", content=body, headers=headers)
    assert unprocessable(answer)


async def test_a_body_is_bounded() -> None:
    async with bridge_over(max_body_bytes=2000, max_json_depth=10) as bridge:
        assert refusal(await bridge.post("t__add", {"a": "x" * 3000}))[:2] == (413, "Body too large")
        deep = b'{"a":' + b"[" * 10 + b"]" * 10 + b"}"
        headers = {"Content-Type": "application/json"}
        answer = await bridge.http.post("/metamcp/open/api/t__add", content=deep, headers=headers)
        assert "deeper than 10" in unprocessable(answer)


async def test_a_body_of_another_type(bridge: Bridge) -> None:
    answer = await bridge.http.post(
        "/metamcp/open/api/t__add", content=b'{"a": 1}', headers={"Content-Type": "text/plain"}
    )
    assert refusal(answer)[:2] == (415, "Unsupported media type")


async def test_headers_are_bounded() -> None:
    async with bridge_over(max_header_bytes=1024) as bridge:
        answer = await bridge.post("t__ping", headers={"X-Long": "x" * 2000})
        assert refusal(answer)[0] == 431


async def test_a_server_that_is_down() -> None:
    dead = {"url": "http://127.0.0.1:9/mcp"}
    async with (
        gateway_over({"dead": dead}, server_deadline=0.5) as running,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{running.port}") as http,
    ):
        status, error, message = refusal(await http.post("/metamcp/open/api/dead__tool", json={}))
        assert (status, error) == (502, "Tool execution failed")
        assert "dead" in message


@pytest.mark.parametrize(
    "broken", [Plain(500, b"oops"), Plain(200, b"not json", b"application/json"), Error(-32603), Error(-32000)]
)
async def test_a_server_that_fails(broken: Plain | Error) -> None:
    async with bridge_over(RawServer(behaviour={"tools/call echo": broken})) as bridge:
        assert refusal(await bridge.post("raw__echo"))[:2] == (502, "Tool execution failed")


async def test_a_server_that_is_too_slow() -> None:
    async def never(seen: object) -> None:
        await asyncio.Event().wait()

    raw = RawServer(behaviour={"tools/call echo": never})
    async with bridge_over(raw, config={"raw": {"timeout": 1}}) as bridge:
        status, error, message = refusal(await bridge.post("raw__echo"))
        assert (status, error) == (504, "Tool execution timed out"), message


async def test_a_server_that_refuses_the_arguments() -> None:
    async with bridge_over(RawServer(behaviour={"tools/call echo": Error(-32602, "a is wrong")})) as bridge:
        assert unprocessable(await bridge.post("raw__echo")) == "a is wrong"


async def test_a_server_that_needs_more_than_rest_has() -> None:
    missing = Error(-32021, "needs elicitation", {"requiredCapabilities": {"elicitation": {}}}, 400)
    async with bridge_over(RawServer(behaviour={"tools/call echo": missing})) as bridge:
        assert "needs elicitation" in unprocessable(await bridge.post("raw__echo"))


async def test_a_client_that_leaves_cancels_its_call(bridge: Bridge, caplog: pytest.LogCaptureFixture) -> None:
    call = asyncio.create_task(bridge.post("t__hold"))
    async with asyncio.timeout(30):
        await bridge.tools.started.wait()
        call.cancel()
        await bridge.tools.cancelled.wait()
    await asyncio.gather(call, return_exceptions=True)
    await bridge.post("t__ping")
    assert bridge.running.gateway.app.stats.in_flight == 0
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_keys(bridge: Bridge) -> None:
    url = "/metamcp/keyed/api/t__ping"
    assert (await bridge.http.post(url, json={})).json()["error"] == "authentication_required"
    wrong = await bridge.http.post(url, json={}, headers={"X-API-Key": "wrong"})
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_api_key")
    for headers in (BEARER, {"X-API-Key": KEY_A}):
        assert (await bridge.http.post(url, json={}, headers=headers)).status_code == 200
    # A key in the query is none of the tool's arguments.
    assert (await bridge.http.get(f"/metamcp/query/api/t__ping?api_key={KEY_A}")).status_code == 200


async def test_limits_count_rest_and_mcp_together() -> None:
    client = {"clientRateLimit": {"maxRate": 2, "maxRateSeconds": 60, "strategy": "ip"}}
    async with bridge_over(endpoints={"few": {"apiKeyAuth": False, **client}}) as bridge:
        url = "/metamcp/few/api/t__ping"
        assert [(await bridge.http.post(url, json={})).status_code for _ in range(3)] == [200, 200, 429]
        assert (await bridge.http.post("/metamcp/few/mcp", json={})).status_code == 429
        # The page is no call.
        assert (await bridge.http.get("/metamcp/few/api")).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_page_of_another_site_calls_no_tool_by_an_image(bridge: Bridge, site: str) -> None:
    answer = await bridge.get("t__ping", headers={"Sec-Fetch-Site": site})
    assert refusal(answer)[:2] == (403, "Origin not allowed")
    answer = await bridge.post("t__ping", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    for allowed in ({"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        assert (await bridge.get("t__ping", headers=allowed)).status_code == 200
    page = {"Sec-Fetch-Site": site, "Origin": "http://localhost:3000"}
    assert (await bridge.get("t__ping", headers=page)).status_code == 200


async def test_a_tool_named_like_the_document_can_be_called() -> None:
    raw = RawServer(tools=(tool_named("openapi.json"),), behaviour={"tools/call openapi.json": {"content": []}})
    async with bridge_over(raw, namespace={"prefix": "never"}) as bridge:
        assert list((await bridge.document())["paths"]["/openapi.json"]) == ["post"]
        assert (await bridge.post("openapi.json")).json() == {"content": []}


async def test_callers_of_rest_get_a_changed_server_too() -> None:
    # MetaMCP keeps them on the old process (its defect B32).
    old, new = RawServer(), RawServer(behaviour={"tools/call echo": {"content": [], "new": True}})
    async with served(new) as port, bridge_over(old) as bridge:
        assert "new" not in (await bridge.post("raw__echo")).json()
        gateway = bridge.running.gateway
        document = document_of({"raw": {"url": f"http://127.0.0.1:{port}/mcp"}})
        gateway.apply(compile_document(document, environ={}))
        assert (await bridge.post("raw__echo")).json() == {"content": [], "new": True}


async def test_rest_and_mcp_share_a_session_of_the_server() -> None:
    async with bridge_over(RawServer("legacy")) as bridge:
        await bridge.running.client().call("raw__echo")
        await bridge.post("raw__echo")
        assert (bridge.raw.sessions, bridge.raw.count("tools/call")) == (1, 2)
