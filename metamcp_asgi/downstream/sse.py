"""HTTP+SSE, the transport of 2024-11-05: a stream on which everything is told, and a URL to which everything is POSTed.

A session is its stream: it begins and ends with it, and lives in the process that serves it; a message that is POSTed
to another process is sent there. Deprecated since 2025-03-26, and still what many clients speak (T-80, T-81).
Source: MCP 2024-11-05 basic/transports.mdx "HTTP with SSE".
"""

import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Final
from urllib.parse import parse_qs, quote

import msgspec
from msgspec import UNSET, Struct
from starlette.types import Receive, Scope, Send

from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.asgi.answers import send_refusal
from metamcp_asgi.bus.protocol import Bus, BusUnavailable, CallFailed, MessageTooLarge, OwnerLost
from metamcp_asgi.config.snapshot import ANONYMOUS, Endpoint, Principal
from metamcp_asgi.downstream.handshake import read_handshake
from metamcp_asgi.downstream.identity import initialize_result
from metamcp_asgi.downstream.inbound import Headers, read_headers
from metamcp_asgi.downstream.intake import Intake, check_request
from metamcp_asgi.downstream.legacy import changes_to
from metamcp_asgi.downstream.legacy_requests import MAX_BATCH, Caller, LegacyRequests
from metamcp_asgi.downstream.reply import send_message
from metamcp_asgi.downstream.sessions import ClientSession
from metamcp_asgi.downstream.streams import Put, Streams
from metamcp_asgi.downstream.subscriptions import Subscriptions
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol import jsonrpc
from metamcp_asgi.protocol.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST, Message, RequestId
from metamcp_asgi.protocol.sealed import KeyRing
from metamcp_asgi.protocol.sse import frame
from metamcp_asgi.tasks import Tasks

__all__ = ["HTTPWithSSE"]

logger = logging.getLogger("metamcp")

MAX_AT_ONCE: Final = 256
"""Messages of one session that may be worked on at a time; those of a batch count one by one."""

_KIND: Final = "legacy.message"
_TAKEN: Final = b"202"
_BUSY: Final = b"503"
_UNKNOWN: Final = b"404"
_TOO_LARGE: Final = b"413"
_TEXTS: Final = {
    _TAKEN: b"Accepted",
    _UNKNOWN: b"Session not found",
    _TOO_LARGE: b"The message is too large for another process",
    _BUSY: b"Try again later",
}


class _StreamId(Struct, frozen=True, array_like=True):
    """What the id in the URL of a session carries; ``owner`` is the process that serves its stream."""

    sid: bytes
    endpoint: str
    principal: str
    owner: str


class _Posted(Struct, array_like=True):
    """A message on its way to the process that serves the stream of its session."""

    stream: _StreamId
    headers: Mapping[bytes, bytes]
    body: bytes


class HTTPWithSSE:
    """The ASGI applications behind ``/metamcp/{endpoint}/sse`` and ``/metamcp/{endpoint}/message``.

    Args:
        aggregator: The core.
        requests: Answers the messages of a session.
        subscriptions: What sessions have subscribed to.
        keys: Seal the ids of sessions.
        streams: The open streams.
        intake: Reads messages.
        bus: Leads to the other processes.
    """

    def __init__(
        self,
        aggregator: Aggregator,
        requests: LegacyRequests,
        subscriptions: Subscriptions,
        keys: KeyRing,
        streams: Streams,
        intake: Intake,
        bus: Bus,
    ) -> None:
        self._aggregator = aggregator
        self._requests = requests
        self._subscriptions = subscriptions
        self._sealer = keys.sealer("e1", _StreamId)
        self._streams = streams
        self._intake = intake
        self._bus = bus
        self._open: dict[_StreamId, _Session] = {}
        bus.serve(_KIND, self._arrived)

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer ``GET .../sse``: a session, as long as the client stays."""
        if scope["method"] != "GET":
            await _method_not_allowed(scope, send, b"GET")
            return
        endpoint: Endpoint = scope["metamcp.endpoint"]
        principal: Principal = scope.get("metamcp.principal", ANONYMOUS)
        if self._streams.full(endpoint.name, principal):
            body = {"error": "Too many open streams", "message": "Try again later"}
            await send_refusal(scope, send, 503, body, [(b"retry-after", b"5")])
            return
        logger.debug("Endpoint %s: a client uses HTTP+SSE, which is deprecated", endpoint.name)
        stream_id = _StreamId(os.urandom(16), endpoint.name, principal.id, self._bus.name)
        session = _Session(self._requests, self._intake, endpoint, principal, stream_id.sid, self._instructions)
        self._open[stream_id] = session

        def subscribe(put: Put) -> Callable[[], None]:
            session.put = put
            return self._aggregator.listen(endpoint.name, principal, changes_to(put))

        url = f"{_beside(scope)}/message?sessionId={self._sealer.seal(stream_id)}"
        first = b"event: endpoint\r\ndata: %b\r\n\r\n" % url.encode()
        try:
            await self._streams.serve(
                receive, send, subscribe, whose=(endpoint.name, principal), key=stream_id.sid, first=[first]
            )
        finally:
            del self._open[stream_id]
            self._subscriptions.end(stream_id.sid)
            await session.aclose()

    async def message(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer ``POST .../message``: take what the client says, to be answered on its stream."""
        if scope["method"] != "POST":
            await _method_not_allowed(scope, send, b"POST")
            return
        headers = read_headers(scope["headers"])
        if self._intake.refuses(headers):
            await self._intake.refuse(send)
            return
        given = parse_qs(scope.get("query_string", b"")).get(b"sessionId", [])
        if len(given) != 1:
            body = {"error": "Missing sessionId", "message": "POST to the URL that the stream began with"}
            await send_refusal(scope, send, 400, body)
            return
        endpoint: Endpoint = scope["metamcp.endpoint"]
        principal: Principal = scope.get("metamcp.principal", ANONYMOUS)
        stream_id = self._sealer.open(given[0])
        # Unknown, ended and somebody else's look all the same.
        if stream_id is None or (stream_id.endpoint, stream_id.principal) != (endpoint.name, principal.id):
            await _answer(send, _UNKNOWN)
            return
        posted = await self._intake.body(headers, receive, send)
        if posted is not None:
            await self._take(stream_id, headers, posted, send)

    async def _take(self, stream_id: _StreamId, headers: Headers, body: bytes, send: Send) -> None:
        try:
            message = self._intake.parse(body)
            for each in message if isinstance(message, list) else [message]:
                if each.method is not UNSET:
                    check_request(each)
        except ProtocolError as error:
            await send_message(send, 400, jsonrpc.error_response(None, error.code, error.message, error.data))
            return
        if stream_id.owner == self._bus.name:
            session = self._open.get(stream_id)
            await _answer(send, session.take(message, headers.values) if session is not None else _UNKNOWN)
            return
        if self._bus.alone:
            await _answer(send, _UNKNOWN)
            return
        posted = msgspec.msgpack.encode(_Posted(stream_id, headers.values, body))
        try:
            async with contextlib.aclosing(self._bus.call(stream_id.owner, _KIND, posted)) as frames:
                status = await anext(frames)
        except OwnerLost:
            status = _UNKNOWN
        except MessageTooLarge:
            status = _TOO_LARGE
        except (BusUnavailable, CallFailed):
            status = _BUSY
        await _answer(send, status)

    async def _arrived(self, message: bytes) -> AsyncIterator[bytes]:
        posted = msgspec.msgpack.decode(message, type=_Posted)
        session = self._open.get(posted.stream)
        yield session.take(self._intake.parse(posted.body), posted.headers) if session is not None else _UNKNOWN

    def _instructions(self, endpoint: str) -> str:
        return self._aggregator.instructions(endpoint)


class _Session:
    """One session: what it works on, and where its client reads."""

    def __init__(
        self,
        requests: LegacyRequests,
        intake: Intake,
        endpoint: Endpoint,
        principal: Principal,
        sid: bytes,
        instructions: Callable[[str], str],
    ) -> None:
        self._requests = requests
        self._intake = intake
        self._endpoint = endpoint
        self._principal = principal
        self._sid = sid
        self._instructions = instructions
        self._session: ClientSession | None = None
        self._tasks = Tasks()
        self._busy = 0
        self.put: Put | None = None

    def take(self, message: Message | list[Message], headers: Mapping[bytes, bytes]) -> bytes:
        """Begin to work on what was POSTed; return the status of that."""
        # A batch that is larger is refused, and so no work.
        weight = min(len(message), MAX_BATCH) or 1 if isinstance(message, list) else 1
        if self.put is None or self._busy + weight > MAX_AT_ONCE:
            return _BUSY
        self._busy += weight
        task = self._tasks.start(self._work(message, headers, _Outlet(self.put)), "HTTP+SSE message")
        task.add_done_callback(lambda _: self._done(weight))
        return _TAKEN

    def _done(self, weight: int) -> None:
        self._busy -= weight

    async def aclose(self) -> None:
        """Stop all work: nobody can read its results any more."""
        await self._tasks.aclose()

    async def _work(self, message: Message | list[Message], headers: Mapping[bytes, bytes], outlet: "_Outlet") -> None:
        try:
            if self._session is None:
                await self._open(message, outlet)
                return
            caller = Caller(self._endpoint, self._principal, self._session, headers)
            if isinstance(message, list):
                await self._requests.batch(caller, message, outlet)
            elif message.method is UNSET:
                await self._requests.responded(caller, message)
            elif isinstance(message.id, int | str):
                await self._requests.request(caller, message, message.id, outlet)
            else:
                await self._requests.notified(caller, message)
        except ProtocolError as error:
            await outlet.finish(400, jsonrpc.error_response(None, error.code, error.message))
        except BusUnavailable as error:
            # Only for what is not in this process, and then it is of no other session than this: too late, or unknown.
            logger.debug("A message of a session over HTTP+SSE has come too late: %s", error)
            await outlet.fail(message)
        except Exception:
            # A defect, but the client waits for what it has asked.
            logger.exception("A message of a session over HTTP+SSE could not be answered")
            await outlet.fail(message)

    async def _open(self, message: Message | list[Message], outlet: "_Outlet") -> None:
        """Shake hands, before which there is nothing to be answered but a ping."""
        if isinstance(message, list) or message.method is UNSET or not isinstance(message.id, int | str):
            return
        await outlet.finish(200, self._handshake(message, message.id))

    def _handshake(self, message: Message, request_id: RequestId) -> bytes:
        if message.method == "ping":
            return jsonrpc.response(request_id, b"{}")
        try:
            if message.method != "initialize":
                raise ProtocolError(INVALID_REQUEST, "The session has not been initialized")
            params = jsonrpc.decode_client(message.params) if message.params is not UNSET else {}
            revision, capabilities = read_handshake(params)
        except ProtocolError as error:
            return jsonrpc.error_response(request_id, error.code, error.message, error.data)
        except msgspec.ValidationError:
            return jsonrpc.error_response(request_id, INVALID_REQUEST, "params must be an object")
        self._session = ClientSession(
            self._sid, self._endpoint.name, self._principal.id, revision, int(time.time()), capabilities
        )
        return jsonrpc.response(request_id, initialize_result(revision, self._instructions(self._endpoint.name)))


class _Outlet:
    """Where the client of a session reads: the one stream, whatever it has asked."""

    __slots__ = ("_put",)

    def __init__(self, put: Put) -> None:
        self._put = put

    def notify(self, message: bytes) -> None:
        self._put(frame(message), spare=True)

    def ask(self, message: bytes) -> None:
        self._put(frame(message))

    def hold(self, gone: Callable[[], None]) -> Callable[[], None]:
        return _nothing  # with its client, the whole session goes

    async def finish(
        self, status: int, body: bytes, rest: bytes = b"", headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        await self._put.place(frame(body + rest))

    async def fail(self, message: Message | list[Message]) -> None:
        """Answer what was asked, if anything was, with what no answer can be given for."""
        several = message if isinstance(message, list) else [message]
        asked = [each.id for each in several if each.method is not UNSET and each.id is not UNSET]
        errors = b",".join(jsonrpc.error_response(each, INTERNAL_ERROR, "Internal error") for each in asked)
        if errors:
            await self.finish(500, errors if several is not message else b"[%b]" % errors)

    async def finish_silently(self) -> None:
        pass

    async def abandon(self) -> None:
        pass


def _beside(scope: Scope) -> str:
    """Return the path below which the leaf is, as the client sees it."""
    path, root = scope["path"], scope.get("root_path", "")
    if root and not (path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/")):
        path = root + path
    return quote(path.rstrip("/").rpartition("/")[0])


def _nothing() -> None:
    pass


async def _answer(send: Send, status: bytes) -> None:
    headers = [(b"retry-after", b"5")] if status == _BUSY else []
    await send_message(send, int(status), _TEXTS[status], headers, kind=b"text/plain; charset=utf-8")


async def _method_not_allowed(scope: Scope, send: Send, allowed: bytes) -> None:
    body = {"error": "Method not allowed", "message": f"This URL takes {allowed.decode()} here"}
    await send_refusal(scope, send, 405, body, [(b"allow", allowed)])
