"""Clients of every legacy revision get what theirs has (eras.md 2.17, check 50), of servers that say everything."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from metamcp_asgi.protocol.revisions import LEGACY
from tests.gateway.running import RunningGateway, gateway_over
from tests.gateway.upstreams.raw import RawServer, tool_named
from tests.protocol.test_downgrade import AUDIO, LINK, SDK_OF, TEXT, problems

pytestmark = pytest.mark.asyncio(loop_scope="session")

C25, B25, A25, C24 = LEGACY
NEW = {
    "title": "T",
    "icons": [{"src": "https://example.com/i.png"}],
    "_meta": {"own": 1},
}
TOOLS = (
    {**tool_named("arr"), "outputSchema": {"type": "array", "items": {"type": "integer"}}, **NEW},
    {**tool_named("obj"), "outputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}, **NEW},
    tool_named("plain"),
)
PROMPT = {"name": "p", **NEW}
RESOURCE = {"uri": "x://doc", "name": "doc", "annotations": {"priority": 1}, **NEW}
TEMPLATE = {"uriTemplate": "x://{id}", "name": "t", **NEW}


def server_of(era: str) -> RawServer:
    complete = {"resultType": "complete"} if era == "modern" else {}
    content = [TEXT, AUDIO, LINK]
    server = RawServer(
        era,
        TOOLS,
        {
            "tools/call arr": {**complete, "content": content, "structuredContent": [1, 2]},
            "tools/call obj": {**complete, "content": content, "structuredContent": {"a": 1}},
            "tools/call plain": {**complete, "content": [TEXT]},
            "prompts/get": {**complete, "messages": [{"role": "user", "content": block} for block in content]},
        },
    )
    server.behaviour["prompts/list"] = server.listed("prompts", [PROMPT])
    server.behaviour["resources/list"] = server.listed("resources", [RESOURCE])
    server.behaviour["resources/templates/list"] = server.listed("resourceTemplates", [TEMPLATE])
    return server


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["modern", "legacy"])
async def running(request: pytest.FixtureRequest) -> AsyncIterator[RunningGateway]:
    async with gateway_over({"raw": server_of(request.param)}, page_size=2) as running:
        yield running


async def all_tools(session: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    cursor: dict[str, str] = {}
    while True:
        result = (await session.request("tools/list", cursor)).result()
        found |= {tool.pop("name"): tool for tool in result["tools"]}
        if "nextCursor" not in result:
            return found
        cursor = {"cursor": result["nextCursor"]}


@pytest.mark.parametrize("revision", LEGACY)
async def test_check_50_lists(running: RunningGateway, revision: str) -> None:
    session = await running.client().session(revision)
    # Twice: the second time, prepared pages are given out.
    for tools in (await all_tools(session), await all_tools(session)):
        assert list(tools) == ["raw__arr", "raw__obj", "raw__plain"]
        arr, obj = tools["raw__arr"], tools["raw__obj"]
        assert "outputSchema" not in arr, "no legacy revision has results that are no objects"
        assert ("outputSchema" in obj) == (revision in (B25, C25))
        assert ("annotations" in obj) == (revision != C24)
        assert ("icons" in obj) == (revision == C25)
        assert ("title" in obj) == ("_meta" in obj) == (revision in (B25, C25))
    for method, member in (
        ("prompts/list", "prompts"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
    ):
        [item] = (await session.request(method)).result()[member]
        assert ("icons" in item) == (revision == C25)
        assert ("title" in item) == ("_meta" in item) == (revision in (B25, C25))
        assert ("annotations" in item) == (member == "resources")


@pytest.mark.parametrize("revision", LEGACY)
async def test_check_50_results(running: RunningGateway, revision: str) -> None:
    session = await running.client().session(revision)
    kinds = {"text", "audio", "resource_link"}
    kinds -= {"audio"} if revision == C24 else set()
    kinds -= {"resource_link"} if revision in (A25, C24) else set()
    results = {name: (await session.call(f"raw__{name}")).result() for name in ("arr", "obj", "plain")}
    assert "structuredContent" not in results["arr"]
    assert results["arr"]["content"][-1]["type"] == "text"
    assert results["arr"]["content"][-1]["text"].replace(" ", "") == "[1,2]"
    if revision in (B25, C25):
        assert results["obj"]["structuredContent"] == {"a": 1}
    else:
        assert "structuredContent" not in results["obj"]
        assert results["obj"]["content"][-1]["text"].replace(" ", "") == '{"a":1}'
    assert results["plain"] == {"content": [TEXT]}
    prompt = (await session.request("prompts/get", {"name": "raw__p"})).result()
    assert {block["type"] for block in results["obj"]["content"]} == kinds
    assert {message["content"]["type"] for message in prompt["messages"]} == kinds
    if revision in SDK_OF:
        documents = [("CallToolResult", result) for result in results.values()]
        assert problems(revision, *documents, ("GetPromptResult", prompt)) == [""] * 4


async def test_check_50_modern_clients_get_everything(running: RunningGateway) -> None:
    client = running.client()
    result = (await client.call("raw__arr")).result()
    assert result["structuredContent"] == [1, 2]
    assert result["content"] == [TEXT, AUDIO, LINK]
    [arr, _] = (await client.modern("tools/list")).result()["tools"]
    assert arr["outputSchema"]["type"] == "array"
    assert arr["icons"] == NEW["icons"]
