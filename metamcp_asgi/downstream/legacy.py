"""The client-facing leg of the legacy revisions over Streamable HTTP: a handshake, then a session that its id carries.

Source: MCP 2025-11-25 basic/lifecycle.mdx and basic/transports.mdx (T-50 to T-60).
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from msgspec import UNSET
from msgspec.structs import replace
from starlette.types import Receive, Scope, Send

from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.asgi.answers import send_refusal
from metamcp_asgi.bus.protocol import UNREACHABLE, BusUnavailable, CallFailed, MessageTooLarge, OwnerLost
from metamcp_asgi.config.snapshot import Endpoint, Principal
from metamcp_asgi.downstream.handshake import read_handshake
from metamcp_asgi.downstream.identity import initialize_result
from metamcp_asgi.downstream.inbound import Headers
from metamcp_asgi.downstream.legacy_requests import Caller, LegacyRequests
from metamcp_asgi.downstream.reply import Reply, send_empty, send_message
from metamcp_asgi.downstream.resume import Records
from metamcp_asgi.downstream.sessions import ClientSession, ClientSessions
from metamcp_asgi.downstream.streams import Put, Streams
from metamcp_asgi.downstream.subscriptions import Subscriptions
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol import jsonrpc
from metamcp_asgi.protocol.capabilities import NOTHING
from metamcp_asgi.protocol.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST, Members, Message, RequestId
from metamcp_asgi.protocol.revisions import LEGACY
from metamcp_asgi.protocol.sse import frame
from metamcp_asgi.upstream.request import CHANGES, Change

__all__ = ["LegacyLeg", "changes_to"]

_METHOD_OF: Final = {kind: method for method, kind in CHANGES.items()}


class LegacyLeg:
    """Answers legacy requests of every endpoint.

    Args:
        aggregator: The core.
        requests: Answers the messages of a session.
        sessions: Makes and reads session ids.
        subscriptions: What sessions have subscribed to.
        streams: The open streams.
        records: What was sent on streams that may be resumed.
        keepalive: Seconds of silence before a comment is sent.
        stateless: Whether a session has nothing but its id, so that clients cannot be asked.
    """

    def __init__(
        self,
        aggregator: Aggregator,
        requests: LegacyRequests,
        sessions: ClientSessions,
        subscriptions: Subscriptions,
        streams: Streams,
        records: Records,
        keepalive: float,
        *,
        stateless: bool = False,
    ) -> None:
        self._stateless = stateless
        self._aggregator = aggregator
        self._requests = requests
        self._sessions = sessions
        self._subscriptions = subscriptions
        self._streams = streams
        self._records = records
        self._keepalive = keepalive
        sessions.when_ended(self._ended)

    async def initialize(
        self, endpoint: Endpoint, principal: Principal, request_id: RequestId, params: Members, send: Send
    ) -> None:
        """Open a session; answered here at once, whatever the servers do (eras.md 2.3)."""
        try:
            revision, capabilities = read_handshake(params)
        except ProtocolError as error:
            await send_message(send, 200, jsonrpc.error_response(request_id, error.code, error.message))
            return
        if self._stateless:
            capabilities = NOTHING
        session_id = self._sessions.create(endpoint.name, principal.id, revision, capabilities)
        instructions = self._aggregator.instructions(endpoint.name)
        body = jsonrpc.response(request_id, initialize_result(revision, instructions, stateless=self._stateless))
        await send_message(send, 200, body, [(b"mcp-session-id", session_id.encode())])

    async def post(
        self,
        endpoint: Endpoint,
        principal: Principal,
        headers: Headers,
        message: Message | list[Message],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer one POST within a session."""
        session = await self._session(endpoint, principal, headers, scope, send)
        if session is None:
            return
        caller = Caller(endpoint, principal, session, headers.values)
        try:
            if isinstance(message, list):
                await self._batch(caller, message, receive, send)
            elif message.method is UNSET:
                await self._requests.responded(caller, message)
                await send_empty(send, 202)
            elif message.id is UNSET:
                await self._requests.notified(caller, message)
                await send_empty(send, 202)
            elif message.id is not None:
                await self._requests.request(caller, message, message.id, self._reply(session, receive, send))
        except ProtocolError as error:
            await send_message(send, 400, jsonrpc.error_response(None, error.code, error.message))
        except MessageTooLarge as error:
            await send_message(send, 413, jsonrpc.error_response(None, INVALID_REQUEST, str(error)))
        except BusUnavailable:
            await _unavailable(send)

    async def stream(
        self, endpoint: Endpoint, principal: Principal, headers: Headers, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a GET: the session's own stream (T-56, T-57), or the rest of one that broke off (T-58)."""
        session = await self._session(endpoint, principal, headers, scope, send)
        if session is None:
            return
        if not any(kind in headers.values.get(b"accept", b"*/*").lower() for kind in (b"text/event-stream", b"*/*")):
            await send_refusal(
                scope, send, 406, {"error": "Not acceptable", "message": "Accept must list text/event-stream"}
            )
            return
        if self._streams.full(endpoint.name, principal):
            body = {"error": "Too many open streams", "message": "Try again later"}
            await send_refusal(scope, send, 503, body, [(b"retry-after", b"5")])
            return
        event_id = headers.values.get(b"last-event-id")
        try:
            if event_id is not None and self._records.ours(event_id):
                await self._resume(endpoint, principal, session, event_id, scope, receive, send)
                return
            with self._streams.reserved(endpoint.name, principal):
                newest = await self._subscriptions.arrive(session, principal)
        except BusUnavailable:
            await _unavailable(send)
            return

        if not newest:
            body = {"error": "Not the newest stream", "message": "The session has opened another stream meanwhile."}
            await send_refusal(scope, send, 409, body)
            return

        def subscribe(put: Put) -> Callable[[], None]:
            unlisten = self._aggregator.listen(endpoint.name, principal, changes_to(put))
            closed = self._subscriptions.opened(session, put)

            def unsubscribe() -> None:
                unlisten()
                closed()

            return unsubscribe

        await self._streams.serve(receive, send, subscribe, whose=(endpoint.name, principal), key=session.sid)

    async def end(self, endpoint: Endpoint, principal: Principal, headers: Headers, scope: Scope, send: Send) -> None:
        """Answer a DELETE: the session is over (T-59); its calls in flight go on, as their clients still wait."""
        session = await self._session(endpoint, principal, headers, scope, send)
        if session is None:
            return
        try:
            await self._sessions.end(session)
        except BusUnavailable:
            await _unavailable(send)
            return
        session_id = headers.values[b"mcp-session-id"].decode("latin-1")
        body = {"message": "Session cleaned up successfully", "sessionId": session_id}
        await send_refusal(scope, send, 200, body)

    async def _batch(self, caller: Caller, messages: list[Message], receive: Receive, send: Send) -> None:
        reply = self._reply(caller.session, receive, send)
        try:
            answered = await self._requests.batch(caller, messages, reply)
        finally:
            await reply.abandon()
        if not answered:
            await send_empty(send, 202)

    async def _resume(
        self,
        endpoint: Endpoint,
        principal: Principal,
        session: ClientSession,
        event_id: bytes,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        events = await self._records.resume(session, event_id)
        if events is None:
            # Not another stream in its place, on which the client would wait for a response for ever.
            message = "What followed this event is no longer kept; repeat the request."
            await send_refusal(scope, send, 400, {"error": "Unknown Last-Event-ID", "message": message})
            return
        # A process that dies ends the stream; the client sees no response on it, and asks again.
        with suppress(OwnerLost, BusUnavailable, CallFailed):
            await self._streams.relay(receive, send, events, whose=(endpoint.name, principal))

    async def _session(
        self, endpoint: Endpoint, principal: Principal, headers: Headers, scope: Scope, send: Send
    ) -> ClientSession | None:
        """Return the request's session, or answer the request and return ``None``."""
        values = headers.values
        try:
            session = await self._sessions.find(values[b"mcp-session-id"], endpoint.name, principal.id)
        except BusUnavailable:
            await _unavailable(send)
            return None
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
        # Its id may be of a time when clients could be asked.
        return replace(session, capabilities=NOTHING) if self._stateless else session

    def _reply(self, session: ClientSession, receive: Receive, send: Send) -> Reply:
        offered = self._records.offered(session)
        reply = Reply(send, self._keepalive, receive, (lambda: self._records.begin(session)) if offered else None)
        reply.keep_alive()
        return reply

    def _ended(self, sid: bytes) -> None:
        self._streams.end(sid)
        self._subscriptions.end(sid)


def changes_to(put: Put) -> Callable[[list[Change]], None]:
    """Return a listener that sends changes of lists as events.

    Args:
        put: Takes the events.
    """

    def told(kinds: list[Change]) -> None:
        for kind in kinds:
            put(frame(jsonrpc.notification(_METHOD_OF[kind])))

    return told


async def _unavailable(send: Send) -> None:
    body = jsonrpc.error_response(None, INTERNAL_ERROR, f"Not possible now: {UNREACHABLE}")
    await send_message(send, 503, body, [(b"retry-after", b"5")])
