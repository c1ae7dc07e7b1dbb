"""The listen stream of a modern server: kept open, and replaced when more or less is to be heard.

The filter of a stream cannot be changed, so one with the new filter is opened before the old one is closed. What the
old one still delivers then is told a little later, unless the new one tells the same (eras.md 2.10).
Knows no transport.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from metamcp_asgi.errors import UpstreamError, UpstreamUnavailable
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS
from metamcp_asgi.protocol.outcome import Failure, Outcome
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream import modern
from metamcp_asgi.upstream.request import ACKNOWLEDGED, CHANGES, UPDATED, Events, Peer, Request, uri_of

__all__ = ["Listener", "Take"]

logger = logging.getLogger("metamcp.upstream")

Take = Callable[[str, Raw | UnsetType], None]
"""Gets method and params of each notification of one stream."""
_Happened = tuple[str, str | None]


class Listener:
    """What a modern server tells outside of requests.

    Args:
        peer: The server.
        listen: Sends a listen request and returns its outcome at the stream's end; cancelling it closes the stream.
        events: Is told what happens.
        backoff: Seconds before a stream that ended is opened again; the last one counts for all further times.
        linger: Seconds for which a stream is still heard after its successor was acknowledged, for what is under way;
            0 where all streams come in one order.
    """

    def __init__(
        self,
        peer: Peer,
        listen: Callable[[Request, Take], Awaitable[Outcome]],
        events: Events,
        backoff: Sequence[float],
        linger: float,
    ) -> None:
        self.listening = True
        self._peer = peer
        self._listen = listen
        self._events = events
        self._backoff = backoff
        self._linger = linger
        self._uris: frozenset[str] = frozenset()
        self._stream: _Stream | None = None
        self._last: _Stream | None = None
        self._told: set[_Happened] = set()
        self._late: set[_Happened] = set()
        self._heard = False
        self._keeper: asyncio.Task[None] | None = None
        self._tasks = Tasks()
        if peer.changes():
            self._keeper = self._tasks.start(self._keep(), "listen for changes")

    async def watch(self, uris: frozenset[str]) -> Mapping[str, Failure]:
        """Hear of updates of exactly these resources; see ``Session.watch``. Not to be called concurrently."""
        old = self._stream
        if not uris and not self._peer.changes():
            self._uris, self._stream, self._heard = uris, None, False
            if old is not None:
                old.task.cancel()
            return {}
        new = self._open(uris)
        try:
            refused = await self._acknowledged(new, uris)
        except BaseException:
            new.task.cancel()
            raise
        if not new.honoured.done():
            return refused
        self._uris, self.listening = uris - refused.keys(), True
        if self._keeper is None or self._keeper.done():
            self._keeper = self._tasks.start(self._keep(), "listen for changes")
        return refused

    async def aclose(self) -> None:
        """Close what is open."""
        await self._tasks.aclose()

    async def _acknowledged(self, stream: "_Stream", uris: frozenset[str]) -> Mapping[str, Failure]:
        both: set[asyncio.Future[Any]] = {stream.honoured, stream.task}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if stream.honoured.done():
            honoured = stream.honoured.result()
            text = "The server does not tell of updates of this resource"
            return {uri: Failure(INVALID_PARAMS, text, {"uri": uri}) for uri in uris - honoured}
        outcome = None if stream.task.cancelled() else stream.task.result()
        if isinstance(outcome, Failure):
            return dict.fromkeys(uris - self._uris, outcome)
        raise UpstreamUnavailable(stream.broken or "ended the stream on which it tells of changes", sent=True)

    async def _keep(self) -> None:
        """See that a stream is open for as long as there is something to hear."""
        attempt, loop = 0, asyncio.get_running_loop()
        while self._peer.changes() or self._uris:
            stream = self._stream
            if stream is None or stream.task.done():
                stream = self._stream = self._open(self._uris)
            started = loop.time()
            await asyncio.wait({stream.task})
            if self._stream is not stream:
                continue
            if isinstance(stream.task.result(), Failure):
                logger.debug("A server announces changes but does not let us listen")
                self.listening = False
                return
            attempt = 0 if loop.time() - started > self._backoff[-1] else attempt
            await asyncio.sleep(self._backoff[min(attempt, len(self._backoff) - 1)])
            attempt += 1

    def _open(self, uris: frozenset[str]) -> "_Stream":
        stream = _Stream()
        stream.task = self._tasks.start(self._read(stream, uris), "listen")
        return stream

    async def _read(self, stream: "_Stream", uris: frozenset[str]) -> Outcome | None:
        try:
            request = modern.listen(self._peer, uris)
            return await self._listen(request, lambda method, params: self._take(stream, uris, method, params))
        except UpstreamError as error:
            stream.broken = str(error)
            return None

    def _take(self, stream: "_Stream", uris: frozenset[str], method: str, params: Raw | UnsetType) -> None:
        if method == ACKNOWLEDGED:
            if not stream.honoured.done():
                stream.honoured.set_result(_honoured(params))
                self._replace(stream, uris)
            return
        happened = (method, uri_of(params) if method == UPDATED else None)
        if stream is self._stream:
            if self._last is not None:
                self._told.add(happened)
            self._tell(happened)
        elif stream is self._last:
            self._late.add(happened)

    def _tell(self, happened: "_Happened") -> None:
        method, uri = happened
        if (kind := CHANGES.get(method)) is not None:
            self._events.changed(kind)
        elif uri is not None:
            self._events.updated(uri)

    def _replace(self, stream: "_Stream", uris: frozenset[str]) -> None:
        """Take an acknowledged stream for the current one, and say so if there was none for a while before it."""
        old, self._stream = self._stream, stream
        if old is not None and old is not stream and not old.task.done():
            self._last, self._told, self._late = old, set(), set()
            self._tasks.start(self._retire(old), "close a listen stream")
        elif self._heard:
            for kind in CHANGES.values():
                self._events.changed(kind)
            for uri in uris:
                self._events.updated(uri)
        self._heard = True

    async def _retire(self, stream: "_Stream") -> None:
        """Close a stream that has a successor, and tell what it alone has told meanwhile."""
        try:
            if self._linger:
                await asyncio.sleep(self._linger)
        finally:
            stream.task.cancel()
        if self._last is stream:
            self._last = None
            for happened in self._late - self._told:
                self._tell(happened)


class _Stream:
    """One listen request, and what the server has acknowledged of it."""

    __slots__ = ("broken", "honoured", "task")

    task: asyncio.Task[Outcome | None]

    def __init__(self) -> None:
        self.broken = ""
        self.honoured: asyncio.Future[frozenset[str]] = asyncio.get_running_loop().create_future()


def _honoured(params: Raw | UnsetType) -> frozenset[str]:
    try:
        told = msgspec.json.decode(b"{}" if params is UNSET else params, type=_Acknowledged)
    except msgspec.DecodeError:
        return frozenset()
    return frozenset(told.notifications.resourceSubscriptions or ())


class _Filter(Struct, frozen=True):
    resourceSubscriptions: list[str] | None = None  # noqa: N815


class _Acknowledged(Struct):
    notifications: _Filter = _Filter()
