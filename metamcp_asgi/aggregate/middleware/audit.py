"""``audit``: one line of JSON for each call, to the logger ``metamcp.audit``.

Never a value of an argument, only the SHA-256 of all of them as they were sent.
"""

import asyncio
import hashlib
import logging
import time
from typing import Any

from metamcp_asgi.aggregate.middleware.protocol import (
    AnyCall,
    AnyResult,
    Next,
    PromptCall,
    ResourceCall,
    ToolCall,
    ToolResult,
)
from metamcp_asgi.aggregate.middleware.signals import CallFailed, InputNeeded
from metamcp_asgi.errors import ProtocolError, UpstreamTimeout
from metamcp_asgi.protocol.jsonrpc import encode

__all__ = ["Audit"]

logger = logging.getLogger("metamcp.audit")


class Audit:
    """Writes who called what, for how long, with which outcome."""

    async def call_tool(self, call: ToolCall, next: Next[ToolCall, ToolResult]) -> AnyResult:  # noqa: A002
        """Write a tool call."""
        return await _written(call, next, tool=call.name, arguments=bytes(call.raw_arguments))

    async def get_prompt(self, call: PromptCall, next: Next[PromptCall, AnyResult]) -> AnyResult:  # noqa: A002
        """Write a request for a prompt."""
        return await _written(call, next, prompt=call.name, arguments=bytes(call.raw_arguments))

    async def read_resource(self, call: ResourceCall, next: Next[ResourceCall, AnyResult]) -> AnyResult:  # noqa: A002
        """Write the reading of a resource; a URI may hold values, so of it only scheme and digest."""
        return await _written(call, next, scheme=call.uri.partition(":")[0], arguments=call.uri.encode())


async def _written(call: AnyCall, following: Next[Any, AnyResult], *, arguments: bytes, **what: str) -> AnyResult:
    started = time.perf_counter()
    outcome = "error"
    try:
        result = await following(call)
        outcome = result.result.cause if call.route is None else "ok"
        if isinstance(result, ToolResult) and result.is_error:
            outcome = "tool_error" if result.result.cause == "server" else result.result.cause
    except CallFailed as failed:
        failure = failed.failure
        outcome = failure.cause if failure.cause != "server" else f"error {failure.code}"
        raise
    except InputNeeded:
        outcome = "input_required"
        raise
    except ProtocolError as error:
        outcome = f"error {error.code}"
        raise
    except UpstreamTimeout:
        outcome = "timeout"
        raise
    except asyncio.CancelledError:
        outcome = "cancelled"
        raise
    else:
        return result
    finally:
        line = {
            "method": call.method,
            "principal": call.principal.id,
            "endpoint": call.endpoint,
            "namespace": call.namespace,
            "server": call.server,
            **what,
            "outcome": outcome,
            "ms": round((time.perf_counter() - started) * 1000, 1),
            "arguments_sha256": hashlib.sha256(arguments).hexdigest(),
        }
        logger.info("%s", encode(line).decode())
