"""How many child processes may run at once; those that nobody needs yet make room for those that somebody does."""

from collections.abc import Callable
from typing import Final, Protocol

from metamcp_asgi.errors import UpstreamUnavailable

__all__ = ["Lodger", "Places"]

RESERVED: Final = 4
"""The part of all places, one in so many, that no process is started ahead in: whoever comes next need not wait."""


class Lodger(Protocol):
    """A process that has a place only until somebody needs it."""

    async def aclose(self) -> None:
        """End the process, and return when it has given its place back."""


class Places:
    """The places for child processes.

    Args:
        most: How many may run at once.
        counted: Is told of one child more, or of one less.
    """

    def __init__(self, most: int, counted: Callable[[int], object]) -> None:
        self._most = self._free = most
        self._counted = counted
        self._lodgers: dict[Lodger, None] = {}  # the oldest first

    async def take(self) -> None:
        """Count one more child, in the place of a lodger if there is no other.

        Raises:
            UpstreamUnavailable: There are as many as allowed.
        """
        while self._free <= 0:
            if not self._lodgers:
                raise UpstreamUnavailable(
                    f"was not started: {self._most} child processes run already (METAMCP_MAX_CHILDREN)"
                )
            oldest = next(iter(self._lodgers))
            del self._lodgers[oldest]
            await oldest.aclose()
        self._count(1)

    @property
    def ample(self) -> bool:
        """Whether there are places that nobody will miss."""
        return self._free > max(1, self._most // RESERVED)

    def lodge(self, lodger: Lodger) -> None:
        """Count one more child, which goes when somebody needs its place; only while there is ``ample`` room."""
        self._lodgers[lodger] = None
        self._count(1)

    def keep(self, lodger: Lodger) -> None:
        """Let a lodger have its place for good."""
        self._lodgers.pop(lodger, None)

    def give_back(self) -> None:
        """Count one child less."""
        self._count(-1)

    def _count(self, more: int) -> None:
        self._free -= more
        self._counted(more)
