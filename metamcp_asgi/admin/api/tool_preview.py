"""What clients would see of a tool: made by the data path's own view, of a configuration that is only planned."""

from typing import Literal

import msgspec

from metamcp_asgi.admin.api.operation import Ask, Reply
from metamcp_asgi.admin.api.running import catalogue_of
from metamcp_asgi.admin.api.tool_listing import entry_of, servers_of
from metamcp_asgi.admin.api.tool_shapes import Preview
from metamcp_asgi.aggregate.middleware.registry import takes_part
from metamcp_asgi.aggregate.naming import MODELS_TAKE
from metamcp_asgi.aggregate.published import Item
from metamcp_asgi.aggregate.view import tool_of
from metamcp_asgi.config.snapshot import Namespace
from metamcp_asgi.protocol.names import qualify
from metamcp_asgi.store import models
from metamcp_asgi.store.errors import NotFound
from metamcp_asgi.store.services import namespaces, tools
from metamcp_asgi.store.services.inputs import Invalid, ToolChanges
from metamcp_asgi.store.services.namespaces import Place
from metamcp_asgi.store.transaction import Reader

__all__ = ["found_tool", "line_of", "preview_tool"]


async def preview_tool(ask: Ask, given: ToolChanges) -> Reply:
    """Return a tool as clients would see it with these changes."""
    tool = ask.ids["tool"]
    async with ask.store.read() as tx:
        server, _ = await found_tool(tx, ask)
        planned = await tools.planned(tx, ask.caller, ask.id, server.id, tool, given)
        active, found = await line_of(tx, ask, planned, server, given)
    override = planned.tools.get((server.name, tool))
    if found is not None:
        name, item = found
        modern, legacy = msgspec.json.decode(item.modern), msgspec.json.decode(item.legacy)
        body = Preview(
            name=name,
            because="",
            long=len(name) > MODELS_TAKE,
            modern=modern,
            legacy=legacy,
            later=takes_part(planned, "tools/list"),
        )
        return Reply(body=body)
    because: Literal["missing", "inactive", "off", "taken"] = "taken"
    if entry_of(ask, server, tool) is None:
        because = "missing"
    elif not active:
        because = "inactive"
    elif override is not None and not override.enabled:
        because = "off"
    return Reply(body=Preview(name=None, because=because, long=False, modern=None, legacy=None, later=False))


async def line_of(
    tx: Reader, ask: Ask, planned: Namespace, server: Place, given: ToolChanges
) -> tuple[bool, tuple[str, Item] | None]:
    """Return whether a tool's server takes part, and the tool's published name and line of ``tools/list``.

    Raises:
        Invalid: Another tool has the name that it is given.
    """
    running = [
        catalogue
        for place in await namespaces.places(tx, ask.caller, ask.id)
        if place.active and (catalogue := catalogue_of(ask.aggregator, place)) is not None
    ]
    active = any(catalogue.server.name == server.name for catalogue in running)
    found = tool_of(planned, running, server.name, ask.ids["tool"])
    override = planned.tools.get((server.name, ask.ids["tool"]))
    if isinstance(given.name, str) and active and override is not None and override.enabled:
        offered = entry_of(ask, server, ask.ids["tool"]) is not None
        wanted = given.name if planned.prefix == "never" else qualify(server.name, given.name)
        if offered and (found is None or found[0] not in (given.name, qualify(server.name, given.name))):
            raise Invalid("name", f'another tool is published as "{wanted}" already; choose another name')
    return active, found


async def found_tool(tx: Reader, ask: Ask) -> tuple[Place, models.ToolSetting | None]:
    """Return the server of the tool that is asked for, and what is set of the tool, if anything is.

    Raises:
        NotFound: There is no such namespace that the caller may see, or it does not have the server.
    """
    server = (await servers_of(tx, ask)).get(ask.ids["server"])
    if server is None:
        raise NotFound("server", f"{ask.ids['server']} in this namespace")
    row = await tx.find(models.ToolSetting, namespace_id=ask.id, server_id=server.id, tool=ask.ids["tool"])
    return server, row
