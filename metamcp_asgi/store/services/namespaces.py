"""Namespaces: made, changed and removed, with the list of their servers."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import UNSET, Struct, UnsetType
from sqlalchemy import func, or_, select

from metamcp_asgi.config import snapshot
from metamcp_asgi.store.columns import now
from metamcp_asgi.store.errors import NotFound
from metamcp_asgi.store.models import Endpoint, Membership, Namespace, Server, ToolSetting, User
from metamcp_asgi.store.policy import Acting, check_move, check_reach, may_see, new_owner, visible
from metamcp_asgi.store.services import contents
from metamcp_asgi.store.services.fragments import check_middlewares
from metamcp_asgi.store.services.inputs import Invalid, Member, NamespaceChanges, NewNamespace, given
from metamcp_asgi.store.services.rows import assign, changeable, check_owner, check_unique, having, seen
from metamcp_asgi.store.services.settings import rules
from metamcp_asgi.store.transaction import Reader, Writer

__all__ = [
    "Details",
    "Place",
    "candidates",
    "create",
    "delete",
    "details",
    "get",
    "list_",
    "listed",
    "places",
    "switch_server",
    "update",
]


async def get(tx: Reader, acting: Acting, identity: uuid.UUID) -> Namespace:
    """Return a namespace.

    Raises:
        NotFound: There is none that they may see.
    """
    return await seen(tx, acting, Namespace, identity)


async def list_(
    tx: Reader,
    acting: Acting,
    *,
    search: str | None = None,
    after: tuple[Any, ...] | None = None,
    limit: int | None = None,
) -> Sequence[Namespace]:
    """Return the namespaces that somebody may see, by name; of these, those with ``search`` in name or description."""
    found = () if search is None else (having(search, Namespace.name, Namespace.description),)
    return await tx.list(Namespace, visible(acting, Namespace), *found, after=after, limit=limit)


class Place(NamedTuple):
    """A server of a namespace, in short, of which there may be hundreds; ``active``: whether it takes part there."""

    id: uuid.UUID
    name: str
    description: str
    type: snapshot.TransportKind
    owner_id: uuid.UUID | None
    disabled: bool
    active: bool


async def places(tx: Reader, acting: Acting, identity: uuid.UUID) -> list[Place]:
    """Return the servers of a namespace in their order, without what only they themselves need to know.

    Raises:
        NotFound: There is no such namespace that they may see.
    """
    await seen(tx, acting, Namespace, identity)
    columns = [getattr(Server, field) for field in Place._fields if field != "active"]
    query = (
        select(*columns, Membership.active)
        .join(Membership, Membership.server_id == Server.id)
        .where(Membership.namespace_id == identity)
        .order_by(Membership.position, Membership.id)
    )
    return [Place._make(row) for row in await tx.session.execute(query)]


async def listed(tx: Reader, these: Collection[uuid.UUID]) -> dict[uuid.UUID, list[Member]]:
    """Return the lists of the servers of these namespaces, in their order."""
    found: dict[uuid.UUID, list[Member]] = {identity: [] for identity in these}
    query = (
        select(Membership.namespace_id, Membership.server_id, Membership.active)
        .where(Membership.namespace_id.in_(these))
        .order_by(Membership.position, Membership.id)
    )
    for namespace, server, active in await tx.session.execute(query):
        found[namespace].append(Member(server_id=server, active=active))
    return found


class Details(Struct, frozen=True):
    """What lists tell of namespaces beside their own columns.

    ``owners`` are the emails of their owners; ``endpoints`` how many publish each, of those that somebody may see;
    ``servers`` the names and owners of their servers; ``off`` the tools that each switches off.
    """

    owners: Mapping[uuid.UUID, str]
    endpoints: Mapping[uuid.UUID, int]
    servers: Mapping[uuid.UUID, tuple[str, uuid.UUID | None]]
    off: Mapping[uuid.UUID, Collection[tuple[uuid.UUID, str]]]


async def details(tx: Reader, acting: Acting, rows: Sequence[Namespace]) -> Details:
    """Return what lists tell of namespaces, in a few queries for all of them."""
    these = [row.id for row in rows]
    owners = select(User.id, User.email).where(User.id.in_({row.owner_id for row in rows}))
    endpoints = (
        select(Endpoint.namespace_id, func.count())
        .where(Endpoint.namespace_id.in_(these), visible(acting, Endpoint))
        .group_by(Endpoint.namespace_id)
    )
    inside = select(Membership.server_id).where(Membership.namespace_id.in_(these))
    servers = select(Server.id, Server.name, Server.owner_id).where(Server.id.in_(inside), Server.disabled.is_(False))
    off = select(ToolSetting.namespace_id, ToolSetting.server_id, ToolSetting.tool).where(
        ToolSetting.namespace_id.in_(these), ToolSetting.enabled.is_(False)
    )
    switched_off: dict[uuid.UUID, set[tuple[uuid.UUID, str]]] = {identity: set() for identity in these}
    for namespace, server, tool in await tx.session.execute(off):
        switched_off[namespace].add((server, tool))
    return Details(
        owners={row[0]: row[1] for row in await tx.session.execute(owners)},
        endpoints={row[0]: row[1] for row in await tx.session.execute(endpoints)},
        servers={row[0]: (row[1], row[2]) for row in await tx.session.execute(servers)},
        off=switched_off,
    )


async def candidates(
    tx: Reader,
    acting: Acting,
    identity: uuid.UUID,
    *,
    search: str | None = None,
    after: tuple[Any, ...] | None = None,
    limit: int | None = None,
) -> Sequence[Server]:
    """Return the servers that could be added to a namespace, by name: visible, not yet in it, its owner's or public.

    Raises:
        NotFound: There is no such namespace that they may see.
    """
    row = await seen(tx, acting, Namespace, identity)
    inside = select(Membership.server_id).where(Membership.namespace_id == row.id)
    found = () if search is None else (having(search, Server.name, Server.description),)
    # As ``policy.reaches`` has it.
    reached = or_(Server.owner_id.is_(None), Server.owner_id == row.owner_id)
    fitting = (visible(acting, Server), reached, Server.id.not_in(inside), *found)
    return await tx.list(Server, *fitting, after=after, limit=limit)


async def create(tx: Writer, acting: Acting, new: NewNamespace) -> Namespace:
    """Make a namespace, and return it.

    Raises:
        Forbidden: It would be public or somebody else's, and they may not; or it may not have one of the servers.
        Invalid: The name or another value is wrong.
        Duplicate: Its owner has one of this name.
    """
    owner = new_owner(acting, new.owner_id, await rules(tx))
    await check_owner(tx, owner)
    servers = await _servers(tx, acting, new.servers, owner)
    inside = contents.Contents({}, {})
    compiled = inside.check(new.name, _entry({}, given(new)), servers=_names(servers))
    check_middlewares(tx, compiled)
    await check_unique(tx, Namespace, owner_id=owner, name=new.name)
    row = await tx.add(Namespace(owner_id=owner, name=new.name, **_columns(compiled)))
    await _place(tx, row, servers, [])
    return row


async def update(
    tx: Writer, acting: Acting, identity: uuid.UUID, changes: NamespaceChanges, *, version: int | None = None
) -> Namespace:
    """Change a namespace, and return it; its version counts its list of servers, too.

    Raises:
        NotFound: There is none that they may see.
        Forbidden: They may not change it, or not so.
        Invalid: A value is wrong.
        Duplicate: Its owner has another one of this name.
        Conflict: It has another version.
    """
    row = await changeable(tx, acting, Namespace, identity, version)
    values = given(changes)
    name, owner = values.get("name", row.name), values.get("owner_id", row.owner_id)
    check_move(acting, row, owner)
    inside = await contents.read(tx, row.id)
    servers: list[tuple[Server | contents.Part, bool]]
    if changes.servers is UNSET:
        servers = [(part, part.active) for part in inside.servers.values()]
        if owner != row.owner_id:
            _check_servers(servers, owner)
    else:
        servers = await _servers(tx, acting, changes.servers, owner)
    entry = _entry(contents.entry_of(row), values)
    same = changes.servers is UNSET and entry["prefix"] == row.prefix
    compiled = inside.check(name, entry, servers=_names(servers), overrides={} if same else None)
    if changes.middlewares is not UNSET:
        # Not otherwise: a package that is gone must not keep anybody from changing the rest.
        check_middlewares(tx, compiled)
    if owner != row.owner_id:
        await check_owner(tx, owner)
        for endpoint in await tx.list(Endpoint, Endpoint.namespace_id == row.id):
            check_reach(endpoint.owner_id, owner, f'endpoint "{endpoint.name}" has this namespace')
    await check_unique(tx, Namespace, row, owner_id=owner, name=name)
    assign(row, {"name": name, "owner_id": owner, **_columns(compiled)})
    if changes.servers is not UNSET:
        await _place(tx, row, servers, await tx.list(Membership, Membership.namespace_id == row.id))
    await tx.flush()
    return row


async def switch_server(
    tx: Writer, acting: Acting, identity: uuid.UUID, server: uuid.UUID, active: bool, *, version: int | None = None
) -> Membership:
    """Let a server of a namespace take part there, or not, and return its place.

    Raises:
        NotFound: There is no such namespace, or it does not have this server.
        Forbidden: They may not change it.
        Conflict: The namespace has another version.
    """
    row = await changeable(tx, acting, Namespace, identity, version)
    member = await tx.find(Membership, namespace_id=row.id, server_id=server)
    if member is None:
        raise NotFound("membership", server)
    if member.active != active:
        member.active = active
        row.updated_at = now()
    await tx.flush()
    return member


async def delete(tx: Writer, acting: Acting, identity: uuid.UUID, *, version: int | None = None) -> None:
    """Remove a namespace, and the endpoints that publish it; raises what ``update`` raises."""
    await tx.delete(await changeable(tx, acting, Namespace, identity, version))


async def _servers(
    tx: Reader, acting: Acting, wanted: Sequence[Member] | UnsetType, owner: uuid.UUID | None
) -> list[tuple[Server | contents.Part, bool]]:
    """Return the servers of a list, and whether each takes part."""
    listed = [] if wanted is UNSET else wanted
    found = await tx.list(Server, Server.id.in_([member.server_id for member in listed]))
    by_id = {server.id: server for server in found if may_see(acting, server)}
    servers: dict[uuid.UUID, tuple[Server | contents.Part, bool]] = {}
    for index, member in enumerate(listed):
        place = f"servers[{index}].serverId"
        if member.server_id not in by_id:
            raise Invalid(place, "names a server that does not exist")
        if member.server_id in servers:
            raise Invalid(place, "is in the list twice; keep one of them")
        servers[member.server_id] = by_id[member.server_id], member.active
    _check_servers(list(servers.values()), owner)
    return list(servers.values())


def _check_servers(servers: Sequence[tuple[Server | contents.Part, bool]], owner: uuid.UUID | None) -> None:
    for server, _ in servers:
        check_reach(owner, server.owner_id, f'server "{server.name}"')


def _names(servers: Sequence[tuple[Server | contents.Part, bool]]) -> list[tuple[uuid.UUID, str]]:
    return [(server.id, server.name) for server, _ in servers]


def _entry(entry: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    changed = {key: values[key] for key in ("description", "prefix", "middlewares") if key in values}
    return {**entry, **changed}


def _columns(compiled: snapshot.Namespace) -> dict[str, Any]:
    return {
        "description": compiled.description,
        "prefix": compiled.prefix,
        "middlewares": [{"name": spec.name, "options": dict(spec.options)} for spec in compiled.middlewares],
    }


async def _place(
    tx: Writer,
    row: Namespace,
    servers: Sequence[tuple[Server | contents.Part, bool]],
    there: Sequence[Membership],
) -> None:
    """Make the rows of a namespace's servers what the list says."""
    before = {member.server_id: member for member in there}
    # In order, but one that is new ends up where it is listed.
    listed = [(member.server_id, member.active) for member in there]
    if listed == [(server.id, active) for server, active in servers]:
        return
    kept = {server.id for server, _ in servers}
    for member in there:
        if member.server_id not in kept:
            await tx.delete(member)
    for position, (server, active) in enumerate(servers):
        if server.id in before:
            assign(before[server.id], {"position": position, "active": active})
        else:
            await tx.add(Membership(namespace_id=row.id, server_id=server.id, position=position, active=active))
    if there:
        # The list belongs to the namespace, so whoever read the old one holds an old version.
        row.updated_at = now()
