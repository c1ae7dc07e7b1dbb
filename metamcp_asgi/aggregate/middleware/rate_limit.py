"""``rate_limit``: so many calls of a tool in so many seconds, whoever the client claims to call in its headers.

Counted by the tool that the body names, over all processes of the gateway. What is over the limit does not reach the
server, and gets a JSON-RPC error of its own with the seconds to wait; over HTTP that is a 429 with ``Retry-After``.
"""

import math
import re
from collections.abc import Collection
from fnmatch import translate
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from metamcp_asgi.aggregate.middleware.protocol import Next, ToolCall, ToolResult
from metamcp_asgi.aggregate.middleware.signals import CallFailed
from metamcp_asgi.bus.protocol import UNREACHABLE, BusUnavailable, Take
from metamcp_asgi.protocol.outcome import away, limited

__all__ = ["RateLimit"]

ROUNDS: Final = 10
"""How many rounds a call may have for each that is admitted: answers to a server's questions are no new calls, but
whoever repeats them at will is to be stopped."""


class RateLimitOptions(Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """What can be configured.

    ``tools`` are patterns (``*``, ``?``, ``[abc]``) of ``server__tool`` in the server's own names; each tool that one
    of them fits is counted for itself. ``max_rate`` calls are admitted at once, and then as many in
    ``max_rate_seconds``, ``per`` principal (strangers by their address) or endpoint.
    """

    max_rate: Annotated[int, Meta(ge=1)]
    max_rate_seconds: Annotated[float, Meta(ge=1)]
    tools: Collection[str] = ("*",)
    per: Literal["principal", "endpoint"] = "principal"


class RateLimit:
    """Keeps tools from being called too often.

    Args:
        options: What is configured.
    """

    Options = RateLimitOptions

    def __init__(self, options: RateLimitOptions) -> None:
        if not options.tools:
            raise ValueError("tools must have at least one pattern")
        self._options = options
        self._fits = re.compile("|".join(map(translate, options.tools))).match
        self._own = f"{sorted(options.tools)} {options.per}"
        self._take: Take | None = None

    def counts_with(self, take: Take) -> None:
        """Count with the buckets of this gateway; called before the first call."""
        self._take = take

    async def call_tool(self, call: ToolCall, next: Next[ToolCall, ToolResult]) -> ToolResult:  # noqa: A002
        """Call a tool, unless it was called too often."""
        if call.route is not None and self._fits(tool := f"{call.server}__{call.own_name}"):
            await self._admit(call, tool)
        return await next(call)

    async def _admit(self, call: ToolCall, tool: str) -> None:
        """Count a call.

        Raises:
            CallFailed: It is one too many, or cannot be counted.
        """
        assert self._take is not None, "a chain gives it"
        options = self._options
        who, rate, kind = "", options.max_rate, "call"
        if options.per == "principal":
            who = f"{call.principal.id} {call.principal.address}"
        if call.core.inputs is not None:
            rate, kind = rate * ROUNDS, "round"
        name = f"{kind} {tool} {who} {self._own}"
        try:
            empty, debts = await self._take(f"tools {call.endpoint}", [(name, rate, options.max_rate_seconds)])
        except BusUnavailable:
            raise CallFailed(away(f"{call.name} cannot be counted now: {UNREACHABLE}")) from None
        if empty < 0:
            return
        interval = options.max_rate_seconds / rate
        wait = max(1, math.ceil(debts[0] + interval - options.max_rate_seconds))
        whom = "by each caller " if options.per == "principal" else ""
        often = f"{options.max_rate} times {whom}in {options.max_rate_seconds:g} seconds"
        text = f"Rate limit exceeded: {call.name} may be called {often}; try again in {wait} s"
        raise CallFailed(limited(text, wait))
