"""One entry of ``mcpServers``, as Claude Desktop, Cursor, VS Code and MetaMCP write them, compiled to a ``Server``.

Knows the keys of an entry and which belong to which transport. Knows nothing of namespaces or endpoints.
"""

import re
from typing import Any, Final
from urllib.parse import urlsplit

from metamcp_asgi.config.grants import grant_of
from metamcp_asgi.config.node import Node
from metamcp_asgi.config.sandbox import sandbox_of
from metamcp_asgi.config.snapshot import DEFAULT_TIMEOUT, GrantSpec, Server, TransportKind

__all__ = ["compile_server", "docker_internal"]

_TYPES: Final[dict[str, TransportKind]] = {
    "stdio": "stdio",
    "std": "stdio",
    "sse": "sse",
    "streamable_http": "streamable_http",
    "streamable-http": "streamable_http",
    "streamablehttp": "streamable_http",
    "http": "streamable_http",
}
_ONLY_STDIO: Final = ("command", "args", "env", "cwd", "sandbox")
_ONLY_HTTP: Final = ("url", "headers", "bearerToken", "oauth")
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]+")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 5.5
_FRAMING: Final = frozenset({"connection", "content-length", "transfer-encoding"})


def compile_server(name: str, node: Node, *, transform_localhost: bool = False) -> Server:
    """Compile one server.

    Args:
        name: Its name, the key in ``mcpServers``.
        node: Its entry.
        transform_localhost: Whether a URL on this machine means the machine that runs our container.

    Raises:
        ConfigError: The name or the entry is wrong.
    """
    if not _NAME.fullmatch(name):
        raise node.error("a server's name may only have letters, digits, _ and -")
    if "__" in name:
        raise node.error('a server\'s name must not contain "__", which divides it from the names of its tools')
    given = node.read(
        {
            "type": _type,
            "command": Node.text,
            "args": Node.texts,
            "env": _env,
            "cwd": Node.text,
            "url": _url,
            "headers": _headers,
            "bearerToken": _bearer,
            "description": Node.free_text,
            "era": lambda era: era.choice(("auto", "modern", "legacy")),
            "sharing": lambda sharing: sharing.choice(("auto", "shared", "principal", "session", "call")),
            "timeout": lambda timeout: timeout.number(above=0),
            "disabled": Node.flag,
            "oauth": lambda oauth: grant_of(oauth, name),
            "sandbox": sandbox_of,
        }
    )
    kind = _transport(given, node)
    if kind == "sse" and given.get("era") == "modern":
        raise node.error('"era": "modern" does not go with "type": "sse", a transport of the legacy era')
    url = given.get("url", "")
    return Server(
        name=name,
        type=kind,
        command=given.get("command", ""),
        args=given.get("args", ()),
        env=given.get("env", ()),
        cwd=given.get("cwd"),
        url=docker_internal(url) if transform_localhost else url,
        headers=_with_bearer(given, node),
        description=given.get("description", ""),
        era=given.get("era", "auto"),
        sharing=given.get("sharing", "auto"),
        timeout=given.get("timeout", DEFAULT_TIMEOUT),
        disabled=given.get("disabled", False),
        grant=_grant(given, node),
        sandbox=given.get("sandbox"),
    )


def docker_internal(url: str) -> str:
    """Return ``url`` with a host of exactly ``localhost`` or ``127.0.0.1`` replaced by ``host.docker.internal``.

    MetaMCP's ``TRANSFORM_LOCALHOST_TO_DOCKER_INTERNAL`` replaces these texts anywhere, also in paths (dossier 1.6).
    """
    found = re.match(r"([a-z]+://)(localhost|127\.0\.0\.1)(?=[:/?#]|$)", url, re.IGNORECASE)
    return f"{found[1]}host.docker.internal{url[found.end() :]}" if found else url


def _transport(given: dict[str, Any], node: Node) -> TransportKind:
    """Tell the transport by ``type``, else by what is there, and refuse the other transport's keys."""
    if "type" not in given and "command" in given and "url" in given:
        raise node.error('has both "command" and "url"; keep one, or two servers')
    if "type" not in given and "command" not in given and "url" not in given:
        raise node.error('needs "command" (a server to start) or "url" (a server to reach)')
    kind: TransportKind = given.get("type") or ("stdio" if "command" in given else "streamable_http")
    needed, foreign = ("command", _ONLY_HTTP) if kind == "stdio" else ("url", _ONLY_STDIO)
    for key in foreign:
        if key in given:
            raise node.error(f'"{key}" does not go with a server of type {kind}')
    if needed not in given:
        raise node.error(f'needs "{needed}", being of type {kind}')
    return kind


def _type(node: Node) -> TransportKind:
    kind = _TYPES.get(node.text().lower())
    if kind is None:
        return node.choice(("stdio", "sse", "streamable_http"))
    return kind


def _env(node: Node) -> tuple[tuple[str, str], ...]:
    variables = []
    for name, value in node.entries():
        # A name may be a whole "NAME=secret" by mistake, so it isn't quoted here or below.
        if not name or "=" in name or "\0" in name:
            raise node.error('has a name that is empty or contains "="; write "NAME": "value"')
        variables.append((name, value.text(empty=True)))
    return tuple(variables)


def _url(node: Node) -> str:
    url = node.text()
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port out of range, a broken IPv6 address
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise node.error("must be a URL that begins with http:// or https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise node.error('must not contain a user or password; use "bearerToken" or an Authorization header')
    if parts.fragment:
        raise node.error('must not have a fragment ("#...")')
    return url


def _headers(node: Node) -> tuple[tuple[str, str], ...]:
    headers: dict[str, tuple[str, str]] = {}
    for name, value in node.entries():
        if not _TOKEN.fullmatch(name):
            raise node.error('has a header name with characters that HTTP does not allow; write "Name": "value"')
        if name.lower() in _FRAMING:
            raise value.error("frames the message, so the gateway sets it itself; remove it")
        if name.lower() in headers:
            raise value.error("is given twice (the case of a header's name does not matter); keep one of them")
        text = value.text(empty=True)
        if not _HEADER_VALUE.fullmatch(text):
            raise value.error("has characters that a header must not have, such as a line break")
        headers[name.lower()] = (name, text)
    return tuple(headers.values())


def _bearer(node: Node) -> str:
    token = node.text()
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise node.error("has characters that a token must not have, such as a space or a line break")
    return token


def _grant(given: dict[str, Any], node: Node) -> GrantSpec | None:
    grant: GrantSpec | None = given.get("oauth")
    own = "bearerToken" in given or any(name.lower() == "authorization" for name, _ in given.get("headers", ()))
    if own and grant is not None and grant.flow != "none":
        raise node.error('has "oauth" and another authorization; keep one of them')
    return grant


def _with_bearer(given: dict[str, Any], node: Node) -> tuple[tuple[str, str], ...]:
    headers: tuple[tuple[str, str], ...] = given.get("headers", ())
    if "bearerToken" not in given:
        return headers
    if any(name.lower() == "authorization" for name, _ in headers):
        raise node.error('has both "bearerToken" and an Authorization header; keep one of them')
    return (*headers, ("Authorization", f"Bearer {given['bearerToken']}"))
