"""One child for all workers that have the same configuration, for as long as any of them is there."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metamcp_asgi.upstream.companion.hub import Hub
from metamcp_asgi.upstream.companion.serving import serve_socket
from metamcp_asgi.upstream.runtime import Runtime
from tests.companion.workers import RunningServer, Worker, config_of, workers_at
from tests.processes import Program
from tests.stdio import stdio
from tests.upstream.child.children import exists, vanished
from tests.upstream.connecting import ADA, call, text

Workers = Callable[..., Worker]


async def pid(server: RunningServer) -> int:
    return int(text(await server.send(call("pid"))))


async def test_one_child_serves_all_workers(workers: Workers) -> None:
    one, other = await workers().ready(stdio()), await workers().ready(stdio())
    assert await pid(one) == await pid(other)
    assert [text(await server.send(call("count"))) for server in (one, other, one)] == ["3", "4", "5"]
    assert (one.peer, one.announces) == (other.peer, True)
    assert one.peer is not None
    assert (one.peer.era, one.peer.revision) == ("legacy", "2025-11-25")


async def test_another_environment_is_another_server(workers: Workers) -> None:
    first = await workers().ready({**stdio(), "env": {"WHOSE": "ada"}})
    second = await workers().ready({**stdio(), "env": {"WHOSE": "bob"}})
    assert await pid(first) != await pid(second)
    told = [json.loads(text(await server.send(call("environ"))))["WHOSE"] for server in (first, second)]
    assert told == ["ada", "bob"]


async def test_folders_are_meant_as_seen_from_the_worker(workers: Workers, tmp_path: Path, monkeypatch: Any) -> None:
    script = tmp_path / "bin" / "server"
    script.parent.mkdir()
    entry = stdio()
    script.write_text(f"#!/bin/sh\nexec {entry['command']} -I -S {entry['args'][2]} '{{}}'\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    relative = await workers().ready({"command": "bin/server", "cwd": "."})
    nowhere = await workers().ready({"command": "./server", "cwd": "bin"})
    assert await pid(relative) != await pid(nowhere)
    folder = Path(f"/proc/{await pid(nowhere)}/cwd")
    assert folder.readlink() == script.parent  # noqa: ASYNC240 - /proc does not block


async def test_a_child_outlives_the_worker_that_started_it(workers: Workers) -> None:
    first = workers()
    child = await pid(await first.ready(stdio()))
    await first.die()
    assert await pid(await workers().ready(stdio())) == child


async def test_a_child_outlives_the_orderly_end_of_its_only_worker(workers: Workers) -> None:
    first = workers()
    child = await pid(await first.ready(stdio()))
    await first.aclose()
    assert await pid(await workers().ready(stdio())) == child


async def test_a_server_that_left_the_configuration_ends_with_its_last_worker(workers: Workers) -> None:
    one, other = await workers().ready(stdio()), await workers().ready(stdio())
    child = await pid(one)
    await one.retire()
    assert await pid(other) == child
    await other.retire()
    assert await vanished(child)


async def test_a_changed_configuration_gets_a_new_child_and_the_old_one_ends(workers: Workers) -> None:
    worker = workers()
    old = await worker.ready(stdio())
    child = await pid(old)
    new = await worker.ready({**stdio(), "env": {"NEW": "1"}})
    await old.retire()
    assert await vanished(child)
    assert await pid(new) != child


async def test_a_configuration_that_changed_over_a_restart_leaves_no_child_behind(workers: Workers) -> None:
    before = workers()
    child = await pid(await before.ready(stdio()))
    await before.die()
    await workers().ready({**stdio(), "env": {"NEW": "1"}})
    assert await vanished(child)


async def test_a_rolling_restart_with_another_configuration_leaves_no_child_behind(workers: Workers) -> None:
    before = workers()
    child = await pid(await before.ready(stdio()))
    await workers().ready({**stdio(), "env": {"NEW": "1"}})
    assert exists(child)
    await before.die()
    assert await vanished(child)


async def test_a_child_that_nobody_comes_back_for_ends(path: Path) -> None:
    async with serve_socket(path, Hub(Runtime(), idle_seconds=300, grace=0.05)), workers_at(path) as workers:
        worker = workers()
        child = await pid(await worker.ready(stdio()))
        await worker.die()
        assert await vanished(child)


async def test_the_end_of_the_companion_ends_its_children(companion: Program, workers: Workers) -> None:
    children = [await pid(await workers().ready({**stdio(), "env": {"N": n}})) for n in "12"]
    assert companion.stop() == 0
    assert await vanished(*children)


async def test_changes_are_told_to_all_workers(workers: Workers) -> None:
    for era in ("legacy", "modern"):
        one, other = await workers().ready(stdio(era=era)), await workers().ready(stdio(era=era))
        await one.send(call("announce"))
        await one.heard.wait("tools")
        await other.heard.wait("tools")


async def test_a_server_that_is_ready_already_says_so_to_whoever_comes(workers: Workers) -> None:
    await workers().ready(stdio())
    await workers().start(stdio()).heard.wait("ready")


async def test_a_server_that_has_failed_is_tried_at_once_for_whoever_comes(workers: Workers, tmp_path: Path) -> None:
    program, starts = tmp_path / "server", tmp_path / "starts"
    program.write_text(f"#!/bin/sh\necho >> {starts}\nexit 1\n")
    program.chmod(0o755)
    first = workers().start({"command": str(program)})
    # By then the pauses are longer than anybody wants to wait.
    await first.heard.wait("lost", 5)
    entry = stdio()
    program.write_text(f"#!/bin/sh\nexec {entry['command']} -I -S {entry['args'][2]} '{{}}'\n")
    async with asyncio.timeout(7.5):  # the next pause is of 8 at least
        later = await workers().ready({"command": str(program)})
    assert text(await later.send(call("count"))) == "1"
    await first.heard.wait("ready")


async def test_why_a_server_failed_is_told_to_all(workers: Workers) -> None:
    for worker in (workers(), workers()):
        server = worker.start({"command": "no-such-command"})
        await server.heard.wait("lost")
        assert server.state == "failed"
        assert server.error == (
            "command 'no-such-command' not found on the PATH of the server; "
            "install it, give its full path, or set PATH in the server's env"
        )


async def test_what_a_child_last_said_on_stderr_is_passed_on(workers: Workers) -> None:
    server = workers().start(stdio(stderr="no licence\n", exit=4))
    await server.heard.wait("lost")
    assert server.stderr.splitlines()[-1] == "no licence"


async def test_the_bound_on_children_is_the_companions(path: Path) -> None:
    hub = Hub(Runtime(max_children=1), idle_seconds=300)
    async with serve_socket(path, hub), workers_at(path) as workers:
        one, other = workers(), workers()
        await one.ready(stdio())
        await other.ready(stdio())
        third = other.start(stdio(tools=["t"]), "third")
        await third.heard.wait("lost")
        assert "METAMCP_MAX_CHILDREN" in third.error


async def test_a_reset_is_one_for_all(workers: Workers) -> None:
    one, other = await workers().ready(stdio()), await workers().ready(stdio())
    child = await pid(one)
    await one.reset()
    await other.heard.wait("ready", 2)
    assert await pid(other) != child


async def test_a_reset_that_all_workers_ask_for_is_done_once(workers: Workers) -> None:
    one, other = await workers().ready(stdio()), await workers().ready(stdio())
    before = await pid(one)
    await one.reset("first")
    await other.heard.wait("ready", 2)
    after = await pid(other)
    await other.reset("first")
    assert before != after == await pid(one)
    await other.reset("second")
    await one.heard.wait("ready", 3)
    assert await pid(other) != after


async def test_callers_of_different_gateways_share_no_session_even_with_equal_names(workers: Workers) -> None:
    entry = {**stdio(), "sharing": "principal"}
    one, same, other = workers("one"), workers("one"), workers("other")
    pids = [int(text(await (await worker.ready(entry)).send(call("pid"), ADA))) for worker in (one, same, other)]
    assert pids[0] == pids[1] != pids[2]


def test_equal_configurations_are_equal_keys() -> None:
    entry = {**stdio(), "env": {"A": "1"}, "description": "d"}
    assert hash(config_of(entry)) == hash(config_of(dict(entry)))
