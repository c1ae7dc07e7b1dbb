"""What was counted, for those who show it: by endpoint, server, method and tool, over all processes of a machine."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

from metamcp_asgi.metrics.sheet import BOUNDS, FIXED, GAUGES, OUTCOMES, WIDTH, Key

__all__ = ["Calls", "Label", "Numbers", "add", "lasting", "numbers"]

Label: TypeAlias = Literal["endpoint", "server", "method", "tool"]

_LABELS: tuple[Label, ...] = ("endpoint", "server", "method", "tool")
_NO_FAILURE = ("ok", "input_required")


class Calls(Struct, frozen=True):
    """Calls of one kind.

    ``outcomes`` is their number by outcome, ``seconds`` how long they took in all, ``histogram`` their number by
    duration: up to each of ``sheet.BOUNDS``, and one more for those that took longer.
    """

    outcomes: Mapping[str, int]
    seconds: float
    histogram: Sequence[int]

    @classmethod
    def of(cls, cells: Sequence[int]) -> "Calls":
        """Return what the cells of a series say."""
        ends = len(OUTCOMES)
        return cls(dict(zip(OUTCOMES, cells[:ends], strict=True)), cells[ends] / 1e6, tuple(cells[ends + 1 :]))

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.outcomes.values())

    @property
    def errors(self) -> int:
        """How many of them failed."""
        return sum(number for outcome, number in self.outcomes.items() if outcome not in _NO_FAILURE)

    def quantile(self, share: float) -> float | None:
        """Return the seconds within which a share of the calls ended, as far as the histogram tells.

        Args:
            share: From 0 to 1: 0.5 for the median, 0.95 for the 95th percentile.

        Returns:
            A value between two bounds is interpolated, as Prometheus does it; beyond the last bound it is that
            bound. ``None`` when there were no calls.
        """
        wanted = share * sum(self.histogram)
        if not wanted:
            return None
        below, seen = 0.0, 0
        for bound, number in zip(BOUNDS, self.histogram, strict=False):
            if number and seen + number >= wanted:
                return below + (bound - below) * (wanted - seen) / number
            below, seen = bound, seen + number
        return BOUNDS[-1]


class Numbers(Struct, frozen=True):
    """All that was counted: ``processes`` of them are alive; ``fixed`` is what ``sheet.FIXED`` names."""

    processes: int
    fixed: Mapping[str, int]
    series: Mapping[Key, Calls]

    def by(self, *labels: Label) -> dict[tuple[str, ...], Calls]:
        """Return the calls that were about something, put together by these labels alone.

        Args:
            labels: ``by("server", "tool")`` gives the calls of each tool of each server, whatever the endpoint.
        """
        picked = [_LABELS.index(label) for label in labels]
        cells: dict[tuple[str, ...], list[int]] = {}
        for key, calls in self.series.items():
            group = tuple(key[at] for at in picked)
            add(cells.setdefault(group, [0] * WIDTH), _cells(calls))
        return {group: Calls.of(each) for group, each in cells.items()}

    @property
    def total(self) -> Calls:
        """All calls, whatever they were about."""
        return self.by().get((), Calls.of([0] * WIDTH))

    def since(self, before: "Numbers") -> dict[Key, list[int]]:
        """Return what the cells of each series have grown by; those that have not are left out.

        Args:
            before: The same numbers, at some time before.
        """
        grown: dict[Key, list[int]] = {}
        for key, calls in self.series.items():
            known = before.series.get(key)
            if known is None:
                grown[key] = _cells(calls)
            elif known != calls:
                # Another process's file may be read between two of its cells.
                grown[key] = [max(now - then, 0) for now, then in zip(_cells(calls), _cells(known), strict=True)]
        return grown


def add(sums: list[int], more: Iterable[int]) -> None:
    """Add each number to the one at its place."""
    for at, number in enumerate(more):
        sums[at] += number


def numbers(processes: int, fixed: Sequence[int], series: Mapping[Key, Sequence[int]]) -> Numbers:
    """Return what cells say.

    Args:
        processes: How many processes have counted and are alive.
        fixed: The sums of the cells of ``sheet.FIXED``.
        series: Those of each series.
    """
    return Numbers(
        processes,
        dict(zip(FIXED, fixed, strict=True)),
        {key: Calls.of(cells) for key, cells in series.items()},
    )


def lasting(fixed: Sequence[int]) -> list[int]:
    """Return what remains of a process's numbers when it has ended."""
    return [0 if name in GAUGES else number for name, number in zip(FIXED, fixed, strict=True)]


def _cells(calls: Calls) -> list[int]:
    return [*calls.outcomes.values(), round(calls.seconds * 1e6), *calls.histogram]
