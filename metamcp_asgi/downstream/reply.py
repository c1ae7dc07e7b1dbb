"""The response to one POST: JSON, unless something has to be said before the result; then an event stream.

The decision is made as late as possible, because a status can only be chosen before a stream has begun (trap 13):
the first notification makes it, or the time after which a silent connection would be taken for dead.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, Protocol

from starlette.types import Receive, Send

from metamcp_asgi.downstream.resume import Record
from metamcp_asgi.protocol.sse import KEEP_ALIVE, frame

__all__ = ["GRACE", "STREAM_HEADERS", "Outlet", "Reply", "send_empty", "send_message"]

STREAM_HEADERS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
"""Headers of every event stream; the last keeps nginx from holding events back (T-09)."""

MAX_QUEUED: Final = 1000
"""How many messages wait for a client that reads slowly; further notifications are dropped then."""

GRACE: Final = 60.0
"""Seconds that a question outlasts the stream on which it was asked: the client may come back, or answer all the
same; leaving is not cancelling (T-55)."""


class Outlet(Protocol):
    """Where a client reads what belongs to its request, whatever the transport."""

    def notify(self, message: bytes) -> None:
        """Send a notification; dropped when too many wait."""

    def ask(self, message: bytes) -> None:
        """Send a request of ours, which is never dropped."""

    def hold(self, gone: Callable[[], None]) -> Callable[[], None]:
        """Have ``gone`` called when the client has left and does not come back; return what ends that."""

    async def finish(
        self, status: int, body: bytes, rest: bytes = b"", headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """Send the response message, in one or two parts; ``status`` and ``headers`` count where there is a choice."""

    async def finish_silently(self) -> None:
        """End without a response: the request was cancelled (CN-02)."""

    async def abandon(self) -> None:
        """Send nothing more."""


async def send_message(
    send: Send,
    status: int,
    body: bytes,
    headers: Iterable[tuple[bytes, bytes]] = (),
    *,
    rest: bytes = b"",
    kind: bytes = b"application/json",
) -> None:
    """Send one document, in one or two parts, as the whole response."""
    length = (b"content-length", b"%d" % (len(body) + len(rest)))
    await send(
        {"type": "http.response.start", "status": status, "headers": [(b"content-type", kind), length, *headers]}
    )
    if rest:
        await send({"type": "http.response.body", "body": body, "more_body": True})
        body = rest
    await send({"type": "http.response.body", "body": body})


async def send_empty(send: Send, status: int, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Send a response without a body."""
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0"), *headers]})
    await send({"type": "http.response.body", "body": b""})


class Reply:
    """Sends one response.

    Args:
        send: The ASGI channel.
        keepalive: Seconds of silence before a comment is sent.
        receive: The ASGI channel; watched for the client's leaving while somebody holds the reply.
        record: Begins the record from which a stream that broke off is resumed; called when there is a stream.
    """

    __slots__ = (
        "_begin",
        "_done",
        "_grace",
        "_held",
        "_keepalive",
        "_left",
        "_more",
        "_pump",
        "_queue",
        "_receive",
        "_record",
        "_send",
        "_timer",
        "_watch",
    )

    def __init__(
        self,
        send: Send,
        keepalive: float,
        receive: Receive | None = None,
        record: Callable[[], Record] | None = None,
    ) -> None:
        self._send = send
        self._keepalive = keepalive
        self._receive = receive
        self._begin = record
        self._record: Record | None = None
        self._queue: list[bytes] = []
        self._pump: asyncio.Task[None] | None = None
        self._more: asyncio.Event | None = None
        self._done = False
        self._timer: asyncio.TimerHandle | None = None
        self._held: dict[object, Callable[[], None]] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._left = False

    def keep_alive(self) -> None:
        """From now on, do not let the connection be silent for longer than allowed."""
        self._timer = asyncio.get_running_loop().call_later(self._keepalive, self._stay_alive)

    def notify(self, message: bytes) -> None:
        """Send a notification before the result; makes the response a stream."""
        if len(self._queue) < MAX_QUEUED:
            self._put(frame(message))

    def ask(self, message: bytes) -> None:
        """Send a request of ours before the result; makes the response a stream."""
        self._put(frame(message))

    def hold(self, gone: Callable[[], None]) -> Callable[[], None]:
        """Have ``gone`` called when the client has been away for ``GRACE``; return what ends that."""
        key = object()
        if self._held is None:
            self._held = {}
        self._held[key] = gone
        if self._watch is None and self._receive is not None:
            self._watch = asyncio.create_task(self._until_gone(self._receive), name="watch client")
        elif self._left and self._grace is None and not self._followed():
            self._leave()
        return partial(self._release, key)

    async def finish(
        self, status: int, body: bytes, rest: bytes = b"", headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """Send the response message, on the stream if there is one; then status and headers no longer matter.

        Args:
            status: HTTP status.
            body: The message, or its beginning.
            rest: The rest of the message: a large part that is prepared is not copied.
            headers: More headers, names in lower case.
        """
        self._stop_timer()
        if self._pump is not None:
            self._put(frame(body + rest))
            await self._end(self._pump)
            return
        await send_message(self._send, status, body, headers, rest=rest)

    async def finish_silently(self) -> None:
        """End the response without a message: the request was cancelled (CN-02)."""
        self._stop_timer()
        if self._pump is not None:
            await self._end(self._pump)
        else:
            await self._send({"type": "http.response.start", "status": 200, "headers": list(STREAM_HEADERS)})
            await self._send({"type": "http.response.body", "body": b""})

    async def abandon(self) -> None:
        """Send nothing more: the client has left, or has been answered."""
        self._stop_timer()
        if self._record is not None:
            self._record.end()
        if self._grace is not None:
            self._grace.cancel()
        for task in (self._pump, self._watch):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})

    def _put(self, data: bytes) -> None:
        if self._pump is None:
            if self._begin is not None:
                self._record = self._begin()
                self._record.taken = self._taken
                self._record.left = self._leave
                self._queue.append(self._record.opening)
            self._more = asyncio.Event()
            self._pump = asyncio.create_task(self._run(self._more), name="event stream")
        if self._record is not None and data is not KEEP_ALIVE:
            data = self._record.add(data)
            if self._record.followed:
                return  # the client reads it there, and each message goes to one stream only (T-57)
        self._queue.append(data)
        if self._more is not None:
            self._more.set()

    def _stay_alive(self) -> None:
        if not self._queue:
            self._put(KEEP_ALIVE)
        self.keep_alive()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _end(self, pump: asyncio.Task[None]) -> None:
        self._done = True
        if self._record is not None:
            self._record.end()
        assert self._more is not None
        self._more.set()
        await pump

    async def _run(self, more: asyncio.Event) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": list(STREAM_HEADERS)})
        while True:
            if self._queue:
                data = b"".join(self._queue)
                self._queue.clear()
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
            elif self._done or self._followed():
                break
            else:
                more.clear()
                await more.wait()
        await self._send({"type": "http.response.body", "body": b""})

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._left = True
        if not self._followed():
            self._leave()

    def _followed(self) -> bool:
        return self._record is not None and self._record.followed

    def _release(self, key: object) -> None:
        if self._held is not None:
            self._held.pop(key, None)

    def _taken(self) -> None:
        """Leave the rest of the stream to another one, on which the client has resumed it."""
        self._left = True
        self._queue.clear()
        self._stop_timer()
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        if self._more is not None:
            self._more.set()

    def _leave(self) -> None:
        if self._grace is None:
            self._grace = asyncio.get_running_loop().call_later(GRACE, self._forsake)

    def _forsake(self) -> None:
        self._grace = None
        for gone in tuple((self._held or {}).values()):
            gone()
