"""The outermost layer: errors become answers, requests are counted and, if wished, logged.

Knows HTTP and nothing of MCP. Never writes a query string or a header to a log, since both may hold keys.
"""

import logging
import time
from collections.abc import Awaitable
from urllib.parse import quote

from msgspec import Struct
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metamcp_asgi.asgi.answers import send_refusal
from metamcp_asgi.asgi.query import hide_keys
from metamcp_asgi.asgi.request import Request, current

__all__ = ["Observe", "Stats"]

logger = logging.getLogger("metamcp.asgi")
access_logger = logging.getLogger("metamcp.access")


class Stats:
    """What an ``Observe`` layer has seen since it was made.

    ``cells`` are the numbers, which may be kept anywhere: requests, those in flight, and six for ``answered``.
    """

    __slots__ = ("cells",)

    def __init__(self) -> None:
        self.cells: list[int] | memoryview[int] = [0] * 8

    @property
    def requests(self) -> int:
        """How many requests have come."""
        return self.cells[0]

    @property
    def in_flight(self) -> int:
        """How many of them are being answered."""
        return self.cells[1]

    @property
    def answered(self) -> dict[int, int]:
        """Finished requests by the first digit of their status; 0: no answer at all, as clients left before one."""
        return dict(enumerate(self.cells[2:8]))


class _Watch(Struct):
    """Sees an answer go by; in plain calls and no coroutine, which would cost one more frame per message."""

    send: Send
    status: int = 0
    sent: int = 0

    def see(self, message: Message) -> Awaitable[None]:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        return self.send(message)


class _Meter(_Watch):
    """Counts the bytes of the body too, for the access log."""

    def see(self, message: Message) -> Awaitable[None]:
        """Pass a message on."""
        self.sent += len(message.get("body", b""))
        return super().see(message)


class Observe:
    """Answer 500 for an application that fails, count requests, and write an access log.

    An exception before the answer began is logged with its traceback and answered with a JSON body that tells
    the client nothing of it. After that it is raised again, because only the server can break the answer off.
    Keys in query strings are taken out of the server's own scope, so that the server's log has none either.

    Args:
        app: The application inside.
        access_log: Write one line per finished request to the logger ``metamcp.access``: client, method, path
            without query string, status (``-`` when there was none), bytes of the body, milliseconds.

    Example::

        from metamcp_asgi.asgi.observe import Observe

        async def shop(scope, receive, send):
            if scope["path"] == "/broken":
                raise RuntimeError("secret detail")
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"hello"})

        app = Observe(shop, access_log=True)
    """

    def __init__(self, app: ASGIApp, *, access_log: bool = False) -> None:
        self.app = app
        self.stats = Stats()
        self._access_log = access_log
        self._watch: type[_Watch] = _Meter if access_log else _Watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on and watch its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope.get("query_string"):
            scope = hide_keys(scope)
        cells = self.stats.cells
        cells[0] += 1
        cells[1] += 1
        began = time.perf_counter() if self._access_log else 0.0
        watch = self._watch(send)
        request = Request(scope)
        token = current.set(request)
        try:
            await self.app(scope, receive, watch.see)
        except Exception:
            if watch.status:
                raise
            logger.exception("%s %s failed", scope["method"], quote(scope["path"]))
            message = "The request could not be answered; the log of the server says why."
            await send_refusal(scope, watch.see, 500, {"error": "Internal server error", "message": message})
        finally:
            cells[1] -= 1
            kind = watch.status // 100
            cells[2 + kind if kind < 6 else 2] += 1
            if self._access_log:
                self._write(scope, watch, time.perf_counter() - began)
            request.end()
            current.reset(token)

    def _write(self, scope: Scope, watch: _Watch, seconds: float) -> None:
        client = scope.get("client")
        access_logger.info(
            "%s %s %s %s %d %.1f",
            client[0] if client else "-",
            scope["method"],
            # The path was decoded by the server: quoted again, no line break in it can forge a log line.
            quote(scope["path"]),
            watch.status or "-",
            watch.sent,
            seconds * 1000,
        )
