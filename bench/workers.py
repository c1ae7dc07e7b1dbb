"""What many processes cost: one call with Redis at hand, with two workers, and under each worker class of gunicorn.

All processes of a gateway share one core here, and their processor time is added up: what is compared is the work of a
call, not how many calls two cores can take. Whether a call asks anything of Redis is counted there.
"""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from bench import client, gateway, load
from bench.calls import COUNT, ECHO, Case, compare, endpoints
from bench.gateway import KEY, Served
from bench.load import Plan
from bench.programs import LOAD_CORE, ROOT, TEST_CORE, free_port, program, python, running
from bench.table import Row

__all__ = ["measure"]

PATH = "/metamcp/free/mcp"
"""An endpoint without limits, which are counted in Redis."""
LIMITED = "/metamcp/modern/mcp"
BUDGET_COMMANDS = 0.01
"""Of a call; more than nothing, because what Redis does for the processes themselves varies a little."""
WORKER_CLASSES = {
    "gunicorn's own ASGI worker": "asgi",
    "uvicorn-worker": "uvicorn_worker.UvicornWorker",
    "our worker": "metamcp_asgi.worker.GatewayWorker",
}


def measure(folder: Path, *, quick: bool) -> list[Row]:
    """Measure a modern client's call to a modern HTTP server in every arrangement."""
    seconds = 1 if quick else 2
    with contextlib.ExitStack() as stack:
        _, beside = stack.enter_context(gateway.upstream(folder))
        redis = stack.enter_context(_redis(folder))
        config = endpoints(["modern"])
        config["mcpServers"] = {"modern": {"url": f"http://127.0.0.1:{beside}/modern/{COUNT}"}}
        config["endpoints"]["free"] = {"namespace": "modern"}
        shared = {"METAMCP_REDIS_URL": f"redis://127.0.0.1:{redis}/0"}
        ways = {
            "call: one process": gateway.gateway(config, folder, core=TEST_CORE),
            "call: one process, with Redis": gateway.gateway(config, folder, core=TEST_CORE, env=shared),
            "call: two workers": gateway.gateway(
                config, folder, core=TEST_CORE, env={**shared, "METAMCP_WORKERS": "2"}
            ),
        }
        (folder / "gunicorn.json").write_text(json.dumps(config))
        ways |= {f"call: {name}": _gunicorn(worker, folder) for name, worker in WORKER_CLASSES.items()}
        cases = [_case(name, stack.enter_context(way)) for name, way in ways.items()]
        two = next(case for case in cases if case.plan.name == "call: two workers")
        limited = _plan("call: two workers, two limits", two.plan.port, LIMITED)
        cases.append(Case(limited, two.process))
        body = client.request(cases[0].plan.port, PATH, "tools/call", "modern__tool1", key=KEY)
        nothing = stack.enter_context(gateway.nothing(body, folder, core=TEST_CORE))
        call = client.target(nothing[1], PATH, "tools/call", "modern__tool1", key=KEY)
        floor = Plan("do-nothing ASGI app", nothing[1], [call], "A server's answer", fixed=True, length=len(body))
        rows = compare(Case(floor, nothing[0]), cases, folder, rounds=1 if quick else 3, seconds=seconds)
        return [*rows, _commands(two, redis, folder, seconds)]


def _case(name: str, served: Served) -> Case:
    process, port = served
    gateway.await_tools(port, PATH, sorted(f"modern__tool{number}" for number in range(COUNT)), key=KEY)
    return Case(_plan(name, port, PATH), process)


def _plan(name: str, port: int, path: str) -> Plan:
    return Plan(name, port, [client.target(port, path, "tools/call", "modern__tool1", key=KEY)], ECHO)


def _commands(case: Case, redis: int, folder: Path, seconds: int) -> Row:
    """Return how many commands Redis runs for one call, besides those by which processes tell that they live."""
    before = _processed(redis)
    found = load.run(case.plan, folder, case.process, seconds=seconds, connections=16)
    after = _processed(redis)
    time.sleep(found.seconds)
    idle = _processed(redis) - after
    each = max(0.0, (after - before - idle) / found.requests)
    measured = f"{after - before} in {found.requests:,} calls, {idle} in the same time without"
    return Row("commands to Redis in a call, two workers, no limit", measured, each, BUDGET_COMMANDS, "")


@contextlib.contextmanager
def _gunicorn(worker: str, folder: Path) -> Iterator[Served]:
    port = free_port()
    command = python("gunicorn", "--chdir", str(ROOT / "examples"), "--worker-class", worker)
    command += ["--bind", f"127.0.0.1:{port}", "gunicorn_app:app"]
    env = {"MCP_CONFIG": str(folder / "gunicorn.json"), "LOG_LEVEL": "error"}
    with running(command, folder, core=TEST_CORE, env=env) as process:
        process.line("Booting worker")
        yield process, port


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[int]:
    port = free_port()
    command = [program("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with running([*command, "--dir", str(folder)], folder, core=LOAD_CORE) as process:
        process.line("Ready to accept connections")
        yield port


def _processed(port: int) -> int:
    """Return how many commands a Redis has run."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"INFO stats\r\n")
        text = b""
        while b"\r\ntotal_net_input_bytes" not in text:
            text += connection.recv(4096)
    return int(text.partition(b"total_commands_processed:")[2].split()[0])
