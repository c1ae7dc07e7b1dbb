"""The names of namespaces and endpoints, for whoever chooses one: no more than that is read."""

import uuid
from collections.abc import Awaitable, Callable, Sequence

from metamcp_asgi.admin.api.operation import PAGED, Ask, Operation, Reply, page_of
from metamcp_asgi.admin.api.shapes import Page, Shape
from metamcp_asgi.store.models import Endpoint, Namespace
from metamcp_asgi.store.services.rows import names

__all__ = ["OPERATIONS"]


class Name(Shape, frozen=True, kw_only=True, rename="camel"):
    """What a thing is called, and whose it is: of ``ownerId`` null, everybody's."""

    id: uuid.UUID
    name: str
    owner_id: uuid.UUID | None


class NamePage(Page, frozen=True, kw_only=True, rename="camel"):
    """A page of names."""

    items: Sequence[Name]


def _names_of(kind: type[Namespace] | type[Endpoint]) -> Callable[[Ask], Awaitable[Reply]]:
    async def run(ask: Ask) -> Reply:
        async with ask.store.read() as tx:
            found = await names(tx, ask.caller, kind, ask.after(str, uuid.UUID), ask.limit + 1)
        rows, following = page_of(found, ask.limit, lambda row: (row.name, row.id))
        items = [Name(id=row.id, name=row.name, owner_id=row.owner_id) for row in rows]
        return Reply(body=NamePage(items=items, next=following), next=following)

    return run


OPERATIONS = (
    Operation(
        method="GET",
        path="/namespaces/names",
        name="listNamespaceNames",
        summary="List the names of namespaces.",
        run=_names_of(Namespace),
        gives=NamePage,
        query=PAGED,
    ),
    Operation(
        method="GET",
        path="/endpoints/names",
        name="listEndpointNames",
        summary="List the names of endpoints.",
        run=_names_of(Endpoint),
        gives=NamePage,
        query=PAGED,
    ),
)
