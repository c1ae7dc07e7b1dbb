"""The life of a child: how it starts, how it ends, and that nothing of it stays behind (T-92)."""

import asyncio
import itertools
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from metamcp_asgi.errors import UpstreamUnavailable
from metamcp_asgi.upstream.child import Child
from metamcp_asgi.upstream.environment import child_environment
from metamcp_asgi.upstream.reaper import Reaper
from tests.upstream.child.children import ECHO, STUBBORN, Spawner, becomes, descriptors, exists, vanished, zombies


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("pass", "exited with code 0"),
        ("raise SystemExit(7)", "exited with code 7"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("import os; os.kill(os.getpid(), 34)", "killed by SIGRTMIN"),
        ("import os; os.kill(os.getpid(), 35)", "killed by signal 35"),
    ],
)
async def test_the_way_it_ended_is_reported_once(spawner: Spawner, source: str, reason: str) -> None:
    short = await spawner.python(source)
    assert await short.exit_reason() == reason
    assert not short.child.running
    with pytest.raises(UpstreamUnavailable, match="the server"):
        short.child.write(b"1")
    await short.child.stop()
    await short.child.drain()
    assert short.exits == [reason]


async def test_where_the_kernel_has_no_pidfd_the_exit_is_seen_too(
    spawner: Spawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    short = await spawner.python("raise SystemExit(7)")
    assert await short.exit_reason() == "exited with code 7"
    echo = await spawner.python(ECHO)
    await echo.child.stop()
    assert echo.exits == ["exited with code 0"]


async def test_stop_lets_a_child_leave_at_the_end_of_its_input(spawner: Spawner) -> None:
    echo = await spawner.python(ECHO)
    await asyncio.wait_for(echo.child.stop(60.0), 30)
    assert echo.exits == ["exited with code 0"]


async def test_stop_ends_a_child_that_ignores_the_end_of_its_input(spawner: Spawner) -> None:
    sleeper = await spawner.python("import time; print(1, flush=True); time.sleep(60)")
    await sleeper.said()
    await sleeper.child.stop(0.1)
    assert sleeper.exits == ["killed by SIGTERM"]


async def test_stop_ends_a_child_that_ignores_sigterm(spawner: Spawner) -> None:
    stubborn = await spawner.python(STUBBORN)
    await stubborn.said()
    await stubborn.child.stop(0.1)
    assert stubborn.exits == ["killed by SIGKILL"]


async def test_stop_may_be_called_by_many_and_cancelled_by_some(spawner: Spawner) -> None:
    stubborn = await spawner.python(STUBBORN)
    await stubborn.said()
    stops = [asyncio.create_task(stubborn.child.stop(0.1)) for _ in range(5)]
    await asyncio.sleep(0)
    stops[0].cancel()
    results = await asyncio.gather(*stops, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [None] * 4
    assert stubborn.exits == ["killed by SIGKILL"]


@pytest.mark.parametrize("wrapper", ["waits", "leaves"])
async def test_stop_ends_the_server_behind_a_wrapper(spawner: Spawner, wrapper: str) -> None:
    """As under npx or uvx: the real server is the child of our child, and holds the same pipes."""
    wrapped = await spawner.python(
        """
        import subprocess, sys
        server = subprocess.Popen([sys.executable, "-I", "-S", sys.argv[1]])
        if sys.argv[2] == "waits": server.wait()
        else: sys.stdin.read()
        """,
        spawner.script(STUBBORN),
        wrapper,
    )
    server = int(await wrapped.said())
    await wrapped.child.stop(0.1)
    assert await vanished(server, wrapped.child.pid)
    assert len(wrapped.exits) == 1


async def test_the_server_behind_a_wrapper_that_dies_is_ended(spawner: Spawner) -> None:
    wrapped = await spawner.python(
        """
        import os, subprocess, sys
        subprocess.Popen([sys.executable, "-I", "-S", sys.argv[1]])
        sys.stdin.readline()
        os._exit(4)
        """,
        spawner.script("import os, time; print(os.getpid(), flush=True); time.sleep(60)"),
    )
    server = int(await wrapped.said())
    wrapped.child.write(b"die")
    assert await wrapped.exit_reason() == "exited with code 4"
    assert await vanished(server)


async def test_one_that_left_the_group_cannot_hold_the_exit_back(spawner: Spawner) -> None:
    """A daemon in a session of its own keeps our pipes open; it is not ours to kill, nor to wait for."""
    parent = await spawner.python(
        """
        import subprocess, sys
        daemon = subprocess.Popen(["sleep", "60"], start_new_session=True)
        print(daemon.pid, flush=True)
        """
    )
    daemon = int(await parent.said())
    try:
        assert await parent.exit_reason() == "exited with code 0"
    finally:
        os.kill(daemon, 9)


@pytest.mark.parametrize(("stream", "word"), [(0, "input"), (1, "output")])
async def test_a_child_that_closes_a_stream_is_of_no_use_any_more(spawner: Spawner, stream: int, word: str) -> None:
    closer = await spawner.python(f"import os, time; os.write(1, b'1\\n'); os.close({stream}); time.sleep(60)")
    await closer.said()
    assert await becomes(lambda: not closer.child.running)
    with pytest.raises(UpstreamUnavailable, match=f"closed its {word}"):
        closer.child.write(b"1")
    assert await closer.exit_reason() == "killed by SIGTERM"


@pytest.mark.parametrize(
    ("command", "cwd", "reason"),
    [
        ("no-such-command", None, "'no-such-command' not found on the PATH"),
        ("/no/such/file", None, "'/no/such/file' does not exist"),
        ("~/no/such/file", None, "'~/no/such/file' does not exist"),
        ("{folder}", None, "not an executable file"),
        ("{folder}/plain", None, "not an executable file"),
        ("{folder}/noformat", None, "cannot be started: Exec format error"),
        ("cat", "{folder}/missing", "missing' does not exist"),
        ("cat", "{folder}/plain", "is not a directory"),
    ],
)
async def test_one_that_cannot_start_says_why(
    spawner: Spawner, tmp_path: Path, command: str, cwd: str | None, reason: str
) -> None:
    (tmp_path / "plain").write_text("data")
    (tmp_path / "noformat").write_bytes(b"\x01\x02")
    (tmp_path / "noformat").chmod(0o755)
    with pytest.raises(UpstreamUnavailable, match=reason) as failure:
        await spawner.command(command.format(folder=tmp_path), cwd=cwd and cwd.format(folder=tmp_path))
    assert not failure.value.sent
    assert not zombies()


async def test_a_null_character_is_named_not_thrown(spawner: Spawner) -> None:
    with pytest.raises(UpstreamUnavailable, match="null character"):
        await spawner.command("cat", ["a\0b"])
    with pytest.raises(UpstreamUnavailable, match="null character"):
        await spawner.command("cat", env={"A": "a\0b"})


async def test_it_starts_where_and_with_what_it_was_told(
    spawner: Spawner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PATH is the child's own, a relative command counts from cwd, ~ is home, and no shell reads arguments."""
    (tmp_path / "bin").mkdir()
    server = tmp_path / "bin" / "server"
    server.write_text('#!/bin/sh\necho "$(pwd) $1 $TOKEN $GATEWAY_SECRET"\n')
    server.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GATEWAY_SECRET", "leaked")
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    for command, cwd, env in (
        ("server", "~", {"PATH": path}),
        ("bin/server", str(tmp_path), {}),
        ("~/bin/server", "~", {}),
    ):
        told = await spawner.command(command, ["$(id)"], cwd=cwd, env={"TOKEN": "t", **env})
        assert (await told.said()).decode().strip() == f"{tmp_path} $(id) t"


async def test_it_gets_real_pipes_and_none_of_our_descriptors(spawner: Spawner) -> None:
    """Not even a listening socket that was made inheritable for a worker process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        child = await spawner.command(
            "sh", ["-c", 'echo before > /dev/stderr; for fd in /proc/$$/fd/*; do echo "$(readlink $fd)"; done']
        )
        await child.exit_reason()
    targets = [child.messages.get_nowait().decode() for _ in range(child.messages.qsize())]
    assert not [target for target in targets if target.startswith("socket:")]
    assert len([target for target in targets if target.startswith("pipe:")]) >= 3
    assert child.child.stderr == "before"


async def test_it_leads_a_session_of_its_own(spawner: Spawner) -> None:
    echo = await spawner.python(ECHO)
    assert os.getsid(echo.child.pid) == os.getpgid(echo.child.pid) == echo.child.pid != os.getsid(0)


async def test_a_cancelled_spawn_leaves_no_process(spawner: Spawner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever turn of the event loop the cancellation comes in."""
    exits: list[str] = []
    watched: list[int] = []
    watch = Reaper.watch

    def note(reaper: Reaper, pgid: int) -> None:
        watched.append(pgid)
        watch(reaper, pgid)

    monkeypatch.setattr(Reaper, "watch", note)
    arguments = ["-I", "-S", spawner.script(STUBBORN)]
    for turns in itertools.count():
        spawning = asyncio.create_task(
            Child.spawn(
                sys.executable,
                arguments,
                name="test",
                env=child_environment(),
                cwd=None,
                on_message=lambda _: None,
                on_exit=exits.append,
                reaper=spawner.reaper,
            )
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        if not spawning.cancel():
            spawner.children.append(spawning.result())
            break
        with pytest.raises(asyncio.CancelledError):
            await spawning
    # Two at least were cancelled after their process had been started; the last one was not cancelled any more.
    *cancelled, survivor = watched
    assert len(cancelled) >= 2
    assert not any(map(exists, cancelled))
    assert exists(survivor)
    assert spawner.reaper._groups == {survivor}
    assert not exits
    assert not zombies()


@pytest.mark.parametrize("end", ["stop", "exit"])
async def test_fifty_children_leave_no_descriptor_and_no_zombie(spawner: Spawner, end: str) -> None:
    async def one() -> None:
        echo = await spawner.python(ECHO if end == "stop" else "input()")
        echo.child.write(b"1")
        await (echo.child.stop() if end == "stop" else echo.exit_reason())
        await echo.child.stop()

    await one()
    await asyncio.sleep(0)
    before = descriptors()
    for _ in range(10):
        await asyncio.gather(*(one() for _ in range(5)))
    assert await becomes(lambda: descriptors() <= before)
    assert not zombies()


_CUT_SHORT = """
import asyncio, sys
from pathlib import Path
from tests.upstream.child.children import STUBBORN, Spawner, vanished

async def main():
    spawner = Spawner(Path(sys.argv[1]))
    stubborn = await spawner.python(STUBBORN)
    stopping = asyncio.create_task(stubborn.child.stop(60.0))
    await asyncio.sleep(0)
    return int(await stubborn.said())

print(asyncio.run(vanished(asyncio.run(main()), within=0.9)))
"""


def test_an_event_loop_that_shuts_down_takes_an_ending_child_with_it(tmp_path: Path) -> None:
    """Nobody is left to wait out its grace, and the watchdog needs longer than this."""
    cut_short = subprocess.run(
        [sys.executable, "-c", _CUT_SHORT, tmp_path], cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, check=True
    )
    assert cut_short.stdout == b"True\n"
