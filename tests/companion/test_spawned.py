"""The companion that a master of workers starts by itself."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from metamcp_asgi import companion as companion_module
from metamcp_asgi.companion import Spawned
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.lines.lines import Lines
from metamcp_asgi.settings import Settings
from tests.companion.workers import workers_at
from tests.places import ROOT
from tests.processes import Program
from tests.stdio import stdio
from tests.upstream.child.children import becomes, exists, vanished
from tests.upstream.connecting import call, text

MASTER = """
import os, signal
from metamcp_asgi.companion import Spawned
from metamcp_asgi.settings import Settings
spawned = Spawned(Settings())
worker = os.fork()
if not worker:
    spawned.close()  # as whatever cleans up after a fork may do
    signal.pause()
print("companion", spawned._process.pid, "worker", worker, flush=True)
signal.pause()
"""


async def test_it_serves_in_a_folder_of_its_own_and_ends_with_everything(tmp_path: Path) -> None:
    spawned = Spawned(Settings())
    try:
        folder = spawned.path.parent
        assert folder.stat().st_mode & 0o777 == 0o700
        async with workers_at(spawned.path) as workers:
            server = await workers().ready(stdio())
            child = int(text(await server.send(call("pid"))))
    finally:
        spawned.close()
    assert await vanished(child)
    assert not folder.exists()


async def test_what_its_servers_write_is_found_by_all_processes(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "shared")
    lines.open()
    spawned = Spawned(Settings(metrics_folder=tmp_path / "shared"))
    try:
        async with workers_at(spawned.path) as workers, asyncio.timeout(30):
            await workers().ready(stdio(stderr="hello\n"))
            while not (found := [line for _, line in lines.read().lines if line.source == "stderr"]):
                await lines.more(lines.read().place)
        assert [(line.text, line.process) for line in found] == [("hello", spawned._process.pid)]
    finally:
        spawned.close()
        lines.close()


async def test_one_that_died_is_started_again_and_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(companion_module, "LEAST_LIFE", 0.0)
    spawned = Spawned(Settings())
    try:
        async with workers_at(spawned.path) as workers:
            server = await workers().ready(stdio())
            before = spawned._process.pid
            spawned.tend()
            assert spawned._process.pid == before
            os.kill(before, signal.SIGKILL)
            await server.heard.wait("lost")
            assert await becomes(lambda: spawned._process.poll() is not None)
            spawned.tend()
            await server.heard.wait("ready", 2)
            assert spawned._process.pid != before
    finally:
        spawned.close()


async def test_it_outlives_a_killed_master_for_as_long_as_the_workers_do() -> None:
    master = Program([sys.executable, "-c", MASTER], cwd=ROOT)
    try:
        told = master.wait_for_line(r"companion (\d+) worker (\d+)")
        companion, worker = int(told[1]), int(told[2])
        master.signal(signal.SIGKILL)
        assert await vanished(master.pid)
        assert exists(companion)
        os.kill(worker, signal.SIGKILL)
        assert await vanished(companion)
    finally:
        master.stop()


def test_ctrl_c_is_for_the_master() -> None:
    spawned = Spawned(Settings())
    try:
        assert os.getpgid(spawned._process.pid) != os.getpgid(0)
    finally:
        spawned.close()


def test_one_that_does_not_start_is_a_clear_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAMCP_MAX_CHILDREN", "many")
    with pytest.raises(ConfigError, match="did not start"):
        Spawned(Settings())


def test_its_log_is_as_talkative_as_its_masters() -> None:
    spawned = Spawned(Settings(log_level="error"))
    try:
        assert b"LOG_LEVEL=error" in Path(f"/proc/{spawned._process.pid}/environ").read_bytes().split(b"\0")
    finally:
        spawned.close()
