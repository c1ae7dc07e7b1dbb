"""How often somebody may try, as for wrong API keys; counted for all processes where they share buckets."""

import math

from starlette.types import Scope

from metamcp_asgi.asgi.bucket import Counting
from metamcp_asgi.oauth.errors import OAuthError

__all__ = ["Attempts", "address_of"]


class Attempts:
    """Counts what somebody does.

    Args:
        counting: Has the buckets.
        what: What is counted.
        per_minute: How often they may.
    """

    def __init__(self, counting: Counting, what: str, per_minute: int) -> None:
        self._counting = counting
        self._what = what
        self._most = per_minute

    async def count(self, who: str) -> None:
        """Count an attempt.

        Args:
            who: Whose it is.

        Raises:
            OAuthError: It is one too many (429).
        """
        if wait := await self._counting.wait("oauth", f"{self._what} {who}", self._most, 60.0):
            raise OAuthError("too_many_requests", "too many attempts; try again later", 429, math.ceil(wait))


def address_of(scope: Scope) -> str:
    """Return the address that a request comes from."""
    client = scope.get("client")
    return str(client[0]) if client else ""
