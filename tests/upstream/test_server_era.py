"""How the era of a server is found out: every answer that eras.md 2.3 lists, given by a raw server."""

import json

import pytest

from metamcp_asgi.settings import Settings
from metamcp_asgi.upstream import server as server_module
from metamcp_asgi.upstream import stdio as stdio_module
from tests.scripted import LegacyServer, ModernServer, Offer, SSEServer, body_of, reply
from tests.serving import gateway, serving, until
from tests.stdio import stdio

MODERN = {"supportedVersions": ["2026-07-28", "2025-11-25"], "capabilities": {"tools": {}}, "resultType": "complete"}
LEGACY_ONLY = {**MODERN, "supportedVersions": ["2025-11-25", "2025-06-18"]}
INITIALIZED = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "s", "version": "1"},
}


def error(code, **data):
    return {"error": {"code": code, "message": "no", **({"data": data} if data else {})}}


class Probed(LegacyServer):
    """A legacy server (or `behind`) that answers `server/discover` as it is told."""

    def __init__(self, status, content, headers=None, behind=None):
        super().__init__(Offer())
        self.behind = behind or super().__call__
        self.status, self.content, self.headers = status, content, headers or {}
        self.probes = []

    async def __call__(self, scope, receive, send):
        if scope["method"] != "POST":
            await self.behind(scope, receive, send)
            return
        body = await body_of(receive)
        message = json.loads(body)
        if message["method"] == "server/discover":
            self.probes.append(dict(scope["headers"]))
            content = self.content
            if isinstance(content, dict):
                content = {"jsonrpc": "2.0", "id": message["id"], **content}
            await reply(send, self.status, content, **self.headers)
            return

        async def again():
            return {"type": "http.request", "body": body, "more_body": False}

        await self.behind(scope, again, send)


async def verdict(app, path="/mcp", **config):
    """Returns the era that a gateway finds, having called a tool of the server."""
    async with serving(app) as up, gateway({"s": {"url": f"{up.origin}{path}", **config}}) as g:
        await g.ready()
        server = g.server("s")
        assert server.state == "ready", server.error
        assert await g.text("s__echo", word="hello") == '{"word": "hello"}'
        return server.peer.era


async def trouble(app):
    """Returns why a gateway cannot use the server."""
    async with serving(app) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
        await g.ready()
        assert g.server("s").state == "failed"
        assert await g.tools() == []
        return (await g.missing())["s"]


class TestHTTP:
    async def test_a_modern_server(self):
        assert await verdict(ModernServer(Offer())) == "modern"

    async def test_a_legacy_server(self):
        assert await verdict(LegacyServer(Offer())) == "legacy"

    async def test_the_probe_has_the_full_headers_of_a_modern_request(self):
        app = Probed(200, {"result": MODERN}, behind=ModernServer(Offer()))
        assert await verdict(app) == "modern"
        assert app.probes[0][b"mcp-protocol-version"] == b"2026-07-28"
        assert app.probes[0][b"mcp-method"] == b"server/discover"
        assert {part.strip() for part in app.probes[0][b"accept"].split(b",")} == {
            b"application/json",
            b"text/event-stream",
        }

    @pytest.mark.parametrize("code", [-32020, -32021])
    async def test_an_error_that_only_modern_servers_have(self, code):
        assert await verdict(Probed(400, error(code), behind=ModernServer(Offer()))) == "modern"

    @pytest.mark.parametrize(
        ("status", "content"),
        [
            pytest.param(200, {"result": LEGACY_ONLY}, id="explicit-advertisement"),
            pytest.param(400, error(-32022, supported=["2025-11-25"], requested="2026-07-28"), id="-32022-all-legacy"),
            pytest.param(200, error(-32022, supported=["2025-11-25"]), id="-32022-with-200"),
            pytest.param(404, error(-32601), id="404-method-not-found"),
            pytest.param(200, error(-32601), id="200-method-not-found"),
            pytest.param(200, {"result": {}}, id="200-with-something-else"),
            pytest.param(200, b"<html>hello</html>", id="200-unparsable"),
            pytest.param(400, b"Bad Request", id="400-unparsable"),
            pytest.param(400, error(-32000), id="400-no-session"),
            pytest.param(404, b"", id="404-empty"),
            pytest.param(405, b"", id="405"),
            pytest.param(406, b"", id="406"),
            pytest.param(422, b"", id="422"),
            pytest.param(202, b"", id="202-taken-for-a-notification"),
        ],
    )
    async def test_a_legacy_answer(self, status, content):
        assert await verdict(Probed(status, content)) == "legacy"

    async def test_a_session_that_was_opened_for_the_probe_is_ended(self):
        app = Probed(400, error(-32600), {"mcp_session_id": "leaked"})
        app.sessions.add("leaked")
        assert await verdict(app) == "legacy"
        assert "leaked" in app.ended

    async def test_no_revision_in_common_is_said(self):
        reason = await trouble(Probed(400, error(-32022, supported=["2031-01-01"])))
        assert "2031-01-01" in reason
        reason = await trouble(Probed(200, {"result": {**MODERN, "supportedVersions": ["2031-01-01"]}}))
        assert "2031-01-01" in reason

    @pytest.mark.parametrize("status", [401, 403])
    async def test_missing_credentials_are_no_verdict(self, status):
        app = Probed(status, b"", {"www_authenticate": 'Bearer resource_metadata="https://evil.example"'})
        reason = await trouble(app)
        assert str(status) in reason
        assert "evil" not in reason
        assert app.opened == [], "it is not asked to initialize"

    @pytest.mark.parametrize("status", [500, 502, 503])
    async def test_an_outage_is_no_verdict(self, status, monkeypatch):
        monkeypatch.setattr(server_module, "BACKOFF", (0.02,))
        app = Probed(status, b"oh no", behind=ModernServer(Offer()))
        async with serving(app) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            await g.ready()
            assert str(status) in (await g.missing())["s"]
            app.status, app.content = 200, {"result": MODERN}
            await until(lambda: g.server("s").state == "ready")
            assert g.server("s").peer.era == "modern"
            assert app.opened == [], "it was never asked to initialize"

    async def test_an_sse_server_is_found_by_its_endpoint_event(self):
        assert await verdict(SSEServer(Offer()), "/sse") == "legacy"

    async def test_initialize_refused_as_the_wrong_revision_means_modern_after_all(self):
        """The first probe met something else, for example a proxy that was still starting."""
        app = Probed(404, b"", behind=ModernServer(Offer()))

        async def now_it_answers(scope, receive, send):
            app.status, app.content = 200, {"result": MODERN}
            await modern(scope, receive, send)

        modern, app.behind = app.behind, now_it_answers
        assert await verdict(app) == "modern"

    async def test_nothing_of_all_that(self):
        async def shop(scope, receive, send):
            await reply(send, 404, b"<html>Our shop has moved</html>")

        reason = await trouble(shop)
        assert "404" in reason
        assert "shop" not in reason, "somebody else's text is not repeated"

    async def test_the_configured_era_is_not_probed_for(self):
        app = Probed(500, b"")
        assert await verdict(app, era="legacy") == "legacy"
        assert app.probes == []

    async def test_a_verdict_is_remembered_for_the_next_session(self, monkeypatch):
        monkeypatch.setattr(server_module, "BACKOFF", (0.02,))
        app = Probed(404, b"")
        async with serving(app) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            await g.ready()
            app.sessions.clear()
            await g.text("s__echo")
            assert len(app.opened) == 2
            assert len(app.probes) == 1

    async def test_a_server_that_became_modern_is_probed_again(self, monkeypatch):
        monkeypatch.setattr(server_module, "BACKOFF", (0.02,))
        offer = Offer()
        async with serving(LegacyServer(offer)) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            await g.ready()
            await up.kill()
            await up.start(ModernServer(offer))
            assert await g.text("s__echo") == "{}"
            assert g.server("s").peer.era == "modern"

    async def test_a_server_that_became_legacy_is_probed_again(self, monkeypatch):
        monkeypatch.setattr(server_module, "BACKOFF", (0.02,))
        offer = Offer()
        async with serving(ModernServer(offer)) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            await g.ready()
            await up.kill()
            await up.start(LegacyServer(offer))
            await g.call("s__echo")
            await until(lambda: g.server("s").peer.era == "legacy")
            assert await g.text("s__echo") == "{}"


def replies(*discover, initialize=None):
    """Returns the options of a stdio server that gives these raw answers."""
    methods = {"server/discover": [list(discover)]}
    if initialize is not None:
        methods["initialize"] = [initialize]
    return {"replies": methods}


class TestStdio:
    async def verdict(self, **options):
        async with gateway({"s": stdio(**options)}) as g:
            await g.ready()
            server = g.server("s")
            assert server.state == "ready", (server.error, server.stderr)
            assert await g.text("s__echo", word="hello") == '{"word": "hello"}'
            return server.peer.era

    async def test_a_modern_server(self):
        assert await self.verdict(era="modern") == "modern"

    async def test_a_legacy_server(self):
        assert await self.verdict() == "legacy"

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(error(-32601), id="method-not-found"),
            pytest.param(error(-32602), id="invalid-params"),
            pytest.param({"result": LEGACY_ONLY}, id="explicit-advertisement"),
            pytest.param({"result": {}}, id="something-else"),
            pytest.param(error(-32022, supported=["2025-11-25"]), id="-32022-all-legacy"),
        ],
    )
    async def test_a_legacy_answer(self, answer):
        assert await self.verdict(**replies({"jsonrpc": "2.0", **answer})) == "legacy"

    async def test_one_that_ignores_what_comes_before_initialize(self, monkeypatch):
        monkeypatch.setattr(stdio_module, "PROBE_ALONE", 0.05)
        assert await self.verdict(early="ignore") == "legacy"

    async def test_a_modern_one_that_is_slow_to_start(self, monkeypatch, tmp_path):
        monkeypatch.setattr(stdio_module, "PROBE_ALONE", 0.05)
        gate = tmp_path / "gate"
        async with gateway({"s": stdio(era="modern", wait_for=gate)}, Settings(server_deadline=0.3)) as g:
            # It has been sent both by now, and answers the second with an error.
            assert await g.missing() == {"s": "is starting"}
            gate.touch()
            await until(lambda: g.server("s").state == "ready")
            assert g.server("s").peer.era == "modern"

    async def test_a_legacy_one_that_is_slow_to_start(self, monkeypatch, tmp_path):
        monkeypatch.setattr(stdio_module, "PROBE_ALONE", 0.05)
        gate = tmp_path / "gate"
        async with gateway({"s": stdio(wait_for=gate)}, Settings(server_deadline=0.3)) as g:
            assert await g.missing() == {"s": "is starting"}
            gate.touch()
            await until(lambda: g.server("s").state == "ready")
            assert g.server("s").peer.era == "legacy"
            assert await g.text("s__echo") == "{}"

    async def test_a_refused_initialize_does_not_hide_a_late_answer_to_the_probe(self, monkeypatch):
        """A server may answer out of order: -32022 to `initialize` says that it is modern."""
        monkeypatch.setattr(stdio_module, "PROBE_ALONE", 0.05)
        refused = {"jsonrpc": "2.0", **error(-32022, supported=["2026-07-28"])}
        late = {"jsonrpc": "2.0", "id": 1, "result": MODERN}
        assert await self.verdict(era="modern", **replies(initialize=[refused, late])) == "modern"
