"""The headers that mirror parameters of a tool: acceptance checks 46, 48 and 49."""

import base64
import json
from typing import Any

import pytest

from tests.gateway.client import MODERN
from tests.gateway.running import gateway_over
from tests.gateway.test_lists import pages
from tests.gateway.upstreams.raw import Error, RawServer, Seen, text_result, tool_named
from tests.lab.running import HDR, KINDS, Lab

pytestmark = pytest.mark.asyncio(loop_scope="session")

COMPLETE = {"resultType": "complete"}


def received(seen: Seen) -> dict[str, list[str]]:
    """Returns the `Mcp-*` headers of a request."""
    found: dict[str, list[str]] = {}
    for name, value in seen.headers:
        if name.startswith(b"mcp-"):
            found.setdefault(name.decode(), []).append(value.decode("latin-1"))
    return found


async def test_check_46_the_headers_of_parameters(lab: Lab) -> None:
    client, server = lab.client(), lab.raw
    arguments = {"region": "us-west1", "count": 42, "flag": True, "deep": {"er": "x"}}
    headers = [
        ("Mcp-Param-Region", "us-west1"),
        ("mcp-param-count", "42.0"),
        ("Mcp-Param-Flag", "true"),
        ("Mcp-Param-Deeper", " x "),
    ]
    answer = await client.call("raw__hdr", arguments, headers=headers)
    assert "result" in answer.message(), answer
    assert received(server.last("tools/call")) == {
        "mcp-protocol-version": [MODERN],
        "mcp-method": ["tools/call"],
        "mcp-name": ["hdr"],
        "mcp-param-region": ["us-west1"],
        "mcp-param-count": ["42"],
        "mcp-param-flag": ["true"],
        "mcp-param-deeper": ["x"],
    }


@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        ({"region": "us"}, []),
        ({"region": "us"}, [("Mcp-Param-Region", "eu")]),
        ({"region": "us"}, [("Mcp-Param-Region", "US")]),
        ({"region": "us"}, [("Mcp-Param-Region", "us"), ("Mcp-Param-Region", "us")]),
        ({"region": "us"}, [("Mcp-Param-Region", "us"), ("Mcp-Param-Region", "eu")]),
        ({"region": "us"}, [("Mcp-Param-Region", "=?base64?dXM?=")]),
        ({"region": "ü"}, [("Mcp-Param-Region", "ü".encode())]),
        ({"region": None}, [("Mcp-Param-Region", "us")]),
        ({}, [("Mcp-Param-Region", "us")]),
        ({"count": 42}, [("Mcp-Param-Count", "43")]),
        ({"count": 42}, [("Mcp-Param-Count", "42x")]),
        ({"flag": True}, [("Mcp-Param-Flag", "True")]),
    ],
)
async def test_check_46_headers_that_do_not_match(
    lab: Lab, arguments: dict[str, Any], headers: list[tuple[str, str | bytes]]
) -> None:
    server = lab.raw
    before = server.count("tools/call")
    answer = await lab.client().call("raw__hdr", arguments, headers=headers)
    assert (answer.status, answer.code()) == (400, -32020), answer
    assert server.count("tools/call") == before


@pytest.mark.parametrize(
    ("arguments", "sent", "arrives"),
    [
        ({}, [], []),
        ({"region": None}, [], []),
        ({"region": "münchen"}, [base64.b64encode("münchen".encode()).decode()], ["=?base64?bcO8bmNoZW4=?="]),
        ({"region": " padded "}, [base64.b64encode(b" padded ").decode()], ["=?base64?IHBhZGRlZCA=?="]),
        ({"region": ""}, [None], [""]),
        ({"region": "a\nb"}, [base64.b64encode(b"a\nb").decode()], ["=?base64?YQpi?="]),
    ],
)
async def test_check_46_values_that_headers_cannot_carry(
    lab: Lab, arguments: dict[str, Any], sent: list[str | None], arrives: list[str]
) -> None:
    server = lab.raw
    headers = [("Mcp-Param-Region", f"=?base64?{value}?=" if value else "") for value in sent]
    answer = await lab.client().call("raw__hdr", arguments, headers=headers)
    assert answer.status == 200, answer
    assert received(server.last("tools/call")).get("mcp-param-region", []) == arrives
    assert server.last("tools/call").params["arguments"] == arguments


@pytest.mark.parametrize("kind", KINDS)
async def test_check_46_real_servers_accept_what_we_derive(lab: Lab, kind: str) -> None:
    tools = {tool["name"]: tool for page in await pages(lab.client()) for tool in page["tools"]}
    assert tools[f"{kind}__region"]["inputSchema"]["properties"]["region"]["x-mcp-header"] == "Region"
    for region in ("us", "münchen"):
        value = f"=?base64?{base64.b64encode(region.encode()).decode()}?="
        answer = await lab.client().call(f"{kind}__region", {"region": region}, headers=[("Mcp-Param-Region", value)])
        assert answer.result()["content"][0]["text"] == region
        session = await lab.client().session()
        assert (await session.call(f"{kind}__region", {"region": region})).result()["content"][0]["text"] == region


async def test_check_46_after_a_header_mismatch_the_schema_is_read_again() -> None:
    server = RawServer("modern", (tool_named("hdr"),))
    server.capabilities = {"tools": {}}

    def checked(seen: Seen) -> Any:
        if seen.header("mcp-param-region") != [b"us"]:
            return Error(-32020, "Header Mcp-Param-Region is missing", status=400)
        return text_result("ok", **COMPLETE)

    server.behaviour["tools/call hdr"] = checked
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session()
        server.behaviour["tools/list"] = server.listed("tools", [{**tool_named("hdr"), "inputSchema": HDR}])
        answer = await session.call("raw__hdr", {"region": "us"})
        assert answer.result()["content"][0]["text"] == "ok"
        server.behaviour["tools/call hdr"] = Error(-32020, "never", status=400)
        answer = await session.call("raw__hdr", {"region": "us"})
        assert answer.code() == -32603


def bad_hdr(schema: Any) -> dict[str, Any]:
    return {**tool_named("bad"), "inputSchema": schema}


@pytest.mark.parametrize(
    "properties",
    [
        {"a": {"type": "string", "x-mcp-header": ""}},
        {"a": {"type": "string", "x-mcp-header": "not a token"}},
        {"a": {"type": "string", "x-mcp-header": "x\r\nEvil: 1"}},
        {"a": {"type": "string", "x-mcp-header": "Same"}, "b": {"type": "string", "x-mcp-header": "same"}},
        {"a": {"type": "object", "x-mcp-header": "A"}},
        {"a": {"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}},
    ],
)
async def test_check_48_a_tool_with_an_invalid_annotation(properties: Any) -> None:
    tool = bad_hdr({"type": "object", "properties": properties})
    old = RawServer("legacy", (tool, "good"))
    async with gateway_over({"new": RawServer("modern", (tool, "good")), "old": old}) as running:
        tools = {tool["name"]: tool for tool in (await running.client().modern("tools/list")).result()["tools"]}
        # A modern server's tool must go; a legacy server's was never meant so, and only loses the annotation.
        assert tools.keys() == {"new__good", "old__good", "old__bad"}
        assert "x-mcp-header" not in json.dumps(tools["old__bad"])
        assert (await running.client().call("new__bad")).code() == -32602


async def test_check_49_headers_that_no_schema_knows_pass(lab: Lab) -> None:
    server = lab.raw
    headers = [("Mcp-Param-Foo", "bar"), ("Mcp-Param-Enc", "=?base64?w7w=?=")]
    assert (await lab.client().call("raw__hdr", {}, headers=headers)).status == 200
    arrived = received(server.last("tools/call"))
    assert arrived["mcp-param-foo"] == ["bar"]
    assert arrived["mcp-param-enc"] == ["=?base64?w7w=?="]
