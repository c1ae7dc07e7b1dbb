"""``python -m bench``: measure everything and print one table; see the package's docstring."""

import argparse
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench import calls, cold_start, instructions, latency, lists, memory, scale, store, workers
from bench.programs import LOAD_CORE, TEST_CORE, BenchError, program, workspace
from bench.table import Row, markdown, text

MEASUREMENTS = {
    "calls": calls.measure,
    "lists": lists.measure,
    "latency": latency.measure,
    "scale": scale.measure,
    "store": store.measure,
    "memory": memory.measure,
    "start": cold_start.measure,
    "workers": workers.measure,
}
ASKED_FOR = {"instructions": instructions.measure}
"""What is measured only when it is named."""


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the gateway on this machine.")
    parser.add_argument("--quick", action="store_true", help="a short run, good for seeing that all works")
    parser.add_argument(
        "--only", choices=[*MEASUREMENTS, *ASKED_FOR], action="append", help="only this one; may be repeated"
    )
    parser.add_argument("--markdown", action="store_true", help="print the table as the README has it")
    chosen = parser.parse_args()
    rows: list[Row] = []
    started = time.monotonic()
    try:
        for tool, package in (
            ("wrk", "wrk"),
            ("nginx", "nginx-light"),
            ("taskset", "util-linux"),
            ("redis-server", "redis-server"),
        ):
            program(tool, package)
        for name in chosen.only or MEASUREMENTS:
            print(f"measuring {name}", file=sys.stderr)
            with workspace() as folder:
                rows += {**MEASUREMENTS, **ASKED_FOR}[name](folder, quick=chosen.quick)
    except (BenchError, OSError, subprocess.TimeoutExpired) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(markdown(rows) if chosen.markdown else text(rows))
    print(
        f"\n{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, "
        f"gateway on core {TEST_CORE}, load and servers on core {LOAD_CORE}; "
        f"processes waited for a core {_pressure()} of the time; {time.monotonic() - started:.0f} s.\n"
        "x is processor time per request, as a multiple of the do-nothing application's in the same rounds, "
        "or of what the row says it is against."
    )
    return 0


def _pressure() -> str:
    """Return how much of the last five minutes some process had to wait for a core: above all, ours for others'."""
    try:
        return f"{float(Path('/proc/pressure/cpu').read_text().split('avg300=')[1].split()[0]):.0f} %"
    except (OSError, IndexError, ValueError):
        return "an unknown part"


# So that what was started is stopped.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
sys.exit(main())
