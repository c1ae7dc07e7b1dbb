"""The live logs: the last lines, the latest first, and a stream of those that come.

Knows how a browser is told of lines; which of them a person may see is the operation's. A stream ends after a minute
and the browser opens it anew, so that a person who has signed out, or may see less, does not go on to see lines.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from metamcp_asgi.admin.api.logs import SHOWN
from metamcp_asgi.admin.pages.asking import asked_of
from metamcp_asgi.admin.pages.desk import Desk, Refused
from metamcp_asgi.pages.fault import Fault
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import render
from metamcp_asgi.pages.templates import html
from metamcp_asgi.pages.visit import visit_of
from metamcp_asgi.signin.people import person

__all__ = ["LASTS", "MOST_STREAMS", "PATHS", "routes"]

PATHS: Final = ("/live-logs",)
LASTS: Final = 60.0
"""Seconds after which a stream ends."""
KEPT_ALIVE: Final = 15.0
"""Seconds after which a stream on which nothing comes says so, for the proxies on the way."""
MOST_STREAMS: Final = 10
"""How many streams a person may have at one process."""

_FILTERS: Final = ("server", "level", "source", "text")
_LEVELS: Final = (("", N_("All")), ("warning", N_("Warnings and errors")), ("error", N_("Errors only")))
_SOURCES: Final = (
    ("", N_("All")),
    ("stderr", N_("Output of servers")),
    ("server", N_("State of servers")),
    ("gateway", N_("The gateway itself")),
)
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no", "x-content-type-options": "nosniff"}
_BEGIN: Final = b"retry: 1000\n\n"
_NOTHING: Final = b": nothing new\n\n"
_AGAIN: Final = b"event: again\ndata:\n\n"


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of this page."""
    streams: Counter[UUID] = Counter()

    async def live_logs(request: Request) -> Response:
        scope = request.scope
        asked = asked_of(request, *_FILTERS)
        since = request.query_params.get("since", "")
        read = (await desk.ask(scope, "listLogs", query={**asked, "since": since})).body
        known = {server.name for server in (await desk.ask(scope, "getHealth")).body.servers}
        return render(
            scope,
            "admin/live_logs/live_logs.html",
            lines=read.items[::-1],
            place=read.place,
            lost=False,
            shared=read.shared,
            asked=asked,
            since=since,
            servers=sorted(known | ({asked["server"]} if asked["server"] else set())),
            levels=_LEVELS,
            sources=_SOURCES,
        )

    async def stream(request: Request) -> Response:
        scope = request.scope
        asked = asked_of(request, *_FILTERS)
        since = request.headers.get("last-event-id") or request.query_params.get("since") or None
        who = person(scope).id
        if streams[who] >= MOST_STREAMS:
            raise Fault(429, N_("You watch in too many windows already."), {"retry-after": str(int(LASTS))})
        # What is wrong with the filters is told before the stream begins.
        await desk.ask(scope, "listLogs", query={**asked, "since": since})

        async def events() -> AsyncIterator[bytes]:
            if streams[who] >= MOST_STREAMS:  # of those that came at the same moment
                return
            streams[who] += 1
            try:
                yield _BEGIN
                async for event in _events(desk, scope, asked, since):
                    yield event
            finally:
                streams[who] -= 1
                if not streams[who]:
                    del streams[who]

        return StreamingResponse(events(), headers=_HEADERS, media_type="text/event-stream")

    return [Route("/live-logs", live_logs), Route("/live-logs/stream", stream)]


async def _events(desk: Desk, scope: Scope, asked: Mapping[str, Any], since: str | None) -> AsyncIterator[bytes]:
    """Yield the lines that come after a place, each time with the place up to which they are."""
    lines = desk.recent.lines
    loop = asyncio.get_running_loop()
    end = loop.time() + LASTS
    while not lines.ending and loop.time() < end:
        try:
            read = (await desk.ask(scope, "listLogs", query={**asked, "since": since})).body
        except Refused:  # the database is busy, say: the browser comes again, and is told then
            return
        since = read.place
        if read.items:
            values = {"lines": read.items[::-1], "lost": read.lost or len(read.items) == SHOWN}
            yield _event(since, html("admin/live_logs/lines.html", visit_of(scope), person(scope), values))
        for_now = asyncio.timeout_at(min(loop.time() + KEPT_ALIVE, end))
        with contextlib.suppress(TimeoutError):
            async with for_now:
                await lines.more(since)
        if for_now.expired():
            yield _NOTHING
    if not lines.ending:
        yield _AGAIN


def _event(place: str, text: str) -> bytes:
    return "".join([f"id: {place}\n", *(f"data: {line}\n" for line in text.splitlines()), "\n"]).encode()
