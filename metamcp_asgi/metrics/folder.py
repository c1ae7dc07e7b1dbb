"""The numbers of all processes of a machine, each in a file of its own in one folder: any of them can add them up.

A process locks its file for as long as it lives. Whoever opens the folder next adds the numbers of those that have
ended to ``ended.json``, so that no sum ever gets smaller, and removes their files. Changes of the folder, and its
reading, exclude each other by a lock on ``lock``; counting needs none. Needs POSIX locks: a local file system.
"""

import contextlib
import fcntl
import logging
import mmap
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from metamcp_asgi.errors import ConfigError
from metamcp_asgi.metrics.numbers import Numbers, add, lasting, numbers
from metamcp_asgi.metrics.sheet import FIXED, SIZE, WIDTH, Key, Sheet

__all__ = ["Folder"]

logger = logging.getLogger("metamcp")

_NAMES: Final = ".names"
_CELLS: Final = ".cells"
_ENDED: Final = "ended.json"

_Sums: TypeAlias = tuple[list[int], dict[Key, list[int]]]


class _Ended(msgspec.Struct):
    """What processes counted that have ended; ``merged`` are those of the last time, whose files may still be there."""

    merged: list[str]
    fixed: list[int]
    series: list[tuple[Key, list[int]]]


class Folder:
    """A folder of numbers, in which this process has its own.

    Args:
        path: The folder; it is made if need be, readable by nobody else.
        sheet: What this process counts.

    Raises:
        ConfigError: The folder cannot be made or written.
    """

    def __init__(self, path: Path, sheet: Sheet) -> None:
        self._path = path
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked(fcntl.LOCK_EX):
                self._bury()
                self._cells = self._file(_CELLS)
                os.truncate(self._cells, SIZE)
                self._names = self._file(_NAMES)
                fcntl.flock(self._names, fcntl.LOCK_EX)
        except OSError as error:
            raise ConfigError(
                f"cannot be used for numbers: {error.strerror}", path="METAMCP_METRICS_FOLDER", source=str(path)
            ) from error
        sheet.move(mmap.mmap(self._cells, SIZE), self._write)

    def read(self) -> Numbers:
        """Return the sums over all processes; reads files.

        Raises:
            OSError: They cannot be read.
        """
        with self._locked(fcntl.LOCK_SH):
            sums, gone = self._ended()
            processes = 0
            for name in self._present():
                if name not in gone:
                    alive = self._alive(name)
                    processes += alive
                    _sum(sums, self._sums(name), ended=not alive)
        return numbers(processes, *sums)

    def close(self) -> None:
        """Let the numbers be taken for those of a process that has ended."""
        os.close(self._names)
        os.close(self._cells)

    def _write(self, key: Key) -> None:
        os.write(self._names, msgspec.json.encode(key) + b"\n")

    def _file(self, kind: str) -> int:
        return os.open(self._path / (self._name + kind), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)

    def _present(self) -> list[str]:
        return [path.stem for path in self._path.glob(f"*{_NAMES}")]

    def _alive(self, name: str) -> bool:
        with (self._path / (name + _NAMES)).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def _sums(self, name: str) -> _Sums:
        *lines, _unfinished = (self._path / (name + _NAMES)).read_bytes().split(b"\n")
        cells = memoryview((self._path / (name + _CELLS)).read_bytes()).cast("Q")
        series: dict[Key, list[int]] = {}
        for number, line in enumerate(lines):
            at = len(FIXED) + number * WIDTH
            series[msgspec.json.decode(line, type=Key)] = cells[at : at + WIDTH].tolist()
        return cells[: len(FIXED)].tolist(), series

    def _ended(self) -> tuple[_Sums, list[str]]:
        try:
            ended = msgspec.json.decode((self._path / _ENDED).read_bytes(), type=_Ended)
        except FileNotFoundError:
            return ([0] * len(FIXED), {}), []
        except msgspec.DecodeError as error:
            logger.warning("%s is damaged, what was counted before is lost: %s", self._path / _ENDED, error)
            return ([0] * len(FIXED), {}), []
        return (ended.fixed, dict(ended.series)), ended.merged

    def _bury(self) -> None:
        sums, gone = self._ended()
        dead = [name for name in self._present() if name in gone or not self._alive(name)]
        if not dead:
            return
        for name in dead:
            if name not in gone:
                _sum(sums, self._sums(name), ended=True)
        # What is removed below is not counted twice should this process end before it has removed all.
        ended = _Ended(dead, sums[0], list(sums[1].items()))
        written = self._path / f"{_ENDED}.new"
        written.write_bytes(msgspec.json.encode(ended))
        written.replace(self._path / _ENDED)
        for name in dead:
            (self._path / (name + _CELLS)).unlink(missing_ok=True)
            (self._path / (name + _NAMES)).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        with (self._path / "lock").open("ab") as file:
            fcntl.flock(file, how)
            yield


def _sum(sums: _Sums, more: _Sums, *, ended: bool) -> None:
    fixed, series = more
    add(sums[0], lasting(fixed) if ended else fixed)
    for key, cells in series.items():
        add(sums[1].setdefault(key, [0] * WIDTH), cells)
