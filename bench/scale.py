"""Does a call cost the same when the configuration is large? 10,000 keys, 1,000 endpoints, 200 servers of 50 tools.

The same call through two gateways: one with a single key, endpoint and server, and one with all of these, where every
call uses the next key, endpoint and server. The two are measured in turn, each large one against its neighbours.
"""

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from bench import client, gateway
from bench.calls import COUNT, ECHO, Case, compare, endpoints
from bench.gateway import KEY, LIMITS
from bench.load import Plan
from bench.programs import TEST_CORE
from bench.table import Row

__all__ = ["BUDGET", "ENDPOINTS", "KEYS", "SERVERS", "await_all", "key", "large", "measure", "targets"]

KEYS, ENDPOINTS, SERVERS = 10_000, 1_000, 200
EACH = 20
"""Servers of a namespace; one namespace more has all of them."""
BUDGET = 1.1


def measure(folder: Path, *, quick: bool) -> list[Row]:
    """Measure the cost of a call in the large configuration, as a multiple of the cost in the small one."""
    with gateway.upstream(folder) as (_, beside):
        small = endpoints(["modern"])
        small["mcpServers"] = {"modern": {"url": f"http://127.0.0.1:{beside}/modern/{COUNT}"}}
        many = large(beside)
        with (
            gateway.gateway(small, folder, core=TEST_CORE) as (small_process, small_port),
            gateway.gateway(many, folder, core=TEST_CORE) as (large_process, large_port),
        ):
            path = "/metamcp/modern/mcp"
            gateway.await_tools(small_port, path, sorted(f"modern__tool{n}" for n in range(COUNT)), key=KEY)
            await_all(large_port)
            one = client.target(small_port, path, "tools/call", "modern__tool1", key=KEY)
            plan = Plan("call: small configuration", small_port, [one], ECHO)
            rows = compare(
                Case(plan, small_process),
                [Case(Plan("", large_port, targets(large_port), ECHO), large_process, BUDGET)],
                folder,
                rounds=2 if quick else 8,
                seconds=2,
            )
            name = f"call: {KEYS:,} keys, {ENDPOINTS:,} endpoints, {SERVERS} servers, against one of each"
            return [replace(rows[1], what=name)]


def large(port: int) -> dict[str, Any]:
    """Return the large configuration, whose servers are at a port."""
    names = [f"s{number}" for number in range(SERVERS)]
    namespaces = {f"n{first}": {"servers": names[first : first + EACH]} for first in range(0, SERVERS, EACH)}
    published: dict[str, Any] = {
        f"e{number}": {"namespace": f"n{_first_server(number)}", **LIMITS} for number in range(ENDPOINTS - 1)
    }
    return {
        # The path's end is of no matter to the server, and makes each URL another one.
        "mcpServers": {name: {"url": f"http://127.0.0.1:{port}/modern/{COUNT}/{name}"} for name in names},
        "namespaces": {**namespaces, "all": {"servers": names}},
        "endpoints": {**published, "all": {"namespace": "all", **LIMITS}},
        "apiKeys": [{"name": f"key {number}", "key": key(number)} for number in range(KEYS)],
    }


def await_all(port: int) -> None:
    """Wait until the large configuration is served on a port, with every tool of every server."""
    each = sorted(f"tool{number}" for number in range(COUNT))
    tools = [f"s{server}__{tool}" for server in range(SERVERS) for tool in each]
    gateway.await_tools(port, "/metamcp/all/mcp", tools, key=key(0))


def targets(port: int) -> list[Any]:
    """Return a call with each key; from one to the next, endpoint, server and tool are others, too."""
    calls = []
    for number in range(KEYS):
        endpoint = number % (ENDPOINTS - 1)
        server = _first_server(endpoint) + number // ENDPOINTS % EACH
        tool = f"s{server}__tool{number % COUNT}"
        calls.append(client.target(port, f"/metamcp/e{endpoint}/mcp", "tools/call", tool, key=key(number)))
    return calls


def _first_server(endpoint: int) -> int:
    return endpoint % (SERVERS // EACH) * EACH


def key(number: int) -> str:
    """Return a key of the large configuration."""
    return f"sk_mt_bench_{number:032x}"
