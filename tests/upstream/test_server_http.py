"""Servers over HTTP that restart, forget, hang up and die; what is healed, what is replayed, and what must not be."""

import asyncio
import itertools

import pytest

from metamcp_asgi.upstream import http_legacy, http_modern
from metamcp_asgi.upstream import server as server_module
from tests.scripted import EventStream, LegacyServer, ModernServer, Offer, SSEServer, reply, text
from tests.serving import gateway, serving, until


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(server_module, "BACKOFF", (0.05, 0.1))
    monkeypatch.setattr(server_module, "ASK_AGAIN", 0.02)
    monkeypatch.setattr(http_legacy, "RETRY", 0.05)
    monkeypatch.setattr(http_modern, "LISTEN_BACKOFF", (0.05,))


def counting():
    """Returns an offer whose tool counts how often it was executed, in all."""
    numbers = itertools.count(1)

    async def count(context):
        return text(next(numbers))

    return Offer(count=count)


class TestRestart:
    @pytest.mark.parametrize("unknown", [404, 400])
    @pytest.mark.parametrize("has_stream", [True, False])
    async def test_a_forgotten_session_is_renewed_and_the_call_made_exactly_once(self, unknown, has_stream):
        offer = counting()
        app = LegacyServer(offer, unknown=unknown, has_stream=has_stream)
        async with serving(app) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            assert await g.text("s__count") == "1"
            app.sessions.clear()
            assert await g.text("s__count") == "2"
            assert len(offer.executed) == 2
            assert len(app.opened) == 2

    @pytest.mark.parametrize("kind", [LegacyServer, ModernServer])
    async def test_a_server_restarted_on_its_port_is_used_again(self, kind):
        offer = counting()
        async with serving(kind(offer)) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            assert await g.text("s__count") == "1"
            await up.kill()
            await up.start(kind(offer))
            assert await g.text("s__count") == "2"
            assert len(offer.executed) == 2

    async def test_concurrent_calls_share_one_renewal(self):
        offer = counting()
        app = LegacyServer(offer)
        async with serving(app) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            await g.ready()
            app.sessions.clear()
            values = await asyncio.gather(*(g.text("s__count") for _ in range(10)))
            assert sorted(map(int, values)) == list(range(1, 11))
            assert len(app.opened) == 2

    async def test_a_session_that_is_forgotten_again_and_again_fails_the_call_in_the_end(self):
        class Forgetful(LegacyServer):
            async def request(self, message, session, receive, send):
                if message["method"] == "tools/call":
                    self.sessions.clear()
                    await reply(send, 404)
                else:
                    await super().request(message, session, receive, send)

        app = Forgetful(counting())
        async with serving(app) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            await g.ready()
            async with asyncio.timeout(30):
                answer = await g.post("tools/call", name="s__count", arguments={})
            assert answer.status_code == 200, "a 404 would mean that the client's own session is gone"
            assert answer.json()["result"]["isError"]
            assert len(app.opened) <= 3

    async def test_an_error_of_the_server_with_status_400_is_its_answer_and_no_loss(self):
        class Strict(LegacyServer):
            async def request(self, message, session, receive, send):
                if message["method"] == "tools/call":
                    self.offer.executed.append(("refused", session))
                    error = {"code": -32602, "message": "count is not a number"}
                    await reply(send, 400, {"jsonrpc": "2.0", "id": message["id"], "error": error})
                else:
                    await super().request(message, session, receive, send)

        app = Strict(counting())
        async with serving(app) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            await g.ready()
            answer = await g.ask("tools/call", name="s__count", arguments={})
            assert answer["error"]["message"] == "count is not a number"
            assert len(app.offer.executed) == 1
            assert len(app.opened) == 1

    async def test_a_session_is_ended_with_the_gateway(self):
        app = LegacyServer(Offer())
        async with serving(app) as up:
            async with gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
                await g.ready()
            assert app.ended == app.opened


class TestDeath:
    @pytest.mark.parametrize("kind", [LegacyServer, ModernServer, SSEServer])
    async def test_a_call_that_may_have_been_executed_is_not_made_again(self, kind):
        offer = Offer()
        started = asyncio.Event()

        async def work(context):
            started.set()
            await context.progress(1)
            await asyncio.Event().wait()

        offer.add("work", work)
        async with serving(kind(offer)) as up, gateway({"s": {"url": f"{up.origin}/sse"}}) as g:
            await g.ready()
            waiting = asyncio.create_task(g.call("s__work"))
            await started.wait()
            await up.kill()
            async with asyncio.timeout(30):
                result = await waiting
            assert result["isError"]
            await up.start(kind(offer))
            await until(lambda: g.server("s").state == "ready")
            assert await g.text("s__echo") == "{}"
            assert [name for name, _ in offer.executed] == ["work", "echo"]

    @pytest.mark.parametrize("kind", [LegacyServer, ModernServer])
    async def test_dying_in_the_middle_of_a_stream(self, kind):
        offer = Offer()
        started = asyncio.Event()

        async def work(context):
            await context.tell(
                {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}}
            )
            started.set()
            await asyncio.Event().wait()

        offer.add("work", work)
        async with serving(kind(offer)) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            await g.ready()
            waiting = asyncio.create_task(g.call("s__work"))
            await started.wait()
            up.drop_connections()
            async with asyncio.timeout(30):
                assert (await waiting)["isError"]
            assert await g.text("s__echo") == "{}"
            assert [name for name, _ in offer.executed] == ["work", "echo"]

    async def test_a_keep_alive_connection_that_was_closed_while_idle_is_no_failure(self):
        offer = counting()
        app = LegacyServer(offer, has_stream=False)
        async with serving(app) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            for number in range(1, 6):
                assert await g.text("s__count") == str(number)
                up.drop_connections()
            assert len(offer.executed) == 5
            assert len(app.opened) == 1

    async def test_a_server_that_is_down_is_used_when_it_comes_up(self):
        async with serving(LegacyServer(Offer())) as up:
            await up.kill()
            async with gateway({"s": {"url": f"{up.origin}/mcp"}}) as g, g.listening() as changes:
                await g.ready()
                assert list(await g.missing()) == ["s"]
                await up.start()
                await changes.of_method("notifications/tools/list_changed")
                assert await g.tools() == ["s__echo"]
                assert await g.missing() == {}


class TestSSE:
    async def test_a_lost_stream_is_opened_again(self):
        offer = counting()
        app = SSEServer(offer)
        async with serving(app) as up, gateway({"s": {"type": "sse", "url": f"{up.origin}/sse"}}) as g:
            assert await g.text("s__count") == "1"
            app.hang_up()
            await until(lambda: len(app.opened) == 2)
            assert await g.text("s__count") == "2"
            assert len(offer.executed) == 2

    async def test_a_restarted_server(self):
        offer = counting()
        async with serving(SSEServer(offer)) as up, gateway({"s": {"type": "sse", "url": f"{up.origin}/sse"}}) as g:
            assert await g.text("s__count") == "1"
            await up.kill()
            await up.start(SSEServer(offer))
            assert await g.text("s__count") == "2"
            assert len(offer.executed) == 2

    async def test_its_endpoint_must_be_on_the_configured_origin(self):
        posted = []

        async def elsewhere(scope, receive, send):
            posted.append(dict(scope["headers"]))
            await reply(send, 202)

        async def evil(scope, receive, send):
            stream = await EventStream(send).open()
            await stream.raw(f"event: endpoint\ndata: {other.origin}/messages\n\n")
            await asyncio.Event().wait()

        async with serving(elsewhere) as other, serving(evil) as up:
            config = {"type": "sse", "url": f"{up.origin}/sse", "bearerToken": "secret"}
            async with gateway({"s": config}) as g:
                await g.ready()
                assert "origin" in (await g.missing())["s"]
                assert posted == []


class TestResumption:
    """A legacy server may end the stream of a response and have the client come back for the rest."""

    class Resumable(LegacyServer):
        """Ends the stream after one event with an id; the response comes on the GET that names it."""

        def __init__(self, offer, retry="retry: 20\n"):
            super().__init__(offer)
            self.retry = retry
            self.resumed = []
            self.rest = {}

        async def __call__(self, scope, receive, send):
            event_id = dict(scope["headers"]).get(b"last-event-id")
            if scope["method"] == "GET" and event_id is not None:
                self.resumed.append(event_id.decode())
                stream = await EventStream(send).open()
                if event_id.decode() in self.rest:
                    await stream.message(self.rest.pop(event_id.decode()), "last")
                await stream.close()
                return
            await super().__call__(scope, receive, send)

        async def request(self, message, session, receive, send):
            if message["method"] != "tools/call":
                await super().request(message, session, receive, send)
                return
            answer = await self.offer.answer(message, session, None)
            event_id = f"event-{message['id']}"
            self.rest[event_id] = answer
            stream = await EventStream(send).open()
            await stream.raw(f"id: {event_id}\n{self.retry}data: \n\n")
            await stream.close()

    async def test_a_response_is_fetched_with_last_event_id(self):
        offer = counting()
        app = self.Resumable(offer)
        async with serving(app) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            assert await g.text("s__count") == "1"
            assert app.resumed[0].startswith("event-")
            assert len(offer.executed) == 1

    async def test_the_servers_retry_is_respected(self):
        app = self.Resumable(counting(), retry="retry: 400\n")
        async with serving(app) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            await g.ready()
            loop = asyncio.get_running_loop()
            before = loop.time()
            await g.text("s__count")
            assert loop.time() - before >= 0.4

    async def test_a_connection_that_breaks_is_resumed_too(self):
        """The server dies between an event with an id and the response, and knows the session when it is back."""
        offer = counting()

        class Breaking(self.Resumable):
            async def request(self, message, session, receive, send):
                if message["method"] != "tools/call":
                    await super().request(message, session, receive, send)
                    return
                self.rest["event"] = await self.offer.answer(message, session, None)
                stream = await EventStream(send).open()
                await stream.raw("id: event\nretry: 20\ndata: \n\n")
                up.drop_connections()

        app = Breaking(offer)
        async with serving(app) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            await g.ready()
            assert await g.text("s__count") == "1"
            assert app.resumed == ["event"]
            assert len(offer.executed) == 1

    async def test_a_response_that_never_comes_is_given_up(self, monkeypatch):
        monkeypatch.setattr(http_legacy, "RESUMES", 3)

        class Never(self.Resumable):
            async def request(self, message, session, receive, send):
                await super().request(message, session, receive, send)
                self.rest.clear()

        app = Never(counting(), retry="retry: 1\n")
        async with serving(app) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            await g.ready()
            async with asyncio.timeout(30):
                assert (await g.call("s__count"))["isError"]


class TestRefusals:
    @pytest.mark.parametrize("kind", [LegacyServer, ModernServer])
    @pytest.mark.parametrize("status", [401, 403, 404, 405, 429, 500, 503, 302])
    async def test_a_status_is_told_as_advice_and_never_relayed(self, kind, status):
        class Refusing(kind):
            async def __call__(self, scope, receive, send):
                if self.offer.refusing:
                    await reply(
                        send, status, b"<html>secret page</html>", www_authenticate="Bearer evil", location="/x"
                    )
                else:
                    await super().__call__(scope, receive, send)

        offer = Offer()
        offer.refusing = False
        async with serving(Refusing(offer)) as up, gateway({"s": {"url": f"{up.origin}/mcp"}}) as g:
            await g.ready()
            offer.refusing = True
            answer = await g.post("tools/call", name="s__echo", arguments={})
            assert answer.status_code == 200
            assert answer.json()["result"]["isError"]
            assert str(status) in answer.text
            assert "secret" not in answer.text
            assert "www-authenticate" not in answer.headers
            offer.refusing = False
            await until(lambda: g.server("s").state == "ready")
            assert await g.text("s__echo") == "{}"
