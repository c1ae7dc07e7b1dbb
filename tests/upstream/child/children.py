"""Small stdio servers for the tests, and a way to spawn them and see what comes back."""

import asyncio
import os
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from metamcp_asgi.upstream.child import MAX_MESSAGE_BYTES, Child
from metamcp_asgi.upstream.environment import child_environment
from metamcp_asgi.upstream.reaper import Reaper

ECHO = "import sys\nfor line in sys.stdin.buffer:\n    sys.stdout.buffer.write(line)\n    sys.stdout.buffer.flush()"

STUBBORN = """
    import os, signal, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(os.getpid(), flush=True)
    while True: time.sleep(60)
"""
"""Ignores the end of its input and SIGTERM; says its process id first."""


class Spawned:
    """A child with everything it said, in order, and the reasons its exit was reported with."""

    def __init__(self) -> None:
        self.child: Child
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.exits: list[str] = []
        self.exited = asyncio.Event()

    def _on_exit(self, reason: str) -> None:
        self.exits.append(reason)
        self.exited.set()

    async def said(self) -> bytes:
        return await asyncio.wait_for(self.messages.get(), 30)

    async def exit_reason(self) -> str:
        await asyncio.wait_for(self.exited.wait(), 30)
        return self.exits[-1]


class Spawner:
    """Spawns Python scripts, or any command, as children."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reaper = Reaper()
        self.children: list[Child] = []

    def script(self, source: str) -> str:
        path = self.folder / f"script{len(list(self.folder.iterdir()))}.py"
        path.write_text(textwrap.dedent(source))
        return str(path)

    async def python(self, source: str, *args: str, max_message_bytes: int = MAX_MESSAGE_BYTES) -> Spawned:
        arguments = ["-I", "-S", self.script(source), *args]
        return await self.command(sys.executable, arguments, max_message_bytes=max_message_bytes)

    async def command(
        self,
        command: str,
        args: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> Spawned:
        spawned = Spawned()
        spawned.child = await Child.spawn(
            command,
            args,
            name="test",
            env=child_environment(env or {}),
            cwd=cwd,
            on_message=spawned.messages.put_nowait,
            on_exit=spawned._on_exit,
            max_message_bytes=max_message_bytes,
            reaper=self.reaper,
        )
        self.children.append(spawned.child)
        return spawned

    async def aclose(self) -> None:
        await asyncio.gather(*(child.stop(0.0) for child in self.children))
        await self.reaper.aclose()


def exists(pid: int) -> bool:
    """Whether the process lives; a zombie that waits for process 1 of the machine does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


async def becomes(condition: Callable[[], bool], within: float = 30.0) -> bool:
    """Wait for what no event tells; return whether it came true in time."""
    deadline = asyncio.get_running_loop().time() + within
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.005)
    return True


async def vanished(*pids: int, within: float = 30.0) -> bool:
    """Wait until none of the processes lives; return whether that came true in time."""
    return await becomes(lambda: not any(map(exists, pids)), within)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def zombies() -> list[int]:
    """The processes that we have failed to reap."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state == "Z" and int(parent) == os.getpid():
            found.append(int(stat.parent.name))
    return found
