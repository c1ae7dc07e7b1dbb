"""Idle sessions are closed even while others come, go, and are slow to close."""

import asyncio

from metamcp_asgi.protocol.outcome import Result
from metamcp_asgi.upstream.request import Peer, Request, SessionLost
from metamcp_asgi.upstream.sessions import Sessions
from tests.serving import until

PING = Request("ping", {})


class Remote:
    """One session with a server that may take its time to end, or forget it."""

    def __init__(self) -> None:
        self.peer = Peer(era="legacy", revision="2025-11-25")
        self.may_close = asyncio.Event()
        self.may_close.set()
        self.closing = self.closed = self.forgotten = False

    async def send(self, request):
        if self.forgotten:
            raise SessionLost("no longer knows our session")
        return Result(b"{}")

    async def aclose(self):
        self.closing = True
        await self.may_close.wait()
        self.closed = True


class Opened:
    """Opens such sessions and keeps them in order."""

    def __init__(self) -> None:
        self.all: list[Remote] = []

    async def __call__(self, events, terms):
        self.all.append(Remote())
        return self.all[-1]


async def test_a_session_that_is_renewed_while_another_one_closes_slowly_is_not_lost():
    opened = Opened()
    sessions = Sessions(opened, 0.1, 10, lambda _: None)
    await sessions.send("slow", PING)
    await sessions.send("other", PING)
    slow, other = opened.all
    slow.may_close.clear()
    await until(lambda: slow.closing)
    other.forgotten = True
    await sessions.send("other", PING)
    renewed = opened.all[-1]
    assert renewed is not other
    slow.may_close.set()
    await sessions.send("other", PING)
    assert len(opened.all) == 3, "the renewed session is still the one that is used"
    await until(lambda: renewed.closed)
    await sessions.aclose()
    assert all(remote.closed for remote in opened.all)


async def test_a_session_that_makes_room_while_another_one_closes_slowly_stops_nothing():
    opened = Opened()
    sessions = Sessions(opened, 0.1, 2, lambda _: None)
    for name in ("slow", "other"):
        await sessions.send(name, PING, owner=name)
    opened.all[0].may_close.clear()
    await until(lambda: opened.all[0].closing)
    for name in ("third", "fourth"):
        await sessions.send(name, PING, owner=name)
    opened.all[0].may_close.set()
    await until(lambda: all(remote.closed for remote in opened.all))
    await sessions.aclose()


async def test_renewals_do_not_add_up_to_more_and_more_tasks():
    opened = Opened()
    sessions = Sessions(opened, 60, 10, lambda _: None)
    await sessions.send("one", PING)
    before = len(asyncio.all_tasks())
    for _ in range(20):
        opened.all[-1].forgotten = True
        await sessions.send("one", PING)
    await until(lambda: all(remote.closed for remote in opened.all[:-1]))
    assert len(asyncio.all_tasks()) <= before + 2
    await sessions.aclose()
    assert len(asyncio.all_tasks()) == 1
