"""What the API answers with: each object as it is shown, without what nobody may read.

What it takes are the inputs of the services. Knows rows; knows nothing of HTTP.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from metamcp_asgi.config.sensitive import masked_args, masked_url
from metamcp_asgi.config.snapshot import ClientStrategy, EraChoice, PrefixRule, Sharing, TransportKind
from metamcp_asgi.store import models
from metamcp_asgi.store.oauth_columns import oauth_document
from metamcp_asgi.store.secrets import ServerSecrets
from metamcp_asgi.store.services.inputs import Member as Given

__all__ = [
    "AuditEntry",
    "AuditPage",
    "Endpoint",
    "EndpointPage",
    "Member",
    "Namespace",
    "NamespacePage",
    "Server",
    "ServerPage",
    "User",
    "UserPage",
]


class Shape(Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of all answers."""


class Kept(Shape, frozen=True, kw_only=True, rename="camel"):
    """What every object has. ``version`` is what its ETag says, too."""

    id: UUID
    version: int
    created_at: datetime
    updated_at: datetime


class Owned(Kept, frozen=True, kw_only=True, rename="camel"):
    """An object that has an owner, or is public: then ``ownerId`` is null."""

    name: str
    owner_id: UUID | None


class Page(Shape, frozen=True, kw_only=True, rename="camel"):
    """A page of a list; ``next`` is the ``after`` of the page that follows, as is the ``Link`` header."""

    next: str | None = None


class Server(Owned, frozen=True, kw_only=True, rename="camel"):
    """A server. Of its secrets there are the names; of ``args`` and ``url``, what looks like a secret is ``***``.

    ``timeout`` is in seconds of silence. ``env``, ``headers`` and ``bearerToken`` are there with ``?secrets=include``.
    """

    description: str
    type: TransportKind
    command: str
    args: Sequence[str]
    cwd: str | None
    url: str
    era: EraChoice
    sharing: Sharing
    timeout: float
    disabled: bool
    env_names: Sequence[str]
    header_names: Sequence[str]
    has_bearer_token: bool
    oauth: Annotated[
        Mapping[str, Any] | None, Meta(description="How tokens for it are got; null: as the server asks for.")
    ]
    has_client_secret: bool
    has_private_key: bool
    sandbox: Annotated[
        Mapping[str, Any] | None,
        Meta(
            description="What its process sees besides the system's programs; null: all that the gateway's user does."
        ),
    ]
    secrets_readable: Annotated[
        bool, Meta(description="False: their key is missing; set them again, or bring the key back.")
    ] = True
    env: Mapping[str, str] | UnsetType = UNSET
    headers: Mapping[str, str] | UnsetType = UNSET
    bearer_token: str | None | UnsetType = UNSET

    @classmethod
    def of(cls, row: models.Server, secrets: ServerSecrets | None, *, include: bool = False) -> "Server":
        """Return a server as it is shown.

        Args:
            row: The server.
            secrets: Its secrets; ``None``: they cannot be opened.
            include: Whether the secrets are shown.
        """
        known = secrets if secrets is not None else ServerSecrets()
        return cls(
            **owned(row),
            description=row.description,
            type=row.type,
            command=row.command,
            args=(known.args or row.args) if include else shown_args(row, known),
            cwd=row.cwd,
            url=(known.url or row.url) if include else shown_url(row, known),
            era=row.era,
            sharing=row.sharing,
            timeout=row.timeout,
            disabled=row.disabled,
            env_names=sorted(known.env),
            header_names=sorted(known.headers),
            has_bearer_token=known.bearer_token is not None,
            oauth=row.oauth,
            has_client_secret=known.client_secret is not None,
            has_private_key=known.private_key is not None,
            sandbox=row.sandbox,
            secrets_readable=secrets is not None,
            env=known.env if include else UNSET,
            headers=known.headers if include else UNSET,
            bearer_token=known.bearer_token if include else UNSET,
        )


class ServerPage(Page, frozen=True, kw_only=True, rename="camel"):
    """A page of servers."""

    items: Sequence[Server]


class Member(Shape, frozen=True, kw_only=True, rename="camel"):
    """A server of a namespace; ``active``: whether it takes part."""

    server_id: UUID
    active: bool


class Namespace(Owned, frozen=True, kw_only=True, rename="camel"):
    """A namespace, its servers in their order.

    ``owner``, an email, and the numbers of ``tools`` and ``endpoints`` are there with ``?details=include``; tools are
    those that are on and offered now, null where nobody can tell.
    """

    description: str
    prefix: PrefixRule
    middlewares: Sequence[Any]
    servers: Sequence[Member]
    owner: str | None | UnsetType = UNSET
    tools: int | None | UnsetType = UNSET
    endpoints: int | UnsetType = UNSET

    @classmethod
    def of(cls, row: models.Namespace, members: Sequence[Given], **more: Any) -> "Namespace":
        """Return a namespace as it is shown, with its members in their order, and with ``more`` of its fields."""
        return cls(
            **owned(row),
            description=row.description,
            prefix=row.prefix,
            middlewares=[
                {each["name"]: each["options"]} if each.get("options") else each["name"] for each in row.middlewares
            ],
            servers=[Member(server_id=member.server_id, active=member.active) for member in members],
            **more,
        )


class NamespacePage(Page, frozen=True, kw_only=True, rename="camel"):
    """A page of namespaces."""

    items: Sequence[Namespace]


class Rate(Shape, frozen=True, kw_only=True, rename="camel"):
    """At most ``maxRate`` requests in ``maxRateSeconds`` seconds."""

    max_rate: int
    max_rate_seconds: float


class ClientRate(Rate, frozen=True, kw_only=True, rename="camel"):
    """A rate for each client, told apart by address, by the value of ``header``, or by its principal."""

    strategy: ClientStrategy
    header: str | None


class Endpoint(Owned, frozen=True, kw_only=True, rename="camel"):
    """An endpoint; ``path`` is where MCP clients find it."""

    owner: Annotated[str | None, Meta(description="The email of the owner.")]
    description: str
    namespace_id: UUID
    namespace: Annotated[str, Meta(description="The name of the namespace.")]
    api_key_auth: bool
    oauth: bool | dict[str, Any]
    query_param_auth: bool
    rate_limit: Rate | None
    client_rate_limit: ClientRate | None
    path: str

    @classmethod
    def of(cls, row: models.Endpoint, namespace: str, owner: str | None) -> "Endpoint":
        """Return an endpoint as it is shown.

        Args:
            row: The endpoint.
            namespace: The name of its namespace.
            owner: The email of its owner.
        """
        rate, client = None, None
        if row.max_rate is not None and row.max_rate_seconds is not None:
            rate = Rate(max_rate=row.max_rate, max_rate_seconds=row.max_rate_seconds)
        if row.client_max_rate is not None and row.client_max_rate_seconds is not None:
            client = ClientRate(
                max_rate=row.client_max_rate,
                max_rate_seconds=row.client_max_rate_seconds,
                strategy=row.client_max_rate_strategy or "ip",
                header=row.client_max_rate_header,
            )
        return cls(
            **owned(row),
            owner=owner,
            description=row.description,
            namespace_id=row.namespace_id,
            namespace=namespace,
            api_key_auth=row.api_key_auth,
            oauth=oauth_document(row),
            query_param_auth=row.query_param_auth,
            rate_limit=rate,
            client_rate_limit=client,
            path=f"/metamcp/{row.name}/mcp",
        )


class EndpointPage(Page, frozen=True, kw_only=True, rename="camel"):
    """A page of endpoints."""

    items: Sequence[Endpoint]


class User(Kept, frozen=True, kw_only=True, rename="camel"):
    """A user. Without a password, they log in elsewhere or not at all."""

    email: str
    name: str
    role: models.Role
    disabled: bool
    has_password: bool

    @classmethod
    def of(cls, row: models.User) -> "User":
        """Return a user as they are shown."""
        return cls(
            **_kept(row),
            email=row.email,
            name=row.name,
            role=row.role,
            disabled=row.disabled,
            has_password=row.password_hash is not None,
        )


class UserPage(Page, frozen=True, kw_only=True, rename="camel"):
    """A page of users."""

    items: Sequence[User]


class AuditEntry(Shape, frozen=True, kw_only=True, rename="camel"):
    """Who did what, when; ``before`` and ``after`` have the fields that differ, without secrets."""

    id: int
    at: datetime
    actor_id: UUID | None
    actor: str
    action: str
    object_kind: str
    object_id: str
    object_name: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None

    @classmethod
    def of(cls, row: models.AuditEntry) -> "AuditEntry":
        """Return an entry as it is shown."""
        return cls(**{name: getattr(row, name) for name in cls.__struct_fields__})


class AuditPage(Page, frozen=True, kw_only=True, rename="camel"):
    """A page of the audit, the latest first."""

    items: Sequence[AuditEntry]


def shown_args(row: models.Server, secrets: ServerSecrets) -> Sequence[str]:
    """Return a server's arguments with ``***`` for what looks like a secret: its column has it where that is sealed."""
    return row.args if secrets.args is not None else masked_args(row.args)


def shown_url(row: models.Server, secrets: ServerSecrets) -> str:
    """Return a server's URL with ``***`` for what looks like a secret: its column has it where that is sealed."""
    return row.url if secrets.url is not None else masked_url(row.url)


def _kept(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Kept.__struct_fields__}


def owned(row: Any) -> dict[str, Any]:
    """Return what an object with an owner has in common with all others."""
    return {name: getattr(row, name) for name in Owned.__struct_fields__}
