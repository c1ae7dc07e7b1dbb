"""``python -m bench``: measure everything and print one table; see the package's docstring."""

import argparse
import os
import platform
import sys
import time

from bench import calls, cold_start, latency, lists, memory, scale
from bench.programs import LOAD_CORE, TEST_CORE, BenchError, program, workspace
from bench.table import Row, markdown, text

MEASUREMENTS = {
    "calls": calls.measure,
    "lists": lists.measure,
    "latency": latency.measure,
    "scale": scale.measure,
    "memory": memory.measure,
    "start": cold_start.measure,
}


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the gateway on this machine.")
    parser.add_argument("--quick", action="store_true", help="a short run, good for seeing that all works")
    parser.add_argument("--only", choices=MEASUREMENTS, action="append", help="only this one; may be repeated")
    parser.add_argument("--markdown", action="store_true", help="print the table as the README has it")
    chosen = parser.parse_args()
    rows: list[Row] = []
    started = time.monotonic()
    try:
        for tool, package in (("wrk", "wrk"), ("nginx", "nginx-light"), ("taskset", "util-linux")):
            program(tool, package)
        for name in chosen.only or MEASUREMENTS:
            print(f"measuring {name}", file=sys.stderr)
            with workspace() as folder:
                rows += MEASUREMENTS[name](folder, quick=chosen.quick)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(markdown(rows) if chosen.markdown else text(rows))
    print(
        f"\n{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, "
        f"gateway on core {TEST_CORE}, load and servers on core {LOAD_CORE}; "
        f"load average {os.getloadavg()[0]:.1f}; {time.monotonic() - started:.0f} s.\n"
        "x is processor time per request, as a multiple of the do-nothing application's in the same rounds."
    )
    return 0


sys.exit(main())
