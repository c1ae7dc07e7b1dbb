"""The companion's side of one connection: a worker's uses of servers, and its calls, which end with it."""

import asyncio
import logging
from collections import Counter

from metamcp_asgi.errors import UpstreamError, UpstreamUnavailable
from metamcp_asgi.protocol.jsonrpc import encode
from metamcp_asgi.protocol.outcome import Outcome
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.companion import wire
from metamcp_asgi.upstream.companion.calls import Taken
from metamcp_asgi.upstream.companion.hub import Held, Hub
from metamcp_asgi.upstream.companion.link import Link
from metamcp_asgi.upstream.happening import Completed, Happening, Updated
from metamcp_asgi.upstream.request import Peer

__all__ = ["Connection"]

logger = logging.getLogger("metamcp.companion")


class Connection:
    """One worker.

    Args:
        hub: The servers.
        connections: All connections that are open; this one is among them from here to its end.
    """

    def __init__(self, hub: Hub, connections: "set[Connection]") -> None:
        self.link = Link(self._received, self._ended)
        self._hub = hub
        self._connections = connections
        self._uses: dict[int, _Use] = {}
        self._calls: dict[int, tuple[Taken, asyncio.Task[None]]] = {}
        self._tasks = Tasks()
        self._ending = asyncio.Lock()
        connections.add(self)

    async def aclose(self) -> None:
        """End the connection and the worker's calls."""
        self.link.close("was left")
        await self._tasks.aclose()

    def _received(self, data: bytes) -> None:
        frame = wire.to_companion.decode(data)
        if isinstance(frame, wire.Send | wire.Do):
            self._begin(frame)
        elif isinstance(frame, wire.Answered):
            if (call := self._calls.get(frame.call)) is not None:
                call[0].answered(frame)
        elif isinstance(frame, wire.Cancel):
            if (call := self._calls.get(frame.call)) is not None:
                call[1].cancel()
        elif isinstance(frame, wire.Use):
            use = self._uses[frame.server] = _Use(frame.server, self.link)
            use.begin(self._hub.use(frame.config, use))
        elif (left := self._uses.pop(frame.server, None)) is not None:
            self._leave(left, keep=frame.keep)

    def _ended(self, reason: str) -> None:
        logger.info("A worker %s", reason)
        self._connections.discard(self)
        self._hub.tasks.start(self._close(), "end a worker's calls")

    async def _close(self) -> None:
        await self._tasks.aclose()
        uses, self._uses = list(self._uses.values()), {}
        for use in uses:
            self._leave(use, keep=True)

    def _leave(self, use: "_Use", *, keep: bool) -> None:
        self._hub.leave(use.held, use, keep=keep)
        if use.held.users and use.watched:
            self._hub.tasks.start(use.unwatch(), f"end subscriptions at {use.held.server.name}")

    def _begin(self, frame: wire.Send | wire.Do) -> None:
        call = Taken(frame.call, self.link.send)
        task = self._tasks.start(self._run(call, frame), "call")
        self._calls[frame.call] = call, task
        task.add_done_callback(lambda _: self._calls.pop(frame.call))

    async def _run(self, call: Taken, frame: wire.Send | wire.Do) -> None:
        use = self._uses.get(frame.server)
        try:
            if use is None:
                raise UpstreamUnavailable("The server was left by this worker")
            if isinstance(frame, wire.Send):
                sent = use.held.server.send(call.request(frame.request), wire.affinity_of(frame.whose))
                end = wire.finished(await sent)
            else:
                end = wire.finished(await use.do(frame))
        except UpstreamError as error:
            end = wire.finished(error)
        except Exception:  # the worker waits for an answer, whatever went wrong on our side
            logger.exception("A call failed")
            end = wire.finished(UpstreamUnavailable("The companion failed because of an internal error", sent=True))
        if use is not None:
            use.tell_state()
        # One after the other: several large answers at once look like a worker that does not read.
        async with self._ending:
            await self.link.drain()
            try:
                self.link.send(wire.Done(frame.call, end))
            except OverflowError as error:
                text = f"The answer cannot be passed on: {error}"
                self.link.send(wire.Done(frame.call, wire.finished(UpstreamUnavailable(text, sent=True))))


class _Use:
    """One worker's use of a server."""

    __slots__ = ("_link", "_number", "_peer", "_told", "held", "watched")

    held: Held

    def __init__(self, number: int, link: Link) -> None:
        self.watched: Counter[str] = Counter()
        self._number = number
        self._link = link
        self._told: wire.State | None = None
        self._peer: tuple[Peer, bytes] | None = None

    def begin(self, held: Held) -> None:
        """Tell the worker how the server is, as it would have heard from the server itself."""
        self.held = held
        if held.server.state == "starting":
            self.tell_state()
        else:
            self.happened("ready" if held.server.state == "ready" else "lost")

    def happened(self, happening: Happening) -> None:
        """Pass on what the server tells its listener."""
        self.tell_state()
        if isinstance(happening, Updated):
            self._link.send(wire.Happened(self._number, "updated", happening.uri))
        elif isinstance(happening, Completed):
            self._link.send(wire.Happened(self._number, "completed", happening.elicitation_id))
        else:
            self._link.send(wire.Happened(self._number, happening))

    def tell_state(self) -> None:
        """Tell the worker how the server is, unless it knows."""
        server = self.held.server
        if server.peer is not None and (self._peer is None or self._peer[0] is not server.peer):
            self._peer = server.peer, encode(server.peer)
        peer = None if self._peer is None else self._peer[1]
        state = wire.State(self._number, server.state, server.error, server.stderr, peer, server.announces)
        if state != self._told:
            self._told = state
            self._link.send(state)

    async def do(self, frame: wire.Do) -> Outcome | UpstreamError | None:
        """Do what was asked for, and return what a method of that name returns."""
        server, what, about = self.held.server, frame.what, frame.about
        if what == "subscribe":
            failure = await server.subscribe(about)
            if failure is None:
                self.watched[about] += 1
            return failure
        if what == "unsubscribe":
            if self.watched[about] > 0:
                self.watched[about] -= 1
                await server.unsubscribe(about)
        elif what == "reset":
            if self.held.wanted(about):
                await server.reset()
        elif what == "roots_changed":
            if (affinity := wire.affinity_of(frame.whose)) is not None:
                server.roots_changed(affinity)
        else:
            await server.settled()
        return None

    async def unwatch(self) -> None:
        """End all subscriptions of a worker that is gone."""
        for uri in self.watched.elements():
            await self.held.server.unsubscribe(uri)
