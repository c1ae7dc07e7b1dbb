"""All layers together under uvicorn, over a socket, as the gateway stacks them."""

import logging
from operator import itemgetter

import httpx2
import pytest
import uvicorn

from metamcp_asgi.asgi.auth import Authenticate
from metamcp_asgi.asgi.cors import CORS
from metamcp_asgi.asgi.observe import Observe
from metamcp_asgi.asgi.origin import OriginGuard
from metamcp_asgi.asgi.ratelimit import RateLimit, policy_of_endpoint
from metamcp_asgi.asgi.router import NamespaceRouter
from metamcp_asgi.config.snapshot import ClientRateLimit, Endpoint, Key, Principal, digest_of
from tests.uvicorn_server import LoopServer

from .driver import Inner

SECRET = "sk_mt_" + "c3" * 32
ENDPOINTS = {
    "open": Endpoint(name="open", namespace="n", api_key_auth=False),
    "keyed": Endpoint(name="keyed", namespace="n", query_param_auth=True),
    "slow": Endpoint(name="slow", namespace="n", api_key_auth=False, client_rate_limit=ClientRateLimit(2, 3600)),
}
KEYS = {digest_of(SECRET): Key(digest_of(SECRET), Principal(id="k", kind="key"))}


class Service(Inner):
    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and scope["method"] == "DELETE":
            raise RuntimeError("broken")
        await super().__call__(scope, receive, send)


@pytest.fixture
async def service():
    return Service()


@pytest.fixture
async def client(service):
    app = RateLimit(service, policy_of_endpoint)
    app = OriginGuard(Authenticate(app, KEYS, itemgetter("metamcp.endpoint")))
    app = Observe(CORS(NamespaceRouter(app, ENDPOINTS)), access_log=True)
    server = LoopServer(uvicorn.Config(app, port=0, lifespan="off", log_config=None, access_log=True))
    task = await server.begin()
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
            yield http
    finally:
        server.end()
        await task


async def test_a_keyed_call(client, service):
    answer = await client.post("/metamcp/keyed/mcp", headers={"Authorization": f"Bearer {SECRET}"}, json={})
    assert (answer.status_code, answer.text) == (200, "inner")
    assert service.scopes[-1]["metamcp.principal"].id == "k"
    assert (await client.post("/metamcp/keyed/mcp")).status_code == 401


async def test_a_key_in_the_query_is_in_no_log_not_even_the_servers(client, caplog):
    caplog.set_level(logging.DEBUG)
    for logger in ("uvicorn.access", "metamcp.access"):
        logging.getLogger(logger).setLevel(logging.INFO)
    assert (await client.post(f"/metamcp/keyed/mcp?a=1&api_key={SECRET}")).status_code == 200
    assert (await client.post(f"/metamcp/keyed/mcp?a=1&api_key={SECRET}x")).status_code == 401
    ours = [record for record in caplog.records if record.name in ("uvicorn.access", "metamcp.access")]
    assert {record.name for record in ours} == {"uvicorn.access", "metamcp.access"}
    logged = "\n".join(record.getMessage() for record in ours)
    assert "/metamcp/keyed/mcp?a=1" in logged, "uvicorn logged the request"
    assert SECRET not in logged


async def test_a_browser_is_told_why_it_was_refused(client):
    page = {"Origin": "http://localhost:6274"}
    answer = await client.post("/metamcp/slow/mcp", headers=page)
    assert answer.headers["ratelimit"].startswith('"client";r=1;')
    await client.post("/metamcp/slow/mcp", headers=page)
    refused = await client.post("/metamcp/slow/mcp", headers=page)
    assert refused.status_code == 429
    assert refused.headers["access-control-allow-origin"] == page["Origin"]
    assert "Retry-After" in refused.headers["access-control-expose-headers"]
    assert int(refused.headers["retry-after"]) > 1000


async def test_rebinding_is_refused(client, service):
    evil = {"Host": "evil.example", "Origin": "http://evil.example"}
    assert (await client.post("/metamcp/open/mcp", headers=evil)).status_code == 403
    assert (await client.post("/metamcp/open/mcp", headers={"Origin": "http://evil.example"})).status_code == 403
    assert not service.scopes
    assert (await client.post("/metamcp/open/mcp")).status_code == 200


async def test_health_and_head(client):
    assert (await client.get("/health")).json() == {"status": "ok"}
    head = await client.head("/metamcp/nope/mcp")
    assert (head.status_code, head.content) == (404, b"")
    assert int(head.headers["content-length"]) > 0


async def test_a_failure_is_a_500_and_the_connection_goes_on(client):
    answer = await client.delete("/metamcp/open/mcp")
    assert (answer.status_code, answer.json()["error"]) == (500, "Internal server error")
    assert (await client.post("/metamcp/open/mcp")).status_code == 200
