"""What processes tell each other of a parked call: one message to its owner, frames back."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from metamcp_asgi.bus.protocol import OwnerLost
from metamcp_asgi.errors import ProtocolError, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from metamcp_asgi.protocol.jsonrpc import Members, decode_members, encode
from metamcp_asgi.protocol.outcome import Failure, InputRequired, Outcome, Result, internal, tool_error
from metamcp_asgi.upstream.request import OnLog, OnProgress

__all__ = ["Frame", "Resume", "lost", "outcome_of", "read_frames", "written"]

LOST: Final = (
    "The pending interaction was lost, because the process that held it has stopped. Nothing was decided; call again."
)
LOST_ANSWERED: Final = (
    "The pending interaction was lost, because the process that held it has stopped. The answers may have reached the "
    "server before; see what was done, then call again."
)


class Resume(Struct, frozen=True, array_like=True):
    """Asks the owner of a parked call to go on with it; ``answers`` are JSON by key."""

    pid: bytes
    round: int
    endpoint: str
    principal: str
    answers: dict[str, bytes]
    progress: bool
    log: bool


class Frame(Struct, frozen=True, array_like=True):
    """One thing that the owner has to say; ``body`` is JSON."""

    kind: Literal["progress", "log", "result", "failure", "input", "refused", "timeout", "unavailable"]
    body: bytes = b"{}"
    text: str | None = None
    code: int = 0

    @classmethod
    def of(cls, outcome: Outcome | ProtocolError | UpstreamError) -> bytes:
        """Return the last frame of a round."""
        if isinstance(outcome, Result):
            # Only legacy servers are parked, so the result is in its own bytes unless a middleware changed it.
            raw = bytes(outcome.raw) if outcome.members is None else encode(outcome.members)
            frame = cls("result", raw, outcome.cause)
        elif isinstance(outcome, InputRequired):
            frame = cls("input", encode(outcome.requests), outcome.state)
        elif isinstance(outcome, Failure):
            frame = cls(
                "failure", encode({"data": outcome.data, "cause": outcome.cause}), outcome.message, outcome.code
            )
        elif isinstance(outcome, ProtocolError):
            frame = cls("refused", b"{}", outcome.message, outcome.code)
        else:
            kind: Any = "timeout" if isinstance(outcome, UpstreamTimeout) else "unavailable"
            frame = cls(kind, b"{}", str(outcome))
        return msgspec.msgpack.encode(frame)


class _Detail(Struct):
    data: Any = None
    cause: Any = "server"


def written(kind: Literal["progress", "log"], members: Members) -> bytes:
    """Return the frame of a notification."""
    return msgspec.msgpack.encode(Frame(kind, encode(members)))


async def read_frames(
    frames: AsyncGenerator[bytes, None], on_progress: OnProgress | None, on_log: OnLog | None
) -> Outcome:
    """Pass on what an owner says and return what became of the call.

    Args:
        frames: What it says; closed when this ends, or is cancelled.
        on_progress: Gets progress.
        on_log: Gets log messages.

    Raises:
        ProtocolError: The round is over, or an answer is malformed.
        UpstreamError: The server could not be asked.
        OwnerLost: The owner ended before it said what became of the call.
        BusUnavailable: The owner cannot be reached.
    """
    begun = False
    async with aclosing(frames) as open_frames:
        async for data in open_frames:
            begun = True
            frame = msgspec.msgpack.decode(data, type=Frame)
            if frame.kind == "progress":
                if on_progress is not None:
                    on_progress(decode_members(frame.body))
            elif frame.kind == "log":
                if on_log is not None:
                    on_log(decode_members(frame.body))
            else:
                return outcome_of(frame)
    raise OwnerLost("the owner ended before it had answered", sent=begun)


def lost(method: str, error: OwnerLost) -> Outcome:
    """Return what a client is told whose call was lost with its owner.

    Args:
        method: Of the call.
        error: Tells whether the owner may have got the answers.
    """
    told = LOST_ANSWERED if error.sent else LOST
    return tool_error(told, "unavailable") if method == "tools/call" else internal(told)


def outcome_of(frame: Frame) -> Outcome:
    """Return what the last frame says.

    Raises:
        ProtocolError: The round is over, or an answer is malformed.
        UpstreamError: The server could not be asked.
    """
    text = frame.text or ""
    if frame.kind == "result":
        return Result(frame.body, cause=text)  # type: ignore[arg-type]
    if frame.kind == "input":
        return InputRequired(decode_members(frame.body), frame.text)
    if frame.kind == "failure":
        detail = msgspec.json.decode(frame.body, type=_Detail)
        return Failure(frame.code, text, detail.data, detail.cause)
    if frame.kind == "refused":
        raise ProtocolError(frame.code, text)
    raise UpstreamTimeout(text) if frame.kind == "timeout" else UpstreamUnavailable(text)
