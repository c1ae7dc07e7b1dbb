"""The response to one POST: JSON, unless something has to be said before the result; then an event stream.

The decision is made as late as possible, because a status can only be chosen before a stream has begun (trap 13):
the first notification makes it, or the time after which a silent connection would be taken for dead.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final

from starlette.types import Send

from metamcp_asgi.protocol.sse import KEEP_ALIVE, frame

__all__ = ["STREAM_HEADERS", "Reply", "send_empty", "send_message"]

STREAM_HEADERS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
"""Headers of every event stream; the last keeps nginx from holding events back (T-09)."""

MAX_QUEUED: Final = 1000
"""How many notifications wait for a client that reads slowly; then the oldest are dropped."""


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
    """

    __slots__ = ("_done", "_keepalive", "_more", "_pump", "_queue", "_send", "_timer")

    def __init__(self, send: Send, keepalive: float) -> None:
        self._send = send
        self._keepalive = keepalive
        self._queue: deque[bytes] = deque(maxlen=MAX_QUEUED)
        self._pump: asyncio.Task[None] | None = None
        self._more: asyncio.Event | None = None
        self._done = False
        self._timer: asyncio.TimerHandle | None = None

    def keep_alive(self) -> None:
        """From now on, do not let the connection be silent for longer than allowed."""
        self._timer = asyncio.get_running_loop().call_later(self._keepalive, self._stay_alive)

    def notify(self, message: bytes) -> None:
        """Send a notification before the result; makes the response a stream."""
        self._put(frame(message))

    async def finish(self, status: int, body: bytes, rest: bytes = b"") -> None:
        """Send the response message, on the stream if there is one; then the status no longer matters.

        Args:
            status: HTTP status.
            body: The message, or its beginning.
            rest: The rest of the message: a large part that is prepared is not copied.
        """
        self._stop_timer()
        if self._pump is not None:
            self._put(frame(body + rest))
            await self._end(self._pump)
            return
        await send_message(self._send, status, body, rest=rest)

    async def finish_silently(self) -> None:
        """End the response without a message: the request was cancelled (CN-02)."""
        self._stop_timer()
        if self._pump is not None:
            await self._end(self._pump)
        else:
            await self._send({"type": "http.response.start", "status": 200, "headers": list(STREAM_HEADERS)})
            await self._send({"type": "http.response.body", "body": b""})

    async def abandon(self) -> None:
        """Send nothing more: the client has left."""
        self._stop_timer()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait({self._pump})

    def _put(self, data: bytes) -> None:
        self._queue.append(data)
        if self._pump is None:
            self._more = asyncio.Event()
            self._pump = asyncio.create_task(self._run(self._more), name="event stream")
        elif self._more is not None:
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
            elif self._done:
                break
            else:
                more.clear()
                await more.wait()
        await self._send({"type": "http.response.body", "body": b""})
