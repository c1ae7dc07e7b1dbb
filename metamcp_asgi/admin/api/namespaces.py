"""Namespaces with their servers."""

import uuid
from collections.abc import Sequence

from msgspec import Struct

from metamcp_asgi.admin.api.operation import PAGED, Ask, Operation, Reply, page_of
from metamcp_asgi.admin.api.shapes import Namespace, NamespacePage
from metamcp_asgi.store import models
from metamcp_asgi.store.services import namespaces
from metamcp_asgi.store.services.inputs import NamespaceChanges, NewNamespace
from metamcp_asgi.store.transaction import Reader, place_of

__all__ = ["OPERATIONS"]


class MemberChange(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Whether a server takes part in the namespace."""

    active: bool


async def _list(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        after = ask.after(str, uuid.UUID)
        rows = await namespaces.list_(tx, ask.caller, after=after, limit=ask.limit + 1)
        rows, following = page_of(rows, ask.limit, place_of)
        body = NamespacePage(items=await _shown(tx, rows), next=following)
    return Reply(body=body, next=following)


async def _create(ask: Ask, given: NewNamespace) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        row = await namespaces.create(tx, ask.caller, given)
        (body,) = await _shown(tx, [row])
    return Reply(body=body, version=row.version, location=f"/namespaces/{row.id}")


async def _get(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        row = await namespaces.get(tx, ask.caller, ask.id)
        (body,) = await _shown(tx, [row])
    return Reply(body=body, version=row.version)


async def _update(ask: Ask, given: NamespaceChanges) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        row = await namespaces.update(tx, ask.caller, ask.id, given, version=ask.version)
        await tx.flush()
        (body,) = await _shown(tx, [row])
    return Reply(body=body, version=row.version)


async def _delete(ask: Ask) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        await namespaces.delete(tx, ask.caller, ask.id, version=ask.version)
    return Reply()


async def _switch_server(ask: Ask, given: MemberChange) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        row = await namespaces.get(tx, ask.caller, ask.id)
        await namespaces.switch_server(tx, ask.caller, ask.id, ask.ids["server"], given.active, version=ask.version)
        (body,) = await _shown(tx, [row])
    return Reply(body=body, version=row.version)


async def _shown(tx: Reader, rows: Sequence[models.Namespace]) -> list[Namespace]:
    members: dict[uuid.UUID, list[models.Membership]] = {row.id: [] for row in rows}
    for member in await tx.list(models.Membership, models.Membership.namespace_id.in_(members)):
        members[member.namespace_id].append(member)
    return [Namespace.of(row, members[row.id]) for row in rows]


_PATH = "/namespaces/{id:uuid}"

OPERATIONS = (
    Operation(
        method="GET",
        path="/namespaces",
        name="listNamespaces",
        summary="List namespaces.",
        run=_list,
        gives=NamespacePage,
        query=PAGED,
    ),
    Operation(
        method="POST",
        path="/namespaces",
        name="createNamespace",
        summary="Add a namespace.",
        run=_create,
        takes=NewNamespace,
        gives=Namespace,
        status=201,
    ),
    Operation(method="GET", path=_PATH, name="getNamespace", summary="Read a namespace.", run=_get, gives=Namespace),
    Operation(
        method="PATCH",
        path=_PATH,
        name="updateNamespace",
        run=_update,
        takes=NamespaceChanges,
        gives=Namespace,
        conditional=True,
        summary="Change a namespace; `servers` replaces all of them, in this order.",
    ),
    Operation(
        method="DELETE",
        path=_PATH,
        name="deleteNamespace",
        run=_delete,
        status=204,
        conditional=True,
        summary="Remove a namespace, and with it the endpoints over it.",
    ),
    Operation(
        method="PATCH",
        path=f"{_PATH}/servers/{{server:uuid}}",
        name="switchServer",
        run=_switch_server,
        takes=MemberChange,
        gives=Namespace,
        conditional=True,
        summary="Switch a server of a namespace on or off; the ETag is the namespace's.",
    ),
)
