"""Sessions of a server that are not shared by everybody, each with the key of those who may share it.

Opened when first needed, closed when idle; a key of ``None`` gets a session for one request only.
"""

import asyncio
from collections.abc import Awaitable, Callable

from msgspec import Struct

from metamcp_asgi.config.snapshot import Sharing
from metamcp_asgi.errors import UpstreamUnavailable
from metamcp_asgi.protocol.outcome import Outcome
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.request import Change, Events, Request, Session, SessionLost

__all__ = ["Affinity", "Sessions", "key_of"]


class Affinity(Struct, frozen=True):
    """On whose behalf a request is made: a principal, ``None`` for strangers, and its client session, if it has one."""

    principal: str | None = None
    session: str | None = None


def key_of(sharing: Sharing, affinity: Affinity) -> str | None:
    """Return the key under which a session that is not shared by everybody is kept (eras.md 2.2).

    Strangers never share: without a client session of their own, they get a session for each request.
    """
    if sharing == "session" and affinity.session is not None:
        return f"session {affinity.session}"
    if sharing in ("session", "principal") and affinity.principal is not None:
        return f"principal {affinity.principal}"
    if sharing == "principal" and affinity.session is not None:
        return f"session {affinity.session}"
    return None


class Sessions:
    """The kept sessions of one server.

    Args:
        open_session: Opens one more session.
        idle_seconds: How long an unused session is kept.
        limit: How many may be open at once.
    """

    def __init__(self, open_session: Callable[[Events], Awaitable[Session]], idle_seconds: float, limit: int) -> None:
        self._open_session = open_session
        self._idle_seconds = idle_seconds
        self._limit = limit
        self._kept: dict[str, _Kept] = {}
        self._busy_once = 0
        self._sweep: asyncio.Task[None] | None = None
        self._tasks = Tasks()

    async def send(self, key: str | None, request: Request) -> Outcome:
        """Send a request through the session of ``key``, opening it when needed.

        Raises:
            UpstreamError: As ``Session.send``; or too many sessions are open and in use.
        """
        if key is None:
            return await self._once(request)
        try:
            return await self._through(self._keep(key), request)
        except SessionLost:
            return await self._through(self._keep(key), request)

    async def aclose(self) -> None:
        """Close all sessions."""
        kept, self._kept = list(self._kept.values()), {}
        await asyncio.gather(*(each.aclose() for each in kept))
        await self._tasks.aclose()

    async def _once(self, request: Request) -> Outcome:
        if self._busy_once >= self._limit:
            raise UpstreamUnavailable(f"has {self._limit} sessions open, which is the most allowed")
        self._busy_once += 1
        session = None
        try:
            session = await self._open_session(_Ignore())
            return await session.send(request)
        finally:
            self._busy_once -= 1
            if session is not None:
                self._tasks.start(session.aclose(), "close session")

    async def _through(self, kept: "_Kept", request: Request) -> Outcome:
        kept.enter()
        try:
            return await (await kept.session()).send(request)
        except SessionLost as error:
            kept.lost(str(error))
            raise
        finally:
            kept.leave()

    def _keep(self, key: str) -> "_Kept":
        """Return the session of a key, a new one where there is none or it is over."""
        kept = self._kept.get(key)
        if kept is not None and not kept.over:
            return kept
        if kept is not None:
            self._close(key)
        elif len(self._kept) >= self._limit and not self._close_longest_idle():
            raise UpstreamUnavailable(f"has {self._limit} sessions open and in use, which is the most allowed")
        kept = self._kept[key] = _Kept(self._open_session)
        if self._sweep is None:
            self._sweep = self._tasks.start(self._close_idle(), "close idle sessions")
        return kept

    def _close(self, key: str) -> None:
        self._tasks.start(self._kept.pop(key).aclose(), "close session")

    def _close_longest_idle(self) -> bool:
        idle = [(kept.idle_since, key) for key, kept in self._kept.items() if kept.idle_since is not None]
        if idle:
            self._close(min(idle)[1])
        return bool(idle)

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(self._idle_seconds / 4)
            now = asyncio.get_running_loop().time()
            for key, kept in list(self._kept.items()):
                if kept.over or (kept.idle_since is not None and now - kept.idle_since > self._idle_seconds):
                    self._close(key)


class _Kept:
    """One session, opened once for all who ask for it."""

    def __init__(self, open_session: Callable[[Events], Awaitable[Session]]) -> None:
        self.over = False
        self.idle_since: float | None = None
        self._users = 0
        self._opening = asyncio.ensure_future(open_session(self))

    async def session(self) -> Session:
        try:
            return await asyncio.shield(self._opening)
        except BaseException:
            self.over = self.over or (self._opening.done() and not self._succeeded())
            raise

    def enter(self) -> None:
        self._users += 1
        self.idle_since = None

    def leave(self) -> None:
        self._users -= 1
        if not self._users:
            self.idle_since = asyncio.get_running_loop().time()

    def changed(self, kind: Change) -> None:
        """Lists are read through the server's main session."""

    def lost(self, reason: str) -> None:
        self.over = True

    async def aclose(self) -> None:
        self.over = True
        self._opening.cancel()
        await asyncio.wait({self._opening})
        if self._succeeded():
            await self._opening.result().aclose()

    def _succeeded(self) -> bool:
        return not self._opening.cancelled() and self._opening.exception() is None


class _Ignore:
    def changed(self, kind: Change) -> None:
        """Lists are read through the server's main session."""

    def lost(self, reason: str) -> None:
        """The one request that the session is for has failed with the same reason."""
