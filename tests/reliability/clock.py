"""How long a client waits: each bound is the figure of docs/reliability.md, what was measured is printed."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

AT_ONCE = 10.0
"""Seconds that mean "without waiting for anything", on a machine that is busy with other tests."""
RECOVERY = 30.0
"""Seconds in which everything works again after what failed is back."""


@contextlib.asynccontextmanager
async def within(seconds: float, what: str) -> AsyncIterator[None]:
    """Fails when the block takes longer; prints how long it took."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        yield
    print(f"{what}: {time.monotonic() - began:.2f} s of {seconds:g} s")


async def until_true(condition: Callable[[], Awaitable[object]], what: str, seconds: float = RECOVERY) -> None:
    """Asks again and again, as clients do, until the answer is a good one; prints how long that took."""
    async with within(seconds, what):
        while not await condition():  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.05)
