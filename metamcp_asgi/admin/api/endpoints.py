"""Endpoints."""

import uuid
from collections.abc import Sequence
from typing import Final

from metamcp_asgi.admin.api.operation import PAGED, Ask, Operation, Parameter, Reply, page_of, searching
from metamcp_asgi.admin.api.shapes import Endpoint, EndpointPage
from metamcp_asgi.store import models
from metamcp_asgi.store.services import endpoints, users
from metamcp_asgi.store.services.inputs import EndpointChanges, NewEndpoint
from metamcp_asgi.store.transaction import Reader, place_of

__all__ = ["OPERATIONS"]


async def _list(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        rows = await endpoints.list_(
            tx,
            ask.caller,
            namespace=ask.query[_NAMESPACE.name],
            search=ask.search,
            after=ask.after(str, uuid.UUID),
            limit=ask.limit + 1,
        )
        rows, following = page_of(rows, ask.limit, place_of)
        items = await _shown(tx, rows)
    return Reply(body=EndpointPage(items=items, next=following), next=following)


async def _create(ask: Ask, given: NewEndpoint) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        row = await endpoints.create(tx, ask.caller, given)
        (body,) = await _shown(tx, [row])
    return Reply(body=body, version=row.version, location=f"/endpoints/{row.id}")


async def _get(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        row = await endpoints.get(tx, ask.caller, ask.id)
        (body,) = await _shown(tx, [row])
    return Reply(body=body, version=row.version)


async def _update(ask: Ask, given: EndpointChanges) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        row = await endpoints.update(tx, ask.caller, ask.id, given, version=ask.version)
        (body,) = await _shown(tx, [row])
    return Reply(body=body, version=row.version)


async def _delete(ask: Ask) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        await endpoints.delete(tx, ask.caller, ask.id, version=ask.version)
    return Reply()


async def _shown(tx: Reader, rows: Sequence[models.Endpoint]) -> list[Endpoint]:
    these = {row.namespace_id for row in rows}
    namespaces = {row.id: row.name for row in await tx.list(models.Namespace, models.Namespace.id.in_(these))}
    emails = await users.emails(tx, {row.owner_id for row in rows})
    return [Endpoint.of(row, namespaces[row.namespace_id], emails.get(row.owner_id)) for row in rows]


_NAMESPACE: Final = Parameter("namespace", uuid.UUID, "Only those that publish the namespace of this id.")
_PATH: Final = "/endpoints/{id:uuid}"

OPERATIONS = (
    Operation(
        method="GET",
        path="/endpoints",
        name="listEndpoints",
        summary="List endpoints.",
        run=_list,
        gives=EndpointPage,
        query=(*PAGED, _NAMESPACE, searching("name or description")),
    ),
    Operation(
        method="POST",
        path="/endpoints",
        name="createEndpoint",
        summary="Add an endpoint.",
        run=_create,
        takes=NewEndpoint,
        gives=Endpoint,
        status=201,
    ),
    Operation(method="GET", path=_PATH, name="getEndpoint", summary="Read an endpoint.", run=_get, gives=Endpoint),
    Operation(
        method="PATCH",
        path=_PATH,
        name="updateEndpoint",
        summary="Change an endpoint.",
        run=_update,
        takes=EndpointChanges,
        gives=Endpoint,
        conditional=True,
    ),
    Operation(
        method="DELETE",
        path=_PATH,
        name="deleteEndpoint",
        summary="Remove an endpoint.",
        run=_delete,
        status=204,
        conditional=True,
    ),
)
