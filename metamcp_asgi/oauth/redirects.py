"""Redirect URIs: which ones a client may have, when one is meant, and what is added to it.

Sans-IO. RFC 8252 for programs on the user's own machine, whose port is known only when they start.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import SplitResult, urlencode, urlsplit

__all__ = ["csp_source", "fault_of_redirect", "is_loopback", "matching", "shown", "with_query"]

LONGEST: Final = 1000

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")
# What a browser runs or reads by itself, or hands to a program that is no client.
_NEVER: Final = re.compile(
    r"about|blob|chrome|chrome-extension|content|data|file|filesystem|ftp|intent|jar|javascript|mailto|moz-extension"
    r"|resource|sms|tel|vbscript|view-source|wss?"
)
_LOOPBACK: Final = frozenset(("localhost", "127.0.0.1", "::1"))


def fault_of_redirect(uri: str) -> str:
    """Return why no client may have a redirect URI; empty when it may."""
    if len(uri) > LONGEST or not re.fullmatch(r"[\x21-\x7e]+", uri) or "\\" in uri or "#" in uri:
        return f"must be plain ASCII without a fragment, {LONGEST} characters at most"
    parts = _split(uri)
    if parts is None or not _SCHEME.fullmatch(parts.scheme) or _NEVER.fullmatch(parts.scheme):
        return "must be an https URL, an http URL on a loopback address, or of a scheme of the client's own"
    if "@" in parts.netloc:
        return "must not have a user"
    if parts.scheme in ("http", "https"):
        if not parts.hostname:
            return "must have a host"
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            return "must begin with https:// unless it is on a loopback address"
    elif not (parts.netloc or parts.path.strip("/")):
        return "must have something behind its scheme"
    return ""


def matching(uri: str, registered: Iterable[str]) -> bool:
    """Tell whether a redirect URI is one of the registered ones; on loopback, any port will do (RFC 8252 7.3).

    Args:
        uri: The one of a request.
        registered: Those of the client.
    """
    return any(uri == each or _same_but_port(uri, each) for each in registered) and not fault_of_redirect(uri)


def is_loopback(uri: str) -> bool:
    """Tell whether a redirect URI leads to a program on the user's own machine by its address."""
    parts = _split(uri)
    return parts is not None and parts.scheme == "http" and parts.hostname in _LOOPBACK


def shown(uri: str) -> str:
    """Return what a person should see of a redirect URI: its host, else its scheme."""
    parts = urlsplit(uri)
    return parts.netloc if parts.scheme in ("http", "https") else f"{parts.scheme}:"


def csp_source(uri: str) -> str:
    """Return a redirect URI as a source of a content security policy."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or "[" in parts.netloc:  # CSP knows no IPv6 addresses
        return f"{parts.scheme}:"
    return f"{parts.scheme}://{parts.netloc}"


def with_query(uri: str, values: Mapping[str, str]) -> str:
    """Return a redirect URI with what it has to tell the client; empty values are left out."""
    parts = urlsplit(uri)
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{uri}{'&' if parts.query else '' if uri.endswith('?') else '?'}{query}"


def _same_but_port(one: str, other: str) -> bool:
    first, second = _split(one), _split(other)
    if first is None or second is None or first.scheme != "http" or second.scheme != "http":
        return False
    if first.hostname != second.hostname or first.hostname not in _LOOPBACK or "@" in first.netloc:
        return False
    return (first.path or "/", first.query, first.fragment) == (second.path or "/", second.query, second.fragment)


def _split(uri: str) -> SplitResult | None:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return None
    return parts
