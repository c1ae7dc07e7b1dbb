"""How API keys are shown: by their beginning, and as a whole only once."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta

from metamcp_asgi.admin.api.shapes import Owned, Page, owned
from metamcp_asgi.store import models

__all__ = ["Key", "KeyMade", "KeyPage"]


class Key(Owned, frozen=True, kw_only=True, rename="camel"):
    """An API key: its beginning, never the whole. ``endpointIds`` null: all endpoints that its owner may use.

    ``previousUntil`` is until when the key before the last rotation is good, if there is one.
    """

    owner: Annotated[str | None, Meta(description="The email of the owner.")]
    prefix: str
    admin: bool
    endpoint_ids: Sequence[str] | None
    endpoints: Annotated[Sequence[str] | None, Meta(description="The names of the endpoints that there still are.")]
    expires_at: datetime | None
    last_used_at: datetime | None
    disabled: bool
    previous_until: datetime | None

    @classmethod
    def of(cls, row: models.ApiKey, emails: Mapping[UUID | None, str], names: Mapping[str, str], **more: Any) -> Any:
        """Return a key as it is shown.

        Args:
            row: The key.
            emails: Those of users by their ids, its owner's among them.
            names: Those of endpoints by their ids, its own among them.
            more: The fields of a derived class.
        """
        return cls(
            **owned(row),
            owner=emails.get(row.owner_id),
            prefix=row.prefix,
            admin=row.admin,
            endpoint_ids=row.endpoint_ids,
            endpoints=None if row.endpoint_ids is None else sorted(names[e] for e in row.endpoint_ids if e in names),
            expires_at=row.expires_at,
            last_used_at=row.last_used_at,
            disabled=row.disabled,
            previous_until=row.previous_until,
            **more,
        )


class KeyMade(Key, frozen=True, kw_only=True, rename="camel"):
    """A new API key, or one that was rotated, with ``key`` itself: it is shown this once."""

    key: str


class KeyPage(Page, frozen=True, kw_only=True, rename="camel"):
    """A page of API keys."""

    items: Sequence[Key]
