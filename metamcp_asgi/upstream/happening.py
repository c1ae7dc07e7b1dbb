"""What happens to a server outside of requests, as those hear of it who use it."""

import asyncio
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from metamcp_asgi.upstream.request import Change

__all__ = ["Completed", "Happening", "Over", "Updated"]


class Updated(Struct, frozen=True):
    """A resource has changed that somebody subscribed to, or something below it, or may have meanwhile (RE-06)."""

    uri: str


class Completed(Struct, frozen=True):
    """A user is through with the page to which the server has sent them under this id."""

    elicitation_id: str


Happening = Literal["ready", "lost"] | Change | Updated | Completed
"""What a server tells its listener: its state changed, or one of its lists, or a resource, or a user is through."""


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

    def completed(self, elicitation_id: str) -> None:
        """Pass on that a user is through with a page."""
        self._happened(Completed(elicitation_id))

    def lost(self, reason: str) -> None:
        """Keep the reason; the first one counts."""
        if not self.reason.done():
            self.reason.set_result(reason)
