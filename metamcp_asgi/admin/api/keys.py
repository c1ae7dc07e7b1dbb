"""API keys, of which the text is shown when one is made and never again."""

import uuid

from metamcp_asgi.admin.api.operation import PAGED, Ask, Operation, Reply, page_of
from metamcp_asgi.admin.api.shapes import Key, KeyMade, KeyPage
from metamcp_asgi.store.services import keys
from metamcp_asgi.store.services.inputs import KeyChanges, NewKey
from metamcp_asgi.store.transaction import place_of

__all__ = ["OPERATIONS"]


async def _list(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        after = ask.after(str, uuid.UUID)
        rows = await keys.list_(tx, ask.caller, after=after, limit=ask.limit + 1)
    rows, following = page_of(rows, ask.limit, place_of)
    return Reply(body=KeyPage(items=[Key.of(row) for row in rows], next=following), next=following)


async def _create(ask: Ask, given: NewKey) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        row, text = await keys.create(tx, ask.caller, given)
    return Reply(body=KeyMade.of(row, key=text), version=row.version, location=f"/keys/{row.id}")


async def _get(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        row = await keys.get(tx, ask.caller, ask.id)
    return Reply(body=Key.of(row), version=row.version)


async def _update(ask: Ask, given: KeyChanges) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        row = await keys.update(tx, ask.caller, ask.id, given, version=ask.version)
    return Reply(body=Key.of(row), version=row.version)


async def _delete(ask: Ask) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        await keys.delete(tx, ask.caller, ask.id, version=ask.version)
    return Reply()


_PATH = "/keys/{id:uuid}"

OPERATIONS = (
    Operation(
        method="GET", path="/keys", name="listKeys", summary="List API keys.", run=_list, gives=KeyPage, query=PAGED
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
        method="DELETE",
        path=_PATH,
        name="deleteKey",
        summary="Revoke an API key.",
        run=_delete,
        status=204,
        conditional=True,
    ),
)
