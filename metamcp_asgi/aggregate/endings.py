"""How a call ended, for those who count: in the words of ``metrics.sheet.OUTCOMES``."""

import asyncio
from typing import Final

import msgspec

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.page import Page
from metamcp_asgi.metrics.sheet import OUTCOMES
from metamcp_asgi.protocol.outcome import Failure, InputRequired, Outcome, Result
from metamcp_asgi.protocol.revisions import TASK_RESULT

__all__ = ["ending_of", "ending_with"]

_OK: Final = OUTCOMES.index("ok")
_TOOL_ERROR: Final = OUTCOMES.index("tool_error")
_ERROR: Final = OUTCOMES.index("error")
_CANCELLED: Final = OUTCOMES.index("cancelled")
_INPUT_REQUIRED: Final = OUTCOMES.index("input_required")
_OURS: Final = {cause: OUTCOMES.index(cause) for cause in ("unknown", "refused", "unavailable", "timeout", "limited")}
_OURS["away"] = _OURS["unavailable"]


_TOOLS: Final = frozenset({"tools/call", TASK_RESULT})
"""What is answered with the result of a tool."""
_SEARCHED: Final = 65536
"""Bytes of a result that are searched for its error flag; of a larger one, which hardly is an error, only the end."""
_TAIL: Final = 64


class _Said(msgspec.Struct):
    isError: object = False  # noqa: N815 - as it is in MCP


def ending_of(call: Call, outcome: Outcome | Page) -> int:
    """Return the index of the outcome."""
    if isinstance(outcome, Result):
        if outcome.cause != "server":
            return _OURS[outcome.cause]
        return _TOOL_ERROR if call.method in _TOOLS and _says_error(outcome) else _OK
    if isinstance(outcome, Failure):
        return _ERROR if outcome.cause == "server" else _OURS[outcome.cause]
    return _INPUT_REQUIRED if isinstance(outcome, InputRequired) else _OK


def ending_with(error: BaseException) -> int:
    """Return the index of an ending by an exception."""
    return _CANCELLED if isinstance(error, asyncio.CancelledError) else _ERROR


def _says_error(result: Result) -> bool:
    if result.members is not None:
        return bytes(result.members.get("isError", b"")) == b"true"
    raw = bytes(result.raw) if len(result.raw) <= _SEARCHED else bytes(memoryview(result.raw)[-_TAIL:])
    if b'"isError":true' not in raw and b'"isError": true' not in raw:
        return False
    if len(raw) < len(result.raw):
        return True
    # It may be a member of something inside.
    try:
        return msgspec.json.decode(raw, type=_Said).isError is True
    except msgspec.DecodeError:
        return False
