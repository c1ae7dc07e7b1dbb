"""Log messages of servers: whose they are is the sessions' matter, here is what is passed on and how a level is set.

Source: MCP 2025-11-25 and 2026-07-28 server/utilities/logging.mdx; eras.md 2.9.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from msgspec import Raw, UnsetType

from metamcp_asgi.protocol.jsonrpc import decode_members, encode
from metamcp_asgi.protocol.levels import at_least
from metamcp_asgi.protocol.outcome import Failure, Outcome
from metamcp_asgi.upstream.request import Peer, Request

__all__ = ["Level", "pass_on"]

logger = logging.getLogger("metamcp.upstream")

DEFAULT: Final = "info"
"""From which level on a request sees messages that set none, once another one has made the session more talkative."""


def pass_on(request: Request, params: Raw | UnsetType, default: str | None = None) -> None:
    """Pass a log message on to the request that it belongs to, if it is loud enough.

    Args:
        request: The request.
        params: The notification's params.
        default: The level for a request that sets none; ``None`` lets it see all.
    """
    threshold = request.log_level or default
    if request.on_log is None:
        return
    try:
        members = decode_members(params or b"")
        level = msgspec.json.decode(members.get("level", b'""'), type=str)
    except msgspec.DecodeError:
        logger.debug("A server sent a log message that is malformed")
        return
    if threshold is None or at_least(level, threshold):
        request.on_log(members)


class Level:
    """The log level of one legacy session: the most talkative that any of its requests wants (LO-02).

    Args:
        peer: The server; one that declares no logging is not asked.
        send: Sends a request in the session.
    """

    __slots__ = ("_declared", "_lock", "_send", "current")

    def __init__(self, peer: Peer, send: Callable[[Request], Awaitable[Outcome]]) -> None:
        self.current: str | None = None
        self._declared = "logging" in peer.capabilities
        self._send = send
        self._lock = asyncio.Lock()

    @property
    def default(self) -> str | None:
        """The level for requests that set none."""
        return None if self.current is None else DEFAULT

    async def need(self, level: str) -> None:
        """See that the server sends what is at least as loud as ``level``.

        Raises:
            UpstreamError: The server could not be asked.
        """
        if not self._declared or self._enough(level):
            return
        async with self._lock:
            if self._enough(level):
                return
            outcome = await self._send(Request("logging/setLevel", {"level": Raw(encode(level))}))
            if isinstance(outcome, Failure):
                logger.debug("A server declares logging but refuses to set its level: %s", outcome.message)
            # One that refuses is not asked again: it sends what it sends.
            self.current = level

    def _enough(self, level: str) -> bool:
        return self.current is not None and at_least(level, self.current)
