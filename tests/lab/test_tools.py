"""Calls, names and headers over two processes (checks 18, 46 to 48, 54, 87 and 91), with servers of the real SDKs."""

import asyncio
from typing import Any

import pytest

from tests.gateway.client import Client, modern_request
from tests.gateway.running import KEY_A, KEY_B
from tests.gateway.test_lists import names, pages
from tests.gateway.upstreams.raw import Seen, text_result
from tests.lab.filtering import REGION, REWRITTEN
from tests.lab.running import KINDS, LEGACY_KINDS, MODERN_KINDS, Lab, credential

pytestmark = pytest.mark.asyncio(loop_scope="session")

OVER_HTTP = ("um", "ul", "ux")


@pytest.mark.parametrize("name", ["raw", "old"])
async def test_check_18_a_silent_call_becomes_a_stream_with_comments(lab: Lab, name: str) -> None:
    release = asyncio.Event()

    async def late(seen: Seen) -> dict[str, Any]:
        await release.wait()
        return text_result("late", **({"resultType": "complete"} if seen.server.era == "modern" else {}))

    getattr(lab, name).behaviour["tools/call odd"] = late
    exchange = await lab.client().start("tools/call", {"name": f"{name}__odd"})
    async with asyncio.timeout(30):
        assert await exchange.head() == 200
        headers = dict(exchange.headers)
        assert headers[b"content-type"].startswith(b"text/event-stream")
        assert headers[b"x-accel-buffering"] == b"no"
        chunk = await anext(exchange.chunks())
        assert all(line == b"" or line.startswith(b":") for line in chunk.splitlines()), chunk
        release.set()
        answer = await exchange.answer()
    assert [message.get("id") for message in answer.messages()] == [1]
    assert answer.result()["content"][0]["text"] == "late"


@pytest.mark.parametrize("kind", KINDS)
async def test_check_18_a_silent_call_of_a_real_server(lab: Lab, kind: str) -> None:
    tag = lab.tag()
    exchange = await lab.client().start("tools/call", {"name": f"{kind}__hold", "arguments": {"tag": tag}})
    async with asyncio.timeout(30):
        assert await exchange.head() == 200
        assert dict(exchange.headers)[b"x-accel-buffering"] == b"no"
        assert (await anext(exchange.chunks())).startswith(b":")
    await exchange.close()
    await lab.witness.saw(f"{tag} cancelled")


async def test_check_46_a_servers_name_and_one_header_arrive(lab: Lab) -> None:
    for region, value in (("us-west1", "us-west1"), ("münchen", "=?base64?bcO8bmNoZW4=?=")):
        answer = await lab.client().call("um__region", {"region": region}, headers=[("Mcp-Param-Region", value)])
        assert answer.result()["content"][0]["text"] == region
        [arrived] = [seen for seen in lab.arrived("um", '"region"') if seen.message["method"] == "tools/call"][-1:]
        assert arrived.header("mcp-name") == ["region"]
        assert arrived.header("mcp-param-region") == [value]
    refused = [
        await lab.client().call("um__region", {"region": "us"}),
        await lab.client().call("um__region", {"region": "us"}, headers=[("Mcp-Param-Region", "eu")]),
    ]
    assert [(answer.status, answer.code()) for answer in refused] == [(400, -32020)] * 2
    assert (await lab.client().call("um__region", {})).result()["content"][0]["text"] == ""


@pytest.mark.parametrize("kind", ["um", "us", "ul", "ud"])
async def test_check_47_a_middleware_sends_a_call_elsewhere(lab: Lab, kind: str) -> None:
    client = lab.client("filtered", KEY_A)
    arguments, headers = {"region": REWRITTEN}, [("Mcp-Param-Region", REWRITTEN)]
    answer = await client.call(f"{kind}__region", arguments, headers=headers)
    assert answer.result()["content"][0]["text"] == REGION
    if kind == "um":
        arrived = lab.arrived("um", f'"region":"{REGION}"')[-1]
        assert arrived.header("mcp-param-region") == [REGION]


async def test_check_48_a_tool_with_an_invalid_annotation_is_not_listed(lab: Lab) -> None:
    for pid in lab.running.pids():
        listed = names(await pages(lab.running.at(pid)))
        assert {"raw__hdr", "old__hdr", "old__bad_hdr"} <= set(listed)
        assert "raw__bad_hdr" not in listed
    assert (await lab.client().call("raw__bad_hdr")).code() == -32602


async def test_check_49_a_header_that_no_schema_knows_passes(lab: Lab) -> None:
    text = lab.tag()
    assert (await lab.client().call("um__echo", {"text": text}, headers=[("Mcp-Param-Foo", "bar")])).result()
    [arrived] = lab.arrived("um", text)
    assert arrived.header("mcp-param-foo") == ["bar"]


@pytest.mark.parametrize("kind", LEGACY_KINDS)
async def test_check_54_a_server_with_state_keeps_principals_apart(lab: Lab, kind: str) -> None:
    async def count(client: Client) -> str:
        answer = await client.call(f"k{kind}__counter")
        text: str = answer.result()["content"][0]["text"]
        return text

    a, b = lab.client("kept", KEY_A), lab.client("kept", KEY_B)
    assert [await count(a) for _ in range(3)] == ["1", "2", "3"]
    assert await count(b) == "1"
    stranger = lab.client("kept-open")
    assert [await count(stranger) for _ in range(2)] == ["1", "1"]
    assert await count(a) == "4"


@pytest.mark.parametrize("kind", MODERN_KINDS)
async def test_check_87_an_app_of_a_tool(lab: Lab, kind: str) -> None:
    tools = {tool["name"]: tool for page in await pages(lab.client()) for tool in page["tools"]}
    session = await lab.client().session()
    uri = tools[f"{kind}__show"]["_meta"]["ui"]["resourceUri"]
    assert uri.startswith("ui://"), "hosts insist on the scheme"
    for caller in (lab.client().modern, session.request):
        [content] = (await caller("resources/read", {"uri": uri})).result()["contents"]
        assert (content["uri"], content["text"]) == (uri, f"app of {kind}")
    # The page calls the tool by the name that its server gave it.
    assert (await lab.client().call(f"only_{kind}")).result()["content"][0]["text"] == kind
    assert (await lab.client().call("show")).code() == -32602


@pytest.mark.parametrize("kind", OVER_HTTP)
async def test_check_91_credentials_of_the_client_stay_here(lab: Lab, kind: str) -> None:
    text = lab.tag()
    params = {"name": f"{kind}__echo", "arguments": {"text": text}}
    headers, body = modern_request("tools/call", params)
    cookies = [("Cookie", "sid=1"), ("X-Forwarded-For", "10.0.0.1")]
    for given in (("X-API-Key", KEY_A), ("Authorization", f"Bearer {KEY_A}")):
        answer = await lab.client("keyed").send("POST", [*headers, *cookies, given], body)
        assert answer.result()["content"][0]["text"] == text
    session = await lab.a.session()
    assert (await session.call(f"{kind}__echo", {"text": text})).result()["content"][0]["text"] == text
    arrived = lab.arrived(kind, text)
    assert len(arrived) == 3
    for seen in arrived:
        assert KEY_A not in str(seen)
        assert not {name for name, _ in seen.headers} & {"cookie", "x-api-key", "x-forwarded-for"}
        assert seen.header("authorization") == [f"Bearer {credential(kind)}"]
