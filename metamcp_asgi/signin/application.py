"""The sites on which people sign in, by their paths: the composition root of this room."""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Final

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from metamcp_asgi.asgi.origin import OriginGuard
from metamcp_asgi.pages.assets import ASSETS, serve_assets
from metamcp_asgi.pages.fault import Fault
from metamcp_asgi.pages.forms import SameOrigin
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.place import Place
from metamcp_asgi.pages.preferences import PREFERENCES, language_cookie, preferences
from metamcp_asgi.pages.render import redirect
from metamcp_asgi.pages.site import Faults, Visits
from metamcp_asgi.pages.visit import LANGUAGES, visit_of
from metamcp_asgi.signin.entrance import Entrance
from metamcp_asgi.signin.forms import SignInPages
from metamcp_asgi.signin.json_routes import JSONRoutes, json_fault
from metamcp_asgi.signin.people import People, for_people
from metamcp_asgi.signin.provider import Provider
from metamcp_asgi.signin.sessions import Sessions
from metamcp_asgi.signin.sso import SingleSignOn

__all__ = ["nowhere", "sign_in_sites"]

_LOCALES: Final = ("en", "zh", "ko")
"""The languages of MetaMCP, with which the paths of its pages begin."""
API: Final = "/api/auth"


def sign_in_sites(
    entrance: Entrance,
    place: Place,
    *,
    provider: Provider | None = None,
    hosts: Collection[str] | None = None,
    origins: Collection[str] = (),
) -> Mapping[str, ASGIApp]:
    """Return the sites.

    Args:
        entrance: Lets people in.
        place: Where the gateway is.
        provider: The OpenID provider, if there is one.
        hosts: ``Host`` values to answer, as for ``OriginGuard``.
        origins: ``Origin`` values to answer besides our own.
    """
    sessions: Sessions = entrance.sessions
    pages = SignInPages(entrance, oidc=provider is not None)
    both = ["GET", "POST"]
    router = Router(
        [
            Route("/login", pages.login, methods=both),
            Route("/register", pages.register, methods=both),
            Route("/sign-out", pages.sign_out, methods=both),
        ],
        redirect_slashes=False,
        default=nowhere,
    )
    page = partial(for_people, sessions=sessions, place=place, hosts=hosts, origins=origins)
    public = page(router, required=False)
    localized = page(_without_locale, required=False)
    routes = JSONRoutes(entrance)
    api = [
        Route(f"{API}/sign-in/email", routes.sign_in, methods=["POST"]),
        Route(f"{API}/sign-up/email", routes.sign_up, methods=["POST"]),
        Route(f"{API}/sign-out", routes.sign_out, methods=["POST"]),
        Route(f"{API}/get-session", routes.get_session),
    ]
    if provider is not None:
        sso = SingleSignOn(provider, sessions)
        api.append(Route(f"{API}/sign-in/oidc", sso.begin))
        api.append(Route(f"{API}/oauth2/callback/{provider.oidc.provider_id}", sso.finish))
    answers: ASGIApp = People(Router(api, redirect_slashes=False, default=nowhere), sessions, required=False)
    answers = SameOrigin(answers, place)
    answers = Faults(answers, json_fault)
    answers = OriginGuard(answers, hosts=hosts, origins=origins)
    return {
        API: Visits(answers, place),
        "/login": public,
        "/register": public,
        "/sign-out": public,
        PREFERENCES: page(preferences, required=False),
        ASSETS: serve_assets,
        **{f"/{locale}": localized for locale in _LOCALES},
    }


async def nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer what no route answers.

    Raises:
        Fault: Always (404).
    """
    raise Fault(404, N_("There is no such page."))


async def _without_locale(scope: Scope, receive: Receive, send: Send) -> None:
    """Lead from a page's path in MetaMCP to its path here, and keep the language that was in it."""
    visit = visit_of(scope)
    locale, _, path = visit.path.removeprefix("/").partition("/")
    # What follows may not begin with a slash again, which would make it the name of a host.
    path = path.lstrip("/")
    locale, _, query = locale.partition("?")
    target = visit.local(f"{visit.base}/{path}" + (f"?{query}" if query else ""))
    headers = [language_cookie(scope, visit, locale)] if locale in LANGUAGES else []
    await redirect(scope, target, headers=headers)(scope, receive, send)
