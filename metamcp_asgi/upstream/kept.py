"""One session that is kept for later requests: opened once for all who ask for it, told when it is over."""

import asyncio
from collections.abc import Awaitable, Callable

from metamcp_asgi.upstream.request import Change, Events, Session

__all__ = ["Ignore", "Kept"]


class Ignore:
    """Listens to a session whose requests tell nearly all there is to know.

    Args:
        completed: Is told of what may come long after a request: that a user is through with a page.
    """

    def __init__(self, completed: Callable[[str], None]) -> None:
        self.completed = completed

    def changed(self, kind: Change) -> None:
        """Lists are read through the server's main session."""

    def updated(self, uri: str) -> None:
        """Resources are watched through the server's main session."""

    def lost(self, reason: str) -> None:
        """The one request that the session is for has failed with the same reason."""


class Kept(Ignore):
    """One session.

    Args:
        open_session: Opens it; this begins at once.
        completed: Is told that a user is through with a page.
    """

    def __init__(self, open_session: Callable[[Events], Awaitable[Session]], completed: Callable[[str], None]) -> None:
        super().__init__(completed)
        self.over = False
        self.idle_since: float | None = None
        """Since when no request has used it, in seconds of the event loop's clock; ``None`` while one does."""
        self._users = 0
        self._opening = asyncio.ensure_future(open_session(self))

    async def session(self) -> Session:
        """Return the session once it is open.

        Raises:
            UpstreamError: It could not be opened.
        """
        try:
            return await asyncio.shield(self._opening)
        except BaseException:
            self.over = self.over or (self._opening.done() and not self._succeeded())
            raise

    def roots_changed(self) -> None:
        """Tell the server that its caller has other roots; one that is still to be opened asks for them anew."""
        if self._opening.done() and self._succeeded() and not self.over:
            self._opening.result().roots_changed()

    def enter(self) -> None:
        """Note that a request uses it."""
        self._users += 1
        self.idle_since = None

    def leave(self) -> None:
        """Note that a request no longer uses it."""
        self._users -= 1
        if not self._users:
            self.idle_since = asyncio.get_running_loop().time()

    def lost(self, reason: str) -> None:
        """Note that it is over."""
        self.over = True

    async def aclose(self) -> None:
        """Close it, or stop opening it."""
        self.over = True
        self._opening.cancel()
        await asyncio.wait({self._opening})
        if self._succeeded():
            await self._opening.result().aclose()

    def _succeeded(self) -> bool:
        return not self._opening.cancelled() and self._opening.exception() is None
