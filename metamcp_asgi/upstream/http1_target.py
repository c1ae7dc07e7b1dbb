"""Where a request goes: URL, configured headers and proxy rules, checked once and kept as ready-made bytes.

Knows the syntax of URLs and header fields and the ``*_PROXY`` conventions. Knows nothing of sockets or of
requests in flight. Nothing here puts a query string, a header value or a proxy password into an error.
"""

import base64
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlsplit

from metamcp_asgi.errors import ConfigError

__all__ = ["Origin", "Proxy", "ProxyRules", "parse_url", "request_tail"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_HOST_NAME = re.compile(r"[0-9A-Za-z._-]+")
_NOT_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_IN_URL = re.compile(r"[\x00-\x20\x7f]")

_OURS = frozenset(
    {"accept-encoding", "connection", "content-length", "expect", "keep-alive", "proxy-authorization"}
    | {"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Fields that frame the message or belong to one hop; setting them would break the connection, not configure it."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; ``authorization`` is the ready-made ``Proxy-Authorization`` line, or empty."""

    host: str
    port: int
    authorization: bytes = field(default=b"", repr=False)

    @property
    def name(self) -> str:
        """``host:port``, fit to show."""
        return f"{_bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a connection leads to; equal origins share their connections."""

    host: str
    port: int
    tls: bool
    proxy: Proxy | None = None

    @property
    def authority(self) -> str:
        """The value of ``Host``: without the scheme's default port (RFC 9110 section 7.2)."""
        default = 443 if self.tls else 80
        return _bracketed(self.host) if self.port == default else self.name

    @property
    def name(self) -> str:
        """``host:port``, fit to show."""
        return f"{_bracketed(self.host)}:{self.port}"


class ProxyRules:
    """``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY``, read once. The lower-case name wins, as in curl.

    ``NO_PROXY`` is a list of host names (each also covers its subdomains), addresses, networks in CIDR notation,
    any of them with ``:port``, or ``*``. Loopback never goes to a proxy. ``HTTP_PROXY`` in capitals is ignored in a CGI
    environment, where a client can set it by the header ``Proxy`` (CVE-2016-5385).

    Args:
        environ: The environment to read.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        plain = environ.get("http_proxy") or ("" if "REQUEST_METHOD" in environ else environ.get("HTTP_PROXY", ""))
        secure = environ.get("https_proxy") or environ.get("HTTPS_PROXY", "")
        self._urls = {False: ("HTTP_PROXY", plain.strip()), True: ("HTTPS_PROXY", secure.strip())}
        self._except = re.split(r"[\s,]+", (environ.get("no_proxy") or environ.get("NO_PROXY", "")).strip().lower())

    def proxy_for(self, host: str, port: int, *, tls: bool) -> Proxy | None:
        """Return the proxy that leads to ``host``, or ``None`` for the direct way.

        Args:
            host: Host name or address without brackets, lower case.
            port: TCP port.
            tls: Whether the target is ``https``.

        Raises:
            ConfigError: The variable that applies does not hold a usable proxy URL.
        """
        variable, url = self._urls[tls]
        if not url or _is_loopback(host) or any(_covers(rule, host, port) for rule in self._except if rule):
            return None
        parts, proxy_host, proxy_port = _split(url if "://" in url else f"http://{url}", source=variable)
        if parts.scheme != "http":
            raise ConfigError(f"a proxy must be given as http://host:port, not {parts.scheme}://", source=variable)
        authorization = b""
        if parts.username is not None:
            userinfo = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
            authorization = b"Proxy-Authorization: Basic " + base64.b64encode(userinfo) + b"\r\n"
        return Proxy(proxy_host, proxy_port or 80, authorization)


def parse_url(url: str, rules: ProxyRules) -> tuple[Origin, str]:
    """Split the URL of a server into its origin and its request path with query.

    Args:
        url: An absolute ``http`` or ``https`` URL. A fragment is dropped, non-ASCII is percent-encoded.
        rules: Which proxy to use.

    Raises:
        ConfigError: Not such a URL, or it holds user information.
    """
    parts, host, port = _split(url, source="")
    if "@" in parts.netloc:
        raise ConfigError(f"the URL of {host} holds a user name or password; use a header `Authorization` instead")
    tls = parts.scheme == "https"
    port = port or (443 if tls else 80)
    # Not a repair of bad URLs: every ASCII character passes as it is, only the others have no other way to be sent.
    ascii_safe = "".join(map(chr, range(0x21, 0x7F)))
    path = quote(parts.path or "/", safe=ascii_safe)
    if parts.query:
        path = f"{path}?{quote(parts.query, safe=ascii_safe)}"
    return Origin(host, port, tls, rules.proxy_for(host, port, tls=tls)), path


def request_tail(origin: Origin, path: str, headers: Iterable[tuple[str, str]]) -> bytes:
    r"""Return what follows the method in every request: `` /path HTTP/1.1\r\nHost: ...\r\n`` and the configured lines.

    Args:
        origin: Where it goes.
        path: Path and query.
        headers: Configured header fields; ``Host`` and ``User-Agent`` replace ours.

    Raises:
        ConfigError: A name is not a token, a value cannot be sent, or the field belongs to the connection itself.
    """
    lines = []
    given = set()
    for name, value in headers:
        if not _TOKEN.fullmatch(name):
            raise ConfigError(f"header name {name!r} is not allowed in HTTP")
        lower = name.lower()
        if lower in _OURS:
            raise ConfigError(f"header {name!r} can't be configured: it belongs to the connection")
        if _NOT_IN_VALUE.search(value):
            raise ConfigError(f"the value of header {name!r} holds a line break or another control character")
        try:
            line = f"{name}: {value.strip()}\r\n".encode("latin-1")
        except UnicodeEncodeError:
            raise ConfigError(f"the value of header {name!r} holds a character outside Latin-1") from None
        given.add(lower)
        lines.append(line)
    if "user-agent" not in given:  # Some web application firewalls refuse requests without one.
        lines.insert(0, b"User-Agent: metamcp-asgi\r\n")
    if "host" not in given:
        lines.insert(0, f"Host: {origin.authority}\r\n".encode("ascii"))
    if origin.proxy is not None and not origin.tls:
        path = f"http://{origin.authority}{path}"  # absolute-form: RFC 9112 section 3.2.2
        lines.append(origin.proxy.authorization)
    return b" " + path.encode("ascii") + b" HTTP/1.1\r\n" + b"".join(lines)


def _split(url: str, *, source: str) -> tuple[SplitResult, str, int | None]:
    # urlsplit drops tabs and line breaks silently; a URL with them was not meant as it would be read.
    if _NOT_IN_URL.search(url):
        raise ConfigError("the URL holds a space or a control character", source=source)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        # The message of urlsplit may quote the netloc, and with it a password.
        raise ConfigError("the URL has no valid host and port", source=source) from error
    if parts.scheme not in ("http", "https"):
        raise ConfigError("the URL must begin with http:// or https://", source=source)
    if not host or port == 0:
        raise ConfigError("the URL has no valid host and port", source=source)
    if ":" not in host:
        try:
            host = host if host.isascii() else host.encode("idna").decode("ascii")
        except UnicodeError:
            raise ConfigError("the URL's host name is not valid", source=source) from None
        if not _HOST_NAME.fullmatch(host):
            raise ConfigError("the URL's host name is not valid", source=source)
    elif _address(host) is None:
        raise ConfigError("the URL's IPv6 address is not valid", source=source)
    return parts, host, port


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    if address is None:
        return host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost")  # RFC 6761 section 6.3
    return address.is_loopback


def _covers(rule: str, host: str, port: int) -> bool:
    if rule == "*":
        return True
    pattern, colon, rule_port = rule.rpartition(":")
    if colon and rule_port.isdecimal() and (":" not in pattern or pattern.endswith("]")):
        if int(rule_port) != port:
            return False
        rule = pattern
    rule = rule.strip("[]")
    address = _address(host)
    if address is not None:
        try:
            return address in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    rule = rule.removeprefix("*").strip(".")
    name = host.rstrip(".")
    return bool(rule) and (name == rule or name.endswith(f".{rule}"))
