"""The connections to one origin: which are idle, who waits for one, when they are closed.

Knows how many connections there may be and how long an idle one is kept. Knows nothing of HTTP's messages.

A *slot* is the right to one connection: it is taken before connecting and given back when the connection is closed.
Nobody waits while there is a free slot or an idle connection, so a newcomer never overtakes.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable

from metamcp_asgi.errors import UpstreamError, UpstreamUnavailable
from metamcp_asgi.outward.guard import Guard, OutwardRefused
from metamcp_asgi.upstream.http1_connection import Connection
from metamcp_asgi.upstream.http1_dial import dial, why_unreachable
from metamcp_asgi.upstream.http1_response import HTTPLimits
from metamcp_asgi.upstream.http1_target import Origin

__all__ = ["Pool"]


class Pool:
    """The connections to one origin.

    Args:
        origin: Where they lead.
        limits: How many, and how long they are kept.
        tls: Gives the TLS context; called only for an ``https`` origin.
        guard: Judges the addresses that are connected to; ``None``: any will do.
    """

    __slots__ = (
        "__weakref__",
        "_connections",
        "_guard",
        "_idle",
        "_limits",
        "_loop",
        "_slots",
        "_timer",
        "_tls",
        "_waiters",
        "_watched",
        "closed",
        "origin",
    )

    def __init__(
        self, origin: Origin, limits: HTTPLimits, tls: Callable[[], ssl.SSLContext], guard: Guard | None = None
    ) -> None:
        self.origin = origin
        self._guard = guard
        self.closed = False
        self._limits = limits
        self._tls = tls
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots = limits.max_connections
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._watched: set[Connection] = set()
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def take(self) -> Connection | None:
        """Return the idle connection that was used last, or ``None``; those found dead are dropped."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.usable():
                return connection
            connection.close()
        return None

    async def acquire(self) -> Connection:
        """Return a connection: idle, new, or the next that becomes free.

        Raises:
            UpstreamUnavailable: It cannot be reached (nothing was sent), or the pool was closed.
        """
        while True:
            if self.closed:
                raise UpstreamUnavailable(f"connections to {self.origin.name} are closed: shutting down")
            connection = self.take()
            if connection is not None:
                return connection
            if self._slots > 0:
                self._slots -= 1
                return await self._open()
            connection = await self._wait()
            if connection is None:
                return await self._open()
            if connection.usable():
                return connection
            connection.close()  # It died on the way to us; its slot has gone to the next in line or is free.

    def release(self, connection: Connection) -> None:
        """Take back a connection whose response is complete."""
        connection.deadline = connection.loop.time() + connection.keepalive
        self._watched.discard(connection)
        waiters = self._waiters
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._idle.append(connection)
        if self._timer is None:
            self._wake_at(connection.deadline)

    def watch(self, connection: Connection) -> None:
        """Close ``connection`` at its deadline, unless it is released before."""
        self._watched.add(connection)
        if self._timer is None or self._timer.when() > connection.deadline:
            self._wake_at(connection.deadline)

    def forget(self, connection: Connection) -> None:
        """Learn that a connection is closed: its slot is free."""
        self._watched.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._connections.discard(connection)
        self._vacate()

    async def aclose(self) -> None:
        """Close every connection, and wait until they are gone; requests in flight and waiting ones fail."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        reason = f"connections to {self.origin.name} are closed: shutting down"
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(UpstreamUnavailable(reason))
        self._waiters.clear()
        gone = []
        for connection in list(self._connections):
            connection.lost = connection.loop.create_future()
            gone.append(connection.lost)
            connection.fail(UpstreamUnavailable(reason, sent=True))
        await asyncio.gather(*gone)

    async def _open(self) -> Connection:
        # Owns a slot, and gives it back unless a connection comes of it.
        name, seconds = self.origin.name, self._limits.connect_timeout
        connection: Connection | None = None
        try:
            loop = asyncio.get_running_loop()
            if self._loop is not loop:
                if self._loop is not None:
                    raise RuntimeError("an HTTPClient belongs to the event loop in which it was first used")
                self._loop = loop
            connection = Connection(name, self._limits)
            try:
                async with asyncio.timeout(seconds) as limit:
                    await dial(self.origin, connection, self._tls() if self.origin.tls else None, self._guard)
            except (OSError, UnicodeError, UpstreamError, OutwardRefused) as error:
                if limit.expired():
                    raise UpstreamUnavailable(f"no connection to {name} within {seconds:g} seconds") from error
                raise why_unreachable(self.origin, error) from error
            if self.closed:
                raise UpstreamUnavailable(f"connections to {name} are closed: shutting down")
            if connection.closed:
                raise connection.error or UpstreamUnavailable(f"{name} closed the connection before it was used")
        except BaseException:
            if connection is not None:
                connection.close()
            self._vacate()
            raise
        connection.pool = self
        self._connections.add(connection)
        return connection

    async def _wait(self) -> Connection | None:
        # What is handed over is a connection, or `None` for a slot to open one with.
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
            elif waiter.exception() is None:  # Cancelled with the gift in hand: it goes to the next.
                connection = waiter.result()
                if connection is None:
                    self._vacate()
                elif not connection.closed:
                    self.release(connection)
            raise

    def _vacate(self) -> None:
        waiters = self._waiters
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._slots += 1

    def _wake_at(self, deadline: float) -> None:
        assert self._loop is not None
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._close_expired)

    def _close_expired(self) -> None:
        assert self._loop is not None
        self._timer = None
        now = self._loop.time() + 0.01  # Timers are coarse; this one must not wake again for the same connection.
        for connection in [*self._idle, *self._watched]:
            if connection.deadline <= now:
                connection.fail(UpstreamUnavailable(f"the stream from {self.origin.name} was closed", sent=True))
        deadlines = [connection.deadline for connection in (*self._idle, *self._watched)]
        if deadlines:
            self._wake_at(min(deadlines))
