import re

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from metamcp_asgi.asgi.router import NamespaceRouter
from metamcp_asgi.config.snapshot import Endpoint

from .driver import Inner, ask

ENDPOINTS = {
    "open": Endpoint(name="open", namespace="all", api_key_auth=False),
    "shut": Endpoint(name="shut", namespace="private"),
}


@pytest.mark.parametrize("path", ["/metamcp/shut/mcp", "/metamcp/shut/mcp/"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
async def test_the_endpoint_is_put_into_a_copy_of_the_scope(path, method):
    inner = Inner()
    answer = await ask(NamespaceRouter(inner, ENDPOINTS), path, method=method)
    assert answer.body == b"inner"
    assert inner.scopes[0]["metamcp.endpoint"] is ENDPOINTS["shut"]
    assert inner.scopes[0]["metamcp.leaf"] == "mcp"
    assert inner.scopes[0]["path"] == path
    assert "metamcp.endpoint" not in answer.scope


async def test_deeper_leaves():
    inner = Inner()
    app = NamespaceRouter(inner, ENDPOINTS, leaves=("mcp", "api"))
    assert (await ask(app, "/metamcp/open/api/time__now")).status == 200
    assert inner.scopes[0]["metamcp.leaf"] == "api/time__now"


async def test_an_unknown_endpoint_has_metamcps_body():
    answer = await ask(NamespaceRouter(Inner(), ENDPOINTS), "/metamcp/nope/mcp", method="POST")
    assert answer.status == 404
    stamp = answer.json.pop("timestamp")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp)
    assert answer.headers["content-type"] == "application/json"


async def test_an_unknown_endpoint_says_its_name():
    body = (await ask(NamespaceRouter(Inner(), ENDPOINTS), "/metamcp/nope/mcp")).json
    body.pop("timestamp")
    assert body == {"error": "Endpoint not found", "message": "No endpoint found with name: nope"}


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/", "/metamcp/{endpoint}/mcp"),
        ("/elsewhere", "/health"),
        ("/metamcpx/open/mcp", "/metamcp/"),
        ("/metamcp/open", "/metamcp/{endpoint}/mcp"),
        ("/metamcp/open/", "/metamcp/{endpoint}/mcp"),
        ("/metamcp/open/mpc", "/metamcp/open/mcp"),
    ],
)
async def test_an_unknown_path_is_told_what_exists(path, named):
    inner = Inner()
    answer = await ask(NamespaceRouter(inner, ENDPOINTS), path)
    assert answer.status == 404
    assert named in answer.json["message"]
    assert not inner.scopes


async def test_sessions_are_not_listed():
    answer = await ask(NamespaceRouter(Inner(), ENDPOINTS), "/metamcp/health/sessions")
    assert (answer.status, answer.json["error"]) == (404, "Endpoint not found")


@pytest.mark.parametrize(
    ("path", "body"),
    [("/health", {"status": "ok"}), ("/metamcp/health", {"status": "ok", "service": "public-endpoints"})],
)
async def test_health(path, body):
    app = NamespaceRouter(Inner(), ENDPOINTS)
    answer = await ask(app, path)
    assert (answer.status, answer.json) == (200, body)
    head = await ask(app, path, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == answer.headers["content-length"]
    post = await ask(app, path, method="POST")
    assert (post.status, post.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/metamcp", "/metamcp/"])
async def test_the_index_lists_open_endpoints_only(path):
    answer = await ask(NamespaceRouter(Inner(), ENDPOINTS), path)
    assert answer.json["service"] == "public-endpoints"
    assert [(e["name"], e["namespace"], e["endpoints"]) for e in answer.json["endpoints"]] == [
        ("open", "all", {"mcp": "/metamcp/open/mcp"})
    ]
    assert b"shut" not in answer.body


async def test_a_new_snapshot_counts_from_the_next_request():
    present = {}
    app = NamespaceRouter(Inner(), lambda: present)
    assert (await ask(app, "/metamcp/open/mcp")).status == 404
    present = ENDPOINTS
    assert (await ask(app, "/metamcp/open/mcp")).status == 200


async def test_mounted_below_a_path():
    host = Starlette(routes=[Mount("/ai", NamespaceRouter(Inner(), ENDPOINTS))])
    assert (await ask(host, "/ai/metamcp/open/mcp", method="POST")).body == b"inner"
    assert (await ask(host, "/ai/health")).json == {"status": "ok"}
    index = (await ask(host, "/ai/metamcp/")).json
    assert index["endpoints"][0]["endpoints"]["mcp"] == "/ai/metamcp/open/mcp"
    assert (await ask(host, "/ai/other")).status == 404


async def test_another_prefix():
    assert (await ask(NamespaceRouter(Inner(), ENDPOINTS, prefix="/v1/"), "/v1/open/mcp")).status == 200
