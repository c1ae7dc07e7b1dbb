"""Processor time of one ``tools/call`` through the gateway, against the application that does nothing.

Every process under test runs alone on one core; the load and the upstream servers run on another. The cases are
interleaved over several rounds, and the application that does nothing is measured right before and right after each
case: its mean is what that case's cost is divided by. The figure is the median over the rounds.
"""

import contextlib
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench import client, gateway, load
from bench.answers import MODERN
from bench.gateway import KEY, LIMITS, Served
from bench.load import Load, Plan
from bench.programs import TEST_CORE, Program
from bench.table import Row

__all__ = ["BUDGET", "COUNT", "ECHO", "Case", "compare", "endpoints", "measure"]

COUNT = 50
"""Tools of each server."""
ECHO = "bench %ID%. A server's answer"
CONNECTIONS = 16
BUDGET = 3.0


class Case(Struct, frozen=True):
    """One load and the process that it is for."""

    plan: Plan
    process: Program
    budget: float | None = None


def measure(folder: Path, *, quick: bool) -> list[Row]:
    """Measure all cases."""
    with _cases(folder) as (floor, cases):
        return compare(floor, cases, folder, rounds=1 if quick else 3, seconds=1 if quick else 2)


def compare(floor: Case, cases: list[Case], folder: Path, *, rounds: int, seconds: int) -> list[Row]:
    """Return a row for each case, with its cost as a multiple of the floor's.

    Args:
        floor: What each case is compared to.
        cases: The cases.
        folder: The workspace.
        rounds: How often each case is measured.
        seconds: How long each time; the floor is measured for a second.
    """
    for case in (floor, *cases):
        _load(case, folder, 1)  # the first requests pay for what is only made once
    ratios: list[list[float]] = [[] for _ in cases]
    loads: list[list[Load]] = [[] for _ in cases]
    floors = [_load(floor, folder, 1)]
    for _ in range(rounds):
        for case, ratio, found in zip(cases, ratios, loads, strict=True):
            found.append(_load(case, folder, seconds))
            floors.append(_load(floor, folder, 1))
            ratio.append(found[-1].cost * 2 / (floors[-2].cost + floors[-1].cost))
    rows = [Row(floor.plan.name, _measured(floors), 1.0, None, "x")]
    for case, ratio, found in zip(cases, ratios, loads, strict=True):
        rows.append(Row(case.plan.name, _measured(found), statistics.median(ratio), case.budget, "x"))
    return rows


def endpoints(names: list[str]) -> dict[str, Any]:
    """Return the sections of a configuration that publish each server behind a key and limits."""
    return {
        "namespaces": {name: {"servers": [name]} for name in names},
        "endpoints": {name: {"namespace": name, **LIMITS} for name in names},
        "apiKeys": [{"name": "bench", "key": KEY}],
    }


@contextlib.contextmanager
def _cases(folder: Path) -> Iterator[tuple[Case, list[Case]]]:
    with contextlib.ExitStack() as stack:
        _, beside = stack.enter_context(gateway.upstream(folder))
        servers = {kind: {"url": f"http://127.0.0.1:{beside}/{kind}/{COUNT}"} for kind in ("modern", "json", "sse")}
        config = endpoints([*servers, "stdio"])
        config["mcpServers"] = {**servers, "stdio": gateway.stdio(COUNT)}
        config["endpoints"]["open"] = {"namespace": "modern", "apiKeyAuth": False}
        process, port = stack.enter_context(gateway.gateway(config, folder, core=TEST_CORE))
        for name in config["mcpServers"]:
            expected = sorted(f"{name}__tool{number}" for number in range(COUNT))
            gateway.await_tools(port, f"/metamcp/{name}/mcp", expected, key=KEY)
        session = client.initialize(port, "/metamcp/modern/mcp", key=KEY)

        def case(name: str, server: str, budget: float | None = None, **given: Any) -> Case:
            path = f"/metamcp/{given.pop('endpoint', server)}/mcp"
            call = client.target(port, path, "tools/call", f"{server}__tool1", **{"key": KEY, **given})
            return Case(Plan(name, port, [call], ECHO), process, budget)

        def plain(name: str, served: Served) -> Case:
            call = client.target(served[1], f"/modern/{COUNT}", "tools/call", "tool1", key=KEY)
            return Case(Plan(name, served[1], [call], ECHO), served[0])

        proxy = stack.enter_context(gateway.nginx(beside, folder, core=TEST_CORE))
        direct = stack.enter_context(gateway.upstream(folder, core=TEST_CORE))
        body = client.request(port, "/metamcp/modern/mcp", "tools/call", "modern__tool1", key=KEY)
        nothing = stack.enter_context(gateway.nothing(body, folder, core=TEST_CORE))
        call = client.target(nothing[1], "/metamcp/modern/mcp", "tools/call", "modern__tool1", key=KEY)
        floor = Plan("do-nothing ASGI app", nothing[1], [call], "A server's answer", fixed=True, length=len(body))
        yield (
            Case(floor, nothing[0]),
            [
                case("call: key, limits, modern client, modern HTTP server", "modern", BUDGET),
                case("call: as before, legacy client", "modern", session=session),
                case("call: as before, legacy HTTP server, JSON", "json"),
                case("call: as before, legacy HTTP server, SSE", "sse"),
                case("call: as before, stdio server", "stdio"),
                case(
                    f"call: endpoint without key and limits, {MODERN} throughout", "modern", key=None, endpoint="open"
                ),
                plain("call: nginx in place of the gateway", proxy),
                plain("call: the modern HTTP server itself", direct),
            ],
        )


def _load(case: Case, folder: Path, seconds: int) -> Load:
    return load.run(case.plan, folder, case.process, seconds=seconds, connections=CONNECTIONS)


def _measured(loads: list[Load]) -> str:
    cost, rate = (statistics.median(getattr(found, field) for found in loads) for field in ("cost", "rate"))
    return f"{cost:.0f} µs, {rate:,.0f}/s"
