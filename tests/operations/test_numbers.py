"""The numbers of processes: how they are put together, and that they stay few."""

import multiprocessing
from pathlib import Path
from typing import Any, get_args

import pytest

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.endings import ending_of
from metamcp_asgi.config.snapshot import ANONYMOUS
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.metrics.counts import Metrics
from metamcp_asgi.metrics.sheet import MAX_SERIES, MAX_TOOLS, OUTCOMES
from metamcp_asgi.protocol.outcome import Cause, Failure, tool_error


def test_names_that_servers_make_up_are_bounded() -> None:
    metrics = Metrics()
    for number in range(3 * MAX_SERIES):
        metrics.sheet.count(("e", "s", "tools/call", f"t{number}"), 0, 0.1)
        metrics.sheet.count((f"e{number}", "s", "tools/call", "t"), 0, 0.1)
    counted = metrics.snapshot()
    assert len(counted.series) <= MAX_SERIES
    assert len(counted.by("endpoint", "server", "tool")) <= MAX_SERIES
    assert sum(1 for key in counted.series if key[:2] == ("e", "s")) <= MAX_TOOLS + 1
    assert sum(calls.count for calls in counted.series.values()) == 6 * MAX_SERIES, "nothing is lost"


def test_a_quantile_is_between_the_bounds_around_it() -> None:
    metrics = Metrics()
    for seconds in (0.03, 0.04, 0.2, 90.0):
        metrics.sheet.count(("e", "s", "m", "t"), OUTCOMES.index("ok"), seconds)
    (calls,) = metrics.snapshot().series.values()
    assert 0.025 < (calls.quantile(0.5) or 0) <= 0.05
    assert calls.quantile(1.0) == 60.0
    assert abs(calls.seconds - 90.27) < 0.001


def test_what_a_process_counted_outlives_it(tmp_path: Path) -> None:
    key = ("e", "s", "m", "t")
    folder = tmp_path / "numbers"
    first, second = Metrics(folder), Metrics(folder)
    first.sheet.count(key, 0, 0.1)  # before it is open to others
    first.open()
    first.changing("streams")(3)
    second.open()
    second.sheet.count(key, 0, 0.1)
    assert (second.snapshot().series[key].count, second.snapshot().fixed["streams"]) == (2, 3)
    assert first.snapshot() == second.snapshot()
    first.close()
    assert (second.snapshot().series[key].count, second.snapshot().fixed["streams"]) == (2, 0)
    for _ in range(3):
        third = Metrics(folder)
        third.open()
        third.sheet.count(key, 0, 0.1)
        third.close()
    assert second.snapshot().series[key].count == 5
    assert second.snapshot().processes == 1
    # What has ended is put together, so that the folder does not grow.
    assert len(list(folder.glob("*.cells"))) <= 2
    assert oct(folder.stat().st_mode & 0o777) == "0o700"


def _live(folder: Path, name: str, times: int, start: Any) -> None:
    start.wait()
    for number in range(times):
        metrics = Metrics(folder)
        metrics.open()
        for _ in range(10):
            metrics.sheet.count(("e", "s", "m", f"{name}{number % 3}"), 0, 0.001)
        if number % 2:
            metrics.close()
            # The other half are ended by the end of their process, as those that are killed.


def test_processes_that_come_and_go_lose_nothing_and_count_nothing_twice(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(5)
    workers = [context.Process(target=_live, args=(tmp_path, name, 12, start)) for name in "abcd"]
    for worker in workers:
        worker.start()
    reader = Metrics(tmp_path)
    reader.open()
    start.wait()
    seen = 0
    while any(worker.is_alive() for worker in workers):
        now = sum(calls.count for calls in reader.snapshot().series.values())
        assert now >= seen, "a sum gets no smaller"
        seen = now
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    last = Metrics(tmp_path)
    last.open()
    counted = last.snapshot()
    assert sum(calls.count for calls in counted.series.values()) == 4 * 12 * 10
    assert counted.processes == 2
    last.close()
    reader.close()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"METAMCP_METRICS_FOLDER: cannot be used for numbers"):
        Metrics(tmp_path / "file" / "x").open()


def test_a_damaged_sum_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "ended.json").write_text("{")
    metrics = Metrics(tmp_path)
    metrics.open()
    assert metrics.snapshot().series == {}
    assert "what was counted before is lost" in caplog.text
    metrics.close()


@pytest.mark.parametrize("cause", get_args(Cause))
def test_whatever_the_cause_of_a_failure_there_is_an_outcome_for_it(cause: Cause) -> None:
    call = Call("e", ANONYMOUS, "tools/call", {})
    counted = {
        OUTCOMES[ending_of(call, told)] for told in (Failure(-32603, "no", None, cause), tool_error("no", cause))
    }
    own = {"server": {"error", "tool_error"}, "away": {"unavailable"}}
    assert counted == own.get(cause, {cause})


def test_the_result_of_a_task_counts_as_that_of_its_tool() -> None:
    call = Call("e", ANONYMOUS, "tasks/result", {})
    assert OUTCOMES[ending_of(call, tool_error("no"))] == "tool_error"
