"""Who shares a session of a server with whom (eras.md 2.2), shown by a server that counts the calls of each session."""

import asyncio

import pytest

from metamcp_asgi.settings import Settings
from metamcp_asgi.upstream import server as server_module
from tests.scripted import LegacyServer, ModernServer, Offer, text
from tests.serving import gateway, serving, until
from tests.stdio import stdio

ADA, BOB = "sk-sharing-ada-0001", "sk-sharing-bob-0002"


def stateful(*more):
    """Returns an offer with a counter for each session."""
    offer = Offer()
    offer.add("count", offer.count)
    for tool in more:
        offer.add(tool.__name__, tool)
    return offer


class Shared:
    """A gateway in front of one counting server, with an open endpoint and one that asks for a key."""

    def __init__(self, gateway, server):
        self.gateway = gateway
        self.server = server
        self.stranger = gateway.endpoint("default")
        self.ada = gateway.endpoint("locked", ADA)
        self.bob = gateway.endpoint("locked", BOB)


def sharing(mode, app=None, settings=None, **config):
    settings = settings or Settings(server_deadline=5.0)
    app = app or LegacyServer(stateful())

    class Opened:
        async def __aenter__(self):
            self.serving = serving(app)
            up = await self.serving.__aenter__()
            self.gateway = gateway(
                {"s": {"url": f"{up.origin}/mcp", "sharing": mode, **config}},
                settings,
                namespaces={"all": {"servers": ["s"]}},
                endpoints={
                    "default": {"namespace": "all", "apiKeyAuth": False},
                    "locked": {"namespace": "all"},
                },
                apiKeys=[{"name": "ada", "key": ADA}, {"name": "bob", "key": BOB}],
            )
            g = await self.gateway.__aenter__()
            await g.ready()
            return Shared(g, app)

        async def __aexit__(self, *error):
            await self.gateway.__aexit__(*error)
            await self.serving.__aexit__(*error)

    return Opened()


async def counts(*clients):
    return [int(await client.text("s__count")) for client in clients]


@pytest.mark.parametrize("mode", ["auto", "shared"])
async def test_shared_by_all(mode):
    async with sharing(mode) as s:
        assert await counts(s.ada, s.bob, s.stranger, await s.stranger.session(), s.ada) == [1, 2, 3, 4, 5]
        assert len(s.server.opened) == 1


async def test_one_session_for_each_principal():
    async with sharing("principal") as s:
        in_session = await s.ada.session()
        assert await counts(s.ada, s.ada, s.bob, in_session, s.bob) == [1, 2, 1, 3, 2]


async def test_strangers_never_share_by_principal():
    async with sharing("principal") as s:
        one, other = await s.stranger.session(), await s.stranger.session()
        assert await counts(s.stranger, s.stranger, one, one, other) == [1, 1, 1, 2, 1]


async def test_one_session_for_each_client_session():
    async with sharing("session") as s:
        one, other, stranger = await s.ada.session(), await s.ada.session(), await s.stranger.session()
        assert await counts(one, one, other, stranger, stranger, one) == [1, 2, 1, 1, 2, 3]


async def test_modern_clients_have_no_session_and_share_by_principal():
    async with sharing("session") as s:
        assert await counts(s.ada, s.ada, s.bob, s.stranger, s.stranger) == [1, 2, 1, 1, 1]


async def test_one_session_for_each_call_which_is_ended_after_it():
    async with sharing("call") as s:
        assert await counts(s.ada, s.ada, await s.ada.session(), s.stranger) == [1, 1, 1, 1]
        main = s.server.opened[0]
        await until(lambda: set(s.server.ended) == set(s.server.opened) - {main})
        assert len(s.server.opened) == 5


async def test_lists_use_one_session_whatever_the_sharing():
    async with sharing("call") as s:
        for _ in range(3):
            assert await s.ada.tools() == ["s__count", "s__echo"] or await s.ada.tools() == ["s__echo", "s__count"]
        assert len(s.server.opened) == 1


async def test_a_modern_server_over_http_has_no_session_to_share():
    async with sharing("principal", ModernServer(stateful())) as s:
        assert await counts(s.ada, s.bob, s.stranger) == [1, 2, 3]


async def test_a_process_for_each_principal():
    keys = [{"name": "ada", "key": ADA}, {"name": "bob", "key": BOB}]
    async with gateway({"s": {**stdio(), "sharing": "principal"}}, apiKeys=keys) as g:
        ada, bob = g.endpoint("default", ADA), g.endpoint("default", BOB)
        pids = [await client.text("s__pid") for client in (ada, bob, ada, bob)]
        assert pids[:2] == pids[2:]
        assert pids[0] != pids[1]


async def test_concurrent_first_calls_open_one_session():
    async with sharing("principal") as s:
        values = await asyncio.gather(*(s.ada.text("s__count") for _ in range(8)))
        assert sorted(map(int, values)) == list(range(1, 9))
        assert len(s.server.opened) == 2


async def test_a_forgotten_session_is_renewed_for_its_owner_alone():
    async with sharing("principal") as s:
        assert await counts(s.ada, s.bob, s.ada) == [1, 1, 2]
        s.server.sessions.discard(s.server.offer.executed[0][1])
        assert await counts(s.ada, s.bob) == [1, 2]
        assert [name for name, _ in s.server.offer.executed] == ["count"] * 5


async def test_concurrent_calls_on_a_forgotten_session_share_one_renewal():
    async with sharing("principal") as s:
        await counts(s.ada)
        s.server.sessions.discard(s.server.offer.executed[0][1])
        values = await asyncio.gather(*(s.ada.text("s__count") for _ in range(8)))
        assert sorted(map(int, values)) == list(range(1, 9))
        assert len(s.server.opened) == 3


async def test_an_idle_session_is_closed_and_one_in_use_is_not():
    started, done = asyncio.Event(), asyncio.Event()

    async def work(context):
        started.set()
        await done.wait()
        return text("done")

    settings = Settings(server_deadline=5.0, session_idle_seconds=0.2)
    async with sharing("principal", LegacyServer(stateful(work)), settings) as s:
        busy = asyncio.create_task(s.bob.text("s__work"))
        await started.wait()
        bobs = s.server.offer.executed[0][1]
        assert await counts(s.ada) == [1]
        adas = s.server.offer.executed[1][1]
        await until(lambda: adas in s.server.ended)
        assert bobs not in s.server.ended
        done.set()
        assert await busy == "done"
        assert await counts(s.ada) == [1], "a new session counts anew"
        await until(lambda: bobs in s.server.ended)
        assert s.server.opened[0] not in s.server.ended, "the shared one, which reads the lists, stays"


async def test_at_the_limit_of_one_caller_the_longest_idle_of_its_sessions_makes_room(monkeypatch):
    monkeypatch.setattr(server_module, "MAX_SESSIONS", 8)
    async with sharing("session") as s:
        one, two, three = [await s.ada.session() for _ in range(3)]
        assert await counts(one, two, one, three) == [1, 1, 2, 1]
        twos = s.server.offer.executed[1][1]
        await until(lambda: s.server.ended == [twos])
        assert await counts(one, three) == [3, 2]


async def test_at_the_limit_of_the_server_the_longest_idle_session_of_anybody_makes_room(monkeypatch):
    monkeypatch.setattr(server_module, "MAX_SESSIONS", 2)
    async with sharing("principal") as s:
        stranger = await s.stranger.session()
        assert await counts(s.ada, s.bob, s.ada, stranger) == [1, 1, 2, 1]
        bobs = s.server.offer.executed[1][1]
        await until(lambda: s.server.ended == [bobs])
        assert await counts(s.ada) == [3]


async def test_no_caller_closes_the_sessions_of_others_or_takes_more_than_a_quarter(monkeypatch):
    monkeypatch.setattr(server_module, "MAX_SESSIONS", 8)
    started, done = asyncio.Semaphore(0), asyncio.Event()

    async def work(context):
        started.release()
        await done.wait()
        return text("done")

    async with sharing("session", LegacyServer(stateful(work))) as s:
        assert await counts(s.bob) == [1]
        for _ in range(10):
            assert await counts(await s.ada.session()) == [1]
        assert await counts(s.bob) == [2]
        # A stranger of no session has one for each request, and those count.
        busy = [asyncio.create_task(client.text("s__work")) for client in (s.stranger, await s.stranger.session())]
        async with asyncio.timeout(20):
            for _ in busy:
                await started.acquire()
        for stranger in (s.stranger, await s.stranger.session()):
            refused = await stranger.call("s__count")
            assert refused["isError"]
            assert "2 sessions open and in use for callers without a key" in refused["content"][0]["text"]
        assert await counts(s.bob, await s.ada.session()) == [3, 1]
        done.set()
        assert await asyncio.gather(*busy) == ["done", "done"]
        assert await counts(s.stranger) == [1]


async def test_at_the_limit_with_all_in_use_the_call_fails_clearly(monkeypatch):
    monkeypatch.setattr(server_module, "MAX_SESSIONS", 1)
    started, done = asyncio.Event(), asyncio.Event()

    async def work(context):
        started.set()
        await done.wait()
        return text("done")

    async with sharing("principal", LegacyServer(stateful(work))) as s:
        busy = asyncio.create_task(s.ada.text("s__work"))
        await started.wait()
        refused = await s.bob.call("s__count")
        assert refused["isError"]
        assert "1 sessions open" in refused["content"][0]["text"]
        done.set()
        assert await busy == "done"
        assert await counts(s.bob) == [1]


async def test_sessions_that_are_not_shared_end_with_the_gateway():
    app = LegacyServer(stateful())
    async with sharing("principal", app) as s:
        await counts(s.ada, s.bob)
    assert sorted(app.ended) == sorted(app.opened)
