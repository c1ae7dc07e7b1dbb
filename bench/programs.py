"""Processes of a measurement: each on the core it is given, with what it costs, and stopped at the end.

Linux only: processor time and memory are read from ``/proc``. Knows nothing of MCP.
"""

import contextlib
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

__all__ = [
    "LOAD_CORE",
    "ROOT",
    "TEST_CORE",
    "BenchError",
    "Program",
    "free_port",
    "program",
    "python",
    "running",
    "workspace",
]

ROOT = Path(__file__).resolve().parent.parent

_CORES = sorted(os.sched_getaffinity(0))
TEST_CORE = _CORES[0]
"""Where the process under test runs, alone of ours."""
LOAD_CORE = _CORES[1 % len(_CORES)]
"""Where the load and the upstream servers run."""

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class BenchError(Exception):
    """The run cannot go on: something is missing, ended, or answered wrongly."""


class Program:
    """A running process.

    Args:
        command: The program and its arguments.
        core: The core that it is bound to; ``None``: any.
        env: Variables added to this process's own.
        folder: Where its output is kept.
    """

    def __init__(self, command: Sequence[str], core: int | None, env: Mapping[str, str], folder: Path) -> None:
        bound = [] if core is None else [program("taskset", "util-linux"), "-c", str(core)]
        self._name = " ".join(command[:4])
        self._output = Path(tempfile.mkstemp(prefix="output-", dir=folder)[1])
        # A file, because a pipe that nobody reads stops its writer.
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [*bound, *command],
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def line(self, marker: str, seconds: float = 30) -> str:
        """Return the first line of its output that contains ``marker``; it has to come within ``seconds``."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in self._output.read_text(errors="replace").splitlines(keepends=True):
                if marker in line and line.endswith("\n"):
                    return line.rstrip()
            self.check()
            time.sleep(0.002)
        raise BenchError(f"{self._name} did not say {marker!r}: {self._tail()}")

    def check(self) -> None:
        """Raise ``BenchError`` if it has ended."""
        if self._process.poll() is not None:
            raise BenchError(f"{self._name} ended: {self._tail()}")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def cpu(self) -> float:
        """Return its processor time so far and that of its workers, user and system, in seconds."""
        return sum(map(_cpu, [self._process.pid, *_forked(self._process.pid)]))

    def memory(self) -> int:
        """Return its resident memory in bytes."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * _PAGE

    def stop(self) -> None:
        """Ask it to end, and insist after 5 seconds."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tail(self) -> str:
        return self._output.read_text(errors="replace")[-2000:]


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _forked(pid: int) -> list[int]:
    """Return the children that run what their parent runs; servers on stdio are something else."""
    same = Path(f"/proc/{pid}/cmdline").read_bytes()
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in children if Path(f"/proc/{child}/cmdline").read_bytes() == same]


@contextlib.contextmanager
def running(
    command: Sequence[str], folder: Path, *, core: int | None = None, env: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """Run a program for the length of a ``with`` block; the arguments are those of ``Program``."""
    started = Program(command, core, env or {}, folder)
    try:
        yield started
    finally:
        started.stop()


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """Give a private folder for the length of a ``with`` block, and enough open files for thousands of clients."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory(prefix="metamcp-bench-") as folder:
        yield Path(folder)


def program(name: str, package: str) -> str:
    """Return the path of a program of the system, or say which package of Debian has it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise BenchError(f"{name} is missing. Install it with: sudo apt-get install --no-install-recommends {package}")
    return found


def free_port() -> int:
    """Return a TCP port that nothing listens on, for a program that cannot choose one itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this interpreter."""
    return [sys.executable, "-m", module, *arguments]
