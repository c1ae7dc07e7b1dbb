"""The HTTP surface of the whole stack: CORS, keys, limits, statuses, and odd but legal HTTP."""

import asyncio
import json
import signal
import socket
from typing import Any, Literal

import pytest

from metamcp_asgi import Gateway
from metamcp_asgi.config.file import compile_document
from metamcp_asgi.settings import Settings
from tests.conftest import StartGateway
from tests.gateway.client import BASE, Client, Exchange, modern_request, wire
from tests.gateway.running import KEY_A, KEY_B, document_of, gateway_for, gateway_over, served
from tests.gateway.upstreams.raw import RawServer
from tests.lab.running import Lab

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = "http://localhost:5173"


async def test_cors_preflight(lab: Lab) -> None:
    wanted = "content-type, mcp-protocol-version, mcp-method, mcp-name, mcp-session-id, mcp-param-region, authorization"
    for endpoint in ("open", "keyed", "unknown"):
        answer = await lab.client(endpoint).send(
            "OPTIONS",
            [
                ("Origin", PAGE),
                ("Access-Control-Request-Method", "POST"),
                ("Access-Control-Request-Headers", wanted),
            ],
        )
        assert answer.status in (200, 204)
        assert answer.header("access-control-allow-origin") == PAGE
        allowed = {name.strip().lower() for name in (answer.header("access-control-allow-headers") or "").split(",")}
        assert {name.strip() for name in wanted.split(",")} <= allowed
        methods = {name.strip() for name in (answer.header("access-control-allow-methods") or "").split(",")}
        assert {"GET", "POST", "DELETE"} <= methods


async def test_cors_preflight_of_a_foreign_page(lab: Lab) -> None:
    headers = [("Origin", "http://evil.example"), ("Access-Control-Request-Method", "POST")]
    answer = await lab.client().send("OPTIONS", headers)
    assert answer.header("access-control-allow-origin") is None


@pytest.mark.parametrize("endpoint", ["open", "keyed", "unknown"])
async def test_cors_headers_are_on_every_answer(lab: Lab, endpoint: str) -> None:
    client = lab.client(endpoint)
    for answer in (
        await client.modern("tools/list", headers=[("Origin", PAGE)]),
        await client.initialize(headers=[("Origin", PAGE)]),
        await client.send("GET", [("Origin", PAGE)]),
    ):
        assert answer.header("access-control-allow-origin") == PAGE
        exposed = {name.strip().lower() for name in (answer.header("access-control-expose-headers") or "").split(",")}
        assert {"mcp-session-id", "mcp-protocol-version", "www-authenticate"} <= exposed
        assert "origin" in (answer.header("vary") or "").lower()


async def test_cors_headers_are_on_streams(lab: Lab) -> None:
    headers = [("Origin", PAGE)]
    answer = await lab.client().call("um__slow", {"tag": "x", "steps": 1}, meta={"progressToken": 1}, headers=headers)
    assert answer.is_stream
    assert answer.header("access-control-allow-origin") == PAGE


async def test_options_without_a_preflight(lab: Lab) -> None:
    answer = await lab.client().send("OPTIONS")
    assert answer.status in (200, 204, 405)
    assert {"GET", "POST", "DELETE"} <= {name.strip() for name in (answer.header("allow") or "").split(",")}


@pytest.mark.parametrize(
    "headers",
    [
        [("X-API-Key", KEY_A)],
        [("Authorization", f"Bearer {KEY_A}")],
        [("authorization", f"bearer  {KEY_A}")],
        [("Authorization", "Basic eDp5"), ("X-API-Key", KEY_A)],
    ],
)
async def test_keys_in_headers(lab: Lab, headers: list[tuple[str, str]]) -> None:
    assert (await lab.client("keyed").modern("tools/list", headers=headers)).status == 200
    assert (await lab.client("keyed").initialize(headers=headers)).status == 200


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ([], "authentication_required"),
        ([("X-API-Key", "")], "authentication_required"),
        ([("Authorization", "Basic eDp5")], "authentication_required"),
        ([("X-API-Key", "sk_mt_wrong")], "invalid_api_key"),
        ([("Authorization", f"Bearer {KEY_A}x")], "invalid_api_key"),
    ],
)
async def test_without_a_valid_key(headers: list[tuple[str, str]], error: str) -> None:
    async with gateway_over({"raw": RawServer()}) as running:
        client = running.client("keyed")
        for answer in (
            await client.modern("tools/list", headers=headers),
            await client.initialize(headers=headers),
            await client.send("GET", headers),
            await client.send("DELETE", headers),
        ):
            assert answer.status == 401
            body = json.loads(answer.body)
            assert body["error"] == error
            assert body["error_description"]
            assert body["timestamp"].endswith("Z")
            challenge = answer.header("www-authenticate")
            assert challenge is not None
            assert challenge.startswith("Bearer")
            assert "resource_metadata" not in challenge
            assert KEY_A.encode() not in answer.body


async def test_keys_in_the_query() -> None:
    endpoints = {"query": {"queryParamAuth": True}}
    async with gateway_over({"raw": RawServer()}, endpoints=endpoints) as running:
        headers, body = modern_request("tools/list")
        for parameter in ("api_key", "apikey"):
            client = running.client("query")
            answer = await client.send("POST", headers, body, f"{client.path}?x=1&{parameter}={KEY_A}")
            assert answer.status == 200
            client = running.client("keyed")
            answer = await client.send("POST", headers, body, f"{client.path}?{parameter}={KEY_A}")
            assert answer.status == 401
        client = running.client("query")
        encoded = "".join(f"%{byte:02x}" for byte in KEY_A.encode())
        assert (await client.send("POST", headers, body, f"{client.path}?api_key={encoded}")).status == 200
        assert (await client.send("POST", headers, body, f"{client.path}?access_token={KEY_A}")).status == 401


async def test_a_key_for_other_endpoints() -> None:
    document = {
        "mcpServers": {},
        "namespaces": {"all": {"servers": []}},
        "endpoints": {"one": {"namespace": "all"}, "two": {"namespace": "all"}},
        "apiKeys": [{"name": "A", "key": KEY_A, "endpoints": ["one"]}],
    }
    async with gateway_for(document) as running:
        assert (await running.client("one", KEY_A).modern("tools/list")).status == 200
        answer = await running.client("two", KEY_A).modern("tools/list")
        assert answer.status == 403
        assert json.loads(answer.body)["error"] == "Access denied"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "HEAD"])
@pytest.mark.parametrize(
    "path",
    [
        "/metamcp/unknown/mcp",
        "/metamcp/open/nothing",
        "/metamcp/open",
        "/nothing",
        "/metamcp//mcp",
        "/metamcp/OPEN/mcp",
    ],
)
async def test_paths_that_do_not_exist(lab: Lab, method: str, path: str) -> None:
    answer = await lab.client().send(method, BASE, target=path)
    assert answer.status == 404
    assert answer.header("content-type") == "application/json"
    if method != "HEAD":
        assert json.loads(answer.body)["error"]


@pytest.mark.parametrize("path", ["/health", "/metamcp/health"])
async def test_health(lab: Lab, path: str) -> None:
    answer = await lab.client().send("GET", target=path)
    assert answer.status == 200
    assert json.loads(answer.body)["status"] == "ok"
    head = await lab.client().send("HEAD", target=path)
    assert (head.status, head.body) == (200, b"")
    assert (await lab.client().send("POST", target=path)).status == 405


async def test_rate_limits() -> None:
    endpoints: dict[str, dict[str, Any]] = {
        "all": {"apiKeyAuth": False, "rateLimit": {"maxRate": 2, "maxRateSeconds": 60}},
        "each": {"apiKeyAuth": False, "clientRateLimit": {"maxRate": 2, "maxRateSeconds": 60, "strategy": "ip"}},
    }
    async with gateway_over({"raw": RawServer()}, endpoints=endpoints) as running:
        for endpoint, status in (("all", 503), ("each", 429)):
            client = running.client(endpoint)
            for _ in range(2):
                assert (await client.modern("tools/list")).status == 200
            for answer in (
                await client.modern("tools/list"),
                await client.initialize(),
                await client.send("GET", [("Accept", "text/event-stream")]),
            ):
                assert answer.status == status
                assert json.loads(answer.body)["error"]
                assert 1 <= int(answer.header("retry-after") or 0) <= 60
                assert answer.header("ratelimit")
        assert (await running.client().modern("tools/list")).status == 200


async def test_check_96_headers_of_a_legacy_client_decide_nothing() -> None:
    tools = {"raw__other": {"enabled": False}}
    limited: dict[str, dict[str, Any]] = {
        "limited": {"apiKeyAuth": False, "rateLimit": {"maxRate": 3, "maxRateSeconds": 60}}
    }
    async with gateway_over(
        {"raw": RawServer(tools=("echo", "other"))}, namespace={"tools": tools}, endpoints=limited
    ) as running:
        session = await running.client("limited").session()
        session.headers += [("Mcp-Method", "ping"), ("Mcp-Name", "raw__echo"), ("Mcp-Param-Region", "x")]
        refused = await session.call("raw__other")
        assert refused.result()["isError"]
        assert "raw__other" in refused.result()["content"][0]["text"]
        over = await session.call("raw__other")
        assert over.status == 503
        assert over.header("retry-after")


async def test_wrong_keys_are_limited() -> None:
    async with gateway_over({"raw": RawServer()}) as running:
        wrong = running.client("keyed", "sk_mt_wrong")
        statuses = [(await wrong.modern("tools/list")).status for _ in range(22)]
        assert statuses[:20] == [401] * 20
        assert statuses[-1] == 429
        assert (await running.client("keyed", KEY_B).modern("tools/list")).status == 200


async def test_a_chunked_body(lab: Lab) -> None:
    headers, body = modern_request("tools/call", {"name": "um__echo", "arguments": {"text": "chunked"}})
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:1], body[1:50], body[50:])) + b"0\r\n\r\n"
    answer = await lab.client().send("POST", [*headers, ("Transfer-Encoding", "chunked")], chunks)
    assert answer.result()["content"][0]["text"] == "chunked"


async def test_expect_100_continue(lab: Lab) -> None:
    headers, body = modern_request("server/discover")
    exchange = await lab.client().open("POST", [*headers, ("Expect", "100-continue")], body)
    assert (await asyncio.wait_for(exchange.answer(), 30)).status == 200


async def test_a_client_that_leaves_in_the_middle_of_its_body(lab: Lab) -> None:
    headers, body = modern_request("tools/list")
    exchange = await lab.client().open("POST", [*headers, ("Content-Length", str(len(body) + 10))], body)
    await exchange.close()
    assert (await lab.client().modern("tools/list")).status == 200


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/jsonp", 415),
        ("application/json-seq", 415),
        (None, 415),
    ],
)
async def test_content_types(lab: Lab, content_type: str | None, status: int) -> None:
    how: dict[str, Any] = (
        {"headers": [("Content-Type", content_type)]} if content_type else {"without": ["content-type"]}
    )
    assert (await lab.client().modern("tools/list", **how)).status == status


async def test_a_byte_order_mark_and_white_space(lab: Lab) -> None:
    headers, body = modern_request("tools/list")
    assert (await lab.client().send("POST", headers, b"  \r\n" + body + b"\n\n")).status == 200
    assert (await lab.client().send("POST", headers, b"\xef\xbb\xbf" + body)).status in (200, 400)


async def test_two_session_ids_are_not_a_way_around(lab: Lab) -> None:
    mine, theirs = await lab.a.session(), await lab.b.session()
    for order in ((mine.id, theirs.id), (theirs.id, mine.id)):
        headers = [("Mcp-Session-Id", session_id) for session_id in order]
        answer = await lab.a.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers)
        assert answer.status in (200, 400, 404)


async def test_requests_one_behind_the_other_on_one_connection(lab: Lab) -> None:
    requests = [
        modern_request("tools/call", {"name": "raw__echo", "arguments": {"n": number}}, id=number)
        for number in range(3)
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.port)
    writer.write(b"".join(wire(lab.port, "POST", lab.client().path, *request) for request in requests))
    for number in range(3):
        async with asyncio.timeout(30):
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            [length] = [line for line in answer.split(b"\r\n") if line.startswith(b"content-length:")]
            message = json.loads(await reader.readexactly(int(length.split(b":")[1])))
        assert message["id"] == number
    writer.close()


@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_a_client_that_does_not_read_does_not_hold_up_others(http: Literal["h11", "httptools"]) -> None:
    server = RawServer("modern", ("large",))
    server.behaviour["tools/call"] = {"resultType": "complete", "content": [{"type": "text", "text": "x" * 5_000_000}]}
    async with served(server) as upstream:
        document = document_of({"raw": {"url": f"http://127.0.0.1:{upstream}/mcp"}})
        gateway = Gateway(compile_document(document, environ={}), Settings())
        async with served(gateway, "on", http) as port:
            stuck = socket.create_connection(("127.0.0.1", port))
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            request = modern_request("tools/call", {"name": "raw__large"})
            stuck.sendall(wire(port, "POST", Client(port).path, *request))
            for _ in range(3):
                answer = await Client(port).call("raw__large")
                assert len(answer.body) > 5_000_000
            stuck.close()


async def test_a_real_process(gateway: StartGateway) -> None:
    server = RawServer("modern")
    async with served(server) as upstream:
        running = await asyncio.to_thread(gateway, {"mcpServers": {"raw": {"url": f"http://127.0.0.1:{upstream}/mcp"}}})
        client = Client(int(running.origin.rsplit(":", 1)[1]), "default")
        discovered = await client.modern("server/discover")
        assert discovered.result()["cacheScope"] == "public"
        tools = (await client.modern("tools/list")).result()["tools"]
        assert [tool["name"] for tool in tools] == ["raw__echo"]
        assert (await client.call("raw__echo", {"n": 1})).status == 200
        session = await client.session()
        legacy = await session.listen()
        wanted = {"notifications": {"toolsListChanged": True}}
        listen: Exchange = await client.start("subscriptions/listen", wanted, id=81)
        await listen.message() if await listen.head() == 200 else None

        # A reload: the file is saved with another namespace.
        config = json.loads(running.config.read_text())
        config["namespaces"] = {"default": {"servers": ["raw"], "tools": {"raw__echo": {"name": "renamed"}}}}
        running.config.write_text(json.dumps(config))
        told = await asyncio.wait_for(listen.message(), 30)
        assert told["method"] == "notifications/tools/list_changed"
        assert (await asyncio.wait_for(legacy.message(), 30))["method"] == "notifications/tools/list_changed"
        assert [t["name"] for t in (await client.modern("tools/list")).result()["tools"]] == ["raw__renamed"]
        assert server.count("server/discover") == 1

        # A graceful end (check 81).
        running.program.signal(signal.SIGTERM)
        answer = await asyncio.wait_for(listen.answer(), 30)
        assert answer.message()["id"] == 81
        assert answer.result()["resultType"] == "complete"
        await asyncio.wait_for(legacy.answer(), 30)
        assert await asyncio.to_thread(running.program.stop) in (0, -signal.SIGTERM)
