"""What happens to a server outside of requests, as those hear of it who use it."""

import asyncio
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from metamcp_asgi.upstream.request import Change

__all__ = ["Happening", "Over", "Updated"]


class Updated(Struct, frozen=True):
    """A resource has changed that somebody subscribed to, or something below it, or may have meanwhile (RE-06)."""

    uri: str


Happening = Literal["ready", "lost"] | Change | Updated
"""What a server tells its listener: its state changed, or one of its lists, or a resource."""


class Over:
    """Listens to one main session, passes on what happens, and keeps the reason of its end.

    Args:
        happened: Is told what happens; must not block.
    """

    __slots__ = ("_happened", "reason")

    def __init__(self, happened: Callable[[Happening], None]) -> None:
        self.reason: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._happened = happened

    def changed(self, kind: Change) -> None:
        """Pass on that a list has changed."""
        self._happened(kind)

    def updated(self, uri: str) -> None:
        """Pass on that a resource has changed."""
        self._happened(Updated(uri))

    def lost(self, reason: str) -> None:
        """Keep the reason; the first one counts."""
        if not self.reason.done():
            self.reason.set_result(reason)
