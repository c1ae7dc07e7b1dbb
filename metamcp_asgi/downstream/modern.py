"""The client-facing leg of the modern revisions: every request is judged alone, by what it declares itself.

The order in which a request can fail is the specification's and the conformance suite's (eras.md 2.1, step 6).
"""

import asyncio
from collections.abc import Awaitable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, TypeAlias

import msgspec
from msgspec import Raw
from starlette.types import Receive, Send

from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.page import Page
from metamcp_asgi.config.snapshot import Endpoint, Principal
from metamcp_asgi.downstream.identity import SERVER_INFO_JSON, discover_result
from metamcp_asgi.downstream.inbound import Headers
from metamcp_asgi.downstream.inputs import input_required, read_capabilities, really_lacks, take_inputs
from metamcp_asgi.downstream.listen import serve_listen
from metamcp_asgi.downstream.log_relay import LogRelay, read_level
from metamcp_asgi.downstream.progress import ProgressRelay
from metamcp_asgi.downstream.reply import Reply, send_empty, send_message
from metamcp_asgi.downstream.statuses import later
from metamcp_asgi.downstream.streams import Streams
from metamcp_asgi.errors import MetaMCPError, ProtocolError
from metamcp_asgi.protocol import hops, jsonrpc, meta, trace
from metamcp_asgi.protocol.headers import matches
from metamcp_asgi.protocol.jsonrpc import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    PARSE_ERROR,
    UNSUPPORTED_VERSION,
    Members,
    RequestId,
)
from metamcp_asgi.protocol.outcome import Failure, InputRequired, Result, internal
from metamcp_asgi.protocol.revisions import ALL, MIRRORED, MODERN, MODERN_METHODS, NAME_OF
from metamcp_asgi.timers import Delay, Delayed

__all__ = ["ModernLeg"]

_VERSION: Final = {jsonrpc.encode(version): version for version in MODERN}
"""The usual versions by their JSON."""

_AS_SENT: Final = {text: text.encode() for text in (*MODERN, *MODERN_METHODS)}
"""What clients mirror in headers, as they send it."""

_BOTH_FORMS: Final = b"application/json, text/event-stream"
"""The ``Accept`` of nearly all clients."""

WATCH_AFTER: Final = 0.05
"""Seconds before a request's client is watched for leaving. A call that ends sooner is spared the cost; a client that
left meanwhile is noticed all the same."""

_SILENT: Final = nullcontext()
"""In place of the progress of a call whose client wants none."""

_NOT_CACHEABLE: Final[Members] = {"ttlMs": Raw(b"0"), "cacheScope": Raw(b'"private"')}
"""What a cacheable result says where its server said nothing (CA-01, CA-08)."""

_STATUS: Final = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    HEADER_MISMATCH: 400,
    MISSING_CAPABILITY: 400,
    UNSUPPORTED_VERSION: 400,
    METHOD_NOT_FOUND: 404,
}
"""Where the specification demands a status; every other error is a 200, because a 400 that is not one of these would
send some clients back to ``initialize`` (eras.md 5-A)."""


_Answer: TypeAlias = tuple[int, bytes, bytes, Iterable[tuple[bytes, bytes]]]


class ModernLeg:
    """Answers modern requests of every endpoint.

    Args:
        aggregator: The core.
        streams: The open streams.
        keepalive: Seconds of silence before a comment is sent.
        baggage: Whether servers are told the ``baggage`` of a client's trace.
        drives: Whether the tasks on which servers insist are followed for clients that do not declare the extension.
    """

    def __init__(
        self,
        aggregator: Aggregator,
        streams: Streams,
        keepalive: float,
        *,
        baggage: bool = False,
        drives: bool = True,
    ) -> None:
        self._aggregator = aggregator
        self._drives = drives
        self._baggage = baggage
        self._streams = streams
        self._keepalive = keepalive
        self._watch_after = Delay(WATCH_AFTER)

    def handle(
        self,
        endpoint: Endpoint,
        principal: Principal,
        headers: Headers,
        method: str,
        request_id: RequestId | None,
        params: Members,
        fields: Members | None,
        receive: Receive,
        send: Send,
    ) -> Awaitable[None]:
        """Answer one POST; a plain call, which costs no coroutine of its own.

        Args:
            endpoint: Where it came in.
            principal: Who sent it.
            headers: Its headers.
            method: The method in its body.
            request_id: The id in its body, ``None`` for a notification.
            params: The params in its body, without ``_meta``.
            fields: The members of ``_meta``; ``None`` when it is no object.
            receive: The ASGI channel.
            send: The ASGI channel.
        """
        try:
            _check_accept(headers)
            if request_id is None:
                _check_notification(headers)
                return send_empty(send, 202)
            call, declared = _read(endpoint, principal, headers, method, params, fields, baggage=self._baggage)
        except NotAcceptable as error:
            return send_message(send, 406, jsonrpc.error_response(request_id, INVALID_REQUEST, str(error)))
        except ProtocolError as error:
            status = 400 if error.code == INVALID_PARAMS else _STATUS.get(error.code, 200)
            return send_message(send, status, jsonrpc.error_response(request_id, error.code, error.message, error.data))
        if method == "subscriptions/listen":
            return serve_listen(self._aggregator, self._streams, call, request_id, receive, send)
        return self._serve(call, request_id, declared, receive, send)

    async def _serve(self, call: Call, request_id: RequestId, declared: Raw, receive: Receive, send: Send) -> None:
        reply = Reply(send, self._keepalive)
        progress: AbstractContextManager[None] = _SILENT
        if (token := call.meta.pop(meta.PROGRESS_TOKEN, None)) is not None:
            call.on_progress = progress = ProgressRelay(token, reply)
        if call.log_level is not None:
            call.on_log = LogRelay(call.log_level, reply)
        if not self._drives:
            call.drives = call.capabilities.tasks
        watch = _Watch(receive, reply, self._watch_after)
        try:
            with progress:
                status, body, rest, headers = await self._answer(call, request_id, declared)
            watch.stop()
            await reply.finish(status, body, rest, headers)
        except asyncio.CancelledError:
            if not watch.gone:
                raise
            # The client closed its stream, which cancels the request and nothing else (T-12).
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
        finally:
            watch.stop()
            await reply.abandon()

    async def _answer(self, call: Call, request_id: RequestId, declared: Raw) -> _Answer:
        """Return the status of the response, its body in two parts, and its further headers."""
        if call.method == "server/discover":
            private = call.principal.kind != "anonymous"
            result = discover_result(self._aggregator.instructions(call.endpoint), private=private)
            return 200, jsonrpc.response(request_id, result), b"", ()
        try:
            outcome = await self._aggregator.call(call)
        except ProtocolError as error:
            outcome = Failure(error.code, error.message, error.data)
        if isinstance(outcome, Result):
            members = outcome.split()
            if call.method == "resources/read":
                members = {**_NOT_CACHEABLE, **members}
            return 200, jsonrpc.response(request_id, meta.modern_result(members, SERVER_INFO_JSON)), b"", ()
        if isinstance(outcome, Page):
            return 200, jsonrpc.response_head(request_id) + outcome.modern_head(), outcome.modern_tail, ()
        if isinstance(outcome, InputRequired):
            return 200, jsonrpc.response(request_id, input_required(outcome)), b"", ()
        if outcome.code == MISSING_CAPABILITY and not really_lacks(declared, outcome):
            outcome = internal("The server needs a client capability that this gateway does not relay", outcome)
        body = jsonrpc.error_response(request_id, outcome.code, outcome.message, outcome.data)
        if (passing := later(outcome)) is not None:
            status, headers = passing
            return status, body, b"", headers
        return _STATUS.get(outcome.code, 200), body, b"", ()


class NotAcceptable(MetaMCPError):
    """The client cannot read one of the two forms that a response may take (T-06, T-30)."""


class _Watch(Delayed):
    """Cancels the task that serves a request when its client leaves, and keeps the connection alive until then."""

    __slots__ = ("_receive", "_reply", "_serving", "_task", "gone")

    def __init__(self, receive: Receive, reply: Reply, delay: Delay) -> None:
        self.gone = False
        self._receive = receive
        self._reply = reply
        self._serving = delay.current_task()
        self._task: asyncio.Task[None] | None = None
        delay.start(self)

    def stop(self) -> None:
        self.cancel()
        if self._task is not None:
            self._task.cancel()

    def happen(self) -> None:
        self._task = asyncio.create_task(self._run(), name="watch client")
        self._reply.keep_alive()

    async def _run(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._serving.cancel()


def _check_accept(headers: Headers) -> None:
    accept = headers.values.get(b"accept", b"")
    if accept == _BOTH_FORMS:
        return
    accept = accept.lower()
    if not (b"application/json" in accept and b"text/event-stream" in accept) and b"*/*" not in accept:
        raise NotAcceptable("Accept must list both application/json and text/event-stream")


def _check_notification(headers: Headers) -> None:
    """Nothing that a modern client can notify of concerns us; only the version that brought it here is checked."""
    requested = headers.values.get(b"mcp-protocol-version", b"").decode("latin-1")
    if requested and requested not in ALL:
        raise _unsupported(requested)


def _read(
    endpoint: Endpoint,
    principal: Principal,
    headers: Headers,
    method: str,
    params: Members,
    fields: Members | None,
    *,
    baggage: bool,
) -> tuple[Call, Raw]:
    """Return the call, and the capabilities that its client declared.

    Raises:
        ProtocolError: The first thing that is wrong with the request.
    """
    if headers.repeated:
        raise ProtocolError(HEADER_MISMATCH, f"Header {headers.repeated.decode()} is sent more than once")
    if fields is None:
        raise ProtocolError(INVALID_PARAMS, "params._meta must be an object")
    if meta.PROTOCOL_VERSION not in fields or meta.CLIENT_CAPABILITIES not in fields:
        missing = [key for key in (meta.PROTOCOL_VERSION, meta.CLIENT_CAPABILITIES) if key not in fields]
        raise ProtocolError(INVALID_PARAMS, f"params._meta lacks {' and '.join(missing)}")
    version = _VERSION.get(bytes(fields[meta.PROTOCOL_VERSION]))
    if version is None:
        version = _text(fields[meta.PROTOCOL_VERSION], meta.PROTOCOL_VERSION)
    target = _target(method, params)
    _check_mirrors(headers, version, method, target)
    if version not in MODERN:
        raise _unsupported(version)
    if method not in MODERN_METHODS:
        raise ProtocolError(METHOD_NOT_FOUND, f"Method not found: {method}")
    passed = fields.pop(hops.HOPS, None)
    declared = fields[meta.CLIENT_CAPABILITIES]
    able = read_capabilities(declared, meta.CLIENT_CAPABILITIES)
    level = read_level(fields[meta.LOG_LEVEL]) if meta.LOG_LEVEL in fields else None
    # Those of tasks/update are for the task's server.
    inputs = take_inputs(params) if method != "tasks/update" else None
    if inputs is not None and method not in NAME_OF:
        raise ProtocolError(INVALID_PARAMS, f"{method} takes neither requestState nor inputResponses")
    traced, parent = b"", ""
    if trace.carried(fields, headers.values):
        parent = trace.parent_of(fields, headers.values)
        traced = trace.onward(fields, headers.values, baggage=baggage)
    call = Call(
        endpoint=endpoint.name,
        principal=principal,
        method=method,
        params=params,
        meta=meta.end_to_end(fields),
        target=target or "",
        mirrored=headers.params,
        capabilities=able,
        inputs=inputs,
        log_level=level,
        trace=traced,
        parent=parent,
    )
    if passed is not None or hops.HEADER in headers.values:
        call.hops = hops.read(passed, headers.values.get(hops.HEADER))
    return call, declared


def _check_mirrors(headers: Headers, version: str, method: str, target: str | None) -> None:
    sent = headers.values
    for header, expected in ((b"mcp-protocol-version", version), (b"mcp-method", method), (b"mcp-name", target)):
        if expected is None:
            continue
        value = sent.get(header)
        if value is None:
            raise ProtocolError(HEADER_MISMATCH, f"Header {header.decode()} is missing")
        if value != _AS_SENT.get(expected) and not matches(value, expected):
            raise ProtocolError(HEADER_MISMATCH, f"Header {header.decode()} does not match the request body")


def _target(method: str, params: Members) -> str | None:
    """Return what the request is about, where its method is about one thing."""
    member = MIRRORED.get(method)
    if member is None:
        return None
    if member not in params:
        raise ProtocolError(INVALID_PARAMS, f"params.{member} is missing")
    return _text(params[member], f"params.{member}")


def _text(value: Raw, where: str) -> str:
    try:
        return msgspec.json.decode(value, type=str)
    except msgspec.ValidationError:
        raise ProtocolError(INVALID_PARAMS, f"{where} must be a string") from None


def _unsupported(version: str) -> ProtocolError:
    # Only what a modern request can declare: a client that took a legacy one from here would loop (eras.md 5-K).
    data = {"supported": MODERN, "requested": version}
    hint = "; it needs an initialize handshake" if version in ALL else ""
    return ProtocolError(UNSUPPORTED_VERSION, f"Unsupported protocol version{hint}", data)
