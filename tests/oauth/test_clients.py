"""Real OAuth clients go the whole way by themselves; only the person's part is played by a test."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider, TokenStorage
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from tests.oauth.home import CALLBACK, Home, sent_back
from tests.places import NODE_MODULES, ROOT, node, npm_program
from tests.processes import free_port
from tests.signin.people import Visitor

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Kept(TokenStorage):
    """What a client keeps, in memory."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


async def allowed(home: Home, visitor: Visitor, url: str) -> str:
    """Plays the person: opens the URL, allows, and returns where the browser is sent."""
    page = await visitor.http.get(url, headers={"Sec-Fetch-Site": "none"})
    assert page.status_code == 200, page.text
    where: str = (await home.decide(visitor, page)).headers["location"]
    return where


def provider(home: Home, visitor: Visitor, url: str, kept: Kept, asked: list[str]) -> OAuthClientProvider:
    told: dict[str, str] = {}

    async def go(where: str) -> None:
        asked.append(where)
        page = await visitor.http.get(where, headers={"Sec-Fetch-Site": "none"})
        assert page.status_code == 200, page.text
        told.update(sent_back(await home.decide(visitor, page)))

    async def come() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(code=told["code"], state=told["state"], iss=told["iss"])

    metadata = OAuthClientMetadata(
        client_name="Python SDK",
        redirect_uris=[CALLBACK],  # type: ignore[list-item]
        token_endpoint_auth_method="none",
    )
    return OAuthClientProvider(url, metadata, kept, go, come)


@pytest.mark.parametrize("endpoint", ["tools", "both"])
async def test_the_sdks_client_finds_registers_asks_and_calls(shared: Home, endpoint: str) -> None:
    kept, asked, url = Kept(), list[str](), shared.url_of(endpoint)
    auth = provider(shared, await shared.signed_in(), url, kept, asked)
    async with (
        httpx2.AsyncClient(auth=auth, timeout=20) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"echo__read", "echo__renamed"} <= names
    assert len(asked) == 1
    assert kept.client is not None
    assert (kept.client.client_id or "").startswith("mcp_client_")
    assert kept.tokens is not None
    assert kept.tokens.refresh_token


async def test_the_sdks_client_refreshes_and_steps_up(shared: Home) -> None:
    kept, asked, url = Kept(), list[str](), shared.url_of("steps")
    auth = provider(shared, await shared.signed_in(), url, kept, asked)
    async with (
        httpx2.AsyncClient(auth=auth, timeout=20) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        assert not (await client.call_tool("echo__read", {})).is_error
        first = kept.tokens
        assert first is not None
        assert first.scope == "admin"
        assert not (await client.call_tool("echo__renamed", {})).is_error
        assert kept.tokens is not None
        assert set((kept.tokens.scope or "").split()) == {"admin", "files:write", "files:all"}
        assert len(asked) == 2
        auth.context.token_expiry_time = 1.0  # long ago
        assert not (await client.call_tool("echo__read", {})).is_error
        assert kept.tokens.access_token != first.access_token
        assert len(asked) == 2


@pytest.mark.node
async def test_the_typescript_client_finds_registers_asks_and_calls(shared: Home) -> None:
    driver = ROOT / "tests" / "oauth" / "drivers" / "typescript_sdk_1.mjs"
    process = await asyncio.create_subprocess_exec(
        str(node()),
        str(driver),
        shared.url_of("tools"),
        CALLBACK,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NODE_PEERS": str(NODE_MODULES.parent)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            where = json.loads(await process.stdout.readline())["go"]
            back = await allowed(shared, await shared.signed_in(), where)
            process.stdin.write(f"{json.dumps(sent_back_of(back))}\n".encode())
            found = json.loads(await process.stdout.readline())
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert "echo__read" in found["tools"]
    assert found["tokens"]["token_type"] == "Bearer"


def sent_back_of(url: str) -> dict[str, Any]:
    return dict(httpx2.URL(url).params.items())


@pytest.mark.node
async def test_mcp_remote_bridges_a_stdio_client(shared: Home, tmp_path: Path) -> None:
    # It would open a browser by itself.
    (tmp_path / "xdg-open").symlink_to("/bin/true")
    surroundings = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "MCP_REMOTE_CONFIG_DIR": str(tmp_path / "kept"),
    }
    process = await asyncio.create_subprocess_exec(
        *npm_program("mcp-remote"),
        shared.url_of("tools"),
        "--transport",
        "http-only",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=surroundings,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            where = await line_with(process.stderr, "/oauth/authorize?")
            reading = asyncio.create_task(process.stderr.read())
            back = await allowed(shared, await shared.signed_in(), where)
            async with httpx2.AsyncClient(timeout=20) as browser:
                assert (await browser.get(back)).status_code == 200
            hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
            for message in (
                {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
                {"jsonrpc": "2.0", "method": "notifications/initialized"},
                {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
            ):
                process.stdin.write(f"{json.dumps(message)}\n".encode())
            await process.stdout.readline()
            listed = json.loads(await process.stdout.readline())
            assert "echo__read" in {tool["name"] for tool in listed["result"]["tools"]}
    finally:
        process.kill()
        await process.wait()
    await reading


@pytest.mark.conformance
async def test_the_conformance_suite_finds_no_fault_with_our_authorization_server(shared: Home) -> None:
    """Both of its scenarios: the metadata, and a code and a token by way of it."""
    port = free_port()
    callback = f"http://127.0.0.1:{port}/callback"
    more = ["--port", str(port), "--client-id", await shared.client(), "--resource", shared.url_of("tools")]
    process = await asyncio.create_subprocess_exec(
        *npm_program("conformance"),
        "authorization",
        "--url",
        shared.origin,
        *more,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            where = await line_with(process.stdout, "/oauth/authorize?")
            back = await allowed(shared, await shared.signed_in(), where)
            assert back.startswith(callback)
            async with httpx2.AsyncClient(timeout=20) as browser:
                await browser.get(back)
            told = (await process.stdout.read()).decode()
            assert await process.wait() == 0, told
            assert "0 failed" in told
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def line_with(stream: asyncio.StreamReader, words: str) -> str:
    """Returns the URL in the first line that has some words."""
    while line := (await stream.readline()).decode():
        if words in line:
            return next(part for part in line.split() if words in part)
    raise EOFError(f"{words} was never said")
