"""Endpoints: made, changed and removed."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from metamcp_asgi.config import snapshot
from metamcp_asgi.store.models import Endpoint, Namespace
from metamcp_asgi.store.oauth_columns import oauth_columns, oauth_document
from metamcp_asgi.store.policy import Acting, check_move, check_reach, may_see, new_owner, visible
from metamcp_asgi.store.services.fragments import endpoint_of, free_text
from metamcp_asgi.store.services.inputs import EndpointChanges, Invalid, NewEndpoint, given
from metamcp_asgi.store.services.rows import assign, changeable, check_owner, check_unique, having, seen
from metamcp_asgi.store.services.settings import rules
from metamcp_asgi.store.transaction import Reader, Writer

__all__ = ["create", "delete", "get", "list_", "update"]

_KEYS: Final = {
    "api_key_auth": "apiKeyAuth",
    "oauth": "oauth",
    "query_param_auth": "queryParamAuth",
    "rate_limit": "rateLimit",
    "client_rate_limit": "clientRateLimit",
}


async def get(tx: Reader, acting: Acting, identity: uuid.UUID) -> Endpoint:
    """Return an endpoint.

    Raises:
        NotFound: There is none that they may see.
    """
    return await seen(tx, acting, Endpoint, identity)


async def list_(
    tx: Reader,
    acting: Acting,
    *,
    namespace: uuid.UUID | None = None,
    search: str | None = None,
    after: tuple[Any, ...] | None = None,
    limit: int | None = None,
) -> Sequence[Endpoint]:
    """Return the endpoints that somebody may see, by name.

    Args:
        tx: The transaction.
        acting: Who asks.
        namespace: Only those that publish this namespace.
        search: What their name or description has in it, in whatever case.
        after: The place after which to begin.
        limit: How many at most.
    """
    where = [visible(acting, Endpoint)]
    if namespace is not None:
        where.append(Endpoint.namespace_id == namespace)
    if search:
        where.append(having(search, Endpoint.name, Endpoint.description))
    return await tx.list(Endpoint, *where, after=after, limit=limit)


async def create(tx: Writer, acting: Acting, new: NewEndpoint) -> Endpoint:
    """Make an endpoint, and return it.

    Raises:
        Forbidden: It would be public or somebody else's, and they may not; or it may not publish the namespace.
        Invalid: The name or another value is wrong.
        Duplicate: There is one of this name.
    """
    owner = new_owner(acting, new.owner_id, await rules(tx))
    await check_owner(tx, owner)
    values = given(new)
    namespace = await _namespace(tx, acting, new.namespace_id, owner)
    compiled = endpoint_of(new.name, _without_none(_entry(values)), namespace.name)
    columns = _columns(compiled, values)
    await check_unique(tx, Endpoint, name=new.name)
    return await tx.add(Endpoint(owner_id=owner, name=new.name, namespace_id=namespace.id, **columns))


async def update(
    tx: Writer, acting: Acting, identity: uuid.UUID, changes: EndpointChanges, *, version: int | None = None
) -> Endpoint:
    """Change an endpoint, and return it.

    Raises:
        NotFound: There is none that they may see.
        Forbidden: They may not change it, or not so.
        Invalid: A value is wrong.
        Duplicate: There is another one of this name.
        Conflict: It has another version.
    """
    row = await changeable(tx, acting, Endpoint, identity, version)
    values = given(changes)
    name, owner = values.get("name", row.name), values.get("owner_id", row.owner_id)
    check_move(acting, row, owner)
    await check_owner(tx, owner)
    if owner == row.owner_id and values.get("namespace_id", row.namespace_id) == row.namespace_id:
        namespace = await tx.get(Namespace, row.namespace_id)
    else:
        namespace = await _namespace(tx, acting, values.get("namespace_id", row.namespace_id), owner)
    compiled = endpoint_of(name, _without_none({**_entry_of(row), **_entry(values)}), namespace.name)
    columns = _columns(compiled, values)
    await check_unique(tx, Endpoint, row, name=name)
    assign(row, {"name": name, "owner_id": owner, "namespace_id": namespace.id, **columns})
    await tx.flush()
    return row


async def delete(tx: Writer, acting: Acting, identity: uuid.UUID, *, version: int | None = None) -> None:
    """Remove an endpoint; raises what ``update`` raises."""
    await tx.delete(await changeable(tx, acting, Endpoint, identity, version))


async def _namespace(tx: Reader, acting: Acting, identity: uuid.UUID, owner: uuid.UUID | None) -> Namespace:
    row = await tx.find(Namespace, id=identity)
    if row is None or not may_see(acting, row):
        raise Invalid("namespaceId", "names a namespace that does not exist")
    check_reach(owner, row.owner_id, f'namespace "{row.name}"')
    return row


def _entry(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given as in the configuration file; a limit of ``None`` stands for none."""
    return {key: msgspec.to_builtins(values[field]) for field, key in _KEYS.items() if field in values}


def _without_none(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if value is not None}


def _entry_of(row: Endpoint) -> dict[str, Any]:
    entry: dict[str, Any] = {"apiKeyAuth": row.api_key_auth, "queryParamAuth": row.query_param_auth}
    entry["oauth"] = oauth_document(row)
    if row.max_rate is not None:
        entry["rateLimit"] = {"maxRate": row.max_rate, "maxRateSeconds": row.max_rate_seconds}
    if row.client_max_rate is not None:
        limit = {"maxRate": row.client_max_rate, "maxRateSeconds": row.client_max_rate_seconds}
        by: dict[str, str] = {"strategy": row.client_max_rate_strategy or "ip"}
        if row.client_max_rate_header is not None:
            by["header"] = row.client_max_rate_header
        entry["clientRateLimit"] = limit | by
    return entry


def _columns(compiled: snapshot.Endpoint, values: Mapping[str, Any]) -> dict[str, Any]:
    rate, client = compiled.rate_limit, compiled.client_rate_limit
    columns: dict[str, Any] = {
        "api_key_auth": compiled.api_key_auth,
        **oauth_columns(compiled.oauth),
        "query_param_auth": compiled.query_param_auth,
        "max_rate": rate and rate.max_rate,
        "max_rate_seconds": rate and rate.seconds,
        "client_max_rate": client and client.max_rate,
        "client_max_rate_seconds": client and client.seconds,
        "client_max_rate_strategy": client and client.strategy,
        "client_max_rate_header": client and client.header,
    }
    if "description" in values:
        columns["description"] = free_text("description", values["description"])
    return columns
