"""What the gateway adds to the time of one call when nothing else runs, against calling the server directly."""

import statistics
from pathlib import Path

from bench import client, gateway, load
from bench.calls import COUNT, ECHO, endpoints
from bench.gateway import KEY
from bench.load import Plan
from bench.programs import TEST_CORE, Program
from bench.table import Row

__all__ = ["measure"]

BUDGET_MS = 0.6


def measure(folder: Path, *, quick: bool) -> list[Row]:
    """Measure the median time of a call, directly, through the gateway, and through nginx."""
    rounds = 1 if quick else 7
    with gateway.upstream(folder) as (server, beside):
        config = endpoints(["modern"])
        config["mcpServers"] = {"modern": {"url": f"http://127.0.0.1:{beside}/modern/{COUNT}"}}
        with (
            gateway.gateway(config, folder, core=TEST_CORE) as (process, port),
            gateway.nginx(beside, folder, core=TEST_CORE) as (proxy, proxy_port),
        ):
            path, plain = "/metamcp/modern/mcp", f"/modern/{COUNT}"
            gateway.await_tools(port, path, sorted(f"modern__tool{n}" for n in range(COUNT)), key=KEY)
            through = client.target(port, path, "tools/call", "modern__tool1", key=KEY)
            ways: list[tuple[Plan, Program]] = [
                (Plan("direct", beside, [client.target(beside, plain, "tools/call", "tool1")], ECHO), server),
                (Plan("gateway", port, [through], ECHO), process),
                (Plan("nginx", proxy_port, [client.target(proxy_port, plain, "tools/call", "tool1")], ECHO), proxy),
            ]
            times = [
                [load.run(plan, folder, under_test, seconds=1, connections=1).p50 * 1000 for plan, under_test in ways]
                for _ in range(rounds + 1)
            ][1:]  # the first round warms up
    return [
        _row("latency added to a call, one at a time, p50", [(ours, direct) for direct, ours, _ in times], BUDGET_MS),
        _row("latency added by nginx in its place", [(theirs, direct) for direct, _, theirs in times], None),
    ]


def _row(what: str, pairs: list[tuple[float, float]], budget: float | None) -> Row:
    """Return the row for times through a proxy, each with the direct one of its round."""
    through, direct = (statistics.median(column) for column in zip(*pairs, strict=True))
    added = [through - direct for through, direct in pairs]
    # On a busy machine a round tells of waiting for a core; the best one says what there is without.
    measured = f"{through:.2f} ms, direct {direct:.2f}; best round adds {min(added):.2f}"
    return Row(what, measured, statistics.median(added), budget, "ms")
