"""Small charts as shapes, which a template draws as SVG: no script, no style, nothing that a browser has to compute.

A chart has a width and a height of its own units; whatever shows it may scale it. Knows numbers only.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

__all__ = ["HEIGHT", "WIDTH", "Bar", "Scale", "bars", "line", "scale"]

WIDTH: Final = 600.0
HEIGHT: Final = 120.0
_GAP: Final = 0.2
"""The part of a bar's place that stays empty."""
_STEPS: Final = (1.0, 2.0, 5.0, 10.0)


class Bar(Struct, frozen=True):
    """A bar that stands on the ground line; ``y`` is its top."""

    x: float
    y: float
    width: float
    height: float


class Scale(Struct, frozen=True):
    """What the full height stands for: a round number that nothing is above of."""

    top: float

    def height(self, value: float) -> float:
        """Return how high a value is, in the units of the chart."""
        return round(HEIGHT * min(value / self.top, 1.0), 2)


def scale(values: Sequence[float]) -> Scale:
    """Return a scale for values of zero and more."""
    most = max(values, default=0.0)
    if most <= 0:
        return Scale(1.0)
    power = 1.0
    while power > most:
        power /= 10
    while power * 10 <= most:
        power *= 10
    return Scale(next(step * power for step in _STEPS if step * power >= most))


def bars(values: Sequence[float], scaled: Scale) -> list[Bar]:
    """Return a bar for each value that is not zero, from left to right."""
    place = WIDTH / max(len(values), 1)
    return [
        Bar(
            round(place * (number + _GAP / 2), 2),
            HEIGHT - scaled.height(value),
            round(place * (1 - _GAP), 2),
            scaled.height(value),
        )
        for number, value in enumerate(values)
        if value
    ]


def line(values: Sequence[float | None], scaled: Scale) -> list[str]:
    """Return the parts of a line through the middle of each value's place, as SVG has points: ``1,2 3,4``.

    Where there is no value, the line has a gap; a value between two gaps is a short level line.
    """
    place = WIDTH / max(len(values), 1)
    parts: list[list[tuple[float, float]]] = [[]]
    for number, value in enumerate(values):
        if value is None:
            parts.append([])
        else:
            parts[-1].append((place * (number + 0.5), HEIGHT - scaled.height(value)))
    drawn = []
    for part in filter(None, parts):
        ((x, y), *more) = part
        points = part if more else [(x - place / 4, y), (x + place / 4, y)]
        drawn.append(" ".join(f"{round(x, 2):g},{y:g}" for x, y in points))
    return drawn
