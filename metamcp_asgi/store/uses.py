"""When keys were last used: noted in memory by the data path, written down in bulk now and then.

Knows digests and times, and not what they are written into.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

__all__ = ["Uses"]

EVERY: Final = 5.0
"""Seconds between two writes; a process that is killed forgets the uses of so many at most."""


class Uses:
    """The uses of keys that are not written down yet."""

    __slots__ = ("_at", "_written")

    def __init__(self) -> None:
        self._at: dict[bytes, float] = {}
        self._written = time.monotonic()

    def note(self, digest: bytes) -> None:
        """Note that a key was used just now; called for each request.

        Args:
            digest: The key's digest.
        """
        self._at[digest] = time.time()

    def due(self) -> bool:
        """Tell whether there is something to write down, and the last time was long enough ago."""
        return bool(self._at) and time.monotonic() - self._written >= EVERY

    def take(self) -> dict[bytes, datetime]:
        """Return the times of use by the keys' digests, and forget them."""
        taken, self._at, self._written = self._at, {}, time.monotonic()
        return {digest: datetime.fromtimestamp(at, UTC) for digest, at in taken.items()}

    def put_back(self, taken: Mapping[bytes, datetime]) -> None:
        """Keep what could not be written down for the next time; a later use counts."""
        self._at = {digest: at.timestamp() for digest, at in taken.items()} | self._at
