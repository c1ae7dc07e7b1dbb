"""What servers tell of their tasks, in either form. Only reads messages."""

from typing import Any, Final, Literal, TypeGuard

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from metamcp_asgi.errors import UpstreamProtocolError
from metamcp_asgi.protocol.capabilities import TASKS
from metamcp_asgi.protocol.jsonrpc import MISSING_CAPABILITY, Members, decode_members, encode
from metamcp_asgi.protocol.meta import RELATED_TASK
from metamcp_asgi.protocol.outcome import Failure, Outcome, Result
from metamcp_asgi.upstream.interface import Server
from metamcp_asgi.upstream.request import Question

__all__ = ["ENDED", "Told", "insists", "is_task", "read", "unrelated"]

ENDED: Final = ("completed", "failed", "cancelled")
LONGEST_POLL: Final = 5.0
"""Seconds between two looks at a task, whatever its server says."""


class Told(Struct):
    """What matters of a server's task; its id and status, and what is there in that status."""

    taskId: str  # noqa: N815
    status: Literal["working", "input_required", "completed", "failed", "cancelled"] = "working"
    statusMessage: str | None = None  # noqa: N815
    pollInterval: float | None = None  # noqa: N815
    pollIntervalMs: float | None = None  # noqa: N815
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    inputRequests: dict[str, Question] = {}  # noqa: N815

    @property
    def interval(self) -> float | None:
        """The seconds between two looks at it that the server wants, within reason; ``None`` when it says nothing."""
        milliseconds = self.pollIntervalMs if self.pollIntervalMs is not None else self.pollInterval
        return None if milliseconds is None else min(max(milliseconds / 1000, 0.05), LONGEST_POLL)


class _Wanted(Struct):
    requiredCapabilities: dict[str, Any] = {}  # noqa: N815


def read(server: Server, told: Members | Raw) -> Told:
    """Return what a server tells of a task.

    Raises:
        UpstreamProtocolError: It is malformed.
    """
    try:
        return msgspec.json.decode(told if isinstance(told, Raw) else encode(told), type=Told)
    except msgspec.DecodeError as error:
        raise UpstreamProtocolError(
            f"Server {server.name!r} describes a task in a form that is not MCP: {error}"
        ) from None


def is_task(outcome: Outcome) -> TypeGuard[Result]:
    """Tell whether a modern server answered a call with a task."""
    members = outcome.members if isinstance(outcome, Result) else None
    return members is not None and bytes(members.get("resultType", b"")) == b'"task"'


def insists(outcome: Outcome) -> bool:
    """Tell whether a modern server refuses to answer but with a task."""
    if not isinstance(outcome, Failure) or outcome.code != MISSING_CAPABILITY or outcome.data is None:
        return False
    try:
        wanted = msgspec.json.decode(encode(outcome.data), type=_Wanted).requiredCapabilities
    except msgspec.DecodeError:
        return False
    extensions = wanted.get("extensions")
    return wanted.keys() == {"extensions"} and isinstance(extensions, dict) and extensions.keys() == {TASKS}


def unrelated(members: Members) -> Members:
    """Return a result without the mark that ties it to the server's task, of which the client does not know."""
    if "_meta" not in members:
        return members
    try:
        meta = decode_members(members["_meta"])
    except msgspec.ValidationError:
        meta = {}  # as everywhere, one that is no object says nothing
    meta.pop(RELATED_TASK, None)
    rest = {name: value for name, value in members.items() if name != "_meta"}
    return {**rest, "_meta": Raw(encode(meta))} if meta else rest
