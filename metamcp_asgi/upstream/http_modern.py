"""A modern server on Streamable HTTP: no session, only a place to post to.

Every request is a POST of its own; to cancel it is to close its response (T-12, T-30).
"""

import asyncio
import contextlib
import logging
from typing import Final

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
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream import modern
from metamcp_asgi.upstream.http import EventStream, message_of, post_headers
from metamcp_asgi.upstream.http1 import Response
from metamcp_asgi.upstream.modern import ModernLeg, failure_of
from metamcp_asgi.upstream.request import (
    ACKNOWLEDGED,
    CHANGES,
    Events,
    OnProgress,
    Peer,
    Request,
    SessionLost,
    progress_of,
)
from metamcp_asgi.upstream.runtime import Runtime

__all__ = ["ModernHTTP"]

logger = logging.getLogger("metamcp.upstream")

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


class ModernHTTP:
    """What ``Session`` promises, for a modern server over HTTP."""

    __slots__ = (
        "_events",
        "_http",
        "_last_id",
        "_leg",
        "_limit",
        "_listened",
        "_target",
        "_tasks",
        "listening",
        "peer",
    )

    def __init__(self, server: Server, runtime: Runtime, events: Events, peer: Peer) -> None:
        self.peer = peer
        self.listening = True
        self._listened = False
        self._events = events
        self._http = runtime.http
        self._limit = runtime.max_message_bytes
        self._target = runtime.http.target(server.url, post_headers(server, peer.revision))
        self._leg = ModernLeg()
        self._last_id = 0
        self._tasks = Tasks()
        if peer.changes():
            self._tasks.start(self._listen(), f"listen to {server.name}")

    async def send(self, request: Request) -> Outcome:
        """Send a request and return its outcome; see ``Session.send``."""
        self._last_id = number = self._last_id + 1
        leg = self._leg
        body = jsonrpc.request(number, request.method, leg.params(request, number))
        response = await self._http.send(self._target, b"POST", modern.request_headers(request), body)
        if not response.event_stream:
            if response.status in (400, 404, 405) and not _is_modern(response, number):
                raise SessionLost(f"no longer answers as a modern server (HTTP {response.status})")
            return leg.outcome(message_of(response))
        stream = EventStream(self._limit, lambda message: self._take(message, number, request.on_progress))
        reply = await stream.read(response, number)
        if reply is None:
            raise UpstreamUnavailable("closed the stream before the response", sent=True)
        return leg.outcome(reply)

    async def aclose(self) -> None:
        """Stop listening; there is nothing else to end."""
        await self._tasks.aclose()

    def _take(self, message: Message, number: int, on_progress: OnProgress | None) -> None:
        if message.method == "notifications/progress" and on_progress is not None:
            token, members = progress_of(message.params)
            if token == number:
                on_progress(members)
        elif message.method == ACKNOWLEDGED:
            for each in CHANGES.values() if self._listened else ():
                self._events.changed(each)
            self._listened = True
        elif message.method is not UNSET and (kind := CHANGES.get(message.method)) is not None:
            self._events.changed(kind)

    async def _listen(self) -> None:
        """Keep one stream of changes open."""
        attempt = 0
        while True:
            started = asyncio.get_running_loop().time()
            with contextlib.suppress(UpstreamError):
                if isinstance(await self.send(modern.listen(self.peer)), Failure):
                    logger.debug("A server announces changes but does not let us listen")
                    self.listening = False
                    return
            if asyncio.get_running_loop().time() - started > LISTEN_BACKOFF[-1]:
                attempt = 0
            await asyncio.sleep(LISTEN_BACKOFF[min(attempt, len(LISTEN_BACKOFF) - 1)])
            attempt += 1


def _is_modern(response: Response, number: int) -> bool:
    try:
        message = message_of(response)
    except UpstreamError:
        return False
    return message.id == number and (message.error is UNSET or failure_of(message.error).code in _MODERN_REFUSALS)
