"""Servers as a file that other programs read, too: ``mcpServers``, with a variable in the place of each secret.

For who may see the servers, unlike the whole configuration, which is its owner's. Knows nothing of namespaces.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from metamcp_asgi.admin.api.documents import told
from metamcp_asgi.admin.api.finding import IDS, OWNED_BY, ids_of, owned_by
from metamcp_asgi.admin.api.operation import Ask, Operation, Reply
from metamcp_asgi.admin.api.problem import Problem
from metamcp_asgi.config.export import export
from metamcp_asgi.config.snapshot import Server, Snapshot
from metamcp_asgi.store import models
from metamcp_asgi.store.errors import SecretsError
from metamcp_asgi.store.policy import visible
from metamcp_asgi.store.scope import compiled_server
from metamcp_asgi.store.transaction import Reader

__all__ = ["OPERATIONS"]


class ServersFile(Struct, frozen=True, kw_only=True):
    """Servers by their names, as in a file; a secret is ``${VAR}``."""

    mcp_servers: Mapping[str, Mapping[str, Any]] = field(name="mcpServers")


async def _export(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        rows = await tx.list(models.Server, visible(ask.caller, models.Server), *ids_of(ask), *owned_by(ask))
        servers: dict[str, Server] = {}
        for row in rows:
            if row.name in servers:
                raise Problem(409, f'More than one server is called "{row.name}"; say with `owner` or `ids` which.')
            servers[row.name] = _compiled(tx, row)
    with told(409):
        exported = export(Snapshot(servers=servers, namespaces={}, endpoints={}))
    return Reply(body=ServersFile(mcp_servers=exported.document["mcpServers"]))


def _compiled(tx: Reader, row: models.Server) -> Server:
    try:
        return compiled_server(row, tx.secrets(row))
    except SecretsError:
        raise Problem(409, f'The secrets of server "{row.name}" cannot be opened; set them again.') from None


OPERATIONS = (
    Operation(
        method="GET",
        path="/servers/export",
        name="exportServers",
        summary="Write servers as `mcpServers`, as other programs read it, their secrets as `${VAR}`.",
        run=_export,
        gives=ServersFile,
        query=(IDS, OWNED_BY),
    ),
)
