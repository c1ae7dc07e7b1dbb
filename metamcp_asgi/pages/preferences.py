"""The language and the theme of pages, as a visitor chooses them; kept in cookies of the browser."""

from typing import Final

from starlette.types import Receive, Scope, Send

from metamcp_asgi.pages.fault import Fault
from metamcp_asgi.pages.forms import form_of
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import redirect
from metamcp_asgi.pages.visit import LANGUAGE_COOKIE, LANGUAGES, THEME_COOKIE, THEMES, Visit, visit_of

__all__ = ["PREFERENCES", "language_cookie", "preferences"]

PREFERENCES: Final = "/preferences"
_YEAR: Final = 365 * 24 * 60 * 60


async def preferences(scope: Scope, receive: Receive, send: Send) -> None:
    """Take over what was chosen, and lead back to the page: an ASGI application for ``PREFERENCES``.

    Raises:
        Fault: It was not posted (405).
    """
    if scope["method"] != "POST":
        raise Fault(405, N_("This address takes forms only."), {"allow": "POST"})
    form, visit = form_of(scope), visit_of(scope)
    headers = []
    if form["language"] in LANGUAGES:
        headers.append(language_cookie(scope, visit, form["language"]))
    if form["theme"] in THEMES:
        headers.append(_cookie(scope, visit, THEME_COOKIE, form["theme"]))
    await redirect(scope, visit.local(form["back"]), headers=headers)(scope, receive, send)


def language_cookie(scope: Scope, visit: Visit, language: str) -> tuple[bytes, bytes]:
    """Return the header that keeps a visitor's language."""
    return _cookie(scope, visit, LANGUAGE_COOKIE, language)


def _cookie(scope: Scope, visit: Visit, name: str, value: str) -> tuple[bytes, bytes]:
    secure = "; Secure" if visit.place.secure(scope) else ""
    text = f"{name}={value}; Path={visit.base or '/'}; Max-Age={_YEAR}; SameSite=Lax{secure}"
    return b"set-cookie", text.encode("latin-1")
