"""Says things no more often than a listener has use for: what comes too fast gives way to what comes after it."""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

__all__ = ["BURST", "INTERVAL", "Pace"]

T = TypeVar("T")

INTERVAL: Final = 0.1
"""Seconds between two notifications of progress, on average (eras.md PG-01): no bar needs to move more often."""
BURST: Final = 10
"""How many may come at once, so that a call of a few steps has all of them told, however fast it is."""


class Pace(Generic[T]):
    """Passes on what it is given, at once or a little later; of what has to wait, the latest only.

    Belongs to the event loop in which it is used. To be closed by its owner.

    Args:
        say: Gets what is passed on.
        interval: Seconds between two things, on average.
        burst: How many may come at once after a silence.
    """

    __slots__ = ("_due", "_held", "_interval", "_say", "_slack", "_timer")

    def __init__(self, say: Callable[[T], None], interval: float, burst: int) -> None:
        self._say = say
        self._interval = interval
        self._slack = (burst - 1) * interval
        self._due = 0.0
        """When the next thing would be said if all were an interval apart."""
        self._held: T | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, what: T) -> None:
        """Pass on ``what``, now or as soon as it may be, unless something else is to be passed on by then."""
        if self._timer is not None:
            self._held = what
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        early = self._due - self._slack - now
        if early > 0:
            self._held = what
            self._timer = loop.call_later(early, self.flush)
        else:
            self._due = max(self._due, now) + self._interval
            self._say(what)

    def flush(self) -> None:
        """Pass on what waits, if anything does."""
        held, self._held = self._held, None
        self.close()
        if held is not None:
            self._due += self._interval
            self._say(held)

    def close(self) -> None:
        """Let what waits be forgotten."""
        self._held = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
