"""Sessions of browsers: a random secret in a cookie, of which the store has the digest.

Knows cookies and the store; knows nothing of how people show who they are, and nothing of pages.
"""

import secrets
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, TypeAlias

from msgspec import Struct
from starlette.types import Scope

from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.pages.place import SESSION, Place
from metamcp_asgi.pages.visit import csrf_token
from metamcp_asgi.store.columns import now
from metamcp_asgi.store.models import SignInMethod, User
from metamcp_asgi.store.policy import Acting, acting_user
from metamcp_asgi.store.repository import SYSTEM, Store
from metamcp_asgi.store.services import web_sessions

__all__ = ["Opened", "Sessions", "SignedIn"]

Opened: TypeAlias = Callable[[], Awaitable[Store]]
"""Gives the open store."""

_LONGEST_SECRET: Final = 128


class SignedIn(Struct, frozen=True, kw_only=True):
    """Who is signed in, as they are now.

    Args:
        acting: The user as who acts, with their present role.
        id: The user's id.
        email: The user's email address.
        name: The user's name; may be empty.
        session: The session's id.
        method: How they signed in.
        since: When they did.
        csrf: The token that their forms must bring.
    """

    acting: Acting
    id: uuid.UUID
    email: str
    name: str
    session: uuid.UUID
    method: SignInMethod
    since: datetime
    csrf: str

    def __repr__(self) -> str:
        return f"SignedIn({self.email!r}, {self.acting.role}, session={self.session})"


class Sessions:
    """The sessions of one gateway.

    Args:
        store: Gives the open store.
        place: Where the gateway is.
    """

    def __init__(self, store: Opened, place: Place) -> None:
        self.store = store
        self.place = place

    async def signed_in(self, scope: Scope) -> SignedIn | None:
        """Return who is signed in, ``None`` when nobody is.

        Args:
            scope: The request.

        Raises:
            ConfigError: The database cannot be used.
            Busy: It cannot be used now.
        """
        secret = self._secret(scope)
        if secret is None:
            return None
        store = await self.store()
        async with store.read() as tx:
            found = await web_sessions.find(tx, digest_of(secret))
        if found is None:
            return None
        session, user = found
        if web_sessions.stale(session):
            async with store.write(SYSTEM) as tx:
                await web_sessions.seen(tx, session.id, now())
        return SignedIn(
            acting=acting_user(user),
            id=user.id,
            email=user.email,
            name=user.name,
            session=session.id,
            method=session.method,
            since=session.created_at,
            csrf=csrf_token(secret.decode("latin-1")),
        )

    async def begin(self, scope: Scope, user: User, method: SignInMethod) -> tuple[bytes, bytes]:
        """Begin a session, in place of the one that the browser is in, and return the header that sets its cookie.

        Args:
            scope: The request.
            user: Who has just shown who they are.
            method: How they did.
        """
        old = self._secret(scope)
        fresh = secrets.token_urlsafe(32)
        async with (await self.store()).write(acting_user(user)) as tx:
            if old is not None:
                await web_sessions.end(tx, digest_of(old))
            await web_sessions.begin(tx, user, digest_of(fresh.encode()), method)
        seconds = int(web_sessions.LONGEST.total_seconds())
        return self.place.set_cookie(scope, SESSION, fresh, seconds)

    async def end(self, scope: Scope) -> tuple[bytes, bytes]:
        """End the session that the browser is in, and return the header that removes its cookie."""
        secret = self._secret(scope)
        if secret is not None:
            async with (await self.store()).write(SYSTEM) as tx:
                await web_sessions.end(tx, digest_of(secret))
        return self.place.set_cookie(scope, SESSION, "", 0)

    def _secret(self, scope: Scope) -> bytes | None:
        secret = self.place.cookie(scope, SESSION)
        return secret.encode("latin-1") if secret is not None and len(secret) <= _LONGEST_SECRET else None
