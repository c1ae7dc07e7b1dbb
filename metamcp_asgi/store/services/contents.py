"""What is in a namespace: its servers and what it changes about their tools, and whether that fits together.

Checks a plan before anything is written, so that whoever is told that it does not fit has changed nothing. Reads plain
columns instead of rows, of which there may be hundreds of servers and thousands of tools.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct
from sqlalchemy import select

from metamcp_asgi.config.middlewares import document_of_middlewares
from metamcp_asgi.config.snapshot import MiddlewareSpec
from metamcp_asgi.config.snapshot import Namespace as Compiled
from metamcp_asgi.store.models import Membership, Namespace, Server, ToolSetting
from metamcp_asgi.store.services.fragments import namespace_of
from metamcp_asgi.store.transaction import Reader

__all__ = ["OVERRIDES", "Contents", "Part", "Setting", "entry_of", "override_of", "read"]

OVERRIDES: Final = ("name", "title", "description", "annotations")
"""What a namespace can change about a tool besides its switch."""


class Part(NamedTuple):
    """A server of a namespace; ``active``: whether it takes part there."""

    id: uuid.UUID
    name: str
    owner_id: uuid.UUID | None
    active: bool


class Setting(NamedTuple):
    """What a namespace changes about a tool: a row of ``ToolSetting``."""

    server_id: uuid.UUID
    tool: str
    enabled: bool
    name: str | None
    title: str | None
    description: str | None
    annotations: dict[str, Any] | None
    version: int


class Contents(Struct):
    """A namespace's servers by id, in their order, and what it changes, also about tools of others."""

    servers: dict[uuid.UUID, Part]
    tools: dict[tuple[uuid.UUID, str], Setting]

    def check(
        self,
        name: str,
        entry: Mapping[str, Any],
        *,
        servers: Sequence[tuple[uuid.UUID, str]] | None = None,
        overrides: Mapping[tuple[uuid.UUID, str], Mapping[str, Any]] | None = None,
    ) -> Compiled:
        """Return the namespace as it is planned.

        Args:
            name: Its name.
            entry: The rest of it, as in the configuration file.
            servers: Ids and names of its servers, where those are not as they are.
            overrides: Of the tools whose settings are not as they are, what they will be; only their names are
                measured then, because what another program left too long must not keep anybody from changing the rest.

        Raises:
            Invalid: It does not fit together.
        """
        if servers is None:
            servers = [(part.id, part.name) for part in self.servers.values()]
        names = dict(servers)
        settings = {key: override_of(setting) for key, setting in self.tools.items()} | dict(overrides or {})
        tools = {(names[server], tool): given for (server, tool), given in settings.items() if server in names}
        changed = settings if overrides is None else overrides
        measured = {(names[server], tool) for server, tool in changed if server in names}
        return namespace_of(name, entry, [server for _, server in servers], tools, measured)


async def read(tx: Reader, namespace: uuid.UUID) -> Contents:
    """Return what is in a namespace."""
    parts = (
        select(Server.id, Server.name, Server.owner_id, Membership.active)
        .join(Membership, Membership.server_id == Server.id)
        .where(Membership.namespace_id == namespace)
        .order_by(Membership.position, Membership.id)
    )
    settings = select(*(getattr(ToolSetting, field) for field in Setting._fields)).where(
        ToolSetting.namespace_id == namespace
    )
    return Contents(
        {row[0]: Part._make(row) for row in await tx.session.execute(parts)},
        {(row[0], row[1]): Setting._make(row) for row in await tx.session.execute(settings)},
    )


def entry_of(row: Namespace) -> dict[str, Any]:
    """Return a namespace's own part as in the configuration file."""
    specs = tuple(MiddlewareSpec(each["name"], each.get("options") or {}) for each in row.middlewares)
    return {
        "description": row.description,
        "prefix": row.prefix,
        "middlewares": document_of_middlewares(specs),
    }


def override_of(row: ToolSetting | Setting) -> dict[str, Any]:
    """Return what a namespace changes about a tool as in the configuration file."""
    values = {field: getattr(row, field) for field in OVERRIDES}
    return {"enabled": row.enabled} | {field: value for field, value in values.items() if value is not None}
