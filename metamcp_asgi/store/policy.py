"""Who may do what with which object: every rule of users, roles and ownership, and nothing else.

The one place for the REST API, the command line, the admin pages and the data path. Functions of plain values: knows
the columns of the rows but no database, and neither names nor contents.

- An owner of ``None`` makes a thing public. Members see their own things and public ones, and change their own.
- Admins see and change all, and alone make what is public or starts a process, unless ``Rules`` let members.
- A thing is made of what everybody sees who sees it: what is public only of public things, what is private of its
  owner's and public ones.
- A key is made for oneself or for everybody, never for somebody else, who would seem to have done what it does.
"""

import uuid
from datetime import datetime
from typing import Any, Final, TypeAlias

from msgspec import UNSET, Struct, UnsetType
from sqlalchemy import ColumnElement, or_, true

from metamcp_asgi.store.audit import Actor
from metamcp_asgi.store.errors import StoreError
from metamcp_asgi.store.models import ApiKey, Endpoint, Namespace, Role, Server, User

__all__ = [
    "COMMAND_LINE",
    "LAUNCHING",
    "Acting",
    "Forbidden",
    "Owned",
    "Rules",
    "acting_key",
    "acting_user",
    "check_admin",
    "check_change",
    "check_key_scope",
    "check_launch",
    "check_move",
    "check_own_password",
    "check_public_url",
    "check_reach",
    "key_opens",
    "key_owner",
    "may_change",
    "may_see",
    "new_owner",
    "reaches",
    "visible",
]

Owned: TypeAlias = Server | Namespace | Endpoint | ApiKey
Wanted: TypeAlias = uuid.UUID | None | UnsetType
"""The owner that an input asks for: a user, ``None`` for public, ``UNSET`` for who asks."""


class Forbidden(StoreError):
    """Somebody may not do this (403).

    Args:
        rule: The rule that says so, in short: ``change-own``.
        reason: What it says, and what would be allowed.
    """

    def __init__(self, rule: str, reason: str) -> None:
        self.rule = rule
        super().__init__(reason)


class Acting(Actor, frozen=True):
    """Who does something, and in which role. Without an id, an admin is the operator at the machine."""

    role: Role = "member"

    @property
    def admin(self) -> bool:
        """Whether the role is that of an admin."""
        return self.role == "admin"

    @property
    def operator(self) -> bool:
        """Whether this is the operator at the machine, who is nobody in particular."""
        return self.admin and self.id is None


LAUNCHING: Final = ("type", "command", "args", "env", "cwd", "sandbox")
"""What says of a server which process is started and what that may do, by its names in the configuration file."""
COMMAND_LINE: Final = Acting(None, "system", "admin")
"""The operator at the machine: the command line, and what is set up at start."""


class Rules(Struct, frozen=True, kw_only=True):
    """What the settings of the gateway let members do."""

    members_may_create_stdio: bool = False
    members_may_create_public: bool = False


def acting_user(user: User) -> Acting:
    """Return a user as who acts.

    Raises:
        Forbidden: The user is disabled.
    """
    if user.disabled:
        raise Forbidden("disabled-user", "this user is disabled")
    return Acting(user.id, user.email, user.role)


def acting_key(key: ApiKey, owner: User | None, now: datetime) -> Acting:
    """Return who manages things with a key: its owner, with the owner's role as it is now.

    Args:
        key: The key that was presented.
        owner: Its owner; ``None`` for a public key.
        now: The time, with its zone.

    Raises:
        Forbidden: The key or its owner is disabled, or the key is no longer valid or not for managing.
    """
    if key.disabled:
        raise Forbidden("disabled-key", "this key is disabled")
    if key.expires_at is not None and key.expires_at <= now:
        raise Forbidden("expired-key", "this key has expired")
    if not key.admin or owner is None or owner.id != key.owner_id:
        raise Forbidden("admin-key", "this key is for endpoints only; managing needs an admin-scoped key")
    return acting_user(owner)


def may_see(acting: Acting, row: Owned | User) -> bool:
    """Tell whether somebody may see that an object exists, and read it but for its secrets."""
    if acting.admin:
        return True
    if isinstance(row, User):
        return acting.id is not None and row.id == acting.id
    return row.owner_id is None or row.owner_id == acting.id


def visible(acting: Acting, kind: type[Owned | User]) -> ColumnElement[bool]:
    """Return ``may_see`` as a criterion for queries."""
    if acting.admin:
        return true()
    if kind is User:
        return User.id == acting.id
    columns: Any = kind
    public: ColumnElement[bool] = columns.owner_id.is_(None)
    return public if acting.id is None else or_(public, columns.owner_id == acting.id)


def may_change(acting: Acting, row: Owned) -> bool:
    """Tell whether somebody may change or delete an object, and see its secrets."""
    return acting.admin or (row.owner_id is not None and row.owner_id == acting.id)


def check_change(acting: Acting, row: Owned) -> None:
    """Let pass who may change or delete an object.

    Raises:
        Forbidden: It belongs to somebody else, or is public.
    """
    if not may_change(acting, row):
        whose = "public things are changed by admins only" if row.owner_id is None else "it belongs to somebody else"
        raise Forbidden("change-own", f"members change only what is their own; {whose}")


def check_admin(acting: Acting, what: str) -> None:
    """Let pass who may manage users, settings and the audit.

    Args:
        acting: Who wants to.
        what: What that is, for the error: ``users``.

    Raises:
        Forbidden: Not an admin.
    """
    if not acting.admin:
        raise Forbidden("admin-only", f"only admins manage {what}")


def new_owner(acting: Acting, wanted: Wanted, rules: Rules) -> uuid.UUID | None:
    """Return the owner of a server, namespace or endpoint that somebody makes.

    Raises:
        Forbidden: It would be public, or somebody else's.
    """
    owner = acting.id if wanted is UNSET else wanted
    if acting.admin:
        return owner
    if owner is None and not rules.members_may_create_public:
        raise Forbidden("create-public", "only admins make public things; leave the owner out to make it your own")
    if owner is not None and owner != acting.id:
        raise Forbidden("own-owner", "members make things for themselves; leave the owner out")
    return owner


def check_move(acting: Acting, row: Owned, owner: uuid.UUID | None) -> None:
    """Let pass who may give an object to another owner, or who gives it to nobody else.

    Raises:
        Forbidden: Not an admin.
    """
    if owner != row.owner_id and not acting.admin:
        raise Forbidden("move-owner", "only admins change the owner of a thing, or make it public or private")


def check_launch(acting: Acting, rules: Rules) -> None:
    """Let pass who may decide which process is started on this machine: make a stdio server, or change its command.

    Raises:
        Forbidden: Not an admin, and no setting lets members.
    """
    if not acting.admin and not rules.members_may_create_stdio:
        raise Forbidden("create-stdio", "only admins decide what is started on this machine; use a server with a URL")


def check_public_url(acting: Acting, owner: uuid.UUID | None) -> None:
    """Let pass who may make a server with a URL: a public one is reached wherever it is, on an admin's word.

    Raises:
        Forbidden: It would be public, and is made by a member, whatever the settings let members do.
    """
    if owner is None and not acting.admin:
        raise Forbidden("public-url", "only admins make public servers with a URL; make it your own, or ask an admin")


def reaches(whole: uuid.UUID | None, part: uuid.UUID | None) -> bool:
    """Tell whether a namespace may have a server, or an endpoint a namespace.

    Args:
        whole: The owner of what it would be part of.
        part: The owner of the part.
    """
    return part is None or part == whole


def key_owner(acting: Acting, wanted: Wanted) -> uuid.UUID | None:
    """Return the owner of a key that somebody makes; a key of ``None`` opens what is public, to whoever has it.

    Raises:
        Forbidden: It would be somebody else's, or public by a member.
    """
    owner = acting.id if wanted is UNSET else wanted
    if owner is None:
        if not acting.admin:
            raise Forbidden("public-key", "only admins make public keys; leave the owner out to make it your own")
    elif owner != acting.id and not acting.operator:
        raise Forbidden("own-key", "keys are made for oneself or for everybody, not for somebody else")
    return owner


def check_key_scope(acting: Acting, owner: uuid.UUID | None) -> None:
    """Let pass who may make a key with which things are managed.

    Args:
        acting: Who makes it.
        owner: Whose it will be.

    Raises:
        Forbidden: Not an admin, or not for oneself.
    """
    if not acting.admin:
        raise Forbidden("admin-key", "only admins make keys with which things are managed")
    if owner is None:
        raise Forbidden("admin-key", "a key with which things are managed needs an owner, as whom it acts")
    if owner != acting.id and not acting.operator:
        raise Forbidden("own-key", "an admin-scoped key is made for oneself only")


def key_opens(key: uuid.UUID | None, endpoint: uuid.UUID | None) -> bool:
    """Tell whether a key may open an endpoint, as in MetaMCP (dossier 1.3); its own restrictions come on top.

    Args:
        key: The owner of the key.
        endpoint: The owner of the endpoint.
    """
    return endpoint is None or endpoint == key


def check_own_password(acting: Acting, user: uuid.UUID) -> bool:
    """Tell whether a user has to give the present password to set another one: for one's own, always.

    Raises:
        Forbidden: It is somebody else's, and not an admin who sets it.
    """
    if acting.id == user:
        return True
    check_admin(acting, "other users' passwords")
    return False


def check_reach(whole: uuid.UUID | None, part: uuid.UUID | None, what: str) -> None:
    """Let pass a namespace that gets a server, or an endpoint that gets a namespace, if it may: see ``reaches``.

    Args:
        whole: The owner of what it would be part of.
        part: The owner of the part.
        what: The two of them, for the error: ``a namespace`` and so on.

    Raises:
        Forbidden: It may not, whoever asks.
    """
    if reaches(whole, part):
        return
    if whole is None:
        raise Forbidden("public-of-public", f"{what}: what is public is made of public things only")
    raise Forbidden("own-or-public", f"{what}: what is private is made of its owner's and public things only")
