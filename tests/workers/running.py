"""A gateway of several processes, run as `metamcp serve --workers` runs it, and clients that reach all of them.

No stickiness: each request has a connection of its own, and reaches another process than the request before. Which
process has accepted a connection is asked of the kernel; the gateway tells nobody.
"""

import asyncio
import contextlib
import json
import re
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from tests.gateway.client import Client, Exchange, HeaderList, wire
from tests.gateway.running import document_of, served
from tests.places import BIN, ROOT
from tests.processes import Program
from tests.redis import Redis
from tests.serving import UNAVAILABLE
from tests.workers.sockets import inode_of


async def until(condition: Callable[[], Any], within: float = 30.0) -> Any:
    """Waits for what no event tells, and returns the first true value."""
    async with asyncio.timeout(within):
        while not (value := condition()):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.002)
        return value


def children_of(pid: int) -> list[int]:
    """Returns the processes that a process has started and not yet buried."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


class RunningWorkers:
    """A gateway of several processes.

    Args:
        program: Its supervisor.
        port: Where it listens.
        config: Its configuration file.
    """

    def __init__(self, program: Program, port: int, config: Path) -> None:
        self.program = program
        self.port = port
        self.config = config

    def client(self, endpoint: str = "open", key: str | None = None) -> "Alternating":
        """Returns a client each of whose requests reaches another process than the one before."""
        return Alternating(self, endpoint, key)

    def anywhere(self, endpoint: str = "open", key: str | None = None) -> Client:
        """Returns a client whose requests reach whatever process takes them."""
        return Client(self.port, endpoint, key)

    def at(self, pid: int, endpoint: str = "open", key: str | None = None) -> "Alternating":
        """Returns a client whose requests reach one process."""
        client = Alternating(self, endpoint, key)
        client.only = pid
        return client

    def pids(self) -> list[int]:
        """Returns the processes that serve: those that were forked, and have become nothing else."""
        mine = Path(f"/proc/{self.program.pid}/cmdline").read_bytes()
        return [pid for pid in children_of(self.program.pid) if _cmdline(pid) == mine]

    async def replaced(self, *gone: int, within: float = 30.0) -> list[int]:
        """Waits until two processes serve and none of these does, and returns them."""

        def found() -> list[int]:
            # Looked at once: a process that was killed may still be there at the first look and gone at the second.
            pids = self.pids()
            return pids if len(pids) == 2 and not set(pids) & set(gone) else []

        pids: list[int] = await until(found, within)
        return pids

    def reload(self) -> None:
        """Has all processes replaced."""
        self.program.signal(signal.SIGHUP)

    async def said(self, pattern: str, times: int = 1) -> None:
        """Waits until so many lines of its output match a pattern."""
        await until(lambda: len(re.findall(pattern, self.program.output(), re.MULTILINE)) >= times)

    async def read(self, pid: int) -> None:
        """Waits until a process has read all servers."""
        async with asyncio.timeout(30):
            while UNAVAILABLE in (await self.at(pid).modern("tools/list")).result().get("_meta", {}):
                pass

    async def holder(self, port: int) -> int:
        """Returns the process that has accepted the connection from a port of ours."""

        def found() -> int | None:
            inode = inode_of(self.port, port)
            return inode and next((pid for pid in self.pids() if f"socket:[{inode}]" in _open_files(pid)), None)

        pid: int = await until(found)
        return pid


class Alternating(Client):
    """A client each of whose requests reaches another process than the one before."""

    def __init__(self, workers: RunningWorkers, endpoint: str, key: str | None) -> None:
        super().__init__(workers.port, endpoint, key)
        self.workers = workers
        self.only: int | None = None
        self.reached: list[int] = []

    async def open(
        self, method: str, headers: HeaderList = (), body: bytes = b"", target: str | None = None
    ) -> Exchange:
        async with asyncio.timeout(30):
            while True:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
                pid = await self.workers.holder(writer.get_extra_info("sockname")[1])
                if pid == self.only or (self.only is None and pid not in self.reached[-1:]):
                    break
                writer.close()
        self.reached.append(pid)
        writer.write(wire(self.port, method, target or self.path, [*self.headers, *headers], body))
        await writer.drain()
        return Exchange(reader, writer, method)


@contextlib.asynccontextmanager
async def workers_for(
    document: Mapping[str, Any],
    redis: Redis | None,
    prefix: str,
    folder: Path,
    *,
    count: int = 2,
    ends: int = 0,
    environment: Mapping[str, str] | None = None,
    wait: bool = True,
    **settings: object,
) -> AsyncIterator[RunningWorkers]:
    """Runs a gateway of several processes for the length of a `with` block.

    Args:
        document: Its configuration.
        redis: What the processes share, if anything.
        prefix: Of the keys there.
        folder: Where the configuration is written.
        count: How many processes.
        ends: The exit code that it must end with.
        environment: Further variables of its environment.
        wait: Whether all servers have been read by all processes before the block begins.
        settings: Settings that differ from the usual ones.
    """
    path = folder / "mcp.json"
    path.write_text(json.dumps(document))
    env = {"METAMCP_REDIS_PREFIX": prefix, "METAMCP_WORKERS": str(count)}
    if redis is not None:
        env["METAMCP_REDIS_URL"] = redis.url
    env |= {f"METAMCP_{name.upper()}": str(value) for name, value in settings.items()} | dict(environment or {})
    command: list[str | Path] = [BIN / "metamcp", "serve", path, "--host", "127.0.0.1", "--port", "0"]
    # The servers run in this event loop, which must not stand still meanwhile.
    program = await asyncio.to_thread(Program, command, env, ROOT)
    try:
        line = await asyncio.to_thread(program.wait_for_line, r"metamcp serves .* on http://127\.0\.0\.1:(\d+)")
        running = RunningWorkers(program, int(line[1]), path)
        for name, server in document["mcpServers"].items() if wait else ():
            # The companion runs servers on stdio, once for all.
            await running.said(rf"metamcp\.upstream: Server {name}: ready", 1 if "command" in server else count)
        for pid in running.pids() if wait else ():
            await running.read(pid)
        yield running
    except BaseException:
        print(program.output())  # what a test that fails shows
        raise
    finally:
        code = await asyncio.to_thread(program.stop, 30.0)
    assert code == ends, program.output()


@contextlib.asynccontextmanager
async def workers_over(
    servers: Mapping[str, ASGIApp | Mapping[str, Any]],
    *,
    redis: Redis | None,
    prefix: str,
    folder: Path,
    config: Mapping[str, Mapping[str, Any]] | None = None,
    namespace: Mapping[str, Any] | None = None,
    endpoints: Mapping[str, Mapping[str, Any]] | None = None,
    **settings: object,
) -> AsyncIterator[RunningWorkers]:
    """Runs a gateway of two processes as `gateway_over` runs one of one process."""
    async with contextlib.AsyncExitStack() as stack:
        configured = {}
        for name, server in servers.items():
            if not isinstance(server, Mapping):
                server = {"url": f"http://127.0.0.1:{await stack.enter_async_context(served(server))}/mcp"}
            configured[name] = {**server, **(config or {}).get(name, {})}
        document = document_of(configured, namespace, endpoints)
        yield await stack.enter_async_context(workers_for(document, redis, prefix, folder, **settings))


def _cmdline(pid: int) -> bytes | None:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return None


def _open_files(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(str(entry.readlink()))
    return found
