"""The servers at the companion: one for each configuration, for as long as a worker uses it and a little longer."""

import asyncio
import collections
import logging
from typing import Final, Protocol

from metamcp_asgi.config import snapshot
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.happening import Happening
from metamcp_asgi.upstream.runtime import Runtime
from metamcp_asgi.upstream.server import Server

__all__ = ["GRACE", "Held", "Hub", "User"]

logger = logging.getLogger("metamcp.companion")

RESETS: Final = 16
"""How many resets of a server are remembered by their names."""
GRACE: Final = 30.0
"""Seconds that a server runs on after the last worker has left it, so that workers may restart."""


class User(Protocol):
    """One worker's use of a server."""

    def happened(self, happening: Happening) -> None:
        """Hear what the server tells its listener; must not block."""


class Held:
    """One server and who uses it."""

    __slots__ = ("_resets", "ending", "server", "users")

    def __init__(self, server: Server) -> None:
        self.server = server
        self.users: set[User] = set()
        self.ending: asyncio.TimerHandle | None = None
        self._resets: collections.deque[str] = collections.deque(maxlen=RESETS)

    def wanted(self, reset: str) -> bool:
        """Tell whether a reset of this name is still to be done: all workers are told of it, and each tells us."""
        if reset in self._resets:
            return False
        if reset:
            self._resets.append(reset)
        return True


class Hub:
    """All servers of the companion.

    Args:
        runtime: What they share; closed with the hub.
        idle_seconds: How long a session that is not shared is kept unused.
        grace: How many seconds a server runs on after the last worker has left it.
    """

    def __init__(self, runtime: Runtime, *, idle_seconds: float, grace: float = GRACE) -> None:
        self.tasks = Tasks()
        """What is still to be done for workers that have left."""
        self._runtime = runtime
        self._idle_seconds = idle_seconds
        self._grace = grace
        self._held: dict[snapshot.Server, Held] = {}

    def use(self, config: snapshot.Server, user: User) -> Held:
        """Return the server of a configuration, started if it does not run yet."""
        held = self._held.get(config)
        if held is None:
            self._held[config] = held = Held(
                Server(config, self._runtime, self._happened, idle_seconds=self._idle_seconds)
            )
            held.server.start()
            logger.info("Server %s: started", config.name, extra={"server": config.known_as})
        else:
            # Whoever comes now may come because what was wrong has been put right.
            held.server.hurry()
        if held.ending is not None:
            held.ending.cancel()
            held.ending = None
        held.users.add(user)
        for other in list(self._held.values()):
            # Its configuration has changed while nobody was here: nobody will come back for the old one.
            if other.ending is not None and other.server.name == config.name:
                self._end(other)
        return held

    def leave(self, held: Held, user: User, *, keep: bool) -> None:
        """End one use of a server.

        Args:
            held: The server.
            user: Who used it.
            keep: Whether it runs on for a while when nobody else uses it.
        """
        held.users.discard(user)
        if held.users:
            return
        name = held.server.name
        if not keep or any(other.users and other.server.name == name for other in self._held.values()):
            self._end(held)
        else:
            held.ending = asyncio.get_running_loop().call_later(self._grace, self._end, held)

    async def aclose(self) -> None:
        """Stop all servers."""
        held, self._held = list(self._held.values()), {}
        for each in held:
            if each.ending is not None:
                each.ending.cancel()
        await self.tasks.aclose()
        await asyncio.gather(*(each.server.aclose() for each in held))
        await self._runtime.aclose()

    def _end(self, held: Held) -> None:
        if held.ending is not None:
            held.ending.cancel()
            held.ending = None
        if self._held.get(held.server.config) is held:
            del self._held[held.server.config]
            config = held.server.config
            logger.info("Server %s: nobody uses it any more", config.name, extra={"server": config.known_as})
            self.tasks.start(held.server.aclose(), f"stop {held.server.name}")

    def _happened(self, server: Server, happening: Happening) -> None:
        held = self._held.get(server.config)
        if held is not None and held.server is server:
            for user in tuple(held.users):
                user.happened(happening)
