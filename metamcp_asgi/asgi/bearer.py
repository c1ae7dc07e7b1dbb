"""Access tokens at an endpoint: where its metadata is, and what a client is told that has no good token.

Knows URLs and challenges (RFC 6750, RFC 9728). What a token says is found out by the ``Tokens`` that it is given.
"""

import re
from collections.abc import Iterable
from typing import Final, Protocol
from urllib.parse import quote

from starlette.types import Scope

from metamcp_asgi.asgi.origin import host_name, is_loopback
from metamcp_asgi.config.snapshot import Endpoint, Principal
from metamcp_asgi.errors import MetaMCPError

__all__ = ["METADATA", "Rejected", "Tokens", "base_of", "challenge", "insufficient", "names_this_machine"]

METADATA: Final = "/.well-known/oauth-protected-resource"

_UNQUOTABLE: Final = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")  # RFC 6750 3: of quoted texts


class Rejected(MetaMCPError):
    """A token does not admit a request.

    Args:
        status: 401, or 403 for a good token that is not enough.
        error: RFC 6750's name of the reason; MetaMCP's own for 403.
        description: What is wrong and what would be right.
        scopes: The scopes that would be enough, where that is what is missing.
        guessed: Whether this may have been an attempt to guess one.
    """

    def __init__(
        self, status: int, error: str, description: str, *, scopes: tuple[str, ...] = (), guessed: bool = False
    ) -> None:
        self.status = status
        self.error = error
        self.description = description
        self.scopes = scopes
        self.guessed = guessed
        super().__init__(description)


class Tokens(Protocol):
    """Tells who an access token is of."""

    async def principal(self, token: bytes, digest: bytes, endpoint: Endpoint, base: str) -> Principal:
        """Return who comes with a token.

        Args:
            token: The token as it was presented.
            digest: ``digest_of`` it.
            endpoint: Where it is presented; has OAuth on.
            base: The public URL of the gateway.

        Raises:
            Rejected: It does not admit anybody there.
        """


def base_of(scope: Scope, app_url: str | None) -> str:
    """Return the public URL of the gateway without a slash at its end.

    Args:
        scope: A request, whose ``Host`` has been checked.
        app_url: The one that the operator gave; ``None``: the one that the request came to.
    """
    if app_url is not None:
        return app_url
    host = next((value for name, value in scope["headers"] if name == b"host"), b"localhost")
    return f"{scope.get('scheme', 'http')}://{host.decode('latin-1').lower()}{quote(scope.get('root_path', ''))}"


def names_this_machine(base: str) -> bool:
    """Tell whether a public URL of the gateway can only mean this machine, whoever has said it.

    Args:
        base: As from ``base_of``.
    """
    return is_loopback(host_name(base.partition("://")[2].partition("/")[0]) or "")


def challenge(
    scope: Scope,
    app_url: str | None,
    endpoint: Endpoint,
    error: str = "",
    description: str = "",
    scopes: Iterable[str] | None = None,
) -> tuple[bytes, bytes]:
    """Return the ``WWW-Authenticate`` header that leads a client to a good token.

    Args:
        scope: The request, with its leaf.
        app_url: As for ``base_of``.
        endpoint: Where a token is asked for.
        error: RFC 6750's name of what is wrong; empty when there was no token.
        description: The same in words.
        scopes: What to ask for; the endpoint's own, when left out.
    """
    leaf = str(scope.get("metamcp.leaf", "mcp")).partition("/")[0]
    place = f"{METADATA}/metamcp/{endpoint.name}/{'sse' if leaf == 'message' else leaf}"
    wanted = endpoint.oauth.scopes if scopes is None and endpoint.oauth is not None else scopes or ()
    parts = ['Bearer realm="MetaMCP"']
    if error:
        parts.append(f'error="{error}"')
    if description:
        parts.append(f'error_description="{_UNQUOTABLE.sub("", description)}"')
    if wanted:
        parts.append(f'scope="{" ".join(wanted)}"')
    parts.append(f'resource_metadata="{base_of(scope, app_url)}{place}"')
    return b"www-authenticate", ", ".join(parts).encode("latin-1", "replace")


def insufficient(endpoint: Endpoint, principal: Principal, tools: Iterable[str]) -> tuple[str, ...]:
    """Return all scopes that calling some tools needs, if the principal lacks one of them; else nothing (AU-03).

    Args:
        endpoint: Where they are called.
        principal: Who calls; those without a token need no scopes.
        tools: Their published names.
    """
    if principal.scopes is None or endpoint.oauth is None or not endpoint.oauth.tool_scopes:
        return ()
    wanted = dict.fromkeys(endpoint.oauth.scopes)
    for tool in tools:
        for pattern, scopes in endpoint.oauth.tool_scopes:
            if _fits(pattern, tool):
                wanted.update(dict.fromkeys(scopes))
    return tuple(wanted) if not principal.scopes.issuperset(wanted) else ()


def _fits(pattern: str, tool: str) -> bool:
    """Tell whether a name fits a pattern with ``*``: each part is looked for once, after the one before."""
    first, *rest = pattern.split("*")
    if not rest:
        return tool == pattern
    last = rest.pop()
    if not tool.startswith(first) or len(tool) < len(first) + len(last) or not tool.endswith(last):
        return False
    at, end = len(first), len(tool) - len(last)
    for part in rest:
        found = tool.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
