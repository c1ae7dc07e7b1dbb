"""The way from a worker to the companion: one connection, made again with growing pauses whenever it is lost."""

import asyncio
import contextlib
import itertools
import logging
import random
from pathlib import Path
from typing import Final, Protocol

from metamcp_asgi.config import snapshot
from metamcp_asgi.errors import UpstreamUnavailable
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.companion import wire
from metamcp_asgi.upstream.companion.conversation import Conversation

__all__ = ["Companion", "User"]

logger = logging.getLogger("metamcp.companion")

OPEN_SECONDS: Final = 5.0
"""How long the companion may take to say who it is."""
BACKOFF: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before the next attempt to reach it; the last one counts for all further attempts."""
STEADY_SECONDS: Final = 10.0
"""A connection that lived this long was no failed attempt."""
ASK_AGAIN: Final = 1.0
"""A request that comes this many seconds after a failed attempt starts the next one at once."""


class User(Protocol):
    """A server of this process that runs at the companion."""

    placed: snapshot.Server
    """Its configuration, as good there as here."""

    def told(self, frame: wire.State | wire.Happened) -> None:
        """Take what the companion tells of the server."""

    def reached(self, conversation: Conversation) -> None:
        """The companion can be talked to, and knows the server."""

    def lost(self, reason: str) -> None:
        """It cannot be talked to."""


class Companion:
    """The companion of this machine, as one worker knows it.

    Args:
        path: Its socket.
        realm: The name of this gateway, by which the companion keeps its callers apart from those of others.
    """

    def __init__(self, path: Path, realm: str) -> None:
        self.realm = realm
        self.error = ""
        self._path = path
        self._conversation: Conversation | None = None
        self._users: dict[int, User] = {}
        self._numbers = itertools.count(1)
        self._keeping: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._wake = asyncio.Event()
        self._tried = 0.0
        self._tasks = Tasks()

    def use(self, user: User) -> int:
        """Have the companion run a server from now on; returns the number by which it is known there."""
        number = next(self._numbers)
        self._users[number] = user
        if self._keeping is None:
            self._keeping = self._tasks.start(self._keep(), "keep the companion")
        elif self._conversation is not None:
            self._introduce(self._conversation, number, user)
        elif self._settled.is_set():
            # Not before whoever starts the server knows it.
            asyncio.get_running_loop().call_soon(self._miss, number)
        return number

    def leave(self, number: int, *, keep: bool) -> None:
        """Use a server no longer.

        Args:
            number: Its number.
            keep: Whether somebody may want it again soon, so that it should run on for a while.
        """
        if self._users.pop(number, None) is not None and self._conversation is not None:
            self._conversation.say(wire.Leave(number, keep))

    async def conversation(self) -> Conversation:
        """Return the connection, waiting for the attempt to make it that runs or is due.

        Raises:
            UpstreamUnavailable: There is none.
        """
        if self._conversation is None:
            if self._settled.is_set():
                if asyncio.get_running_loop().time() - self._tried < ASK_AGAIN:
                    raise UpstreamUnavailable(self.error)
                self._settled.clear()
                self._wake.set()
            await self._settled.wait()
            if self._conversation is None:
                raise UpstreamUnavailable(self.error)
        return self._conversation

    async def aclose(self) -> None:
        """Leave the companion."""
        await self._tasks.aclose()
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            await conversation.aclose()

    async def _keep(self) -> None:
        attempt = 0
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            opened_at = loop.time()
            try:
                async with asyncio.timeout(OPEN_SECONDS):
                    conversation = await Conversation.open(self._path, self._told)
            except (OSError, UpstreamUnavailable) as error:
                self._tried = loop.time()
                self._failed(self._reason(error))
            else:
                self._conversation, self.error = conversation, ""
                for number, user in self._users.items():
                    self._introduce(conversation, number, user)
                self._settled.set()
                logger.info("The stdio servers run at the companion %s", self._path)
                await asyncio.wait({conversation.over})
                reason = conversation.over.result()
                self._conversation, self._tried = None, 0.0
                await conversation.aclose()
                self._failed(f"was lost with the companion metamcp-stdio, which {reason}")
                if loop.time() - opened_at > STEADY_SECONDS:
                    attempt = 0
            pause = BACKOFF[min(attempt, len(BACKOFF) - 1)] * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load  # nosec B311
            attempt += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._settled.clear()

    def _introduce(self, conversation: Conversation, number: int, user: User) -> None:
        conversation.say(wire.Use(number, user.placed))
        user.reached(conversation)

    def _miss(self, number: int) -> None:
        if self._conversation is None and self._settled.is_set() and (user := self._users.get(number)) is not None:
            user.lost(self.error)

    def _told(self, frame: wire.State | wire.Happened) -> None:
        if (user := self._users.get(frame.server)) is not None:
            user.told(frame)

    def _failed(self, reason: str) -> None:
        if reason != self.error:
            # Remote clients are told the reason, and the place on this machine is none of their business.
            logger.warning("Every stdio server at the companion %s %s", self._path, reason)
        self.error = reason
        self._settled.set()
        for user in list(self._users.values()):
            user.lost(reason)

    def _reason(self, error: Exception) -> str:
        """Return why the companion cannot be reached, as it goes after a server's name."""
        companion = "the companion metamcp-stdio"
        if isinstance(error, UpstreamUnavailable):
            return f"cannot run: {companion} {error}"
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return f"cannot run: {companion} is not running (METAMCP_STDIO_SOCKET)"
        if isinstance(error, PermissionError):
            return f"cannot run: {companion} belongs to another user"
        if isinstance(error, TimeoutError):
            return f"cannot run: {companion} said nothing within {OPEN_SECONDS:g} seconds"
        return f"cannot run: {companion} cannot be reached: {getattr(error, 'strerror', None) or error}"
