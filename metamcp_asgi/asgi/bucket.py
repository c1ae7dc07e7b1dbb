"""Token buckets, kept as one number each.

A bucket is remembered as the moment at which it will be full again (the generic cell rate algorithm
of ITU-T I.371): nothing has to be refilled, and no task runs. The clock is the caller's; this file knows no HTTP.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Literal, TypeAlias

from metamcp_asgi.errors import MetaMCPError

__all__ = ["Bucket", "Buckets", "Counting", "Take", "WhenAway"]

Take: TypeAlias = Callable[[str, Sequence[tuple[str, int, float]]], Awaitable[tuple[int, Sequence[float]]]]
"""Takes from buckets that many processes share: one from each of a group, or none if one of them is empty.

Given the group and, for each bucket, its name, ``max_rate`` and ``seconds``; answered with the index of the first empty
one, -1 if there is none, and the seconds until each is full, after the taking. Raises a ``MetaMCPError`` when they
cannot be reached.
"""

WhenAway: TypeAlias = Literal["local", "refuse"]
"""What happens while shared buckets cannot be reached: each process counts for itself, or refuses."""

_SLACK = 1e-3
"""Part of one request that rounding may give away, so that waiting exactly as long as told is enough."""


class Bucket:
    """Admits ``max_rate`` requests at once, and then ``max_rate`` per ``seconds``, evenly spread.

    Args:
        max_rate: Capacity, and requests regained per ``seconds``; at least 1.
        seconds: Time in which an empty bucket becomes full; above 0.
    """

    __slots__ = ("_full_at", "_interval", "_max_rate", "_seconds")

    def __init__(self, max_rate: int, seconds: float) -> None:
        self._max_rate = max_rate
        self._seconds = seconds
        self._interval = seconds / max_rate
        self._full_at = -math.inf

    @classmethod
    def owing(cls, max_rate: int, seconds: float, debt: float, now: float) -> "Bucket":
        """Return a bucket that will be full again ``debt`` seconds after ``now``."""
        bucket = cls(max_rate, seconds)
        bucket._full_at = now + debt
        return bucket

    def wait(self, now: float) -> float:
        """Return the seconds until a request is admitted: 0.0 when it is admitted at ``now``. Takes nothing."""
        late = self._full_at + self._interval - self._seconds - now
        return late if late > self._interval * _SLACK else 0.0

    def take(self, now: float) -> None:
        """Count one request, which ``wait`` admitted."""
        self._full_at = max(self._full_at, now) + self._interval

    def left(self, now: float) -> tuple[int, float]:
        """Return how many requests would be admitted at ``now``, and in how many seconds one more, 0.0 when full."""
        debt = self._full_at - now
        if debt <= 0:
            return self._max_rate, 0.0
        interval = self._interval
        left = int((self._seconds - debt) / interval + _SLACK)
        rest = debt % interval
        return max(0, left), rest if rest > interval * _SLACK else interval

    def debt(self, now: float) -> float:
        """Return the seconds until the bucket is full."""
        return max(0.0, self._full_at - now)


class Buckets:
    """The buckets of many clients; the ones unused for longest are forgotten, and then start full again.

    Args:
        limit: How many are remembered.
    """

    __slots__ = ("_buckets", "_limit")

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def get(self, key: Hashable, max_rate: int, seconds: float) -> Bucket:
        """Return the bucket of ``key``, a full one of this size when it isn't known."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(max_rate, seconds)
            if len(self._buckets) > self._limit:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket


class Counting:
    """A ``Take`` that always has buckets: the shared ones, and while these cannot be reached, those of this process.

    Args:
        shared: Takes from the buckets of all processes; ``None``: there are none.
        when_away: What happens while these cannot be reached.
        clock: Seconds, never going backwards.
    """

    __slots__ = ("_clock", "_here", "_shared", "_when_away")

    def __init__(self, shared: Take | None, when_away: WhenAway, clock: Callable[[], float] = time.monotonic) -> None:
        self._shared = shared
        self._when_away = when_away
        self._clock = clock
        self._here = Buckets()

    async def __call__(self, group: str, wanted: Sequence[tuple[str, int, float]]) -> tuple[int, Sequence[float]]:
        """Take one from each bucket of a group, or none.

        Raises:
            MetaMCPError: The shared ones cannot be reached, and ``when_away`` is ``refuse``.
        """
        if self._shared is not None:
            try:
                return await self._shared(group, wanted)
            except MetaMCPError:
                if self._when_away == "refuse":
                    raise
        now = self._clock()
        # The size is part of the key: a changed one finds no old bucket.
        buckets = [self._here.get((group, *each), each[1], each[2]) for each in wanted]
        empty = next((index for index, bucket in enumerate(buckets) if bucket.wait(now)), -1)
        if empty < 0:
            for bucket in buckets:
                bucket.take(now)
        return empty, [bucket.debt(now) for bucket in buckets]

    async def wait(self, group: str, name: str, max_rate: int, seconds: float) -> float:
        """Take one from one bucket; return the seconds until there is one again, 0.0 if there was.

        Args:
            group: The bucket's group.
            name: Its name.
            max_rate: Its capacity.
            seconds: The time in which it fills.
        """
        try:
            empty, debts = await self(group, [(name, max_rate, seconds)])
        except MetaMCPError:  # and ``when_away`` is ``refuse``
            return 1.0
        if empty < 0:
            return 0.0
        # Not 0.0, although it may be there by now: what was empty gave nothing.
        return max(1e-3, Bucket.owing(max_rate, seconds, debts[0], 0.0).wait(0.0))
