"""What a page needs to know of the request that it answers: language, theme, links, and the token of its forms.

The token of a form is made of the secret of a cookie: of the session, or of a visitor who is in none. So it ends with
the session, no other site can know it, and checking it needs no look into the store.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

from msgspec import Struct
from starlette.datastructures import Headers
from starlette.types import Scope

from metamcp_asgi.pages.place import SESSION, VISITOR, Place, cookies_of

__all__ = ["LANGUAGES", "LANGUAGE_COOKIE", "THEMES", "THEME_COOKIE", "Visit", "csrf_token", "visit_of"]

LANGUAGES: Final[Mapping[str, str]] = {"en": "English", "zh": "中文"}
"""The languages of the pages, by what browsers call them."""
THEMES: Final = ("system", "light", "dark")
LANGUAGE_COOKIE: Final = "preferred-language"
"""MetaMCP's name."""
THEME_COOKIE: Final = "metamcp-theme"
_KEY: Final = "metamcp.visit"
_PATH: Final = "/:@!$&'()*+,;=~"
"""What a path may have unencoded besides letters and digits (RFC 3986 3.3)."""
_CHOICE: Final = re.compile(r"\s*([A-Za-z0-9*-]+)\s*(?:;\s*q=([01](?:\.\d{0,3})?)\s*)?")


class Visit(Struct, frozen=True):
    """One request for a page.

    Args:
        place: Where the gateway is.
        base: The path below which it is.
        path: The path that is asked for, below ``base``, encoded for a URL, with its query.
        language: One of ``LANGUAGES``.
        theme: One of ``THEMES``.
        secret: The secret of the cookie to which forms are bound.
        fresh: Whether that cookie has yet to be set.
    """

    place: Place
    base: str
    path: str
    language: str
    theme: str
    secret: str
    fresh: bool

    def __repr__(self) -> str:
        return f"Visit(path={self.path!r}, language={self.language!r}, <hidden>)"

    @property
    def csrf(self) -> str:
        """The token that each of its forms must bring."""
        return csrf_token(self.secret)

    def url(self, path: str, **query: str) -> str:
        """Return a link: the path with what comes before it here, and its query."""
        return f"{self.base}{path}" + (f"?{urlencode(query)}" if query else "")

    def local(self, url: str | None, otherwise: str = "/") -> str:
        """Return a URL reference if it leads to a page of this gateway, else the link to another path.

        Args:
            url: What somebody gave: a path that begins with ``base``.
            otherwise: The path instead.
        """
        # Browsers read a backslash as a slash, and leave out tabs and newlines: "/\t/evil.example" is another host.
        if url and re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", url) and (url + "/").startswith(self.base + "/"):
            return url
        return self.url(otherwise)


def visit_of(scope: Scope) -> Visit:
    """Return the visit that a request is, which ``site`` has put into its scope."""
    visit: Visit = scope[_KEY]
    return visit


def visiting(scope: Scope, place: Place) -> Scope:
    """Return the scope of a request for a page, with its visit, and with the mount point in its path.

    Args:
        scope: As it came.
        place: Where the gateway is.
    """
    root: str = scope.get("root_path", "")
    path: str = scope["path"]
    # Some hosts leave the mount point out of the path.
    inside = path[len(root) :] if root and path.startswith(root + "/") else path
    cookies = cookies_of(scope)
    secret = place.cookie(scope, SESSION) or place.cookie(scope, VISITOR)
    query = scope.get("query_string", b"").decode("latin-1")
    theme = cookies.get(THEME_COOKIE, "")
    visit = Visit(
        place=place,
        base=place.base(scope),
        path=quote(inside, safe=_PATH) + (f"?{query}" if query else ""),
        language=_language(cookies.get(LANGUAGE_COOKIE, ""), Headers(scope=scope).get("accept-language", "")),
        theme=theme if theme in THEMES else THEMES[0],
        secret=secret or secrets.token_urlsafe(32),
        fresh=secret is None,
    )
    return {**scope, "path": root + inside, _KEY: visit}


def csrf_token(secret: str) -> str:
    """Return the token of the forms that are bound to a cookie's secret; the secret cannot be told from it."""
    return hmac.new(secret.encode("utf-8", "replace"), b"metamcp form", hashlib.sha256).hexdigest()


def _language(chosen: str, accepted: str) -> str:
    """Return the language: the chosen one, else the first acceptable one that there is (RFC 9110 12.5.4)."""
    if chosen in LANGUAGES:
        return chosen
    wanted: list[tuple[float, str]] = []
    for choice in accepted[:1000].split(","):
        found = _CHOICE.fullmatch(choice)
        if found is not None and (quality := float(found[2] or 1)) > 0:
            wanted.append((-quality, found[1].lower().partition("-")[0]))
    # ``sorted`` keeps the order of equal ones.
    ordered = (name for _, name in sorted(wanted, key=lambda choice: choice[0]))
    return next((name for name in ordered if name in LANGUAGES), "en")
