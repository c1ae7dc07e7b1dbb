"""What the OpenID provider vouches for: assertions that let a client have an access token, read and checked (ID-JAG).

By draft-ietf-oauth-identity-assertion-authz-grant, as it is used by MCP's extension
``io.modelcontextprotocol/enterprise-managed-authorization``: an organization says at its provider which client may use
which MCP server for whom, and nobody is asked again. Knows whom an assertion is about; whether it came before is
``grants``' matter.
"""

import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct

from metamcp_asgi.oauth.errors import OAuthError
from metamcp_asgi.oauth.metadata import Client
from metamcp_asgi.signin.provider import Forged, Known, Provider, ProviderError, known_of
from metamcp_asgi.store.models import User
from metamcp_asgi.store.policy import Acting
from metamcp_asgi.store.repository import Store
from metamcp_asgi.store.services.identities import Stranger, Why, user_of

__all__ = ["ID_JAG_PROFILE", "Assertions", "Vouched"]

logger = logging.getLogger("metamcp.oauth")

ID_JAG_PROFILE: Final = "urn:ietf:params:oauth:grant-profile:id-jag"

_TYPE: Final = "oauth-id-jag+jwt"
LONGEST_SECONDS: Final = 3600
"""How long an assertion may be good from now on: it is for one use, and at once."""
LEEWAY: Final = 30
"""Seconds by which the provider's clock may be ahead of ours; nothing is added to an assertion's life."""

_WHY: Final[Mapping[Why, str]] = {
    "closed": "registration by single sign-on is closed",
    "disabled": "their account is disabled",
    "no-email": "the assertion has no email address by which they could be found",
    "password-first": "they must sign in here with their password once, and link the provider",
    "unverified": "the provider does not say that their email address is verified",
}


class Vouched(Struct, frozen=True, kw_only=True):
    """What an assertion says: whom the client may act for, where, and how far.

    ``id`` is what it is known by, ``until`` when it ends, ``scope`` is ``None`` where it says nothing of scopes.
    """

    id: str
    known: Known
    resource: str
    scope: str | None
    until: datetime


class Assertions:
    """Reads assertions.

    Args:
        provider: Whose they must be.
        store: Gives the open store.
        clock: Seconds since 1970.
    """

    def __init__(
        self, provider: Provider, store: Callable[[], Awaitable[Store]], clock: Callable[[], float] = time.time
    ) -> None:
        self._provider = provider
        self._store = store
        self._clock = clock

    async def read(self, text: str, client: Client, issuer: str) -> Vouched:
        """Return what an assertion says.

        Args:
            text: The assertion.
            client: Who shows it.
            issuer: We, to whom it must be addressed.

        Raises:
            OAuthError: It is not good, or not for this client; or the provider cannot be asked (503).
        """
        if client.secret_digest is None:  # security considerations, "Client Authentication"
            raise OAuthError("unauthorized_client", "only a client with a secret may show an assertion")
        if not text:
            raise OAuthError("invalid_request", "assertion is missing")
        header, claims = await self._signed(text)
        kind = header.get("typ")
        if not isinstance(kind, str) or kind.lower().removeprefix("application/") != _TYPE:
            raise _invalid(f'the typ of its header must be "{_TYPE}"')
        self._check_times(claims)
        audience = claims.get("aud")
        if audience not in (issuer, [issuer], f"{issuer}/", [f"{issuer}/"]):
            raise _invalid(f"its aud must be our issuer, {issuer}, and nobody else")
        if claims.get("client_id") != client.client_id:
            raise _invalid("its client_id is not the client that shows it")
        if "cnf" in claims:  # what we would give for it could be used by anybody who has it
            raise _invalid("it is bound to a key (cnf), and tokens of ours are not")
        identity = _text(claims, "jti")
        resource = claims.get("resource")
        if isinstance(resource, list) and len(resource) == 1:
            resource = resource[0]
        if not isinstance(resource, str):
            raise OAuthError("invalid_target", "the assertion's resource must be the URL of one endpoint")
        scope = claims.get("scope")
        if not isinstance(scope, str | None):
            raise _invalid("its scope must be a text")
        _text(claims, "sub")
        until = datetime.fromtimestamp(claims["exp"], UTC)
        return Vouched(id=identity, known=known_of(claims), resource=resource, scope=scope or None, until=until)

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
            raise OAuthError("invalid_grant", f"whom it is about is not let in: {_WHY[error.why]}") from None

    async def _signed(self, text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        try:
            return await self._provider.read(text)
        except Forged as error:
            raise OAuthError("invalid_grant", f"the assertion is refused: {error}") from None
        except ProviderError as error:
            logger.error("The OpenID provider: %s", error)
            text = "the OpenID provider cannot be asked for its keys at the moment"
            raise OAuthError("temporarily_unavailable", text, 503, 10) from None

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock()
        ends, begins = _seconds(claims, "exp"), _seconds(claims, "iat")
        if ends <= now:
            raise _invalid("it has expired")
        if ends > now + LONGEST_SECONDS + LEEWAY:
            raise _invalid(f"it would be good for more than {LONGEST_SECONDS} seconds")
        if "nbf" in claims:
            begins = max(begins, _seconds(claims, "nbf"))
        if begins > now + LEEWAY:
            raise _invalid("its iat or nbf is in the future")


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _invalid(f"its {name} must be a number of seconds")
    return value


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise _invalid(f"its {name} must be text that can be seen")
    return value


def _invalid(why: str) -> OAuthError:
    return OAuthError("invalid_grant", f"the assertion is refused: {why}")
