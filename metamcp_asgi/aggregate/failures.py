"""What a client is told of a server's error (eras.md 2.12): never a code that would mean something else from us."""

import uuid

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.interaction.pages import URL_REQUIRED
from metamcp_asgi.protocol.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    RESOURCE_NOT_FOUND,
)
from metamcp_asgi.protocol.outcome import Cause, Failure, Outcome, internal, tool_error

__all__ = ["cut_short", "not_found", "page_first", "public", "told"]


def public(failure: Failure, call: Call) -> Failure:
    """Return the failure in the semantics of the modern revisions.

    Args:
        failure: What the server answered.
        call: What it was called with, in the names that the endpoint publishes.
    """
    code, method = failure.code, call.method
    if method == "resources/read" and (code in (RESOURCE_NOT_FOUND, INVALID_PARAMS) or _unknown_of_sdk_1(failure)):
        return not_found(call.target, failure.message)
    if code == MISSING_CAPABILITY:
        return failure
    if code == URL_REQUIRED and call.ask is not None and call.capabilities.url:
        # Its client speaks the one revision that knows the code.
        return failure
    if -32099 <= code <= -32000:
        # Codes without a shared meaning, and codes that would speak of the client's own request (ER-01).
        return internal(failure.message, failure)
    if code == METHOD_NOT_FOUND:
        return internal(f"The server does not implement {method}", failure)
    return failure


def told(call: Call, text: str, cause: Cause) -> Outcome:
    """Return what the gateway itself has to say in place of a result."""
    # A model can read and work around the one, a program has to handle the other.
    if call.method == "tools/call":
        return tool_error(text, cause)
    return Failure(INTERNAL_ERROR, text, cause=cause)


def cut_short(call: Call) -> Outcome:
    """Return what is told of a call that was not over when its process had to end."""
    who = f"Server {call.server!r}" if call.server else "Nobody"
    return told(call, f"The gateway was restarted. {who} had not answered in the time for that", "unavailable")


def page_first(message: str, page: str) -> Failure:
    """Return the failure of a call before which a person has to open a page, in the words of 2025-11-25 (ER-03).

    Args:
        message: What for.
        page: Its URL.
    """
    page_of = {"mode": "url", "elicitationId": uuid.uuid4().hex, "url": page, "message": message}
    return Failure(URL_REQUIRED, message, {"elicitations": [page_of]})


def _unknown_of_sdk_1(failure: Failure) -> bool:
    """Tell whether the Python SDK 1 says that there is no such resource; it has code 0 for that (SEP-2164)."""
    return failure.code == 0 and failure.message.startswith("Unknown resource: ")


def not_found(uri: str, message: str = "") -> Failure:
    """Return the failure of a read whose resource nobody has (RE-02)."""
    return Failure(INVALID_PARAMS, message or f"Resource not found: {uri}", {"uri": uri})
