"""The tables: users, servers, namespaces, endpoints, keys, and what belongs to them.

An owner of ``None`` makes a thing public. Ids are UUIDs, which are made here, so that a secret can be sealed for its
row before that exists. Names are unique per owner, among public things, too; endpoints' names are unique altogether.
Knows nothing of who may do what, and of secrets only the columns in which they lie sealed.
"""

import uuid
from datetime import datetime
from typing import Any, Literal, TypeAlias

from sqlalchemy import BigInteger, Double, ForeignKey, Index, Integer, LargeBinary, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, validates

from metamcp_asgi.config.snapshot import DEFAULT_TIMEOUT, ClientStrategy, EraChoice, PrefixRule, Sharing, TransportKind
from metamcp_asgi.store.columns import Base, Json, Kept, UTCDateTime, now

__all__ = [
    "ApiKey",
    "AuditEntry",
    "Change",
    "Credential",
    "Endpoint",
    "Identity",
    "Membership",
    "Namespace",
    "OAuthClient",
    "Revision",
    "Role",
    "Server",
    "Setting",
    "SignInMethod",
    "ToolSetting",
    "User",
    "WebSession",
]

Role: TypeAlias = Literal["admin", "member"]
SignInMethod: TypeAlias = Literal["password", "oidc"]


def _owned(table: str) -> tuple[Index, ...]:
    """Return the indexes that make a name unique per owner; NULLs, which SQL thinks different, among themselves."""
    public = text("owner_id IS NULL")
    return (
        Index(f"uq_{table}_owner_id_name", "owner_id", "name", unique=True),
        Index(f"uq_{table}_public_name", "name", unique=True, sqlite_where=public, postgresql_where=public),
    )


class User(Kept, Base, kw_only=True):
    """A person who manages things; ``password_hash`` is ``None`` for those who log in elsewhere."""

    __tablename__ = "users"

    email: Mapped[str] = mapped_column(String(320), unique=True)
    name: Mapped[str] = mapped_column(String(200), default="")
    password_hash: Mapped[str | None] = mapped_column(Text, default=None, repr=False)
    role: Mapped[Role] = mapped_column(String(16), default="member")
    disabled: Mapped[bool] = mapped_column(default=False)

    @validates("email")
    def _lower(self, key: str, value: str) -> str:
        return value.strip().lower()


class Identity(Base, kw_only=True):
    """Whom an OpenID provider knows, as the user that they are here; the pair of issuer and subject never changes."""

    __tablename__ = "identities"

    issuer: Mapped[str] = mapped_column(String(500), primary_key=True)
    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default_factory=now)


class WebSession(Base, kw_only=True):
    """A browser in which a user has signed in; of its cookie's secret there is only the digest."""

    __tablename__ = "web_sessions"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default_factory=uuid.uuid4)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True, repr=False)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    method: Mapped[SignInMethod] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default_factory=now)
    seen_at: Mapped[datetime] = mapped_column(UTCDateTime, default_factory=now)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)


class Server(Kept, Base, kw_only=True):
    """An MCP server. ``secrets`` is a sealed ``ServerSecrets``: environment, headers, bearer token, client secret.

    ``timeout`` is in seconds of silence. ``oauth`` is how tokens for it are got, in the words of the configuration
    file, without the client's secret: ``{"flow": "none"}`` where that is off; ``None`` is as the server asks.
    ``sandbox`` is what its process sees; ``None`` for all that the gateway's user does.
    """

    __tablename__ = "servers"
    __table_args__ = _owned("servers")

    owner_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), default=None)
    name: Mapped[str] = mapped_column(String(100))
    description: Mapped[str] = mapped_column(Text, default="")
    type: Mapped[TransportKind] = mapped_column(String(20))
    command: Mapped[str] = mapped_column(Text, default="")
    args: Mapped[list[str]] = mapped_column(Json, default_factory=list)
    cwd: Mapped[str | None] = mapped_column(Text, default=None)
    url: Mapped[str] = mapped_column(Text, default="")
    era: Mapped[EraChoice] = mapped_column(String(10), default="auto")
    sharing: Mapped[Sharing] = mapped_column(String(10), default="auto")
    timeout: Mapped[float] = mapped_column(Double, default=DEFAULT_TIMEOUT)
    disabled: Mapped[bool] = mapped_column(default=False)
    oauth: Mapped[dict[str, Any] | None] = mapped_column(Json, default=None)
    sandbox: Mapped[dict[str, Any] | None] = mapped_column(Json, default=None)
    secrets: Mapped[bytes | None] = mapped_column(LargeBinary, default=None, repr=False)


class Namespace(Kept, Base, kw_only=True):
    """Servers grouped; its members are ``Membership`` rows, its switches and overrides ``ToolSetting`` rows.

    ``middlewares`` is the ordered list of ``{"name": ..., "options": {...}}``, the first being the outermost.
    """

    __tablename__ = "namespaces"
    __table_args__ = _owned("namespaces")

    owner_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), default=None)
    name: Mapped[str] = mapped_column(String(100))
    description: Mapped[str] = mapped_column(Text, default="")
    prefix: Mapped[PrefixRule] = mapped_column(String(16), default="always")
    middlewares: Mapped[list[dict[str, Any]]] = mapped_column(Json, default_factory=list)


class Membership(Kept, Base, kw_only=True):
    """A server's place in a namespace, counted from 0, and whether it takes part there."""

    __tablename__ = "memberships"
    __table_args__ = (UniqueConstraint("namespace_id", "server_id"),)

    namespace_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"))
    server_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("servers.id", ondelete="CASCADE"), index=True)
    position: Mapped[int] = mapped_column(default=0)
    active: Mapped[bool] = mapped_column(default=True)


class ToolSetting(Kept, Base, kw_only=True):
    """What a namespace changes about a tool, by the server's own name for it, so that no refresh loses it.

    ``None`` leaves the server's own value. A row may exist for a tool that the server doesn't offer at the moment, and
    for a server that left the namespace: it applies again when that comes back.
    """

    __tablename__ = "tool_settings"
    __table_args__ = (UniqueConstraint("namespace_id", "server_id", "tool"),)

    namespace_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"))
    server_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("servers.id", ondelete="CASCADE"), index=True)
    tool: Mapped[str] = mapped_column(Text)
    enabled: Mapped[bool] = mapped_column(default=True)
    name: Mapped[str | None] = mapped_column(String(128), default=None)
    title: Mapped[str | None] = mapped_column(Text, default=None)
    description: Mapped[str | None] = mapped_column(Text, default=None)
    annotations: Mapped[dict[str, Any] | None] = mapped_column(Json, default=None)


class Endpoint(Kept, Base, kw_only=True):
    """A published name, the namespace behind it, and who may use it how often; rates in requests and seconds.

    ``client_max_rate_header`` tells clients apart where the strategy is ``header``, in lower case.
    """

    __tablename__ = "endpoints"

    owner_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), default=None, index=True
    )
    name: Mapped[str] = mapped_column(String(100), unique=True)
    description: Mapped[str] = mapped_column(Text, default="")
    namespace_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"), index=True)
    api_key_auth: Mapped[bool] = mapped_column(default=True)
    oauth: Mapped[bool] = mapped_column(default=False)
    oauth_options: Mapped[dict[str, Any] | None] = mapped_column(Json, default=None)
    query_param_auth: Mapped[bool] = mapped_column(default=False)
    max_rate: Mapped[int | None] = mapped_column(default=None)
    max_rate_seconds: Mapped[float | None] = mapped_column(Double, default=None)
    client_max_rate: Mapped[int | None] = mapped_column(default=None)
    client_max_rate_seconds: Mapped[float | None] = mapped_column(Double, default=None)
    client_max_rate_strategy: Mapped[ClientStrategy | None] = mapped_column(String(10), default=None)
    client_max_rate_header: Mapped[str | None] = mapped_column(String(200), default=None)


class ApiKey(Kept, Base, kw_only=True):
    """An API key, kept as its digest (``digest_of``) and the beginning that people recognise it by.

    ``endpoint_ids`` restricts it to these endpoints, as texts; ``None`` means all that its owner may use.
    ``admin`` lets it manage things, with its owner's rights. The key that it was before it was rotated is as good
    until ``previous_until``.
    """

    __tablename__ = "api_keys"
    __table_args__ = _owned("api_keys")

    owner_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), default=None)
    name: Mapped[str] = mapped_column(String(100))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True, repr=False)
    prefix: Mapped[str] = mapped_column(String(16))
    admin: Mapped[bool] = mapped_column(default=False)
    endpoint_ids: Mapped[list[str] | None] = mapped_column(Json, default=None)
    expires_at: Mapped[datetime | None] = mapped_column(UTCDateTime, default=None)
    last_used_at: Mapped[datetime | None] = mapped_column(UTCDateTime, default=None)
    disabled: Mapped[bool] = mapped_column(default=False)
    previous_digest: Mapped[bytes | None] = mapped_column(LargeBinary(32), default=None, index=True, repr=False)
    previous_until: Mapped[datetime | None] = mapped_column(UTCDateTime, default=None)


class Setting(Base, kw_only=True):
    """One setting that applies to the whole gateway, such as whether members may register."""

    __tablename__ = "settings"

    key: Mapped[str] = mapped_column(String(100), primary_key=True)
    value: Mapped[Any] = mapped_column(Json)
    version: Mapped[int] = mapped_column(init=False, nullable=False)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default_factory=now, onupdate=now)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - SQLAlchemy's own form


class Credential(Kept, Base, kw_only=True):
    """Tokens for a server, for everybody or, with a user, for theirs; ``sealed`` is any JSON object, sealed."""

    __tablename__ = "credentials"
    __table_args__ = (
        Index("uq_credentials_server_id_user_id", "server_id", "user_id", unique=True),
        Index(
            "uq_credentials_shared_server_id",
            "server_id",
            unique=True,
            sqlite_where=text("user_id IS NULL"),
            postgresql_where=text("user_id IS NULL"),
        ),
    )

    server_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("servers.id", ondelete="CASCADE"))
    user_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), default=None, index=True
    )
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary, default=None, repr=False)
    expires_at: Mapped[datetime | None] = mapped_column(UTCDateTime, default=None)


class OAuthClient(Kept, Base, kw_only=True):
    """A client of our authorization server; of its secret there is only the digest.

    One that somebody made has an owner, and may act for them by itself; one that registered itself has none.
    """

    __tablename__ = "oauth_clients"

    client_id: Mapped[str] = mapped_column(String(255), unique=True)
    secret_digest: Mapped[bytes | None] = mapped_column(LargeBinary(32), default=None, repr=False)
    name: Mapped[str] = mapped_column(Text, default="")
    redirect_uris: Mapped[list[str]] = mapped_column(Json, default_factory=list)
    attributes: Mapped[dict[str, Any]] = mapped_column(Json, default_factory=dict)
    owner_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), default=None, index=True
    )
    used_at: Mapped[datetime | None] = mapped_column(UTCDateTime, default=None)


class AuditEntry(Base, kw_only=True):
    """Who changed what, when; ``before`` and ``after`` have the columns that differ, without secrets.

    Without foreign keys: it outlives whom and what it tells of. Entries are never changed.
    """

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_object", "object_kind", "object_id"),)

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True, init=False
    )
    at: Mapped[datetime] = mapped_column(UTCDateTime, default_factory=now)
    actor_id: Mapped[uuid.UUID | None] = mapped_column(default=None)
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(String(40))
    object_kind: Mapped[str] = mapped_column(String(40))
    object_id: Mapped[str] = mapped_column(String(255))
    object_name: Mapped[str] = mapped_column(Text, default="")
    before: Mapped[dict[str, Any] | None] = mapped_column(Json, default=None)
    after: Mapped[dict[str, Any] | None] = mapped_column(Json, default=None)


class Revision(Base, kw_only=True):
    """The only row counts the transactions that changed what is served; its lock puts them in order."""

    __tablename__ = "revision"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, default=1)
    number: Mapped[int] = mapped_column(BigInteger, default=0)


class Change(Base, kw_only=True):
    """What a revision changed, so that a process need not read the rest again; old ones are removed."""

    __tablename__ = "changes"

    revision: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    object_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
