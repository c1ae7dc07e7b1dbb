"""The client-facing leg of the legacy revisions: a handshake, then a session that its id carries.

Source: MCP 2025-11-25 basic/lifecycle.mdx and basic/transports.mdx (T-50 to T-60).
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import UNSET, Raw
from starlette.types import Receive, Scope, Send

from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.page import Page
from metamcp_asgi.asgi.answers import send_refusal
from metamcp_asgi.config.snapshot import Endpoint, Principal
from metamcp_asgi.downstream.identity import initialize_result
from metamcp_asgi.downstream.inbound import Headers
from metamcp_asgi.downstream.progress import ProgressRelay
from metamcp_asgi.downstream.reply import Reply, send_empty, send_message
from metamcp_asgi.downstream.sessions import ClientSession, ClientSessions
from metamcp_asgi.downstream.streams import Streams
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol import hops, jsonrpc, meta
from metamcp_asgi.protocol.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    RESOURCE_NOT_FOUND,
    Members,
    Message,
    RequestId,
)
from metamcp_asgi.protocol.outcome import Failure, tool_error
from metamcp_asgi.protocol.revisions import BATCHES, LEGACY, LISTS, NAME_OF, negotiate
from metamcp_asgi.protocol.sse import frame
from metamcp_asgi.upstream.request import CHANGES, Change

__all__ = ["LegacyLeg"]

_METHOD_OF: Final = {kind: method for method, kind in CHANGES.items()}
_EMPTY: Final = b"{}"


class LegacyLeg:
    """Answers legacy requests of every endpoint.

    Args:
        aggregator: The core.
        sessions: Makes and reads session ids.
        streams: The open streams.
        keepalive: Seconds of silence before a comment is sent.
    """

    def __init__(self, aggregator: Aggregator, sessions: ClientSessions, streams: Streams, keepalive: float) -> None:
        self._aggregator = aggregator
        self._sessions = sessions
        self._streams = streams
        self._keepalive = keepalive
        self._in_flight: dict[tuple[bytes, RequestId], _Work] = {}

    async def initialize(
        self, endpoint: Endpoint, principal: Principal, request_id: RequestId, params: Members, send: Send
    ) -> None:
        """Open a session; answered here at once, whatever the servers do (eras.md 2.3)."""
        try:
            requested = msgspec.json.decode(params.get("protocolVersion", Raw(b"null")))
        except msgspec.DecodeError:
            requested = None
        if not isinstance(requested, str):
            error = jsonrpc.error_response(request_id, INVALID_PARAMS, "params.protocolVersion must be a string")
            await send_message(send, 200, error)
            return
        revision = negotiate(requested)
        session_id = self._sessions.create(endpoint.name, principal.id, revision)
        instructions = self._aggregator.instructions(endpoint.name)
        body = jsonrpc.response(request_id, initialize_result(revision, instructions))
        await send_message(send, 200, body, [(b"mcp-session-id", session_id.encode())])

    async def post(
        self,
        endpoint: Endpoint,
        principal: Principal,
        headers: Headers,
        message: Message | list[Message],
        scope: Scope,
        send: Send,
    ) -> None:
        """Answer one POST within a session."""
        session = await self._session(endpoint, principal, headers, scope, send)
        if session is None:
            return
        if isinstance(message, list):
            await self._batch(endpoint, principal, session, message, headers.values.get(hops.HEADER), send)
        elif message.method is UNSET:
            # No request of ours is outstanding, so this answers one that is no longer (CN-02).
            await send_empty(send, 202)
        elif message.id is UNSET:
            self._notified(session, message)
            await send_empty(send, 202)
        elif message.id is not None:
            passed = headers.values.get(hops.HEADER)
            await self._request(endpoint, principal, session, message, message.id, passed, send)

    async def stream(
        self, endpoint: Endpoint, principal: Principal, headers: Headers, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a GET: the session's own stream, which carries the changes of lists (T-56, T-57)."""
        session = await self._session(endpoint, principal, headers, scope, send)
        if session is None:
            return
        if not any(kind in headers.values.get(b"accept", b"*/*").lower() for kind in (b"text/event-stream", b"*/*")):
            await send_refusal(
                scope, send, 406, {"error": "Not acceptable", "message": "Accept must list text/event-stream"}
            )
            return
        if self._streams.full:
            body = {"error": "Too many open streams", "message": "Try again later"}
            await send_refusal(scope, send, 503, body, [(b"retry-after", b"5")])
            return

        def subscribe(put: Callable[[bytes], None]) -> Callable[[], None]:
            def told(kinds: list[Change]) -> None:
                for kind in kinds:
                    put(frame(jsonrpc.notification(_METHOD_OF[kind])))

            return self._aggregator.listen(endpoint.name, told)

        await self._streams.serve(receive, send, subscribe, whose=(endpoint.name, principal), key=session.sid)

    async def end(self, endpoint: Endpoint, principal: Principal, headers: Headers, scope: Scope, send: Send) -> None:
        """Answer a DELETE: the session is over (T-59); its calls in flight go on, as their clients still wait."""
        session = await self._session(endpoint, principal, headers, scope, send)
        if session is None:
            return
        self._sessions.end(session)
        self._streams.end(session.sid)
        session_id = headers.values[b"mcp-session-id"].decode("latin-1")
        body = {"message": "Session cleaned up successfully", "sessionId": session_id}
        await send_refusal(scope, send, 200, body)

    async def _session(
        self, endpoint: Endpoint, principal: Principal, headers: Headers, scope: Scope, send: Send
    ) -> ClientSession | None:
        """Return the request's session, or answer the request and return ``None``."""
        values = headers.values
        session = self._sessions.find(values[b"mcp-session-id"], endpoint.name, principal.id)
        if session is None:
            message = "The session is unknown or has ended; initialize a new one."
            if scope["method"] == "GET":
                await send_message(send, 404, b"Session not found", kind=b"text/plain; charset=utf-8")
            else:
                await send_refusal(scope, send, 404, {"error": "Session not found", "message": message})
            return None
        version = values.get(b"mcp-protocol-version", b"").strip().decode("latin-1")
        if version and version not in LEGACY:
            message = f"MCP-Protocol-Version must be one of {', '.join(LEGACY)}"
            await send_message(send, 400, jsonrpc.error_response(None, INVALID_REQUEST, message))
            return None
        return session

    def _notified(self, session: ClientSession, message: Message) -> None:
        if message.method != "notifications/cancelled" or message.params is UNSET:
            return
        try:
            cancelled = msgspec.json.decode(message.params, type=_Cancelled).requestId
        except msgspec.DecodeError:
            return
        # Unknown ids are normal: the response may be on its way (CN-02).
        if (work := self._in_flight.get((session.sid, cancelled))) is not None:
            work.cancelled = True
            work.task.cancel()

    async def _request(
        self,
        endpoint: Endpoint,
        principal: Principal,
        session: ClientSession,
        message: Message,
        request_id: RequestId,
        passed: bytes | None,
        send: Send,
    ) -> None:
        reply = Reply(send, self._keepalive)
        reply.keep_alive()
        key = (session.sid, request_id)
        task = asyncio.current_task()
        assert task is not None
        # A client that disconnects has not cancelled (trap 1), so nobody watches for it: only
        # `notifications/cancelled` ends the work early.
        self._in_flight[key] = work = _Work(task)
        try:
            body, rest = await self._answer(endpoint, principal, session, message, reply, passed)
            self._in_flight.pop(key, None)  # what is being sent can no longer be cancelled
            await reply.finish(200, body, rest)
        except asyncio.CancelledError:
            if not work.cancelled:
                raise
            task.uncancel()
            await reply.finish_silently()
        finally:
            if self._in_flight.get(key) is work:
                del self._in_flight[key]
            await reply.abandon()

    async def _batch(
        self,
        endpoint: Endpoint,
        principal: Principal,
        session: ClientSession,
        messages: list[Message],
        passed: bytes | None,
        send: Send,
    ) -> None:
        """Answer a batch, which only 2025-03-26 has (T-51, eras.md 2.16)."""
        if session.revision != BATCHES or not messages:
            text = "Batches exist in revision 2025-03-26 only" if messages else "The batch is empty"
            await send_message(send, 400, jsonrpc.error_response(None, INVALID_REQUEST, text))
            return
        requests = [message for message in messages if message.method is not UNSET and message.id is not UNSET]
        for message in messages:
            if message.method is not UNSET and message.id is UNSET:
                self._notified(session, message)
        if not requests:
            await send_empty(send, 202)
            return
        reply = Reply(send, self._keepalive)
        reply.keep_alive()
        works = [
            (message.id, asyncio.ensure_future(self._answer(endpoint, principal, session, message, reply, passed)))
            for message in requests
        ]
        for request_id, task in works:
            if isinstance(request_id, int | str):
                self._in_flight[session.sid, request_id] = _Work(task)
        try:
            answers = await asyncio.gather(*(task for _, task in works), return_exceptions=True)
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            # A request that was cancelled gets no response (CN-02).
            answered = [b"".join(answer) for answer in answers if isinstance(answer, tuple)]
            if answered:
                await reply.finish(200, b"[%b]" % b",".join(answered))
            else:
                await reply.finish_silently()
        finally:
            for request_id, task in works:
                self._in_flight.pop((session.sid, request_id), None)  # type: ignore[arg-type]
                task.cancel()
            await reply.abandon()

    async def _answer(
        self,
        endpoint: Endpoint,
        principal: Principal,
        session: ClientSession,
        message: Message,
        reply: Reply,
        passed: bytes | None,
    ) -> tuple[bytes, bytes]:
        """Return the response to one request, in two parts."""
        method = message.method
        assert method is not UNSET
        if not isinstance(request_id := message.id, int | str):
            text = "Invalid request: id must be a string or an integer"
            return jsonrpc.error_response(None, INVALID_REQUEST, text), b""
        try:
            if method == "ping":
                return jsonrpc.response(request_id, _EMPTY), b""
            if method not in LISTS and method not in NAME_OF:
                # `initialize` only gets here within a batch, where it must not be (T-51).
                code = INVALID_REQUEST if method == "initialize" else METHOD_NOT_FOUND
                raise ProtocolError(code, f"Method not found: {method}")
            outcome = await self._aggregator.call(_call(endpoint, principal, session, message, reply, passed))
        except ProtocolError as error:
            outcome = Failure(error.code, error.message, error.data)
        if isinstance(outcome, Page):
            return jsonrpc.response_head(request_id) + outcome.legacy_head, outcome.legacy_tail
        if isinstance(outcome, Failure):
            return _refusal(request_id, method, outcome), b""
        result = outcome.raw if outcome.members is None else meta.legacy_result(outcome.members)
        return jsonrpc.response(request_id, result), b""


class _Work:
    """A request in flight, which a notification may cancel."""

    __slots__ = ("cancelled", "task")

    def __init__(self, task: asyncio.Task[object]) -> None:
        self.task = task
        self.cancelled = False


class _Cancelled(msgspec.Struct):
    requestId: RequestId  # noqa: N815


def _call(
    endpoint: Endpoint,
    principal: Principal,
    session: ClientSession,
    message: Message,
    reply: Reply,
    passed: bytes | None,
) -> Call:
    method = message.method
    assert method is not UNSET
    try:
        params = jsonrpc.decode_client(message.params) if message.params is not UNSET else {}
        fields = jsonrpc.decode_client(params.pop("_meta")) if "_meta" in params else {}
        target = msgspec.json.decode(params[NAME_OF[method]], type=str) if method in NAME_OF else ""
    except KeyError:
        raise ProtocolError(INVALID_PARAMS, f"params.{NAME_OF[method]} is missing") from None
    except msgspec.ValidationError as error:
        raise ProtocolError(INVALID_PARAMS, f"Invalid params: {error}") from None
    token = fields.pop(meta.PROGRESS_TOKEN, None)
    through = hops.read(fields.pop(hops.HOPS, None), passed)
    return Call(
        endpoint=endpoint.name,
        principal=principal,
        method=method,
        params=params,
        meta=meta.end_to_end(fields) if fields else fields,
        target=target,
        session=session.sid.hex(),
        on_progress=ProgressRelay(token, reply) if token is not None else None,
        hops=through,
    )


def _refusal(request_id: RequestId, method: str, failure: Failure) -> bytes:
    """Return a failure in the codes that legacy revisions know (eras.md 2.12)."""
    if failure.code == MISSING_CAPABILITY:
        text = f"The server needs a client capability that is not available here: {failure.message}"
        if method == "tools/call":
            return jsonrpc.response(request_id, tool_error(text).raw)
        return jsonrpc.error_response(request_id, INTERNAL_ERROR, text)
    code = failure.code
    if method == "resources/read" and code == INVALID_PARAMS:
        code = RESOURCE_NOT_FOUND
    return jsonrpc.error_response(request_id, code, failure.message, failure.data)
