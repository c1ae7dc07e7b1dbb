"""How many calls of one server are in flight, for whoever wants to close it after the last one."""

import asyncio
import contextlib

__all__ = ["Busy"]


class Busy:
    """Counts the calls in flight."""

    __slots__ = ("_calls", "_idle")

    def __init__(self) -> None:
        self._calls = 0
        self._idle: asyncio.Event | None = None

    def enter(self) -> None:
        """Count one more."""
        self._calls += 1

    def leave(self) -> None:
        """Count one less."""
        self._calls -= 1
        if self._idle is not None and not self._calls:
            self._idle.set()

    async def over(self, seconds: float) -> None:
        """Wait until none is in flight, but no longer than ``seconds``."""
        if self._calls:
            self._idle = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._idle.wait()
