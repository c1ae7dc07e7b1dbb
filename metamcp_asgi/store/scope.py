"""What one owner has in the store, as a ``Snapshot`` that a file could say, and the way back: make the store so.

A scope is everything public, or everything of one user. What a scope refers to in the public one is in its snapshot,
too, so that a file is complete by itself, but is not changed through it. What no file can say is kept as it is.
Knows nothing of files and of the data path's snapshot.
"""

import re
import uuid
from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import func, select

from metamcp_asgi.config import snapshot as compiled
from metamcp_asgi.config.sensitive import masked_args, masked_url
from metamcp_asgi.config.snapshot import ClientRateLimit, MiddlewareSpec, Principal, RateLimit, Snapshot, ToolOverride
from metamcp_asgi.store.grants import column_of, spec_of
from metamcp_asgi.store.models import ApiKey, Endpoint, Membership, Namespace, Server, ToolSetting, User
from metamcp_asgi.store.oauth_columns import oauth_of
from metamcp_asgi.store.sandbox import sandbox_of
from metamcp_asgi.store.secrets import ServerSecrets
from metamcp_asgi.store.transaction import Reader

__all__ = ["Scope", "compiled_server", "elsewhere", "read_scope", "server_columns"]

Named = TypeVar("Named", Server, Namespace)

_BEARER: Final = re.compile(r"Bearer ([\x21-\x7e]+)")


class Scope(Struct):
    """A scope as it is in the store.

    Args:
        owner_id: Whose things; ``None``: the public ones.
        snapshot: What a file can say of them.
        servers: The rows behind it by name, and so on.
        borrowed: Kind and name of what is public and only referred to.
        unsaid: What no file can say, in words for people.
        taken: The names of everybody else's endpoints, which nobody can have a second time.
    """

    owner_id: uuid.UUID | None
    snapshot: Snapshot
    servers: dict[str, Server]
    namespaces: dict[str, Namespace]
    endpoints: dict[str, Endpoint]
    keys: dict[str, ApiKey]
    borrowed: set[tuple[str, str]]
    unsaid: list[str]
    taken: frozenset[str] = frozenset()


async def read_scope(tx: Reader, owner_id: uuid.UUID | None) -> Scope:
    """Read a scope.

    Args:
        tx: The transaction.
        owner_id: Whose things; ``None``: the public ones.
    """
    unsaid: list[str] = []
    endpoints = await tx.list(Endpoint, _of(Endpoint, owner_id))
    namespaces = list(await tx.list(Namespace, _of(Namespace, owner_id)))
    borrowed_namespaces = await _borrowed(tx, Namespace, (e.namespace_id for e in endpoints), namespaces, owner_id)
    namespaces += borrowed_namespaces
    ids = [namespace.id for namespace in namespaces]
    members = await tx.list(Membership, Membership.namespace_id.in_(ids))
    settings = await tx.list(ToolSetting, ToolSetting.namespace_id.in_(ids))
    servers = list(await tx.list(Server, _of(Server, owner_id)))
    borrowed_servers = await _borrowed(tx, Server, (m.server_id for m in members), servers, owner_id)
    servers += borrowed_servers
    names = {server.id: server.name for server in servers}
    by_id = {namespace.id: namespace.name for namespace in namespaces}
    for member in members:
        if not member.active and member.server_id in names:
            where = f"namespace {by_id[member.namespace_id]}"
            unsaid.append(f"{where}: server {names[member.server_id]} is a member that is switched off")
    keys = await tx.list(ApiKey, _of(ApiKey, owner_id))
    endpoint_names = {str(endpoint.id): endpoint.name for endpoint in endpoints}
    sayable = [key for key in keys if _sayable(key, unsaid)]
    snapshot = Snapshot(
        servers={server.name: compiled_server(server, tx.secrets(server)) for server in servers},
        namespaces={namespace.name: _namespace(namespace, members, settings, names) for namespace in namespaces},
        endpoints={e.name: _endpoint(e, by_id[e.namespace_id]) for e in endpoints if e.namespace_id in by_id},
        keys={key.digest: _key(key, endpoint_names) for key in sayable},
    )
    for endpoint in endpoints:
        if endpoint.description:
            unsaid.append(f"endpoint {endpoint.name}: its description")
        if endpoint.namespace_id not in by_id:
            unsaid.append(f"endpoint {endpoint.name}: is of a namespace of somebody else, and left out")
    return Scope(
        owner_id=owner_id,
        snapshot=snapshot,
        servers={server.name: server for server in servers},
        namespaces={namespace.name: namespace for namespace in namespaces},
        endpoints={endpoint.name: endpoint for endpoint in endpoints},
        keys={key.name: key for key in keys},
        borrowed={("server", s.name) for s in borrowed_servers} | {("namespace", n.name) for n in borrowed_namespaces},
        unsaid=unsaid,
        taken=frozenset(await tx.session.scalars(select(Endpoint.name).where(~_of(Endpoint, owner_id)))),
    )


async def elsewhere(tx: Reader) -> list[str]:
    """Return in words what belongs to people, of which the public scope says nothing."""
    counts: dict[str, list[str]] = {}
    for kind, word in ((Server, "server"), (Namespace, "namespace"), (Endpoint, "endpoint"), (ApiKey, "API key")):
        query = select(User.email, func.count()).join(kind, kind.owner_id == User.id).group_by(User.email)
        for email, number in await tx.session.execute(query):
            counts.setdefault(email, []).append(f"{number} {word}{'s' if number != 1 else ''}")
    return [f"{', '.join(numbers)} of {email}: --owner {email}" for email, numbers in sorted(counts.items())]


def server_columns(server: compiled.Server) -> tuple[dict[str, Any], ServerSecrets]:
    """Return the columns and the secrets of a compiled server's row.

    A URL and arguments with a secret in them are among the secrets, and masked in the columns, which can be shown.
    """
    url, args = masked_url(server.url), masked_args(server.args)
    columns = {
        "type": server.type,
        "command": server.command,
        "args": args,
        "cwd": server.cwd,
        "url": url,
        "description": server.description,
        "era": server.era,
        "sharing": server.sharing,
        "timeout": server.timeout,
        "disabled": server.disabled,
        "oauth": column_of(server.grant),
        "sandbox": None if server.sandbox is None else msgspec.json.decode(msgspec.json.encode(server.sandbox)),
    }
    headers, token = dict(server.headers), None
    if server.headers and server.headers[-1][0] == "Authorization":
        bearer = _BEARER.fullmatch(server.headers[-1][1])
        if bearer:
            del headers["Authorization"]
            token = bearer[1]
    return columns, ServerSecrets(
        env=dict(server.env),
        headers=headers,
        bearer_token=token,
        client_secret=None if server.grant is None else server.grant.client_secret,
        private_key=None if server.grant is None else server.grant.private_key,
        url=server.url if url != server.url else None,
        args=server.args if tuple(args) != server.args else None,
    )


def _of(kind: Any, owner_id: uuid.UUID | None) -> Any:
    return kind.owner_id.is_(None) if owner_id is None else kind.owner_id == owner_id


async def _borrowed(
    tx: Reader, kind: type[Named], wanted: Iterable[uuid.UUID], own: list[Named], owner_id: uuid.UUID | None
) -> list[Named]:
    """Return the public rows that are referred to; one whose name the owner uses, too, can't be told apart."""
    missing = set(wanted) - {row.id for row in own}
    if owner_id is None or not missing:
        return []
    names = {row.name for row in own}
    found = await tx.list(kind, kind.id.in_(missing), kind.owner_id.is_(None))
    return [row for row in found if row.name not in names]


def _sayable(key: ApiKey, unsaid: list[str]) -> bool:
    if key.disabled or key.expires_at is not None:
        unsaid.append(f"key {key.name}: is switched off or expires, and left out")
        return False
    if key.admin:
        unsaid.append(f"key {key.name}: may manage things")
    return True


def compiled_server(row: Server, secrets: ServerSecrets) -> compiled.Server:
    """Return the server that a row stands for, as a file could say it; the reverse of ``server_columns``."""
    headers = tuple(secrets.headers.items())
    if secrets.bearer_token is not None:
        others = tuple(pair for pair in headers if pair[0].lower() != "authorization")
        headers = (*others, ("Authorization", f"Bearer {secrets.bearer_token}"))
    return compiled.Server(
        name=row.name,
        type=row.type,
        command=row.command,
        args=secrets.args or tuple(row.args),
        env=tuple(secrets.env.items()),
        cwd=row.cwd,
        url=secrets.url or row.url,
        headers=headers,
        description=row.description,
        era=row.era,
        sharing=row.sharing,
        timeout=row.timeout,
        disabled=row.disabled,
        grant=spec_of(row.oauth, secrets, row.name),
        sandbox=sandbox_of(row.sandbox),
    )


def _namespace(
    row: Namespace, members: Iterable[Membership], settings: Iterable[ToolSetting], names: dict[uuid.UUID, str]
) -> compiled.Namespace:
    mine = [m.server_id for m in members if m.namespace_id == row.id and m.active and m.server_id in names]
    return compiled.Namespace(
        name=row.name,
        servers=tuple(names[server_id] for server_id in mine),
        description=row.description,
        prefix=row.prefix,
        tools={
            (names[setting.server_id], setting.tool): ToolOverride(
                enabled=setting.enabled,
                name=setting.name,
                title=setting.title,
                description=setting.description,
                annotations=setting.annotations,
            )
            for setting in settings
            if setting.namespace_id == row.id and setting.server_id in mine
        },
        middlewares=tuple(MiddlewareSpec(each["name"], each.get("options") or {}) for each in row.middlewares),
    )


def _endpoint(row: Endpoint, namespace: str) -> compiled.Endpoint:
    client: ClientRateLimit | None = None
    if row.client_max_rate is not None and row.client_max_rate_seconds is not None:
        by_principal = row.client_max_rate_strategy == "principal"
        client = ClientRateLimit(
            row.client_max_rate, row.client_max_rate_seconds, row.client_max_rate_header, by_principal
        )
    return compiled.Endpoint(
        name=row.name,
        namespace=namespace,
        api_key_auth=row.api_key_auth,
        oauth=oauth_of(row),
        query_param_auth=row.query_param_auth,
        rate_limit=RateLimit(row.max_rate, row.max_rate_seconds)
        if row.max_rate is not None and row.max_rate_seconds is not None
        else None,
        client_rate_limit=client,
    )


def _key(row: ApiKey, endpoints: dict[str, str]) -> compiled.Key:
    opened = None if row.endpoint_ids is None else frozenset(endpoints[i] for i in row.endpoint_ids if i in endpoints)
    return compiled.Key(row.digest, Principal.of_key(row.name, row.name, row.digest), opened)
