"""Requests to a server that asks for OAuth: they carry the token of a grant, and what it refuses is seen to once.

Knows no OAuth: where tokens come from is a room above, behind ``Grant`` and ``Grants``.
"""

from collections.abc import Iterable
from typing import Final, Protocol

from metamcp_asgi.config.snapshot import Server
from metamcp_asgi.errors import UpstreamUnavailable
from metamcp_asgi.upstream.http1 import HTTPClient, Response, Target

__all__ = ["AuthorizationNeeded", "Grant", "GrantedHTTP", "Grants"]

_REFUSED: Final = (401, 403)


class AuthorizationNeeded(UpstreamUnavailable):
    """Somebody has to let us use a server first. It has executed nothing.

    Args:
        reason: What is to be done, in one line.
        page: The page on which that is done, if there is one.
    """

    def __init__(self, reason: str, page: str | None = None) -> None:
        self.page = page
        super().__init__(reason)


class Grant(Protocol):
    """What we may do at one server, for everybody or on behalf of one user."""

    @property
    def ready(self) -> bytes | None:
        """What ``line`` would return, if that needs nothing to be done first."""

    async def line(self) -> bytes:
        r"""Return the header line to send, ``b"Authorization: Bearer ...\r\n"``, or nothing when there is no token.

        Raises:
            UpstreamError: The token has expired, and there is no other one now.
        """

    async def refused(self, line: bytes, status: int, challenge: str) -> None:
        """See to another token than the one that the server has just refused.

        Args:
            line: What was sent.
            status: 401, or 403 for a token that lets us do too little.
            challenge: The server's ``WWW-Authenticate``.

        Raises:
            AuthorizationNeeded: That takes a person.
            UpstreamError: There is none now.
        """


class Grants(Protocol):
    """All grants of a process."""

    def of(self, server: Server, user: str | None = None) -> Grant | None:
        """Return the grant for a server.

        Args:
            server: The server.
            user: On whose behalf, for a server at which everybody has a grant of their own; ``None`` for ours.

        Returns:
            ``None`` when the server is used without.
        """

    async def aclose(self) -> None:
        """Close what they hold."""


class GrantedHTTP:
    """The part of ``HTTPClient`` that sessions use, with the token of a grant in every request.

    Args:
        http: The client.
        grant: The grant.
    """

    __slots__ = ("_grant", "_http")

    def __init__(self, http: HTTPClient, grant: Grant) -> None:
        self._http = http
        self._grant = grant

    def target(self, url: str, headers: Iterable[tuple[str, str]] = ()) -> Target:
        """Check and compile where to send requests; see ``HTTPClient.target``."""
        return self._http.target(url, headers)

    async def send(self, target: Target, method: bytes, headers: bytes = b"", body: bytes | None = None) -> Response:
        """Send one request; one that was refused for its token, and so not executed, once more with another one.

        Raises:
            AuthorizationNeeded: Somebody has to let us use the server first.
            UpstreamError: As ``HTTPClient.send``; or there is no token now.
        """
        line = self._grant.ready
        if line is None:
            line = await self._grant.line()
        response = await self._http.send(target, method, headers + line, body)
        if response.status not in _REFUSED:
            return response
        challenge = (response.header(b"www-authenticate") or b"").decode("latin-1")
        if response.status == 403 and "insufficient_scope" not in challenge:
            return response
        response.detach()
        await self._grant.refused(line, response.status, challenge)
        return await self._http.send(target, method, headers + await self._grant.line(), body)
