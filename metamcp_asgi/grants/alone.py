"""One process at a time gets a new token: the lease of a grant, waited for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from metamcp_asgi.bus.protocol import Bus, BusUnavailable
from metamcp_asgi.grants.fetch import GrantError

__all__ = ["PATIENCE", "alone"]

PATIENCE: Final = 30.0
"""Seconds that a new token may take, the wait for others included."""
LEASE: Final = 2 * PATIENCE
"""Seconds after which others may take the place of a process that stands still."""
AGAIN: Final = 0.1
"""Seconds between two looks whether the lease is free; who holds it is done in a few of them."""


@contextlib.asynccontextmanager
async def alone(bus: Bus, name: str) -> AsyncIterator[None]:
    """Be the only one, of all processes, to do what the name stands for; to be given a time by who calls.

    Raises:
        GrantError: The other processes cannot be reached.
    """
    try:
        while (lease := await bus.lease(name, LEASE)) is None:  # noqa: ASYNC110 - no event comes from other processes
            await asyncio.sleep(AGAIN)
    except BusUnavailable as error:
        raise GrantError("cannot be authorized now: the processes of the gateway cannot reach each other") from error
    try:
        yield
    finally:
        with contextlib.suppress(BusUnavailable):  # it ends by itself
            await bus.release(lease)
