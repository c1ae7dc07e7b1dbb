"""``limit``: results of at most so many bytes, so that no tool floods a model's context.

What is too long is replaced by an error that says so, or, if configured, has its texts cut.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from metamcp_asgi.aggregate.middleware.protocol import (
    Next,
    ResourceCall,
    ResourceResult,
    ToolCall,
    ToolResult,
)
from metamcp_asgi.aggregate.middleware.signals import CallFailed
from metamcp_asgi.protocol.jsonrpc import INTERNAL_ERROR, encode

__all__ = ["Limit"]


class LimitOptions(Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """What can be configured: the most bytes of a result as JSON, and what becomes of a longer one."""

    max_bytes: Annotated[int, Meta(ge=256)] = 100_000
    action: Literal["refuse", "truncate"] = "refuse"


class Limit:
    """Keeps results short.

    Args:
        options: What is configured.
    """

    Options = LimitOptions

    def __init__(self, options: LimitOptions) -> None:
        self._options = options

    async def call_tool(self, call: ToolCall, next: Next[ToolCall, ToolResult]) -> ToolResult:  # noqa: A002
        """Keep a tool's result short."""
        result = await next(call)
        size, most = result.size, self._options.max_bytes
        if size <= most:
            return result
        if self._options.action == "truncate" and (shorter := _shortened(result, size - most)) is not None:
            result.set(content=shorter, structuredContent=None)
            if result.size <= most:
                return result
        return ToolResult.error(
            f"The result of {call.name} has {size} bytes, and {most} are the most allowed. Ask for less."
        )

    async def read_resource(
        self,
        call: ResourceCall,
        next: Next[ResourceCall, ResourceResult],  # noqa: A002
    ) -> ResourceResult:
        """Refuse a resource that is too long: half of one is none."""
        result = await next(call)
        if result.size > self._options.max_bytes:
            text = f"{call.uri} has {result.size} bytes, and {self._options.max_bytes} are the most allowed"
            raise CallFailed.of(INTERNAL_ERROR, text)
        return result


def _shortened(result: ToolResult, excess: int) -> list[dict[str, Any]] | None:
    """Return the content with its texts cut by at least ``excess`` bytes, the last ones first."""
    blocks = list(result.content)
    # A structured result says the same again, and cannot be cut; without it there may be nothing to cut.
    excess -= len(result.members.get("structuredContent", b""))
    # What is written anew is often shorter: servers put spaces between members and escape letters.
    excess -= len(result.members.get("content", b"")) - len(encode(blocks))
    for index in reversed(range(len(blocks))):
        block = blocks[index]
        if excess <= 0:
            break
        if block.get("type") != "text" or not isinstance(text := block.get("text"), str):
            continue
        kept = _cut(text, excess + _NOTE)
        note = f"[{len(text) - len(kept)} more characters were cut off by the gateway]"
        excess -= len(encode(text)) - len(encode(kept + note))
        blocks[index] = {**block, "text": kept + note}
    return blocks if excess <= 0 else None


_NOTE = 80
"""Bytes for the note and for the comma between members."""


def _cut(text: str, excess: int) -> str:
    """Return the longest beginning of a text whose JSON is shorter by ``excess`` bytes, or nothing."""
    budget = len(encode(text)) - excess
    low, high = 0, max(0, min(len(text), budget))
    while low < high:
        middle = (low + high + 1) // 2
        if len(encode(text[:middle])) <= budget:
            low = middle
        else:
            high = middle - 1
    return text[:low]
