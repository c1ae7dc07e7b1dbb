"""API keys, of which the text is shown when one is made and never again."""

import uuid
from collections.abc import Sequence
from typing import Any, Final

from metamcp_asgi.admin.api.key_shapes import Key, KeyMade, KeyPage
from metamcp_asgi.admin.api.operation import PAGED, Ask, Operation, Reply, page_of, searching
from metamcp_asgi.store import models
from metamcp_asgi.store.services import keys, users
from metamcp_asgi.store.services.inputs import KeyChanges, NewKey, Rotation
from metamcp_asgi.store.transaction import Reader, place_of

__all__ = ["OPERATIONS"]


async def _list(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        after = ask.after(str, uuid.UUID)
        rows = await keys.list_(tx, ask.caller, search=ask.search, after=after, limit=ask.limit + 1)
        rows, following = page_of(rows, ask.limit, place_of)
        known = await _known(tx, rows)
    return Reply(body=KeyPage(items=[Key.of(row, *known) for row in rows], next=following), next=following)


async def _create(ask: Ask, given: NewKey) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        row, text = await keys.create(tx, ask.caller, given)
        known = await _known(tx, [row])
    return Reply(body=KeyMade.of(row, *known, key=text), version=row.version, location=f"/keys/{row.id}")


async def _get(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        row = await keys.get(tx, ask.caller, ask.id)
        known = await _known(tx, [row])
    return Reply(body=Key.of(row, *known), version=row.version)


async def _update(ask: Ask, given: KeyChanges) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        row = await keys.update(tx, ask.caller, ask.id, given, version=ask.version)
        known = await _known(tx, [row])
    return Reply(body=Key.of(row, *known), version=row.version)


async def _rotate(ask: Ask, given: Rotation) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        row, text = await keys.rotate(tx, ask.caller, ask.id, given, version=ask.version)
        known = await _known(tx, [row])
    return Reply(body=KeyMade.of(row, *known, key=text), version=row.version)


async def _delete(ask: Ask) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        await keys.delete(tx, ask.caller, ask.id, version=ask.version)
    return Reply()


async def _known(tx: Reader, rows: Sequence[models.ApiKey]) -> tuple[Any, Any]:
    """Return the emails of the keys' owners, and the names of their endpoints."""
    these = {uuid.UUID(each) for row in rows for each in row.endpoint_ids or ()}
    endpoints = await tx.list(models.Endpoint, models.Endpoint.id.in_(these)) if these else ()
    return await users.emails(tx, {row.owner_id for row in rows}), {str(row.id): row.name for row in endpoints}


_PATH: Final = "/keys/{id:uuid}"

OPERATIONS = (
    Operation(
        method="GET",
        path="/keys",
        name="listKeys",
        summary="List API keys.",
        run=_list,
        gives=KeyPage,
        query=(*PAGED, searching("name or beginning")),
    ),
    Operation(
        method="POST",
        path="/keys",
        name="createKey",
        run=_create,
        takes=NewKey,
        gives=KeyMade,
        status=201,
        summary="Make an API key; the answer is the only one that has the key itself.",
    ),
    Operation(method="GET", path=_PATH, name="getKey", summary="Read an API key.", run=_get, gives=Key),
    Operation(
        method="PATCH",
        path=_PATH,
        name="updateKey",
        summary="Change an API key.",
        run=_update,
        takes=KeyChanges,
        gives=Key,
        conditional=True,
    ),
    Operation(
        method="POST",
        path=f"{_PATH}/rotate",
        name="rotateKey",
        run=_rotate,
        takes=Rotation,
        gives=KeyMade,
        conditional=True,
        summary="Give an API key another text, shown this once; the one before is good for a while.",
    ),
    Operation(
        method="DELETE",
        path=_PATH,
        name="deleteKey",
        summary="Revoke an API key.",
        run=_delete,
        status=204,
        conditional=True,
    ),
)
