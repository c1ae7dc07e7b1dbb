"""What a client is told of a server's error (eras.md 2.12): never a code that would mean something else from us."""

import uuid

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.interaction.pages import URL_REQUIRED
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_CAPABILITY, RESOURCE_NOT_FOUND
from metamcp_asgi.protocol.outcome import Failure, internal

__all__ = ["not_found", "page_first", "public"]


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
