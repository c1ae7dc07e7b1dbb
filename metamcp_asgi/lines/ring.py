"""A ring of records in memory, which the processes of a machine may share: the oldest give way to new ones.

A record is told by its position: how many bytes were written before it since the ring was made. So a reader needs no
place here, and what it has missed it can tell by itself. Knows bytes; what is in a record is ``lines.py``.

A process that is killed while it writes leaves the ring whole: what it wrote counts only with the last word, the end.
"""

import contextlib
import fcntl
import mmap
import os
import secrets
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from metamcp_asgi.errors import ConfigError

__all__ = ["BYTES", "RECORDS", "Ring"]

BYTES: Final = 1024 * 1024
"""Bytes that all records may have, with a head of 12 bytes each."""
RECORDS: Final = 5000
"""How many records there may be."""

_NAME: Final = "lines-1"
"""The file's name, with the number of its format: another version of this program has another one."""
_HEAD: Final = struct.Struct("=QI")
_BIRTH, _START, _END, _COUNT, _CELLS = range(5)
_BEGIN: Final = 8 * _CELLS


class Ring:
    """A ring of records.

    Args:
        folder: Where the processes that share it find it, readable by nobody else; ``None``: only this one has it.
        size: As ``BYTES``.
        most: As ``RECORDS``.

    Raises:
        ConfigError: The folder cannot be used.
    """

    def __init__(self, folder: Path | None = None, size: int = BYTES, most: int = RECORDS) -> None:
        self._size = size
        self._most = most
        self._turn = threading.Lock()
        self._file: int | None = None
        if folder is None:
            self._memory = mmap.mmap(-1, _BEGIN + size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        else:
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                os.truncate(self._file, _BEGIN + size)
                self._memory = mmap.mmap(self._file, _BEGIN + size)
            except OSError as error:
                raise ConfigError(
                    f"cannot be used for log lines: {error.strerror}",
                    path="METAMCP_METRICS_FOLDER",
                    source=str(folder),
                ) from error
        self._cells = memoryview(self._memory)[:_BEGIN].cast("Q")
        with self._locked(fcntl.LOCK_EX):
            if not self._cells[_BIRTH]:
                self._cells[_BIRTH] = secrets.randbits(63) | 1

    @property
    def birth(self) -> int:
        """What tells this ring from all others, also from one that was here before."""
        return self._cells[_BIRTH]

    @property
    def end(self) -> int:
        """The position that the next record will have."""
        return self._cells[_END]

    def append(self, record: bytes) -> None:
        """Add a record; one that is larger than a quarter of the ring is cut."""
        record = record[: self._size // 4]
        needed = _HEAD.size + len(record)
        cells = self._cells
        with self._locked(fcntl.LOCK_EX):
            start, end, count = cells[_START], cells[_END], cells[_COUNT]
            while count and (end + needed - start > self._size or count >= self._most):
                start += _HEAD.size + _HEAD.unpack(self._bytes(start, _HEAD.size))[1]
                count -= 1
            cells[_START], cells[_COUNT] = start, count
            self._put(end, _HEAD.pack(end, len(record)) + record)
            cells[_END], cells[_COUNT] = end + needed, count + 1

    def read(self, place: int) -> tuple[list[tuple[int, bytes]], bool]:
        """Return the records from a position on, each with the position after it, and whether some before are gone.

        Args:
            place: The position after some record, 0 for all; another one counts as 0.
        """
        with self._locked(fcntl.LOCK_SH):
            start, end = self._cells[_START], self._cells[_END]
            known = start <= place < end and _HEAD.unpack(self._bytes(place, _HEAD.size))[0] == place
            begin = end if place == end else place if known else start
            content = self._bytes(begin, end - begin)
        records = []
        at = 0
        while at < len(content):
            _, length = _HEAD.unpack_from(content, at)
            at += _HEAD.size + length
            records.append((begin + at, content[at - length : at]))
        return records, 0 < place < start

    def close(self) -> None:
        """Let go of the memory; what others share stays."""
        with self._turn:
            self._cells.release()
            self._memory.close()
            if self._file is not None:
                os.close(self._file)

    def _bytes(self, position: int, length: int) -> bytes:
        at = position % self._size
        first = self._memory[_BEGIN + at : _BEGIN + min(at + length, self._size)]
        return first + self._memory[_BEGIN : _BEGIN + length - len(first)]

    def _put(self, position: int, content: bytes) -> None:
        at = position % self._size
        fits = min(len(content), self._size - at)
        self._memory[_BEGIN + at : _BEGIN + at + fits] = content[:fits]
        self._memory[_BEGIN : _BEGIN + len(content) - fits] = content[fits:]

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        # The file's lock is one for all threads of a process.
        with self._turn:
            if self._file is None:
                yield
                return
            fcntl.flock(self._file, how)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
