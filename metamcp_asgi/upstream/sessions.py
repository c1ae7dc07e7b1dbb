"""Sessions of a server that are not shared by everybody, each with the key of those who may share it.

Opened when first needed, closed when idle; without a key, a session is for one request only. An *exclusive* session has
one request in flight, because what its server asks says nothing of the request that it belongs to (eras.md 2.2).

Every session has an owner, and none of them can take the sessions of all others: what a key is, and what a session
declares, is the clients' own choice.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from metamcp_asgi.errors import UpstreamUnavailable
from metamcp_asgi.protocol.capabilities import NOTHING, Capabilities
from metamcp_asgi.protocol.outcome import Outcome
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.kept import Ignore, Kept
from metamcp_asgi.upstream.owners import Key, Owned
from metamcp_asgi.upstream.request import Events, Request, Session, SessionLost, Terms
from metamcp_asgi.upstream.sharing import STRANGERS

__all__ = ["Sessions"]

MAX_EXCLUSIVE: Final = 8
"""How many requests of one key may be in exclusive sessions; further ones wait for one of them."""
OWNERS: Final = 4
"""One owner may have the limit divided by this, so that as many have to conspire before anybody else gets nothing."""
BRIEFLY: Final = 15.0
"""Seconds that a session is kept unused which is for one task: those of a task come more often than that."""


class Sessions:
    """The kept sessions of one server.

    Args:
        open_session: Opens one more session.
        idle_seconds: How long an unused session is kept.
        limit: How many may be open at once; one owner may have a quarter of them, and one at least.
        completed: Is told, by its id, of each page with which a user is through.
        owned: Knows which process has the session of a key; ``None`` where each process has one of its own.
    """

    def __init__(
        self,
        open_session: Callable[[Events, Terms], Awaitable[Session]],
        idle_seconds: float,
        limit: int,
        completed: Callable[[str], None],
        owned: Owned | None = None,
    ) -> None:
        self._completed = completed
        self._owned = owned
        if owned is not None:
            owned.serve(self._here, self._end)
        self._open_session = open_session
        self._idle_seconds = idle_seconds
        self._limit = limit
        self._limit_of_one = max(1, limit // OWNERS)
        self._groups: dict[Key, _Group] = {}
        self._once_of: Counter[str] = Counter()
        self._closings = 0
        self._sweep: asyncio.Task[None] | None = None
        self._tasks = Tasks()

    async def send(
        self,
        key: str | None,
        request: Request,
        capabilities: Capabilities = NOTHING,
        *,
        owner: str = STRANGERS,
        exclusive: bool = False,
        brief: bool = False,
        user: str | None = None,
    ) -> Outcome:
        """Send a request through a session of ``key``, opening it when needed.

        Args:
            key: Who may share the session; ``None`` for nobody.
            request: The request.
            capabilities: What the session declares to a legacy server.
            owner: Whose session it is, which nobody can choose for himself.
            exclusive: Whether it may have no other request in flight meanwhile.
            brief: Whether nobody will want it again, once it has not been used for a while.
            user: Whose own grant the session uses; then ``owner`` is theirs alone.

        Raises:
            UpstreamError: As ``Session.send``; or too many sessions are open and in use.
        """
        terms = Terms(capabilities, private=True, user=user)
        if key is None:
            return await self._once(owner, request, terms)
        whose = owner, key
        if self._owned is not None and (outcome := await self._owned.send(whose, request, terms)) is not None:
            return outcome
        return await self._here(whose, request, terms, exclusive, brief)

    def roots_changed(self, key: str | None, owner: str) -> None:
        """Tell the sessions of a key that its caller has other roots now."""
        group = self._groups.get((owner, key)) if key is not None else None
        for kept in group.kept if group is not None else ():
            kept.roots_changed()

    async def aclose(self) -> None:
        """Close all sessions; later requests may open new ones, but none that waits for its turn now."""
        self._closings += 1
        groups, self._groups, self._sweep = list(self._groups.values()), {}, None
        if self._owned is not None:
            self._owned.left_all()
        await asyncio.gather(*(kept.aclose() for group in groups for kept in group.kept))
        await self._tasks.aclose()

    async def _once(self, owner: str, request: Request, terms: Terms) -> Outcome:
        self._make_room(owner)
        self._once_of[owner] += 1
        session = None
        try:
            session = await self._open_session(Ignore(self._completed), terms)
            return await session.send(request)
        finally:
            self._once_of[owner] -= 1
            if not self._once_of[owner]:
                del self._once_of[owner]
            if session is not None:
                self._tasks.start(session.aclose(), "close session")

    async def _here(
        self, key: Key, request: Request, terms: Terms, exclusive: bool = False, brief: bool = False
    ) -> Outcome:
        try:
            return await self._through(key, request, terms, exclusive, brief)
        except SessionLost:
            return await self._through(key, request, terms, exclusive, brief)

    async def _through(self, key: Key, request: Request, terms: Terms, exclusive: bool, brief: bool) -> Outcome:
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(min(self._idle_seconds, BRIEFLY) if brief else self._idle_seconds)
        group.users += 1
        try:
            if not exclusive:
                return await _send(self._free(key, group, terms, 1), request)
            closings = self._closings
            async with group.slots:
                if self._closings != closings:
                    raise UpstreamUnavailable("was stopped")
                return await _send(self._free(key, group, terms, 0), request)
        finally:
            group.users -= 1
            self._tidy(key, group)

    def _free(self, key: Key, group: "_Group", terms: Terms, users: int) -> Kept:
        """Return a session with room for one more request, a new one where there is none.

        Args:
            key: Its key.
            group: The sessions of that key.
            terms: On which it is opened.
            users: 0 if it has to be unused, 1 if others may use it, too.
        """
        for kept in [kept for kept in group.kept if kept.over]:
            self._close(group, kept)
        for kept, declared in group.kept.items():
            if declared == terms and (users or kept.idle_since is not None):
                return kept
        self._make_room(key[0])
        kept = Kept(lambda events: self._open_session(events, terms), self._completed)
        group.kept[kept] = terms
        if self._sweep is None:
            self._sweep = self._tasks.start(self._close_idle(), "close idle sessions")
        return kept

    def _make_room(self, owner: str) -> None:
        """See that one more session can be opened, at the cost of the owner's own idle ones before those of others."""
        kept: Counter[str] = Counter()
        for (whose, _), group in self._groups.items():
            kept[whose] += len(group.kept)
        own = kept[owner] + self._once_of[owner]
        everybodys = kept.total() + self._once_of.total()
        if own >= self._limit_of_one:
            if not self._close_longest_idle(owner):
                whom = "callers without a key" if owner == STRANGERS else "this caller"
                most = f"{self._limit_of_one} sessions open and in use for {whom}"
                raise UpstreamUnavailable(f"has {most}, which is the most allowed for one of many")
        elif everybodys >= self._limit and not (self._close_longest_idle(owner) or self._close_longest_idle()):
            raise UpstreamUnavailable(f"has {self._limit} sessions open and in use, which is the most allowed")

    def _close(self, group: "_Group", kept: Kept) -> None:
        del group.kept[kept]
        self._tasks.start(kept.aclose(), "close session")

    def _tidy(self, key: Key, group: "_Group") -> None:
        if not group.kept and not group.users and self._groups.get(key) is group:
            del self._groups[key]
            if self._owned is not None:
                self._owned.left(key)

    def _end(self, key: Key) -> None:
        """Close the sessions of a key, as they are another process's matter now."""
        if (group := self._groups.get(key)) is not None:
            for kept in list(group.kept):
                self._close(group, kept)
            self._tidy(key, group)

    def _close_longest_idle(self, owner: str | None = None) -> bool:
        """Close the session that was idle for longest, of one owner or of all; tells whether there was one."""
        idle = [
            (kept.idle_since, key, kept)
            for key, group in self._groups.items()
            if owner is None or key[0] == owner
            for kept in group.kept
            if kept.idle_since is not None
        ]
        if idle:
            _, key, kept = min(idle, key=lambda each: each[0])
            group = self._groups[key]
            self._close(group, kept)
            self._tidy(key, group)
        return bool(idle)

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(self._idle_seconds / 4)
            now = asyncio.get_running_loop().time()
            for key, group in list(self._groups.items()):
                for kept in list(group.kept):
                    if kept.over or (kept.idle_since is not None and now - kept.idle_since > group.idle_seconds):
                        self._close(group, kept)
                self._tidy(key, group)


class _Group:
    """The sessions of one key with the terms of each, and how many requests are about to use them.


    Args:
        idle_seconds: How long one is kept unused.
    """

    __slots__ = ("idle_seconds", "kept", "slots", "users")

    def __init__(self, idle_seconds: float) -> None:
        self.idle_seconds = idle_seconds
        self.kept: dict[Kept, Terms] = {}
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
