"""A client of either era uses all of a server of the other era, not its tools alone.

server-everything speaks 2025-11-25 and mcp-server-time 2026-07-28; the client of the Python SDK speaks either.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.types import TextContent, TextResourceContents

from tests.peers.conftest import KEY, Peers

pytestmark = [pytest.mark.peers, pytest.mark.node, pytest.mark.xdist_group("peers")]

INSTRUCTIONS = "demo://resource/static/document/architecture.md"


@contextlib.asynccontextmanager
async def connected(url: str, mode: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"X-API-Key": KEY}, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


def text(block: object) -> str:
    """Returns the text of a content block or of a resource's contents."""
    assert isinstance(block, TextContent | TextResourceContents)
    return block.text


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


async def test_prompts(peers: Peers, mode: str) -> None:
    async with connected(peers.url("everything"), mode) as client:
        names = {prompt.name for prompt in (await client.list_prompts()).prompts}
        assert {"everything__simple-prompt", "everything__args-prompt"} <= names
        prompt = await client.get_prompt("everything__args-prompt", {"city": "Graz", "state": "Styria"})
        assert "Graz, Styria" in text(prompt.messages[0].content)


async def test_resources(peers: Peers, mode: str) -> None:
    async with connected(peers.url("everything"), mode) as client:
        assert INSTRUCTIONS in {str(resource.uri) for resource in (await client.list_resources()).resources}
        [contents] = (await client.read_resource(INSTRUCTIONS)).contents
        assert str(contents.uri) == INSTRUCTIONS
        assert text(contents).startswith("# Everything Server")


async def test_resource_templates(peers: Peers, mode: str) -> None:
    async with connected(peers.url("everything"), mode) as client:
        templates = {template.uri_template for template in (await client.list_resource_templates()).resource_templates}
        assert "demo://resource/dynamic/text/{resourceId}" in templates
        [contents] = (await client.read_resource("demo://resource/dynamic/text/7")).contents
        assert "Resource 7" in text(contents)


async def test_a_resource_that_no_server_has(peers: Peers, mode: str) -> None:
    async with connected(peers.url("everything"), mode) as client:
        with pytest.raises(MCPError) as failure:
            await client.read_resource("demo://nowhere")
        assert failure.value.error.code == (-32602 if mode == "auto" else -32002)
        assert failure.value.error.data == {"uri": "demo://nowhere"}


async def test_images_come_back_as_they_were(peers: Peers, mode: str) -> None:
    async with connected(peers.url("everything"), mode) as client:
        kinds = [block.type for block in (await client.call_tool("everything__get-tiny-image", {})).content]
        assert kinds == ["text", "image", "text"]


async def test_structured_content(peers: Peers, mode: str) -> None:
    async with connected(peers.url(), mode) as client:
        result = await client.call_tool(
            "time__convert_time", {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
        )
        assert result.structured_content == json.loads(text(result.content[0]))
        result = await client.call_tool("everything__get-structured-content", {"location": "New York"})
        assert result.structured_content == json.loads(text(result.content[0]))


async def test_progress(peers: Peers, mode: str) -> None:
    seen: list[tuple[float, float | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total))

    async with connected(peers.url("everything"), mode) as client:
        result = await client.call_tool(
            "everything__trigger-long-running-operation", {"duration": 0.3, "steps": 3}, progress_callback=on_progress
        )
        assert text(result.content[0]).startswith("Long running operation completed")
    assert seen == [(1, 3), (2, 3), (3, 3)]


async def test_a_call_that_is_given_up_does_not_disturb_the_next(peers: Peers, mode: str) -> None:
    async with connected(peers.url("everything"), mode) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.call_tool("everything__trigger-long-running-operation", {"duration": 5, "steps": 5})
        result = await client.call_tool("everything__echo", {"message": "still here"})
        assert text(result.content[0]) == "Echo: still here"


async def test_many_calls_at_once_each_get_their_own_answer(peers: Peers, mode: str) -> None:
    async with connected(peers.url(), mode) as client:
        servers = ["everything", "everything-http", "everything-sse"]
        calls = [client.call_tool(f"{servers[n % 3]}__echo", {"message": str(n)}) for n in range(60)]
        texts = [text(result.content[0]) for result in await asyncio.gather(*calls)]
        assert texts == [f"Echo: {n}" for n in range(60)]


async def test_a_tool_that_no_server_has_is_an_error_of_the_protocol(peers: Peers, mode: str) -> None:
    async with connected(peers.url(), mode) as client:
        with pytest.raises(MCPError) as failure:
            await client.call_tool("time__no_such_tool", {})
        assert failure.value.error.code == -32602
        assert "time__no_such_tool" in failure.value.error.message
