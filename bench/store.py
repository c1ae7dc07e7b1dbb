"""The budgets with the store behind: the same gateway from SQLite, beside the one from a file, in the same rounds.

Keys and both limits are on throughout. Then the large configuration of ``scale`` from the store: the cost of a call in
it, how long it takes to compile, all of it and after a change of one thing, and how soon a change is served.
"""

import contextlib
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from bench import calls, client, gateway, lists, scale
from bench.calls import COUNT, ECHO, Case, compare, endpoints
from bench.gateway import KEY, Served
from bench.load import Plan
from bench.programs import ROOT, TEST_CORE, BenchError, program, python
from bench.table import Row

__all__ = ["measure"]

PARITY = 1.1
"""The store may cost a tenth more than a file, which is the noise; it is meant to cost nothing."""
COMPILE_S, CHANGE, SERVED_S = 1.0, 0.1, 1.0
_CALLS, _LISTS = "/metamcp/modern/mcp", "/metamcp/big/mcp"


def measure(folder: Path, *, quick: bool) -> list[Row]:
    """Measure calls and lists, from a file and from the store, then the large configuration."""
    with gateway.upstream(folder) as (_, beside):
        config = endpoints(["modern", "big"])
        config["mcpServers"] = {
            "modern": {"url": f"http://127.0.0.1:{beside}/modern/{COUNT}"},
            "big": {"url": f"http://127.0.0.1:{beside}/modern/{lists.COUNT}"},
        }
        with (
            _ready(gateway.gateway(config, folder, core=TEST_CORE)) as file,
            _ready(gateway.gateway(gateway.database(config, folder), folder, core=TEST_CORE)) as store,
        ):
            return [
                *_calls(file, store, folder, quick=quick),
                *_lists(file, store, folder, quick=quick),
                *_large(beside, store, folder, quick=quick),
            ]


@contextlib.contextmanager
def _ready(starting: contextlib.AbstractContextManager[Served]) -> Iterator[Served]:
    with starting as served:
        for path, name, count in ((_CALLS, "modern", COUNT), (_LISTS, "big", lists.COUNT)):
            gateway.await_tools(served[1], path, sorted(f"{name}__tool{n}" for n in range(count)), key=KEY)
        yield served


def _calls(file: Served, store: Served, folder: Path, *, quick: bool) -> list[Row]:
    def case(name: str, served: Served, budget: float | None) -> Case:
        one = client.target(served[1], _CALLS, "tools/call", "modern__tool1", key=KEY)
        return Case(Plan(name, served[1], [one], ECHO), served[0], budget)

    body = client.request(file[1], _CALLS, "tools/call", "modern__tool1", key=KEY)
    with gateway.nothing(body, folder, core=TEST_CORE) as (process, port):
        one = client.target(port, _CALLS, "tools/call", "modern__tool1", key=KEY)
        floor = Case(Plan("do-nothing", port, [one], "A server's answer", fixed=True, length=len(body)), process)
        return _beside(
            floor,
            [case("call: served from a file", file, None), case("call: from the store", store, calls.BUDGET)],
            folder,
            rounds=1 if quick else 5,
            seconds=1 if quick else 2,
        )


def _lists(file: Served, store: Served, folder: Path, *, quick: bool) -> list[Row]:
    body = client.request(file[1], _LISTS, "tools/list", key=KEY)
    length = len(body) - len(client.ID)

    def case(name: str, served: Served, budget: float | None) -> Case:
        one = client.target(served[1], _LISTS, "tools/list", key=KEY)
        return Case(Plan(name, served[1], [one], lists.LAST, length=length), served[0], budget)

    with gateway.nothing(body, folder, core=TEST_CORE) as (process, port):
        one = client.target(port, _LISTS, "tools/list", key=KEY)
        floor = Case(Plan("do-nothing", port, [one], lists.LAST, fixed=True, length=len(body)), process)
        name = f"list: {lists.COUNT} tools"
        return _beside(
            floor,
            [case(f"{name}, served from a file", file, None), case(f"{name}, from the store", store, lists.BUDGET)],
            folder,
            rounds=1 if quick else 4,
            seconds=1,
        )


def _beside(floor: Case, cases: list[Case], folder: Path, *, rounds: int, seconds: int) -> list[Row]:
    """Return the rows of the file and of the store against the floor, and one of the store against the file."""
    rows = compare(floor, cases, folder, rounds=rounds, seconds=seconds)[1:]
    file, store = cases
    (_, parity) = compare(file, [Case(store.plan, store.process, PARITY)], folder, rounds=rounds, seconds=seconds)
    return [*rows, replace(parity, what=f"{store.plan.name}, against the file")]


def _large(beside: int, small: Served, folder: Path, *, quick: bool) -> list[Row]:
    url = gateway.database(scale.large(beside), folder)
    rounds = 2 if quick else 7
    found = _timed(url, rounds)
    with gateway.gateway(url, folder, core=TEST_CORE) as (process, port):
        scale.await_all(port)
        one = client.target(small[1], _CALLS, "tools/call", "modern__tool1", key=KEY)
        rows = compare(
            Case(Plan("call: small store", small[1], [one], ECHO), small[0]),
            [Case(Plan("", port, scale.targets(port), ECHO), process, scale.BUDGET)],
            folder,
            rounds=2 if quick else 8,
            seconds=2,
        )
        served = _timed(url, 3 * rounds, str(port), "/metamcp/e0/mcp")["admitted"]
    whole = statistics.median(found["everything"])
    size = f"{scale.KEYS:,} keys, {scale.ENDPOINTS:,} endpoints, {scale.SERVERS} servers"
    return [
        replace(rows[1], what=f"call: {size} in the store, against one of each in it"),
        Row(f"compile {size}", _spread(found["everything"]), whole, COMPILE_S, "s"),
        *(
            Row(f"compile after a change of one {name}", _spread(times), statistics.median(times) / whole, CHANGE, "x")
            for name, times in (("key", found["ApiKey"]), ("endpoint", found["Endpoint"]), ("server", found["Server"]))
        ),
        Row("from a commit until it is served", _spread(served), max(served), SERVED_S, "s"),
    ]


def _timed(url: str, rounds: int, *gateway: str) -> dict[str, list[float]]:
    """Return what ``bench.compiling`` finds; it runs where the gateway would."""
    core = [] if gateway else [program("taskset", "util-linux"), "-c", str(TEST_CORE)]
    command = [*core, *python("bench.compiling", url, str(rounds), *gateway)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT)
    if done.returncode != 0:
        raise BenchError(f"bench.compiling failed: {done.stderr[-2000:]}")
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("timed ")]
    return {name: [float(seconds) for seconds in times] for _, name, *times in lines}


def _spread(times: Sequence[float]) -> str:
    middle = statistics.median(times) * 1000
    return f"{len(times)} times, {min(times) * 1000:.0f} to {max(times) * 1000:.0f} ms, median {middle:.0f}"
