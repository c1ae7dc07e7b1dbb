import pytest

from metamcp_asgi.asgi.cors import CORS

from .driver import Inner, ask

LOCAL = "http://localhost:6274"
MCP_HEADERS = (
    "content-type,authorization,x-api-key,accept,mcp-session-id,mcp-protocol-version,mcp-method,mcp-name,"
    "last-event-id,traceparent,tracestate,mcp-param-region"
)


async def preflight(app, origin, method="POST", headers=MCP_HEADERS):
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return await ask(app, "/metamcp/tools/mcp", method="OPTIONS", headers=asked)


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
async def test_a_browser_may_send_every_mcp_header(method):
    inner = Inner()
    answer = await preflight(CORS(inner), LOCAL, method)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == LOCAL
    assert method in answer.headers["access-control-allow-methods"]
    assert set(answer.headers["access-control-allow-headers"].split(",")) == set(MCP_HEADERS.split(","))
    assert "access-control-allow-credentials" not in answer.headers
    assert not inner.scopes


async def test_a_page_may_read_the_session_id_and_why_it_was_refused():
    answer = await ask(CORS(Inner()), method="POST", headers={"Origin": LOCAL})
    assert answer.headers["access-control-allow-origin"] == LOCAL
    exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
    for name in (
        "mcp-session-id",
        "mcp-protocol-version",
        "www-authenticate",
        "retry-after",
        "ratelimit",
        "etag",
        "link",
        "location",
    ):
        assert name in exposed
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost", True),
        ("https://localhost:8443", True),
        ("http://127.0.0.1:5173", True),
        ("http://[::1]:5173", True),
        ("https://inspector.example", True),
        ("https://inspector.example:444", False),
        ("http://localhost.evil.example", False),
        ("http://evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("null", False),
    ],
)
async def test_origins(origin, allowed):
    app = CORS(Inner(), ["https://Inspector.example/"])
    assert (await preflight(app, origin)).status == (200 if allowed else 400)
    simple = await ask(app, method="POST", headers={"Origin": origin})
    assert ("access-control-allow-origin" in simple.headers) is allowed


async def test_a_star_allows_all():
    assert (await preflight(CORS(Inner(), ["*"]), "http://evil.example")).headers["access-control-allow-origin"] == "*"


async def test_many_answers_from_one_prepared_message():
    app = CORS(Inner())
    for _ in range(3):
        answer = await ask(app, method="POST", headers={"Origin": LOCAL})
        assert answer.headers["access-control-allow-origin"] == LOCAL
    assert "access-control-allow-origin" not in (await ask(app, method="POST")).headers


async def test_what_a_cache_may_keep_varies_by_origin():
    assert (await ask(CORS(Inner()))).headers["vary"] == "Origin"


async def test_options_without_preflight_headers_reach_the_application():
    inner = Inner()
    await ask(CORS(inner), method="OPTIONS")
    assert len(inner.scopes) == 1
