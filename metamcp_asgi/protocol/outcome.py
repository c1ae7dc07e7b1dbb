"""What became of a call, in the semantics of the modern revisions."""

from typing import Any, Literal, TypeAlias

from msgspec import Raw, Struct

from metamcp_asgi.protocol.jsonrpc import INTERNAL_ERROR, RATE_LIMITED, Members, decode_members, encode

__all__ = ["Cause", "Failure", "InputRequired", "Outcome", "Result", "away", "internal", "limited", "tool_error"]

Cause: TypeAlias = Literal["server", "unknown", "refused", "unavailable", "timeout", "away", "limited"]
"""Where an outcome comes from: it is the server's own word; or ours, because nothing of that name is published, the
tool is switched off, the server could not do it, or did not answer in time; the processes of the gateway cannot reach
each other, or a rate is too high. MCP has text for these, HTTP a status."""


class Result(Struct, gc=False):
    """A result in the server's own bytes.

    ``members`` is set when a modern server sent it, whose results carry members that legacy revisions
    do not know; a legacy server's result is only split when somebody has to add to it.
    """

    raw: bytes | Raw
    members: Members | None = None
    cause: Cause = "server"

    def split(self) -> Members:
        """Return the members of the result object."""
        return self.members if self.members is not None else decode_members(self.raw)


class Failure(Struct, gc=False):
    """A JSON-RPC error; ``data`` is any JSON-serialisable value or ``Raw``."""

    code: int
    message: str
    data: Any = None
    cause: Cause = "server"


class InputRequired(Struct, gc=False):
    """The call waits for the client's input (MR-02); the client repeats it with the answers.

    ``requests`` are the questions by key, each the JSON of ``{"method": ..., "params": ...}``. ``state`` is what the
    repetition has to bring along, ``None`` for nothing: opaque to whoever gets it.
    """

    requests: Members
    state: str | None = None


Outcome: TypeAlias = Result | Failure | InputRequired


def tool_error(text: str, cause: Cause = "server") -> Result:
    """Return the result of a tool call that failed in a way that the model should read and can act on (TO-07)."""
    return Result(encode({"content": [{"type": "text", "text": text}], "isError": True}), cause=cause)


def internal(message: str, upstream: Failure | None = None) -> Failure:
    """Return an internal error; the server's own error, where there is one, is kept under ``data.upstream``."""
    if upstream is None:
        return Failure(INTERNAL_ERROR, message)
    original: dict[str, Any] = {"code": upstream.code, "message": upstream.message}
    if upstream.data is not None:
        original["data"] = upstream.data
    return Failure(INTERNAL_ERROR, message, {"upstream": original})


def away(message: str) -> Failure:
    """Return the error of a call that another process of this gateway would have to answer, which is out of reach."""
    return Failure(INTERNAL_ERROR, message, cause="away")


def limited(message: str, seconds: int) -> Failure:
    """Return the error of a call that came too soon.

    Args:
        message: What the limit is.
        seconds: When the next one is admitted, at least 1.
    """
    return Failure(RATE_LIMITED, message, {"retryAfter": seconds}, "limited")
