"""What real clients send that no specification would lead one to expect, as raw requests.

Seen from supergateway, mcp-remote, Inspector, langchain-mcp-adapters, and old SDKs.
"""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.peers.conftest import KEY, Peers

pytestmark = [pytest.mark.peers, pytest.mark.node, pytest.mark.xdist_group("peers")]

ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "odd", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class RawClient:
    """One HTTP connection pool that sends what it is told, with the key."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, timeout=30)

    async def post(self, body: Any, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(self.url, content=json.dumps(body), headers={**ACCEPT, **named})

    async def initialize(self, revision: str = "2025-11-25", **headers: str) -> httpx2.Response:
        params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "odd", "version": "1"}}
        return await self.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}, **headers)

    async def session(self, revision: str = "2025-11-25") -> dict[str, str]:
        """Opens a legacy session, and returns the headers that belong to it."""
        answer = await self.initialize(revision)
        assert answer.status_code == 200, answer.text
        session = {"Mcp_Session_Id": answer.headers["mcp-session-id"], "MCP_Protocol_Version": revision}
        initialized = await self.post({"jsonrpc": "2.0", "method": "notifications/initialized"}, **session)
        assert initialized.status_code == 202
        return session


@pytest.fixture
async def raw(peers: Peers) -> AsyncIterator[RawClient]:
    client = RawClient(peers.url())
    async with client.http:
        yield client


def message(answer: httpx2.Response) -> dict[str, Any]:
    """Returns the JSON-RPC response of an answer, be it JSON or the last event of a stream."""
    text = answer.text
    if answer.headers["content-type"].startswith("text/event-stream"):
        text = [line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:")][-1]
    decoded: dict[str, Any] = json.loads(text)
    return decoded


def request(number: int, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


async def test_modern_discovery_inside_a_legacy_session_then_a_second_initialize(raw: RawClient) -> None:
    session = await raw.session()
    discovered = await raw.post(request(1, "server/discover", _meta=MODERN), **session)
    assert discovered.status_code in {200, 400}
    assert message(discovered)["id"] == 1
    assert "error" in message(discovered)

    again = await raw.initialize(**session)
    assert again.status_code == 200
    assert message(again)["result"]["protocolVersion"] == "2025-11-25"
    reopened = {**session, "Mcp_Session_Id": again.headers.get("mcp-session-id", session["Mcp_Session_Id"])}
    listed = await raw.post(request(2, "tools/list"), **reopened)
    assert message(listed)["result"]["tools"]


async def test_a_get_without_a_session_is_refused_at_once(raw: RawClient) -> None:
    answer = await raw.http.get(raw.url, headers={"Accept": "text/event-stream"})
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/metamcp/all/mcp",
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/metamcp/all/mcp",
        "/.well-known/openid-configuration/metamcp/all/mcp",
        "/metamcp/all/mcp/.well-known/openid-configuration",
    ],
)
async def test_probes_for_oauth_without_a_key_learn_that_there_is_none(raw: RawClient, path: str) -> None:
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(raw.url))
    async with httpx2.AsyncClient() as stranger:
        answer = await stranger.get(origin + path)
    assert answer.status_code in {401, 404}
    assert "html" not in answer.headers.get("content-type", "")


async def test_modern_requests_beside_an_open_legacy_session(raw: RawClient) -> None:
    session = await raw.session()
    modern = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/call", "Mcp_Name": "everything__echo"}
    for number in range(3):
        call = {"name": "everything__echo", "arguments": {"message": str(number)}}
        new = await raw.post(request(number, "tools/call", **call, _meta=MODERN), **modern)
        assert message(new)["result"]["content"][0]["text"] == f"Echo: {number}"
        assert "mcp-session-id" not in new.headers
        old = await raw.post(request(number, "tools/call", **call), **session)
        assert message(old)["result"]["content"][0]["text"] == f"Echo: {number}"


async def test_a_session_without_the_version_header(raw: RawClient) -> None:
    session = await raw.session("2025-03-26")
    del session["MCP_Protocol_Version"]
    listed = await raw.post(request(1, "tools/list"), **session)
    assert listed.status_code == 200
    assert message(listed)["result"]["tools"]


async def test_a_log_level_set_without_asking_does_no_harm(raw: RawClient) -> None:
    session = await raw.session()
    answer = await raw.post(request(1, "logging/setLevel", level="debug"), **session)
    assert answer.status_code == 200
    assert message(answer)["id"] == 1
    assert (await raw.post(request(2, "ping"), **session)).status_code == 200


async def test_a_new_session_for_each_call_and_none_of_them_closed(raw: RawClient) -> None:
    call = {"name": "everything-http__echo", "arguments": {"message": "again"}}
    for _ in range(10):
        session = await raw.session()
        answer = await raw.post(request(1, "tools/call", **call), **session)
        assert message(answer)["result"]["content"][0]["text"] == "Echo: again"


async def test_a_closed_session_is_gone(raw: RawClient) -> None:
    session = await raw.session()
    closed = await raw.http.delete(raw.url, headers={"Mcp-Session-Id": session["Mcp_Session_Id"]})
    assert closed.status_code in {200, 202, 204}
    assert (await raw.post(request(1, "tools/list"), **session)).status_code == 404


async def test_a_session_belongs_to_its_endpoint(raw: RawClient, peers: Peers) -> None:
    session = await raw.session()
    raw.url = peers.url("everything")
    assert (await raw.post(request(1, "tools/list"), **session)).status_code == 404


@pytest.mark.parametrize("key", [None, "sk-wrong"])
async def test_without_a_valid_key_nothing_is_said(peers: Peers, key: str | None) -> None:
    headers = {**ACCEPT, **({"Authorization": f"Bearer {key}"} if key else {})}
    async with httpx2.AsyncClient() as stranger:
        answer = await stranger.post(peers.url(), json=request(1, "tools/list"), headers=headers)
    assert answer.status_code == 401
    assert "everything" not in answer.text.replace("/everything", "")
