"""``retry``: a time limit for tool calls, and another attempt where that is safe.

It is only safe where the tool says that it may be repeated and the operator trusts what tools say of themselves (T-35).
"""

import asyncio
import logging
import random
from typing import Annotated

from msgspec import Meta, Struct

from metamcp_asgi.aggregate.middleware.protocol import Next, ToolCall, ToolResult
from metamcp_asgi.errors import UpstreamProtocolError, UpstreamTimeout, UpstreamUnavailable

__all__ = ["Retry", "repeatable"]

logger = logging.getLogger("metamcp")

LONGEST_PAUSE = 10.0
"""Seconds between two attempts at the most."""


class RetryOptions(Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """What can be configured.

    ``timeout_seconds`` is for each attempt; without it the server's own timeout counts. ``attempts`` are all, the first
    included. ``backoff_seconds`` is the pause before the second one, and doubles.
    """

    timeout_seconds: Annotated[float, Meta(gt=0, le=3600)] | None = None
    attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    backoff_seconds: Annotated[float, Meta(ge=0, le=60)] = 0.2
    trust_annotations: bool = False


class Retry:
    """Ends calls that take too long, and repeats those that failed where that is safe.

    Args:
        options: What is configured.
    """

    Options = RetryOptions

    def __init__(self, options: RetryOptions) -> None:
        self._options = options

    async def call_tool(self, call: ToolCall, next: Next[ToolCall, ToolResult]) -> ToolResult:  # noqa: A002
        """Call a tool, perhaps several times."""
        options = self._options
        attempts = options.attempts if options.trust_annotations and repeatable(call) else 1
        for attempt in range(1, attempts + 1):
            try:
                async with asyncio.timeout(options.timeout_seconds) as limit:
                    return await next(call)
            except TimeoutError:
                if not limit.expired():
                    raise
                error: Exception = UpstreamTimeout(
                    f"Server {call.server!r} did not answer within {options.timeout_seconds:g} seconds"
                )
            except (UpstreamUnavailable, UpstreamTimeout, UpstreamProtocolError) as failed:
                error = failed
            if attempt == attempts:
                raise error
            logger.info("%s is called again (%d of %d): %s", call.name, attempt + 1, attempts, error)
            pause = min(options.backoff_seconds * 2 ** (attempt - 1), LONGEST_PAUSE)
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load  # nosec B311
        raise AssertionError("there is at least one attempt")


def repeatable(call: ToolCall) -> bool:
    """Tell whether a tool says of itself that calling it twice is as good as once."""
    annotations = call.annotations
    return annotations.get("idempotentHint") is True or annotations.get("readOnlyHint") is True
