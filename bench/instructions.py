"""Instructions of one request, counted by valgrind: what a change saves, even where other processes disturb clocks.

One client sends one request at a time; what the process does by itself in the same time is taken off. Repeats differ
by about 1 %. Not seen are the work of the kernel and how long an instruction takes; what a call costs, ``calls`` says.
"""

import http.client
import socket
import subprocess
import time
from pathlib import Path

from bench import client, gateway
from bench.calls import COUNT, ECHO, endpoints
from bench.gateway import KEY, Served
from bench.lists import COUNT as MANY
from bench.lists import LAST
from bench.load import Target
from bench.programs import TEST_CORE, BenchError, program
from bench.table import Row

__all__ = ["measure"]

IDLE_SECONDS = 3.0


def measure(folder: Path, *, quick: bool) -> list[Row]:
    """Count for a keyed call, for a list, and for the application that does nothing."""
    tool = program("valgrind", "valgrind")
    under = [tool, "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/counted.%p"]
    requests = 100 if quick else 600
    with gateway.upstream(folder) as (_, beside):
        config = endpoints(["modern", "big"])
        config["mcpServers"] = {
            "modern": {"url": f"http://127.0.0.1:{beside}/modern/{COUNT}"},
            "big": {"url": f"http://127.0.0.1:{beside}/modern/{MANY}"},
        }
        with gateway.gateway(config, folder, core=TEST_CORE, under=under) as served:
            port = served[1]
            for name, count in (("modern", COUNT), ("big", MANY)):
                expected = sorted(f"{name}__tool{number}" for number in range(count))
                gateway.await_tools(port, f"/metamcp/{name}/mcp", expected, key=KEY)
            target = client.target(port, "/metamcp/modern/mcp", "tools/call", "modern__tool1", key=KEY)
            listing = client.target(port, "/metamcp/big/mcp", "tools/list", key=KEY)
            call = _count(served, target, ECHO, folder, requests)
            tools = _count(served, listing, LAST, folder, requests)
            body = client.request(port, "/metamcp/modern/mcp", "tools/call", "modern__tool1", key=KEY)
        with gateway.nothing(body, folder, core=TEST_CORE, under=under) as served:
            nothing = _count(served, target, "", folder, requests)
    return [
        Row("instructions: do-nothing ASGI app", f"{nothing / 1000:.0f} thousand", 1.0, None, "x"),
        Row("instructions: call, key, limits, modern", f"{call / 1000:.0f} thousand", call / nothing, None, "x"),
        Row(f"instructions: list, {MANY} tools", f"{tools / 1000:.0f} thousand", tools / nothing, None, "x"),
    ]


def _count(served: Served, target: Target, expected: str, folder: Path, requests: int) -> float:
    """Return the instructions of one request, the mean of many."""
    process, port = served
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for number in range(requests // 4):  # the interpreter learns from the first ones
            _ask(connection, target, number, expected)
        before = _counted(process.pid, folder)
        began = time.monotonic()
        for number in range(requests):
            _ask(connection, target, number, expected)
        seconds = time.monotonic() - began
        after = _counted(process.pid, folder)
        time.sleep(IDLE_SECONDS)
        idle = (_counted(process.pid, folder) - after) / IDLE_SECONDS
    _control("--instr=off", process.pid)
    return (after - before - idle * seconds) / requests


def _ask(connection: socket.socket, target: Target, number: int, expected: str) -> None:
    body = str(number).join(target.body)
    connection.sendall(f"{target.head}{len(body)}\r\n\r\n{body}".encode())
    response = http.client.HTTPResponse(connection)
    response.begin()
    answer = response.read().decode()
    if response.status != 200 or expected.replace("%ID%", str(number)) not in answer:
        raise BenchError(f"the answer is wrong: {response.status} {answer[:300]}")


def _counted(pid: int, folder: Path) -> int:
    """Return how many instructions a process has run since this was first asked, and go on counting."""
    _control("--instr=on", pid)
    _control("--dump", pid)
    # Each dump says what was counted since the one before.
    return sum(_total(path) for path in folder.glob(f"counted.{pid}.*"))


def _total(path: Path) -> int:
    return int(path.read_text().rpartition("totals: ")[2])


def _control(command: str, pid: int) -> None:
    control = program("callgrind_control", "valgrind")
    done = subprocess.run([control, command, str(pid)], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise BenchError(f"callgrind_control failed: {done.stdout} {done.stderr}")
