"""What people give to make or change an object, as typed data, and what is said when it is wrong.

The names in JSON are those of the configuration file. Knows nothing of the store.
"""

import uuid
from datetime import datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from metamcp_asgi.config.snapshot import ClientStrategy
from metamcp_asgi.store.errors import StoreError
from metamcp_asgi.store.models import Role

__all__ = [
    "EndpointChanges",
    "Invalid",
    "KeyChanges",
    "Member",
    "NamespaceChanges",
    "NewEndpoint",
    "NewKey",
    "NewNamespace",
    "NewOAuthClient",
    "NewServer",
    "NewUser",
    "Rotation",
    "ServerChanges",
    "ToolChanges",
    "Unknown",
    "UserChanges",
    "given",
]


class Invalid(StoreError):
    """Something that was given is not possible (422).

    Args:
        field: Which part of the input, by its name in JSON: ``args[0]``; empty for the whole.
        reason: What is wrong and what would be right.
    """

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        self.reason = reason
        super().__init__(f"{field}: {reason}" if field else reason)


class Unknown(StoreError):
    """Nobody is known by what was presented (401); it does not tell what was wrong about it."""


class _Input(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    """What is ``UNSET`` stays as it is, or has its default."""


class ServerChanges(_Input, frozen=True, kw_only=True):
    """Changes of a server, in the words of an entry of ``mcpServers``.

    ``env``, ``headers`` and ``oauth`` are merged by name, and ``null`` removes one (RFC 7396), so that nobody needs to
    know the others; ``owner_id`` of ``null`` is public. With another ``type``, what does not go with it is dropped.
    """

    name: str | UnsetType = UNSET
    owner_id: uuid.UUID | None | UnsetType = UNSET
    description: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    command: str | UnsetType = UNSET
    args: list[str] | UnsetType = UNSET
    env: dict[str, str | None] | UnsetType = UNSET
    cwd: str | None | UnsetType = UNSET
    url: str | UnsetType = UNSET
    headers: dict[str, str | None] | UnsetType = UNSET
    bearer_token: str | None | UnsetType = UNSET
    oauth: Annotated[
        dict[str, Any] | bool | None | UnsetType,
        Meta(
            description='How tokens for it are got, as in the file: JSON, such as {"grant": "user"}; false for never.'
        ),
    ] = UNSET
    sandbox: Annotated[
        dict[str, Any] | bool | None | UnsetType,
        Meta(
            description='What its process sees: JSON, such as {"network": true, "read": ["/srv/data"]}; null for all.'
        ),
    ] = UNSET
    era: str | UnsetType = UNSET
    sharing: str | UnsetType = UNSET
    timeout: float | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, <hidden>)"


class NewServer(ServerChanges, frozen=True, kw_only=True):
    """A new server; without ``type``, that is told by ``command`` or ``url``."""

    name: str


class Member(_Input, frozen=True, kw_only=True):
    """A server's place in a namespace, and whether it takes part there."""

    server_id: uuid.UUID
    active: bool = True


class NamespaceChanges(_Input, frozen=True, kw_only=True):
    """Changes of a namespace; ``servers`` and ``middlewares`` are the whole new list, in order."""

    name: str | UnsetType = UNSET
    owner_id: uuid.UUID | None | UnsetType = UNSET
    description: str | UnsetType = UNSET
    prefix: str | UnsetType = UNSET
    middlewares: list[str | dict[str, Any]] | UnsetType = UNSET
    servers: list[Member] | UnsetType = UNSET


class NewNamespace(NamespaceChanges, frozen=True, kw_only=True):
    """A new namespace."""

    name: str


class ToolChanges(_Input, frozen=True, kw_only=True):
    """Changes of what a namespace makes of a tool; ``null`` is the server's own value."""

    enabled: bool | UnsetType = UNSET
    name: str | None | UnsetType = UNSET
    title: str | None | UnsetType = UNSET
    description: str | None | UnsetType = UNSET
    annotations: dict[str, Any] | None | UnsetType = UNSET


class RateLimitInput(_Input, frozen=True, kw_only=True):
    """At most so many requests in so many seconds."""

    max_rate: int
    max_rate_seconds: float


class ClientRateLimitInput(RateLimitInput, frozen=True, kw_only=True):
    """A limit for each client, told apart by address, by a header, or by who it is."""

    strategy: ClientStrategy
    header: str | UnsetType = UNSET


class EndpointChanges(_Input, frozen=True, kw_only=True):
    """Changes of an endpoint; a limit of ``null`` is none."""

    name: str | UnsetType = UNSET
    owner_id: uuid.UUID | None | UnsetType = UNSET
    description: str | UnsetType = UNSET
    namespace_id: uuid.UUID | UnsetType = UNSET
    api_key_auth: bool | UnsetType = UNSET
    oauth: bool | dict[str, Any] | UnsetType = UNSET
    query_param_auth: bool | UnsetType = UNSET
    rate_limit: RateLimitInput | None | UnsetType = UNSET
    client_rate_limit: ClientRateLimitInput | None | UnsetType = UNSET


class NewEndpoint(EndpointChanges, frozen=True, kw_only=True):
    """A new endpoint, which requires a key unless it says otherwise."""

    name: str
    namespace_id: uuid.UUID


class KeyChanges(_Input, frozen=True, kw_only=True):
    """Changes of a key; ``endpoint_ids`` of ``null`` are all that its owner may use. Its owner stays."""

    name: str | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    admin: bool | UnsetType = UNSET
    endpoint_ids: list[uuid.UUID] | None | UnsetType = UNSET
    expires_at: datetime | None | UnsetType = UNSET


class NewKey(KeyChanges, frozen=True, kw_only=True):
    """A new key."""

    name: str
    owner_id: uuid.UUID | None | UnsetType = UNSET


class Rotation(_Input, frozen=True, kw_only=True):
    """How a key is rotated: how long the one before is still good, in seconds; 0: not at all."""

    grace_seconds: Annotated[int, Meta(ge=0, le=30 * 86400)] = 86400


class NewOAuthClient(_Input, frozen=True, kw_only=True):
    """A new OAuth client, which acts for its owner by itself; with ``token_exchange`` for others, by their tokens.

    One with ``jwks``, its public keys, gets no secret.
    """

    name: str
    owner_id: uuid.UUID | None | UnsetType = UNSET
    token_exchange: bool = False
    jwks: dict[str, Any] | None = None


class UserChanges(_Input, frozen=True, kw_only=True):
    """Changes of a user."""

    email: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET


class NewUser(UserChanges, frozen=True, kw_only=True):
    """A new user; without a password, one who logs in elsewhere."""

    email: str
    password: str | None = None

    def __repr__(self) -> str:
        return f"NewUser(email={self.email!r}, <hidden>)"


def given(changes: Struct) -> dict[str, Any]:
    """Return what is not ``UNSET``, by the names of its fields."""
    values = {field: getattr(changes, field) for field in changes.__struct_fields__}
    return {field: value for field, value in values.items() if value is not UNSET}
