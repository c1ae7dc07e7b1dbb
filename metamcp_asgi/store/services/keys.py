"""API keys: made, changed and removed, and who manages things with one. A key's text is told once, when it is made."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.store.columns import now
from metamcp_asgi.store.keys import describe_key, new_key
from metamcp_asgi.store.models import ApiKey, Endpoint, User
from metamcp_asgi.store.policy import (
    Acting,
    Forbidden,
    acting_key,
    check_key_scope,
    key_opens,
    key_owner,
    may_see,
    visible,
)
from metamcp_asgi.store.services.fragments import key_text, short_text
from metamcp_asgi.store.services.inputs import Invalid, KeyChanges, NewKey, Rotation, Unknown, given
from metamcp_asgi.store.services.rows import assign, changeable, check_owner, check_unique, having, seen
from metamcp_asgi.store.transaction import Reader, Writer

__all__ = ["acting", "create", "delete", "get", "list_", "of_digest", "rotate", "update"]


async def get(tx: Reader, acting: Acting, identity: uuid.UUID) -> ApiKey:
    """Return a key, of which its digest and prefix are known only.

    Raises:
        NotFound: There is none that they may see.
    """
    return await seen(tx, acting, ApiKey, identity)


async def list_(
    tx: Reader,
    acting: Acting,
    *,
    search: str | None = None,
    after: tuple[Any, ...] | None = None,
    limit: int | None = None,
) -> Sequence[ApiKey]:
    """Return the keys that somebody may see, by name.

    Args:
        tx: The transaction.
        acting: Who asks.
        search: What their name or beginning has in it, in whatever case.
        after: The place after which to begin.
        limit: How many at most.
    """
    where = [visible(acting, ApiKey)]
    if search:
        where.append(having(search, ApiKey.name, ApiKey.prefix))
    return await tx.list(ApiKey, *where, after=after, limit=limit)


async def create(tx: Writer, acting: Acting, new: NewKey, *, text: str | None = None) -> tuple[ApiKey, str]:
    """Make a key, and return it with its text, which cannot be had again.

    Args:
        tx: The transaction.
        acting: Who makes it.
        new: What it is to be.
        text: What the key shall be, where it is decided elsewhere; otherwise it is made up.

    Raises:
        Forbidden: It would be for somebody else, or public or for managing, and they may not.
        Invalid: A value is wrong.
        Duplicate: Its owner has one of this name, or there is one of this text.
    """
    owner = key_owner(acting, new.owner_id)
    values = given(new)
    if values.get("admin"):
        check_key_scope(acting, owner)
    await check_owner(tx, owner)
    name = short_text("name", new.name)
    columns = await _columns(tx, acting, owner, values)
    await check_unique(tx, ApiKey, owner_id=owner, name=name)
    if text is None:
        text, digest, prefix = new_key()
    else:
        digest, prefix = describe_key(key_text(text))
        await check_unique(tx, ApiKey, digest=digest)
    row = await tx.add(ApiKey(owner_id=owner, digest=digest, prefix=prefix, **{**columns, "name": name}))
    return row, text


async def update(
    tx: Writer, acting: Acting, identity: uuid.UUID, changes: KeyChanges, *, version: int | None = None
) -> ApiKey:
    """Change a key, and return it; its owner and its text stay.

    Raises:
        NotFound: There is none that they may see.
        Forbidden: They may not change it, or not make it one for managing.
        Invalid: A value is wrong.
        Duplicate: Its owner has another one of this name.
        Conflict: It has another version.
    """
    row = await changeable(tx, acting, ApiKey, identity, version)
    values = given(changes)
    if values.get("admin") and not row.admin:
        check_key_scope(acting, row.owner_id)
    columns = await _columns(tx, acting, row.owner_id, values)
    if "name" in columns:
        await check_unique(tx, ApiKey, row, owner_id=row.owner_id, name=columns["name"])
    assign(row, columns)
    await tx.flush()
    return row


async def delete(tx: Writer, acting: Acting, identity: uuid.UUID, *, version: int | None = None) -> None:
    """Remove a key; raises what ``update`` raises."""
    await tx.delete(await changeable(tx, acting, ApiKey, identity, version))


async def rotate(
    tx: Writer, acting: Acting, identity: uuid.UUID, how: Rotation, *, version: int | None = None
) -> tuple[ApiKey, str]:
    """Give a key another text, and return it with that, which cannot be had again; all else about it stays.

    The text before is good for a while, so that clients can change over one by one; one that an earlier rotation left
    is not good any more.

    Raises:
        NotFound: There is none that they may see.
        Forbidden: They may not change it, or it is somebody else's, as whom they could then act.
        Conflict: It has another version.
    """
    row = await changeable(tx, acting, ApiKey, identity, version)
    key_owner(acting, row.owner_id)
    text, digest, prefix = new_key()
    kept = row.digest if how.grace_seconds else None
    until = now() + timedelta(seconds=how.grace_seconds) if how.grace_seconds else None
    assign(row, {"digest": digest, "prefix": prefix, "previous_digest": kept, "previous_until": until})
    await tx.flush()
    return row, text


async def of_digest(tx: Reader, digest: bytes) -> ApiKey | None:
    """Return the key that a digest is of, or was of until it was rotated a while ago."""
    row = await tx.find(ApiKey, digest=digest)
    if row is None:
        row = await tx.find(ApiKey, previous_digest=digest)
        if row is not None and (row.previous_until is None or row.previous_until <= now()):
            return None
    return row


async def acting(tx: Reader, text: str) -> Acting:
    """Return who manages things with a key that was presented.

    Raises:
        Unknown: There is no such key, or it is disabled or expired, or its owner is disabled.
        Forbidden: It is a key for endpoints only.
    """
    row = await of_digest(tx, digest_of(text))
    if row is None:
        raise Unknown("this key is not known")
    owner = None if row.owner_id is None else await tx.find(User, id=row.owner_id)
    try:
        return acting_key(row, owner, now())
    except Forbidden as error:
        if error.rule == "admin-key":
            raise
        raise Unknown("this key is not known") from None


async def _columns(tx: Reader, acting: Acting, owner: uuid.UUID | None, values: dict[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {key: values[key] for key in ("disabled", "admin") if key in values}
    if "name" in values:
        columns["name"] = short_text("name", values["name"])
    if "expires_at" in values:
        columns["expires_at"] = _expiry(values["expires_at"])
    if "endpoint_ids" in values:
        wanted = values["endpoint_ids"]
        columns["endpoint_ids"] = None if wanted is None else await _endpoints(tx, acting, owner, wanted)
    return columns


def _expiry(value: datetime | None) -> datetime | None:
    if value is not None and value.tzinfo is None:
        raise Invalid("expiresAt", "needs a time zone, such as Z at its end")
    return value


async def _endpoints(tx: Reader, acting: Acting, owner: uuid.UUID | None, wanted: Sequence[uuid.UUID]) -> list[str]:
    """Return the ids of endpoints as they are stored."""
    found = {row.id: row for row in await tx.list(Endpoint, Endpoint.id.in_(list(wanted)))}
    for index, identity in enumerate(wanted):
        row = found.get(identity)
        if row is None or not may_see(acting, row):
            raise Invalid(f"endpointIds[{index}]", "names an endpoint that does not exist")
        if not key_opens(owner, row.owner_id):
            whose = "a public key opens public endpoints only" if owner is None else "it is private to somebody else"
            raise Invalid(f"endpointIds[{index}]", f'names endpoint "{row.name}", which this key cannot open: {whose}')
    return [str(identity) for identity in dict.fromkeys(wanted)]
