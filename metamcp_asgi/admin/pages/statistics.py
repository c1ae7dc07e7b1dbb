"""The metrics at a glance, for admins: how many calls, how many of them failed, and how long they took."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from metamcp_asgi.admin.api.metrics import CallGroup, CallPoint
from metamcp_asgi.admin.pages.asking import asked_of
from metamcp_asgi.admin.pages.charts import HEIGHT, WIDTH, bars, line, scale
from metamcp_asgi.admin.pages.desk import Desk
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import render

__all__ = ["PATHS", "duration", "routes"]

PATHS: Final = ("/statistics",)

_SPANS: Final = (("5m", N_("5 minutes")), ("1h", N_("1 hour")), ("start", N_("Since the start")))
_GROUPINGS: Final = (("server", N_("By server")), ("tool", N_("By tool")), ("endpoint", N_("By endpoint")))


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of this page."""

    async def statistics(request: Request) -> Response:
        asked = asked_of(request, "span", "by")
        read = (await desk.ask(request.scope, "listMetrics", query=asked)).body
        return render(
            request.scope,
            "admin/statistics/statistics.html",
            read=read,
            by=asked["by"] or "server",
            spans=_SPANS,
            groupings=_GROUPINGS,
            duration=duration,
            width=WIDTH,
            height=HEIGHT,
            begin=read.points[0].at - timedelta(seconds=read.points[0].seconds) if read.points else None,
            calls=_calls(read.points),
            times=_times(read.points),
            most_calls=max((item.calls for item in read.items), default=1),
            longest=_longest(read.items),
        )

    return [Route("/statistics", statistics)]


def duration(seconds: float | None) -> str:
    """Return a duration for people, of three digits."""
    if seconds is None:
        return "-"
    milliseconds = seconds * 1000
    if milliseconds >= 999.5:
        return f"{float(f'{seconds:.3g}'):g} s"
    return f"{float(f'{milliseconds:.3g}'):g} ms"


def _calls(points: Sequence[CallPoint]) -> dict[str, object]:
    scaled = scale([point.calls for point in points])
    return {
        "top": f"{scaled.top:g}",
        "all": bars([point.calls for point in points], scaled),
        "errors": bars([point.errors for point in points], scaled),
    }


def _times(points: Sequence[CallPoint]) -> dict[str, object]:
    scaled = scale([point.p95 or 0.0 for point in points])
    return {
        "top": duration(scaled.top),
        "p50": line([point.p50 for point in points], scaled),
        "p95": line([point.p95 for point in points], scaled),
    }


def _longest(items: Sequence[CallGroup]) -> float:
    return max((item.p95 or 0.0 for item in items), default=0.0) or 1.0
