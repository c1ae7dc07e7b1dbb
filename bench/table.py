"""The rows of the report, and how they are printed."""

from collections.abc import Sequence

from msgspec import Struct

__all__ = ["Row", "markdown", "text"]


class Row(Struct, frozen=True):
    """One line of the report.

    ``measured`` says what was found; ``value`` is what counts against ``budget``, in the same unit, where there is a
    budget. A row without one is there for comparison.
    """

    what: str
    measured: str
    value: float | None = None
    budget: float | None = None
    unit: str = ""

    @property
    def verdict(self) -> str:
        """Whether the budget holds."""
        if self.value is None or self.budget is None:
            return ""
        return "ok" if self.value <= self.budget else "over"

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """The columns."""
        value = "" if self.value is None else f"{self.value:.2f} {self.unit}"
        budget = "" if self.budget is None else f"≤ {self.budget:g} {self.unit}"
        return self.what, self.measured, value, budget, self.verdict


_HEADS = ("what", "measured", "figure", "budget", "holds")


def text(rows: Sequence[Row]) -> str:
    """Return the rows as aligned text."""
    lines = [_HEADS, *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a table for the README."""
    lines = [_HEADS, ("---",) * len(_HEADS), *(row.cells for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
