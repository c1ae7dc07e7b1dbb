"""What a transaction changed: noticed as it is written, and told as audit entries and as changes of what is served.

Knows which columns hold secrets, and never tells what is in them. Knows nothing of who may do what.
"""

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import inspect
from sqlalchemy.orm import Session

from metamcp_asgi.config.middlewares import masked_options
from metamcp_asgi.config.sensitive import masked_args, masked_url
from metamcp_asgi.store.models import (
    ApiKey,
    AuditEntry,
    Credential,
    Endpoint,
    Membership,
    Namespace,
    OAuthClient,
    Server,
    Setting,
    ToolSetting,
    User,
)
from metamcp_asgi.store.oauth_models import OAuthGrant

__all__ = ["KINDS", "NOBODY", "SYSTEM", "Actor", "Recorder", "kind_of"]


class Actor(Struct, frozen=True):
    """Who changes something; ``id`` is ``None`` for what the gateway does by itself or its command line."""

    id: uuid.UUID | None
    name: str


SYSTEM: Final = Actor(None, "system")
NOBODY: Final = uuid.UUID(int=0)

KINDS: Final[dict[type, str]] = {
    User: "user",
    Server: "server",
    Namespace: "namespace",
    Membership: "membership",
    ToolSetting: "tool_setting",
    Endpoint: "endpoint",
    ApiKey: "api_key",
    Setting: "setting",
    Credential: "credential",
    OAuthClient: "oauth_client",
    OAuthGrant: "oauth_grant",
}
"""The kinds of rows that people change, under the names that errors and audit entries call them."""

_SECRET: Final = frozenset(
    {
        "secrets",
        "sealed",
        "password_hash",
        "digest",
        "previous_digest",
        "secret_digest",
        "code_digest",
        "code_challenge",
    }
)
_BOOKKEEPING: Final = frozenset({"id", "version", "created_at", "updated_at"})


def kind_of(row: type) -> str:
    """Return the name of a class of rows."""
    return KINDS.get(row, row.__name__.lower())


class _Noticed(Struct):
    row: Any
    action: str
    before: dict[str, Any]
    after: dict[str, Any]


class Recorder:
    """Notices what one session writes.

    Args:
        actor: Who does it.
    """

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._noticed: dict[tuple[str, object], _Noticed] = {}
        self._notes: list[AuditEntry] = []
        self._gone: dict[int, dict[str, Any]] = {}

    def before_flush(self, session: Session, context: object, instances: object) -> None:
        """Notice what is about to be written; SQLAlchemy's event of that name."""
        for row in session.new:
            self._notice(row, "create", {}, _values(row))
        for row in session.dirty:
            before, after = _difference(row)
            if after:
                self._notice(row, "update", before, after)
        for row in session.deleted:
            self._notice(row, "delete", {**_values(row), **self._gone.pop(id(row), {})}, {})

    def gone(self, row: object, more: Mapping[str, list[str]]) -> None:
        """Notice what the database will remove with a row that is about to be deleted; names by their kind."""
        if more:
            self._gone[id(row)] = {"with": dict(more)}

    def note(self, action: str, row: object, after: dict[str, Any] | None = None) -> None:
        """Notice an action that changes no row of its own."""
        self._notes.append(self._entry(row, action, None, after))

    def entries(self) -> list[AuditEntry]:
        """Return the audit entries of all that was noticed."""
        noticed = self._noticed.values()
        return [self._entry(n.row, n.action, n.before or None, n.after or None) for n in noticed] + self._notes

    def changes(self) -> set[tuple[str, uuid.UUID]]:
        """Return kind and id of the things whose compiled form may differ now."""
        return {change for noticed in self._noticed.values() for change in _changes(noticed)}

    def _notice(self, row: object, action: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        kind = KINDS.get(type(row))
        if kind is None:
            return
        earlier = self._noticed.get((kind, _identity(row)))
        if earlier is None:
            self._noticed[kind, _identity(row)] = _Noticed(row, action, before, after)
        elif action == "delete" and earlier.action == "create":
            del self._noticed[kind, _identity(row)]
        else:
            # Of a row that is written twice in one transaction: what it was at first, and what it became at last.
            earlier.before = before | earlier.before
            earlier.after = {} if action == "delete" else earlier.after | after
            earlier.action = action if action == "delete" else earlier.action

    def _entry(
        self, row: object, action: str, before: dict[str, Any] | None, after: dict[str, Any] | None
    ) -> AuditEntry:
        return AuditEntry(
            actor_id=self._actor.id,
            actor=self._actor.name,
            action=action,
            object_kind=kind_of(type(row)),
            object_id=str(_identity(row)),
            object_name=next(
                (str(value) for name in ("email", "tool", "name", "key") if (value := getattr(row, name, None))), ""
            ),
            before=before,
            after=after,
        )


def _identity(row: object) -> object:
    return row.key if isinstance(row, Setting) else getattr(row, "id", "")


def _changes(noticed: _Noticed) -> Iterator[tuple[str, uuid.UUID]]:
    row = noticed.row
    if isinstance(row, User):
        # All that belonged to a user went with them.
        yield ("all", NOBODY) if noticed.action == "delete" else ("user", row.id)
    elif isinstance(row, Membership | ToolSetting):
        yield "namespace", row.namespace_id
    elif isinstance(row, Setting):
        yield "setting", NOBODY
    elif isinstance(row, OAuthGrant) and "revoked_at" in noticed.after:
        yield "oauth_grant", row.id
    elif isinstance(row, OAuthClient) and row.owner_id is not None:
        yield "oauth_client", row.id
    elif isinstance(row, Server | Namespace | Endpoint | ApiKey | Credential):
        yield KINDS[type(row)], row.id


def _values(row: object) -> dict[str, Any]:
    return {
        name: _told(name, value)
        for name in inspect(row).mapper.column_attrs.keys()  # noqa: SIM118 - not a dictionary
        if name not in _BOOKKEEPING and (value := getattr(row, name)) is not None
    }


def _difference(row: object) -> tuple[dict[str, Any], dict[str, Any]]:
    before, after = {}, {}
    state = inspect(row)
    for name in state.mapper.column_attrs.keys():  # noqa: SIM118
        history = state.attrs[name].history
        if name in _BOOKKEEPING or not history.has_changes():
            continue
        before[name] = _told(name, history.deleted[0] if history.deleted else None)
        after[name] = _told(name, history.added[0] if history.added else None)
    return before, after


def _told(name: str, value: Any) -> Any:
    """Return a column's value as JSON that anybody who reads the audit may see."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if name in _SECRET:
        return "(secret)"
    if name == "url":
        return masked_url(value)
    if name == "middlewares":
        return [{"name": each["name"], "options": masked_options(each.get("options") or {})} for each in value]
    if name == "args":
        return masked_args(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, uuid.UUID) else value
