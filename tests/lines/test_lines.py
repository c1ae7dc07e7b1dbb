"""The last lines: how many are kept, who writes them, how they are found again, and what is never in them."""

import asyncio
import logging
import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metamcp_asgi.config.snapshot import Server
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.lines.handler import LineHandler
from metamcp_asgi.lines.lines import BEAT, MOST_A_SECOND, MOST_TEXT, Lines
from metamcp_asgi.lines.ring import Ring
from metamcp_asgi.lines.secrets import hidden
from metamcp_asgi.upstream.hearing import hearing


@pytest.fixture
def lines() -> Iterator[Lines]:
    kept = Lines()
    kept.open()
    yield kept
    kept.close()


def texts(lines: Lines, place: str | None = None) -> list[str]:
    return [line.text for _, line in lines.read(place).lines]


def test_the_oldest_records_give_way_and_a_reader_is_told() -> None:
    ring = Ring(size=1000, most=20)
    for number in range(7):
        ring.append(b"%d" % number)
    third = ring.read(0)[0][2][0]
    assert [record for _, record in ring.read(third)[0]] == [b"3", b"4", b"5", b"6"]
    for number in range(7, 200):
        ring.append(b"%d" % number * (1 + number % 5))
    records, lost = ring.read(third)
    assert lost, "what came after the third is not there any more"
    numbers = range(200 - len(records), 200)
    assert [record for _, record in records] == [b"%d" % number * (1 + number % 5) for number in numbers]
    assert len(records) == 20
    assert ring.read(records[-1][0]) == ([], False)
    ring.append(b"x" * 10_000)
    (_, cut) = ring.read(records[-1][0])[0][0]
    assert cut == b"x" * 250
    ring.close()


def _say(folder: Path, name: str, size: tuple[int, int], start: Any) -> None:
    ring = Ring(folder, *size)
    start.wait()
    for number in range(300):
        ring.append(f"{name}-{number} {'x' * (number % 60)} end".encode())


@pytest.mark.parametrize("size", [(10_000, 100), (1_000_000, 5000)], ids=["a ring that is full", "a ring with room"])
def test_processes_that_write_at_once_leave_whole_records_in_order(tmp_path: Path, size: tuple[int, int]) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)
    folder = tmp_path / "shared"
    writers = [context.Process(target=_say, args=(folder, name, size, start)) for name in "abc"]
    for writer in writers:
        writer.start()
    reader = Ring(folder, *size)
    start.wait()
    place = 0
    said: dict[str, list[int]] = {name: [] for name in "abc"}
    missed = False
    while any(writer.is_alive() for writer in writers) or place != reader.end:
        records, lost = reader.read(place)
        missed |= lost
        for after, record in records:
            name, _, number = record.decode().split()[0].partition("-")
            assert record.endswith(b" end")
            said[name].append(int(number))
            place = after
    for writer in writers:
        writer.join(30)
        assert writer.exitcode == 0
    assert all(numbers == sorted(set(numbers)) for numbers in said.values())
    assert any(numbers[-1:] == [299] for numbers in said.values()), "the last record is always there"
    if size[1] > 3 * 300:
        assert (missed, set(map(len, said.values()))) == (False, {300})
    assert oct((folder / "lines-1").stat().st_mode & 0o777) == "0o600"
    reader.close()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="METAMCP_METRICS_FOLDER"):
        Lines(tmp_path / "file").open()


def test_a_reader_goes_on_where_it_was(lines: Lines) -> None:
    lines.heard("a", "one")
    place = lines.read().place
    lines.add("error", "server", "two", "a")
    (read,) = lines.read(place).lines
    assert (read[1].level, read[1].source, read[1].server, read[1].text) == ("error", "server", "a", "two")
    assert texts(lines, read[0]) == []
    for made_up in ("", "x", "0-0", "zz-1", place + "f", "-", "ffff-10"):
        assert texts(lines, made_up) == ["one", "two"]
    lines.close()
    lines.heard("a", "after the end")
    assert texts(lines) == []


async def test_who_waits_is_told_of_what_another_process_says(tmp_path: Path) -> None:
    here, there = Lines(tmp_path), Lines(tmp_path)
    here.open()
    there.open()
    waiting = asyncio.create_task(here.more(here.read().place))
    await asyncio.sleep(0)
    assert not waiting.done()
    there.heard("a", "hello")
    assert await asyncio.wait_for(waiting, 15)
    assert texts(here) == ["hello"]
    waiting = asyncio.create_task(here.more(here.read().place))
    here.end()
    assert not await asyncio.wait_for(waiting, 15), "and nobody waits when it ends"
    here.close()
    assert texts(there) == ["hello"], "what others share stays"
    there.close()
    assert BEAT < 1


def test_one_that_says_too_much_silences_only_itself() -> None:
    now = 1000.0
    lines = Lines(clock=lambda: now)
    lines.open()
    for number in range(MOST_A_SECOND * 3):
        lines.heard("loud", str(number))
    lines.heard("quiet", "still heard")
    said = texts(lines)
    assert said[:MOST_A_SECOND] == [str(number) for number in range(MOST_A_SECOND)]
    assert "left out" in said[MOST_A_SECOND]
    assert said[MOST_A_SECOND + 1 :] == ["still heard"]
    now += 1
    lines.heard("loud", "again")
    assert texts(lines)[-1] == "again"
    lines.close()


def test_a_line_is_short_and_without_what_a_terminal_does(lines: Lines) -> None:
    lines.heard("a", "\x1b[1;31mred\x1b[0m\x07 \x00text\tand\nmore")
    lines.heard("a", "x" * 100_000)
    assert texts(lines) == ["red text\tand\nmore", "x" * (MOST_TEXT - 3) + "..."]


def test_what_looks_like_a_secret_and_what_was_given_to_a_server_is_not_kept(lines: Lines) -> None:
    server = Server(
        name="a",
        type="stdio",
        command="run",
        args=("--token", "arg-secret-7f3a", "plain"),
        env=(("API_KEY", "env-secret-7f3a"), ("LOG_LEVEL", "verbose"), ("PIN_SECRET", "12")),
        owner="somebody",
    )
    hear = hearing(server, lines.heard)
    hear("with env-secret-7f3a and arg-secret-7f3a, verbose, 12 plain, at https://u:url-secret-7f3a@host/")
    ((_, line),) = lines.read().lines
    assert line.text == "with *** and ***, verbose, 12 plain, at https://***@host/"
    assert line.server == "a@somebody", "another owner's server of that name is another one"


@pytest.mark.parametrize(
    "run", ["a", "a.b-", "A_", "A-", "eyJaaaaaaaa-", "eyJaaaaaaaa.", "eyJ-", "Bearer ", "?token=", "://a"]
)
def test_no_line_takes_long_to_look_through(run: str) -> None:
    began = time.process_time()
    hidden((run * MOST_TEXT)[: 4 * MOST_TEXT])
    assert time.process_time() - began < 0.5, "it takes seconds where the time grows with the square of the length"


@pytest.fixture
def said(lines: Lines) -> Iterator[Callable[[], list[tuple[str, str, str, str]]]]:
    handler = LineHandler(lines)
    logger = logging.getLogger("metamcp")
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield lambda: [(line.level, line.source, line.server, line.text) for _, line in lines.read().lines]
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_what_the_gateway_logs_is_kept(said: Callable[[], list[tuple[str, str, str, str]]]) -> None:
    logging.getLogger("metamcp.upstream").info("Server %s: ready", "a", extra={"server": "a"})
    logging.getLogger("metamcp").warning("call of %s", "somebody", extra={"server": "a"})
    logging.getLogger("metamcp.upstream").debug("too small")
    logging.getLogger("metamcp.access").info("one for each request")
    logging.getLogger("metamcp.audit").info("one for each call")
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("metamcp").exception("broken")
        logging.getLogger("metamcp.upstream").exception("Server a: broken", extra={"server": "a"})
    assert said() == [
        ("info", "server", "a", "Server a: ready"),
        ("warning", "gateway", "a", "call of somebody"),
        ("error", "gateway", "", "broken: ValueError: why"),
        ("error", "server", "a", "Server a: broken"),
    ]
