"""Keys of two kinds: those that clients present, and the file of those that seal secrets, beside an SQLite database."""

import contextlib
import os
import re
import secrets
import string
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.errors import ConfigError

__all__ = ["KeyFile", "describe_key", "new_key"]

_ALPHABET: Final = string.digits + string.ascii_letters
_SHOWN: Final = 10
_KEPT: Final = 2
"""Keys that stay in the file: what was sealed with the one before (session ids, cursors) still opens."""


def new_key() -> tuple[str, bytes, str]:
    """Return a new API key in MetaMCP's form, its digest, and its prefix; only the latter two are for storing."""
    text = "sk_mt_" + "".join(secrets.choice(_ALPHABET) for _ in range(64))
    return text, *describe_key(text)


def describe_key(text: str) -> tuple[bytes, str]:
    """Return the digest and the prefix of an API key; of a short one no more than a quarter is told."""
    return digest_of(text), text[: min(_SHOWN, len(text) // 4)]


class KeyFile:
    """The ring of sealing keys in a file of mode 0600: one key a line in hexadecimal, newest first.

    Args:
        path: The file.
    """

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[bytes, ...]:
        """Return the keys; none when there is no file.

        Raises:
            ConfigError: The file is not a list of keys, cannot be read, or others may read it.
        """
        try:
            text = self.path.read_text(encoding="ascii")
            mode = self.path.stat().st_mode
        except FileNotFoundError:
            return ()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot be read: {error}", source=str(self.path)) from None
        if mode & 0o077:
            raise ConfigError("can be read by others; run: chmod 600", source=str(self.path))
        lines = text.split()
        if not lines or not all(re.fullmatch(r"(?:[0-9a-f]{2}){32,}", line) for line in lines):
            raise ConfigError("is not a list of keys in hexadecimal; restore it from a backup", source=str(self.path))
        return tuple(bytes.fromhex(line) for line in lines)

    def ensure(self) -> None:
        """Make the file with a new key unless it is there; of several processes, one makes it."""
        if not self.path.exists():
            # A link fails where the name is taken, so that the first one's key stands.
            with contextlib.suppress(FileExistsError), self._written([os.urandom(32)]) as new:
                os.link(new, self.path)

    def prepend(self) -> None:
        """Add a new key before the present ones, and forget the oldest."""
        with self._written([os.urandom(32), *self.read()][:_KEPT]) as new:
            new.replace(self.path)

    @contextlib.contextmanager
    def _written(self, keys: Sequence[bytes]) -> Iterator[Path]:
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        new = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write("".join(f"{key.hex()}\n" for key in keys))
                file.flush()
                os.fsync(file.fileno())
            yield new
        finally:
            new.unlink(missing_ok=True)
