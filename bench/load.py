"""Load on a URL by ``wrk``, with every answer checked; knows nothing of what is being measured."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from bench.programs import LOAD_CORE, BenchError, Program, program

__all__ = ["Load", "Plan", "Target", "run"]

_SCRIPT = Path(__file__).with_name("load.lua")


class Target(Struct, frozen=True):
    """One request: its head up to the length of its body, and what stands around its id in the body."""

    head: str
    body: Sequence[str]


class Plan(Struct, frozen=True):
    """What to send to a port, and what must come back; see ``load.lua``."""

    name: str
    port: int
    targets: Sequence[Target]
    echoed: str
    fixed: bool = False
    length: int | None = None

    def write(self, folder: Path) -> Path:
        """Write it as Lua; JSON's strings are Lua's as long as they are ASCII."""
        path = folder / f"plan-{self.port}-{self.name.replace(' ', '-').replace('/', '-')}.lua"
        with path.open("w", encoding="ascii") as file:
            file.write(f"return {{echoed={json.dumps(self.echoed)}, fixed={str(self.fixed).lower()},\n")
            file.write(f"length={'nil' if self.length is None else self.length}, targets={{\n")
            for target in self.targets:
                file.write(f"{{{json.dumps(target.head)}, {{{', '.join(map(json.dumps, target.body))}}}}},\n")
            file.write("}}\n")
        return path


class Load(Struct, frozen=True):
    """What one run of the load found."""

    requests: int
    seconds: float
    cpu: float
    """Seconds of the process under test."""
    p50: float
    """Seconds."""
    p99: float

    @property
    def cost(self) -> float:
        """Processor time of one request in microseconds."""
        return self.cpu / self.requests * 1e6

    @property
    def rate(self) -> float:
        """Requests in a second."""
        return self.requests / self.seconds


def run(plan: Plan, folder: Path, under_test: Program, *, seconds: int, connections: int) -> Load:
    """Run the load from its own core.

    Args:
        plan: The load.
        folder: Where the plan is written.
        under_test: The process whose processor time is taken.
        seconds: How long.
        connections: How many requests are in flight.

    Raises:
        BenchError: An answer was wrong, or a connection failed.
    """
    path = plan.write(folder)
    command = [program("taskset", "util-linux"), "-c", str(LOAD_CORE), program("wrk", "wrk"), "-t1"]
    command += [f"-c{connections}", f"-d{seconds}s", "-s", str(_SCRIPT), f"http://127.0.0.1:{plan.port}/"]
    before = under_test.cpu()
    finished = subprocess.run([*command, "--", str(path)], capture_output=True, text=True, timeout=seconds + 30)
    under_test.check()
    cpu = under_test.cpu() - before
    lines = dict(line.split(" ", 1) for line in finished.stdout.splitlines() if line.startswith(("RESULT", "EXAMPLE")))
    if "RESULT" not in lines:
        raise BenchError(f"{plan.name}: wrk failed: {finished.stdout[-500:]} {finished.stderr[-500:]}")
    requests, wrong, duration, *errors, p50, p99 = map(int, lines["RESULT"].split())
    if wrong or any(errors) or not requests:
        counts = ", ".join(
            f"{n} {kind}" for n, kind in zip(errors, ("connect", "read", "write", "timeout"), strict=True)
        )
        raise BenchError(
            f"{plan.name}: {wrong} of {requests} answers were wrong; errors: {counts}\n"
            f"first wrong answer: {lines.get('EXAMPLE', '')}"
        )
    return Load(requests, duration / 1e6, cpu, p50 / 1e6, p99 / 1e6)
