"""Lets people in by their password, or as new users: what the settings allow, and not too often.

The one place for the pages and for MetaMCP's JSON routes. Knows nothing of how it is answered.
"""

import hashlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct
from starlette.types import Scope

from metamcp_asgi.asgi.bucket import Bucket, Buckets, Take, WhenAway
from metamcp_asgi.errors import MetaMCPError
from metamcp_asgi.pages.fault import Fault
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.signin.sessions import Sessions
from metamcp_asgi.store.models import User
from metamcp_asgi.store.policy import Acting
from metamcp_asgi.store.services import settings, users
from metamcp_asgi.store.services.inputs import Unknown

__all__ = ["ATTEMPTS", "Entrance", "Refused", "Ways"]

logger = logging.getLogger("metamcp.signin")

ATTEMPTS: Final = (("account and address", 10, 300.0), ("address", 60, 300.0), ("account", 100, 3600.0))
"""How many attempts to sign in there may be in so many seconds: for one account from one address, from one address, and
for one account from everywhere. An account's own limit is the widest, because strangers can use it up."""
_GROUP: Final = "sign-in"


class Refused(Fault):
    """Somebody was not let in.

    Args:
        status: The HTTP status.
        text: Why, marked with ``N_``.
        wait: Seconds after which to try again; 0: at once.
    """

    def __init__(self, status: int, text: str, wait: int = 0) -> None:
        super().__init__(status, text, {"retry-after": str(wait)} if wait else None)
        self.wait = wait


class Ways(Struct, frozen=True):
    """Whether one may sign in with a password, and register with a form; and whether there is no user yet."""

    passwords: bool
    signup: bool
    nobody: bool


class Entrance:
    """Lets people in.

    Args:
        sessions: Where sessions begin.
        take: Takes from buckets that many processes share; ``None``: they are in this process's memory.
        when_away: What happens while shared buckets cannot be reached, as for ``RateLimit``.
        clock: Seconds, never going backwards.
    """

    def __init__(
        self,
        sessions: Sessions,
        *,
        take: Take | None = None,
        when_away: WhenAway = "local",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sessions = sessions
        self._take = take
        self._when_away = when_away
        self._clock = clock
        self._buckets = Buckets()

    async def ways(self) -> Ways:
        """Return what the settings allow at the time."""
        async with (await self.sessions.store()).read() as tx:
            allowed = await settings.switches(tx)
            nobody = not await tx.list(User, limit=1)
        return Ways(allowed["allowPasswordSignIn"], allowed["allowSignup"], nobody)

    async def by_password(self, scope: Scope, email: str, password: str) -> User:
        """Return the user whose email and password these are.

        Raises:
            Refused: They are not, passwords are switched off, the connection is not safe, or it was tried too often.
        """
        await self._admit(scope, email)
        try:
            return await users.log_in(await self.sessions.store(), email, password)
        except Unknown as error:
            logger.warning("A sign-in from %s was refused: %s", _address(scope) or "an unknown address", error)
            raise Refused(401, N_("Email or password is wrong.")) from None

    async def register(self, scope: Scope, email: str, password: str, name: str) -> User:
        """Make a user, who is a member, and return them.

        Raises:
            Refused: Registration is closed, the connection is not safe, it was tried too often, or the email is taken.
            Invalid: The email, name or password is wrong.
        """
        await self._admit(scope, email)
        ways = await self.ways()
        if not ways.signup:
            raise Refused(403, N_("Registration is closed. Ask an admin for an account."))
        password_hash = await users.hashed(password)
        async with (await self.sessions.store()).write(Acting(None, email.strip().lower())) as tx:
            return await users.register(tx, email, name, password_hash)

    async def _admit(self, scope: Scope, email: str) -> None:
        if not self.sessions.place.safe(scope):
            raise Refused(403, N_("Passwords are taken over https:// only, or on the machine of the gateway itself."))
        if not (await self.ways()).passwords:
            raise Refused(403, N_("Signing in with a password is switched off."))
        if wait := await self._wait(scope, email):
            raise Refused(429, N_("Too many attempts. Try again later."), math.ceil(wait))

    async def _wait(self, scope: Scope, email: str) -> float:
        """Count one attempt, and return the seconds until another is looked at, 0.0 if this one is."""
        address = _address(scope)
        # A digest: an email is no name for others to read in Redis, and as short whatever was typed.
        account = hashlib.sha256(email.strip().lower().encode("utf-8", "replace")).hexdigest()[:32]
        names = (f"{account} {address}", f"address {address}", f"account {account}")
        wanted = [(name, most, seconds) for name, (_, most, seconds) in zip(names, ATTEMPTS, strict=True)]
        if self._take is None:
            return self._here(wanted)
        try:
            empty, debts = await self._take(_GROUP, wanted)
        except MetaMCPError:
            return 1.0 if self._when_away == "refuse" else self._here(wanted)
        if empty < 0:
            return 0.0
        _, most, seconds = wanted[empty]
        return max(1.0, Bucket.owing(most, seconds, debts[empty], 0.0).wait(0.0))

    def _here(self, wanted: Sequence[tuple[str, int, float]]) -> float:
        now = self._clock()
        buckets = [self._buckets.get(*each) for each in wanted]
        if wait := max(bucket.wait(now) for bucket in buckets):
            return wait
        for bucket in buckets:
            bucket.take(now)
        return 0.0


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""
