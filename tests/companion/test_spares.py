"""The companion has a process ahead of the next session of a server that its callers do not share, if it is told so."""

import contextlib
from pathlib import Path

from tests.companion.workers import companion_at, workers_at
from tests.serving import until
from tests.stdio import stdio
from tests.upstream.child.children import vanished
from tests.upstream.connecting import ADA, BOB, call, text


async def test_one_is_ahead_of_the_next_caller_of_any_worker(path: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"
    entry = {**stdio(started=started), "sharing": "principal"}
    with companion_at(path, METAMCP_WARM_SPARES="true"):
        async with workers_at(path) as workers:
            one, other = await workers().ready(entry), await workers().ready(entry)
            await one.send(call("pid"), ADA)
            await until(lambda: len(started.read_text().split()) == 3)
            assert text(await other.send(call("pid"), BOB)) in started.read_text().split()[2:]
            await one.retire()
            await other.retire()
            assert await vanished(*map(int, started.read_text().split()))


async def test_there_is_none_unless_the_companion_is_told_so(path: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"
    entry = {**stdio(started=started), "sharing": "principal"}
    with companion_at(path):
        async with workers_at(path) as workers:
            server = await workers().ready(entry)
            for caller in (ADA, BOB):
                await server.send(call("pid"), caller)
            # One that is ahead would be there before the first answer.
            assert _running(str(started)) == 3


def _running(argument: str) -> int:
    """How many processes have that in their command line."""
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += argument.encode() in (process / "cmdline").read_bytes()
    return found
