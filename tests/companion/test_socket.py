"""Who may use the companion's socket: the user that runs it, and nobody else; and one companion at a time."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.companion.workers import COMMAND, companion_at, workers_at
from tests.places import ROOT
from tests.processes import Program
from tests.stdio import stdio

NOBODY = 65534
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")

TALK = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
peer = socket.socket(socket.AF_UNIX)
try:
    peer.connect(sys.argv[1])
    print(len(peer.recv(100)))
except PermissionError:
    print("denied")
"""
LISTEN = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
listener.listen()
print("listening", flush=True)
peer, _ = listener.accept()
print("got", len(peer.recv(100)), flush=True)
"""


def refused(path: Path, **env: str) -> str:
    """Returns what a companion says that does not start there."""
    done = subprocess.run(
        [*COMMAND, path], capture_output=True, text=True, timeout=60, cwd=ROOT, env={**os.environ, **env}, check=False
    )
    assert done.returncode == 1, done
    assert done.stdout == ""
    return done.stderr.strip()


def test_only_its_user_can_reach_the_socket_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        with companion_at(path):
            assert stat.filemode(path.stat().st_mode) == "srw-------"
            assert stat.filemode(Path(f"{path}.lock").stat().st_mode) == "-rw-------"
    finally:
        os.umask(before)


@root
def test_another_user_is_kept_out_by_the_mode_and_behind_it_by_the_companion(companion: Program, path: Path) -> None:
    path.parent.chmod(0o755)

    def talks() -> str:
        command = [sys.executable, "-c", TALK, str(path), str(NOBODY)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()

    assert talks() == "denied"
    path.chmod(0o666)
    # The connection is closed without a word.
    assert talks() == "0"
    companion.wait_for_line(rf"A worker runs as user {NOBODY}, and not as our user 0")


@root
async def test_a_worker_tells_nothing_to_a_companion_of_another_user(path: Path) -> None:
    path.parent.chmod(0o777)
    program = Program([sys.executable, "-c", LISTEN, path, str(NOBODY)])
    try:
        program.wait_for_line("listening")
        async with workers_at(path) as workers:
            server = workers().start(stdio())
            await server.heard.wait("lost")
            companion = "the companion metamcp-stdio"
            assert server.error == f"cannot run: {companion} runs as user {NOBODY}, and not as our user 0"
            program.wait_for_line("got 0")
    finally:
        program.stop()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use any socket")
async def test_a_socket_that_may_not_be_used_is_told_apart(path: Path) -> None:
    path.parent.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        os.chmod(path, 0)  # noqa: PTH101 - and ASYNC240
        async with workers_at(path) as workers:
            server = workers().start(stdio())
            await server.heard.wait("lost")
            assert server.error.endswith("belongs to another user")


def test_the_socket_goes_with_the_companion(path: Path) -> None:
    with companion_at(path) as program:
        assert program.stop() == 0
        assert not path.exists()


def test_a_second_companion_leaves_the_first_alone(companion: Program, path: Path) -> None:
    inode = path.stat().st_ino
    assert refused(path) == f"metamcp: {path}: another companion listens there already"
    assert path.stat().st_ino == inode


def test_a_file_that_is_no_socket_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    assert refused(path) == f"metamcp: {path}: is there already and is no socket"
    assert path.read_text() == "precious"


def test_a_socket_that_cannot_be_made_is_a_clear_fault(path: Path) -> None:
    missing = path.parent / "missing" / "stdio"
    assert refused(missing) == f"metamcp: {missing}: the socket cannot be made: No such file or directory"
    long = path.parent / ("x" * 120)
    assert refused(long) == f"metamcp: {long}: the socket cannot be made: the path is too long for a socket"


def test_the_socket_can_be_named_in_the_environment(path: Path) -> None:
    command = [*COMMAND[:-1]]
    program = Program(command, {"METAMCP_STDIO_SOCKET": str(path)}, ROOT)
    try:
        program.wait_for_line(f"listens at {path}")
    finally:
        program.stop()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr.strip()) == (
        1,
        "metamcp: name the socket with --socket, or with METAMCP_STDIO_SOCKET",
    )
