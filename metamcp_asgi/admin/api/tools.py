"""The tools of a namespace: switches and overrides, one by one or by a pattern.

A tool is known by its server and the server's own name for it, and its settings have a version of their own, which is
0 while there are none.
"""

from collections.abc import Sequence
from typing import TypeAlias
from uuid import UUID

from msgspec import structs

from metamcp_asgi.admin.api.operation import Ask, Operation, Reply
from metamcp_asgi.admin.api.tool_listing import QUERY, entry_of, list_tools, offered_of, servers_of
from metamcp_asgi.admin.api.tool_preview import found_tool, line_of, preview_tool
from metamcp_asgi.admin.api.tool_shapes import NamespaceTool, NamespaceToolPage, Preview, Switch, Switched
from metamcp_asgi.store import models
from metamcp_asgi.store.errors import NotFound
from metamcp_asgi.store.services import tools
from metamcp_asgi.store.services.contents import Setting
from metamcp_asgi.store.services.inputs import ToolChanges
from metamcp_asgi.store.services.namespaces import Place
from metamcp_asgi.store.transaction import Writer

__all__ = ["OPERATIONS"]

_Switched: TypeAlias = tuple[UUID, str, models.ToolSetting | Setting | None]


async def _get(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        server, row = await found_tool(tx, ask)
    return _reply(ask, server, row)


async def _change(ask: Ask, given: ToolChanges) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        server, row = await found_tool(tx, ask)
        ask.check(row.version if row is not None else 0)
        if isinstance(given.name, str):
            planned = await tools.planned(tx, ask.caller, ask.id, server.id, ask.ids["tool"], given)
            await line_of(tx, ask, planned, server, given)
        row = await tools.change(tx, ask.caller, ask.id, server.id, ask.ids["tool"], given)
        await tx.flush()
    return _reply(ask, server, row)


async def _clear(ask: Ask) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        server, row = await found_tool(tx, ask)
        ask.check(row.version if row is not None else 0)
        await tools.clear(tx, ask.caller, ask.id, server.id, ask.ids["tool"])
    return Reply()


async def _switch(ask: Ask, given: Switch) -> Reply:
    async with ask.store.read() if given.dry_run else ask.store.write(ask.caller) as tx:
        servers = await servers_of(tx, ask)
        offered = {
            identity: {each.key: each for each in entries} for identity, entries in offered_of(ask, servers).items()
        }
        asked = (ask.caller, ask.id, given.pattern, given.enabled, offered)
        if isinstance(tx, Writer):
            rows = await tools.switch(tx, *asked, only=given.server_id)
            await tx.flush()
            switched: Sequence[_Switched] = [(row.server_id, row.tool, row) for row in rows]
        else:
            switched = await tools.switching(tx, *asked, only=given.server_id)
    ordered = sorted(switched, key=lambda each: (servers[each[0]].name, each[1]))
    items = [
        structs.replace(NamespaceTool.of(servers[server], tool, row, offered[server].get(tool)), enabled=given.enabled)
        for server, tool, row in ordered[: given.limit]
    ]
    return Reply(body=Switched(items=items, number=len(ordered)))


def _reply(ask: Ask, server: Place, row: models.ToolSetting | None) -> Reply:
    tool = ask.ids["tool"]
    entry = entry_of(ask, server, tool)
    if row is None and entry is None:
        raise NotFound("tool", f"{tool} of this server, now")
    return Reply(body=NamespaceTool.of(server, tool, row, entry), version=row.version if row is not None else 0)


_TOOLS = "/namespaces/{id:uuid}/tools"
_PATH = f"{_TOOLS}/{{server:uuid}}/{{tool:path}}"

OPERATIONS = (
    Operation(
        method="GET",
        path=_TOOLS,
        name="listTools",
        run=list_tools,
        gives=NamespaceToolPage,
        query=QUERY,
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
    # Before the path of a tool, which would take this for one called `.../preview`.
    Operation(
        method="POST",
        path=f"{_PATH}/preview",
        name="previewTool",
        run=preview_tool,
        takes=ToolChanges,
        gives=Preview,
        running=True,
        summary="Show a tool as clients would see it with these changes; nothing is changed.",
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
