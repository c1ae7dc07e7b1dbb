"""Sessions of a server that are not shared by everybody, each with the key of those who may share it.

Opened when first needed, closed when idle; without a key, a session is for one request only. An *exclusive* session has
one request in flight, because what its server asks says nothing of the request that it belongs to (eras.md 2.2).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from metamcp_asgi.errors import UpstreamUnavailable
from metamcp_asgi.protocol.capabilities import NOTHING, Capabilities
from metamcp_asgi.protocol.outcome import Outcome
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.kept import Ignore, Kept
from metamcp_asgi.upstream.request import Events, Request, Session, SessionLost, Terms

__all__ = ["Sessions"]

MAX_EXCLUSIVE: Final = 8
"""How many exclusive sessions one key may have; further requests wait for one of them."""

Key: TypeAlias = tuple[str, Capabilities]


class Sessions:
    """The kept sessions of one server.

    Args:
        open_session: Opens one more session.
        idle_seconds: How long an unused session is kept.
        limit: How many may be open at once.
    """

    def __init__(
        self, open_session: Callable[[Events, Terms], Awaitable[Session]], idle_seconds: float, limit: int
    ) -> None:
        self._open_session = open_session
        self._idle_seconds = idle_seconds
        self._limit = limit
        self._groups: dict[Key, _Group] = {}
        self._busy_once = 0
        self._closings = 0
        self._sweep: asyncio.Task[None] | None = None
        self._tasks = Tasks()

    async def send(
        self, key: str | None, request: Request, capabilities: Capabilities = NOTHING, *, exclusive: bool = False
    ) -> Outcome:
        """Send a request through a session of ``key``, opening it when needed.

        Args:
            key: Who may share the session; ``None`` for nobody.
            request: The request.
            capabilities: What the session declares to a legacy server.
            exclusive: Whether it may have no other request in flight meanwhile.

        Raises:
            UpstreamError: As ``Session.send``; or too many sessions are open and in use.
        """
        if key is None:
            return await self._once(request, capabilities)
        try:
            return await self._through((key, capabilities), request, exclusive)
        except SessionLost:
            return await self._through((key, capabilities), request, exclusive)

    async def aclose(self) -> None:
        """Close all sessions; later requests may open new ones, but none that waits for its turn now."""
        self._closings += 1
        groups, self._groups, self._sweep = list(self._groups.values()), {}, None
        await asyncio.gather(*(kept.aclose() for group in groups for kept in group.kept))
        await self._tasks.aclose()

    async def _once(self, request: Request, capabilities: Capabilities) -> Outcome:
        if self._busy_once >= self._limit:
            raise UpstreamUnavailable(f"has {self._limit} sessions open, which is the most allowed")
        self._busy_once += 1
        session = None
        try:
            session = await self._open_session(Ignore(), Terms(capabilities, private=True))
            return await session.send(request)
        finally:
            self._busy_once -= 1
            if session is not None:
                self._tasks.start(session.aclose(), "close session")

    async def _through(self, key: Key, request: Request, exclusive: bool) -> Outcome:
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group()
        group.users += 1
        try:
            if not exclusive:
                return await _send(self._free(key, group, 1), request)
            closings = self._closings
            async with group.slots:
                if self._closings != closings:
                    raise UpstreamUnavailable("was stopped")
                return await _send(self._free(key, group, 0), request)
        finally:
            group.users -= 1
            self._tidy(key, group)

    def _free(self, key: Key, group: "_Group", users: int) -> Kept:
        """Return a session with room for one more request, a new one where there is none.

        Args:
            key: Its key.
            group: The sessions of that key.
            users: 0 if it has to be unused, 1 if others may use it, too.
        """
        for kept in [kept for kept in group.kept if kept.over]:
            self._close(group, kept)
        for kept in group.kept:
            if users or kept.idle_since is not None:
                return kept
        if sum(len(each.kept) for each in self._groups.values()) >= self._limit and not self._close_longest_idle():
            raise UpstreamUnavailable(f"has {self._limit} sessions open and in use, which is the most allowed")
        terms = Terms(key[1], private=True)
        kept = Kept(lambda events: self._open_session(events, terms))
        group.kept.append(kept)
        if self._sweep is None:
            self._sweep = self._tasks.start(self._close_idle(), "close idle sessions")
        return kept

    def _close(self, group: "_Group", kept: Kept) -> None:
        group.kept.remove(kept)
        self._tasks.start(kept.aclose(), "close session")

    def _tidy(self, key: Key, group: "_Group") -> None:
        if not group.kept and not group.users and self._groups.get(key) is group:
            del self._groups[key]

    def _close_longest_idle(self) -> bool:
        idle = [
            (kept.idle_since, number, key)
            for key, group in self._groups.items()
            for number, kept in enumerate(group.kept)
            if kept.idle_since is not None
        ]
        if idle:
            _, number, key = min(idle, key=lambda each: each[0])
            group = self._groups[key]
            self._close(group, group.kept[number])
            self._tidy(key, group)
        return bool(idle)

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(self._idle_seconds / 4)
            now = asyncio.get_running_loop().time()
            for key, group in list(self._groups.items()):
                for kept in list(group.kept):
                    if kept.over or (kept.idle_since is not None and now - kept.idle_since > self._idle_seconds):
                        self._close(group, kept)
                self._tidy(key, group)


class _Group:
    """The sessions of one key, and how many requests are about to use them."""

    __slots__ = ("kept", "slots", "users")

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self.slots = asyncio.Semaphore(MAX_EXCLUSIVE)
        self.users = 0


async def _send(kept: Kept, request: Request) -> Outcome:
    kept.enter()
    try:
        return await (await kept.session()).send(request)
    except SessionLost as error:
        kept.lost(str(error))
        raise
    finally:
        kept.leave()
