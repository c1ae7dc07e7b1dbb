"""What a legacy session is answered, message by message, whatever the transport that carries them.

Knows nothing of HTTP: a message comes in, and an ``Outlet`` takes what the client is to read.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct

from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.page import Page
from metamcp_asgi.bus.protocol import UNREACHABLE, Bus, BusUnavailable
from metamcp_asgi.config.snapshot import Endpoint, Principal
from metamcp_asgi.downstream.asking import Asking
from metamcp_asgi.downstream.in_flight import InFlight
from metamcp_asgi.downstream.legacy_codes import refusal
from metamcp_asgi.downstream.log_relay import LogRelay
from metamcp_asgi.downstream.page_news import PageNews
from metamcp_asgi.downstream.progress import ProgressRelay
from metamcp_asgi.downstream.reply import Outlet
from metamcp_asgi.downstream.roots import Roots
from metamcp_asgi.downstream.sessions import ClientSession, ClientSessions
from metamcp_asgi.downstream.stateless import NEEDS_STATE
from metamcp_asgi.downstream.statuses import later
from metamcp_asgi.downstream.subscriptions import MAX_URI_LENGTH, Subscriptions
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol import downgrade, hops, jsonrpc, meta, trace
from metamcp_asgi.protocol.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    Members,
    Message,
    RequestId,
)
from metamcp_asgi.protocol.levels import LEVELS
from metamcp_asgi.protocol.outcome import Failure, InputRequired, Outcome, away, internal
from metamcp_asgi.protocol.revisions import BATCHES, LATEST_LEGACY, LEGACY, LISTS, NAME_OF, TASK_RESULT, TASKS_OF_2025

__all__ = ["MAX_BATCH", "Caller", "LegacyRequests"]

MAX_BATCH: Final = 32
"""Messages of one batch, whose requests are worked on at the same time."""

_EMPTY: Final = b"{}"
_CORE: Final = frozenset({*LISTS, *NAME_OF, "completion/complete"})
"""The methods that the core answers."""
_TARGET: Final = {**NAME_OF, **dict.fromkeys(TASKS_OF_2025, "taskId")}
"""The parameter that says what a request is about."""

_Answer: TypeAlias = tuple[bytes, bytes, tuple[int, tuple[tuple[bytes, bytes], ...]] | None]


class Caller(Struct, gc=False, frozen=True):
    """Who sends messages: a session, of a principal, on an endpoint; ``headers`` came with them."""

    endpoint: Endpoint
    principal: Principal
    session: ClientSession
    headers: Mapping[bytes, bytes] = {}


class _Cancelled(Struct):
    requestId: RequestId  # noqa: N815


class _Task(Struct):
    """A client's wish that its call becomes a task."""

    ttl: int | float | None = None


class LegacyRequests:
    """Answers the messages of all legacy sessions.

    Args:
        aggregator: The core.
        sessions: The sessions.
        subscriptions: What they have subscribed to.
        news: Tells them of pages that their users were sent to.
        bus: Leads to the other processes.
        baggage: Whether servers are told the ``baggage`` of a client's trace.
        stateless: Whether nothing is kept of a session.
    """

    def __init__(
        self,
        aggregator: Aggregator,
        sessions: ClientSessions,
        subscriptions: Subscriptions,
        news: PageNews,
        bus: Bus,
        *,
        baggage: bool = False,
        stateless: bool = False,
    ) -> None:
        self._stateless = stateless
        self._baggage = baggage
        self._aggregator = aggregator
        self._sessions = sessions
        self._subscriptions = subscriptions
        self._asking = Asking(bus)
        self._in_flight = InFlight(bus)
        self._news = news
        self._roots = Roots(aggregator.roots_changed, bus)

    async def notified(self, caller: Caller, message: Message) -> None:
        """Take a notification.

        Raises:
            BusUnavailable: It is for another process, which cannot be told.
        """
        if message.method == "notifications/roots/list_changed" and not self._stateless:
            await self._roots_changed(caller)
            return
        # Where it would depend on the process that it comes to, a cancellation is never one: it may be ignored (CN-02).
        if self._stateless or message.method != "notifications/cancelled" or message.params is UNSET:
            return
        try:
            cancelled = msgspec.json.decode(message.params, type=_Cancelled).requestId
        except msgspec.DecodeError:
            return
        await self._in_flight.cancel(caller.session.sid, cancelled)

    async def _roots_changed(self, caller: Caller) -> None:
        if caller.session.capabilities.roots_change:
            principal = None if caller.principal.kind == "anonymous" else caller.principal.id
            await self._roots.changed(caller.endpoint.name, principal, caller.session.sid.hex())

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
            body, rest, passing = await self._answer(caller, message, outlet)
            self._in_flight.remove(sid, request_id, work)
            status, headers = passing or (200, ())
            await outlet.finish(status, body, rest, headers)
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
            answered = [answer[0] + answer[1] for answer in answers if isinstance(answer, tuple)]
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

    async def _answer(self, caller: Caller, message: Message, outlet: Outlet) -> _Answer:
        """Return the response to one request, in two parts, and its status and headers where these are not usual."""
        method = message.method
        assert method is not UNSET
        if not isinstance(request_id := message.id, int | str):
            text = "Invalid request: id must be a string or an integer"
            return jsonrpc.error_response(None, INVALID_REQUEST, text), b"", None
        if method == "ping":
            return jsonrpc.response(request_id, _EMPTY), b"", None
        outcome: Outcome | Page | None
        try:
            if method in _CORE or (method in TASKS_OF_2025 and self._has_tasks(caller)):
                outcome = await self._core(self._call(caller, method, message, outlet))
            else:
                outcome = await self._own(caller, method, message)
        except ProtocolError as error:
            return jsonrpc.error_response(request_id, error.code, error.message, error.data), b"", None
        except BusUnavailable:
            outcome = away(f"Not possible now: {UNREACHABLE}")
        if isinstance(outcome, Page):
            return jsonrpc.response_head(request_id) + outcome.legacy_head, outcome.tail(caller.session.revision), None
        if outcome is None:
            return jsonrpc.response(request_id, _EMPTY), b"", None
        if isinstance(outcome, InputRequired):  # the core asks clients that can be asked, and has others refused
            outcome = internal("The server asks for input that this client cannot give")
        if isinstance(outcome, Failure):
            return refusal(request_id, method, outcome), b"", later(outcome)
        result = outcome.raw if outcome.members is None else meta.legacy_result(outcome.members)
        if method == TASK_RESULT:
            method = "tools/call"
        return jsonrpc.response(request_id, downgrade.result(result, method, caller.session.revision)), b"", None

    async def _core(self, call: Call) -> Outcome | Page:
        """Have the core answer a call, and end what is only said in the course of it."""
        if call.on_progress is None and call.page_done is None:
            return await self._aggregator.call(call)
        with ExitStack() as during:
            for each in (call.page_done, call.on_progress):
                if isinstance(each, AbstractContextManager):
                    during.enter_context(each)
            return await self._aggregator.call(call)

    def _call(self, caller: Caller, method: str, message: Message, outlet: Outlet) -> Call:
        params = _params(message)
        try:
            fields = jsonrpc.decode_client(params.pop("_meta")) if "_meta" in params else {}
            target = msgspec.json.decode(params[_TARGET[method]], type=str) if method in _TARGET else ""
            wished = "task" in params and method == "tools/call" and self._has_tasks(caller)
            task = _task(params["task"]) if wished else None
        except KeyError:
            raise ProtocolError(INVALID_PARAMS, f"params.{_TARGET[method]} is missing") from None
        except msgspec.ValidationError as error:
            raise ProtocolError(INVALID_PARAMS, f"Invalid params: {error}") from None
        session = caller.session
        token = fields.pop(meta.PROGRESS_TOKEN, None)
        through = hops.read(fields.pop(hops.HOPS, None), caller.headers.get(hops.HEADER))
        traced, parent = b"", ""
        if trace.carried(fields, caller.headers):
            parent = trace.parent_of(fields, caller.headers)
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
            ask=self._asking.asker(session, outlet, target if method == TASK_RESULT else None) if interactive else None,
            page_done=self._news.teller(session.sid, outlet) if session.capabilities.url else None,
            log_level=level,
            trace=traced,
            parent=parent,
            on_log=LogRelay(level, outlet),
            task=task,
        )

    def _has_tasks(self, caller: Caller) -> bool:
        """Tell whether a session was told that there are tasks (TK-07)."""
        return not self._stateless and caller.session.revision == LATEST_LEGACY

    async def _own(self, caller: Caller, method: str, message: Message) -> Failure | None:
        """Do what concerns the session itself; return why it cannot be."""
        session = caller.session
        if self._stateless and method in NEEDS_STATE:
            raise ProtocolError(METHOD_NOT_FOUND, f"Method not found: {method}; this gateway keeps no sessions")
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


def _task(wish: Raw) -> int:
    """Return for how many milliseconds a client wants its task kept; 0 where it does not say."""
    return max(0, int(msgspec.json.decode(wish, type=_Task).ttl or 0))


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
