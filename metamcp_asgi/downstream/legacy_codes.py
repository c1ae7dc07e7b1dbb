"""Failures in the codes that legacy revisions know (eras.md 2.12)."""

from metamcp_asgi.protocol import jsonrpc
from metamcp_asgi.protocol.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    MISSING_CAPABILITY,
    RESOURCE_NOT_FOUND,
    RequestId,
)
from metamcp_asgi.protocol.outcome import Failure, tool_error

__all__ = ["refusal"]


def refusal(request_id: RequestId, method: str, failure: Failure) -> bytes:
    """Return the response that a failure is to a legacy client.

    Args:
        request_id: The request.
        method: Its method.
        failure: Why it failed, in the semantics of the modern revisions.
    """
    if failure.code == MISSING_CAPABILITY:
        text = f"The server needs a client capability that is not available here: {failure.message}"
        if method == "tools/call":
            return jsonrpc.response(request_id, tool_error(text).raw)
        return jsonrpc.error_response(request_id, INTERNAL_ERROR, text)
    code = failure.code
    if method in ("resources/read", "resources/subscribe") and code == INVALID_PARAMS:
        code = RESOURCE_NOT_FOUND
    return jsonrpc.error_response(request_id, code, failure.message, failure.data)
