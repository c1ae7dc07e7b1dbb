"""The process that a stdio server has ahead of its next session, so that nobody waits for ``npx`` to start.

It is started and nothing more: what a session declares is decided by who needs it, so there is no handshake yet.
One that ends, or cannot start, is followed by none until somebody has opened a session again. Knows nothing of what is
said in sessions.
"""

import asyncio
import logging
from collections.abc import Callable

from metamcp_asgi.config.snapshot import Server
from metamcp_asgi.errors import UpstreamUnavailable
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.child import Child
from metamcp_asgi.upstream.program import Program
from metamcp_asgi.upstream.runtime import Runtime

__all__ = ["Spare"]

logger = logging.getLogger("metamcp.upstream")


class Spare:
    """The spare process of one server: none, or one.

    Args:
        server: Its configuration.
        runtime: What the process shares.
        idle_seconds: How long it waits for a session.
    """

    def __init__(self, server: Server, runtime: Runtime, idle_seconds: float) -> None:
        self._log = logging.LoggerAdapter(logger, {"server": server.known_as})
        self._server = server
        self._runtime = runtime
        self._idle_seconds = idle_seconds
        self._closed = False
        self._started: set[_Ahead] = set()  # all but one of them, at the most, are ending
        self._tasks = Tasks()

    def prepare(self) -> None:
        """Start one in the background, unless there is one or the places for processes are few."""
        if self._closed or not self._runtime.places.ample or any(not ahead.ending for ahead in self._started):
            return
        ahead = _Ahead(self._server, self._runtime, self._idle_seconds, self._end, self._over)
        self._started.add(ahead)

    def take(self, on_message: Callable[[bytes], None], on_exit: Callable[[str], None]) -> Child | None:
        """Return the process, if there is one; it is the caller's from now on, and so is its place.

        Args:
            on_message: As in ``Child.spawn``; what the process said before was for nobody.
            on_exit: As there; it may have been about to end.
        """
        for ahead in self._started:
            if (child := ahead.hand_over()) is not None:
                self._started.discard(ahead)
                child.attach(on_message, on_exit)
                return child
        return None

    def end(self) -> None:
        """End the process in the background: nobody gets it any more, and the next one is as the server is now."""
        for ahead in self._started:
            self._end(ahead)

    async def aclose(self) -> None:
        """End the process, and start no other."""
        self._closed = True
        self.end()
        await asyncio.gather(*(ahead.aclose() for ahead in self._started))
        await self._tasks.aclose()

    def _end(self, ahead: "_Ahead") -> None:
        ahead.ending = True  # at once: until the task runs, somebody might take it
        self._tasks.start(ahead.aclose(), f"end the spare process of {self._server.name}")

    def _over(self, ahead: "_Ahead", reason: str) -> None:
        self._started.discard(ahead)
        if not ahead.ending:
            self._log.info("Server %s: its spare process %s", self._server.name, reason)


class _Ahead:
    """One process that was started ahead, and has a place until somebody needs that.

    Args:
        server: Its server.
        runtime: What the process shares.
        idle_seconds: How long it waits for a session.
        end: Is to end it when it has waited for so long.
        over: Is told, with the reason, that it is gone, or was not to be started; not if it was handed over.
    """

    __slots__ = ("_over", "_places", "_starting", "_timer", "ending")

    def __init__(
        self,
        server: Server,
        runtime: Runtime,
        idle_seconds: float,
        end: Callable[["_Ahead"], None],
        over: Callable[["_Ahead", str], None],
    ) -> None:
        self.ending = False
        """Whether nobody can have it any more."""
        self._over = over
        self._places = runtime.places
        self._places.lodge(self)
        self._timer = asyncio.get_running_loop().call_later(idle_seconds, end, self)
        self._starting = asyncio.ensure_future(self._start(server, runtime))
        self._starting.add_done_callback(self._started)

    def hand_over(self) -> Child | None:
        """Return the process, if it runs already, and still."""
        if self.ending or not self._runs() or not self._starting.result().running:
            return None
        self.ending = True
        self._timer.cancel()
        self._places.keep(self)
        return self._starting.result()

    async def aclose(self) -> None:
        """End the process, and return when it has given its place back."""
        self.ending = True
        self._timer.cancel()
        if not self._starting.done():
            self._starting.cancel()
            await asyncio.wait({self._starting})
        if self._runs():
            # Nobody has asked it anything, so there is nothing that it could still finish.
            await self._starting.result().stop(linger=0.0)

    async def _start(self, server: Server, runtime: Runtime) -> Child:
        return await Program(server, runtime).start(_unheard, self._exited)

    def _started(self, starting: asyncio.Future[Child]) -> None:
        if starting.cancelled():
            self._exited("was not needed")
        elif (error := starting.exception()) is not None:
            self._exited(str(error))
            if not isinstance(error, UpstreamUnavailable):
                logger.error("Starting a spare process failed", exc_info=error)

    def _runs(self) -> bool:
        return self._starting.done() and not self._starting.cancelled() and self._starting.exception() is None

    def _exited(self, reason: str) -> None:
        self._timer.cancel()
        self._places.keep(self)
        self._places.give_back()
        self._over(self, reason)
        self.ending = True


def _unheard(line: bytes) -> None:
    """Take what a process says before anybody has asked it anything: it is for nobody."""
