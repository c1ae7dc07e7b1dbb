"""The tools of a namespace: switches and overrides, one by one or by a pattern.

A tool is known by its server and the server's own name for it, and its settings have a version of their own, which is
0 while there are none.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta, Struct

from metamcp_asgi.admin.api.operation import PAGED, Ask, Operation, Reply, page_of
from metamcp_asgi.admin.api.running import catalogue_of
from metamcp_asgi.admin.api.shapes import Page, Shape
from metamcp_asgi.store import models
from metamcp_asgi.store.errors import NotFound
from metamcp_asgi.store.services import namespaces, tools
from metamcp_asgi.store.services.inputs import ToolChanges
from metamcp_asgi.store.transaction import Reader

__all__ = ["OPERATIONS"]


class NamespaceTool(Shape, frozen=True, kw_only=True, rename="camel"):
    """A tool in a namespace. ``name`` and what follows are overrides; null is the server's own.

    ``offered``: whether the server offers it now; settings of tools that it doesn't are kept.
    """

    server_id: UUID
    server: str
    tool: str
    offered: bool
    enabled: bool
    name: str | None = None
    title: str | None = None
    description: str | None = None
    annotations: Mapping[str, Any] | None = None
    version: int = 0


class NamespaceToolPage(Page, frozen=True, kw_only=True, rename="camel"):
    """A page of the tools of a namespace."""

    items: Sequence[NamespaceTool]


class Switch(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which tools to switch, and whether on or off; ``*`` and ``?`` stand for any characters and any one."""

    pattern: Annotated[str, Meta(min_length=1, max_length=500, description="On `server__tool`: `time__*`.")]
    enabled: bool


class Switched(Shape, frozen=True, kw_only=True, rename="camel"):
    """The tools that are switched otherwise now."""

    items: Sequence[NamespaceTool]


async def _list(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        await namespaces.get(tx, ask.caller, ask.id)
        servers = await _servers(tx, ask.id)
        settings = {(row.server_id, row.tool): row for row in await tools.settings(tx, ask.caller, ask.id)}
    offered = _offered(ask, servers)
    keys = [(server, tool) for server in offered for tool in offered[server]]
    keys += [key for key in settings if key[0] in servers and key[1] not in offered[key[0]]]
    places = sorted((servers[server].name, tool, server) for server, tool in keys)
    after = ask.after(str, str, uuid.UUID)
    wanted = [place for place in places if after is None or place > after]
    shown, following = page_of(wanted[: ask.limit + 1], ask.limit, lambda place: place)
    items = [
        _tool(servers[server], tool, settings.get((server, tool)), offered=tool in offered[server])
        for _, tool, server in shown
    ]
    return Reply(body=NamespaceToolPage(items=items, next=following), next=following)


async def _get(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        server, row = await _found(tx, ask)
    return _reply(ask, server, row)


async def _change(ask: Ask, given: ToolChanges) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        server, row = await _found(tx, ask)
        ask.check(row.version if row is not None else 0)
        row = await tools.change(tx, ask.caller, ask.id, server.id, ask.ids["tool"], given)
        await tx.flush()
    return _reply(ask, server, row)


async def _clear(ask: Ask) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        server, row = await _found(tx, ask)
        ask.check(row.version if row is not None else 0)
        await tools.clear(tx, ask.caller, ask.id, server.id, ask.ids["tool"])
    return Reply()


async def _switch(ask: Ask, given: Switch) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        await namespaces.get(tx, ask.caller, ask.id)
        servers = await _servers(tx, ask.id)
        offered = _offered(ask, servers)
        rows = await tools.switch(tx, ask.caller, ask.id, given.pattern, given.enabled, offered)
        await tx.flush()
    items = [_tool(servers[row.server_id], row.tool, row, offered=row.tool in offered[row.server_id]) for row in rows]
    return Reply(body=Switched(items=items))


async def _servers(tx: Reader, namespace: uuid.UUID) -> dict[uuid.UUID, models.Server]:
    members = await tx.list(models.Membership, models.Membership.namespace_id == namespace)
    rows = await tx.list(models.Server, models.Server.id.in_([member.server_id for member in members]))
    return {row.id: row for row in rows}


async def _found(tx: Reader, ask: Ask) -> tuple[models.Server, models.ToolSetting | None]:
    await namespaces.get(tx, ask.caller, ask.id)
    server = (await _servers(tx, ask.id)).get(ask.ids["server"])
    if server is None:
        raise NotFound("server", f"{ask.ids['server']} in this namespace")
    row = await tx.find(models.ToolSetting, namespace_id=ask.id, server_id=server.id, tool=ask.ids["tool"])
    return server, row


def _offered(ask: Ask, servers: Mapping[uuid.UUID, models.Server]) -> dict[uuid.UUID, set[str]]:
    offered: dict[uuid.UUID, set[str]] = {}
    for identity, row in servers.items():
        catalogue = catalogue_of(ask.aggregator, row)
        lists = catalogue.lists if catalogue is not None else None
        offered[identity] = {entry.key for entry in lists["tools/list"].entries} if lists is not None else set()
    return offered


def _reply(ask: Ask, server: models.Server, row: models.ToolSetting | None) -> Reply:
    tool = ask.ids["tool"]
    offered = tool in _offered(ask, {server.id: server})[server.id]
    if row is None and not offered:
        raise NotFound("tool", f"{tool} of this server, now")
    return Reply(body=_tool(server, tool, row, offered=offered), version=row.version if row is not None else 0)


def _tool(server: models.Server, tool: str, row: models.ToolSetting | None, *, offered: bool) -> NamespaceTool:
    if row is None:
        return NamespaceTool(server_id=server.id, server=server.name, tool=tool, offered=offered, enabled=True)
    return NamespaceTool(
        server_id=server.id,
        server=server.name,
        tool=tool,
        offered=offered,
        enabled=row.enabled,
        name=row.name,
        title=row.title,
        description=row.description,
        annotations=row.annotations,
        version=row.version,
    )


_TOOLS = "/namespaces/{id:uuid}/tools"
_PATH = f"{_TOOLS}/{{server:uuid}}/{{tool:path}}"

OPERATIONS = (
    Operation(
        method="GET",
        path=_TOOLS,
        name="listTools",
        run=_list,
        gives=NamespaceToolPage,
        query=PAGED,
        running=True,
        summary="List the tools of a namespace, with their switches and overrides.",
    ),
    Operation(
        method="POST",
        path=f"{_TOOLS}/switch",
        name="switchTools",
        run=_switch,
        takes=Switch,
        gives=Switched,
        running=True,
        summary="Switch on or off all tools whose name fits a pattern.",
    ),
    Operation(
        method="GET", path=_PATH, name="getTool", summary="Read a tool's settings.", run=_get, gives=NamespaceTool
    ),
    Operation(
        method="PATCH",
        path=_PATH,
        name="updateTool",
        run=_change,
        takes=ToolChanges,
        gives=NamespaceTool,
        conditional=True,
        summary="Switch or override a tool; null takes an override away.",
    ),
    Operation(
        method="DELETE",
        path=_PATH,
        name="clearTool",
        run=_clear,
        status=204,
        conditional=True,
        summary="Take a tool's settings away: it is on, with the server's own words.",
    ),
)
