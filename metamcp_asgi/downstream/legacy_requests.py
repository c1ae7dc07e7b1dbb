"""What a legacy session is answered, message by message, whatever the transport that carries them.

Knows nothing of HTTP: a message comes in, and an ``Outlet`` takes what the client is to read.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import UNSET, Struct

from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.page import Page
from metamcp_asgi.bus.protocol import UNREACHABLE, Bus, BusUnavailable
from metamcp_asgi.config.snapshot import Endpoint, Principal
from metamcp_asgi.downstream.asking import Asking
from metamcp_asgi.downstream.in_flight import InFlight
from metamcp_asgi.downstream.log_relay import LogRelay
from metamcp_asgi.downstream.progress import ProgressRelay
from metamcp_asgi.downstream.reply import Outlet
from metamcp_asgi.downstream.sessions import ClientSession, ClientSessions
from metamcp_asgi.downstream.subscriptions import MAX_URI_LENGTH, Subscriptions
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol import downgrade, hops, jsonrpc, meta, trace
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
from metamcp_asgi.protocol.levels import LEVELS
from metamcp_asgi.protocol.outcome import Failure, InputRequired, Outcome, internal, tool_error
from metamcp_asgi.protocol.revisions import BATCHES, LEGACY, LISTS, NAME_OF

__all__ = ["MAX_BATCH", "Caller", "LegacyRequests"]

MAX_BATCH: Final = 32
"""Messages of one batch, whose requests are worked on at the same time."""

_EMPTY: Final = b"{}"
_CORE: Final = frozenset({*LISTS, *NAME_OF, "completion/complete"})
"""The methods that the core answers."""


class Caller(Struct, gc=False, frozen=True):
    """Who sends messages: a session, of a principal, on an endpoint; ``headers`` came with them."""

    endpoint: Endpoint
    principal: Principal
    session: ClientSession
    headers: Mapping[bytes, bytes] = {}


class _Cancelled(Struct):
    requestId: RequestId  # noqa: N815


class LegacyRequests:
    """Answers the messages of all legacy sessions.

    Args:
        aggregator: The core.
        sessions: The sessions.
        subscriptions: What they have subscribed to.
        bus: Leads to the other processes.
        baggage: Whether servers are told the ``baggage`` of a client's trace.
    """

    def __init__(
        self,
        aggregator: Aggregator,
        sessions: ClientSessions,
        subscriptions: Subscriptions,
        bus: Bus,
        *,
        baggage: bool = False,
    ) -> None:
        self._baggage = baggage
        self._aggregator = aggregator
        self._sessions = sessions
        self._subscriptions = subscriptions
        self._asking = Asking(bus)
        self._in_flight = InFlight(bus)

    async def notified(self, caller: Caller, message: Message) -> None:
        """Take a notification.

        Raises:
            BusUnavailable: It is for another process, which cannot be told.
        """
        if message.method != "notifications/cancelled" or message.params is UNSET:
            return
        try:
            cancelled = msgspec.json.decode(message.params, type=_Cancelled).requestId
        except msgspec.DecodeError:
            return
        await self._in_flight.cancel(caller.session.sid, cancelled)

    async def responded(self, caller: Caller, message: Message) -> None:
        """Take a response to a question of ours.

        Raises:
            BusUnavailable: It is for another process, which cannot be told.
        """
        await self._asking.answered(caller.session, message)

    async def request(self, caller: Caller, message: Message, request_id: RequestId, outlet: Outlet) -> None:
        """Answer one request; the current task ends early, without a response, when the client cancels it.

        A client that disconnects has not cancelled (trap 1), so nobody watches for it.
        """
        task = asyncio.current_task()
        assert task is not None
        sid = caller.session.sid
        work = self._in_flight.add(sid, request_id, task)
        try:
            body, rest = await self._answer(caller, message, outlet)
            self._in_flight.remove(sid, request_id, work)
            await outlet.finish(200, body, rest)
        except asyncio.CancelledError:
            if not work.cancelled:
                raise
            task.uncancel()
            await outlet.finish_silently()
        finally:
            self._in_flight.remove(sid, request_id, work)
            await outlet.abandon()

    async def batch(self, caller: Caller, messages: list[Message], outlet: Outlet) -> bool:
        """Answer a batch, which only 2025-03-26 has (T-51, eras.md 2.16).

        Returns:
            Whether there was a request in it, and so an answer.

        Raises:
            ProtocolError: There must be no such batch here.
            BusUnavailable: A part of it is for another process, which cannot be told.
        """
        if caller.session.revision != BATCHES or not messages:
            text = "Batches exist in revision 2025-03-26 only" if messages else "The batch is empty"
            raise ProtocolError(INVALID_REQUEST, text)
        if len(messages) > MAX_BATCH:
            raise ProtocolError(INVALID_REQUEST, f"A batch may have {MAX_BATCH} messages, not more")
        for message in messages:
            if message.method is UNSET:
                await self.responded(caller, message)
            elif message.id is UNSET:
                await self.notified(caller, message)
        requests = [message for message in messages if message.method is not UNSET and message.id is not UNSET]
        if not requests:
            return False
        sid = caller.session.sid
        tasks = [asyncio.ensure_future(self._answer(caller, message, outlet)) for message in requests]
        works = [
            (message.id, self._in_flight.add(sid, message.id, task))
            for message, task in zip(requests, tasks, strict=True)
            if isinstance(message.id, int | str)
        ]
        try:
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            # A request that was cancelled gets no response (CN-02).
            answered = [b"".join(answer) for answer in answers if isinstance(answer, tuple)]
            if answered:
                await outlet.finish(200, b"[%b]" % b",".join(answered))
            else:
                await outlet.finish_silently()
        finally:
            for request_id, work in works:
                self._in_flight.remove(sid, request_id, work)
            for task in tasks:
                task.cancel()
            await outlet.abandon()
        return True

    async def _answer(self, caller: Caller, message: Message, outlet: Outlet) -> tuple[bytes, bytes]:
        """Return the response to one request, in two parts."""
        method = message.method
        assert method is not UNSET
        if not isinstance(request_id := message.id, int | str):
            text = "Invalid request: id must be a string or an integer"
            return jsonrpc.error_response(None, INVALID_REQUEST, text), b""
        if method == "ping":
            return jsonrpc.response(request_id, _EMPTY), b""
        outcome: Outcome | Page | None
        try:
            if method in _CORE:
                outcome = await self._aggregator.call(self._call(caller, method, message, outlet))
            else:
                outcome = await self._own(caller, method, message)
        except ProtocolError as error:
            return jsonrpc.error_response(request_id, error.code, error.message, error.data), b""
        except BusUnavailable:
            outcome = internal(f"Not possible now: {UNREACHABLE}")
        if isinstance(outcome, Page):
            return jsonrpc.response_head(request_id) + outcome.legacy_head, outcome.tail(caller.session.revision)
        if outcome is None:
            return jsonrpc.response(request_id, _EMPTY), b""
        if isinstance(outcome, InputRequired):  # the core asks clients that can be asked, and has others refused
            outcome = internal("The server asks for input that this client cannot give")
        if isinstance(outcome, Failure):
            return _refusal(request_id, method, outcome), b""
        result = outcome.raw if outcome.members is None else meta.legacy_result(outcome.members)
        return jsonrpc.response(request_id, downgrade.result(result, method, caller.session.revision)), b""

    def _call(self, caller: Caller, method: str, message: Message, outlet: Outlet) -> Call:
        params = _params(message)
        try:
            fields = jsonrpc.decode_client(params.pop("_meta")) if "_meta" in params else {}
            target = msgspec.json.decode(params[NAME_OF[method]], type=str) if method in NAME_OF else ""
        except KeyError:
            raise ProtocolError(INVALID_PARAMS, f"params.{NAME_OF[method]} is missing") from None
        except msgspec.ValidationError as error:
            raise ProtocolError(INVALID_PARAMS, f"Invalid params: {error}") from None
        session = caller.session
        token = fields.pop(meta.PROGRESS_TOKEN, None)
        through = hops.read(fields.pop(hops.HOPS, None), caller.headers.get(hops.HEADER))
        traced = b""
        if trace.carried(fields, caller.headers):
            traced = trace.onward(fields, caller.headers, baggage=self._baggage)
        level = self._sessions.level(session)
        interactive = session.capabilities.interactive
        return Call(
            endpoint=caller.endpoint.name,
            principal=caller.principal,
            method=method,
            params=params,
            meta=meta.end_to_end(fields) if fields else fields,
            target=target,
            session=session.sid.hex(),
            on_progress=ProgressRelay(token, outlet, wordless=session.revision == LEGACY[-1])
            if token is not None
            else None,
            hops=through,
            capabilities=session.capabilities,
            ask=self._asking.asker(session, outlet) if interactive else None,
            log_level=level,
            trace=traced,
            on_log=LogRelay(level, outlet),
        )

    async def _own(self, caller: Caller, method: str, message: Message) -> Failure | None:
        """Do what concerns the session itself; return why it cannot be."""
        session = caller.session
        if method == "logging/setLevel":
            level = _text(message, "level")
            if level not in LEVELS:
                raise ProtocolError(INVALID_PARAMS, f"params.level must be one of {', '.join(LEVELS)}")
            await self._sessions.set_level(session, level)
            return None
        if method in ("resources/subscribe", "resources/unsubscribe"):
            uri, wanted = _text(message, "uri"), method == "resources/subscribe"
            if wanted and len(uri) > MAX_URI_LENGTH:
                raise ProtocolError(INVALID_PARAMS, f"params.uri may have {MAX_URI_LENGTH} characters, not more")
            return await self._subscriptions.change(session, caller.principal, uri, wanted)
        # `initialize` only gets here within a session or a batch, where it must not be (T-51).
        code = INVALID_REQUEST if method == "initialize" else METHOD_NOT_FOUND
        raise ProtocolError(code, f"Method not found: {method}")


def _params(message: Message) -> Members:
    try:
        return jsonrpc.decode_client(message.params) if message.params is not UNSET else {}
    except msgspec.ValidationError as error:
        raise ProtocolError(INVALID_PARAMS, f"Invalid params: {error}") from None


def _text(message: Message, name: str) -> str:
    try:
        return msgspec.json.decode(_params(message)[name], type=str)
    except (KeyError, msgspec.ValidationError):
        raise ProtocolError(INVALID_PARAMS, f"params.{name} must be a string") from None


def _refusal(request_id: RequestId, method: str, failure: Failure) -> bytes:
    """Return a failure in the codes that legacy revisions know (eras.md 2.12)."""
    if failure.code == MISSING_CAPABILITY:
        text = f"The server needs a client capability that is not available here: {failure.message}"
        if method == "tools/call":
            return jsonrpc.response(request_id, tool_error(text).raw)
        return jsonrpc.error_response(request_id, INTERNAL_ERROR, text)
    code = failure.code
    if method in ("resources/read", "resources/subscribe") and code == INVALID_PARAMS:
        code = RESOURCE_NOT_FOUND
    return jsonrpc.error_response(request_id, code, failure.message, failure.data)
