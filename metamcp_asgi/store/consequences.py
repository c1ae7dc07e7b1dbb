"""What the database removes together with a row, told by name before it is gone, for the audit.

Knows which tables refer to which; the database's own ``ON DELETE CASCADE`` does it.
"""

from typing import Any, Final

from sqlalchemy import Executable, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from metamcp_asgi.store.columns import Base, now
from metamcp_asgi.store.models import (
    ApiKey,
    Credential,
    Endpoint,
    Membership,
    Namespace,
    OAuthClient,
    Server,
    ToolSetting,
    User,
)
from metamcp_asgi.store.oauth_models import OAuthGrant

__all__ = ["gone_with", "names_gone_with"]

_MOST: Final = 100
"""Names of each kind that are told; how many there are beyond is told, too."""


async def gone_with(session: AsyncSession, row: Base) -> dict[str, list[str]]:
    """Return the names of what goes with a row, as many as are told, by kinds of which there is any.

    Args:
        session: The transaction, in which the row still exists.
        row: The row that will be deleted.
    """
    gone = await names_gone_with(session, row)
    return {
        kind: [*names[:_MOST], f"and {len(names) - _MOST} more"] if len(names) > _MOST else names
        for kind, names in gone.items()
    }


async def names_gone_with(session: AsyncSession, row: Base) -> dict[str, list[str]]:
    """Return the names of what would go with a row, all of them, by kinds of which there is any.

    Args:
        session: The transaction.
        row: The row.
    """
    gone: dict[str, list[str]] = {}
    for kind, query in _queries(row).items():
        names = sorted("__".join(found) for found in await session.execute(query))
        if names:
            gone[kind] = names
    return gone


def _queries(row: Base) -> dict[str, Executable]:
    if isinstance(row, Server):
        return {
            "memberships": select(Namespace.name).join(Membership).where(Membership.server_id == row.id),
            "tool_settings": select(Namespace.name, ToolSetting.tool)
            .join(ToolSetting)
            .where(ToolSetting.server_id == row.id),
            "credentials": _credentials().where(Credential.server_id == row.id),
        }
    if isinstance(row, Namespace):
        return {
            "memberships": select(Server.name).join(Membership).where(Membership.namespace_id == row.id),
            "tool_settings": select(Server.name, ToolSetting.tool)
            .join(ToolSetting)
            .where(ToolSetting.namespace_id == row.id),
            "endpoints": select(Endpoint.name).where(Endpoint.namespace_id == row.id),
        }
    if isinstance(row, User):
        # Of what is theirs only its name: what is in it is reached through that alone.
        theirs = select(Namespace.id).where(Namespace.owner_id == row.id)
        endpoints = select(Endpoint.name).where(or_(Endpoint.owner_id == row.id, Endpoint.namespace_id.in_(theirs)))
        return {
            "servers": select(Server.name).where(Server.owner_id == row.id),
            "namespaces": select(Namespace.name).where(Namespace.owner_id == row.id),
            "endpoints": endpoints,
            "api_keys": select(ApiKey.name).where(ApiKey.owner_id == row.id),
            "oauth_clients": select(OAuthClient.name).where(OAuthClient.owner_id == row.id),
            "oauth_grants": select(OAuthGrant.name).where(
                OAuthGrant.user_id == row.id, OAuthGrant.revoked_at.is_(None), OAuthGrant.expires_at > now()
            ),
            "credentials": _credentials().where(Credential.user_id == row.id),
        }
    return {}


def _credentials() -> Any:
    return select(Server.name).join(Credential)
