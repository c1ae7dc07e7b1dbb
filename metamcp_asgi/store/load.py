"""Reads rows into a ``Compiler``: all of them, or those that a revision changed.

Knows the columns and opens the secrets. Reads plain columns rather than objects, of which there may be many thousands.
"""

import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any, Final

from msgspec.structs import replace
from sqlalchemy import ColumnElement, Row, select
from sqlalchemy.ext.asyncio import AsyncSession

from metamcp_asgi.config import snapshot
from metamcp_asgi.config.sensitive import plain_header
from metamcp_asgi.config.servers import docker_internal
from metamcp_asgi.store.columns import now
from metamcp_asgi.store.compile import ClientRow, Compiler, EndpointRow, KeyRow, NamespaceRow, ServerRow, named
from metamcp_asgi.store.errors import SecretsError
from metamcp_asgi.store.grants import spec_of
from metamcp_asgi.store.models import (
    ApiKey,
    Change,
    Endpoint,
    Membership,
    Namespace,
    OAuthClient,
    Revision,
    Server,
    ToolSetting,
    User,
)
from metamcp_asgi.store.oauth_columns import oauth_of
from metamcp_asgi.store.oauth_models import OAuthGrant
from metamcp_asgi.store.sandbox import sandbox_of
from metamcp_asgi.store.secrets import Context, ServerSecrets
from metamcp_asgi.store.transaction import Reader

__all__ = ["Loader"]

logger = logging.getLogger("metamcp.store")

_KINDS: Final = ("user", "server", "namespace", "endpoint", "api_key", "oauth_client", "oauth_grant")

_MOST: Final = 500
"""Changed things above which reading everything is simpler, and not slower."""

REMEMBERED: Final = timedelta(hours=2)
"""How long a revoked grant is told to the data path: longer than any access token of it lives."""

Ids = Collection[uuid.UUID] | None
"""The rows that are meant; ``None`` for all."""


class Loader:
    """Keeps a ``Compiler`` at a revision of the store.

    Args:
        transform_localhost: Whether server URLs on ``localhost`` mean the machine that runs our container.
    """

    def __init__(self, *, transform_localhost: bool = False) -> None:
        self.compiler = Compiler()
        self.revision: int | None = None
        self.granted: Callable[[], object] | None = None
        """Is called when a grant at a server may have come or gone, which is no part of what is compiled."""
        self._transform_localhost = transform_localhost

    async def refresh(self, tx: Reader) -> None:
        """Read what has changed since the last time.

        Args:
            tx: One state of the store.

        Raises:
            SecretsError: Everything was read, and a secret of a server cannot be opened.
        """
        number = (await tx.session.scalars(select(Revision.number))).one()
        if number == self.revision:
            return
        changed = await self._changed(tx.session, number)
        if changed is None:
            compiler, self.compiler = self.compiler, Compiler()
            try:
                await self._read(tx, dict.fromkeys(_KINDS))
            except BaseException:
                self.compiler = compiler
                raise
        else:
            await self._read(tx, changed)
        self.revision = number
        if self.granted is not None and (changed is None or "credential" in changed):
            self.granted()

    async def _changed(self, session: AsyncSession, number: int) -> dict[str, Ids] | None:
        """Return the ids of what has changed, by kind; ``None`` when all must be read."""
        if self.revision is None or number < self.revision:
            return None
        query = select(Change.revision, Change.kind, Change.object_id).where(Change.revision > self.revision)
        rows = (await session.execute(query.limit(_MOST + 1))).all()
        # Every revision has a change; when the first ones are missing, they are already forgotten.
        complete = {row.revision for row in rows} == set(range(self.revision + 1, number + 1))
        if len(rows) > _MOST or not complete or any(row.kind == "all" for row in rows):
            return None
        changed: dict[str, set[uuid.UUID]] = defaultdict(set)
        for row in rows:
            changed[row.kind].add(row.object_id)
        return dict(changed)

    async def _read(self, tx: Reader, changed: dict[str, Ids]) -> None:
        compiler = self.compiler
        if "user" in changed:
            rows = await _rows(tx, select(User.id, User.disabled, User.role), User.id, changed["user"])
            compiler.users.update(row.id for row in rows)
            compiler.disabled.difference_update(changed["user"] or ())
            compiler.disabled.update(row.id for row in rows if row.disabled)
            compiler.admins.difference_update(changed["user"] or ())
            compiler.admins.update(row.id for row in rows if row.role == "admin")
        if "server" in changed:
            rows = await _rows(tx, select(*Server.__table__.columns), Server.id, changed["server"])
            _put(compiler.servers, changed["server"], {r.id: self._server(tx, r, changed["server"]) for r in rows})
        if "namespace" in changed:
            _put(compiler.namespaces, changed["namespace"], await _namespaces(tx, changed["namespace"]))
        if "endpoint" in changed:
            rows = await _rows(tx, select(*Endpoint.__table__.columns), Endpoint.id, changed["endpoint"])
            _put(compiler.endpoints, changed["endpoint"], {row.id: _endpoint(row) for row in rows})
        if "api_key" in changed:
            names = (
                "id",
                "owner_id",
                "name",
                "digest",
                "endpoint_ids",
                "expires_at",
                "previous_digest",
                "previous_until",
            )
            query = select(*(getattr(ApiKey, name) for name in names)).where(ApiKey.disabled.is_(False))
            rows = await _rows(tx, query, ApiKey.id, changed["api_key"])
            _put(compiler.keys, changed["api_key"], {row.id: _key(row) for row in rows})
        if "oauth_client" in changed:
            mine = select(OAuthClient.id, OAuthClient.client_id, OAuthClient.owner_id)
            rows = await _rows(
                tx, mine.where(OAuthClient.owner_id.is_not(None)), OAuthClient.id, changed["oauth_client"]
            )
            clients = {row.id: ClientRow(client_id=row.client_id, owner=row.owner_id) for row in rows}
            _put(compiler.clients, changed["oauth_client"], clients)
        if "oauth_grant" in changed:
            # All of them, as some are forgotten meanwhile; there are few that were revoked so lately.
            lately = select(OAuthGrant.id).where(OAuthGrant.revoked_at > now() - REMEMBERED)
            compiler.revoked = frozenset(map(str, await tx.session.scalars(lately)))

    def _reached(self, url: str) -> str:
        return docker_internal(url) if self._transform_localhost else url

    def _server(self, tx: Reader, row: Row[Any], only: Ids) -> ServerRow:
        config = snapshot.Server(
            name=row.name,
            type=row.type,
            command=row.command,
            args=tuple(row.args),
            cwd=row.cwd,
            url=self._reached(row.url),
            description=row.description,
            era=row.era,
            sharing=row.sharing,
            timeout=row.timeout,
            disabled=row.disabled,
            grant=spec_of(row.oauth, ServerSecrets(), str(row.id)),
            sandbox=sandbox_of(row.sandbox),
            owner="" if row.owner_id is None else str(row.owner_id),
        )
        known_as = config.known_as
        if row.secrets is None:
            return ServerRow(known_as=known_as, owner=row.owner_id, config=_authorized(config, str(row.id)))
        try:
            secrets = tx.vault.open(row.secrets, Context("servers", str(row.id), "secrets"), ServerSecrets)
        except SecretsError as error:
            if only is None:
                raise
            # One server that was sealed elsewhere must not keep every other change from being served.
            logger.error("server %s is switched off: %s", known_as, error)
            return ServerRow(known_as=known_as, owner=row.owner_id, config=replace(config, disabled=True))
        headers = tuple(secrets.headers.items())
        if secrets.bearer_token is not None:
            headers += (("Authorization", f"Bearer {secrets.bearer_token}"),)
        config = replace(
            config,
            env=tuple(secrets.env.items()),
            headers=headers,
            args=secrets.args or config.args,
            url=config.url if secrets.url is None else self._reached(secrets.url),
            grant=spec_of(row.oauth, secrets, str(row.id)),
        )
        return ServerRow(known_as=known_as, owner=row.owner_id, config=_authorized(config, str(row.id)))


def _authorized(config: snapshot.Server, key: str) -> snapshot.Server:
    """Return a server with how tokens for it are got; of which nothing was said is asked when it wants some."""
    if config.grant is not None or not config.url:
        return config
    if not all(plain_header(name, value) for name, value in config.headers):
        return config  # it has credentials of another kind
    return replace(config, grant=snapshot.GrantSpec(key=key))


async def _rows(tx: Reader, query: Any, column: Any, only: Ids) -> list[Row[Any]]:
    if only is not None:
        query = query.where(column.in_(only))
    return list((await tx.session.execute(query)).all())


def _put(table: dict[uuid.UUID, Any], only: Ids, rows: dict[uuid.UUID, Any]) -> None:
    for identity in only or ():
        table.pop(identity, None)
    table.update(rows)


async def _namespaces(tx: Reader, only: Ids) -> dict[uuid.UUID, NamespaceRow]:
    members: dict[uuid.UUID, list[uuid.UUID]] = defaultdict(list)
    active: ColumnElement[bool] = Membership.active.is_(True)
    query = select(Membership.namespace_id, Membership.server_id).where(active)
    for row in await _rows(tx, query.order_by(Membership.position, Membership.id), Membership.namespace_id, only):
        members[row.namespace_id].append(row.server_id)
    tools: dict[uuid.UUID, dict[tuple[uuid.UUID, str], snapshot.ToolOverride]] = defaultdict(dict)
    settings = select(*ToolSetting.__table__.columns).order_by(ToolSetting.tool)
    for row in await _rows(tx, settings, ToolSetting.namespace_id, only):
        tools[row.namespace_id][row.server_id, row.tool] = snapshot.ToolOverride(
            enabled=row.enabled,
            name=row.name,
            title=row.title,
            description=row.description,
            annotations=row.annotations,
        )
    return {
        row.id: NamespaceRow(
            known_as=named(row.name, row.owner_id),
            name=row.name,
            description=row.description,
            prefix=row.prefix,
            middlewares=tuple(snapshot.MiddlewareSpec(m["name"], m.get("options", {})) for m in row.middlewares),
            members=tuple(members[row.id]),
            tools=tools[row.id],
        )
        for row in await _rows(tx, select(*Namespace.__table__.columns), Namespace.id, only)
    }


def _endpoint(row: Row[Any]) -> EndpointRow:
    limit = row.max_rate is not None and row.max_rate_seconds is not None
    client_limit = row.client_max_rate is not None and row.client_max_rate_seconds is not None
    strategy = row.client_max_rate_strategy
    config = snapshot.Endpoint(
        name=row.name,
        namespace="",
        api_key_auth=row.api_key_auth,
        oauth=oauth_of(row),
        query_param_auth=row.query_param_auth,
        rate_limit=snapshot.RateLimit(row.max_rate, row.max_rate_seconds) if limit else None,
        client_rate_limit=snapshot.ClientRateLimit(
            row.client_max_rate,
            row.client_max_rate_seconds,
            row.client_max_rate_header if strategy == "header" else None,
            strategy == "principal",
        )
        if client_limit
        else None,
    )
    return EndpointRow(owner=row.owner_id, namespace=row.namespace_id, config=config)


def _key(row: Row[Any]) -> KeyRow:
    return KeyRow(
        owner=row.owner_id,
        digest=row.digest,
        principal=_principal(row, row.digest),
        endpoints=None if row.endpoint_ids is None else frozenset(map(uuid.UUID, row.endpoint_ids)),
        expires_at=row.expires_at,
        previous=None
        if row.previous_digest is None
        else (row.previous_digest, _principal(row, row.previous_digest), row.previous_until),
    )


def _principal(row: Row[Any], digest: bytes) -> snapshot.Principal:
    return snapshot.Principal.of_key(str(row.id), row.name, digest, None if row.owner_id is None else str(row.owner_id))
