"""JSON-RPC over one pair of streams, as stdio and HTTP+SSE have it: responses find the request they belong to.

Knows nothing of how messages travel, nor of eras. The ids are ours and never repeat (I-08); the id of a
request is also its progress token.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import UNSET, Raw, UnsetType

from metamcp_asgi.errors import UpstreamError, UpstreamUnavailable
from metamcp_asgi.protocol import jsonrpc
from metamcp_asgi.protocol.jsonrpc import METHOD_NOT_FOUND, Message
from metamcp_asgi.protocol.outcome import Failure, Outcome
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream import legacy, modern
from metamcp_asgi.upstream.request import Leg, OnProgress, Peer, Request, progress_of

__all__ = ["Channel", "ChannelSession", "answer_to", "handshake"]

logger = logging.getLogger("metamcp.upstream")

_EMPTY: Final = b"{}"
LISTEN_AGAIN: Final = 1.0
"""Seconds between the end of a listen stream and the next."""


class Channel:
    """One open pair of streams.

    Args:
        send: Sends one message; may raise ``UpstreamUnavailable``.
        on_notification: Gets method and params of every notification but progress.
    """

    __slots__ = ("_closed", "_last_id", "_on_notification", "_pending", "_progress", "_send", "_tasks")

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[None]],
        on_notification: Callable[[str, Raw | UnsetType], None],
    ) -> None:
        self._send = send
        self._on_notification = on_notification
        self._last_id = 0
        self._pending: dict[int, asyncio.Future[Message]] = {}
        self._progress: dict[int, OnProgress] = {}
        self._closed: str | None = None
        self._tasks = Tasks()

    async def call(
        self,
        method: str,
        params: Callable[[int], bytes] | bytes,
        on_progress: OnProgress | None = None,
    ) -> Message:
        """Send a request and return its response.

        Cancelling it tells the server so, except for ``initialize``, which must not be cancelled (I-07).

        Args:
            method: The method.
            params: The params, or what makes them from the request's id.
            on_progress: Gets the progress that the server reports.

        Raises:
            UpstreamUnavailable: The channel is closed, or closes before the response.
        """
        if self._closed is not None:
            raise UpstreamUnavailable(self._closed)
        self._last_id = number = self._last_id + 1
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        if on_progress is not None:
            self._progress[number] = on_progress
        try:
            await self._send(jsonrpc.request(number, method, params if isinstance(params, bytes) else params(number)))
            return await future
        except asyncio.CancelledError:
            if method != "initialize" and self._closed is None:
                self._tasks.start(self._cancel(number), f"cancel {method}")
            raise
        finally:
            self._pending.pop(number, None)
            self._progress.pop(number, None)

    async def notify(self, method: str, params: bytes | None = None) -> None:
        """Send a notification."""
        await self._send(jsonrpc.notification(method, params))

    def received(self, line: bytes) -> None:
        """Take one message that the server sent; what is not a message is logged and dropped (T-90)."""
        try:
            message = jsonrpc.parse_peer(line)
        except ValueError:
            logger.debug("A server wrote %d bytes that are not JSON-RPC", len(line))
            return
        if message.method is UNSET:
            future = self._pending.get(message.id) if isinstance(message.id, int) else None
            # A response to a request that was cancelled meanwhile is normal (CN-02).
            if future is not None and not future.done():
                future.set_result(message)
        elif message.id is not UNSET:
            self._tasks.start(self._answer(message), f"answer {message.method}")
        elif message.method == "notifications/progress":
            token, members = progress_of(message.params)
            if token is not None and (on_progress := self._progress.get(token)) is not None:
                on_progress(members)
        else:
            self._on_notification(message.method, message.params)

    def closed(self, reason: str) -> None:
        """Fail every request that still waits: nothing more will come."""
        if self._closed is None:
            self._closed = reason
            for future in self._pending.values():
                if not future.done():
                    future.set_exception(UpstreamUnavailable(reason, sent=True))

    async def aclose(self) -> None:
        """Close the channel for good."""
        self.closed("was stopped")
        await self._tasks.aclose()

    async def _cancel(self, number: int) -> None:
        try:
            await self.notify("notifications/cancelled", b'{"requestId":%d,"reason":"cancelled"}' % number)
        except UpstreamError as error:
            logger.debug("Could not cancel request %d: %s", number, error)

    async def _answer(self, message: Message) -> None:
        try:
            await self._send(answer_to(message))
        except UpstreamError as error:
            logger.debug("Could not answer %s: %s", message.method, error)


class ChannelSession:
    """A session on a channel, in either era.

    Args:
        peer: What the server said of itself.
        channel: The open channel.
        leg: The era's leg.
        aclose: Ends the transport below.
    """

    __slots__ = ("_channel", "_close", "_leg", "_tasks", "listening", "peer")

    def __init__(self, peer: Peer, channel: Channel, leg: Leg, aclose: Callable[[], Awaitable[None]]) -> None:
        self.peer = peer
        self.listening = True
        self._channel = channel
        self._leg = leg
        self._close = aclose
        self._tasks = Tasks()
        if peer.era == "modern" and peer.changes():
            self._tasks.start(self._listen(), "listen for changes")

    async def send(self, request: Request) -> Outcome:
        """Send a request and return its outcome; see ``Session.send``."""
        leg = self._leg
        message = await self._channel.call(
            request.method, lambda number: leg.params(request, number), request.on_progress
        )
        return leg.outcome(message)

    async def aclose(self) -> None:
        """Stop the transport, then the channel."""
        await self._tasks.aclose()
        await self._close()
        await self._channel.aclose()

    async def _listen(self) -> None:
        """Keep one listen request open; what it delivers arrives as the channel's notifications."""
        with contextlib.suppress(UpstreamError):
            while not isinstance(await self.send(modern.listen(self.peer)), Failure):  # noqa: ASYNC110
                await asyncio.sleep(LISTEN_AGAIN)


async def handshake(channel: Channel) -> Peer:
    """Open a legacy session on a channel.

    Raises:
        UpstreamError: The server refuses, or answers with something that is not an ``InitializeResult``.
    """
    answer = await channel.call("initialize", legacy.INITIALIZE)
    peer = legacy.read_initialize(answer)
    await channel.notify("notifications/initialized")
    return peer


def answer_to(message: Message) -> bytes:
    """Return our response to a server's request: ``ping`` is answered, all else was not offered to it."""
    if message.method == "ping":
        return jsonrpc.response(message.id, _EMPTY)  # type: ignore[arg-type]  # a request has an id
    return jsonrpc.error_response(
        message.id if isinstance(message.id, int | str) else None,
        METHOD_NOT_FOUND,
        f"Method not found: {message.method} (the client declared no such capability)",
    )
