"""Which request is being answered, for whoever writes a line about it.

A request costs one assignment here; its ids are looked for when something is logged. What runs on after its request, as
a connection to a server that it opened, keeps the ids if there were any, and never the headers.
"""

import re
import secrets
from contextvars import ContextVar
from typing import Final

from starlette.types import Scope

__all__ = ["Ids", "Request", "current", "ids"]

Ids = tuple[str, str]
"""The id of a request, and that of its trace, which may be empty."""

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_TRACE_PARENT: Final = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")


class Request:
    """One request.

    Args:
        scope: Its scope.
    """

    __slots__ = ("_ids", "_scope")

    def __init__(self, scope: Scope) -> None:
        self._scope: Scope | None = scope
        self._ids: Ids | None = None

    def ids(self) -> Ids | None:
        """Return its ids; ``None`` when it ended before anybody asked.

        The id is that of ``X-Request-Id``, as nginx makes it, or made up; the trace's is in ``traceparent``.
        """
        if self._ids is None and self._scope is not None:
            own, trace = secrets.token_hex(8), ""
            for name, value in self._scope["headers"]:
                if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                    own = value.decode()
                elif name == b"traceparent" and (parent := _TRACE_PARENT.fullmatch(value)) is not None:
                    trace = parent[1].decode()
            self._ids = own, trace
        return self._ids

    def end(self) -> None:
        """Let go of the headers."""
        self._scope = None


current: Final[ContextVar[Request | None]] = ContextVar("metamcp.request", default=None)


def ids() -> Ids | None:
    """Return the ids of the request that is being answered; ``None`` outside of one."""
    request = current.get()
    return None if request is None else request.ids()
