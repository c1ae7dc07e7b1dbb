"""Make a scope of the store what a configuration says, within a transaction of the caller's.

Changes only what differs, so that what stays the same keeps its id, its version and its connections. Knows nothing of
files.
"""

import os
import uuid
from collections.abc import Sequence
from typing import Any, Final

from metamcp_asgi.config import snapshot as compiled
from metamcp_asgi.config.plan import Change, difference
from metamcp_asgi.config.snapshot import Snapshot
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.store.limits import check_limits
from metamcp_asgi.store.models import ApiKey, Endpoint, Membership, Namespace, Server, ToolSetting
from metamcp_asgi.store.oauth_columns import oauth_columns
from metamcp_asgi.store.scope import Scope, read_scope, server_columns
from metamcp_asgi.store.transaction import Writer

__all__ = ["apply", "check_names", "planned"]

_REPLACED: Final = {"prefix": "", "previous_digest": None, "previous_until": None}
"""What becomes of a key whose digest is replaced: its beginning is not known, and no key before it is good."""


def planned(scope: Scope, wanted: Snapshot, *, prune: bool) -> list[Change]:
    """Return what ``apply`` would do.

    Args:
        scope: What there is.
        wanted: What there shall be.
        prune: Whether what ``wanted`` doesn't have is removed.

    Raises:
        ConfigError: Something public would be changed through a user's scope, or does not fit into the tables.
    """
    check_limits(wanted)
    changes = []
    for change in difference(scope.snapshot, wanted, prune=prune):
        if (change.kind, change.name) in scope.borrowed:
            if change.action == "change":
                raise ConfigError(f"{change.kind} {change.name} is public, and can't be changed as somebody's own")
        else:
            changes.append(change)
    return changes


def check_names(scope: Scope, changes: Sequence[Change]) -> None:
    """See that no endpoint is added whose name somebody else's has.

    Raises:
        ConfigError: One has.
    """
    for change in changes:
        if change.kind == "endpoint" and change.action == "add" and change.name in scope.taken:
            raise ConfigError(
                f"endpoint {change.name} is there already and is not this owner's; such names are unique over all: "
                "choose another one, or say whose the configuration is (--owner)"
            )


async def apply(tx: Writer, owner_id: uuid.UUID | None, wanted: Snapshot, *, prune: bool = False) -> list[Change]:
    """Make a scope what a configuration says, and return what was done.

    Args:
        tx: The transaction; its end commits everything or nothing.
        owner_id: Whose things; ``None``: the public ones.
        wanted: The configuration.
        prune: Whether what it doesn't have is removed.

    Raises:
        ConfigError: Something public would be changed through a user's scope, does not fit into the tables, or is
            a middleware that is unknown or wrong; or an endpoint's name is somebody else's.
        StoreError: Something else is taken, for example a key.
    """
    for namespace in wanted.namespaces.values():
        tx.check(namespace)
    scope = await read_scope(tx, owner_id)
    changes = planned(scope, wanted, prune=prune)
    check_names(scope, changes)
    applying = _Applying(tx, scope, wanted)
    removed = [change for change in changes if change.action == "remove"]
    # Keys first: one that only gets another name is there twice otherwise.
    for change in removed:
        if change.kind == "key":
            await tx.delete(scope.keys[change.name])
    await applying.free_digests()
    for change in changes:
        if change.action in ("add", "change"):
            await applying.make(change)
    # From the top down, so that nothing is removed by the database as a consequence of something else.
    for change in reversed(removed):
        if change.kind != "key":
            await tx.delete(applying.rows(change.kind)[change.name])
    await tx.flush()
    return changes


class _Applying:
    def __init__(self, tx: Writer, scope: Scope, wanted: Snapshot) -> None:
        self.tx = tx
        self.scope = scope
        self.wanted = wanted
        self.keys = {key.principal.name: key for key in wanted.keys.values()}

    def rows(self, kind: str) -> dict[str, Any]:
        rows: dict[str, Any] = getattr(self.scope, f"{kind}s")
        return rows

    async def free_digests(self) -> None:
        """Take its digest from each key that gets another one, where a key gets that: two may change theirs over."""
        wanted = {key.digest for key in self.keys.values()}
        for name, key in self.keys.items():
            row = self.scope.keys.get(name)
            if row is not None and row.digest != key.digest and row.digest in wanted:
                # Nobody's key, and only until the end of the transaction.
                row.digest = os.urandom(len(row.digest))
        await self.tx.flush()

    async def make(self, change: Change) -> None:
        if change.kind == "server":
            await self.server(self.wanted.servers[change.name])
        elif change.kind == "namespace":
            await self.namespace(self.wanted.namespaces[change.name])
        elif change.kind == "endpoint":
            await self.endpoint(self.wanted.endpoints[change.name])
        else:
            await self.key(self.keys[change.name])

    async def server(self, wanted: compiled.Server) -> None:
        columns, secrets = server_columns(wanted)
        row = self.scope.servers.get(wanted.name)
        if row is None:
            row = Server(owner_id=self.scope.owner_id, name=wanted.name, **columns)
            self.scope.servers[wanted.name] = await self.tx.add(row, secrets=secrets)
            return
        _assign(row, columns)
        if self.tx.secrets(row) != secrets:
            self.tx.set_secrets(row, secrets)

    async def namespace(self, wanted: compiled.Namespace) -> None:
        columns: dict[str, Any] = {
            "description": wanted.description,
            "prefix": wanted.prefix,
            "middlewares": [{"name": spec.name, "options": dict(spec.options)} for spec in wanted.middlewares],
        }
        row = self.scope.namespaces.get(wanted.name)
        if row is None:
            row = await self.tx.add(Namespace(owner_id=self.scope.owner_id, name=wanted.name, **columns))
            self.scope.namespaces[wanted.name] = row
        else:
            _assign(row, columns)
        await self.members(row, wanted)
        await self.tools(row, wanted)

    async def members(self, row: Namespace, wanted: compiled.Namespace) -> None:
        there = {each.server_id: each for each in await self.tx.list(Membership, Membership.namespace_id == row.id)}
        ids = [self.scope.servers[name].id for name in wanted.servers]
        for position, server_id in enumerate(ids):
            member = there.get(server_id)
            if member is None:
                await self.tx.add(Membership(namespace_id=row.id, server_id=server_id, position=position))
            else:
                _assign(member, {"position": position, "active": True})
        for server_id, member in there.items():
            # One that is switched off no file can say, so that it is not for a file to remove.
            if member.active and server_id not in ids:
                await self.tx.delete(member)

    async def tools(self, row: Namespace, wanted: compiled.Namespace) -> None:
        rows = await self.tx.list(ToolSetting, ToolSetting.namespace_id == row.id)
        there = {(each.server_id, each.tool): each for each in rows}
        kept = set()
        for (server, tool), override in wanted.tools.items():
            key = self.scope.servers[server].id, tool
            kept.add(key)
            columns: dict[str, Any] = {
                "enabled": override.enabled,
                "name": override.name,
                "title": override.title,
                "description": override.description,
                "annotations": None if override.annotations is None else dict(override.annotations),
            }
            if key in there:
                _assign(there[key], columns)
            else:
                await self.tx.add(ToolSetting(namespace_id=row.id, server_id=key[0], tool=tool, **columns))
        members = {self.scope.servers[name].id for name in wanted.servers}
        for key, setting in there.items():
            # Those of a server that left the namespace apply again when it comes back.
            if key not in kept and setting.server_id in members:
                await self.tx.delete(setting)

    async def endpoint(self, wanted: compiled.Endpoint) -> None:
        rate, client = wanted.rate_limit, wanted.client_rate_limit
        columns: dict[str, Any] = {
            "namespace_id": self.scope.namespaces[wanted.namespace].id,
            "api_key_auth": wanted.api_key_auth,
            **oauth_columns(wanted.oauth),
            "query_param_auth": wanted.query_param_auth,
            "max_rate": rate and rate.max_rate,
            "max_rate_seconds": rate and rate.seconds,
            "client_max_rate": client and client.max_rate,
            "client_max_rate_seconds": client and client.seconds,
            "client_max_rate_strategy": client and client.strategy,
            "client_max_rate_header": client and client.header,
        }
        row = self.scope.endpoints.get(wanted.name)
        if row is None:
            row = await self.tx.add(Endpoint(owner_id=self.scope.owner_id, name=wanted.name, **columns))
            self.scope.endpoints[wanted.name] = row
        else:
            _assign(row, columns)

    async def key(self, wanted: compiled.Key) -> None:
        opened = wanted.endpoints
        ids = None if opened is None else sorted(str(self.scope.endpoints[name].id) for name in opened)
        columns: dict[str, Any] = {"digest": wanted.digest, "endpoint_ids": ids}
        name = wanted.principal.name
        row = self.scope.keys.get(name)
        if row is None:
            await self.tx.add(ApiKey(owner_id=self.scope.owner_id, name=name, prefix="", **columns))
        else:
            # The file says that it is a key, so it is one again if it was switched off.
            columns |= {"disabled": False, "expires_at": None}
            _assign(row, columns if row.digest == wanted.digest else {**columns, **_REPLACED})


def _assign(row: Any, columns: dict[str, Any]) -> None:
    for name, value in columns.items():
        if getattr(row, name) != value:
            setattr(row, name, value)
