"""What was counted in the last minutes and the last hour: samples of the numbers, as many as an hour has.

A sample is what was added since the one before, of the busiest series only; the others share one. Percentiles are as
good as the histograms are (``Calls.quantile``). Blocks while it reads; knows no event loop.
"""

import operator
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Final

from msgspec import Struct

from metamcp_asgi.metrics.numbers import Calls, Numbers, add, numbers
from metamcp_asgi.metrics.sheet import BOUNDS, FIXED, OTHER, WIDTH, Key

__all__ = ["KEPT", "MOST_SERIES", "STEP", "History", "Point", "Window"]

STEP: Final = 20.0
"""Seconds between two samples."""
KEPT: Final = 180
"""How many samples are kept: those of an hour."""
MOST_SERIES: Final = 200
"""How many series a sample tells apart."""
MOST_POINTS: Final = 60
"""How many points a window has at most, as many as a chart can show."""

_REST: Final[Key] = (OTHER, OTHER, OTHER, OTHER)
_HISTOGRAM: Final = len(BOUNDS) + 1


class Point(Struct, frozen=True):
    """The calls of a part of a window: until ``at`` (seconds since 1970), in ``seconds``."""

    at: float
    seconds: float
    calls: Calls


class Window(Struct, frozen=True):
    """What was counted; ``points`` are the parts of the last ``seconds`` that samples are kept of."""

    seconds: float
    numbers: Numbers
    points: Sequence[Point]


class _Sample(Struct, frozen=True):
    at: float
    seconds: float
    series: Mapping[Key, "array[int]"]


class History:
    """Samples of the numbers.

    Args:
        read: Gives the numbers as they are.
        clock: Seconds since 1970.
    """

    def __init__(self, read: Callable[[], Numbers], clock: Callable[[], float] = time.time) -> None:
        self._read = read
        self._clock = clock
        self._turn = threading.Lock()
        self._samples: deque[_Sample] = deque(maxlen=KEPT)
        self._before: Numbers | None = None
        self._at = 0.0

    def sample(self) -> None:
        """Take a sample; the first one is where counting begins.

        Raises:
            OSError: The numbers of other processes cannot be read.
        """
        now = self._read()
        with self._turn:
            if self._before is not None:
                self._samples.append(self._since(self._before, now))
            self._before, self._at = now, self._clock()

    def window(self, seconds: float | None) -> Window:
        """Return what was counted lately.

        Args:
            seconds: How far back, as far as samples are kept; ``None``: since counting began, whose points are those
                of the samples.

        Raises:
            OSError: The numbers of other processes cannot be read.
        """
        now = self._read()
        with self._turn:
            samples = list(self._samples)
            if self._before is not None:
                samples.append(self._since(self._before, now))
        if seconds is not None and samples:
            begin = samples[-1].at - seconds
            # One that began before is as long as what is missing of the present one.
            samples = [sample for sample in samples if sample.at > begin]
        covered = sum(sample.seconds for sample in samples)
        if seconds is None:
            return Window(covered, now, _points(samples))
        series: dict[Key, list[int]] = {}
        for sample in samples:
            for key, cells in sample.series.items():
                known = series.get(key)
                series[key] = list(cells) if known is None else list(map(operator.add, known, cells))
        return Window(covered, numbers(now.processes, [0] * len(FIXED), series), _points(samples))

    def _since(self, before: Numbers, now: Numbers) -> _Sample:
        at = self._clock()
        grown = now.since(before)
        kept: dict[Key, array[int]] = {}
        rest = [0] * WIDTH
        # The histogram has every call once.
        busiest = sorted(grown.items(), key=lambda each: -sum(each[1][-_HISTOGRAM:]))
        for key, cells in islice(busiest, MOST_SERIES):
            kept[key] = array("Q", cells)
        for _, cells in islice(busiest, MOST_SERIES, None):
            add(rest, cells)
        if any(rest):
            if _REST in kept:
                add(rest, kept[_REST])
            kept[_REST] = array("Q", rest)
        return _Sample(at, max(at - self._at, 0.0), kept)


def _points(samples: Sequence[_Sample]) -> list[Point]:
    """Return the samples, put together so that there are not too many; the last ones always in the same way."""
    width = -(-len(samples) // MOST_POINTS)
    points = []
    for begin in range(0, len(samples), width or 1):
        group = samples[begin : begin + width]
        cells = [0] * WIDTH
        for sample in group:
            for each in sample.series.values():
                cells = list(map(operator.add, cells, each))
        points.append(Point(group[-1].at, sum(sample.seconds for sample in group), Calls.of(cells)))
    return points
