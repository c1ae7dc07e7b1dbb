"""Servers found by a part of what is shown of them, by whose they are, and by how they do.

Knows what the list of servers may be asked for; the order and who may see what are the store's.
"""

import uuid
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal

from msgspec import Meta
from sqlalchemy import ColumnElement

from metamcp_asgi.admin.api.operation import Ask, Parameter, searching
from metamcp_asgi.admin.api.problem import Fault, Problem
from metamcp_asgi.admin.api.running import health_of
from metamcp_asgi.admin.api.scopes import OWNER
from metamcp_asgi.config.sensitive import masked_args, masked_url
from metamcp_asgi.store import models
from metamcp_asgi.store.services import servers
from metamcp_asgi.store.transaction import Reader, place_of

__all__ = ["FOUND_BY", "IDS", "OWNED_BY", "found", "ids_of", "owned_by"]

IDS: Final = Parameter("ids", Annotated[str, Meta(max_length=8000)], "Only of these servers: ids, divided by commas.")
OWNED_BY: Final = Parameter("owner", OWNER.kind, "Whose: `public`, `me`, or the id of a user.")
_STATE: Final = Parameter("state", Literal["disabled", "starting", "ready", "failed"], "How they do now.")
FOUND_BY: Final = (
    searching("name, description, command, arguments or URL"),
    _STATE,
    OWNED_BY,
)
_BATCH: Final = 500
"""Servers that are looked through at a time."""


async def found(tx: Reader, ask: Ask, after: tuple[str, uuid.UUID] | None) -> Sequence[models.Server]:
    """Return the servers that a request is about, one more than its page has at most.

    Args:
        tx: The transaction.
        ask: The request.
        after: The place after which they begin.

    Raises:
        Problem: It asks for a state, and nothing runs here (422).
    """
    most = ask.limit + 1
    fits = _fitting(ask)
    if fits is None:
        return await servers.list_(tx, ask.caller, after=after, limit=most)
    wanted: list[models.Server] = []
    while True:
        rows = await servers.list_(tx, ask.caller, after=after, limit=_BATCH)
        wanted += filter(fits, rows)
        if len(wanted) >= most or len(rows) < _BATCH:
            return wanted[:most]
        after = place_of(rows[-1])


def ids_of(ask: Ask) -> tuple[ColumnElement[bool], ...]:
    """Return the criterion that ``IDS`` of a request is, if it is there.

    Raises:
        Problem: It is something else than ids (422).
    """
    text = ask.query[IDS.name]
    if text is None:
        return ()
    try:
        return (models.Server.id.in_([uuid.UUID(each) for each in text.split(",") if each]),)
    except ValueError:
        reason = "must be ids, divided by commas"
        raise Problem(422, f"ids: {reason}.", [Fault(reason, parameter=IDS.name)]) from None


def owned_by(ask: Ask) -> tuple[ColumnElement[bool], ...]:
    """Return the criterion that ``OWNED_BY`` of a request is, if it is there."""
    whose = _owner(ask)
    return () if not whose else (models.Server.owner_id == whose[0],)


def _owner(ask: Ask) -> tuple[uuid.UUID | None] | None:
    """Return the owner that is asked for, who may be nobody; ``None``: any."""
    whose: Any = ask.query[OWNED_BY.name]
    if whose is None:
        return None
    return (ask.caller.id if whose == "me" else None if whose == "public" else uuid.UUID(whose),)


def _fitting(ask: Ask) -> Callable[[models.Server], bool] | None:
    """Return what tells whether a server is asked for; ``None``: all are."""
    text = (ask.search or "").casefold()
    state, whose = ask.query[_STATE.name], _owner(ask)
    if state is not None and ask.aggregator is None:
        reason = "only a running gateway can tell it"
        raise Problem(422, f"state: {reason}.", [Fault(reason, parameter=_STATE.name)])
    if not text and state is None and whose is None:
        return None

    def fits(row: models.Server) -> bool:
        return (
            (whose is None or row.owner_id == whose[0])
            and (not text or _says(row, text))
            and (state is None or health_of(ask.aggregator, row, ask.caller).state == state)
        )

    return fits


def _says(row: models.Server, text: str) -> bool:
    if text in f"{row.name}\n{row.description}\n{row.command}".casefold():
        return True
    # As they are shown: whoever sees a server could otherwise guess at its secrets letter by letter.
    if text in row.url.casefold():
        return text in masked_url(row.url).casefold()
    return text in " ".join(row.args).casefold() and text in " ".join(masked_args(row.args)).casefold()
