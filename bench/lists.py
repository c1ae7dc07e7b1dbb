"""Processor time of a ``tools/list`` of 500 tools, against the same bytes from the application that does nothing."""

from pathlib import Path

from bench import client, gateway
from bench.calls import Case, compare, endpoints
from bench.gateway import KEY
from bench.load import Plan
from bench.programs import TEST_CORE
from bench.table import Row

__all__ = ["BUDGET", "COUNT", "LAST", "measure"]

COUNT = 500
BUDGET = 1.5
_PATH = "/metamcp/big/mcp"
LAST = f'"name":"big__tool{COUNT - 1}"'


def measure(folder: Path, *, quick: bool) -> list[Row]:
    """Measure the list for modern and for legacy clients."""
    with gateway.upstream(folder) as (_, beside):
        config = endpoints(["big"])
        config["mcpServers"] = {"big": {"url": f"http://127.0.0.1:{beside}/modern/{COUNT}"}}
        with gateway.gateway(config, folder, core=TEST_CORE) as (process, port):
            expected = sorted(f"big__tool{number}" for number in range(COUNT))
            gateway.await_tools(port, _PATH, expected, key=KEY)
            body = client.request(port, _PATH, "tools/list", key=KEY)
            session = client.initialize(port, _PATH, key=KEY)
            legacy_length = _without_id(client.request(port, _PATH, "tools/list", key=KEY, session=session))
            modern = client.target(port, _PATH, "tools/list", key=KEY)
            legacy = client.target(port, _PATH, "tools/list", key=KEY, session=session)
            cases = [
                Plan(f"list: {COUNT} tools, {len(body) // 1000} kB", port, [modern], LAST, length=_without_id(body)),
                Plan("list: as before, legacy client", port, [legacy], LAST, length=legacy_length),
            ]
            with gateway.nothing(body, folder, core=TEST_CORE) as (floor, floor_port):
                same = client.target(floor_port, _PATH, "tools/list", key=KEY)
                plan = Plan("do-nothing, same bytes", floor_port, [same], LAST, fixed=True, length=len(body))
                return compare(
                    Case(plan, floor),
                    [Case(cases[0], process, BUDGET), Case(cases[1], process)],
                    folder,
                    rounds=1 if quick else 4,
                    seconds=1,
                )


def _without_id(body: bytes) -> int:
    return len(body) - len(client.ID)
