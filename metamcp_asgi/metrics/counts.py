"""What a gateway counts in this process, and what it knows of the others'."""

from collections.abc import Callable
from pathlib import Path

from metamcp_asgi.metrics.folder import Folder
from metamcp_asgi.metrics.numbers import Numbers, numbers
from metamcp_asgi.metrics.sheet import FIXED, HTTP, WIDTH, Sheet

__all__ = ["Metrics"]


class Metrics:
    """The numbers of a gateway.

    Args:
        folder: Where those of all processes of this machine are; ``None``: there is only this one.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.sheet = Sheet()
        self._path = folder
        self._folder: Folder | None = None

    def open(self) -> "memoryview[int]":
        """Count where the other processes see it, from now on; blocks for a moment.

        Returns:
            The cells of ``sheet.HTTP``.

        Raises:
            ConfigError: The folder cannot be used.
        """
        if self._path is not None and self._folder is None:
            self._folder = Folder(self._path, self.sheet)
        return self.sheet.cells[: len(HTTP)]

    def close(self) -> None:
        """Leave the numbers to the other processes."""
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def changing(self, name: str) -> Callable[[int], None]:
        """Return what adds to a number of ``sheet.FIXED``, or takes from it."""
        sheet, at = self.sheet, FIXED.index(name)

        def change(by: int) -> None:
            sheet.cells[at] += by

        return change

    def snapshot(self) -> Numbers:
        """Return what was counted so far by all processes of this machine; reads files when there are several.

        Raises:
            OSError: A file cannot be read.
        """
        if self._folder is not None:
            return self._folder.read()
        cells = self.sheet.cells
        starts = range(len(FIXED), len(cells), WIDTH)
        series = {key: cells[at : at + WIDTH].tolist() for key, at in zip(self.sheet.keys, starts, strict=False)}
        return numbers(1, cells[: len(FIXED)].tolist(), series)
