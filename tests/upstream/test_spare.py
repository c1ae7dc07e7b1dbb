"""One process of a stdio server is there before its next session asks for it, and is nobody's burden."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from metamcp_asgi.config.file import compile_document
from metamcp_asgi.errors import UpstreamUnavailable
from metamcp_asgi.settings import Settings
from metamcp_asgi.upstream.runtime import Runtime
from metamcp_asgi.upstream.server import Server
from metamcp_asgi.upstream.sharing import Affinity
from tests.serving import gateway, until
from tests.stdio import stdio
from tests.upstream.child.children import exists, vanished
from tests.upstream.connecting import ADA, BOB, Client, Happenings, call, connected, text

CAROL, DAVE = Affinity("carol"), Affinity("dave")


class Watched:
    """A server that notes the process id of each of its processes, and how many there are."""

    def __init__(self, folder: Path, name: str = "s", **options: Any) -> None:
        self._file = folder / f"started-{name}"
        self._file.touch()
        self.children = 0
        self.entry = {**stdio(started=self._file, **options), "sharing": "principal"}

    def count(self, more: int) -> None:
        self.children += more

    def pids(self) -> list[int]:
        """Those of all processes so far, in the order in which they began to read."""
        return [int(line) for line in self._file.read_text().split()]

    async def started(self, number: int) -> int:
        """Returns the id of the process with that number, counted from 1, once it reads."""
        await until(lambda: len(self.pids()) >= number)
        return self.pids()[number - 1]

    async def spare(self, server: Server, number: int) -> int:
        """Returns the id of the process with that number once it is the server's spare."""
        found = await self.started(number)
        assert server._opening._spare is not None
        ahead = server._opening._spare._started
        await until(lambda: any(each._runs() for each in ahead))
        return found

    @contextlib.asynccontextmanager
    async def running(self, idle: float = 300.0, **shared: Any) -> AsyncIterator[Server]:
        async with connected(
            self.entry, idle=idle, **{"warm_spares": True, "children": self.count, **shared}
        ) as server:
            yield server


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


async def pid(server: Server, whose: Affinity) -> int:
    return int(text(await server.send(call("pid", Client()), whose)))


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_the_next_session_does_not_wait_for_its_process_to_start(tmp_path: Path, era: str) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    watched = Watched(tmp_path, era=era, wait_for=gate)
    async with watched.running() as server:
        assert watched.children == 1, "nothing is started ahead for a server of which nobody has a session"
        adas = await pid(server, ADA)
        spare = await watched.spare(server, 3)
        gate.unlink()  # from here on, no process gets so far that it reads
        assert await pid(server, BOB) == spare
        assert await pid(server, ADA) == adas, "who has a session keeps it"
        gate.touch()
        assert await watched.spare(server, 4) not in (adas, spare), "it has a successor"
        assert watched.children == 4
    assert await vanished(*watched.pids())
    assert watched.children == 0


@pytest.mark.parametrize("sharing", ["session", "call", "auto"])
async def test_it_is_there_for_whatever_has_sessions_of_its_own(watched: Watched, sharing: str) -> None:
    watched.entry["sharing"] = sharing
    async with watched.running() as server:
        await pid(server, Affinity("ada", "one"))
        spare = await watched.spare(server, 3)
        assert await pid(server, Affinity("ada", "two")) == spare


async def test_there_is_none_where_all_share_one_session(watched: Watched) -> None:
    watched.entry["sharing"] = "shared"
    async with watched.running() as server:
        assert await pid(server, ADA) == await pid(server, BOB)
        assert watched.children == 1


async def test_there_is_none_when_nobody_wants_one(watched: Watched) -> None:
    async with watched.running(warm_spares=False) as server:
        assert await pid(server, ADA) != await pid(server, BOB)
        assert watched.children == 3


async def test_one_that_is_killed_fails_no_call(watched: Watched) -> None:
    async with watched.running() as server:
        await pid(server, ADA)
        spare = await watched.spare(server, 3)
        os.kill(spare, signal.SIGKILL)  # nobody has noticed yet
        assert await pid(server, BOB) == await watched.started(4)
        assert await watched.spare(server, 5) == await pid(server, CAROL)


async def test_one_that_ends_is_not_started_again_before_somebody_needs_a_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "metamcp.upstream")
    installed, begun, refused, gate = (tmp_path / name for name in ("installed", "begun", "refused", "gate"))
    installed.touch()
    gate.touch()
    watched = Watched(tmp_path, wait_for=gate)
    script = f'test -e {installed} || {{ echo >> {refused}; exit 7; }}; echo >> {begun}; exec "$@"'
    watched.entry["args"] = ["-c", script, "sh", watched.entry["command"], *watched.entry["args"]]
    watched.entry["command"] = "/bin/sh"
    async with watched.running() as server:
        gate.unlink()
        call_of_ada = asyncio.create_task(pid(server, ADA))
        await until(lambda: begun.read_text() == "\n\n")
        installed.unlink()
        gate.touch()
        adas = await call_of_ada
        await until(lambda: "Server s: its spare process exited with code 7" in caplog.messages)
        assert watched.children == 2, "it has given its place back"
        assert await pid(server, ADA) == adas
        assert refused.read_text() == "\n"
        installed.touch()
        assert await pid(server, BOB) == await watched.started(3)
        await watched.spare(server, 4)
        assert (begun.read_text(), refused.read_text()) == ("\n" * 4, "\n")


async def test_one_that_nobody_takes_ends_and_has_no_successor(watched: Watched) -> None:
    async with watched.running(idle=0.4) as server:
        await pid(server, ADA)
        await until(lambda: watched.children == 1)  # her session is idle, too
        assert await vanished(*watched.pids()[1:])
        assert exists(watched.pids()[0])
        assert not server._opening._spare._started


async def test_a_reset_ends_it(watched: Watched) -> None:
    async with watched.running() as server:
        await pid(server, ADA)
        spare = await watched.spare(server, 3)
        before = watched.pids()
        await server.reset()
        assert await pid(server, BOB) not in before
        assert await vanished(spare)


async def test_it_ends_when_its_server_retires_although_calls_are_still_in_flight(
    watched: Watched, tmp_path: Path
) -> None:
    finish = tmp_path / "finish"
    async with watched.running() as server:
        slow = asyncio.create_task(server.send(call("slow", Client(), until=str(finish)), ADA))
        spare = await watched.spare(server, 3)
        retiring = asyncio.create_task(server.retire())
        assert await vanished(spare)
        finish.touch()
        text(await slow)
        await retiring
        assert watched.children == 0


async def test_what_it_writes_to_stderr_is_heard_as_its_servers(tmp_path: Path) -> None:
    heard: list[tuple[str, str]] = []
    watched = Watched(tmp_path, stderr="hello\n")
    async with watched.running(heard=lambda server, line: heard.append((server, line))) as server:
        await pid(server, ADA)
        await until(lambda: len(heard) == 3)
        assert set(heard) == {(server.config.known_as, "hello")}


async def test_it_leaves_places_for_those_that_somebody_needs(watched: Watched) -> None:
    async with watched.running(max_children=4) as server:
        await pid(server, ADA)
        spare = await watched.spare(server, 3)
        assert await pid(server, BOB) == spare
        assert watched.children == 3, "the last place is none for a spare"
        await pid(server, CAROL)
        with pytest.raises(UpstreamUnavailable, match="4 child processes run already"):
            await pid(server, DAVE)


async def test_it_is_the_first_to_go_when_there_is_no_place(tmp_path: Path) -> None:
    one, other = Watched(tmp_path, "one"), Watched(tmp_path, "other")
    document = {"mcpServers": {"one": one.entry, "other": other.entry}}
    runtime = Runtime(max_children=4, warm_spares=True)
    configs = compile_document(document, environ={}).servers
    first, second = (Server(configs[name], runtime, Happenings()) for name in ("one", "other"))
    try:
        first.start()
        await pid(first, ADA)
        spare = await one.spare(first, 3)
        second.start()
        await pid(second, ADA)
        assert not exists(spare)
        with pytest.raises(UpstreamUnavailable, match="4 child processes run already"):
            await pid(first, BOB)
    finally:
        await asyncio.gather(first.aclose(), second.aclose())
        await runtime.aclose()


async def test_a_gateway_has_them_if_it_is_told_so(watched: Watched) -> None:
    keys = [{"name": name, "key": f"sk-spare-{name}-0001"} for name in ("ada", "bob")]
    async with gateway({"s": watched.entry}, Settings(warm_spares=True), apiKeys=keys) as g:
        await g.endpoint("default", keys[0]["key"]).text("s__pid")
        spare = await watched.spare(g.server("s"), 3)
        assert int(await g.endpoint("default", keys[1]["key"]).text("s__pid")) == spare
