"""Namespaces with their servers and middlewares."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec import Struct

from metamcp_asgi.admin.api.access import included
from metamcp_asgi.admin.api.operation import PAGED, Ask, Operation, Parameter, Reply, page_of, searching
from metamcp_asgi.admin.api.running import State, health_of
from metamcp_asgi.admin.api.shapes import Namespace, NamespacePage, Page, Shape
from metamcp_asgi.aggregate.middleware.registry import known
from metamcp_asgi.config.snapshot import TransportKind
from metamcp_asgi.store import models
from metamcp_asgi.store.compile import named
from metamcp_asgi.store.services import namespaces
from metamcp_asgi.store.services.inputs import Member as Given
from metamcp_asgi.store.services.inputs import NamespaceChanges, NewNamespace
from metamcp_asgi.store.transaction import Reader, place_of

__all__ = ["OPERATIONS"]

DETAILS = Parameter("details", str, "`include`: show the owner's email and how many tools and endpoints there are.")


class NamespaceMember(Shape, frozen=True, kw_only=True, rename="camel"):
    """A server of a namespace and how it does; ``active``: whether it takes part. ``tools``: how many it offers now."""

    server_id: uuid.UUID
    name: str
    description: str
    type: TransportKind
    owner_id: uuid.UUID | None
    active: bool
    state: State
    error: str
    tools: int | None


class Members(Shape, frozen=True, kw_only=True, rename="camel"):
    """The servers of a namespace, in their order."""

    items: Sequence[NamespaceMember]


class Candidate(Shape, frozen=True, kw_only=True, rename="camel"):
    """A server that could be added to a namespace."""

    id: uuid.UUID
    name: str
    description: str
    type: TransportKind
    owner_id: uuid.UUID | None


class CandidatePage(Page, frozen=True, kw_only=True, rename="camel"):
    """A page of servers that could be added."""

    items: Sequence[Candidate]


class Middleware(Shape, frozen=True, kw_only=True, rename="camel"):
    """A middleware; ``options`` is the JSON schema of its options, null for none. ``error``: why it cannot be used."""

    name: str
    summary: str
    options: dict[str, Any] | None
    error: str


class Middlewares(Shape, frozen=True, kw_only=True, rename="camel"):
    """The middlewares that a namespace can have."""

    items: Sequence[Middleware]


class MemberChange(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Whether a server takes part in the namespace."""

    active: bool


async def _list(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        after, search = ask.after(str, uuid.UUID), ask.search
        rows = await namespaces.list_(tx, ask.caller, search=search, after=after, limit=ask.limit + 1)
        rows, following = page_of(rows, ask.limit, place_of)
        body = NamespacePage(items=await _shown(tx, rows, ask), next=following)
    return Reply(body=body, next=following)


async def _create(ask: Ask, given: NewNamespace) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        row = await namespaces.create(tx, ask.caller, given)
        (body,) = await _shown(tx, [row])
    return Reply(body=body, version=row.version, location=f"/namespaces/{row.id}")


async def _get(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        row = await namespaces.get(tx, ask.caller, ask.id)
        (body,) = await _shown(tx, [row], ask)
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


async def _members(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        row = await namespaces.get(tx, ask.caller, ask.id)
        places = await namespaces.places(tx, ask.caller, ask.id)
    return Reply(body=Members(items=[_member(ask, place) for place in places]), version=row.version)


def _member(ask: Ask, place: namespaces.Place) -> NamespaceMember:
    health = health_of(ask.aggregator, place, ask.caller)
    return NamespaceMember(
        server_id=place.id,
        name=place.name,
        description=place.description,
        type=place.type,
        owner_id=place.owner_id,
        active=place.active,
        state=health.state,
        error=health.error,
        tools=health.tools,
    )


async def _candidates(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        after, search = ask.after(str, uuid.UUID), ask.search
        rows = await namespaces.candidates(tx, ask.caller, ask.id, search=search, after=after, limit=ask.limit + 1)
    rows, following = page_of(rows, ask.limit, place_of)
    items = [
        Candidate(id=row.id, name=row.name, description=row.description, type=row.type, owner_id=row.owner_id)
        for row in rows
    ]
    return Reply(body=CandidatePage(items=items, next=following), next=following)


async def _middlewares(ask: Ask) -> Reply:
    items = [
        Middleware(name=each.name, summary=each.summary, options=each.options, error=each.error) for each in known()
    ]
    return Reply(body=Middlewares(items=items))


async def _shown(tx: Reader, rows: Sequence[models.Namespace], ask: Ask | None = None) -> list[Namespace]:
    members = await namespaces.listed(tx, [row.id for row in rows])
    if ask is None or not included(ask, DETAILS):
        return [Namespace.of(row, members[row.id]) for row in rows]
    details = await namespaces.details(tx, ask.caller, rows)
    offered = _offered(ask, details)
    return [
        Namespace.of(
            row,
            members[row.id],
            owner=None if row.owner_id is None else details.owners[row.owner_id],
            endpoints=details.endpoints.get(row.id, 0),
            tools=None if ask.aggregator is None else _number(row, members[row.id], offered, details),
        )
        for row in rows
    ]


def _offered(ask: Ask, details: namespaces.Details) -> dict[uuid.UUID, Collection[str]]:
    """Return what each server offers now."""
    offered: dict[uuid.UUID, Collection[str]] = {}
    for identity, (name, owner) in details.servers.items():
        catalogue = ask.aggregator.catalogues.get(named(name, owner)) if ask.aggregator is not None else None
        if catalogue is not None and catalogue.lists is not None:
            offered[identity] = {entry.key for entry in catalogue.lists["tools/list"].entries}
    return offered


def _number(
    row: models.Namespace,
    members: Sequence[Given],
    offered: Mapping[uuid.UUID, Collection[str]],
    details: namespaces.Details,
) -> int:
    """Return how many tools of a namespace are on."""
    on = {member.server_id: offered.get(member.server_id, ()) for member in members if member.active}
    off = sum(tool in on.get(server, ()) for server, tool in details.off[row.id])
    return sum(map(len, on.values())) - off


_PATH = "/namespaces/{id:uuid}"

OPERATIONS = (
    Operation(
        method="GET",
        path="/namespaces",
        name="listNamespaces",
        summary="List namespaces.",
        run=_list,
        gives=NamespacePage,
        query=(*PAGED, searching("name or description"), DETAILS),
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
    Operation(
        method="GET",
        path="/namespaces/middlewares",
        name="listMiddlewares",
        run=_middlewares,
        gives=Middlewares,
        summary="List the middlewares that a namespace can have, with what each can be told.",
    ),
    Operation(
        method="GET",
        path=_PATH,
        name="getNamespace",
        summary="Read a namespace.",
        run=_get,
        gives=Namespace,
        query=(DETAILS,),
    ),
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
        method="GET",
        path=f"{_PATH}/servers",
        name="listMembers",
        run=_members,
        gives=Members,
        running=True,
        summary="List the servers of a namespace in their order, and how they do; the ETag is the namespace's.",
    ),
    Operation(
        method="GET",
        path=f"{_PATH}/candidates",
        name="listCandidates",
        run=_candidates,
        gives=CandidatePage,
        query=(*PAGED, searching("name or description")),
        summary="List the servers that could be added to a namespace.",
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
