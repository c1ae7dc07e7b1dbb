"""What a worker and the companion say to each other: one msgpack frame each, and what is in a request and an outcome.

JSON stays JSON: members travel as their own bytes, which neither end parses for the sake of the journey.
"""

from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Raw, Struct

from metamcp_asgi.config import snapshot
from metamcp_asgi.errors import UpstreamError, UpstreamProtocolError, UpstreamTimeout, UpstreamUnavailable
from metamcp_asgi.protocol.capabilities import NOTHING, Capabilities
from metamcp_asgi.protocol.hops import Hops, hops_of
from metamcp_asgi.protocol.jsonrpc import Members, encode
from metamcp_asgi.protocol.outcome import Failure, InputRequired, Outcome, Result
from metamcp_asgi.upstream.granted import AuthorizationNeeded
from metamcp_asgi.upstream.request import Answer, Ask, OnEvent, OnLog, OnProgress, Peer, Request
from metamcp_asgi.upstream.sharing import Affinity

__all__ = [
    "Answered",
    "Asked",
    "Asks",
    "Cancel",
    "Do",
    "Done",
    "Happened",
    "Leave",
    "Send",
    "State",
    "ToCompanion",
    "ToWorker",
    "Told",
    "Use",
    "What",
    "Withdrawn",
    "affinity_of",
    "answer_of",
    "answered",
    "asked",
    "finished",
    "members_of",
    "outcome_of",
    "packed",
    "peer_of",
    "request_of",
    "to_companion",
    "to_worker",
]

Packed: TypeAlias = dict[str, bytes]
"""The members of a JSON object, each in its own bytes."""

What: TypeAlias = Literal["subscribe", "unsubscribe", "reset", "settle", "roots_changed"]


class Use(Struct, frozen=True, array_like=True, tag=1):
    """A worker wants to use the server of this configuration, under a number of its own."""

    server: int
    config: snapshot.Server


class Leave(Struct, frozen=True, array_like=True, tag=2):
    """It no longer does; ``keep`` says that it or another one may come back, so the server should run on a while."""

    server: int
    keep: bool


class Asked(Struct, array_like=True, gc=False):
    """A ``Request``; ``progress``, ``log``, ``asks`` and ``events`` say which of its callbacks there are."""

    method: str
    params: Packed
    meta: Packed
    name: str | None
    param_headers: bytes
    hops: tuple[str, ...] | None
    capabilities: Capabilities | None
    log_level: str | None
    trace: bytes
    progress: bool
    log: bool
    asks: bool
    events: bool


class Send(Struct, array_like=True, tag=3, gc=False):
    """A request to a server, as call number ``call`` of the worker; ``whose`` are the fields of ``Affinity``."""

    call: int
    server: int
    request: Asked
    whose: tuple[str | None, str | None, str | None] | None


class Do(Struct, frozen=True, array_like=True, tag=4):
    """A call of another method of a server, ``about`` a URI or a reset by its name; ``whose`` has an ``Affinity``."""

    call: int
    server: int
    what: What
    about: str = ""
    whose: tuple[str | None, str | None, str | None] | None = None


class Cancel(Struct, frozen=True, array_like=True, tag=5):
    """The worker no longer wants to know what becomes of a call."""

    call: int


class Answered(Struct, frozen=True, array_like=True, tag=6):
    """The answer to a question; exactly one of ``result``, which is JSON, and ``failure`` is set."""

    call: int
    question: int
    result: bytes | None
    failure: "Failed | None"


class State(Struct, frozen=True, array_like=True, tag=11):
    """How a server is, sent whenever that differs from what was last said; ``peer`` is JSON."""

    server: int
    state: Literal["starting", "ready", "failed"]
    error: str
    stderr: str
    peer: bytes | None
    announces: bool


class Happened(Struct, frozen=True, array_like=True, tag=12):
    """What a server tells its listener; ``about`` is the URI of ``updated``, the id of ``completed``."""

    server: int
    what: Literal["ready", "lost", "tools", "prompts", "resources", "updated", "completed"]
    about: str = ""


class Told(Struct, array_like=True, tag=13, gc=False):
    """Progress of a call, or a log message that belongs to it, or an event of its stream: ``method`` and ``params``."""

    call: int
    what: Literal["progress", "log", "event"]
    members: Packed


class Asks(Struct, frozen=True, array_like=True, tag=14):
    """A server asks the client something in the middle of a call; ``params`` is JSON."""

    call: int
    question: int
    method: str
    params: bytes


class Withdrawn(Struct, frozen=True, array_like=True, tag=15):
    """It no longer wants to know."""

    call: int
    question: int


class Returned(Struct, array_like=True, tag=1, gc=False):
    """A ``Result``, of which either the bytes or the members are there."""

    raw: bytes
    members: Packed | None
    cause: str


class Failed(Struct, frozen=True, array_like=True, tag=2):
    """A ``Failure``; ``data`` is JSON."""

    code: int
    message: str
    data: bytes | None
    cause: str


class Wanted(Struct, frozen=True, array_like=True, tag=3):
    """An ``InputRequired``."""

    requests: Packed
    state: str | None


class Raised(Struct, frozen=True, array_like=True, tag=4):
    """An ``UpstreamError``; ``sent`` is that of ``UpstreamUnavailable``, ``page`` that of ``AuthorizationNeeded``."""

    kind: Literal["timeout", "protocol", "unavailable", "authorization"]
    text: str
    sent: bool = False
    page: str | None = None


End: TypeAlias = Returned | Failed | Wanted | Raised | None


class Done(Struct, array_like=True, tag=16, gc=False):
    """What became of a call; ``None`` where there is nothing to tell."""

    call: int
    end: End


ToCompanion: TypeAlias = Use | Leave | Send | Do | Cancel | Answered
ToWorker: TypeAlias = State | Happened | Told | Asks | Withdrawn | Done

to_companion: Final = msgspec.msgpack.Decoder(ToCompanion)
to_worker: Final = msgspec.msgpack.Decoder(ToWorker)


def packed(members: Members) -> Packed:
    """Return members as they travel."""
    return {name: bytes(value) for name, value in members.items()}


def members_of(told: Packed) -> Members:
    """Return members that have travelled."""
    return {name: Raw(value) for name, value in told.items()}


def asked(request: Request) -> Asked:
    """Return a request as it travels."""
    return Asked(
        method=request.method,
        params=packed(request.params),
        meta=packed(request.meta),
        name=request.name,
        param_headers=request.param_headers,
        hops=None if request.hops is None else request.hops.path,
        capabilities=None if request.capabilities == NOTHING else request.capabilities,
        log_level=request.log_level,
        trace=request.trace,
        progress=request.on_progress is not None,
        log=request.on_log is not None,
        asks=request.ask is not None,
        events=request.on_event is not None,
    )


def request_of(told: Asked, on_progress: OnProgress, on_log: OnLog, ask: Ask, on_event: OnEvent) -> Request:
    """Return a request that has travelled.

    Args:
        told: The request.
        on_progress: Passes progress back, if it is wanted.
        on_log: Passes log messages back, if they are wanted.
        ask: Passes questions back, if they can be answered.
        on_event: Passes events back, if it is a stream.
    """
    hops: Hops | None = None if told.hops is None else hops_of(told.hops)
    return Request(
        method=told.method,
        params=members_of(told.params),
        meta=members_of(told.meta),
        name=told.name,
        param_headers=told.param_headers,
        hops=hops,
        # Legs tell the most frequent case by its identity.
        capabilities=NOTHING if told.capabilities is None else told.capabilities,
        log_level=told.log_level,
        trace=told.trace,
        on_progress=on_progress if told.progress else None,
        on_log=on_log if told.log else None,
        ask=ask if told.asks else None,
        on_event=on_event if told.events else None,
    )


def affinity_of(whose: tuple[str | None, str | None, str | None] | None) -> Affinity | None:
    """Return on whose behalf a request is made."""
    return None if whose is None else Affinity(*whose)


def finished(outcome: Outcome | UpstreamError | None) -> End:
    """Return what became of a call, as it travels."""
    if isinstance(outcome, Result):
        members = None if outcome.members is None else packed(outcome.members)
        return Returned(bytes(outcome.raw) if members is None else b"", members, outcome.cause)
    if isinstance(outcome, Failure):
        return _failed(outcome)
    if isinstance(outcome, InputRequired):
        return Wanted(packed(outcome.requests), outcome.state)
    if isinstance(outcome, UpstreamTimeout):
        return Raised("timeout", str(outcome))
    if isinstance(outcome, UpstreamProtocolError):
        return Raised("protocol", str(outcome))
    if isinstance(outcome, AuthorizationNeeded):
        return Raised("authorization", str(outcome), page=outcome.page)
    if isinstance(outcome, UpstreamError):
        return Raised("unavailable", str(outcome), getattr(outcome, "sent", True))
    return None


def outcome_of(end: End) -> Outcome | None:
    """Return what became of a call that has travelled.

    Raises:
        UpstreamError: That is what became of it.
    """
    if isinstance(end, Returned):
        cause: Any = end.cause
        return Result(end.raw, None if end.members is None else members_of(end.members), cause)
    if isinstance(end, Failed):
        return _failure_of(end)
    if isinstance(end, Wanted):
        return InputRequired(members_of(end.requests), end.state)
    if isinstance(end, Raised):
        if end.kind == "timeout":
            raise UpstreamTimeout(end.text)
        if end.kind == "protocol":
            raise UpstreamProtocolError(end.text)
        if end.kind == "authorization":
            raise AuthorizationNeeded(end.text, end.page)
        raise UpstreamUnavailable(end.text, sent=end.sent)
    return None


def answered(call: int, question: int, answer: Answer) -> Answered:
    """Return an answer as it travels."""
    if answer.failure is not None:
        return Answered(call, question, None, _failed(answer.failure))
    return Answered(call, question, b"{}" if answer.result is None else bytes(answer.result), None)


def answer_of(told: Answered) -> Answer:
    """Return an answer that has travelled."""
    if told.failure is not None:
        return Answer(failure=_failure_of(told.failure))
    return Answer(None if told.result is None else Raw(told.result))


def peer_of(told: bytes | None) -> Peer | None:
    """Return what a server said of itself."""
    return None if told is None else msgspec.json.decode(told, type=Peer)


def _failed(failure: Failure) -> Failed:
    data = None if failure.data is None else encode(failure.data)
    return Failed(failure.code, failure.message, data, failure.cause)


def _failure_of(told: Failed) -> Failure:
    cause: Any = told.cause
    return Failure(told.code, told.message, None if told.data is None else Raw(told.data), cause)
