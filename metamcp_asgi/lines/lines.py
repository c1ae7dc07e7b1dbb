"""What a gateway and its servers say: the last lines of all processes of this machine, without secrets.

A line costs its writer the search for secrets and a copy; nobody waits for who reads. Who reads asks again with the
place up to which it has read. Knows what a line is; who may see it is the rooms' above.
"""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from metamcp_asgi.lines.ring import Ring
from metamcp_asgi.lines.secrets import hidden

__all__ = ["BEAT", "LEVELS", "MOST_A_SECOND", "MOST_TEXT", "Level", "Line", "Lines", "Read", "Source"]

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Source: TypeAlias = Literal["gateway", "server", "stderr"]
"""Whose words these are: the gateway's, the gateway's about the state of a server, or those of a server itself."""

LEVELS: Final[tuple[Level, ...]] = ("debug", "info", "warning", "error")
MOST_A_SECOND: Final = 200
"""Lines that one server, or the gateway itself, may say in a second; what it says beyond is left out."""
MOST_TEXT: Final = 4000
"""Characters of a line."""
BEAT: Final = 0.25
"""Seconds between two looks for whoever waits for lines."""

_MOST_SEARCHED: Final = 2 * MOST_TEXT
_MOST_SPEAKERS: Final = 1000
_NOT_SHOWN: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
"""What colours a terminal, and other control characters."""


class Line(Struct, frozen=True):
    """One line; ``at`` is in seconds since 1970, ``server`` is empty where it is about none."""

    at: float
    level: Level
    source: Source
    server: str
    process: int
    text: str


class Read(Struct, frozen=True):
    """What was read: lines by their ids, whether some before them are not kept any more, and up to which place."""

    lines: Sequence[tuple[str, Line]]
    lost: bool
    place: str


class Lines:
    """The last lines, from ``open`` to ``close``; before and after, nothing is kept.

    Args:
        folder: Where the processes of this machine share them; ``None``: those of this process.
        clock: Seconds since 1970.
    """

    def __init__(self, folder: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self.shared = folder is not None
        self._folder = folder
        self._clock = clock
        self._ring: Ring | None = None
        self._ending = asyncio.Event()
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(Line).decode
        self._second = 0
        self._said: dict[tuple[Source, str], int] = {}

    def open(self) -> None:
        """Keep what is said from now on.

        Raises:
            ConfigError: The folder cannot be used.
        """
        if self._ring is None:
            self._ring = Ring(self._folder)

    def close(self) -> None:
        """Keep nothing more, and let nobody wait for more."""
        self.end()
        ring, self._ring = self._ring, None
        if ring is not None:
            ring.close()

    def end(self) -> None:
        """Let nobody wait for more."""
        self._ending.set()

    @property
    def ending(self) -> bool:
        """Whether nobody shall wait any more."""
        return self._ending.is_set()

    def add(self, level: Level, source: Source, text: str, server: str = "") -> None:
        """Keep a line.

        Args:
            level: How serious it is.
            source: Whose words it is.
            text: What it says; secrets are looked for here.
            server: The server that it is about, by its name in the snapshot.
        """
        if self._ring is None:
            return
        now = self._clock()
        if int(now) != self._second or len(self._said) > _MOST_SPEAKERS:
            self._second = int(now)
            self._said.clear()
        said = self._said[source, server] = self._said.get((source, server), 0) + 1
        if said > MOST_A_SECOND:
            if said > MOST_A_SECOND + 1:
                return
            level, text = "warning", f"More than {MOST_A_SECOND} lines in a second: the others of it are left out"
        text = hidden(_NOT_SHOWN.sub("", text[:_MOST_SEARCHED]))
        if len(text) > MOST_TEXT:
            text = f"{text[: MOST_TEXT - 3]}..."
        self._ring.append(self._encode(Line(now, level, source, server, os.getpid(), text)))

    def heard(self, server: str, text: str) -> None:
        """Keep a line that a server wrote to its stderr, which is no sign of an error."""
        self.add("info", "stderr", text, server)

    def read(self, place: str | None = None) -> Read:
        """Return the lines after a place, or all.

        Args:
            place: The id of a line, or the place up to which somebody has read; one of another start counts as none.
        """
        if self._ring is None:
            return Read((), False, place or "")
        records, lost = self._ring.read(self._position(self._ring, place))
        birth = f"{self._ring.birth:x}"
        lines = [(f"{birth}-{after:x}", self._decode(record)) for after, record in records]
        return Read(lines, lost, lines[-1][0] if lines else f"{birth}-{self._ring.end:x}")

    async def more(self, place: str) -> bool:
        """Wait until there are lines after a place; false when nobody shall wait any more.

        Looks every now and then while somebody waits: lines come from threads and other processes, too, whose memory
        tells of no event, and a person needs no more than that.
        """
        while not self._ending.is_set():
            if self._ring is not None and self._position(self._ring, place) != self._ring.end:
                return True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT):
                    await self._ending.wait()
        return False

    @staticmethod
    def _position(ring: Ring, place: str | None) -> int:
        birth, _, position = (place or "").partition("-")
        try:
            return int(position, 16) if int(birth, 16) == ring.birth else 0
        except ValueError:  # somebody made it up
            return 0
