"""A log file that several processes write to, and that never gets too large.

Each line is one write to the end of the file, so that lines of two processes never mix. Whoever finds it full moves it
aside, under a lock, and the others notice that the file of that name is another one. So do they when logrotate or an
operator moves it. Python's own handlers that rotate are for one process.
"""

import contextlib
import fcntl
import logging
import os
from pathlib import Path

from metamcp_asgi.errors import ConfigError

__all__ = ["SharedFile"]


class SharedFile(logging.Handler):
    """Writes to a file and, when that is full, begins it anew.

    Args:
        path: The file; those before it have ``.1``, ``.2`` and so on after its name, the youngest first.
        max_bytes: How large it may get, and by how much the last line may exceed it.
        kept: How many files are kept beside it.

    Raises:
        ConfigError: It cannot be written.
    """

    def __init__(self, path: Path, max_bytes: int, kept: int) -> None:
        super().__init__()
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            raise ConfigError(
                f"cannot be written: {error.strerror}", path="METAMCP_LOG_FOLDER", source=str(path)
            ) from error

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
            if not self._fits():
                self._turn()
            os.write(self._file, line)
        except Exception:  # as all handlers of ``logging``: a line that cannot be written stops nobody's work
            self.handleError(record)

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            os.close(self._file)
        super().close()

    def _fits(self) -> bool:
        """Tell whether there is room in the file of this name, and see that it is the one that is open."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._identity:
            os.close(self._file)
            self._open()
            found = os.fstat(self._file)
        return found.st_size < self._max_bytes

    def _turn(self) -> None:
        with self._path.with_name(f".{self._path.name}.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._fits():
                return  # another process was faster
            for number in range(self._kept, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    self._numbered(number - 1).rename(self._numbered(number))
            if not self._kept:
                self._path.unlink()
            self._fits()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        found = os.fstat(self._file)
        self._identity = found.st_dev, found.st_ino
