"""A legacy server on Streamable HTTP: a session with an id, an optional stream of changes, resumable responses.

Source: MCP 2025-11-25 basic/transports.mdx (T-55, T-70, T-71).
"""

import asyncio
import contextlib
import logging
from typing import Final

from msgspec import UNSET

from metamcp_asgi.config.snapshot import Server
from metamcp_asgi.errors import UpstreamError, UpstreamProtocolError, UpstreamUnavailable
from metamcp_asgi.protocol import jsonrpc
from metamcp_asgi.protocol.jsonrpc import Message
from metamcp_asgi.protocol.outcome import Outcome
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream import legacy
from metamcp_asgi.upstream.channel import answer_to
from metamcp_asgi.upstream.http import EventStream, message_of, post_headers
from metamcp_asgi.upstream.http1 import Response, Target
from metamcp_asgi.upstream.legacy import LegacyLeg
from metamcp_asgi.upstream.request import CHANGES, Events, OnProgress, Peer, Request, SessionLost, progress_of
from metamcp_asgi.upstream.runtime import Runtime
from metamcp_asgi.upstream.status import refusal

__all__ = ["LegacyHTTP", "NotStreamable"]

logger = logging.getLogger("metamcp.upstream")

RETRY: Final = 1.0
"""Seconds before a broken stream is resumed, where the server did not say."""
RESUMES: Final = 100
"""How many streams one response may take."""
GOODBYE: Final = 2.0
"""Seconds that the DELETE of a session may take."""


class NotStreamable(UpstreamProtocolError):
    """The URL does not take POSTs as Streamable HTTP does: perhaps it is HTTP+SSE (T-72)."""


class LegacyHTTP:
    """What ``Session`` promises, for a legacy server over Streamable HTTP. Made by ``open``."""

    peer: Peer
    _stream: Target

    def __init__(self, server: Server, runtime: Runtime, events: Events) -> None:
        self._server = server
        self._events = events
        self._http = runtime.http
        self._limit = runtime.max_message_bytes
        self._leg = LegacyLeg()
        self._last_id = 0
        self._tasks = Tasks()
        self.listening = False
        self._in_session = False
        self._ended = False
        self._post = runtime.http.target(server.url, post_headers(server))

    @classmethod
    async def open(cls, server: Server, runtime: Runtime, events: Events) -> "LegacyHTTP":
        """Shake hands and return the session.

        Raises:
            NotStreamable: The URL refuses the POST itself.
            UpstreamError: The server cannot be reached, or refuses.
        """
        session = cls(server, runtime, events)
        try:
            await session._handshake()
        except BaseException:
            await session.aclose()
            raise
        return session

    async def _handshake(self) -> None:
        message = jsonrpc.request(self._next_id(), "initialize", legacy.INITIALIZE)
        response = await self._http.send(self._post, b"POST", b"", message)
        if response.status in (400, 404, 405):
            raise _not_streamable(response)
        session_id = (response.header(b"mcp-session-id") or b"").decode("latin-1")
        self.peer = legacy.read_initialize(await self._reply(response, self._last_id, None))
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
        if self.peer.changes():
            self._tasks.start(self._listen(), f"listen to {self._server.name}")

    async def send(self, request: Request) -> Outcome:
        """Send a request and return its outcome; see ``Session.send``.

        Raises:
            SessionLost: The server no longer knows the session.
        """
        number = self._next_id()
        message = jsonrpc.request(number, request.method, self._leg.params(request, number))
        try:
            hops = b"" if request.hops is None else request.hops.line
            response = await self._http.send(self._post, b"POST", hops, message)
            if self._in_session and response.status in (400, 404) and not _answers(response, number):
                # 404 is what the specification has for an unknown session (T-70), 400 what some servers use; either
                # way the request was refused, not executed.
                raise SessionLost(f"no longer knows our session (HTTP {response.status})")
            return self._leg.outcome(await self._reply(response, number, request.on_progress))
        except asyncio.CancelledError:
            # Closing the connection means nothing to a legacy server (trap 1).
            self._tasks.start(self._cancel(number), f"cancel {request.method}")
            raise

    async def aclose(self) -> None:
        """Stop listening and end the session at the server."""
        await self._tasks.aclose()
        if self._in_session and not self._ended:
            self._ended = True
            with contextlib.suppress(UpstreamError, TimeoutError):
                async with asyncio.timeout(GOODBYE):
                    (await self._http.send(self._stream, b"DELETE")).detach()

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    async def _reply(self, response: Response, number: int, on_progress: OnProgress | None) -> Message:
        if not response.event_stream:
            return message_of(response)
        stream = EventStream(self._limit, lambda message: self._take(message, number, on_progress))
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

    def _take(self, message: Message, number: int | None, on_progress: OnProgress | None) -> None:
        if message.method is UNSET:
            return
        if message.id is not UNSET:
            self._tasks.start(self._answer(message), f"answer {message.method}")
        elif message.method == "notifications/progress":
            token, members = progress_of(message.params)
            if on_progress is not None and token == number:
                on_progress(members)
        elif (kind := CHANGES.get(message.method)) is not None:
            self._events.changed(kind)

    async def _listen(self) -> None:
        """Keep the session's own stream open, where the server has one (T-56)."""
        stream = EventStream(self._limit, lambda message: self._take(message, None, None))
        while True:
            self.listening = False
            with contextlib.suppress(UpstreamUnavailable):
                response = await self._get(stream.last_id)
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

    async def _get(self, last_event_id: bytes | None) -> Response:
        headers = b"" if last_event_id is None else b"Last-Event-ID: %b\r\n" % last_event_id
        return await self._http.send(self._stream, b"GET", headers)

    async def _tell(self, message: bytes) -> None:
        response = await self._http.send(self._post, b"POST", b"", message)
        response.detach()
        if not 200 <= response.status < 300:
            raise refusal(response)

    async def _answer(self, message: Message) -> None:
        await self._tell_if_possible(answer_to(message))

    async def _cancel(self, number: int) -> None:
        params = b'{"requestId":%d,"reason":"cancelled"}' % number
        await self._tell_if_possible(jsonrpc.notification("notifications/cancelled", params))

    async def _tell_if_possible(self, message: bytes) -> None:
        try:
            await self._tell(message)
        except UpstreamError as error:
            logger.debug("%s: could not deliver a message: %s", self._server.name, error)


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
