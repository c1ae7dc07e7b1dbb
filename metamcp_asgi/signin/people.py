"""Who is signed in, for applications that show pages, and the way to the sign-in page for who is not."""

from collections.abc import Collection
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from metamcp_asgi.pages.fault import Fault
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.place import Place
from metamcp_asgi.pages.render import PERSON, to
from metamcp_asgi.pages.site import site
from metamcp_asgi.pages.visit import visit_of
from metamcp_asgi.signin.sessions import Sessions, SignedIn

__all__ = ["LOGIN", "People", "ask_to_sign_in", "for_people", "person", "person_or_none"]

LOGIN: Final = "/login"


def for_people(
    app: ASGIApp,
    sessions: Sessions,
    place: Place,
    *,
    required: bool = True,
    hosts: Collection[str] | None = None,
    origins: Collection[str] = (),
    max_body_bytes: int = 1024 * 1024,
) -> ASGIApp:
    """Return an application whose pages know who is signed in, protected as by ``pages.site``.

    Args:
        app: The application inside, which answers with ``render``.
        sessions: The sessions.
        place: Where the gateway is.
        required: Whether somebody must be signed in.
        hosts: As for ``site``.
        origins: As for ``site``.
        max_body_bytes: As for ``site``.
    """
    app = People(app, sessions, required=required)
    return site(app, place, hosts=hosts, origins=origins, max_body_bytes=max_body_bytes)


def person_or_none(scope: Scope) -> SignedIn | None:
    """Return who is signed in, ``None`` when nobody is."""
    found: SignedIn | None = scope.get(PERSON)
    return found


def person(scope: Scope) -> SignedIn:
    """Return who is signed in.

    Raises:
        Fault: Nobody is (401).
    """
    found = person_or_none(scope)
    if found is None:
        raise Fault(401, N_("You are not signed in, or not any more."))
    return found


def ask_to_sign_in(scope: Scope) -> Response:
    """Return the way to the sign-in page, which leads back to this request's page."""
    visit = visit_of(scope)
    page = visit.base + visit.path
    for name, value in scope["headers"]:
        if name == b"hx-current-url":  # of htmx, whose own requests are for parts of a page
            page = visit.local(value.decode("latin-1").removeprefix(visit.place.origin(scope)))
    return to(scope, LOGIN, callbackUrl=page)


class People:
    """Put who is signed in into the scope.

    Args:
        app: The application inside.
        sessions: The sessions.
        required: Whether somebody must be signed in.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions, *, required: bool = True) -> None:
        self.app = app
        self._sessions = sessions
        self._required = required

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            Fault: Nobody is signed in, and what was posted would be lost on the way to the sign-in page (401).
        """
        found = await self._sessions.signed_in(scope)
        scope = {**scope, PERSON: found}
        if found is not None or not self._required:
            await self.app(scope, receive, send)
            return
        if scope["method"] not in ("GET", "HEAD"):
            person(scope)
        await ask_to_sign_in(scope)(scope, receive, send)
