"""Subscriptions to resources: one at the server for all who want it, kept over a lost session (eras.md 2.10)."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from metamcp_asgi.errors import UpstreamTimeout
from metamcp_asgi.upstream import server as server_module
from metamcp_asgi.upstream.server import Updated
from tests.processes import running
from tests.scripted import EventStream, LegacyServer, ModernServer, Offer, RPCError, capabilities, pump
from tests.serving import Served, serving, until
from tests.upstream.connecting import ADA, Happenings, call, connected, failure, text

DOC, OTHER = "x://doc", "x://other"


class Legacy(LegacyServer):
    """A legacy server that keeps who subscribed to what."""

    def __init__(self, subscribe: bool = True) -> None:
        super().__init__(Offer(), list_changed=False)
        self.subscribed: list[tuple[str, str]] = []
        self.declares = subscribe
        self.refuses: set[str] = set()
        answer = self.offer._answer

        async def with_subscriptions(method: str, params: Any, session: str, tell: Any) -> Any:
            if method in ("resources/subscribe", "resources/unsubscribe"):
                self.subscribed.append((method.removeprefix("resources/"), params["uri"]))
                if params["uri"] in self.refuses:
                    raise RPCError(-32602, "no such resource")
                return {}
            return await answer(method, params, session, tell)

        self.offer._answer = with_subscriptions  # type: ignore[method-assign]

    async def _initialize(self, message: Any, send: Any) -> None:
        async def declaring(event: Any) -> None:
            if self.declares and "body" in event:
                was, now = b'"resources": {"listChanged": false}', b'"resources": {"subscribe": true}'
                assert was in event["body"]
                # A length that stays the same needs no other header.
                event = {**event, "body": event["body"].replace(was, now.ljust(len(was)))}
            await send(event)

        await super()._initialize(message, declaring)

    def update(self, uri: str) -> None:
        for queue in self.listeners:
            queue.put_nowait({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}})


class Modern(ModernServer):
    """A modern server that honours what it knows, and keeps which listen streams were open."""

    def __init__(self, known: set[str] | None = None) -> None:
        super().__init__(Offer())
        self.known = known or {DOC, OTHER}
        self.asked: list[list[str]] = []
        self.open: dict[Any, tuple[frozenset[str], Any]] = {}
        self.most_open = 0
        self.acknowledges = asyncio.Event()
        self.acknowledges.set()

    async def _listen(self, message: Any, receive: Any, send: Any) -> None:
        wanted = message["params"]["notifications"]
        uris = wanted.get("resourceSubscriptions", [])
        self.asked.append(uris)
        honoured = {**wanted, "resourceSubscriptions": [uri for uri in uris if uri in self.known]}
        stream = await EventStream(send).open()
        await self.acknowledges.wait()
        tag = {"io.modelcontextprotocol/subscriptionId": message["id"]}
        params = {"notifications": honoured, "_meta": tag}
        with self.listener() as queue:
            self.open[message["id"]] = (frozenset(honoured["resourceSubscriptions"]), queue)
            self.most_open = max(self.most_open, len(self.open))
            acknowledged = "notifications/subscriptions/acknowledged"
            await stream.message({"jsonrpc": "2.0", "method": acknowledged, "params": params})
            try:
                await pump(stream, queue, receive)
            finally:
                del self.open[message["id"]]

    def update(self, uri: str) -> None:
        for number, (uris, queue) in self.open.items():
            if uri in uris:
                params = {"uri": uri, "_meta": {"io.modelcontextprotocol/subscriptionId": number}}
                queue.put_nowait({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params})

    def watched(self) -> set[str]:
        return {uri for uris, _ in self.open.values() for uri in uris}


def config(served: Served, era: str, **more: Any) -> dict[str, Any]:
    return {"url": f"{served.origin}/mcp", "era": era, "type": "streamable_http", **more}


@pytest.fixture
async def legacy() -> AsyncIterator[tuple[Legacy, Served]]:
    app = Legacy()
    async with serving(app) as served:
        yield app, served


@pytest.fixture
async def modern() -> AsyncIterator[tuple[Modern, Served]]:
    app = Modern()
    async with serving(app) as served:
        yield app, served


@pytest.mark.parametrize("kind", [Legacy, Modern])
async def test_where_each_user_has_a_grant_nobody_hears_what_another_one_may_see(kind: type[Legacy | Modern]) -> None:
    app, happened = kind(), Happenings()
    async with serving(app) as served:
        personal = config(served, "auto", oauth={"grant": "user"})
        async with connected(personal, happened) as server:
            assert "a grant of each user" in failure(await server.subscribe(DOC)).message
            await server.unsubscribe(DOC)
    told = app.subscribed if isinstance(app, Legacy) else [uris for uris in app.asked if uris]
    assert told == []


class TestLegacy:
    async def test_the_first_subscriber_subscribes_and_the_last_one_unsubscribes(self, legacy):
        app, served = legacy
        happened = Happenings()
        async with connected(config(served, "legacy"), happened) as server:
            assert await asyncio.gather(*(server.subscribe(DOC) for _ in range(3))) == [None] * 3
            assert app.subscribed == [("subscribe", DOC)]
            await until(lambda: app.listeners)
            app.update(f"{DOC}/part")
            await happened.wait(Updated(f"{DOC}/part"))
            for _ in range(2):
                await server.unsubscribe(DOC)
            assert app.subscribed == [("subscribe", DOC)]
            await server.unsubscribe(DOC)
            assert app.subscribed == [("subscribe", DOC), ("unsubscribe", DOC)]
            assert await server.subscribe(DOC) is None
            assert app.subscribed[2:] == [("subscribe", DOC)]

    async def test_what_the_server_refuses_is_refused_and_does_not_count(self, legacy):
        app, served = legacy
        app.refuses = {DOC}
        async with connected(config(served, "legacy")) as server:
            assert failure(await server.subscribe(DOC)).code == -32602
            await server.unsubscribe(DOC)
            assert await server.subscribe(OTHER) is None
            assert app.subscribed == [("subscribe", DOC), ("subscribe", OTHER)]

    async def test_a_server_that_does_not_declare_it_is_not_asked(self):
        app = Legacy(subscribe=False)
        async with serving(app) as served, connected(config(served, "legacy")) as server:
            assert failure(await server.subscribe(DOC)).code == -32601
            assert app.subscribed == []

    async def test_a_new_session_subscribes_again_and_tells_that_updates_may_have_been_missed(
        self, legacy, monkeypatch
    ):
        monkeypatch.setattr(server_module, "BACKOFF", (0.02,))
        app, served = legacy
        happened = Happenings()
        async with connected(config(served, "legacy"), happened) as server:
            await server.subscribe(DOC)
            app.sessions.clear()
            await server.send(call("echo"), ADA)
            await happened.wait(Updated(DOC))
            assert app.subscribed == [("subscribe", DOC)] * 2
            app.update(OTHER)
            await happened.wait(Updated(OTHER))

    async def test_a_silent_server_is_not_waited_for_for_ever(self, legacy):
        app, served = legacy

        async def before(method: str) -> None:
            if method == "resources/subscribe":
                await asyncio.Event().wait()

        app.offer.before = None
        answer = app.offer._answer

        async def slow(method: str, *more: Any) -> Any:
            await before(method)
            return await answer(method, *more)

        app.offer._answer = slow  # type: ignore[method-assign]
        async with connected(config(served, "legacy", timeout=0.3)) as server:
            with pytest.raises(UpstreamTimeout, match="'s'"):
                await server.subscribe(DOC)


class TestModern:
    async def test_a_stream_with_more_is_opened_before_the_one_with_less_is_closed(self, modern):
        app, served = modern
        happened = Happenings()
        async with connected(config(served, "modern"), happened) as server:
            await until(lambda: app.open)
            assert await server.subscribe(DOC) is None
            assert app.asked == [[], [DOC]]
            assert app.most_open == 2
            assert await server.subscribe(DOC) is None
            assert await server.subscribe(OTHER) is None
            assert app.asked[2:] == [[DOC, OTHER]]
            app.update(DOC)
            await happened.wait(Updated(DOC))
            await until(lambda: len(app.open) == 1)
            await server.unsubscribe(DOC)
            assert app.watched() == {DOC, OTHER}, "one of two has left"
            await server.unsubscribe(DOC)
            await until(lambda: app.watched() == {OTHER})
            assert "resources" not in happened.all, "nothing was missed"
            assert happened.all.count(Updated(DOC)) == 1

    async def test_what_is_not_acknowledged_is_refused(self, modern):
        app, served = modern
        async with connected(config(served, "modern")) as server:
            refused = failure(await server.subscribe("x://none"))
            assert (refused.code, refused.data) == (-32602, {"uri": "x://none"})
            assert await server.subscribe(DOC) is None
            assert app.asked[-1] == [DOC]

    async def test_many_at_once_need_few_streams(self, modern):
        app, served = modern
        app.known = {f"x://{number}" for number in range(30)}
        async with connected(config(served, "modern")) as server:
            await until(lambda: app.open)
            app.acknowledges.clear()
            subscribing = asyncio.gather(*(server.subscribe(uri) for uri in sorted(app.known)))
            await until(lambda: len(app.asked) == 2)
            app.acknowledges.set()
            assert await subscribing == [None] * 30
            assert len(app.asked) == 3
            await until(lambda: len(app.open) == 1)

    async def test_nothing_is_lost_or_told_for_nothing_while_streams_are_exchanged(self, modern):
        app, served = modern
        happened = Happenings()
        async with connected(config(served, "modern"), happened) as server:
            await server.subscribe(DOC)
            app.acknowledges.clear()
            subscribing = asyncio.create_task(server.subscribe(OTHER))
            await until(lambda: len(app.asked) >= 2 and app.asked[-1] == [DOC, OTHER])
            app.update(DOC)
            await happened.wait(Updated(DOC))
            app.acknowledges.set()
            await subscribing
            app.update(DOC)
            app.update(OTHER)
            await happened.wait(Updated(DOC), times=2)
            await happened.wait(Updated(OTHER))

    async def test_a_stream_that_broke_is_opened_again_with_all_of_it(self, modern, monkeypatch):
        monkeypatch.setattr("metamcp_asgi.upstream.http_modern.LISTEN_BACKOFF", (0.02,))
        app, served = modern
        happened = Happenings()
        async with connected(config(served, "modern"), happened) as server:
            await server.subscribe(DOC)
            await until(lambda: len(app.open) == 1)
            app.hang_up()
            await happened.wait(Updated(DOC))
            await happened.wait("resources")
            assert app.watched() == {DOC}

    async def test_a_server_without_lists_that_change_has_a_stream_only_while_somebody_subscribes(self):
        app = Modern()
        app.list_changed = False
        async with serving(app) as served, connected(config(served, "modern")) as server:
            assert await server.subscribe(DOC) is None
            assert app.asked == [[DOC]]
            await server.unsubscribe(DOC)
            await until(lambda: not app.open)
            assert await server.subscribe(DOC) is None

    @pytest.mark.parametrize("transport", ["stdio", "http"])
    async def test_with_the_sdk(self, transport):
        script = str(Path(__file__).parent / "asking_server.py")

        async def works(entry: dict[str, Any]) -> None:
            happened = Happenings()
            async with connected({**entry, "era": "modern"}, happened) as server:
                assert await server.subscribe("x://doc") is None
                assert await server.subscribe("x://more") is None
                for uri in ("x://doc", "x://more"):
                    assert text(await server.send(call("touch", uri=uri), ADA)) == uri
                    await happened.wait(Updated(uri))
                await server.unsubscribe("x://doc")

        if transport == "stdio":
            await works({"command": sys.executable, "args": [script, "stdio"]})
        else:
            with running([sys.executable, script, "http"], r"ready (\S+)") as (_, ready):
                await works({"url": f"{ready[1]}/mcp", "type": "streamable_http"})


def test_the_scripted_servers_differ_only_in_what_they_declare():
    assert capabilities(False)["resources"] == {"listChanged": False}
