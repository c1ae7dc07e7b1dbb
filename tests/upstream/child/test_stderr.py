"""What a child says on stderr: kept, logged at DEBUG, never an error (T-90)."""

import logging

import pytest

from metamcp_asgi.lines.lines import MOST_A_SECOND
from metamcp_asgi.upstream.pipes import ErrorTail
from tests.upstream.child.children import ECHO, Spawner


async def test_the_last_fifty_lines_are_kept(spawner: Spawner) -> None:
    speaker = await spawner.python(
        'import sys\nfor n in range(200): print("line", n, file=sys.stderr)\nsys.stderr.write("cut")'
    )
    await speaker.exit_reason()
    assert speaker.child.stderr.split("\n") == [*(f"line {n}" for n in range(151, 200)), "cut"]


async def test_no_more_than_sixteen_kibibytes_are_kept(spawner: Spawner) -> None:
    speaker = await spawner.python('import sys\nfor n in range(500): print(f"{n:03}" * 500, file=sys.stderr)')
    await speaker.exit_reason()
    lines = speaker.child.stderr.split("\n")
    assert lines == [f"{n:03}" * 500 for n in range(490, 500)]


async def test_one_endless_line_is_shown_by_its_end(spawner: Spawner) -> None:
    speaker = await spawner.python('import os; os.write(2, b"x" * 100_000 + b"END")')
    await speaker.exit_reason()
    assert speaker.child.stderr == "x" * (16384 - 3) + "END"


async def test_bytes_that_are_not_text_do_no_harm(spawner: Spawner) -> None:
    speaker = await spawner.python('import os; os.write(2, b"bad \\xff byte\\n")')
    await speaker.exit_reason()
    assert speaker.child.stderr == "bad \ufffd byte"


async def test_noise_on_stderr_disturbs_nothing(spawner: Spawner) -> None:
    noisy = await spawner.python('import os; os.write(2, b"ERROR: failed!\\n" * 20_000)\n' + ECHO)
    noisy.child.write(b"1")
    assert await noisy.said() == b"1"
    assert noisy.child.running


async def test_lines_are_logged_at_debug_with_the_servers_name(
    spawner: Spawner, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "metamcp.upstream.stderr")
    speaker = await spawner.python(
        'import os, sys; os.write(2, b"to"); sys.stdin.readline(); os.write(2, b"ken\\nmore\\n")'
    )
    speaker.child.write(b"1")
    await speaker.exit_reason()
    records = [record for record in caplog.records if record.name == "metamcp.upstream.stderr"]
    assert [record.getMessage() for record in records] == ["test: token", "test: more"]
    assert {record.levelno for record in records} == {logging.DEBUG}


def test_one_that_writes_without_end_is_looked_at_a_little() -> None:
    now, told = 1000.0, list[str]()
    tail = ErrorTail("loud", lambda: None, told.append, clock=lambda: now)
    flood = "".join(f"{number}\n" for number in range(10_000)).encode()
    for _ in range(20):
        tail.data_received(flood)
    assert told == [str(number) for number in range(10_000 - MOST_A_SECOND - 1, 10_000)]
    assert tail.text().endswith("\n9999"), "its end is kept all the same"
    now += 1
    tail.data_received(b"\n\nhalf a li")
    tail.data_received(b"ne\n" + b"x" * 100_000)
    assert [line[:20] for line in told[MOST_A_SECOND + 1 :]] == ["half a line", "x" * 20]
