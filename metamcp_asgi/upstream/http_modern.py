"""A modern server on Streamable HTTP: no session, only a place to post to.

Every request is a POST of its own; to cancel it is to close its response (T-12, T-30).
"""

import secrets
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from msgspec import UNSET

from metamcp_asgi.config.snapshot import Server
from metamcp_asgi.errors import UpstreamError, UpstreamUnavailable
from metamcp_asgi.protocol import jsonrpc
from metamcp_asgi.protocol.jsonrpc import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    PARSE_ERROR,
    UNSUPPORTED_VERSION,
    Message,
)
from metamcp_asgi.protocol.outcome import Failure, Outcome
from metamcp_asgi.upstream import logs, modern
from metamcp_asgi.upstream.http import EventStream, message_of, post_headers
from metamcp_asgi.upstream.http1 import Response
from metamcp_asgi.upstream.listening import Listener, Take
from metamcp_asgi.upstream.modern import ModernLeg, failure_of
from metamcp_asgi.upstream.request import LOGGED, Events, Peer, Request, SessionLost, progress_of
from metamcp_asgi.upstream.runtime import Runtime

__all__ = ["ModernHTTP"]

_MODERN_REFUSALS: Final = frozenset(
    {
        PARSE_ERROR,
        METHOD_NOT_FOUND,
        INVALID_PARAMS,
        INTERNAL_ERROR,
        HEADER_MISMATCH,
        MISSING_CAPABILITY,
        UNSUPPORTED_VERSION,
    }
)
"""The codes with which a modern server refuses what we send; others with such a status tell of another server."""

LISTEN_BACKOFF = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before a listen stream that ended is opened again; the last one counts for all further times."""
LINGER = 0.5
"""Seconds for which a stream is still read after its successor was acknowledged on another connection."""


class ModernHTTP:
    """What ``Session`` promises, for a modern server over HTTP."""

    __slots__ = (
        "_http",
        "_last_id",
        "_leg",
        "_limit",
        "_listener",
        "_target",
        "correlates",
        "peer",
    )

    def __init__(self, server: Server, runtime: Runtime, events: Events, peer: Peer) -> None:
        self.peer = peer
        self.correlates = True
        self._http = runtime.http
        self._limit = runtime.max_message_bytes
        self._target = runtime.http.target(server.url, post_headers(server, peer.revision))
        self._leg = ModernLeg()
        # Another process may repeat a call of this one, and a request must not have the id of the one before (MR-06).
        self._last_id = secrets.randbits(32)
        self._listener = Listener(peer, self._send, events, LISTEN_BACKOFF, LINGER)

    @property
    def listening(self) -> bool:
        """Whether the server can tell of changes; see ``Session``."""
        return self._listener.listening

    def send(self, request: Request) -> Coroutine[Any, Any, Outcome]:
        """Send a request and return its outcome; see ``Session.send``."""
        return self._send(request, request.on_event)

    async def watch(self, uris: frozenset[str]) -> Mapping[str, Failure]:
        """Be told of updates of exactly these resources; see ``Session.watch``."""
        return await self._listener.watch(uris)

    def roots_changed(self) -> None:
        """Nothing to tell: a modern server asks with each call."""

    async def aclose(self) -> None:
        """Stop listening; there is nothing else to end."""
        await self._listener.aclose()

    async def _send(self, request: Request, take: Take | None) -> Outcome:
        self._last_id = number = self._last_id + 1
        leg = self._leg
        body = jsonrpc.request(number, request.method, leg.params(request, number))
        response = await self._http.send(self._target, b"POST", modern.request_headers(request), body)
        if not response.event_stream:
            if response.status in (400, 404, 405) and not _is_modern(response, number):
                raise SessionLost(f"no longer answers as a modern server (HTTP {response.status})")
            return leg.outcome(message_of(response), request)
        stream = EventStream(self._limit, lambda message: self._take(message, number, request, take))
        reply = await stream.read(response, number)
        if reply is None:
            raise UpstreamUnavailable("closed the stream before the response", sent=True)
        return leg.outcome(reply, request)

    @staticmethod
    def _take(message: Message, number: int, request: Request, take: Take | None) -> None:
        method = message.method
        if method is UNSET or message.id is not UNSET:
            # A modern server asks nothing in this way (T-07).
            return
        if take is not None:
            take(method, message.params)
        elif method == "notifications/progress" and request.on_progress is not None:
            token, members = progress_of(message.params)
            if token == number:
                request.on_progress(members)
        elif method == LOGGED and request.log_level is not None:
            # It belongs to the request on whose stream it comes, and without a level there must be none (LO-01).
            logs.pass_on(request, message.params)


def _is_modern(response: Response, number: int) -> bool:
    try:
        message = message_of(response)
    except UpstreamError:
        return False
    return message.id == number and (message.error is UNSET or failure_of(message.error).code in _MODERN_REFUSALS)
