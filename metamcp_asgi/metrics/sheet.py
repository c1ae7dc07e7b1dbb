"""The numbers of one process: whole numbers, each at a place of its own, in memory that other processes may share.

To count is to add to an item of ``cells``, which costs as much as adding to a list's, takes no lock and waits for
nothing. What the places mean is said here; who reads them is ``folder.py`` and ``numbers.py``.
"""

import mmap
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from typing import Final, TypeAlias

__all__ = [
    "BOUNDS",
    "FIXED",
    "GAUGES",
    "HTTP",
    "MAX_SERIES",
    "OTHER",
    "OUTCOMES",
    "SIZE",
    "WIDTH",
    "Key",
    "Sheet",
    "uncounted",
]

Key: TypeAlias = tuple[str, str, str, str]
"""What calls were about: endpoint, server, method and tool."""

OUTCOMES: Final = (
    "ok",
    "tool_error",
    "error",
    "unknown",
    "refused",
    "unavailable",
    "timeout",
    "limited",
    "cancelled",
    "input_required",
)
"""How a call can end. All but the first and the last are failures."""
BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds up to which a call counts into each part of the histogram; whatever takes longer into one more."""

HTTP: Final = ("http_requests", "http_in_flight", *(f"http_{kind}" for kind in range(6)))
"""What the outermost layer counts: requests, those in flight, and answers by the first digit of their status."""
FIXED: Final = (*HTTP, "streams", "children", "parked", "sessions")
"""What is counted once for a process: these, then open streams, child processes, parked calls, sessions opened."""
GAUGES: Final = frozenset({"http_in_flight", "streams", "children", "parked"})
"""Those that say how much there is now, and end with their process."""

WIDTH: Final = len(OUTCOMES) + 1 + len(BOUNDS) + 1
"""Cells of one series: a number for each outcome, microseconds in all, and the histogram."""
MAX_SERIES: Final = 2000
"""How many series there may be: endpoints and servers are named by those who configure, but tools by servers."""
MAX_TOOLS: Final = 500
"""How many tools of a server are told apart on one endpoint; further ones are ``other``."""
SIZE: Final = 8 * (len(FIXED) + MAX_SERIES * WIDTH)
"""Bytes of all cells; pages that were never written to take no memory."""

_MICROSECONDS: Final = len(OUTCOMES)
_HISTOGRAM: Final = len(OUTCOMES) + 1
OTHER: Final = "other"
"""What is not told apart is called this."""


class Sheet:
    """What one process counts, at first where only it can see it."""

    __slots__ = ("_named", "_rows", "_tools", "cells")

    def __init__(self) -> None:
        # Private: what a process counts that was forked from this one is its own.
        own = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.cells: memoryview = memoryview(own).cast("Q")
        self._named: Callable[[Key], object] | None = None
        self._rows: dict[Key, int] = {}
        self._tools: Counter[tuple[str, str]] = Counter()

    @property
    def keys(self) -> list[Key]:
        """The series in the order of their cells."""
        return list(self._rows)

    def move(self, memory: mmap.mmap, named: Callable[[Key], object]) -> None:
        """Count elsewhere from now on, on top of what was counted so far.

        Args:
            memory: Where, with ``SIZE`` bytes of zero.
            named: Is told the key of each series, those that there are and new ones, before anything is counted there.
        """
        old, self.cells = self.cells, memoryview(memory).cast("Q")
        self.cells[: len(old)] = old
        self._named = named
        for key in self.keys:
            named(key)

    def count(self, key: Key, outcome: int, seconds: float) -> None:
        """Count a call that has ended.

        Args:
            key: What it was about.
            outcome: How it ended, an index of ``OUTCOMES``.
            seconds: How long it took.
        """
        row = self._rows.get(key)
        if row is None:
            row = self._row(key)
        cells = self.cells
        cells[row + outcome] += 1
        cells[row + _MICROSECONDS] += int(seconds * 1e6)
        cells[row + _HISTOGRAM + bisect_left(BOUNDS, seconds)] += 1

    def _row(self, key: Key) -> int:
        """Return the place of a new series, which it may have to share."""
        endpoint, server, method, tool = key
        # A key that shares the series of others is not remembered: there may be any number of them.
        if tool and self._tools[endpoint, server] >= MAX_TOOLS:
            key = (endpoint, server, method, OTHER)
        if len(self._rows) >= MAX_SERIES - 1 and key not in self._rows:
            key = (OTHER, OTHER, OTHER, OTHER)
        if (shared := self._rows.get(key)) is not None:
            return shared
        self._tools[endpoint, server] += 1
        row = len(FIXED) + len(self._rows) * WIDTH
        if self._named is not None:
            self._named(key)
        self._rows[key] = row
        return row


def uncounted(by: int) -> None:
    """Count nothing; for what nobody watches."""
