"""What a namespace makes of its servers' tools: switches, and other names, titles, descriptions, annotations.

A tool is known by its server and the server's own name for it, so that no refresh of the catalogue loses anything.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from metamcp_asgi.config.node import step
from metamcp_asgi.protocol.names import qualify
from metamcp_asgi.store.errors import NotFound
from metamcp_asgi.store.models import Namespace, ToolSetting
from metamcp_asgi.store.policy import Acting
from metamcp_asgi.store.services import contents
from metamcp_asgi.store.services.fragments import free_text
from metamcp_asgi.store.services.inputs import Invalid, ToolChanges, given
from metamcp_asgi.store.services.rows import assign, changeable, check_version, seen
from metamcp_asgi.store.transaction import Reader, Writer

__all__ = ["change", "clear", "settings", "switch"]

_LONGEST_PATTERN = 200


async def settings(tx: Reader, acting: Acting, namespace: uuid.UUID) -> Sequence[ToolSetting]:
    """Return what a namespace changes, by tool; tools that are as their server has them are not in it.

    Raises:
        NotFound: There is no such namespace that they may see.
    """
    await seen(tx, acting, Namespace, namespace)
    return await tx.list(ToolSetting, ToolSetting.namespace_id == namespace)


async def change(
    tx: Writer,
    acting: Acting,
    namespace: uuid.UUID,
    server: uuid.UUID,
    tool: str,
    changes: ToolChanges,
    *,
    version: int | None = None,
) -> ToolSetting:
    """Change what a namespace makes of a tool, and return it.

    Args:
        tx: The transaction.
        acting: Who changes it.
        namespace: The namespace's id.
        server: The id of one of its servers.
        tool: The server's own name for the tool, which it need not offer at the moment.
        changes: What changes.
        version: The version that they know, if only that one will do.

    Raises:
        NotFound: There is no such namespace that they may see, or it does not have the server.
        Forbidden: They may not change it.
        Invalid: A value is wrong, or the name is another tool's, or too long as it is published.
        Conflict: The setting has another version.
    """
    row = await changeable(tx, acting, Namespace, namespace, None)
    inside = await contents.read(tx, row.id)
    if server not in inside.servers:
        raise NotFound("membership", server)
    if not free_text("tool", tool):
        raise Invalid("tool", "must not be empty")
    setting = inside.tools.get((server, tool))
    check_version(setting, version) if setting else None
    values = given(changes)
    merged = {**(contents.override_of(setting) if setting else {}), **values}
    override = {field: value for field, value in merged.items() if value is not None}
    place = step("tools", qualify(inside.servers[server].name, tool))
    try:
        inside.check(row.name, contents.entry_of(row), overrides={(server, tool): override})
    except Invalid as error:
        raise Invalid(error.field.removeprefix(place).removeprefix("."), error.reason) from None
    if setting is None:
        return await tx.add(ToolSetting(namespace_id=row.id, server_id=server, tool=tool, **values))
    assign(setting, values)
    await tx.flush()
    return setting


async def clear(tx: Writer, acting: Acting, namespace: uuid.UUID, server: uuid.UUID, tool: str) -> None:
    """Make of a tool what its server makes of it; nothing to do where that is so.

    Raises:
        NotFound: There is no such namespace that they may see.
        Forbidden: They may not change it.
        Invalid: Its own name is another one's in this namespace.
    """
    row = await changeable(tx, acting, Namespace, namespace, None)
    inside = await contents.read(tx, row.id)
    setting = inside.tools.get((server, tool))
    if setting is not None:
        inside.check(row.name, contents.entry_of(row), overrides={(server, tool): {}})
        await tx.delete(setting)


async def switch(
    tx: Writer,
    acting: Acting,
    namespace: uuid.UUID,
    pattern: str,
    enabled: bool,
    known: Mapping[uuid.UUID, Collection[str]],
) -> list[ToolSetting]:
    """Switch every tool whose name fits a pattern, and return the settings that changed.

    Args:
        tx: The transaction.
        acting: Who does it.
        namespace: The namespace's id.
        pattern: ``*``, ``?`` and ``[...]`` as in a shell, for ``server__tool`` in the server's own names.
        enabled: Whether they are on.
        known: The tools that servers offer now, by the server's id; those with a setting are known anyway.

    Raises:
        NotFound: There is no such namespace that they may see.
        Forbidden: They may not change it.
        Invalid: Tools that are switched on would have the same name.
    """
    if not 0 < len(pattern) <= _LONGEST_PATTERN:
        raise Invalid("pattern", f"must have 1 to {_LONGEST_PATTERN} characters")
    row = await changeable(tx, acting, Namespace, namespace, None)
    inside = await contents.read(tx, row.id)
    tools = {(server, tool) for server in inside.servers for tool in known.get(server, ())} | inside.tools.keys()
    fitting = [
        key
        for key in sorted(tools)
        if key[0] in inside.servers
        and fnmatchcase(qualify(inside.servers[key[0]].name, key[1]), pattern)
        and (inside.tools[key].enabled if key in inside.tools else True) != enabled
    ]
    there = {key: contents.override_of(inside.tools[key]) if key in inside.tools else {} for key in fitting}
    planned: dict[tuple[uuid.UUID, str], dict[str, Any]] = {
        key: {**override, "enabled": enabled} for key, override in there.items()
    }
    inside.check(row.name, contents.entry_of(row), overrides=planned)
    changed = [inside.tools[key] for key in fitting if key in inside.tools]
    for setting in changed:
        setting.enabled = enabled
    new = [
        ToolSetting(namespace_id=row.id, server_id=server, tool=tool, enabled=enabled)
        for server, tool in fitting
        if (server, tool) not in inside.tools
    ]
    await tx.add_all(new)
    return [*changed, *new]
