"""What a namespace makes of its servers' tools: switches, and other names, titles, descriptions, annotations.

A tool is known by its server and the server's own name for it, so that no refresh of the catalogue loses anything.
"""

import fnmatch
import re
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from sqlalchemy import or_, select, tuple_

from metamcp_asgi.config import snapshot
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

__all__ = ["Brief", "Switching", "briefs", "change", "clear", "planned", "settings", "switch", "switching"]

_LONGEST_PATTERN = 200


class Brief(NamedTuple):
    """What a list needs to know of every tool that has settings."""

    server_id: uuid.UUID
    tool: str
    enabled: bool
    name: str | None
    title: str | None
    description: str | None
    overridden: bool


async def briefs(tx: Reader, acting: Acting, namespace: uuid.UUID) -> dict[tuple[uuid.UUID, str], Brief]:
    """Return what a namespace changes, in short; tools that are as their server has them are not in it.

    Raises:
        NotFound: There is no such namespace that they may see.
    """
    await seen(tx, acting, Namespace, namespace)
    overridden = or_(*(getattr(ToolSetting, field).is_not(None) for field in contents.OVERRIDES))
    # Plain columns, of which there may be many thousands.
    words = (ToolSetting.name, ToolSetting.title, ToolSetting.description)
    query = select(ToolSetting.server_id, ToolSetting.tool, ToolSetting.enabled, *words, overridden).where(
        ToolSetting.namespace_id == namespace
    )
    return {(row[0], row[1]): Brief(*row) for row in await tx.session.execute(query)}


async def settings(
    tx: Reader, acting: Acting, namespace: uuid.UUID, only: Collection[tuple[uuid.UUID, str]] | None = None
) -> Sequence[ToolSetting]:
    """Return what a namespace changes, by tool; tools that are as their server has them are not in it.

    Args:
        tx: The transaction.
        acting: Who wants to know.
        namespace: The namespace's id.
        only: The tools that are meant, each by its server and name; ``None`` for all.

    Raises:
        NotFound: There is no such namespace that they may see.
    """
    await seen(tx, acting, Namespace, namespace)
    these = [] if only is None else [tuple_(ToolSetting.server_id, ToolSetting.tool).in_(list(only))]
    return await tx.list(ToolSetting, ToolSetting.namespace_id == namespace, *these)


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
    await _planned(tx, row, server, tool, changes)
    setting = await tx.find(ToolSetting, namespace_id=row.id, server_id=server, tool=tool)
    check_version(setting, version) if setting else None
    values = given(changes)
    if setting is None:
        return await tx.add(ToolSetting(namespace_id=row.id, server_id=server, tool=tool, **values))
    assign(setting, values)
    await tx.flush()
    return setting


async def planned(
    tx: Reader, acting: Acting, namespace: uuid.UUID, server: uuid.UUID, tool: str, changes: ToolChanges
) -> snapshot.Namespace:
    """Return what the namespace would be after ``change``, of which it has the arguments; nothing is written.

    Raises:
        NotFound: There is no such namespace that they may see, or it does not have the server.
        Invalid: As for ``change``.
    """
    row = await seen(tx, acting, Namespace, namespace)
    return await _planned(tx, row, server, tool, changes)


async def clear(tx: Writer, acting: Acting, namespace: uuid.UUID, server: uuid.UUID, tool: str) -> None:
    """Make of a tool what its server makes of it; nothing to do where that is so.

    Raises:
        NotFound: There is no such namespace that they may see.
        Forbidden: They may not change it.
        Invalid: Its own name is another one's in this namespace.
    """
    row = await changeable(tx, acting, Namespace, namespace, None)
    setting = await tx.find(ToolSetting, namespace_id=row.id, server_id=server, tool=tool)
    if setting is not None:
        inside = await contents.read(tx, row.id)
        inside.check(row.name, contents.entry_of(row), overrides={(server, tool): {}})
        await tx.delete(setting)


Switching: TypeAlias = Sequence[tuple[uuid.UUID, str, contents.Setting | None]]
"""Tools that a pattern would switch, each by its server and name, and what is set of it now."""


async def switching(
    tx: Reader,
    acting: Acting,
    namespace: uuid.UUID,
    pattern: str,
    enabled: bool,
    known: Mapping[uuid.UUID, Collection[str]],
    *,
    only: uuid.UUID | None = None,
) -> Switching:
    """Return what switching every tool whose name fits a pattern would change.

    Args:
        tx: The transaction.
        acting: Who would do it.
        namespace: The namespace's id.
        pattern: ``*``, ``?`` and ``[...]`` as in a shell, for ``server__tool`` in the server's own names.
        enabled: Whether they would be on.
        known: The tools that servers offer now, by the server's id; those with a setting are known anyway.
        only: The server of which tools are switched, if not of all.

    Raises:
        NotFound: There is no such namespace that they may see.
        Forbidden: They may not change it.
        Invalid: Tools that are switched on would have the same name.
    """
    if not 0 < len(pattern) <= _LONGEST_PATTERN:
        raise Invalid("pattern", f"must have 1 to {_LONGEST_PATTERN} characters")
    row = await changeable(tx, acting, Namespace, namespace, None)
    inside = await contents.read(tx, row.id)
    fits = re.compile(fnmatch.translate(pattern)).match
    saved: dict[uuid.UUID, dict[str, contents.Setting]] = {server: {} for server in inside.servers}
    for (server, tool), setting in inside.tools.items():
        if server in saved:
            saved[server][tool] = setting
    fitting = [
        (server, tool, saved[server].get(tool))
        for server, part in inside.servers.items()
        if only in (None, server)
        for tool in {*known.get(server, ()), *saved[server]}
        if fits(qualify(part.name, tool))
    ]
    wanted = [each for each in fitting if (each[2] is None or each[2].enabled) != enabled]
    if enabled:  # what is switched off takes no name from anything
        overrides = {
            (server, tool): {**(contents.override_of(setting) if setting is not None else {}), "enabled": True}
            for server, tool, setting in wanted
        }
        inside.check(row.name, contents.entry_of(row), overrides=overrides)
    return wanted


async def switch(
    tx: Writer,
    acting: Acting,
    namespace: uuid.UUID,
    pattern: str,
    enabled: bool,
    known: Mapping[uuid.UUID, Collection[str]],
    *,
    only: uuid.UUID | None = None,
) -> list[ToolSetting]:
    """Switch every tool whose name fits a pattern, and return the settings that changed; see ``switching``."""
    wanted = await switching(tx, acting, namespace, pattern, enabled, known, only=only)
    there = {(server, tool) for server, tool, setting in wanted if setting is not None}
    rows = await tx.list(ToolSetting, ToolSetting.namespace_id == namespace) if there else ()
    changed = [row for row in rows if (row.server_id, row.tool) in there]
    for setting in changed:
        setting.enabled = enabled
    new = [
        ToolSetting(namespace_id=namespace, server_id=server, tool=tool, enabled=enabled)
        for server, tool, known_as in wanted
        if known_as is None
    ]
    await tx.add_all(new)
    return [*changed, *new]


async def _planned(
    tx: Reader, row: Namespace, server: uuid.UUID, tool: str, changes: ToolChanges
) -> snapshot.Namespace:
    """Return what a namespace would be with these changes of a tool."""
    inside = await contents.read(tx, row.id)
    if server not in inside.servers:
        raise NotFound("membership", server)
    if not free_text("tool", tool):
        raise Invalid("tool", "must not be empty")
    setting = inside.tools.get((server, tool))
    merged = {**(contents.override_of(setting) if setting else {}), **given(changes)}
    override = {field: value for field, value in merged.items() if value is not None}
    place = step("tools", qualify(inside.servers[server].name, tool))
    try:
        return inside.check(row.name, contents.entry_of(row), overrides={(server, tool): override})
    except Invalid as error:
        raise Invalid(error.field.removeprefix(place).removeprefix("."), error.reason) from None
