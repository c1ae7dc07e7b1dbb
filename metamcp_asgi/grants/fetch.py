"""What the other rooms here ask others over HTTP, and how they are told that it went wrong."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from metamcp_asgi.errors import UpstreamError
from metamcp_asgi.outward.guard import Guard, OutwardRefused

if TYPE_CHECKING:
    import httpx2

    from metamcp_asgi.outward.fetch import Fetcher

__all__ = ["Fetch", "GrantError", "Outward", "Refused", "check_installed"]

_FRAMING: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})

Fetch: TypeAlias = "Callable[[httpx2.Request], Awaitable[httpx2.Response]]"
"""Sends a request and returns its response, read whole; follows no redirect, reaches only what it is allowed to.

Raises ``GrantError`` for what it does not reach.
"""


class GrantError(UpstreamError):
    """A grant could not be got; the message says why, and is safe to show to who asked for it."""


class Refused(GrantError):
    """The authorization server refuses for good what it was asked, so somebody has to agree anew.

    Args:
        error: Its code (RFC 6749 section 5.2), such as ``invalid_grant``.
        reason: What is told.
    """

    def __init__(self, error: str, reason: str) -> None:
        self.error = error
        super().__init__(reason)


def check_installed() -> None:
    """Let pass where the packages are installed that OAuth needs.

    Raises:
        GrantError: They are not.
    """
    try:
        import httpx2  # noqa: F401
        import mcp.client.auth  # noqa: F401
    except ImportError:
        raise GrantError('asks for OAuth, which needs further packages: pip install "metamcp-asgi[oauth]"') from None


class Outward:
    """Sends requests, as ``Fetch`` says, to where a guard lets them; its connections are made when the first is sent.

    Args:
        guard: Where requests may go.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._fetcher: Fetcher | None = None

    async def __call__(self, request: "httpx2.Request") -> "httpx2.Response":
        """Send one request.

        Raises:
            GrantError: It may not be sent there, or nothing that can be used came back.
        """
        import httpx2

        from metamcp_asgi.outward.fetch import Fetcher, OutwardFailed

        if self._fetcher is None:
            self._fetcher = Fetcher(self._guard)
        headers = {name: value for name, value in request.headers.items() if name not in _FRAMING}
        try:
            answer = await self._fetcher.fetch(
                str(request.url), method=request.method, headers=headers, body=request.read() or None
            )
        except OutwardRefused as error:
            allowed = "if it is yours, name it in METAMCP_OUTWARD_ALLOWED"
            raise GrantError(f"is authorized at an address that may not be asked: {error}; {allowed}") from None
        except OutwardFailed as error:
            raise GrantError(f"is authorized at an address that does not answer: {error}") from None
        return httpx2.Response(answer.status, headers=dict(answer.headers), content=answer.body, request=request)

    async def aclose(self) -> None:
        """Close all connections."""
        fetcher, self._fetcher = self._fetcher, None
        if fetcher is not None:
            await fetcher.aclose()
