"""One configured server: its sessions, kept alive, shared as configured, healed once when they are lost.

The main session is opened at start and again, with growing pauses, whenever it is lost; the catalogue is read
through it. Calls use it, too, unless the server's sharing gives them a session of their own (eras.md 2.2).
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Final, Literal

from metamcp_asgi.config import snapshot
from metamcp_asgi.errors import UpstreamError, UpstreamTimeout, UpstreamUnavailable
from metamcp_asgi.protocol.jsonrpc import UNSUPPORTED_VERSION
from metamcp_asgi.protocol.outcome import Failure, Outcome
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.timers import Deadlines
from metamcp_asgi.upstream.busy import Busy
from metamcp_asgi.upstream.granted import AuthorizationNeeded
from metamcp_asgi.upstream.happening import Completed, Happening, Over, Updated
from metamcp_asgi.upstream.opening import Opening
from metamcp_asgi.upstream.patience import extend
from metamcp_asgi.upstream.request import Peer, Request, Session, Terms
from metamcp_asgi.upstream.runtime import Runtime
from metamcp_asgi.upstream.sessions import Sessions
from metamcp_asgi.upstream.sharing import Affinity, Apart, apart, key_of, owner_of, personal
from metamcp_asgi.upstream.subscriptions import Subscriptions

__all__ = ["Happening", "Server", "Updated"]

logger = logging.getLogger("metamcp.upstream")


OPEN_SECONDS: Final = 60.0
"""How long opening a session may take; a package runner may have to download the server first."""
BACKOFF: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before the next attempt to open the main session; the last one counts for all further attempts."""
STEADY_SECONDS: Final = 10.0
"""A session that lived this long was no failed attempt."""
ASK_AGAIN: Final = 1.0
"""A request that comes this many seconds after a failed attempt starts the next one at once."""
MAX_SESSIONS: Final = 64
"""How many sessions of one server that are not shared may be open."""
MAIN: Final = Terms()
"""The main session declares nothing: no server can ask anybody anything through what everybody shares."""


class Server:
    """One server, from ``start`` to ``aclose``.

    Args:
        config: Its configuration.
        runtime: What the process shares.
        listener: Is told what happens; must not block.
        idle_seconds: How long a session that is not shared is kept unused.
    """

    def __init__(
        self,
        config: snapshot.Server,
        runtime: Runtime,
        listener: Callable[["Server", Happening], None],
        *,
        idle_seconds: float = 300.0,
    ) -> None:
        self.config = config
        self.name = config.name
        self.state: Literal["starting", "ready", "failed"] = "starting"
        self.error = self.stderr = ""
        self.peer: Peer | None = None
        self._log = logging.LoggerAdapter(logger, {"server": config.known_as})
        self._runtime = runtime
        self._listener = listener
        self._opening = Opening(config, runtime, idle_seconds)
        self._personal = config.grant is not None and config.grant.per == "user"
        self._page: str | None = None
        self._main: Session | None = None
        self._settled = asyncio.Event()
        self._wake = asyncio.Event()
        self._tried = 0.0
        self._over: Over | None = None
        self._deadlines = Deadlines(config.timeout)
        self._busy = Busy()
        self._others = Sessions(
            self._opening.session,
            idle_seconds,
            MAX_SESSIONS,
            lambda elicitation: listener(self, Completed(elicitation)),
            runtime.owners.of(config, self._busy) if runtime.owners is not None else None,
        )
        self._subscriptions = Subscriptions(self._ready, personal=self._personal)
        self._tasks = Tasks()

    @property
    def announces(self) -> bool:
        """Whether the server says when its lists change, and we hear it."""
        return self._main is not None and self._main.listening and bool(self._main.peer.changes())

    def start(self) -> None:
        """Open the main session in the background and keep it open."""
        self._tasks.start(self._keep(), f"keep {self.name}")

    async def aclose(self) -> None:
        """End all sessions and stop the server's processes."""
        await self._tasks.aclose()
        main, self._main = self._main, None
        if main is not None:
            await main.aclose()
        await self._others.aclose()
        await self._opening.aclose()

    async def retire(self) -> None:
        """Close the server once its calls in flight have ended, or have had all the time that a call may take."""
        try:
            await self._opening.aclose()
            await self._busy.over(self.config.timeout)
        finally:
            await self.aclose()

    async def reset(self, once: str = "") -> None:
        """Forget what is known of the server, end its sessions and open the main one anew; calls in flight fail."""
        self._opening.forget_era()
        if self._main is not None:
            self._retire(self._main, "was reset")
        self._settled.clear()
        self._wake.set()
        self._opening.end_ahead()
        await self._others.aclose()

    def hurry(self) -> None:
        """Make the next attempt to open the main session at once, if the last one has failed."""
        if self.state == "failed":
            self.state = "starting"
            self._settled.clear()
            self._wake.set()

    async def settled(self) -> None:
        """Wait until the main session is open or has failed to open."""
        await self._settled.wait()

    async def send(self, request: Request, affinity: Affinity | None = None) -> Outcome:
        """Send a request and return its outcome; a lost session is renewed once.

        Args:
            request: The request; it is replayed only when the server has certainly not executed it.
            affinity: On whose behalf, which decides the session; ``None`` for ourselves, through the main session.

        Raises:
            UpstreamTimeout: The server was silent for longer than its ``timeout``.
            UpstreamError: The server could not be asked; the message names the server.
        """
        self._busy.enter()
        deadline = self._deadlines.start()
        try:
            extend(request, deadline)
            return await self._send(request, affinity)
        except asyncio.CancelledError:
            if not deadline.expired():
                raise
            raise UpstreamTimeout(
                f"Server {self.name!r} did not answer within {self.config.timeout:g} seconds"
            ) from None
        except UpstreamError as error:
            error.args = (f"Server {self.name!r} {error}",)
            raise
        finally:
            deadline.stop()
            self._busy.leave()

    async def subscribe(self, uri: str) -> Failure | None:
        """Have the listener told of updates of a resource, with ``Updated``, until as many have unsubscribed.

        Args:
            uri: The resource, in the server's own words.

        Returns:
            Why the server does not tell of it; this subscriber does not count then.

        Raises:
            UpstreamTimeout: The server was silent for longer than its ``timeout``.
            UpstreamError: The server could not be asked; the message names the server.
        """
        try:
            async with asyncio.timeout(self.config.timeout):
                return await self._subscriptions.add(uri)
        except TimeoutError:
            raise UpstreamTimeout(
                f"Server {self.name!r} did not answer within {self.config.timeout:g} seconds"
            ) from None
        except UpstreamError as error:
            error.args = (f"Server {self.name!r} {error}",)
            raise

    async def unsubscribe(self, uri: str) -> None:
        """End one subscription; the last one ends it at the server, too, as far as that can be asked."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.timeout):
                await self._subscriptions.remove(uri)

    def roots_changed(self, affinity: Affinity) -> None:
        """Tell the server, in the sessions of a caller, that it has other roots now (eras.md 2.11)."""
        self._others.roots_changed(key_of(self.config.sharing, affinity), self._owner(affinity))

    async def _send(self, request: Request, affinity: Affinity | None) -> Outcome:
        main = self._main or await self._reopened()
        if affinity is not None and (own := self._apart(request, affinity, main)) is not None:
            one_task = affinity.task is not None
            return await self._others.send(
                key_of(self.config.sharing, affinity, exclusive=own.exclusive),
                request,
                own.capabilities,
                owner=self._owner(affinity),
                exclusive=own.exclusive and not one_task,
                brief=own.exclusive and one_task,
                user=affinity.user if self._personal else None,
            )
        try:
            outcome = await main.send(request)
        except UpstreamUnavailable as error:
            # A new session would need the same authorization.
            if error.sent or isinstance(error, AuthorizationNeeded):
                raise
            self._retire(main, str(error))
        else:
            if not isinstance(outcome, Failure) or outcome.code != UNSUPPORTED_VERSION:
                return outcome
            self._opening.forget_era()
            self._retire(main, "no longer speaks the revision that it did")
        return await (await self._reopened()).send(request)

    def _apart(self, request: Request, affinity: Affinity, main: Session) -> Apart | None:
        if not self._personal:
            return apart(self.config.sharing, request, main)
        if affinity.user is None:
            raise UpstreamUnavailable("is used with a grant of each user, and this call is no user's; use a user's key")
        return personal(self.config.sharing, request, main)

    def _owner(self, affinity: Affinity) -> str:
        return f"user {affinity.user}" if self._personal else owner_of(affinity)

    async def _ready(self) -> Session:
        return self._main or await self._reopened()

    async def _reopened(self) -> Session:
        """Return the main session, waiting for the attempt to open it that runs or is due."""
        if self.state == "failed":
            if asyncio.get_running_loop().time() - self._tried < ASK_AGAIN:
                raise self._why()
            self.hurry()
        await self._settled.wait()
        if self._main is None:
            raise self._why()
        return self._main

    def _why(self) -> UpstreamUnavailable:
        return UpstreamUnavailable(self.error) if self._page is None else AuthorizationNeeded(self.error, self._page)

    async def _keep(self) -> None:
        attempt = 0
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            self._over = over = Over(lambda happening: self._listener(self, happening))
            try:
                async with self._runtime.opening_slot(), asyncio.timeout(OPEN_SECONDS):
                    session = await self._opening.session(over, MAIN)
            except (UpstreamError, TimeoutError) as error:
                self._failed(str(error) or f"did not open a session within {OPEN_SECONDS:g} seconds", error)
            except Exception as error:  # a defect of ours must not take the server away for good
                self._log.exception("Server %s: opening a session failed", self.name)
                self._failed("could not be opened because of an internal error", error)
            else:
                self._opened(session)
                opened_at = loop.time()
                reason = await over.reason
                self._main, self._page = None, None
                self.state, self.error, self._tried = "failed", reason, 0.0
                self._log.warning("Server %s: session lost: %s", self.name, reason)
                self._listener(self, "lost")
                self._tasks.start(session.aclose(), f"close session of {self.name}")
                if loop.time() - opened_at > STEADY_SECONDS:
                    attempt = 0
            pause = BACKOFF[min(attempt, len(BACKOFF) - 1)] * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load  # nosec B311
            attempt += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self.state = "starting"
            self._settled.clear()

    def _opened(self, session: Session) -> None:
        self._main, self.peer = session, session.peer
        self.state, self.error, self.stderr, self._page = "ready", "", "", None
        self._log.info("Server %s: ready (%s %s)", self.name, session.peer.era, session.peer.revision)
        self._settled.set()
        self._listener(self, "ready")
        self._tasks.start(self._renew(session), f"renew the subscriptions of {self.name}")

    async def _renew(self, session: Session) -> None:
        """Watch again what was watched; what happened to it while there was no session, nobody knows."""
        try:
            async with asyncio.timeout(self.config.timeout):
                uris = await self._subscriptions.renew(session)
        except (UpstreamError, TimeoutError) as error:
            self._log.warning("Server %s: subscriptions could not be renewed: %s", self.name, error)
            return
        for uri in uris:
            self._listener(self, Updated(uri))

    def _failed(self, reason: str, error: BaseException) -> None:
        self.state, self.error = "failed", reason
        self.stderr = "\n".join(getattr(error, "__notes__", ()))
        self._page = error.page if isinstance(error, AuthorizationNeeded) else None
        self._tried = asyncio.get_running_loop().time()
        self._log.warning("Server %s: %s", self.name, reason)
        self._settled.set()
        self._listener(self, "lost")

    def _retire(self, session: Session, reason: str) -> None:
        """Give up a main session that is no longer good; the keeper opens the next one."""
        if self._main is session:
            self._main, self._page = None, None
            self.state, self.error = "failed", reason
            self._tried = 0.0
            if self._over is not None:
                self._over.lost(reason)
