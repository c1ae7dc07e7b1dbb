"""Looks now and then at the lists of servers that do not tell of changes, so that clients hear of them (eras.md 2.10).

Only while somebody listens, and only because the operator wants it: what nobody listens for is read again when somebody
asks for it (CA-04).
"""

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Final

from metamcp_asgi.aggregate.catalogue import LISTS_OF, Catalogue
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.request import Change

__all__ = ["Polling"]

JITTER: Final = 0.2
"""The part of the time between two looks that is left to chance, so that servers are not all asked at once."""
LONGEST: Final = 16
"""A server whose lists cannot be read is looked at half as often each time, down to once in so many times."""


class Polling:
    """Polls from the first ``start`` to ``aclose``.

    Args:
        seconds: Between two looks at one server.
        heard_of: Returns the catalogues of which somebody wants to hear.
    """

    def __init__(self, seconds: float, heard_of: Callable[[], Iterable[Catalogue]]) -> None:
        self._seconds = seconds
        self._heard_of = heard_of
        self._rests: dict[Catalogue, int] = {}
        self._tasks = Tasks()

    def start(self) -> None:
        """Begin, unless that is done."""
        if not self._tasks:
            self._tasks.start(self._run(), "poll servers")

    async def aclose(self) -> None:
        """End."""
        await self._tasks.aclose()

    async def _run(self) -> None:
        turn = 0
        while True:
            await asyncio.sleep(self._seconds * (1 - JITTER))
            turn += 1
            catalogues = set(self._heard_of())
            self._rests = {catalogue: self._rests.get(catalogue, 1) for catalogue in catalogues}
            due = [catalogue for catalogue in catalogues if turn % self._rests[catalogue] == 0]
            async with asyncio.TaskGroup() as group:
                for catalogue in due:
                    group.create_task(self._look(catalogue))

    async def _look(self, catalogue: Catalogue) -> None:
        await asyncio.sleep(self._seconds * JITTER * random.random())  # noqa: S311 - spreads load  # nosec B311
        if kinds := _silent(catalogue):
            await asyncio.wait({catalogue.refresh(*kinds)})
            self._rests[catalogue] = min(2 * self._rests[catalogue], LONGEST) if catalogue.error else 1


def _silent(catalogue: Catalogue) -> list[Change]:
    """Return the kinds of list of which a server says nothing, and that it did not promise to leave as they are."""
    server = catalogue.server
    if server.peer is None or server.state != "ready":
        return []
    told = server.peer.changes() if server.announces else ()
    return [
        kind
        for kind, methods in LISTS_OF.items()
        if kind in server.peer.capabilities and kind not in told and any(map(catalogue.expired, methods))
    ]
