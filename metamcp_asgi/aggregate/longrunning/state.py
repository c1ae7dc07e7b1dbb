"""How a task of ours is, as its owner tells other processes, and as clients of either revision are shown it."""

import datetime
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from metamcp_asgi.aggregate.interaction.pages import URL_REQUIRED
from metamcp_asgi.aggregate.interaction.wire import Frame, outcome_of
from metamcp_asgi.protocol.jsonrpc import Members, decode_members, encode
from metamcp_asgi.protocol.meta import RELATED_TASK
from metamcp_asgi.protocol.outcome import Failure, Outcome, Result, internal
from metamcp_asgi.upstream.request import Question

__all__ = ["Handle", "State", "as_extension", "as_of_2025", "ended", "related"]

POLL_MS: Final = 500
"""How often a client should look at a task of ours, in milliseconds: what is looked at is the memory of a process."""

Status = Literal["working", "input_required", "completed", "failed", "cancelled"]


class Handle(Struct, frozen=True, array_like=True):
    """What a sealed task id says: whose task it is, and its id at its server, or at the process that owns it.

    ``created`` is in seconds since the epoch, ``ttl`` in milliseconds; both are there for tasks of ours only.
    """

    endpoint: str
    principal: str
    server: str
    id: str
    owner: str = ""
    created: float = 0.0
    ttl: int = 0


class State(Struct, frozen=True, array_like=True):
    """How a task of ours is.

    ``updated`` is in seconds since the epoch. ``questions`` are open, each with its method and params. ``frame`` says
    what became of the call, once it has ended; a task that was cancelled has none.
    """

    updated: float
    message: str = ""
    questions: dict[str, tuple[str, bytes]] = {}
    frame: bytes = b""
    cancelled: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.cancelled or bool(self.frame)

    def asked(self) -> dict[str, Question]:
        """Return the open questions."""
        return {key: Question(method, Raw(params)) for key, (method, params) in self.questions.items()}

    def outcome(self) -> Result | Failure:
        """Return what became of the call, which has ended."""
        if self.cancelled:
            return internal("The task was cancelled")
        outcome = outcome_of(msgspec.msgpack.decode(self.frame, type=Frame))
        if isinstance(outcome, Result):
            return Result(b"", outcome.split(), outcome.cause)
        return (
            outcome if isinstance(outcome, Failure) else internal("The task asks for input in a form of another call")
        )


def as_extension(token: str, handle: Handle, state: State) -> Members:
    """Return a task of ours in the flat form of the extension, but for its questions and ``resultType``.

    Args:
        token: Its id, as clients know it.
        handle: What that says.
        state: How it is.
    """
    status: Status = "input_required" if state.questions else "working"
    more: Members = {}
    if state.cancelled:
        status = "cancelled"
    elif state.frame:
        outcome = state.outcome()
        # ``failed`` is for JSON-RPC errors and nothing else (TK-04).
        if isinstance(outcome, Result):
            status, more = "completed", {"result": Raw(encode({"resultType": Raw(b'"complete"'), **outcome.split()}))}
        else:
            if outcome.code == URL_REQUIRED:  # which this revision does not have (ER-03)
                outcome = internal(outcome.message, outcome)
            status, more = "failed", {"error": Raw(encode(_error(outcome)))}
    return {**_head(token, handle, state, status, "ttlMs", "pollIntervalMs"), **more}


def as_of_2025(token: str, handle: Handle, state: State) -> Members:
    """Return a task of ours in the form of 2025-11-25; see ``as_extension``."""
    status: Status = "input_required" if state.questions else "working"
    if state.cancelled:
        status = "cancelled"
    elif state.frame:
        outcome = state.outcome()
        failed = isinstance(outcome, Failure) or bytes(outcome.split().get("isError", b"")) == b"true"
        status = "failed" if failed else "completed"
    return _head(token, handle, state, status, "ttl", "pollInterval")


def related(members: Members, token: str) -> Members:
    """Return a result with the mark that ties it to its task, as 2025-11-25 wants it (TK-07)."""
    try:
        meta = decode_members(members.get("_meta", Raw(b"{}")))
    except msgspec.ValidationError:
        meta = {}  # as everywhere, one that is no object says nothing
    return {**members, "_meta": Raw(encode({**meta, RELATED_TASK: {"taskId": token}}))}


def _head(token: str, handle: Handle, state: State, status: Status, ttl: str, interval: str) -> Members:
    message = state.message
    if state.frame and isinstance(outcome := state.outcome(), Failure):
        message = outcome.message
    told: dict[str, Any] = {"taskId": token, "status": status}
    if message:
        told["statusMessage"] = message
    told |= {
        "createdAt": _time(handle.created),
        "lastUpdatedAt": _time(state.updated),
        ttl: handle.ttl,
        interval: POLL_MS,
    }
    return {name: Raw(encode(value)) for name, value in told.items()}


def _time(seconds: float) -> str:
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _error(failure: Failure) -> dict[str, Any]:
    error: dict[str, Any] = {"code": failure.code, "message": failure.message}
    return error if failure.data is None else {**error, "data": failure.data}


def ended(outcome: Outcome) -> bytes:
    """Return what became of a call as ``State.frame`` has it."""
    if isinstance(outcome, Result):
        outcome = Result(encode(outcome.split()), cause=outcome.cause)
    return Frame.of(outcome)
