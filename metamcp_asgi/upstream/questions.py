"""What a server may ask the client, and how that is refused, answered and withdrawn; the same in both eras.

Only reads and writes messages. Whose question it is, and who answers it, is the sessions' matter (``dialogue.py``).
"""

from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from metamcp_asgi.protocol import jsonrpc
from metamcp_asgi.protocol.capabilities import Capabilities
from metamcp_asgi.protocol.downgrade_questions import answer_for
from metamcp_asgi.protocol.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    RequestId,
)
from metamcp_asgi.protocol.outcome import Failure, internal
from metamcp_asgi.upstream.request import Answer

__all__ = ["NO_ROOTS", "UNRELATED", "lacking", "refusal", "response", "withdrawal", "worded"]

NO_ROOTS: Final = Answer(Raw(b'{"roots":[]}'))
UNRELATED: Final = Answer(failure=Failure(INVALID_PARAMS, "This belongs to no request that is in progress"))
"""The answer to what nobody can be asked (SEP-2260, eras.md 2.6 rule 1)."""

UNTOLD: Final = Answer(failure=Failure(INTERNAL_ERROR, "The client's answer has no form in the server's revision"))

_KINDS: Final = frozenset({"elicitation/create", "sampling/createMessage", "roots/list"})
_USER_REJECTED: Final = -1
"""The code that the specification has for a sampling request that the user declined."""
_EMPTY: Final = Raw(b"{}")


class _Params(Struct):
    """The params on which it depends whether a question is covered."""

    mode: str = "form"
    tools: Raw | UnsetType = UNSET
    toolChoice: Raw | UnsetType = UNSET  # noqa: N815


def refusal(capabilities: Capabilities, method: str, params: Raw | UnsetType) -> Failure | None:
    """Return why a question is refused, or ``None`` when it is covered by what was declared (MR-03, EL-01, SA-01).

    Args:
        capabilities: What was declared to the server.
        method: What it asks for.
        params: The question's params.
    """
    asked = method == "elicitation/create" and (capabilities.form or capabilities.url)
    if method not in _KINDS or not (asked or capabilities.allow(method)):
        return Failure(METHOD_NOT_FOUND, f"Method not found: {method[:60]} (the client declared no such capability)")
    try:
        told = msgspec.json.decode(_EMPTY if params is UNSET else params, type=_Params)
    except msgspec.DecodeError as error:
        return Failure(INVALID_PARAMS, f"Invalid params: {error}")
    if not capabilities.allow(method, told.mode):
        return Failure(INVALID_PARAMS, f"The client declared no elicitation of mode {told.mode[:20]!r}")
    if (
        method == "sampling/createMessage"
        and not capabilities.tools
        and (told.tools, told.toolChoice) != (UNSET, UNSET)
    ):
        return Failure(INVALID_PARAMS, "The client declared no tools in sampling")
    return None


def lacking(method: str, params: Raw | UnsetType, refused: Failure) -> Failure:
    """Return what the caller is told of a question that was refused: which capability it takes (MR-03, EL-01).

    Args:
        method: What a modern server asks for, although it was told what the client has.
        params: The question's params.
        refused: Why the question was refused, by ``refusal``.
    """
    text = f"The server asks for input that was not offered to it: {refused.message}"
    try:
        told = msgspec.json.decode(_EMPTY if params is UNSET else params, type=_Params)
    except msgspec.DecodeError:
        return internal(text)
    needed: dict[str, object]
    if method == "elicitation/create" and told.mode in ("form", "url"):
        needed = {"elicitation": {told.mode: {}}}
    elif method == "sampling/createMessage":
        needed = {"sampling": {} if (told.tools, told.toolChoice) == (UNSET, UNSET) else {"tools": {}}}
    elif method == "roots/list":
        needed = {"roots": {}}
    else:
        return internal(text)
    return Failure(MISSING_CAPABILITY, text, {"requiredCapabilities": needed})


def response(number: RequestId, answer: Answer) -> bytes:
    """Return the response to question ``number``."""
    failure = answer.failure
    if failure is not None:
        return jsonrpc.error_response(number, failure.code, failure.message, failure.data)
    return jsonrpc.response(number, _EMPTY if answer.result is None else answer.result)


def worded(answer: Answer, method: str, revision: str) -> Answer:
    """Return an answer in the words of the server's revision, which may be older than the client's."""
    if answer.result is None:
        return answer
    result = answer_for(revision, method, answer.result)
    return UNTOLD if result is None else Answer(result)


def withdrawal(method: str) -> Answer:
    """Return the answer to a question that nobody will answer, as its request is over (eras.md 2.6 rule 7)."""
    if method == "elicitation/create":
        return Answer(Raw(b'{"action":"cancel"}'))
    if method == "sampling/createMessage":
        return Answer(failure=Failure(_USER_REJECTED, "User rejected sampling request"))
    return Answer(failure=Failure(INTERNAL_ERROR, "The request that this belongs to is over"))
