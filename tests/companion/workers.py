"""Workers at a companion: the worker's side as the core uses it, several of them in the test's own process."""

import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from metamcp_asgi.config import snapshot
from metamcp_asgi.config.file import compile_document
from metamcp_asgi.upstream.companion.client import Companion
from metamcp_asgi.upstream.companion.remote import RemoteServer
from tests.places import ROOT
from tests.processes import Program, running
from tests.upstream.connecting import Happenings

COMMAND = [sys.executable, "-m", "metamcp_asgi.commands.stdio", "--socket"]
ASKING = ROOT / "tests" / "upstream" / "asking_server.py"
LISTENS = r"metamcp-stdio listens at "


@contextlib.contextmanager
def companion_at(path: Path, **env: str) -> Iterator[Program]:
    """Runs a companion for the length of a `with` block."""
    with running([*COMMAND, path], LISTENS, env, ROOT) as (program, _):
        yield program


def kill(program: Program) -> None:
    """Ends a program as no program can prepare for."""
    program.signal(signal.SIGKILL)


def config_of(entry: dict[str, Any], name: str = "s") -> snapshot.Server:
    """Returns the configuration of the server with that entry of `mcpServers`."""
    return compile_document({"mcpServers": {name: entry}}, environ={}).servers[name]


def asking(era: str) -> dict[str, Any]:
    """Returns the entry of a server of the SDK whose tools ask."""
    return {"command": sys.executable, "args": [str(ASKING), "stdio"], "era": era}


class RunningServer(RemoteServer):
    """A server of a worker, and what it told its listener."""

    heard: Happenings


class Worker:
    """One worker's way to the companion."""

    def __init__(self, path: Path, realm: str = "gateway") -> None:
        self.companion = Companion(path, realm)
        self.servers: list[RunningServer] = []

    def start(self, entry: dict[str, Any], name: str = "s") -> RunningServer:
        """Uses a server from now on."""
        heard = Happenings()
        server = RunningServer(config_of(entry, name), self.companion, heard)
        server.heard = heard
        self.servers.append(server)
        server.start()
        return server

    async def ready(self, entry: dict[str, Any], name: str = "s") -> RunningServer:
        """Uses a server from now on, and waits until it is ready."""
        server = self.start(entry, name)
        await server.settled()
        assert server.state == "ready", (server.error, server.stderr)
        return server

    async def die(self) -> None:
        """Closes the connection without a word, as the end of the process does."""
        await self.companion.aclose()

    async def aclose(self) -> None:
        """Ends as the pool of a gateway does."""
        for server in self.servers:
            await server.aclose()
        await self.companion.aclose()


@contextlib.asynccontextmanager
async def workers_at(path: Path) -> AsyncIterator[Callable[..., Worker]]:
    """Yields what returns a new worker with each call."""
    started = []

    def start(realm: str = "gateway") -> Worker:
        worker = Worker(path, realm)
        started.append(worker)
        return worker

    try:
        yield start
    finally:
        for worker in started:
            await worker.aclose()
