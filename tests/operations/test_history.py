"""The numbers of the last minutes and the last hour, of which samples are kept."""

import pytest

from metamcp_asgi.metrics.counts import Metrics
from metamcp_asgi.metrics.history import KEPT, MOST_POINTS, MOST_SERIES, STEP, History
from metamcp_asgi.metrics.sheet import OUTCOMES


class Watched:
    """What is counted, with a clock that a test turns."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.now = 1_000_000.0
        self.history = History(self.metrics.snapshot, lambda: self.now)
        self.history.sample()

    def call(self, tool: str = "t", times: int = 1, outcome: str = "ok", seconds: float = 0.01) -> None:
        for _ in range(times):
            self.metrics.sheet.count(("e", "s", "tools/call", tool), OUTCOMES.index(outcome), seconds)

    def passes(self, steps: int = 1) -> None:
        for _ in range(steps):
            self.now += STEP
            self.history.sample()


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_window_has_what_was_counted_within_it(watched: Watched) -> None:
    watched.call(times=5, seconds=2.0)
    watched.passes()
    watched.passes(20)
    watched.call(times=2)
    watched.call(times=1, outcome="timeout", seconds=0.01)
    watched.now += 7  # not sampled yet
    short, long, all_ = (watched.history.window(seconds) for seconds in (300.0, 3600.0, None))
    assert [window.numbers.total.count for window in (short, long, all_)] == [3, 8, 8]
    assert [window.numbers.total.errors for window in (short, long, all_)] == [1, 1, 1]
    assert (short.numbers.total.quantile(0.95) or 0) <= 0.01
    assert (long.numbers.total.quantile(0.95) or 0) > 1.0
    assert 300 <= short.seconds <= 300 + STEP
    assert long.seconds == 21 * STEP + 7
    assert sum(point.calls.count for point in long.points) == 8
    assert (long.points[-1].at, long.points[-1].calls.count) == (watched.now, 3)


def test_an_hour_is_kept_and_no_more_than_a_chart_can_show(watched: Watched) -> None:
    watched.call(times=9)
    watched.passes(KEPT + 20)
    window = watched.history.window(3600.0)
    assert window.numbers.total.count == 0
    assert 3600 <= window.seconds <= 3600 + STEP
    assert 0 < len(window.points) <= MOST_POINTS
    assert watched.history.window(None).numbers.total.count == 9


def test_a_sample_tells_the_busiest_apart(watched: Watched) -> None:
    for number in range(MOST_SERIES + 50):
        watched.call(f"t{number}", times=1 + (number < MOST_SERIES))
    watched.passes()
    counted = watched.history.window(300.0).numbers
    assert counted.total.count == 2 * MOST_SERIES + 50
    assert counted.by("server", "tool")["other", "other"].count == 50
    assert len(counted.series) == MOST_SERIES + 1


def test_before_the_first_sample_there_is_what_was_counted_since_the_start() -> None:
    metrics = Metrics()
    metrics.sheet.count(("e", "s", "m", "t"), 0, 0.1)
    history = History(metrics.snapshot)
    assert history.window(None).numbers.total.count == 1
    assert (history.window(300.0).numbers.total.count, history.window(300.0).points) == (0, [])
