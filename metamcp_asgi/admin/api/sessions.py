"""The browsers in which a user is signed in. A session has neither name nor version; of its cookie nothing is told."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from metamcp_asgi.admin.api.operation import Ask, Operation, Parameter, Reply
from metamcp_asgi.admin.api.shapes import Page, Shape
from metamcp_asgi.store import models
from metamcp_asgi.store.services import users, web_sessions

__all__ = ["OPERATIONS"]

_BUT: Final = Parameter("but", uuid.UUID, "The id of a session that stays.")


class Session(Shape, frozen=True, kw_only=True, rename="camel"):
    """A browser in which a user is signed in: how and since when, its last use to five minutes, and its end."""

    id: uuid.UUID
    method: models.SignInMethod
    created_at: datetime
    seen_at: datetime
    expires_at: datetime

    @classmethod
    def of(cls, row: models.WebSession) -> "Session":
        """Return a session as it is shown."""
        return cls(**{name: getattr(row, name) for name in cls.__struct_fields__})


class SessionPage(Page, frozen=True, kw_only=True, rename="camel"):
    """The sessions of a user, all of them."""

    items: Sequence[Session]


async def _list(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        row = await users.get(tx, ask.caller, ask.id)
        rows = await web_sessions.of_user(tx, ask.caller, row.id)
    return Reply(body=SessionPage(items=[Session.of(row) for row in rows]))


async def _end(ask: Ask) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        row = await users.get(tx, ask.caller, ask.id)
        await web_sessions.end_one(tx, ask.caller, row.id, ask.ids["session"])
        tx.note("sign-out", row, {"sessions": 1})
    return Reply()


async def _end_all(ask: Ask) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        row = await users.get(tx, ask.caller, ask.id)
        ended = await web_sessions.end_all(tx, ask.caller, row.id, but=ask.query[_BUT.name])
        tx.note("sign-out", row, {"sessions": ended})
    return Reply()


_PATH: Final = "/users/{id:uuid}/sessions"

OPERATIONS = (
    Operation(
        method="GET",
        path=_PATH,
        name="listSessions",
        summary="List the browsers in which a user is signed in, the latest used first.",
        run=_list,
        gives=SessionPage,
    ),
    Operation(
        method="DELETE",
        path=_PATH,
        name="endSessions",
        summary="Sign a user out of every browser, or of all but one.",
        run=_end_all,
        status=204,
        query=(_BUT,),
    ),
    Operation(
        method="DELETE",
        path=f"{_PATH}/{{session:uuid}}",
        name="endSession",
        summary="Sign a user out of one browser.",
        run=_end,
        status=204,
    ),
)
