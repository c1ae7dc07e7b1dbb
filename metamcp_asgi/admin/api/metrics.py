"""The numbers at a glance, for admins: calls, errors and how long they took, by server, tool or endpoint.

Percentiles are estimated from histograms, as Prometheus does it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeAlias
from uuid import UUID

from msgspec import Meta

from metamcp_asgi.admin.api.operation import Ask, Operation, Parameter, Reply
from metamcp_asgi.admin.api.problem import Problem
from metamcp_asgi.admin.api.shapes import Shape
from metamcp_asgi.metrics.history import Point
from metamcp_asgi.metrics.numbers import Calls, Label
from metamcp_asgi.metrics.sheet import MAX_SERIES
from metamcp_asgi.store.compile import unnamed
from metamcp_asgi.store.policy import check_admin

__all__ = ["OPERATIONS", "CallGroup", "CallPoint", "CallStatistics", "Grouping", "Span"]

Span: TypeAlias = Literal["5m", "1h", "start"]
Grouping: TypeAlias = Literal["server", "tool", "endpoint"]

_SECONDS: Final[Mapping[Span, float | None]] = {"5m": 300.0, "1h": 3600.0, "start": None}
_LABELS: Final[Mapping[Grouping, tuple[Label, ...]]] = {
    "server": ("server",),
    "tool": ("server", "tool"),
    "endpoint": ("endpoint",),
}


class Counted(Shape, frozen=True, kw_only=True, rename="camel"):
    """Calls, how many of them failed, and the seconds within which half and 95 % of them ended."""

    calls: int
    errors: int
    p50: float | None
    p95: float | None


class CallGroup(Counted, frozen=True, kw_only=True, rename="camel"):
    """The calls of one server, tool or endpoint; empty names are those of calls that led to none.

    ``owner_id`` is the server's owner, ``null`` for a public one.
    """

    endpoint: str | None = None
    server: str | None = None
    owner_id: UUID | None = None
    tool: str | None = None


class CallPoint(Counted, frozen=True, kw_only=True, rename="camel"):
    """The calls that ended in the ``seconds`` before ``at``."""

    at: datetime
    seconds: float


class CallStatistics(Counted, frozen=True, kw_only=True, rename="camel"):
    """What was counted, by all ``processes`` of the machine.

    ``points`` are parts of the last ``seconds``, for a chart: of an hour at most. ``items`` are the busiest groups, of
    ``groups`` that there are.
    """

    span: Span
    seconds: float
    processes: int
    groups: int
    points: Sequence[CallPoint]
    items: Sequence[CallGroup]


async def _statistics(ask: Ask) -> Reply:
    check_admin(ask.caller, "the numbers of all servers")
    assert ask.recent is not None  # as it is ``running``
    span, by = ask.query["span"], ask.query["by"]
    try:
        # Those of other processes are in files.
        window = await asyncio.to_thread(ask.recent.history.window, _SECONDS[span])
    except OSError as error:
        raise Problem(503, f"The numbers cannot be read: {error.strerror}.") from error
    groups = window.numbers.by(*_LABELS[by])
    if by == "tool":  # the rest are lists, prompts and resources
        groups = {key: calls for key, calls in groups.items() if key[1]}
    ordered = sorted(groups.items(), key=lambda each: (-each[1].count, each[0]))
    items = [_group(by, key, calls) for key, calls in ordered[: ask.query["top"]]]
    body = CallStatistics(
        **_counted(window.numbers.total),
        span=span,
        seconds=window.seconds,
        processes=window.numbers.processes,
        groups=len(ordered),
        points=[_point(point) for point in window.points],
        items=items,
    )
    return Reply(body=body)


def _counted(calls: Calls) -> dict[str, Any]:
    return {
        "calls": calls.count,
        "errors": calls.errors,
        "p50": calls.quantile(0.5),
        "p95": calls.quantile(0.95),
    }


def _group(by: Grouping, key: Sequence[str], calls: Calls) -> CallGroup:
    names: dict[str, Any] = dict(zip(_LABELS[by], key, strict=True))
    if "server" in names:
        names["server"], names["owner_id"] = unnamed(names["server"])
    return CallGroup(**_counted(calls), **names)


def _point(point: Point) -> CallPoint:
    return CallPoint(**_counted(point.calls), at=datetime.fromtimestamp(point.at, UTC), seconds=point.seconds)


OPERATIONS = (
    Operation(
        method="GET",
        path="/metrics",
        name="listMetrics",
        summary="Tell how many calls there were, how many failed, and how long they took.",
        run=_statistics,
        gives=CallStatistics,
        running=True,
        query=(
            Parameter("span", Span, "The last `5m` (minutes), the last `1h` (hour), or since the `start`.", "5m"),
            Parameter("by", Grouping, "What calls are put together by: `server`, `tool` or `endpoint`.", "server"),
            Parameter("top", Annotated[int, Meta(ge=1, le=MAX_SERIES)], "How many of these at most.", 50),
        ),
    ),
)
