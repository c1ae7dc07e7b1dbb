"""What a client is told of a server's error (eras.md 2.12): never a code that would mean something else from us."""

from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_CAPABILITY, RESOURCE_NOT_FOUND
from metamcp_asgi.protocol.outcome import Failure, internal

__all__ = ["not_found", "public"]


def public(failure: Failure, method: str, uri: str) -> Failure:
    """Return the failure in the semantics of the modern revisions.

    Args:
        failure: What the server answered.
        method: The method that was called.
        uri: The resource that was read, as the endpoint publishes it.
    """
    code = failure.code
    if method == "resources/read" and code in (RESOURCE_NOT_FOUND, INVALID_PARAMS):
        return not_found(uri, failure.message)
    if code == MISSING_CAPABILITY:
        return failure
    if -32099 <= code <= -32000:
        # Codes without a shared meaning, and codes that would speak of the client's own request (ER-01).
        return internal(failure.message, failure)
    if code == METHOD_NOT_FOUND:
        return internal(f"The server does not implement {method}", failure)
    return failure


def not_found(uri: str, message: str = "") -> Failure:
    """Return the failure of a read whose resource nobody has (RE-02)."""
    return Failure(INVALID_PARAMS, message or f"Resource not found: {uri}", {"uri": uri})
