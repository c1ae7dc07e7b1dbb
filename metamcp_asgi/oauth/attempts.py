"""How often somebody may try: token buckets of this process, as for wrong API keys."""

import math
import time
from collections.abc import Callable, Hashable

from starlette.types import Scope

from metamcp_asgi.asgi.bucket import Buckets
from metamcp_asgi.oauth.errors import OAuthError

__all__ = ["Attempts", "address_of"]


class Attempts:
    """Counts what somebody does.

    Args:
        per_minute: How often they may.
        clock: Seconds, never going backwards.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = per_minute
        self._clock = clock
        self._buckets = Buckets()

    def count(self, who: Hashable) -> None:
        """Count an attempt.

        Raises:
            OAuthError: It is one too many (429).
        """
        bucket, now = self._buckets.get(who, self._most, 60.0), self._clock()
        if wait := bucket.wait(now):
            raise OAuthError("too_many_requests", "too many attempts; try again later", 429, math.ceil(wait))
        bucket.take(now)


def address_of(scope: Scope) -> str:
    """Return the address that a request comes from."""
    client = scope.get("client")
    return str(client[0]) if client else ""
