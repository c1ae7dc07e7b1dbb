"""The tables of our own authorization server: what people granted to clients, the proofs that these used, and our keys.

Its clients are ``models.OAuthClient``. Knows nothing of the protocol.
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, LargeBinary, String, Text, false
from sqlalchemy.orm import Mapped, mapped_column

from metamcp_asgi.store.columns import Base, Json, Kept, UTCDateTime, now

__all__ = ["OAuthGrant", "OAuthProof", "SigningKey"]


class OAuthGrant(Kept, Base, kw_only=True):
    """What one person let one client do, from the authorization code on; ``name`` is the client's.

    Of the code there is only the digest, and no refresh token at all: those are sealed and carry a ``generation``, of
    which only the latest is good. ``expires_at`` is when the code, and later the newest refresh token, ends.
    ``keyed`` says that the client had keys when it was granted, and has to show that it still has them. Where somebody
    vouched for it instead of a code, the digest and ``code_challenge`` tell by what, the latter for all grants of it.
    """

    __tablename__ = "oauth_grants"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    client_id: Mapped[str] = mapped_column(Text, index=True)
    name: Mapped[str] = mapped_column(Text, default="")
    scope: Mapped[str] = mapped_column(Text, default="")
    audience: Mapped[str] = mapped_column(Text)
    redirect_uri: Mapped[str] = mapped_column(Text)
    code_digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True, repr=False)
    code_challenge: Mapped[str] = mapped_column(String(128), repr=False)
    redeemed_at: Mapped[datetime | None] = mapped_column(UTCDateTime, default=None)
    generation: Mapped[int] = mapped_column(default=0)
    keyed: Mapped[bool] = mapped_column(default=False, server_default=false())
    rotated_at: Mapped[datetime | None] = mapped_column(UTCDateTime, default=None)
    revoked_at: Mapped[datetime | None] = mapped_column(UTCDateTime, default=None)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)


class OAuthProof(Base, kw_only=True):
    """A proof of a client that was used, by its digest, until it has ended and would be good for nothing anyhow."""

    __tablename__ = "oauth_proofs"

    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime)


class SigningKey(Base, kw_only=True):
    """A key that signs access tokens: ``sealed`` is its private half, ``public`` the JWK that everybody may see."""

    __tablename__ = "oauth_keys"

    kid: Mapped[str] = mapped_column(String(64), primary_key=True)
    public: Mapped[dict[str, Any]] = mapped_column(Json)
    sealed: Mapped[bytes] = mapped_column(LargeBinary, repr=False)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default_factory=now)
