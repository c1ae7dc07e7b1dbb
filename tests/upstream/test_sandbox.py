"""What a stdio server with a ``sandbox`` can reach of the machine, told by the server itself."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metamcp_asgi.settings import Settings
from tests.serving import gateway
from tests.stdio import SCRIPT, stdio

PYTHON = os.path.realpath(sys.executable)
OPEN: dict[str, Any] = {
    "namespaces": {"n": {"servers": ["s"]}},
    "endpoints": {"default": {"namespace": "n", "apiKeyAuth": False}},
}
NEEDED = [str(Path(sys.executable).parent.parent), sys.base_prefix, str(SCRIPT)]
"""What the program of the server has to read."""

_TRY = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"]
possible = pytest.mark.skipif(
    shutil.which("bwrap") is None or subprocess.run(_TRY, check=False).returncode != 0,
    reason="this kernel lets nobody make namespaces",
)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that the server may know of."""
    (tmp_path / "notes").write_text("a note")
    return tmp_path


def boxed(**sandbox: Any) -> dict[str, Any]:
    given = {**sandbox, "read": [*NEEDED, *sandbox.get("read", [])]}
    return {**stdio(tools=["attempt"]), "sandbox": given}


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@possible
async def test_a_server_in_a_sandbox_sees_nothing_that_is_not_listed(outside: Path, listening: int) -> None:
    async with gateway({"s": {**boxed(), "env": {"HOME": str(outside)}}}, **OPEN) as running:
        assert await running.text("s__echo", word="hello") == '{"word": "hello"}'
        assert await running.text("s__attempt", read=str(outside / "notes")) == "No such file or directory"
        assert await running.text("s__attempt", read="/etc/shadow") == "No such file or directory"
        assert await running.text("s__attempt", read=str(outside)) == "", "its home is an empty one"
        assert await running.text("s__attempt", write=str(SCRIPT)) == "Read-only file system"
        assert await running.text("s__attempt", write="/anywhere") == "Read-only file system"
        assert await running.text("s__attempt", write="/dev/anything") == "Read-only file system"
        assert await running.text("s__attempt", write="/dev/null") == "done"
        assert await running.text("s__attempt", write="/tmp/scratch") == "done"
        assert await running.text("s__attempt", connect=listening) == "Connection refused"
        assert int(await running.text("s__pid")) < 10, "it does not see other processes"


@possible
async def test_what_is_listed_can_be_read_or_written(outside: Path, listening: int) -> None:
    (outside / "mine").mkdir()
    server = boxed(read=[str(outside)], write=[str(outside / "mine")], network=True)
    async with gateway({"s": {**server, "cwd": str(outside)}}, **OPEN) as running:
        assert await running.text("s__attempt", read="notes") == "a note"
        assert await running.text("s__attempt", write=str(outside / "notes")) == "Read-only file system"
        assert await running.text("s__attempt", write=str(outside / "mine/x")) == "done"
        assert await running.text("s__attempt", connect=listening) == "done"
    assert (outside / "mine/x").read_text() == "written"


@possible
async def test_a_server_in_a_sandbox_ends_with_its_gateway_and_keeps_its_limits(outside: Path) -> None:
    settings = Settings(stdio_limits=(("fsize", 3),))
    async with gateway({"s": boxed(write=[str(outside)])}, settings, **OPEN) as running:
        assert await running.text("s__attempt", write=str(outside / "x")) == "File too large"
        assert processes(str(outside))
    assert not processes(str(outside))


def processes(argument: str) -> list[Path]:
    """Returns the processes that have an argument with this text in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if argument.encode() in path.read_bytes():
                found.append(path)
    return found


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
async def test_what_the_box_would_lack_is_told(outside: Path) -> None:
    for sandbox, said in (
        (True, f"its command is {sys.executable}, which its sandbox does not have; add its folder to sandbox.read"),
        ({"write": [str(outside / "gone")]}, f"its sandbox.write has '{outside}/gone', which is not there"),
    ):
        async with gateway({"s": {**stdio(), "sandbox": sandbox}}, **OPEN) as running:
            assert said in (await running.missing())["s"]


async def test_without_bubblewrap_the_server_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    async with gateway({"s": {**stdio(), "sandbox": True}}, **OPEN) as running:
        assert "needs bubblewrap, which is not installed" in (await running.missing())["s"]


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
async def test_a_script_needs_what_runs_it(outside: Path) -> None:
    script, interpreter = outside / "script", outside / "elsewhere" / "python"
    interpreter.parent.mkdir()
    interpreter.symlink_to(sys.executable)
    script.write_text(f"#!{interpreter} -I\n")
    script.chmod(0o700)
    config = {"command": str(script), "sandbox": {"read": [str(outside)]}}
    async with gateway({"s": config}, **OPEN) as running:
        said = (await running.missing())["s"]
    assert f"a script that {PYTHON} runs, which its sandbox does not have" in said


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
async def test_a_program_that_is_a_pipe_holds_nobody_up(outside: Path) -> None:
    pipe = outside / "pipe"
    os.mkfifo(pipe, 0o700)
    async with gateway({"s": {"command": str(pipe), "sandbox": {"read": [str(outside)]}}}, **OPEN) as running:
        assert await asyncio.wait_for(running.missing(), 15)
