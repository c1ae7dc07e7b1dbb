"""Users: made, changed and removed; their passwords, and who they are after they have logged in.

The first user is an admin, and there is always one who can log in as such. Passwords are hashed at once, and neither
kept nor told.
"""

import re
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from metamcp_asgi.store.consequences import names_gone_with
from metamcp_asgi.store.errors import NotFound
from metamcp_asgi.store.models import User
from metamcp_asgi.store.passwords import hash_password, needs_rehash, verify_nothing, verify_password
from metamcp_asgi.store.policy import (
    Acting,
    Forbidden,
    acting_user,
    check_admin,
    check_own_password,
    visible,
)
from metamcp_asgi.store.repository import Store
from metamcp_asgi.store.services import web_sessions
from metamcp_asgi.store.services.fragments import short_text
from metamcp_asgi.store.services.inputs import Invalid, NewUser, Unknown, UserChanges, given
from metamcp_asgi.store.services.rows import assign, check_unique, check_version, having, seen
from metamcp_asgi.store.services.settings import switches
from metamcp_asgi.store.transaction import Reader, Writer

__all__ = [
    "acting",
    "by_email",
    "create",
    "delete",
    "emails",
    "get",
    "hashed",
    "list_",
    "log_in",
    "put_password",
    "register",
    "set_password",
    "things",
    "update",
]

_EMAIL: Final = re.compile(r"[^\s@\0]+@[^\s@\0]+")
_LONGEST_EMAIL: Final = 320
_LONGEST_NAME: Final = 200


async def get(tx: Reader, acting: Acting, identity: uuid.UUID) -> User:
    """Return a user.

    Raises:
        NotFound: There is none that they may see.
    """
    return await seen(tx, acting, User, identity)


async def by_email(tx: Reader, acting: Acting, email: str) -> User:
    """Return the user of an email address, in whatever case.

    Raises:
        NotFound: There is none that they may see.
    """
    row = await tx.find(User, email=email.strip().lower())
    if row is None:
        raise NotFound("user", email)
    return await seen(tx, acting, User, row.id)


async def list_(
    tx: Reader,
    acting: Acting,
    *,
    search: str | None = None,
    after: tuple[Any, ...] | None = None,
    limit: int | None = None,
) -> Sequence[User]:
    """Return the users that somebody may see, by email: of a member, that is themselves.

    Args:
        tx: The transaction.
        acting: Who asks.
        search: What their email or name has in it, in whatever case.
        after: The place after which to begin.
        limit: How many at most.
    """
    where = [visible(acting, User)]
    if search:
        where.append(having(search, User.email, User.name))
    return await tx.list(User, *where, after=after, limit=limit)


async def emails(tx: Reader, ids: Collection[uuid.UUID | None]) -> Mapping[uuid.UUID | None, str]:
    """Return the email addresses of users, by their ids."""
    return {row.id: row.email for row in await tx.list(User, User.id.in_([each for each in ids if each is not None]))}


async def create(tx: Writer, acting: Acting, new: NewUser, password_hash: str | None = None) -> User:
    """Make a user, and return them; the first one is an admin.

    Args:
        tx: The transaction.
        acting: Who makes them.
        new: The user.
        password_hash: Of the password, from ``hashed``; ``None``: it is made here, and other writers wait meanwhile.

    Raises:
        Forbidden: Not an admin.
        Invalid: The email, name or password is wrong.
        Duplicate: There is a user of this email.
    """
    check_admin(acting, "users")
    columns = _columns(given(new))
    await check_unique(tx, User, email=columns["email"])
    if new.password is not None:
        columns["password_hash"] = password_hash or await hashed(new.password)
    if not await tx.list(User, limit=1):
        columns["role"] = "admin"
    return await tx.add(User(**columns))


async def hashed(password: str) -> str:
    """Return the hash of a new password, to be made before a transaction: nobody holds up who writes meanwhile.

    Raises:
        Invalid: It is too short or too long.
    """
    try:
        return await hash_password(password)
    except ValueError as error:
        raise Invalid("password", str(error)) from None


async def register(tx: Writer, email: str, name: str, password_hash: str | None = None) -> User:
    """Make a user who asks for it, and return them: always a member, even the first. Whether they may is asked before.

    Args:
        tx: The transaction.
        email: Their email address.
        name: Their name; may be empty.
        password_hash: Of their password, from ``hashed``; ``None``: they have none.

    Raises:
        Invalid: The email or name is wrong.
        Duplicate: There is a user of this email.
    """
    columns = _columns({"email": email, "name": name})
    await check_unique(tx, User, email=columns["email"])
    return await tx.add(User(**columns, password_hash=password_hash))


async def update(
    tx: Writer, acting: Acting, identity: uuid.UUID, changes: UserChanges, *, version: int | None = None
) -> User:
    """Change a user, and return them; members change their own name only.

    Raises:
        NotFound: There is none that they may see.
        Forbidden: Not an admin, or no admin would be left.
        Invalid: The email or name is wrong.
        Duplicate: There is another user of this email.
        Conflict: It has another version.
    """
    row = await seen(tx, acting, User, identity)
    columns = _columns(given(changes))
    differing = {name for name, value in columns.items() if getattr(row, name) != value}
    if differing - {"name"}:
        check_admin(acting, "users; a member changes their own name and password")
    check_version(row, version)
    if "email" in columns:
        await check_unique(tx, User, row, email=columns["email"])
    if columns.get("role", row.role) != "admin" or columns.get("disabled", row.disabled):
        await _check_admin_left(tx, row)
    if columns.get("disabled"):
        # Sessions would be there again as soon as the user is enabled.
        await web_sessions.end_all(tx, acting, identity)
    assign(row, columns)
    await tx.flush()
    return row


async def delete(tx: Writer, acting: Acting, identity: uuid.UUID, *, version: int | None = None) -> None:
    """Remove a user with all that is theirs.

    Raises:
        NotFound: There is none that they may see.
        Forbidden: Not an admin, or no admin would be left.
        Conflict: It has another version.
    """
    row = await seen(tx, acting, User, identity)
    check_admin(acting, "users")
    check_version(row, version)
    await _check_admin_left(tx, row)
    await tx.delete(row)


async def things(tx: Reader, acting: Acting, identity: uuid.UUID) -> Mapping[str, Sequence[str]]:
    """Return the names of what would be removed with a user, by kinds of which there is any.

    Raises:
        NotFound: There is none that they may see.
    """
    return await names_gone_with(tx.session, await seen(tx, acting, User, identity))


async def set_password(
    store: Store,
    acting: Acting,
    identity: uuid.UUID,
    password: str,
    *,
    current: str | None = None,
    session: uuid.UUID | None = None,
) -> User:
    """Set a user's password, and return them; they are signed out everywhere else. Other writers wait for no hashing.

    Args:
        store: The store.
        acting: Who sets it: the user, or an admin.
        identity: The user's id.
        password: The new password.
        current: The present one, which users need to give for their own.
        session: The session in which it is set, and which stays.

    Raises:
        NotFound: There is none that they may see.
        Forbidden: It is somebody else's, and not an admin who sets it.
        Invalid: The present password is wrong, or the new one too short or too long.
    """
    async with store.read() as reading:
        stored = (await seen(reading, acting, User, identity)).password_hash
    own = check_own_password(acting, identity)
    wrong = Invalid("current", "is not the present password")
    if own and not await verify_password(stored, current or ""):
        raise wrong
    password_hash = await hashed(password)
    async with store.write(acting) as tx:
        row = await seen(tx, acting, User, identity)
        # It may have been set anew in the meantime, which then counts.
        if own and row.password_hash != stored:
            raise wrong
        return await put_password(tx, acting, row, password_hash, session=session)


async def put_password(
    tx: Writer, acting: Acting, row: User, password_hash: str, *, session: uuid.UUID | None = None
) -> User:
    """Set a user's password to one that has this hash, from ``hashed``; whether one may is asked before.

    Args:
        tx: The transaction.
        acting: Who sets it.
        row: The user.
        password_hash: The hash.
        session: The session which stays; all others end.
    """
    row.password_hash = password_hash
    await tx.flush()
    # Whoever else knew the old one is not signed in any more either.
    await web_sessions.end_all(tx, acting, row.id, but=session)
    return row


async def log_in(store: Store, email: str, password: str) -> User:
    """Return the user whose email and password these are; takes as long when there is none.

    A hash of MetaMCP's, or of an older cost, is replaced while the password is at hand.

    Raises:
        Unknown: Email or password is wrong, or the user is disabled.
        Forbidden: Signing in with a password is switched off.
    """
    async with store.read() as tx:
        if not (await switches(tx))["allowPasswordSignIn"]:
            raise Forbidden("password-sign-in", "signing in with a password is switched off")
        row = await tx.find(User, email=email.strip().lower()) if _EMAIL.fullmatch(email.strip()) else None
    stored = row.password_hash if row is not None else None
    if row is None or stored is None or row.disabled:
        await verify_nothing(password)
        raise Unknown("email or password is wrong")
    if not await verify_password(stored, password):
        raise Unknown("email or password is wrong")
    if not needs_rehash(stored):
        return row
    try:
        fresh = await hash_password(password)
    except ValueError:
        # MetaMCP's may be shorter than ours; it stays as it is until the user sets another one.
        return row
    async with store.write(acting_user(row)) as tx:
        row = await tx.get(User, row.id)
        # It may have been set anew in the meantime, which then counts.
        if row.password_hash == stored:
            row.password_hash = fresh
    return row


async def acting(tx: Reader, identity: uuid.UUID) -> Acting:
    """Return a user who has logged in as who acts, with the role that they have now.

    Raises:
        Unknown: The user is gone or disabled.
    """
    row = await tx.find(User, id=identity)
    try:
        if row is not None:
            return acting_user(row)
    except Forbidden:
        pass  # as if there were none
    raise Unknown("this user is not known")


def _columns(values: dict[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {key: values[key] for key in ("role", "disabled") if key in values}
    if "email" in values:
        email = short_text("email", values["email"], _LONGEST_EMAIL).lower()
        if not _EMAIL.fullmatch(email):
            raise Invalid("email", "must be an email address, such as name@example.org")
        columns["email"] = email
    if "name" in values:
        columns["name"] = short_text("name", values["name"], _LONGEST_NAME) if values["name"].strip() else ""
    return columns


async def _check_admin_left(tx: Reader, leaving: User) -> None:
    """Let pass a user who is no admin, or not the last one.

    Raises:
        Forbidden: Nobody could manage users any more.
    """
    if leaving.role != "admin" or leaving.disabled:
        return
    others = await tx.list(User, User.role == "admin", User.disabled.is_(False), User.id != leaving.id, limit=1)
    if not others:
        raise Forbidden("last-admin", "this is the last admin; make another user an admin first")
