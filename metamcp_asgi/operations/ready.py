"""``/ready``: whether requests can be served now, and if not, what is missing.

Anybody may ask, so it says no address and nothing of an error, which the log has, and looks once a second at most.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import msgspec
from starlette.types import Receive, Scope, Send

from metamcp_asgi.asgi.answers import send_json

__all__ = ["Check", "Ready"]

logger = logging.getLogger("metamcp")

Check: TypeAlias = Callable[[], Awaitable[object]]
"""Returns when something can be used, and raises an exception when it cannot."""

FRESH_SECONDS: Final = 1.0
"""How long an answer is given again."""
PATIENCE: Final = 2.0
"""Seconds that a check may take."""


class Ready:
    """An ASGI application that answers 200, or 503 with the reasons.

    Args:
        checks: What is needed to serve, by what is said when it is missing: ``"the database cannot be reached"``.
        ending: Tells whether the process is about to end, so that no new requests should come here.
        clock: Seconds, never going backwards.
    """

    def __init__(
        self, checks: Mapping[str, Check], ending: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._checks = checks
        self._ending = ending
        self._clock = clock
        self._checking = asyncio.Lock()
        self._checked = -FRESH_SECONDS
        self._missing: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] not in ("GET", "HEAD"):
            body = msgspec.json.encode({"error": "Method not allowed", "message": "This URL takes GET and HEAD"})
            await send_json(scope, send, 405, body, [(b"allow", b"GET, HEAD")])
            return
        missing = ["it is about to end"] if self._ending() else await self.missing()
        status = {"status": "unavailable", "reasons": missing} if missing else {"status": "ready"}
        await send_json(scope, send, 503 if missing else 200, msgspec.json.encode(status))

    async def missing(self) -> list[str]:
        """Return what is missing, as of a second ago at most."""
        async with self._checking:
            if self._clock() - self._checked >= FRESH_SECONDS:
                found = await asyncio.gather(*(self._check(*check) for check in self._checks.items()))
                self._missing = [reason for reason in found if reason]
                self._checked = self._clock()
        return self._missing

    async def _check(self, reason: str, check: Check) -> str:
        try:
            async with asyncio.timeout(PATIENCE):
                await check()
        except Exception as error:  # whatever it is, it cannot be used
            logger.warning("Not ready, %s: %s", reason, error or type(error).__name__)
            return reason
        return ""
