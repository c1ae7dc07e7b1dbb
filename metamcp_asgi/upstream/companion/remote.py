"""A stdio server that runs at the companion; to everybody else in this process a server like any other."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, Literal

from msgspec.structs import replace

from metamcp_asgi.config import snapshot
from metamcp_asgi.errors import UpstreamError, UpstreamTimeout, UpstreamUnavailable
from metamcp_asgi.protocol.outcome import Failure, Outcome
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.timers import Deadlines
from metamcp_asgi.upstream.busy import Busy
from metamcp_asgi.upstream.companion import wire
from metamcp_asgi.upstream.companion.client import Companion
from metamcp_asgi.upstream.companion.conversation import Conversation
from metamcp_asgi.upstream.happening import Completed, Happening, Updated
from metamcp_asgi.upstream.patience import extend
from metamcp_asgi.upstream.request import Peer, Request
from metamcp_asgi.upstream.sharing import Affinity

__all__ = ["RemoteServer"]

logger = logging.getLogger("metamcp.companion")

LATE: Final = 10.0
"""Seconds that the companion has on top of a server's ``timeout``, which is its matter, before it counts as hung."""


class RemoteServer:
    """One server, from ``start`` to ``aclose``; what its methods do is said at ``upstream.server.Server``.

    Args:
        config: Its configuration.
        companion: Where it runs.
        listener: Is told what happens; must not block.
    """

    def __init__(
        self, config: snapshot.Server, companion: Companion, listener: Callable[["RemoteServer", Happening], None]
    ) -> None:
        self.name = config.name
        self.state: Literal["starting", "ready", "failed"] = "starting"
        self.error = ""
        self.stderr = ""
        self.peer: Peer | None = None
        self.announces = False
        self.config = config
        # Its folder, and programs named relative to it, are meant as seen from here.
        self.placed = replace(config, cwd=str(Path(config.cwd or ".").expanduser().absolute()))
        self._companion = companion
        self._listener = listener
        self._number = 0
        self._deadlines = Deadlines(config.timeout + LATE)
        self._busy = Busy()
        self._watched: Counter[str] = Counter()
        self._tasks = Tasks()

    def start(self) -> None:
        """Have the companion run the server, now and whenever it comes back."""
        self._number = self._companion.use(self)

    async def aclose(self) -> None:
        """Leave the server; it runs on for others, and for a while for whoever takes our place."""
        await self._leave(keep=True)

    async def retire(self) -> None:
        """Leave the server once its calls in flight have ended, or have had all the time that a call may take."""
        try:
            await self._busy.over(self.config.timeout)
        finally:
            await self._leave(keep=False)

    async def reset(self, once: str = "") -> None:
        """Have its sessions ended and the main one opened anew, for all who use it."""
        await self._do("reset", once)

    async def settled(self) -> None:
        """Wait until the main session is open or has failed to open."""
        if self.state == "ready":
            return
        # What failed says so in the server's state.
        with contextlib.suppress(UpstreamError):
            await self._do("settle")

    async def send(self, request: Request, affinity: Affinity | None = None) -> Outcome:
        """Send a request and return its outcome."""
        self._busy.enter()
        deadline = self._deadlines.start()
        try:
            extend(request, deadline)
            asked, whose = wire.asked(request), self._whose(affinity)
            send = partial(wire.Send, server=self._number, request=asked, whose=whose)
            outcome = await self._call(send, request)
        except asyncio.CancelledError:
            if not deadline.expired():
                raise
            raise self._silent() from None
        finally:
            deadline.stop()
            self._busy.leave()
        if outcome is None:
            raise UpstreamUnavailable(f"Server {self.name!r} has no answer from its companion", sent=True)
        return outcome

    async def subscribe(self, uri: str) -> Failure | None:
        """Have the listener told of updates of a resource."""
        failure = await self._do("subscribe", uri)
        if isinstance(failure, Failure):
            return failure
        self._watched[uri] += 1
        return None

    async def unsubscribe(self, uri: str) -> None:
        """End one subscription."""
        if self._watched[uri] > 1:
            self._watched[uri] -= 1
        else:
            del self._watched[uri]
        # Without a companion there is no subscription any more.
        with contextlib.suppress(UpstreamError):
            await self._do("unsubscribe", uri)

    def roots_changed(self, affinity: Affinity) -> None:
        """Tell the server, in the sessions of a caller, that it has other roots now."""
        if self.state == "ready":
            self._tasks.start(self._tell_roots_changed(affinity), f"tell {self.name} of roots")

    def told(self, frame: wire.State | wire.Happened) -> None:
        """Take what the companion tells of the server."""
        if isinstance(frame, wire.State):
            self.state, self.error, self.stderr = frame.state, frame.error, frame.stderr
            self.peer, self.announces = wire.peer_of(frame.peer), frame.announces
        elif frame.what == "updated":
            self._listener(self, Updated(frame.about))
        elif frame.what == "completed":
            self._listener(self, Completed(frame.about))
        else:
            self._listener(self, frame.what)

    def reached(self, conversation: Conversation) -> None:
        """Watch again what was watched at the companion that is gone."""
        if watched := list(self._watched.elements()):
            self._tasks.start(self._renew(conversation, watched), f"renew the subscriptions of {self.name}")

    def lost(self, reason: str) -> None:
        """Be without a companion for a while."""
        self.state, self.error, self.stderr, self.announces = "failed", reason, "", False
        self._listener(self, "lost")

    async def _renew(self, conversation: Conversation, watched: list[str]) -> None:
        for uri in watched:
            try:
                await conversation.call(partial(wire.Do, server=self._number, what="subscribe", about=uri))
            except (UpstreamError, ConnectionError) as error:
                logger.warning("Server %s: %s could not be watched again: %s", self.name, uri, error)
        for uri in dict.fromkeys(watched):
            # What happened to it meanwhile, nobody knows.
            self._listener(self, Updated(uri))

    async def _leave(self, *, keep: bool) -> None:
        self._companion.leave(self._number, keep=keep)
        await self._tasks.aclose()

    async def _tell_roots_changed(self, affinity: Affinity) -> None:
        # Without a companion there are no such sessions any more.
        with contextlib.suppress(UpstreamError):
            await self._do("roots_changed", whose=self._whose(affinity))

    async def _do(
        self, what: wire.What, about: str = "", whose: tuple[str | None, str | None, str | None] | None = None
    ) -> Outcome | None:
        try:
            async with asyncio.timeout(self.config.timeout + LATE):
                return await self._call(partial(wire.Do, server=self._number, what=what, about=about, whose=whose))
        except TimeoutError:
            raise self._silent() from None

    async def _call(
        self, frame: Callable[[int], wire.Send | wire.Do], request: Request | None = None
    ) -> Outcome | None:
        try:
            conversation = await self._companion.conversation()
        except UpstreamUnavailable as error:
            raise UpstreamUnavailable(f"Server {self.name!r} {error}") from None
        try:
            return await conversation.call(frame, request)
        except ConnectionError as error:
            reason = f"was lost with the companion metamcp-stdio, which {error}"
            raise UpstreamUnavailable(f"Server {self.name!r} {reason}", sent=True) from None
        except OverflowError as error:
            raise UpstreamUnavailable(f"Server {self.name!r} cannot be told: {error}") from None

    def _silent(self) -> UpstreamTimeout:
        seconds = self.config.timeout + LATE
        return UpstreamTimeout(f"Server {self.name!r}: the companion did not answer within {seconds:g} seconds")

    def _whose(self, affinity: Affinity | None) -> tuple[str | None, str | None, str | None] | None:
        """Return on whose behalf a request is made; another gateway's callers may have the same names."""
        if affinity is None:
            return None
        principal = None if affinity.principal is None else f"{self._companion.realm} {affinity.principal}"
        return principal, affinity.session, affinity.task
