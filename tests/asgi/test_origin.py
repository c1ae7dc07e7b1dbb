"""The DNS rebinding table (T-02)."""

import pytest

from metamcp_asgi.asgi.origin import OriginGuard
from metamcp_asgi.config.snapshot import Endpoint

from .driver import Inner, ask

OPEN = Endpoint(name="open", namespace="n", api_key_auth=False)
KEYED = Endpoint(name="keyed", namespace="n")


async def status(app, host, origin=None, endpoint=None):
    headers = [("Host", host)] if host is not None else []
    if origin is not None:
        headers.append(("Origin", origin))
    more = {} if endpoint is None else {"metamcp.endpoint": endpoint}
    answers = [await ask(app, method="POST", headers=headers, **more) for _ in range(2)]
    assert answers[0].status == answers[1].status, "the remembered verdict differs"
    return answers[0].status


@pytest.mark.parametrize(
    ("host", "origin", "open_status", "keyed_status"),
    [
        ("localhost:12008", None, 200, 200),
        ("LOCALHOST", None, 200, 200),
        ("localhost.", None, 200, 200),
        ("app.localhost:1", None, 200, 200),
        ("127.0.0.1:12008", None, 200, 200),
        ("127.9.9.9", None, 200, 200),
        ("[::1]:12008", None, 200, 200),
        ("[0:0:0:0:0:0:0:1]", None, 200, 200),
        ("evil.example", None, 403, 200),
        ("localhost.evil.example", None, 403, 200),
        ("127.0.0.1.evil.example", None, 403, 200),
        ("notlocalhost", None, 403, 200),
        ("0.0.0.0:12008", None, 403, 200),
        ("evil.example:12008", "http://evil.example:12008", 403, 200),
        ("localhost:12008", "http://localhost:12008", 200, 200),
        ("localhost:12008", "http://localhost:6274", 200, 200),
        ("localhost:12008", "http://127.0.0.1:6274", 200, 200),
        ("127.0.0.1:12008", "https://[::1]:1", 200, 200),
        ("localhost:12008", "http://evil.example", 403, 403),
        ("localhost:12008", "http://localhost.evil.example", 403, 403),
        ("localhost:12008", "null", 403, 403),
        ("localhost:12008", "", 403, 403),
        ("localhost:12008", "file://", 403, 403),
        ("localhost:12008", "chrome-extension://localhost", 403, 403),
        ("localhost:12008", "http://localhost@evil.example", 403, 403),
        ("localhost:12008", "http://localhost http://evil.example", 403, 403),
        ("gw.example", "https://gw.example", 403, 200),
        ("gw.example", "https://GW.example:8443", 403, 200),
        ("gw.example", "http://localhost:6274", 403, 403),
        ("gw.example", "https://evil.example", 403, 403),
        (None, None, 400, 400),
        ("", None, 400, 400),
        ("a b", None, 400, 400),
        ("[::z]", None, 400, 400),
        ("user@localhost", None, 400, 400),
        ("localhost:port", None, 400, 400),
    ],
)
async def test_automatic(host, origin, open_status, keyed_status):
    app = OriginGuard(Inner())
    assert await status(app, host, origin, OPEN) == open_status
    assert await status(app, host, origin) == open_status
    assert await status(app, host, origin, KEYED) == keyed_status


@pytest.mark.parametrize(
    ("hosts", "host", "served"),
    [
        (["mcp.example.com"], "mcp.example.com:8443", True),
        (["MCP.example.com"], "mcp.EXAMPLE.com", True),
        (["mcp.example.com:443"], "mcp.example.com", True),
        (["mcp.example.com"], "localhost", False),
        (["mcp.example.com"], "x.mcp.example.com", False),
        (["*.example.com"], "a.b.example.com", True),
        (["*.example.com"], "example.com", False),
        (["*.example.com"], "evilexample.com", False),
        (["*"], "anything.example", True),
        (["::1", "[::1]"], "[::1]:9", True),
        ([], "localhost", False),
    ],
)
async def test_listed_hosts(hosts, host, served):
    app = OriginGuard(Inner(), hosts=hosts)
    for endpoint in (OPEN, KEYED, None):
        assert await status(app, host, None, endpoint) == (200 if served else 403)


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        (["https://inspector.example"], "https://inspector.example", True),
        (["https://Inspector.example/"], "https://inspector.example", True),
        (["https://inspector.example"], "http://inspector.example", False),
        (["https://inspector.example"], "https://inspector.example:8443", False),
        (["https://inspector.example"], "null", False),
        (["vscode-webview://panel"], "vscode-webview://panel", True),
        (["*"], "https://evil.example", True),
        (["*"], "null", True),
    ],
)
async def test_listed_origins(origins, origin, allowed):
    app = OriginGuard(Inner(), origins=origins)
    assert await status(app, "localhost", origin, OPEN) == (200 if allowed else 403)


@pytest.mark.parametrize("name", ["Host", "Origin"])
async def test_a_doubled_header_is_refused(name):
    pairs = [("Host", "localhost"), ("Origin", "http://localhost"), (name, "http://localhost"[7 * (name == "Host") :])]
    assert (await ask(OriginGuard(Inner()), headers=pairs)).status == 400


async def test_the_refusal_names_the_setting():
    inner = Inner()
    host = await ask(OriginGuard(inner), headers={"Host": "evil.example"})
    assert "METAMCP_ALLOWED_HOSTS" in host.json["message"]
    assert "evil.example" in host.json["message"]
    origin = await ask(OriginGuard(inner), headers={"Host": "localhost", "Origin": "http://evil.example"})
    assert "METAMCP_ALLOWED_ORIGINS" in origin.json["message"]
    assert origin.json["timestamp"].endswith("Z")
    assert not inner.scopes


async def test_the_remembered_verdicts_are_bounded():
    app = OriginGuard(Inner())
    for number in range(3000):
        await ask(app, headers={"Host": f"h{number}.example"}, **{"metamcp.endpoint": KEYED})
    await ask(app, headers={"Host": "x" * 5000}, **{"metamcp.endpoint": KEYED})
    assert 0 < len(app._verdicts) <= 1024
    assert all(len(host) < 600 for host, _, _ in app._verdicts)
