"""No orphan, however the gateway dies."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from metamcp_asgi.upstream import reaper
from tests.upstream.child.children import STUBBORN, Spawner, becomes, exists, vanished

_GATEWAY = """
import asyncio, sys
import uvloop
from pathlib import Path
from tests.upstream.child.children import STUBBORN, Spawner

WRAPPER = '''
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
subprocess.Popen([sys.executable, "-I", "-S", sys.argv[1]]).wait()
'''

async def main():
    spawner = Spawner(Path(sys.argv[1]))
    stopped = await spawner.python("input()")
    wrapped = await spawner.python(WRAPPER, spawner.script(STUBBORN))
    await stopped.child.stop()
    print(int(await wrapped.said()), int(await wrapped.said()), spawner.reaper.pid, flush=True)
    await asyncio.sleep(60)

(uvloop.run if sys.argv[2] == "uvloop" else asyncio.run)(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_gateway_leaves_neither_child_nor_grandchild(tmp_path: Path, loop: str, how: int) -> None:
    async def run() -> None:
        gateway = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _GATEWAY,
            str(tmp_path),
            loop,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[3],
            process_group=0,
        )
        assert gateway.stdout is not None
        pids = [int(pid) for pid in (await gateway.stdout.readline()).split()]
        assert len(pids) == 3
        assert all(map(exists, pids))
        os.killpg(gateway.pid, how)
        await gateway.wait()
        assert await vanished(*pids)

    asyncio.run(run())


async def test_the_reaper_starts_with_the_first_child_and_ends_with_the_gateway(
    spawner: Spawner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = tmp_path / "reaper.py"
    patient.write_text(reaper._SCRIPT.read_text().replace("_GRACE = 1.0", "_GRACE = 60.0"))
    assert "60.0" in patient.read_text()
    monkeypatch.setattr(reaper, "_SCRIPT", patient)
    monkeypatch.setattr(reaper, "_CLOSE_TIMEOUT", 60.0)
    assert spawner.reaper.pid is None
    child = await spawner.python("input()")
    pid = spawner.reaper.pid
    assert pid is not None
    assert os.getsid(pid) == pid
    another = await spawner.python("input()")
    assert spawner.reaper.pid == pid
    await asyncio.gather(child.child.stop(), another.child.stop())
    began = asyncio.get_running_loop().time()
    await spawner.reaper.aclose()
    # At once: the grace, here a minute, is for groups that are left.
    assert asyncio.get_running_loop().time() - began < 30
    assert not exists(pid)
    await spawner.reaper.aclose()


async def test_a_reaper_that_is_closed_ends_what_was_not_stopped(spawner: Spawner) -> None:
    stubborn = await spawner.python(STUBBORN)
    await stubborn.said()
    await spawner.reaper.aclose()
    assert await stubborn.exit_reason() == "killed by SIGKILL"


@pytest.mark.parametrize("young", [True, False])
async def test_a_reaper_that_died_is_replaced_and_told_again(spawner: Spawner, young: bool) -> None:
    stubborn = await spawner.python(STUBBORN)
    await stubborn.said()
    first = spawner.reaper.pid
    assert first is not None
    if not young:
        spawner.reaper._started_at -= 60.0
    os.kill(first, signal.SIGKILL)
    assert await becomes(lambda: spawner.reaper.pid != first)
    if young:
        # One that dies at once would make us fork in a loop: the next child brings the next reaper.
        assert spawner.reaper.pid is None
        await (await spawner.python("pass")).child.stop()
    assert spawner.reaper.pid is not None
    await spawner.reaper.aclose()
    assert await stubborn.exit_reason() == "killed by SIGKILL"


async def test_a_reaper_that_hangs_does_not_hang_the_gateway(spawner: Spawner) -> None:
    await spawner.reaper.start()
    first = spawner.reaper.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    for _ in range(20_000):
        spawner.reaper.watch(2**22 + 1)
    assert await becomes(lambda: spawner.reaper.pid != first)
    spawner.reaper.release(2**22 + 1)
