"""Answers to browsers: a page with all its headers, or the way to another one.

Knows what every page has to say about who may frame, load and keep it. Knows nothing of what is on it.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from metamcp_asgi.pages.place import VISITOR
from metamcp_asgi.pages.templates import html
from metamcp_asgi.pages.visit import visit_of

__all__ = ["PERSON", "redirect", "render", "to"]

PERSON: Final = "metamcp.signed_in"
"""Where the scope has who is signed in; the layout shows their ``name`` and ``email``."""

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action {forms}; frame-ancestors 'none'"
)
_SOURCE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(//[A-Za-z0-9.:\[\]_-]+)?")
"""A source that has a scheme, and a host if any; with any other character it could be a directive of its own."""
_HEADERS: Final = {
    # Pages have what only their visitor may see, and tokens.
    "cache-control": "no-store",
    "vary": "Cookie, Accept-Language",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not "no-referrer": with that, browsers hide the origin of our own forms from us, too.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def render(
    scope: Scope,
    template: str,
    *,
    status: int = 200,
    headers: Iterable[tuple[bytes, bytes]] = (),
    form_action: Sequence[str] = (),
    policy: Sequence[str] = (),
    **values: Any,
) -> Response:
    """Return a page.

    Args:
        scope: The request, inside ``site``.
        template: Its template: ``signin/login.html``.
        status: The HTTP status.
        headers: Further headers, such as cookies.
        form_action: Where its forms may lead besides here, as sources of the content security policy: a form whose
            answer is a redirect elsewhere needs that, because browsers apply the policy to the redirect, too. What is
            no such source is left out, and the browser does not go there.
        policy: Further directives of its content security policy.
        values: What the template shows.
    """
    visit = visit_of(scope)
    response = HTMLResponse(html(template, visit, scope.get(PERSON), values), status, _HEADERS)
    forms = " ".join(("'self'", *filter(_SOURCE.fullmatch, form_action)))
    response.headers["content-security-policy"] = "; ".join((_POLICY.replace("{forms}", forms), *policy))
    response.headers["content-language"] = visit.language
    response.raw_headers.extend(headers)
    if visit.fresh:
        response.raw_headers.append(visit.place.set_cookie(scope, VISITOR, visit.secret))
    return response


def to(scope: Scope, path: str, *, headers: Iterable[tuple[bytes, bytes]] = (), **query: str) -> Response:
    """Return the way to a page of this gateway, which the browser then gets.

    Args:
        scope: The request, inside ``site``.
        path: Its path below the gateway's.
        headers: Further headers, such as cookies.
        query: Its query.
    """
    return redirect(scope, visit_of(scope).url(path, **query), headers=headers)


def redirect(scope: Scope, url: str, *, headers: Iterable[tuple[bytes, bytes]] = ()) -> Response:
    """Return the way to a URL reference, which must not be what somebody else gave: see ``Visit.local``.

    Args:
        scope: The request, inside ``site``.
        url: Where the browser goes.
        headers: Further headers, such as cookies.
    """
    # A request of htmx follows a redirect by itself, and would put the page into a part of this one.
    by_htmx = any(name == b"hx-request" for name, _ in scope["headers"])
    status, where = (204, "hx-redirect") if by_htmx else (303, "location")
    response = Response(status_code=status, headers={where: url, "cache-control": "no-store"})
    response.raw_headers.extend(headers)
    return response
