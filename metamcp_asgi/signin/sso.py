"""The way to the OpenID provider and back: ``/api/auth/sign-in/oidc`` and MetaMCP's callback URL.

What must be known on the way back is in a cookie of this very host, which no other site can set or read.
"""

import base64
import hmac
import logging
from typing import Final

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from metamcp_asgi.pages.render import redirect, to
from metamcp_asgi.pages.visit import visit_of
from metamcp_asgi.signin.entrance import Refused
from metamcp_asgi.signin.people import LOGIN, person_or_none
from metamcp_asgi.signin.provider import Begun, Provider, ProviderError
from metamcp_asgi.signin.sessions import Sessions
from metamcp_asgi.store.policy import Acting
from metamcp_asgi.store.services.identities import Stranger, user_of

__all__ = ["SingleSignOn"]

logger = logging.getLogger("metamcp.signin")

COOKIE: Final = "metamcp_oidc"
SECONDS: Final = 600
"""How long somebody may take at the provider."""


class _Kept(Struct, frozen=True):
    """What the browser keeps meanwhile."""

    state: str
    nonce: str
    verifier: str
    back: str


class SingleSignOn:
    """Sign-in at the provider.

    Args:
        provider: The provider.
        sessions: Where sessions begin.
    """

    def __init__(self, provider: Provider, sessions: Sessions) -> None:
        self._provider = provider
        self._sessions = sessions

    async def begin(self, request: Request) -> Response:
        """Lead to the provider."""
        scope, visit = request.scope, visit_of(request.scope)
        if not visit.place.safe(scope):
            return to(scope, LOGIN)
        try:
            begun = await self._provider.begin(self._redirect_uri(request))
        except ProviderError as error:
            logger.error("The OpenID provider: %s", error)
            return to(scope, LOGIN, error="oidc")
        back = visit.local(request.query_params.get("callbackUrl"))
        kept = msgspec.json.encode(_Kept(begun.state, begun.nonce, begun.verifier, back))
        cookie = visit.place.set_cookie(scope, COOKIE, base64.urlsafe_b64encode(kept).decode().rstrip("="), SECONDS)
        return redirect(scope, begun.url, headers=[cookie])

    async def finish(self, request: Request) -> Response:
        """Let in whom the provider sent back."""
        scope, visit, query = request.scope, visit_of(request.scope), request.query_params
        forget = visit.place.set_cookie(scope, COOKIE, "", 0)
        kept = _kept(visit.place.cookie(scope, COOKIE))
        if kept is None or not hmac.compare_digest(kept.state.encode(), query.get("state", "").encode()):
            return to(scope, LOGIN, headers=[forget], error="expired")
        back = visit.local(kept.back)
        try:
            if "code" not in query:
                logger.warning("The OpenID provider let nobody in: %r", query.get("error", "")[:200])
                raise Refused(403, "denied")
            begun = Begun("", kept.state, kept.nonce, kept.verifier)
            known = await self._provider.finish(begun, self._redirect_uri(request), query["code"], query.get("iss"))
            me = person_or_none(scope)
            async with (await self._sessions.store()).write(Acting(None, known.email or known.subject)) as tx:
                user = await user_of(
                    tx,
                    known.issuer,
                    known.subject,
                    email=known.email,
                    verified=known.verified,
                    name=known.name,
                    signed_in=me.id if me is not None else None,
                )
        except ProviderError as error:
            logger.error("The OpenID provider: %s", error)
            return to(scope, LOGIN, headers=[forget], error="oidc", callbackUrl=back)
        except Stranger as error:
            logger.warning("Somebody whom the OpenID provider knows was not let in: %s", error.why)
            return to(scope, LOGIN, headers=[forget], error=error.why, callbackUrl=back)
        except Refused as error:
            return to(scope, LOGIN, headers=[forget], error=error.text, callbackUrl=back)
        cookie = await self._sessions.begin(scope, user, "oidc")
        return redirect(scope, back, headers=[forget, cookie])

    def _redirect_uri(self, request: Request) -> str:
        """Return the redirect URI that MetaMCP registered with the provider, which compares it letter by letter."""
        visit = visit_of(request.scope)
        path = f"/api/auth/oauth2/callback/{self._provider.oidc.provider_id}"
        return visit.place.origin(request.scope) + visit.url(path)


def _kept(cookie: str | None) -> _Kept | None:
    if cookie is None:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4)), type=_Kept)
    except (ValueError, RecursionError):  # whoever has the browser can write anything there
        return None
