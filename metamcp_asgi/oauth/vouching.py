"""What the people's OpenID provider says in a JWT that a client shows, as far as all such JWTs are alike.

Whether the provider signed it, and when it is good; who its person is here: the same as after a sign-in. What else it
must say is the matter of ``assertions`` and ``exchange``.
"""

import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from metamcp_asgi.oauth.errors import OAuthError
from metamcp_asgi.signin.provider import Forged, Known, Provider, ProviderError
from metamcp_asgi.store.models import User
from metamcp_asgi.store.policy import Acting
from metamcp_asgi.store.repository import Store
from metamcp_asgi.store.services.identities import Stranger, Why, user_of
from metamcp_asgi.tokens.claims import LEEWAY

__all__ = ["Vouched", "Vouching"]

logger = logging.getLogger("metamcp.oauth")

_WHY: Final[Mapping[Why, str]] = {
    "closed": "registration by single sign-on is closed",
    "disabled": "their account is disabled",
    "no-email": "it has no email address by which they could be found",
    "password-first": "they must sign in here with their password once, and link the provider",
    "unverified": "the provider does not say that their email address is verified",
}


class Vouched(Struct, frozen=True, kw_only=True):
    """What the provider vouches for: whom a client may act for, where, and how far.

    ``id`` is what it is known by, ``until`` when it ends, ``scope`` is ``None`` where it says nothing of scopes.
    ``once`` says that it is good for one token only; otherwise no token of it may outlive it.
    """

    id: str
    known: Known
    resource: str
    scope: str | None
    until: datetime
    once: bool


class Vouching:
    """Reads JWTs of the provider.

    Args:
        provider: Whose they must be.
        store: Gives the open store.
        what: What such a JWT is called: ``assertion``.
        error: OAuth's name of what is wrong with a bad one.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        provider: Provider,
        store: Callable[[], Awaitable[Store]],
        *,
        what: str,
        error: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.provider = provider
        self._store = store
        self._what = what
        self._error = error
        self._clock = clock

    async def signed(self, text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return header and claims of a JWT that the provider signed.

        Raises:
            OAuthError: It did not, or cannot be asked (503).
        """
        try:
            return await self.provider.read(text)
        except Forged as error:
            raise self.refused(str(error)) from None
        except ProviderError as error:
            logger.error("The OpenID provider: %s", error)
            why = "the OpenID provider cannot be asked for its keys at the moment"
            raise OAuthError("temporarily_unavailable", why, 503, 10) from None

    def check_times(self, claims: Mapping[str, Any], longest: int, begins: tuple[str, ...] = ()) -> None:
        """Let pass what is good at this moment.

        Args:
            claims: What it says.
            longest: Seconds that it may be good from now on.
            begins: Those of ``iat`` and ``nbf`` that it must have.

        Raises:
            OAuthError: It is not, or for too long.
        """
        now, ends = self._clock(), self._seconds(claims, "exp")
        if ends <= now:
            raise self.refused("it has expired")
        if ends > now + longest + LEEWAY:
            raise self.refused(f"it would be good for more than {longest} seconds")
        for name in ("iat", "nbf"):
            if (name in claims or name in begins) and self._seconds(claims, name) > now + LEEWAY:
                raise self.refused(f"its {name} is in the future")

    async def person(self, known: Known) -> User:
        """Return who somebody is here: the same as when they sign in at the provider.

        Raises:
            OAuthError: They are nobody here, or disabled.
        """
        try:
            async with (await self._store()).write(Acting(None, known.email or known.subject)) as tx:
                return await user_of(
                    tx, known.issuer, known.subject, email=known.email, verified=known.verified, name=known.name
                )
        except Stranger as error:
            raise OAuthError(self._error, f"whom it is about is not let in: {_WHY[error.why]}") from None

    def text(self, claims: Mapping[str, Any], name: str) -> str:
        """Return a claim that must be a text.

        Raises:
            OAuthError: It is none.
        """
        value = claims.get(name)
        if not isinstance(value, str) or not value or not value.isprintable():
            raise self.refused(f"its {name} must be text that can be seen")
        return value

    def refused(self, why: str) -> OAuthError:
        """Return the error of a JWT that is not good."""
        return OAuthError(self._error, f"the {self._what} is refused: {why}")

    def _seconds(self, claims: Mapping[str, Any], name: str) -> float:
        value = claims.get(name)
        endless = isinstance(value, float) and not math.isfinite(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or endless:
            raise self.refused(f"its {name} must be a number of seconds")
        return value
