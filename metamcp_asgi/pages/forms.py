"""Forms: read once and within bounds, and only from our own pages.

Two fences keep other sites from acting in a visitor's name. Browsers tell where a request comes from (Fetch Metadata,
or ``Origin`` from older ones), and what is not ours is refused, except that links may lead here. And what changes
something must bring the token of a page that this visitor got. Knows nothing of what forms are about.
"""

import hmac
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from metamcp_asgi.pages.fault import Fault
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.place import Place
from metamcp_asgi.pages.visit import csrf_token, visit_of

__all__ = ["CSRF_FIELD", "CSRF_HEADER", "Form", "Forms", "SameOrigin", "form_of", "is_foreign", "token_matches"]

CSRF_FIELD: Final = "csrf_token"
CSRF_HEADER: Final = "x-csrf-token"
_SAFE: Final = ("GET", "HEAD", "OPTIONS")
_KEY: Final = "metamcp.form"
_URLENCODED: Final = "application/x-www-form-urlencoded"
_MOST_FIELDS: Final = 10_000


class Form:
    """The fields of a form; one that was not sent is an empty text, as an empty one is."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields = list(fields)

    def __getitem__(self, name: str) -> str:
        return next((value for field, value in self._fields if field == name), "")

    def __contains__(self, name: str) -> bool:
        return any(field == name for field, _ in self._fields)

    def all(self, name: str) -> list[str]:
        """Return all values of a field: of a list with several chosen, or of boxes with one name."""
        return [value for field, value in self._fields if field == name]

    def names(self) -> list[str]:
        """Return the names of the fields, in order, each once."""
        return list(dict.fromkeys(field for field, _ in self._fields))


def form_of(scope: Scope) -> Form:
    """Return the form that a request brought; an empty one when there was none."""
    form: Form = scope.get(_KEY) or Form()
    return form


def is_foreign(scope: Scope, place: Place) -> bool:
    """Tell whether a browser says that a page of somebody else made this request.

    Following a link is no such request; being shown in a frame, loaded as a picture or posted to from elsewhere is.

    Args:
        scope: The request.
        place: Where the gateway is.
    """
    headers = Headers(scope=scope)
    site = headers.get("sec-fetch-site")
    if site is not None:
        followed = (
            scope["method"] in ("GET", "HEAD")
            and headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest") == "document"
        )
        # "none" is the address bar or a bookmark. Another port of the same host is "same-site", and not ours.
        return site not in ("same-origin", "none") and not followed
    origin = headers.get("origin")
    if scope["method"] in _SAFE or origin is None:
        return False
    ours = (place.origin(scope), f"{scope.get('scheme', 'http')}://{headers.get('host', '')}".lower())
    return origin.lower() not in ours


def token_matches(secret: str, presented: str | None) -> bool:
    """Tell whether a token is that of the forms bound to a cookie's secret."""
    expected = csrf_token(secret).encode()
    return hmac.compare_digest(expected, (presented or "").encode("utf-8", "replace"))


class SameOrigin:
    """Refuse what other sites make a browser send: see ``is_foreign``.

    Args:
        app: The application inside.
        place: Where the gateway is.
    """

    def __init__(self, app: ASGIApp, place: Place) -> None:
        self.app = app
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request.

        Raises:
            Fault: It is another site's (403).
        """
        if is_foreign(scope, self._place):
            raise Fault(403, N_("This request came from another site and was refused."))
        await self.app(scope, receive, send)


class Forms:
    """Read the form of a request for ``form_of``, and refuse one without the token of our page.

    Args:
        app: The application inside.
        max_body_bytes: Size of a form, in bytes.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app = app
        self._most = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request.

        Raises:
            Fault: The token is missing or an old one (403), or the form is too large (413) or malformed (400).
        """
        if scope["method"] in _SAFE:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        token = headers.get(CSRF_HEADER)
        if headers.get("content-type", "").partition(";")[0].strip().lower() == _URLENCODED:
            form = _parsed(await self._read(receive))
            token = token or form[CSRF_FIELD]
            scope = {**scope, _KEY: form}
        if not token_matches(visit_of(scope).secret, token):
            raise Fault(403, N_("This page was out of date. Go back, reload it and try again."))
        await self.app(scope, receive, send)

    async def _read(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Fault(400, N_("The request ended too early."))
            part = message.get("body", b"")
            size += len(part)
            if size > self._most:
                raise Fault(413, N_("This form is too large."))
            parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts)


def _parsed(body: bytes) -> Form:
    try:
        fields = parse_qsl(
            body.decode(), keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise Fault(400, N_("This form cannot be read.")) from None
    if any("\0" in name or "\0" in value for name, value in fields):  # which no database takes
        raise Fault(400, N_("This form cannot be read."))
    # Browsers send a text's lines apart as on the network (HTML 4.10.22.4).
    return Form((name, value.replace("\r\n", "\n")) for name, value in fields)
