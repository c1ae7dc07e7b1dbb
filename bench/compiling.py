"""Times what the store does with a change, on a database that is there.

``python -m bench.compiling URL ROUNDS`` compiles the whole of it, then changes one thing at a time and compiles again;
``python -m bench.compiling URL ROUNDS PORT PATH`` waits after each new key until the gateway on that port admits it.
Prints the times of each kind as ``timed NAME SECONDS ...``.
"""

import asyncio
import sys
import time
from collections import defaultdict

from bench import client
from bench.programs import BenchError
from metamcp_asgi.config.snapshot import Snapshot, digest_of
from metamcp_asgi.store.models import ApiKey, Endpoint, Server
from metamcp_asgi.store.repository import SYSTEM, Store
from metamcp_asgi.store.source import StoreSource

SECONDS = 30.0
"""How long a change may take before the run is given up."""


async def compiled(url: str, rounds: int) -> dict[str, list[float]]:
    """Return the times of compiling everything, and of compiling again after one thing has changed."""
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        source = StoreSource(url)
        await source.opened()
        before = await _timed(source, times["everything"])
        store = await source.opened()
        kinds: tuple[type[ApiKey | Endpoint | Server], ...] = (ApiKey, Endpoint, Server)
        for kind in kinds:
            async with store.write(SYSTEM) as tx:
                row = (await tx.list(kind, limit=1))[0]
                if isinstance(row, ApiKey):
                    row.name = f"bench {time.monotonic_ns()}"
                elif isinstance(row, Endpoint):
                    row.max_rate = (row.max_rate or 0) + 1
                else:
                    row.description = f"{row.description}."
            after = await _timed(source, times[kind.__name__])
            if not 1 <= _differences(before, after) <= 2:
                raise BenchError(f"a change of one {kind.__name__} made {_differences(before, after)} things new")
            before = after
        await source.aclose()
    return times


async def _timed(source: StoreSource, times: list[float]) -> Snapshot:
    start = time.perf_counter()
    snapshot = await source.reload()
    times.append(time.perf_counter() - start)
    return snapshot


def _differences(before: Snapshot, after: Snapshot) -> int:
    """Return how many things are new, changed or gone; what stayed the same is the same object."""
    count = 0
    for section in ("servers", "endpoints", "keys"):
        old, new = getattr(before, section), getattr(after, section)
        count += sum(old.get(name) is not each for name, each in new.items()) + len(old.keys() - new.keys())
    return count


async def admitted(url: str, rounds: int, port: int, path: str) -> dict[str, list[float]]:
    """Return the times from the commit of a new key until a gateway admits it."""
    times = []
    store = await Store.open(url)
    for number in range(rounds):
        key = f"sk_mt_bench_new_{time.monotonic_ns()}_{number}"
        async with store.write(SYSTEM) as tx:
            await tx.add(ApiKey(name=key, digest=digest_of(key), prefix=key[:10]))
        start = time.perf_counter()
        while not _admits(port, path, key):
            if time.perf_counter() - start > SECONDS:
                raise BenchError(f"a new key is not admitted within {SECONDS:.0f} s")
            await asyncio.sleep(0.005)
        times.append(time.perf_counter() - start)
    await store.aclose()
    return {"admitted": times}


def _admits(port: int, path: str, key: str) -> bool:
    try:
        client.request(port, path, "tools/list", key=key)
    except BenchError:
        return False
    return True


def main(url: str, rounds: str, *gateway: str) -> None:
    """Print what was found."""
    work = admitted(url, int(rounds), int(gateway[0]), gateway[1]) if gateway else compiled(url, int(rounds))
    for name, times in asyncio.run(work).items():
        print("timed", name, *(f"{seconds:.6f}" for seconds in times), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
