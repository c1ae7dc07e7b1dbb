"""From the start of the process to the first ``tools/list`` answered, when the servers are already up."""

import statistics
import time
from pathlib import Path

from bench import gateway
from bench.calls import COUNT, endpoints
from bench.gateway import KEY
from bench.programs import BenchError
from bench.table import Row

__all__ = ["measure"]

BUDGET_S = 1.0


def measure(folder: Path, *, quick: bool) -> list[Row]:
    """Start the gateway several times, each time until it has listed all tools of its servers."""
    names = ["one", "two"]
    with gateway.upstream(folder) as (_, beside):
        config = endpoints(names)
        config["mcpServers"] = {
            "one": {"url": f"http://127.0.0.1:{beside}/modern/{COUNT}"},
            "two": {"url": f"http://127.0.0.1:{beside}/json/{COUNT}"},
        }
        config["namespaces"]["both"] = {"servers": names}
        config["endpoints"]["both"] = {"namespace": "both"}
        times = []
        for _ in range(2 if quick else 7):
            start = time.monotonic()
            with gateway.gateway(config, folder) as (_, port):
                found = gateway.listed(port, "/metamcp/both/mcp", key=KEY)
                times.append(time.monotonic() - start)
            if len(found) != 2 * COUNT:
                raise BenchError(f"the first tools/list had {len(found)} tools instead of {2 * COUNT}")
    median = statistics.median(times)
    measured = f"{len(times)} starts, {min(times):.2f} to {max(times):.2f} s"
    return [Row("cold start to the first tools/list", measured, median, BUDGET_S, "s")]
