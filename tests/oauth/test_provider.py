"""An OpenID provider of another maker in our place: its tokens open an endpoint, and the SDK's client finds the way."""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator
from html import unescape

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

from metamcp_asgi import Gateway
from metamcp_asgi.config.file import compile_document
from metamcp_asgi.settings import Settings
from tests.gateway.running import served
from tests.oauth.home import CALLBACK, server_command
from tests.oauth.test_clients import Kept
from tests.places import NODE_MODULES, ROOT, node

pytestmark = pytest.mark.node


@contextlib.asynccontextmanager
async def openid_provider() -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        str(node()),
        str(ROOT / "tests" / "oauth" / "drivers" / "oidc_provider.mjs"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "NODE_PEERS": str(NODE_MODULES.parent)},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            issuer: str = json.loads(await process.stdout.readline())["issuer"]
        yield issuer
    finally:
        process.kill()
        await process.wait()


async def signed_in(where: str) -> dict[str, str]:
    """Plays the person at the provider: goes through its pages, and returns what the client is told."""
    async with httpx2.AsyncClient(timeout=20) as browser:
        answer = await browser.get(where)
        while not answer.headers.get("location", "").startswith(CALLBACK):
            if answer.is_redirect:
                answer = await browser.get(str(answer.request.url.join(answer.headers["location"])))
                continue
            form = re.search(r'action="([^"]+)"', answer.text)
            prompt = re.search(r'name="prompt" value="([^"]+)"', answer.text)
            assert form is not None, answer.text
            assert prompt is not None, answer.text
            filled = {"prompt": prompt[1], "login": "ada", "password": "x"}
            answer = await browser.post(str(answer.request.url.join(unescape(form[1]))), data=filled)
        return dict(httpx2.URL(answer.headers["location"]).params.items())


async def test_an_endpoint_takes_the_tokens_of_a_real_provider() -> None:
    async with openid_provider() as issuer:
        oauth = {"issuer": issuer, "scopes": ["mcp.use"], "groups": {"staff": []}}
        document = {
            "mcpServers": {"echo": server_command("read")},
            "endpoints": {"e": {"namespace": "default", "apiKeyAuth": False, "oauth": oauth}},
        }
        gateway = Gateway(compile_document(document), Settings(outward_allowed=("127.0.0.1",)))
        async with served(gateway, "on") as port:
            url = f"http://127.0.0.1:{port}/metamcp/e/mcp"
            told: dict[str, str] = {}

            async def go(where: str) -> None:
                told.update(await signed_in(where))

            async def come() -> AuthorizationCodeResult:
                return AuthorizationCodeResult(code=told["code"], state=told["state"], iss=told.get("iss"))

            metadata = OAuthClientMetadata(
                redirect_uris=[CALLBACK],  # type: ignore[list-item]
                token_endpoint_auth_method="none",
                application_type="native",
            )
            kept = Kept()
            auth = OAuthClientProvider(url, metadata, kept, go, come)
            async with (
                httpx2.AsyncClient(auth=auth, timeout=20) as http,
                Client(streamable_http_client(url, http_client=http)) as client,
            ):
                assert "echo__read" in {tool.name for tool in (await client.list_tools()).tools}
            async with httpx2.AsyncClient(timeout=20) as robot:
                form = {
                    "grant_type": "client_credentials",
                    "scope": "mcp.use",
                    "resource": "https://elsewhere.example/",
                }
                token = await robot.post(f"{issuer}/token", data=form, auth=("robot", "robot-secret"))
                headers = {"Authorization": f"Bearer {token.json()['access_token']}"}
                refused = await robot.post(url, json={}, headers=headers)
                assert refused.status_code == 401
                assert "another resource" in refused.headers["www-authenticate"]
