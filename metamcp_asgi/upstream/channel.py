"""JSON-RPC over one pair of streams, as stdio and HTTP+SSE have it: responses find the request they belong to.

Knows nothing of how messages travel, nor of eras. The ids are ours and never repeat (I-08); the id of a
request is also its progress token.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec
from msgspec import UNSET, Raw, UnsetType

from metamcp_asgi.errors import UpstreamUnavailable
from metamcp_asgi.protocol import jsonrpc, meta
from metamcp_asgi.protocol.jsonrpc import Message
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream import legacy, logs
from metamcp_asgi.upstream.dialogue import Dialogue, Turn, cancellation
from metamcp_asgi.upstream.request import LOGGED, Peer, Request, Terms, progress_of

__all__ = ["Channel", "handshake"]

logger = logging.getLogger("metamcp.upstream")

Take = Callable[[str, Raw | UnsetType], None]


class Channel:
    """One open pair of streams.

    Args:
        send: Sends one message; may raise ``UpstreamUnavailable``.
        on_notification: Gets method and params of every notification that belongs to no request.
        terms: On which terms the session is opened.
    """

    __slots__ = (
        "_closed",
        "_last_id",
        "_on_notification",
        "_pending",
        "_requests",
        "_send",
        "_streams",
        "_talking",
        "_tasks",
        "_turns",
        "dialogue",
        "level",
        "logs_on_demand",
        "terms",
    )

    def __init__(self, send: Callable[[bytes], Awaitable[None]], on_notification: Take, terms: Terms) -> None:
        self.terms = terms
        self.level: logs.Level | None = None
        """The log level of a legacy session, where messages can be told apart."""
        self.logs_on_demand = False
        """Whether the server only logs for requests that set a level, as modern ones do (LO-01)."""
        self._send = send
        self._on_notification = on_notification
        self._last_id = 0
        self._pending: dict[int, asyncio.Future[Message]] = {}
        self._requests: dict[int, Request] = {}
        self._streams: dict[int, Take] = {}
        self._talking: set[int] = set()
        self._closed: str | None = None
        self._turns: dict[int, Turn] = {}
        self.dialogue = Dialogue(terms, self._send)
        self._tasks = Tasks()

    async def call(
        self,
        method: str,
        params: Callable[[int], bytes] | bytes,
        request: Request | None = None,
        take: Take | None = None,
    ) -> Message:
        """Send a request and return its response.

        Cancelling it tells the server so, except for ``initialize``, which must not be cancelled (I-07).

        Args:
            method: The method.
            params: The params, or what makes them from the request's id.
            request: The request, whose client hears of progress, is shown logs and can be asked.
            take: Gets the notifications of a listen request's stream.

        Raises:
            UpstreamUnavailable: The channel is closed, or closes before the response.
        """
        if self._closed is not None:
            raise UpstreamUnavailable(self._closed)
        self._last_id = number = self._last_id + 1
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        if take is not None:
            self._streams[number] = take
        elif request is not None:
            self._requests[number] = request
            if (turn := self.dialogue.begin(request)) is not None:
                self._turns[number] = turn
            if request.on_log is not None and request.log_level is not None and self.logs_on_demand:
                self._talking.add(number)
        try:
            await self._send(jsonrpc.request(number, method, params if isinstance(params, bytes) else params(number)))
            return await future
        except asyncio.CancelledError:
            if method != "initialize" and self._closed is None:
                last = [*self.dialogue.end(self._turns.get(number)), cancellation(number)]
                self._tasks.start(self.dialogue.deliver(last), f"cancel {method}")
            raise
        finally:
            if future.done() and not future.cancelled():
                future.exception()  # sending may have failed, too, and then nobody else has looked at this one
            self._pending.pop(number, None)
            self._streams.pop(number, None)
            self._over(number)

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
            number = message.id
            if not isinstance(number, int):
                return
            future = self._pending.get(number)
            if self._talking:
                self._talking.discard(number)
            # At once, not when the waiting task runs: what follows no longer belongs to the request.
            self._over(number)
            # A response to a request that was cancelled meanwhile is normal (CN-02).
            if future is not None and not future.done():
                future.set_result(message)
        elif message.id is not UNSET:
            self.dialogue.asked(message)
        else:
            self._notified(message.method, message.params)

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
        await self.dialogue.aclose()
        await self._tasks.aclose()

    def _over(self, number: int) -> None:
        """Note that a request has its response, or gets none: nothing more is said or asked in the course of it."""
        self._requests.pop(number, None)
        if self._turns and (left := self.dialogue.end(self._turns.pop(number, None))) and self._closed is None:
            self._tasks.start(self.dialogue.deliver(left), "withdraw questions")

    def _notified(self, method: str, params: Raw | UnsetType) -> None:
        if method == "notifications/progress":
            token, members = progress_of(params)
            request = self._requests.get(token) if token is not None else None
            if request is not None and request.on_progress is not None:
                request.on_progress(members)
        elif method == LOGGED:
            if (request := self._talker()) is not None:
                logs.pass_on(request, params, self.level.default if self.level is not None else None)
        elif method == "notifications/cancelled":
            self.dialogue.cancelled(params)
        elif self._streams and (number := _stream_of(params)) is not None:
            if (take := self._streams.get(number)) is not None:
                take(method, params)
        else:
            self._on_notification(method, params)

    def _talker(self) -> Request | None:
        """Return the request to which a log message certainly belongs (LO-01, eras.md 2.9).

        Nothing in a message says so. In a session of one caller it is that of the only request in flight; in one that
        many share, only a request that has set a level may be talked about, and one that was cancelled may still be.
        """
        if self.terms.private:
            return next(iter(self._requests.values())) if len(self._requests) == 1 else None
        return self._requests.get(next(iter(self._talking))) if len(self._talking) == 1 else None


def _stream_of(params: Raw | UnsetType) -> int | None:
    """Return the id of the listen request to which a notification belongs (SU-02)."""
    try:
        told = msgspec.json.decode(b"{}" if params is UNSET else params, type=_Tagged)
    except msgspec.DecodeError:
        return None
    return told.meta.subscription


class _Tag(msgspec.Struct, frozen=True):
    subscription: int | None = msgspec.field(name=meta.SUBSCRIPTION_ID, default=None)


class _Tagged(msgspec.Struct):
    meta: _Tag = msgspec.field(name="_meta", default=_Tag())


async def handshake(channel: Channel) -> Peer:
    """Open a legacy session on a channel.

    Raises:
        UpstreamError: The server refuses, or answers with something that is not an ``InitializeResult``.
    """
    answer = await channel.call("initialize", legacy.initialize(channel.terms.capabilities))
    peer = legacy.read_initialize(answer)
    channel.dialogue.revision = peer.revision
    await channel.notify("notifications/initialized")
    return peer
