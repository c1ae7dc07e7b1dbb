"""Host and Origin checks against DNS rebinding and foreign pages (requirement T-02 of eras.md).

A page of any web site can make a browser call a server on the same machine or network; after rebinding its own name
to that address, it may even read the answer. ``Host`` tells the name that the browser believes in, ``Origin`` the page.
Knows whether an endpoint is open; knows nothing of keys.
"""

import ipaddress
import re
from collections.abc import Collection

from msgspec import Struct
from starlette.types import ASGIApp, Receive, Scope, Send

from metamcp_asgi.asgi.answers import send_refusal

__all__ = ["OriginGuard", "host_name", "is_loopback"]

_AUTHORITY = r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]\\?#,]+)(?::\d{0,5})?"
_HOST = re.compile(_AUTHORITY)
_ORIGIN = re.compile(r"https?://" + _AUTHORITY, re.IGNORECASE)

_VERDICTS = 1024
"""How many verdicts are remembered; past that all are forgotten, which costs a few microseconds each."""
_LONGEST = 512
"""Bytes of Host and Origin together past which a verdict isn't remembered: clients choose them."""


class _Refusal(Struct, frozen=True):
    status: int
    error: str
    message: str


class OriginGuard:
    """Serve only requests whose ``Host`` is ours and whose ``Origin``, if any, may call us.

    An origin may call when it has the host name of ``Host``, when it and ``Host`` are both loopback, or when it is
    listed. Its port is left aside: proxies drop the port from ``Host`` more often than not, and CORS keeps pages of
    other ports apart. All else is 403, a missing or doubled header 400, with a body that names the setting.

    Args:
        app: The application inside.
        hosts: Host names that are served, on any port; ``*.example.com`` stands for all names below, ``*`` for all.
            ``None`` serves loopback names only where no key protects, that is for an open ``metamcp.endpoint`` or
            for none in the scope, and any name where a key is asked for: a rebound page has no key.
        origins: Origins beside these, such as ``https://inspector.example``; ``*`` for all, including ``null``.

    Example::

        from metamcp_asgi.asgi.origin import OriginGuard

        async def hello(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"hello"})

        app = OriginGuard(hello, hosts=["mcp.example.com"], origins=["https://inspector.example"])
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] | None = None, origins: Collection[str] = ()) -> None:
        self.app = app
        self._hosts = None if hosts is None else frozenset(host_name(host) or host.lower() for host in hosts)
        self._suffixes = tuple(host[1:] for host in self._hosts or () if host.startswith("*."))
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self._verdicts: dict[tuple[bytes | None, bytes | None, bool], _Refusal | None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request by its Host and Origin."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        host: bytes | None = None
        origin: bytes | None = None
        doubled = False
        for name, value in scope["headers"]:
            if name == b"host":
                doubled = doubled or host is not None
                host = value
            elif name == b"origin":
                doubled = doubled or origin is not None
                origin = value
        if doubled:
            refusal: _Refusal | None = _Refusal(
                400, "Bad request", "The Host and Origin headers may be sent once each."
            )
        else:
            endpoint = scope.get("metamcp.endpoint")
            question = (host, origin, endpoint is None or not endpoint.api_key_auth)
            try:
                refusal = self._verdicts[question]
            except KeyError:
                refusal = self._decide(*question)
                self._remember(question, refusal)
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await self.refuse(scope, send, refusal.status, refusal.error, refusal.message)

    async def refuse(self, scope: Scope, send: Send, status: int, error: str, message: str) -> None:
        """Answer a request that is refused; for applications whose errors have another form to override."""
        await send_refusal(scope, send, status, {"error": error, "message": message})

    def _remember(self, question: tuple[bytes | None, bytes | None, bool], refusal: _Refusal | None) -> None:
        if len(question[0] or b"") + len(question[1] or b"") > _LONGEST:
            return
        if len(self._verdicts) >= _VERDICTS:
            self._verdicts.clear()
        self._verdicts[question] = refusal

    def _decide(self, host: bytes | None, origin: bytes | None, is_open: bool) -> _Refusal | None:
        name = None if host is None else host_name(host.decode("latin-1"))
        if name is None:
            return _Refusal(400, "Bad request", "A Host header with a name and an optional port is required.")
        if not self._serves(name, is_open):
            reason = (
                "this endpoint needs no key and is therefore served under loopback names only"
                if self._hosts is None
                else "it is not among the served names"
            )
            return _Refusal(
                403,
                "Host not allowed",
                f"Host {name[:253]!r} is refused: {reason}. METAMCP_ALLOWED_HOSTS would allow it.",
            )
        if origin is None or self._may_call(origin.decode("latin-1").lower(), name):
            return None
        return _Refusal(
            403,
            "Origin not allowed",
            f"Origin {origin.decode('latin-1')[:253]!r} may not call host {name[:253]!r}. "
            "METAMCP_ALLOWED_ORIGINS would allow it.",
        )

    def _serves(self, name: str, is_open: bool) -> bool:
        if self._hosts is None:
            return not is_open or is_loopback(name)
        return name in self._hosts or "*" in self._hosts or name.endswith(self._suffixes)

    def _may_call(self, origin: str, name: str) -> bool:
        if origin in self._origins or "*" in self._origins:
            return True
        match = _ORIGIN.fullmatch(origin)
        page = _normal(match[1]) if match else None
        return page is not None and (page == name or (is_loopback(page) and is_loopback(name)))


def host_name(host: str) -> str | None:
    """Return the name in the value of a ``Host`` header, in lower case, or ``None`` for a malformed one."""
    match = _HOST.fullmatch(host)
    return _normal(match[1]) if match else None


def _normal(name: str) -> str | None:
    """Return a name in lower case without brackets and final dot; ``None`` for a malformed IPv6 address."""
    if not name.startswith("["):
        return name.lower().removesuffix(".") or None
    try:
        return str(ipaddress.IPv6Address(name[1:-1]))
    except ValueError:
        return None


def is_loopback(name: str) -> bool:
    """Tell whether a host name or address can only mean this machine."""
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761 6.3
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
