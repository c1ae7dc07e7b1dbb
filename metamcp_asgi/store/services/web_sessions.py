"""The sessions of people's browsers: begun at sign-in, found by their secret, ended.

A session ends after a time without use, at the latest after a time since its sign-in, with its user's password, and
with its user. Knows secrets only as digests; knows nothing of cookies.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import CursorResult, delete, or_, update

from metamcp_asgi.store.columns import now
from metamcp_asgi.store.errors import NotFound
from metamcp_asgi.store.models import SignInMethod, User, WebSession
from metamcp_asgi.store.policy import Acting, check_admin
from metamcp_asgi.store.transaction import Reader, Writer

__all__ = ["IDLE", "LONGEST", "begin", "end", "end_all", "end_one", "find", "of_user", "seen", "stale"]

IDLE: Final = timedelta(days=1)
"""Without use a session ends after this time."""
LONGEST: Final = timedelta(days=7)
"""A session ends this time after its sign-in, however much it is used; MetaMCP's lasts as long."""
NOTED: Final = timedelta(minutes=5)
"""How old the note of a session's last use may be, so that not every request writes one."""


async def begin(tx: Writer, user: User, digest: bytes, method: SignInMethod) -> WebSession:
    """Begin a session for a user who has just shown who they are, and return it; sessions that are over are removed.

    Args:
        tx: The transaction, of the user.
        user: Who signed in.
        digest: SHA-256 of the secret in the cookie.
        method: How they showed it.
    """
    at = now()
    await tx.session.execute(
        delete(WebSession).where(or_(WebSession.expires_at <= at, WebSession.seen_at <= at - IDLE))
    )
    tx.note("sign-in", user, {"method": method})
    return await tx.add(WebSession(digest=digest, user_id=user.id, method=method, expires_at=at + LONGEST))


async def find(tx: Reader, digest: bytes) -> tuple[WebSession, User] | None:
    """Return the session of a secret, and its user; ``None`` when it is over or its user disabled."""
    session = await tx.find(WebSession, digest=digest)
    if session is None or session.expires_at <= (at := now()) or session.seen_at <= at - IDLE:
        return None
    user = await tx.find(User, id=session.user_id)
    return None if user is None or user.disabled else (session, user)


def stale(session: WebSession) -> bool:
    """Tell whether the last use of a session should be written down anew."""
    return session.seen_at <= now() - NOTED


async def seen(tx: Writer, session: uuid.UUID, at: datetime) -> None:
    """Write down that a session is used; what has ended in the meantime stays so."""
    await tx.session.execute(update(WebSession).where(WebSession.id == session).values(seen_at=at))


async def end(tx: Writer, digest: bytes) -> None:
    """End the session of a secret, if there is one."""
    await tx.session.execute(delete(WebSession).where(WebSession.digest == digest))


async def of_user(tx: Reader, acting: Acting, user: uuid.UUID) -> Sequence[WebSession]:
    """Return the sessions of a user that are not over, the latest used first.

    Args:
        tx: The transaction.
        acting: Who asks: the user, or an admin.
        user: The user's id.

    Raises:
        Forbidden: They are somebody else's, and not an admin who asks.
    """
    if acting.id != user:
        check_admin(acting, "other users' sessions")
    at = now()
    living = (WebSession.user_id == user, WebSession.expires_at > at, WebSession.seen_at > at - IDLE)
    rows = await tx.list(WebSession, *living)
    return sorted(rows, key=lambda row: row.seen_at, reverse=True)


async def end_one(tx: Writer, acting: Acting, user: uuid.UUID, session: uuid.UUID) -> None:
    """End one session of a user.

    Args:
        tx: The transaction.
        acting: Who ends it: the user, or an admin.
        user: The user's id.
        session: The session's id.

    Raises:
        Forbidden: It is somebody else's, and not an admin who ends it.
        NotFound: The user has no such session, or not any more.
    """
    if acting.id != user:
        check_admin(acting, "other users' sessions")
    row = await tx.find(WebSession, id=session, user_id=user)
    if row is None:
        raise NotFound("session", session)
    await tx.session.execute(delete(WebSession).where(WebSession.id == session))


async def end_all(tx: Writer, acting: Acting, user: uuid.UUID, *, but: uuid.UUID | None = None) -> int:
    """End the sessions of a user, and return how many that were.

    Args:
        tx: The transaction.
        acting: Who ends them: the user, or an admin.
        user: The user's id.
        but: A session that stays.

    Raises:
        Forbidden: They are somebody else's, and not an admin who ends them.
    """
    if acting.id != user:
        check_admin(acting, "other users' sessions")
    ended: CursorResult[Any] = await tx.session.execute(  # type: ignore[assignment]
        delete(WebSession).where(WebSession.user_id == user, *([WebSession.id != but] if but else []))
    )
    return ended.rowcount
