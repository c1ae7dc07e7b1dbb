"""The worker's side of one connection to the companion: its calls in flight, and the questions in the midst of them."""

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path

from metamcp_asgi.protocol.outcome import Outcome
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.companion import wire
from metamcp_asgi.upstream.companion.calls import Made
from metamcp_asgi.upstream.companion.link import Link
from metamcp_asgi.upstream.request import Request

__all__ = ["Conversation"]


class Conversation:
    """One connection, once both ends have met.

    Args:
        told: Gets what the companion tells of servers.
    """

    def __init__(self, told: Callable[[wire.State | wire.Happened], None]) -> None:
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why the connection has ended, once it has."""
        self._told = told
        self._link = Link(self._received, self._ended)
        self._calls: dict[int, Made] = {}
        self._numbers = itertools.count(1)
        self._tasks = Tasks()

    @classmethod
    async def open(cls, path: Path, told: Callable[[wire.State | wire.Happened], None]) -> "Conversation":
        """Connect to the companion.

        Args:
            path: Its socket.
            told: Gets what it tells of servers.

        Raises:
            OSError: Nothing is there, or it may not be used.
            UpstreamUnavailable: What is there does not talk to us; the message goes after its name.
        """
        conversation = cls(told)
        link = conversation._link
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: link, str(path))
            await link.met
        except BaseException:
            await conversation.aclose()
            raise
        return conversation

    def say(self, frame: wire.Use | wire.Leave) -> None:
        """Tell the companion which servers are used."""
        self._link.send(frame)

    async def call(self, frame: Callable[[int], wire.Send | wire.Do], request: Request | None = None) -> Outcome | None:
        """Have the companion do something, and return what became of it.

        Args:
            frame: Returns what is to be done, given the number of the call.
            request: What is told and asked meanwhile.

        Raises:
            UpstreamError: As the companion's server raised it.
            ConnectionError: The connection has ended; the message says why.
            OverflowError: The request is too large.
        """
        number = next(self._numbers)
        call = self._calls[number] = Made(request, self._link.send, self._tasks)
        try:
            if self.over.done():
                raise ConnectionResetError(self.over.result())
            self._link.send(frame(number))
            await self._link.drain()
            end = await call.end
        except asyncio.CancelledError:
            self._link.send(wire.Cancel(number))
            raise
        finally:
            del self._calls[number]
            call.over()
        return wire.outcome_of(end)

    async def aclose(self) -> None:
        """End the connection; calls in flight fail."""
        self._link.close("was left")
        await self._tasks.aclose()

    def _received(self, data: bytes) -> None:
        frame = wire.to_worker.decode(data)
        if isinstance(frame, wire.State | wire.Happened):
            self._told(frame)
            return
        if (call := self._calls.get(frame.call)) is not None:  # otherwise it was cancelled meanwhile
            call.received(frame)

    def _ended(self, reason: str) -> None:
        if not self.over.done():
            self.over.set_result(reason)
        for call in self._calls.values():
            if not call.end.done():
                call.end.set_exception(ConnectionResetError(reason))
