"""Endpoints."""

import uuid

from metamcp_asgi.admin.api.operation import PAGED, Ask, Operation, Reply, page_of
from metamcp_asgi.admin.api.shapes import Endpoint, EndpointPage
from metamcp_asgi.store.services import endpoints
from metamcp_asgi.store.services.inputs import EndpointChanges, NewEndpoint
from metamcp_asgi.store.transaction import place_of

__all__ = ["OPERATIONS"]


async def _list(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        after = ask.after(str, uuid.UUID)
        rows = await endpoints.list_(tx, ask.caller, after=after, limit=ask.limit + 1)
    rows, following = page_of(rows, ask.limit, place_of)
    return Reply(body=EndpointPage(items=[Endpoint.of(row) for row in rows], next=following), next=following)


async def _create(ask: Ask, given: NewEndpoint) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        row = await endpoints.create(tx, ask.caller, given)
    return Reply(body=Endpoint.of(row), version=row.version, location=f"/endpoints/{row.id}")


async def _get(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        row = await endpoints.get(tx, ask.caller, ask.id)
    return Reply(body=Endpoint.of(row), version=row.version)


async def _update(ask: Ask, given: EndpointChanges) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        row = await endpoints.update(tx, ask.caller, ask.id, given, version=ask.version)
    return Reply(body=Endpoint.of(row), version=row.version)


async def _delete(ask: Ask) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        await endpoints.delete(tx, ask.caller, ask.id, version=ask.version)
    return Reply()


_PATH = "/endpoints/{id:uuid}"

OPERATIONS = (
    Operation(
        method="GET",
        path="/endpoints",
        name="listEndpoints",
        summary="List endpoints.",
        run=_list,
        gives=EndpointPage,
        query=PAGED,
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
