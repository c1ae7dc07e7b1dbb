"""What the gateway and its servers say: the last lines, as those may see them who ask.

Admins see all. Members see what is said about the state of servers that they may see, which the servers' health tells
them, too; what a server writes itself they see of their own servers only: it may tell of calls of others. Lines about
the gateway and about calls are for admins.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta

from metamcp_asgi.admin.api.operation import Ask, Operation, Parameter, Reply
from metamcp_asgi.admin.api.shapes import Shape
from metamcp_asgi.lines.lines import LEVELS, Level, Line, Source
from metamcp_asgi.lines.ring import RECORDS
from metamcp_asgi.store import models
from metamcp_asgi.store.compile import named, unnamed
from metamcp_asgi.store.policy import may_change, visible

__all__ = ["OPERATIONS", "SHOWN", "LogLine", "LogPage"]

SHOWN: Final = 500
"""How many lines there are, unless somebody asks for more or fewer."""


class LogLine(Shape, frozen=True, kw_only=True, rename="camel"):
    """A line. ``source`` tells whose words it is: ``gateway``, ``server`` (about its state), or ``stderr`` of a server.

    ``server`` is empty where it is about none; ``owner_id`` is the server's owner, ``null`` for a public one.
    ``process`` is the id of the process that wrote it down.
    """

    id: str
    at: datetime
    level: Level
    source: Source
    server: str
    owner_id: UUID | None
    process: int
    text: str


class LogPage(Shape, frozen=True, kw_only=True, rename="camel"):
    """Lines, the latest last.

    ``place`` is up to where was looked, for ``since``. ``lost`` tells that lines after ``since`` are not kept any more,
    ``shared`` that these are the lines of all processes of the machine, and not only of the one that answers.
    """

    items: Sequence[LogLine]
    place: str
    lost: bool
    shared: bool


async def _list(ask: Ask) -> Reply:
    assert ask.recent is not None  # as it is ``running``
    may_see = await _seen(ask)
    wanted = _wanted(ask)
    lines = ask.recent.lines
    read = lines.read(ask.query["since"])
    found = [(identity, line) for identity, line in read.lines if may_see(line) and wanted(line)]
    shown = found[-ask.query["tail"] :]
    items = [_told(identity, line) for identity, line in shown]
    return Reply(body=LogPage(items=items, place=read.place, lost=read.lost, shared=lines.shared))


def _told(identity: str, line: Line) -> LogLine:
    server, owner = unnamed(line.server)
    return LogLine(
        id=identity,
        at=datetime.fromtimestamp(line.at, UTC),
        level=line.level,
        source=line.source,
        server=server,
        owner_id=owner,
        process=line.process,
        text=line.text,
    )


async def _seen(ask: Ask) -> Callable[[Line], bool]:
    """Return what tells whether the caller may see a line."""
    if ask.caller.admin:
        return lambda line: True
    async with ask.store.read() as tx:
        rows = await tx.list(models.Server, visible(ask.caller, models.Server))
    seen = {named(row.name, row.owner_id) for row in rows}
    own = {named(row.name, row.owner_id) for row in rows if may_change(ask.caller, row)}
    of = {"server": seen, "stderr": own, "gateway": frozenset()}
    return lambda line: line.server in of[line.source]


def _wanted(ask: Ask) -> Callable[[Line], bool]:
    """Return what tells whether a line is asked for."""
    server, source, text = ask.query["server"], ask.query["source"], (ask.query["text"] or "").casefold()
    levels = LEVELS[LEVELS.index(ask.query["level"] or LEVELS[0]) :]

    def wanted(line: Line) -> bool:
        return (
            line.level in levels
            and (not server or server in (line.server, unnamed(line.server)[0]))
            and (not source or line.source == source)
            and (not text or text in line.text.casefold())
        )

    return wanted


_WORD = Annotated[str, Meta(max_length=255)]

OPERATIONS = (
    Operation(
        method="GET",
        path="/logs",
        name="listLogs",
        summary="List what the gateway and its servers said last, the latest last.",
        run=_list,
        gives=LogPage,
        running=True,
        query=(
            Parameter("tail", Annotated[int, Meta(ge=1, le=RECORDS)], "How many lines at most, the latest.", SHOWN),
            Parameter("server", _WORD, "Only what is about this server, or with `name@owner` that of one owner."),
            Parameter("level", Level, "Only what is at least so serious: `debug`, `info`, `warning` or `error`."),
            Parameter("source", Source, "Only what is from there: `gateway`, `server` or `stderr`."),
            Parameter("text", _WORD, "Only what has this text in it."),
            Parameter("since", Annotated[str, Meta(max_length=64)], "Only what came after the line of this id."),
        ),
    ),
)
