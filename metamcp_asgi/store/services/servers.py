"""Servers: made, changed and removed, with their secrets, which are given but not shown.

What starts a process is for admins (or members, by a setting): a new stdio server as well as another command,
argument, variable or folder of an old one.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from metamcp_asgi.config import snapshot
from metamcp_asgi.config.grants import entry_of
from metamcp_asgi.config.sandbox import document_of_sandbox
from metamcp_asgi.store.grants import spec_of
from metamcp_asgi.store.models import Membership, Namespace, Server
from metamcp_asgi.store.policy import (
    LAUNCHING,
    Acting,
    check_change,
    check_launch,
    check_move,
    check_public_url,
    check_reach,
    new_owner,
    visible,
)
from metamcp_asgi.store.sandbox import sandbox_of
from metamcp_asgi.store.scope import server_columns
from metamcp_asgi.store.secrets import ServerSecrets
from metamcp_asgi.store.services import contents
from metamcp_asgi.store.services.fragments import server_of
from metamcp_asgi.store.services.inputs import Invalid, NewServer, ServerChanges, given
from metamcp_asgi.store.services.rows import assign, changeable, check_owner, check_unique, seen, seen_all
from metamcp_asgi.store.services.settings import rules
from metamcp_asgi.store.transaction import Reader, Writer

__all__ = ["create", "delete", "get", "list_", "shown_secrets", "update", "users_of"]

_KEYS: Final = {
    "description": "description",
    "type": "type",
    "command": "command",
    "args": "args",
    "env": "env",
    "cwd": "cwd",
    "url": "url",
    "headers": "headers",
    "bearer_token": "bearerToken",
    "oauth": "oauth",
    "era": "era",
    "sharing": "sharing",
    "timeout": "timeout",
    "disabled": "disabled",
    "sandbox": "sandbox",
}
"""The key in an entry of ``mcpServers`` for each field of the input."""
_REACHING: Final = ("url", "headers", "bearerToken", "oauth")


async def get(tx: Reader, acting: Acting, identity: uuid.UUID) -> Server:
    """Return a server.

    Raises:
        NotFound: There is none that they may see.
    """
    return await seen(tx, acting, Server, identity)


async def list_(
    tx: Reader, acting: Acting, *, after: tuple[Any, ...] | None = None, limit: int | None = None
) -> Sequence[Server]:
    """Return the servers that somebody may see, by name."""
    return await seen_all(tx, acting, Server, after, limit)


async def users_of(tx: Reader, acting: Acting, identity: uuid.UUID) -> Sequence[Namespace]:
    """Return the namespaces, of those that somebody may see, that a server is in."""
    await seen(tx, acting, Server, identity)
    memberships = await tx.list(Membership, Membership.server_id == identity)
    ids = [membership.namespace_id for membership in memberships]
    return await tx.list(Namespace, Namespace.id.in_(ids), visible(acting, Namespace))


def shown_secrets(tx: Reader, acting: Acting, row: Server) -> ServerSecrets:
    """Return a server's secrets, for who asks for them expressly.

    Raises:
        Forbidden: They may not change the server.
    """
    check_change(acting, row)
    return tx.secrets(row)


async def create(tx: Writer, acting: Acting, new: NewServer) -> Server:
    """Make a server, and return it.

    Raises:
        Forbidden: It would be public, somebody else's, or start a process, and they may not.
        Invalid: The name or another value is wrong.
        Duplicate: Its owner has one of this name.
    """
    allowed = await rules(tx)
    owner = new_owner(acting, new.owner_id, allowed)
    entry = _merged({}, given(new))
    config = server_of(new.name, entry)
    if config.type == "stdio":
        check_launch(acting, allowed)
    else:
        check_public_url(acting, owner)
    await check_owner(tx, owner)
    await check_unique(tx, Server, owner_id=owner, name=new.name)
    columns, secrets = _columns(config, entry)
    return await tx.add(Server(owner_id=owner, name=new.name, **columns), secrets=secrets)


async def update(
    tx: Writer, acting: Acting, identity: uuid.UUID, changes: ServerChanges, *, version: int | None = None
) -> Server:
    """Change a server, and return it.

    Args:
        tx: The transaction.
        acting: Who changes it.
        identity: Its id.
        changes: What changes.
        version: The version that they know, if only that one will do.

    Raises:
        NotFound: There is none that they may see.
        Forbidden: They may not change it, or not so.
        Invalid: A value is wrong, or a namespace that has the server could not be so any more.
        Duplicate: Its owner has another one of this name.
        Conflict: It has another version.
    """
    row = await changeable(tx, acting, Server, identity, version)
    values = given(changes)
    name, owner = values.get("name", row.name), values.get("owner_id", row.owner_id)
    check_move(acting, row, owner)
    before = _entry(row, tx.secrets(row))
    entry = _merged(before, values)
    config = server_of(name, entry)
    if config.type == "stdio" and any(before.get(key) != entry.get(key) for key in LAUNCHING):
        check_launch(acting, await rules(tx))
    if owner != row.owner_id or name != row.name:
        await check_owner(tx, owner)
        await check_unique(tx, Server, row, owner_id=owner, name=name)
        await _check_namespaces(tx, row, name, owner)
    columns, secrets = _columns(config, entry)
    assign(row, {"name": name, "owner_id": owner, **columns})
    if secrets != tx.secrets(row):
        tx.set_secrets(row, secrets)
    await tx.flush()
    return row


async def delete(tx: Writer, acting: Acting, identity: uuid.UUID, *, version: int | None = None) -> None:
    """Remove a server, from the namespaces that it is in, too; raises what ``update`` raises."""
    await tx.delete(await changeable(tx, acting, Server, identity, version))


async def _check_namespaces(tx: Reader, row: Server, name: str, owner: uuid.UUID | None) -> None:
    """Let pass a new name or owner with which every namespace that has the server stays possible."""
    memberships = await tx.list(Membership, Membership.server_id == row.id)
    for namespace in await tx.list(Namespace, Namespace.id.in_([m.namespace_id for m in memberships])):
        check_reach(namespace.owner_id, owner, f'namespace "{namespace.name}" has this server')
        if name != row.name:
            inside = await contents.read(tx, namespace.id)
            servers = [(part.id, name if part.id == row.id else part.name) for part in inside.servers.values()]
            try:
                inside.check(namespace.name, contents.entry_of(namespace), servers=servers)
            except Invalid as error:
                raise Invalid("name", f'does not fit into namespace "{namespace.name}": {error}') from None


def _entry(row: Server, secrets: ServerSecrets) -> dict[str, Any]:
    """Return a server as an entry of ``mcpServers``, its secrets included."""
    entry: dict[str, Any] = {
        "type": row.type,
        "description": row.description,
        "era": row.era,
        "sharing": row.sharing,
        "timeout": row.timeout,
        "disabled": row.disabled,
    }
    if row.type == "stdio":
        own: dict[str, Any] = {"command": row.command, "args": list(secrets.args or row.args), "env": dict(secrets.env)}
        own["cwd"] = row.cwd
        if (sandbox := sandbox_of(row.sandbox)) is not None:
            own["sandbox"] = document_of_sandbox(sandbox)
    else:
        own = {"url": secrets.url or row.url, "headers": dict(secrets.headers), "bearerToken": secrets.bearer_token}
        if (grant := spec_of(row.oauth, secrets, row.name)) is not None:
            entry["oauth"] = entry_of(grant, lambda _, value: value)
    return entry | {key: value for key, value in own.items() if value}


def _merged(entry: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry with what was given put into it."""
    merged = dict(entry)
    if "type" in merged and "type" in values and (merged["type"] == "stdio") != _is_stdio(values["type"]):
        for key in LAUNCHING + _REACHING:
            merged.pop(key, None)
    for field, key in _KEYS.items():
        if field not in values:
            continue
        value = values[field]
        if isinstance(value, dict) and key != "sandbox":
            # The case of a header's name does not matter, that of a variable does.
            same = str.lower if key == "headers" else str
            mentioned = {same(name) for name in value}
            before = merged.get(key)
            known = before if isinstance(before, dict) else {}
            kept = {name: text for name, text in known.items() if same(name) not in mentioned}
            value = kept | {name: text for name, text in value.items() if text is not None}
        if value is None or (value in ({}, []) and key != "sandbox"):
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged


def _is_stdio(kind: str) -> bool:
    return kind.lower() in ("stdio", "std")


def _columns(config: snapshot.Server, entry: Mapping[str, Any]) -> tuple[dict[str, Any], ServerSecrets]:
    """Return the columns and the secrets of a server's row, its headers and bearer token as they were given."""
    columns, secrets = server_columns(config)
    headers = dict(entry.get("headers", {}))
    return columns, replace(secrets, headers=headers, bearer_token=entry.get("bearerToken"))
