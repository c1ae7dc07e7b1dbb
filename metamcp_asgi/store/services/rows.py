"""Rows as somebody may see or change them, and what is asked of every new name and owner."""

import uuid
from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, or_, select, tuple_

from metamcp_asgi.store.audit import kind_of
from metamcp_asgi.store.errors import Conflict, Duplicate, NotFound
from metamcp_asgi.store.models import ApiKey, Endpoint, Namespace, Server, User
from metamcp_asgi.store.policy import Acting, check_change, may_see, visible
from metamcp_asgi.store.services.inputs import Invalid
from metamcp_asgi.store.transaction import Reader

__all__ = [
    "assign",
    "changeable",
    "check_owner",
    "check_unique",
    "check_version",
    "having",
    "names",
    "seen",
    "seen_all",
]

Row = TypeVar("Row", Server, Namespace, Endpoint, ApiKey, User)
OwnedRow = TypeVar("OwnedRow", Server, Namespace, Endpoint, ApiKey)


async def seen(tx: Reader, acting: Acting, kind: type[Row], identity: uuid.UUID) -> Row:
    """Return a row that somebody may see.

    Raises:
        NotFound: There is none, or it is not for them to know that there is.
    """
    row = await tx.get(kind, identity)
    if not may_see(acting, row):
        raise NotFound(kind_of(kind), identity)
    return row


async def seen_all(
    tx: Reader, acting: Acting, kind: type[Row], after: tuple[Any, ...] | None, limit: int | None
) -> Sequence[Row]:
    """Return the rows that somebody may see, from ``after`` on, ``limit`` at most."""
    return await tx.list(kind, visible(acting, kind), after=after, limit=limit)


async def names(
    tx: Reader,
    acting: Acting,
    kind: type[Namespace] | type[Endpoint],
    after: tuple[Any, ...] | None,
    limit: int | None,
) -> Sequence[Any]:
    """Return id, name and owner of the things that somebody may see, by name, as plain columns: many are read fast."""
    query = select(kind.id, kind.name, kind.owner_id).where(visible(acting, kind))
    if after is not None:
        query = query.where(tuple_(kind.name, kind.id) > tuple_(*after))
    return (await tx.session.execute(query.order_by(kind.name, kind.id).limit(limit))).all()


async def changeable(
    tx: Reader, acting: Acting, kind: type[OwnedRow], identity: uuid.UUID, version: int | None
) -> OwnedRow:
    """Return a row that somebody may change.

    Raises:
        NotFound: There is none, or it is not for them to know that there is.
        Forbidden: They may see it only.
        Conflict: It has another version than they know.
    """
    row = await seen(tx, acting, kind, identity)
    check_change(acting, row)
    check_version(row, version)
    return row


def check_version(row: Any, version: int | None) -> None:
    """Let pass who knows the row as it is.

    Raises:
        Conflict: It has another version.
    """
    if version is not None and row.version != version:
        raise Conflict(kind_of(type(row)))


async def check_owner(tx: Reader, owner: uuid.UUID | None) -> None:
    """Let pass an owner that exists, or nobody.

    Raises:
        Invalid: There is no such user.
    """
    if owner is not None and await tx.find(User, id=owner) is None:
        raise Invalid("ownerId", "names a user that does not exist")


async def check_unique(tx: Reader, kind: type[Any], row: Any = None, **values: Any) -> None:
    """Let pass values, the last of which is to be told apart, that no other row has.

    The database sees to it, too, but only after the transaction is broken.

    Raises:
        Duplicate: Another row has them.
    """
    other = await tx.find(kind, **values)
    if other is not None and other is not row:
        raise Duplicate(kind_of(kind), list(values)[-1])


def having(text: str, *columns: Any) -> ColumnElement[bool]:
    """Return the criterion that one of these columns has a text in it, large and small letters being the same."""
    return or_(*(column.icontains(text, autoescape=True) for column in columns))


def assign(row: Any, columns: dict[str, Any]) -> None:
    """Assign what differs, so that what stays the same makes no new version."""
    for name, value in columns.items():
        if getattr(row, name) != value:
            setattr(row, name, value)
