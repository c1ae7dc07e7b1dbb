"""Where the gateway is, as browsers see it: its origin, the path below which its pages are, and its cookies.

Knows ``APP_URL`` and the request; knows nothing of what is shown.
"""

from typing import Final
from urllib.parse import quote, urlsplit

from msgspec import Struct
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from metamcp_asgi.asgi.origin import host_name, is_loopback

__all__ = ["SESSION", "VISITOR", "Place", "cookies_of"]

SESSION: Final = "metamcp_session"
"""The cookie of who is signed in."""
VISITOR: Final = "metamcp_visitor"
"""The cookie to which the forms of those who are not are bound."""
_PREFIX: Final = "__Host-"


class Place(Struct, frozen=True):
    """Where the gateway is.

    Args:
        app_url: Its public URL without a slash at its end; ``None``: each request tells.
    """

    app_url: str | None = None

    def origin(self, scope: Scope) -> str:
        """Return the origin of a request's URL: ``https://tools.example.com``."""
        if self.app_url is not None:
            parts = urlsplit(self.app_url)
            return f"{parts.scheme}://{parts.netloc}".lower()
        host = Headers(scope=scope).get("host", "")
        return f"{scope.get('scheme', 'http')}://{host}".lower()

    def base(self, scope: Scope) -> str:
        """Return the path below which all is served, without a slash at its end, encoded for a URL."""
        if self.app_url is not None:
            return urlsplit(self.app_url).path
        return quote(scope.get("root_path", "").rstrip("/"))

    def secure(self, scope: Scope) -> bool:
        """Tell whether browsers come over TLS; a proxy that ends it is known by ``APP_URL`` or what it tells."""
        return self.origin(scope).startswith("https://")

    def safe(self, scope: Scope) -> bool:
        """Tell whether passwords and cookies are safe on their way: over TLS, or within this machine."""
        if self.secure(scope):
            return True
        name = host_name(urlsplit(self.origin(scope)).netloc)
        return name is not None and is_loopback(name)

    def cookie_name(self, scope: Scope, name: str) -> str:
        """Return the name that a cookie has here.

        With ``__Host-``, a browser takes it from this very host and over TLS only (RFC 6265bis 4.1.3.2).
        """
        return _PREFIX + name if self.secure(scope) else name

    def cookie(self, scope: Scope, name: str) -> str | None:
        """Return the value of one of our cookies."""
        return cookies_of(scope).get(self.cookie_name(scope, name)) or None

    def set_cookie(self, scope: Scope, name: str, value: str, seconds: int | None = None) -> tuple[bytes, bytes]:
        """Return the header that sets one of our cookies, which no script can read.

        Args:
            scope: The request.
            name: Its name, without a prefix.
            value: Of letters, digits and ``-_.``.
            seconds: How long it is kept: 0 removes it, ``None`` is until the browser is closed.
        """
        secure = "; Secure" if self.secure(scope) else ""
        kept = "" if seconds is None else f"; Max-Age={seconds}"
        text = f"{self.cookie_name(scope, name)}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{kept}"
        return b"set-cookie", text.encode("latin-1")


def cookies_of(scope: Scope) -> dict[str, str]:
    """Return the cookies of a request, which HTTP/2 may send in several headers."""
    return cookie_parser("; ".join(Headers(scope=scope).getlist("cookie")))
