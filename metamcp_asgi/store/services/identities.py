"""Who somebody is here whom an OpenID provider knows: linked once, by issuer and subject, for good.

An email address alone makes nobody somebody else. It links when the provider has verified it, and the account cannot be
another person's who chose that address: it was made by an admin without a password, or its user is signed in with it
right now, or passwords are switched off, so that nobody can sign in with the one it has.
"""

import uuid
from typing import Literal, TypeAlias

from metamcp_asgi.store.errors import StoreError
from metamcp_asgi.store.models import Identity, User
from metamcp_asgi.store.policy import Acting
from metamcp_asgi.store.services import users, web_sessions
from metamcp_asgi.store.services.inputs import Invalid
from metamcp_asgi.store.services.settings import switches
from metamcp_asgi.store.transaction import Writer

__all__ = ["Stranger", "Why", "user_of"]

Why: TypeAlias = Literal["closed", "disabled", "no-email", "password-first", "unverified"]


class Stranger(StoreError):
    """Whom the provider knows is nobody here, and does not become somebody.

    Args:
        why: Why not.
    """

    def __init__(self, why: Why) -> None:
        self.why = why
        super().__init__(f"whom the provider knows is not let in: {why}")


async def user_of(
    tx: Writer,
    issuer: str,
    subject: str,
    *,
    email: str,
    verified: bool | None,
    name: str,
    signed_in: uuid.UUID | None = None,
) -> User:
    """Return the user that somebody is, who is linked or made when they come for the first time.

    Args:
        tx: The transaction.
        issuer: The provider.
        subject: Who it is there.
        email: Their email address, lower case; may be empty.
        verified: Whether the provider says that it is theirs.
        name: Their name; may be empty.
        signed_in: The user who is signed in in this browser at the moment.

    Raises:
        Stranger: They are nobody here.
    """
    known = await tx.find(Identity, issuer=issuer, subject=subject)
    if known is not None:
        user = await tx.get(User, known.user_id)
    else:
        if not email:
            raise Stranger("no-email")
        found = await tx.find(User, email=email)
        user = (
            await _made(tx, email, name, verified) if found is None else await _linked(tx, found, verified, signed_in)
        )
        await tx.add(Identity(issuer=issuer, subject=subject, user_id=user.id))
        tx.note("link", user, {"issuer": issuer, "subject": subject})
    if user.disabled:
        raise Stranger("disabled")
    return user


async def _made(tx: Writer, email: str, name: str, verified: bool | None) -> User:
    if not (await switches(tx))["allowSsoSignup"]:
        raise Stranger("closed")
    # Providers of one company often say nothing; to say that it is not theirs is another matter.
    if verified is False:
        raise Stranger("unverified")
    try:
        return await users.register(tx, email, name)
    except Invalid:
        raise Stranger("no-email") from None


async def _linked(tx: Writer, user: User, verified: bool | None, signed_in: uuid.UUID | None) -> User:
    if verified is not True:
        raise Stranger("unverified")
    if signed_in == user.id:
        return user
    if user.password_hash is None:
        if await tx.find(Identity, user_id=user.id) is None:
            return user
        # Somebody whom a provider knew under this address has it already.
        raise Stranger("closed")
    if (await switches(tx))["allowPasswordSignIn"]:
        raise Stranger("password-first")
    # Whoever knows the password shall not be in the account when passwords are switched on again.
    user.password_hash = None
    await web_sessions.end_all(tx, Acting(user.id, user.email), user.id)
    return user
