"""How OAuth clients and grants are shown: never a secret but once, and of a code or token nothing."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta

from metamcp_asgi.admin.api.shapes import Page, Shape
from metamcp_asgi.store import models, oauth_models
from metamcp_asgi.store.services.oauth import KEYED

__all__ = ["Consent", "ConsentPage", "OAuthClient", "OAuthClientMade", "OAuthClientPage"]


class OAuthClient(Shape, frozen=True, kw_only=True, rename="camel"):
    """A client of our authorization server. One with an owner acts for them; one without registered itself."""

    id: UUID
    version: int
    name: str
    client_id: str
    owner_id: UUID | None
    owner: Annotated[str | None, Meta(description="The email of the owner.")]
    redirect_uris: Sequence[str]
    grant_types: Sequence[str]
    has_secret: bool
    has_keys: Annotated[bool, Meta(description="Whether it authenticates with a key of its own (private_key_jwt).")]
    created_at: datetime
    used_at: datetime | None

    @classmethod
    def of(cls, row: models.OAuthClient, emails: Mapping[UUID | None, str], **more: Any) -> Any:
        """Return a client as it is shown.

        Args:
            row: The client.
            emails: Those of users by their ids, its owner's among them.
            more: The fields of a derived class.
        """
        return cls(
            id=row.id,
            version=row.version,
            owner=emails.get(row.owner_id),
            name=row.name,
            client_id=row.client_id,
            owner_id=row.owner_id,
            redirect_uris=row.redirect_uris,
            grant_types=row.attributes.get("grant_types") or (),
            has_secret=row.secret_digest is not None,
            has_keys=row.attributes.get("token_endpoint_auth_method") == KEYED,
            created_at=row.created_at,
            used_at=row.used_at,
            **more,
        )


class OAuthClientMade(OAuthClient, frozen=True, kw_only=True, rename="camel"):
    """A new client, with ``clientSecret`` itself: it is shown this once; ``null`` for one with keys."""

    client_secret: str | None


class OAuthClientPage(Page, frozen=True, kw_only=True, rename="camel"):
    """A page of clients."""

    items: Sequence[OAuthClient]


class Consent(Shape, frozen=True, kw_only=True, rename="camel"):
    """What a person granted to a client; ``name`` is what the client calls itself."""

    id: UUID
    version: int
    name: str
    client_id: str
    user_id: UUID
    user: Annotated[str | None, Meta(description="The email of the person.")]
    scope: str
    audience: str
    created_at: datetime
    expires_at: datetime

    @classmethod
    def of(cls, row: oauth_models.OAuthGrant, emails: Mapping[UUID | None, str]) -> "Consent":
        """Return a grant as it is shown.

        Args:
            row: The grant.
            emails: Those of users by their ids, its person's among them.
        """
        return cls(
            id=row.id,
            version=row.version,
            user=emails.get(row.user_id),
            name=row.name,
            client_id=row.client_id,
            user_id=row.user_id,
            scope=row.scope,
            audience=row.audience,
            created_at=row.created_at,
            expires_at=row.expires_at,
        )


class ConsentPage(Page, frozen=True, kw_only=True, rename="camel"):
    """A page of grants."""

    items: Sequence[Consent]
