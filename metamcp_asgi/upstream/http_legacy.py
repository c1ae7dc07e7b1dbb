"""A legacy server on Streamable HTTP: a session with an id, an optional stream of changes, resumable responses.

Source: MCP 2025-11-25 basic/transports.mdx (T-55, T-70, T-71).
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final

from msgspec import UNSET

from metamcp_asgi.config.snapshot import Server
from metamcp_asgi.errors import UpstreamError, UpstreamProtocolError, UpstreamUnavailable
from metamcp_asgi.protocol import jsonrpc
from metamcp_asgi.protocol.jsonrpc import Message
from metamcp_asgi.protocol.outcome import Failure, Outcome
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream import legacy, logs
from metamcp_asgi.upstream.dialogue import Dialogue, Turn, cancellation
from metamcp_asgi.upstream.http import EventStream, message_of, post_headers
from metamcp_asgi.upstream.http1 import Response, Target
from metamcp_asgi.upstream.legacy import LegacyLeg
from metamcp_asgi.upstream.request import LOGGED, Events, Peer, Request, SessionLost, Terms, progress_of, relay
from metamcp_asgi.upstream.runtime import Runtime
from metamcp_asgi.upstream.status import refusal
from metamcp_asgi.upstream.subscriptions import LegacyWatch

__all__ = ["LegacyHTTP", "NotStreamable"]

RETRY: Final = 1.0
"""Seconds before a broken stream is resumed, where the server did not say."""
RESUMES: Final = 100
"""How many streams one response may take."""
GOODBYE: Final = 2.0
"""Seconds that the DELETE of a session may take."""
STREAM_WAIT: Final = 2.0
"""Seconds that the first request of a session waits for the stream on which the server may ask something."""


class NotStreamable(UpstreamProtocolError):
    """The URL does not take POSTs as Streamable HTTP does: perhaps it is HTTP+SSE (T-72)."""


class LegacyHTTP:
    """What ``Session`` promises, for a legacy server over Streamable HTTP. Made by ``open``."""

    peer: Peer
    _stream: Target

    def __init__(self, server: Server, runtime: Runtime, events: Events, terms: Terms) -> None:
        self._server = server
        self._events = events
        self._http = runtime.http
        self._limit = runtime.max_message_bytes
        self._leg = LegacyLeg()
        self._last_id = 0
        self._tasks = Tasks()
        self._terms = terms
        self._dialogue = Dialogue(terms, self._tell)
        self.correlates = True
        self.listening = False
        self._in_session = False
        self._ended = False
        self._post = runtime.http.target(server.url, post_headers(server))

    @classmethod
    async def open(cls, server: Server, runtime: Runtime, events: Events, terms: Terms) -> "LegacyHTTP":
        """Shake hands and return the session.

        Args:
            server: Its configuration.
            runtime: What the process shares.
            events: Gets what happens outside of requests.
            terms: On which terms the session is opened.

        Raises:
            NotStreamable: The URL refuses the POST itself.
            UpstreamError: The server cannot be reached, or refuses.
        """
        session = cls(server, runtime, events, terms)
        try:
            await session._handshake()
        except BaseException:
            await session.aclose()
            raise
        return session

    async def _handshake(self) -> None:
        message = jsonrpc.request(self._next_id(), "initialize", legacy.initialize(self._terms.capabilities))
        response = await self._http.send(self._post, b"POST", b"", message)
        if response.status in (400, 404, 405):
            raise _not_streamable(response)
        session_id = (response.header(b"mcp-session-id") or b"").decode("latin-1")
        self.peer = legacy.read_initialize(await self._reply(response, self._last_id, None, None))
        self._dialogue.revision = self.peer.revision
        session = [("Mcp-Session-Id", session_id)] if session_id else []
        self._in_session = bool(session_id)
        self._post = self._http.target(self._server.url, [*post_headers(self._server, self.peer.revision), *session])
        self._stream = self._http.target(
            self._server.url,
            [
                *self._server.headers,
                ("Accept", "text/event-stream"),
                ("MCP-Protocol-Version", self.peer.revision),
                *session,
            ],
        )
        await self._tell(jsonrpc.notification("notifications/initialized"))
        self._level = logs.Level(self.peer, self.send)
        self._watch = LegacyWatch(self.peer, self.send)
        asks = self._terms.capabilities.interactive
        if asks or self.peer.changes() or self.peer.subscribable:
            tried = asyncio.Event()
            self._tasks.start(self._listen(tried), f"listen to {self._server.name}")
            if asks:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STREAM_WAIT):
                        await tried.wait()

    async def send(self, request: Request) -> Outcome:
        """Send a request and return its outcome; see ``Session.send``.

        Raises:
            SessionLost: The server no longer knows the session.
        """
        if request.log_level is not None and request.on_log is not None:
            await self._level.need(request.log_level)
        number = self._next_id()
        message = jsonrpc.request(number, request.method, self._leg.params(request, number))
        turn = self._dialogue.begin(request)
        try:
            lines = request.trace if request.hops is None else request.hops.line + request.trace
            response = await self._http.send(self._post, b"POST", lines, message)
            if self._in_session and response.status in (400, 404) and not _answers(response, number):
                # 404 is what the specification has for an unknown session (T-70), 400 what some servers use; either
                # way the request was refused, not executed.
                raise SessionLost(f"no longer knows our session (HTTP {response.status})")
            return self._leg.outcome(await self._reply(response, number, request, turn), request)
        except asyncio.CancelledError:
            # Closing the connection means nothing to a legacy server (trap 1).
            last = [*self._dialogue.end(turn), cancellation(number)]
            self._tasks.start(self._dialogue.deliver(last), f"cancel {request.method}")
            raise
        finally:
            if left := self._dialogue.end(turn):
                self._tasks.start(self._dialogue.deliver(left), "withdraw questions")

    async def watch(self, uris: frozenset[str]) -> Mapping[str, Failure]:
        """Be told of updates of exactly these resources; see ``Session.watch``."""
        return await self._watch.watch(uris)

    def roots_changed(self) -> None:
        """Tell the server that it may ask for other roots; see ``Session.roots_changed``."""
        self._dialogue.roots_changed()

    async def aclose(self) -> None:
        """Stop listening and end the session at the server."""
        await self._tasks.aclose()
        await self._dialogue.aclose()
        if self._in_session and not self._ended:
            self._ended = True
            with contextlib.suppress(UpstreamError, TimeoutError):
                async with asyncio.timeout(GOODBYE):
                    (await self._http.send(self._stream, b"DELETE")).detach()

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    async def _reply(self, response: Response, number: int, request: Request | None, turn: Turn | None) -> Message:
        if not response.event_stream:
            return message_of(response)
        stream = EventStream(self._limit, lambda message: self._take(message, number, request, turn))
        for _ in range(RESUMES):
            broken = "closed the stream before the response"
            try:
                if (reply := await stream.read(response, number)) is not None:
                    return reply
            except UpstreamUnavailable as error:
                broken = str(error)
            if stream.last_id is None:
                break
            await asyncio.sleep(RETRY if stream.retry is None else stream.retry / 1000)
            try:
                response = await self._get(stream.last_id)
            except UpstreamUnavailable as error:
                broken = str(error)
                break
            if not response.event_stream:
                broken = f"did not let us resume the response (HTTP {response.status})"
                break
        raise UpstreamUnavailable(broken, sent=True)

    def _take(self, message: Message, number: int | None, request: Request | None, turn: Turn | None) -> None:
        """Take a message that came on the stream of a request, or on that of the session, which belongs to none."""
        method = message.method
        if method is UNSET:
            return
        if message.id is not UNSET:
            self._dialogue.asked(message, turn)
        elif method == "notifications/progress":
            token, members = progress_of(message.params)
            if request is not None and request.on_progress is not None and token == number:
                request.on_progress(members)
        elif method == LOGGED:
            if request is not None:
                logs.pass_on(request, message.params, self._level.default)
        elif method == "notifications/cancelled":
            self._dialogue.cancelled(message.params)
        else:
            relay(self._events, method, message.params)

    async def _listen(self, tried: asyncio.Event) -> None:
        """Keep the session's own stream open, where the server has one (T-56).

        Args:
            tried: Is set once the first attempt has come to something.
        """
        stream = EventStream(self._limit, lambda message: self._take(message, None, None, None))
        while True:
            self.listening = False
            with contextlib.suppress(UpstreamUnavailable):
                try:
                    response = await self._get(stream.last_id)
                finally:
                    tried.set()
                if not response.event_stream:
                    response.detach()
                    if response.status == 404:
                        self._events.lost("no longer knows our session (HTTP 404)")
                    return
                self.listening = True
                with contextlib.suppress(UpstreamError):
                    await stream.read(response, None)
            await asyncio.sleep(RETRY if stream.retry is None else max(stream.retry / 1000, 0.1))
            if stream.last_id is None:
                for kind in self.peer.changes():
                    self._events.changed(kind)
                for uri in self._watch.watched:
                    self._events.updated(uri)

    async def _get(self, last_event_id: bytes | None) -> Response:
        headers = b"" if last_event_id is None else b"Last-Event-ID: %b\r\n" % last_event_id
        return await self._http.send(self._stream, b"GET", headers)

    async def _tell(self, message: bytes) -> None:
        response = await self._http.send(self._post, b"POST", b"", message)
        response.detach()
        if not 200 <= response.status < 300:
            raise refusal(response)


def _answers(response: Response, number: int) -> bool:
    """Tell whether a refusal is a response to this very request, and not one to an unknown session."""
    try:
        return message_of(response).id == number
    except UpstreamError:
        return False


def _not_streamable(response: Response) -> UpstreamError:
    try:
        legacy.read_initialize(message_of(response))
    except UpstreamProtocolError as error:
        return error
    except UpstreamError:
        pass
    return NotStreamable(f"takes no Streamable HTTP at this URL (HTTP {response.status})")
