"""`make soak`: a gateway of two workers, everything that may fail failing, and nothing lost, repeated or leaked.

In the first half workers are restarted and killed, too. In the second they stay, so that what they hold can be seen to
stay flat, while servers and their children go on to die and the configuration to change.
"""

import argparse
import asyncio
import collections
import contextlib
import copy
import json
import logging
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.gateway.running import document_of
from tests.places import ROOT
from tests.processes import Program, free_port
from tests.redis import Redis
from tests.soak.clients import ANSWERED, CROWD, Soak
from tests.soak.ledger import Ledger
from tests.upstream.child.children import exists
from tests.workers.running import RunningWorkers, children_of, workers_for

RESULTS = 0.5
"""The part of the calls of each kind of client that has to have a result, whatever fails; usual are 0.8 to 0.9."""
GROWN_MB = 6.0
"""Megabytes by which a worker may grow over its second half: less than 150 bytes for a call of ten minutes."""
GROWN_FILES = 12
GROWN_TASKS = 40
"""Open files and tasks are counted at random moments of the load, so they vary."""
SETTINGS = {"shutdown_seconds": 20, "session_idle_seconds": 10}
"""Sessions of the servers that nobody uses any more are closed soon, so that there are not more and more of them."""
PAGE = os.sysconf("SC_PAGE_SIZE")


class HTTPServer:
    """A server on a port of its own."""

    def __init__(self, kind: str, log: Path) -> None:
        self._kind, self._log = kind, log
        self.port = free_port()
        self.start()

    def start(self) -> None:
        """Starts it, again on the same port."""
        command = [sys.executable, "-m", "tests.soak.server", self._kind, str(self._log), str(self.port)]
        self._program = Program(command, cwd=ROOT)

    def kill(self) -> None:
        """Kills it."""
        self._program.signal(signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        """Ends it."""
        self._program.stop()


class Faults:
    """Does harm, one at a time."""

    def __init__(self, workers: RunningWorkers, servers: dict[str, HTTPServer], ledger: Ledger, document: Any) -> None:
        self._workers, self._servers, self._ledger, self._document = workers, servers, ledger, document
        self._reloads = 0

    async def restart_workers(self) -> None:
        """Has both workers replaced in good order."""
        before = self._workers.pids()
        self._workers.reload()
        await self._workers.replaced(*before, within=60)

    async def kill_worker(self) -> None:
        """Kills one, and waits for its replacement."""
        victim = random.choice(await self._workers.replaced(within=60))
        self._ledger.kills.append(time.monotonic())
        os.kill(victim, signal.SIGKILL)
        await self._workers.replaced(victim, within=60)

    async def kill_child(self) -> None:
        """Kills one process of the stdio servers."""
        children = [pid for pid in _descendants(self._workers.program.pid) if "tests.soak.server" in _command(pid)]
        if children:
            os.kill(random.choice(children), signal.SIGKILL)

    async def kill_server(self) -> None:
        """Kills one of the other servers, and starts it again a moment later."""
        server = random.choice(list(self._servers.values()))
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(random.uniform(0, 1))
        server.start()

    async def change_configuration(self) -> None:
        """Saves the configuration with another description of a tool."""
        self._reloads += 1
        document = copy.deepcopy(self._document)
        changed = {"um__work": {"description": f"changed {self._reloads} times"}}
        document["namespaces"]["all"]["tools"] = changed
        beside = self._workers.config.with_suffix(".new")
        beside.write_text(json.dumps(document))
        beside.replace(self._workers.config)

    async def run(self, until_time: float, *names: str) -> None:
        """Does all of it in turn, until it is time."""
        turn = 0
        while (left := until_time - time.monotonic()) > 0:
            await asyncio.sleep(min(left, random.uniform(1, 3)))
            name = names[turn % len(names)]
            turn += 1
            await getattr(self, name)()
            self._ledger.faults[name.replace("_", " ")] += 1


class Samples:
    """What a worker held, second by second."""

    def __init__(self, pid: int, tasks: Path) -> None:
        self.pid, self._tasks = pid, tasks
        self.taken: list[tuple[float, int, int]] = []
        self.tasks: list[collections.Counter[str]] = []

    def take(self) -> None:
        """Looks at it now."""
        memory = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE / 1e6
        files = len(list(Path(f"/proc/{self.pid}/fd").iterdir()))
        with contextlib.suppress(FileNotFoundError, ValueError):
            tasks = collections.Counter(json.loads((self._tasks / str(self.pid)).read_text()))
            self.taken.append((memory, files, tasks.total()))
            self.tasks.append(tasks)

    def growth(self) -> list[tuple[float, float]]:
        """Returns the medians of the first and the last fifth, after a warm-up, of memory, files and tasks."""
        warm = self.taken[len(self.taken) // 4 :]
        fifth = max(1, len(warm) // 5)
        return [
            (statistics.median(first), statistics.median(last))
            for first, last in zip(zip(*warm[:fifth], strict=True), zip(*warm[-fifth:], strict=True), strict=True)
        ]


def _command(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    return ""


def _descendants(pid: int) -> set[int]:
    found = set(children_of(pid))
    return found.union(*map(_descendants, found))


async def soak(seconds: float, folder: Path, redis: Redis) -> list[str]:
    """Runs it, prints the table, and returns the violations."""
    logs = {name: folder / f"{name}.log" for name in ("um", "us", "ul", "ux", "ud")}
    for log in logs.values():
        log.touch()
    (folder / "tasks").mkdir()
    http = {name: HTTPServer("sse" if name == "ux" else "http", logs[name]) for name in ("um", "ul", "ux")}

    def stdio(name: str, **more: Any) -> dict[str, Any]:
        return {
            "command": sys.executable,
            "args": ["-m", "tests.soak.server", "stdio", str(logs[name])],
            "cwd": str(ROOT),
            **more,
        }

    configured: dict[str, dict[str, Any]] = {
        "um": {"url": f"http://127.0.0.1:{http['um'].port}/mcp"},
        "ul": {"url": f"http://127.0.0.1:{http['ul'].port}/mcp", "era": "legacy"},
        "ux": {"type": "sse", "url": f"http://127.0.0.1:{http['ux'].port}/sse"},
        "us": stdio("us"),
        "ud": stdio("ud", era="legacy"),
    }
    ledger = Ledger()
    samples: list[Samples] = []
    document = document_of(configured)
    inside = os.pathsep.join([str(ROOT / "tests" / "soak" / "inside"), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ |= {"PYTHONPATH": inside, "SOAK_TASKS": str(folder / "tasks")}
    processes: set[int] = set()
    try:
        async with workers_for(document, redis, "soak", folder, **SETTINGS) as workers:
            run = Soak(workers.port, ledger)
            began = time.monotonic()
            faults = Faults(workers, http, ledger, document)
            crowd = [asyncio.create_task(who(run, number)) for who, count in CROWD for number in range(count)]
            ordinary = ("kill_child", "kill_server", "change_configuration")
            try:
                await faults.run(began + seconds / 2, "restart_workers", "kill_child", "kill_worker", *ordinary)
                samples = [Samples(pid, folder / "tasks") for pid in workers.pids()]
                harm = asyncio.create_task(faults.run(began + seconds, *ordinary))
                while not harm.done():
                    for sample in samples:
                        sample.take()
                    await asyncio.wait({harm}, timeout=1)
                await harm
            finally:
                run.over.set()
                ended = await asyncio.gather(*crowd, return_exceptions=True)
            for error in ended:
                if isinstance(error, BaseException):
                    ledger.violation(f"a client failed: {error!r}")
            if sorted(workers.pids()) != sorted(sample.pid for sample in samples):
                ledger.violation("a worker ended that nobody has killed")
            processes = _descendants(workers.program.pid)
        output = workers.program.output()
        (folder / "gateway.log").write_text(output)
        lines = output.splitlines()
        for number, line in enumerate(lines):
            if any(text in line for text in ("Traceback", " CRITICAL ", "ERROR   asyncio", "ERROR   metamcp")):
                ledger.violation(f"the log of the gateway has: {line}")
                print("\n".join(["", *lines[max(0, number - 3) : number + 60]]))
        for pid in filter(exists, processes):
            ledger.violation(f"process {pid} outlived the gateway: {_command(pid)}")
    finally:
        for server in http.values():
            server.stop()
    return report(ledger, samples, list(logs.values()), seconds)


def report(ledger: Ledger, samples: list[Samples], logs: list[Path], seconds: float) -> list[str]:
    """Prints what happened and returns the violations."""
    print(f"\n{seconds:g} s, {', '.join(f'{name} {count} times' for name, count in ledger.faults.items())}\n")
    print(f"{'clients':24}{'calls':>8}{'results':>9}{'errors':>8}{'cut':>6}{'left':>6}")
    for kind, *counts in ledger.table():
        print(f"{kind:24}{counts[0]:>8}{counts[1]:>9}{counts[2]:>8}{counts[3]:>6}{counts[4]:>6}")
    print(f"notifications: {ledger.told}\n")
    for text, count in ledger.errors.most_common(25):
        print(f"{count:>6} x {text}")
    violations = list(ledger.audit(logs))
    found = {kind: (calls, results) for kind, calls, results, *_ in ledger.table()}
    for kind in ANSWERED:
        calls, results = found.get(kind, (0, 0))
        if results < max(1, RESULTS * calls):
            violations.append(f"only {results} of {calls} calls of kind {kind!r} had a result")
    if not ledger.told:
        violations.append("nobody was told of any change")
    for sample in samples:
        pairs = sample.growth()
        told = ", ".join(
            f"{name} {first:.0f} -> {last:.0f}"
            for name, (first, last) in zip(("MB", "open files", "tasks"), pairs, strict=True)
        )
        print(f"worker {sample.pid}: {told}")
        for name, bound, (first, last) in zip(
            ("memory", "open files", "tasks"), (GROWN_MB, GROWN_FILES, GROWN_TASKS), pairs, strict=True
        ):
            if last - first > bound:
                more = sample.tasks[-1] - sample.tasks[len(sample.tasks) // 4]
                print(f"worker {sample.pid} has more of these tasks: {dict(more)}")
                violations.append(f"{name} of worker {sample.pid} grew from {first:.1f} to {last:.1f}")
    return violations


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--keep", type=Path, help="a folder for the logs, which are kept then")
    chosen = parser.parse_args()
    # Connections that break are what this is about; the SDK's client logs each with a traceback.
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    redis = Redis()
    try:
        with tempfile.TemporaryDirectory(prefix="metamcp-soak-") as temporary:
            folder = chosen.keep or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            violations = asyncio.run(soak(chosen.seconds, folder, redis))
    finally:
        redis.close()
    print(f"\n{len(violations)} violations")
    for violation in violations[:50]:
        print(f"  {violation}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
