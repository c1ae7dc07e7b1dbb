"""The list of a namespace's tools: which there are, which of them are asked for, and a page of these.

Looks at every tool, of which there may be thousands, but reads only those of the page whole.
"""

import uuid
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Final, Literal
from uuid import UUID

from metamcp_asgi.admin.api.operation import PAGED, Ask, Parameter, Reply, page_of, searching
from metamcp_asgi.admin.api.running import catalogue_of, says
from metamcp_asgi.admin.api.tool_shapes import Counts, NamespaceTool, NamespaceToolPage
from metamcp_asgi.aggregate.catalogue import Entry
from metamcp_asgi.protocol.names import qualify
from metamcp_asgi.store.services import namespaces, tools
from metamcp_asgi.store.services.namespaces import Place
from metamcp_asgi.store.transaction import Reader

__all__ = ["QUERY", "entry_of", "list_tools", "offered_of", "servers_of"]

QUERY: Final = (
    *PAGED,
    searching("names, title or description"),
    Parameter("server", UUID, "Only the tools of the server of this id."),
    Parameter(
        "show",
        Literal["on", "off", "overridden", "missing"],
        "Only those that are `on`, `off`, `overridden`, or `missing`: saved, but not offered now.",
    ),
)
"""What can be asked of the list."""


async def list_tools(ask: Ask) -> Reply:
    """Return a page of the tools of a namespace that are asked for, and how many there are of each sort."""
    async with ask.store.read() as tx:
        briefs = await tools.briefs(tx, ask.caller, ask.id)
        servers = await servers_of(tx, ask)
        offered = offered_of(ask, servers)
        counts, wanted = _chosen(ask, servers, offered, briefs)
        shown, following = page_of(wanted[: ask.limit + 1], ask.limit, lambda place: place)
        keys = [(server, tool) for _, tool, server in shown]
        settings = {(row.server_id, row.tool): row for row in await tools.settings(tx, ask.caller, ask.id, keys)}
    items = [
        NamespaceTool.of(servers[key[0]], key[1], settings.get(key), entry_of(ask, servers[key[0]], key[1]))
        for key in keys
    ]
    return Reply(body=NamespaceToolPage(items=items, next=following, counts=counts), next=following)


def _chosen(
    ask: Ask,
    servers: Mapping[UUID, Place],
    offered: Mapping[UUID, Sequence[Entry]],
    briefs: Mapping[tuple[UUID, str], tools.Brief],
) -> tuple[Counts, list[tuple[str, str, UUID]]]:
    """Return how many tools there are, and the places of those that were asked for, from ``after`` on."""
    after, only, show = ask.after(str, str, UUID), ask.query["server"], ask.query["show"]
    search = (ask.search or "").casefold()
    of_server: dict[UUID, dict[str, tools.Brief]] = {}
    for (server, tool), each in briefs.items():
        of_server.setdefault(server, {})[tool] = each
    found = total = off = overridden = missing = 0
    wanted: list[tuple[str, str, UUID]] = []
    for identity, row in sorted(servers.items(), key=lambda item: (item[1].name, item[0])):
        known = of_server.get(identity, {})
        every: Sequence[tuple[str, Entry | None]] = [(entry.key, entry) for entry in offered[identity]]
        if known and (extra := known.keys() - {entry.key for entry in offered[identity]}):
            every = sorted([*every, *((tool, None) for tool in extra)], key=itemgetter(0))
        total += len(every)
        for tool, entry in every:
            brief = known.get(tool)
            is_off, is_changed = (False, False) if brief is None else (not brief.enabled, brief.overridden)
            off += is_off
            overridden += is_changed
            missing += entry is None
            if (
                only not in (None, identity)
                or (show == "off" and not is_off)
                or (show == "on" and is_off)
                or (show == "overridden" and not is_changed)
                or (show == "missing" and entry is not None)
                or (search and not _has(search, row.name, tool, brief, entry))
            ):
                continue
            found += 1
            place = (row.name, tool, identity)
            if after is None or place > after:
                wanted.append(place)
    return Counts(found=found, all=total, on=total - off, off=off, overridden=overridden, missing=missing), wanted


def _has(search: str, server: str, tool: str, brief: tools.Brief | None, entry: Entry | None) -> bool:
    """Tell whether a tool's names, title or description, or those that replace them, have a text in them."""
    if search in qualify(server, tool).casefold():
        return True
    words = (brief.name, brief.title, brief.description) if brief is not None else ()
    return any(search in word.casefold() for word in words if word) or (entry is not None and says(entry, search))


async def servers_of(tx: Reader, ask: Ask) -> dict[uuid.UUID, Place]:
    """Return the servers of the namespace that is asked for in their order, by their ids.

    Raises:
        NotFound: There is no such namespace that the caller may see.
    """
    return {place.id: place for place in await namespaces.places(tx, ask.caller, ask.id)}


def offered_of(ask: Ask, servers: Mapping[uuid.UUID, Place]) -> dict[uuid.UUID, Sequence[Entry]]:
    """Return the tools that each server offers now, in their order."""
    offered: dict[uuid.UUID, Sequence[Entry]] = {}
    for identity, row in servers.items():
        catalogue = catalogue_of(ask.aggregator, row)
        lists = catalogue.lists if catalogue is not None else None
        offered[identity] = lists["tools/list"].entries if lists is not None else ()
    return offered


def entry_of(ask: Ask, server: Place, tool: str) -> Entry | None:
    """Return what a server offers now under a name, if it does."""
    catalogue = catalogue_of(ask.aggregator, server)
    return None if catalogue is None else catalogue.find_tool(tool)
