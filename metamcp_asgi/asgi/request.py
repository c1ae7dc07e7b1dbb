"""Which request is being answered, for whoever writes a line about it.

A request costs one assignment here; its ids are looked for when something is logged. What runs on after its request, as
a connection to a server that it opened, keeps the ids if there were any, and never the headers.
"""

import re
import secrets
from contextvars import ContextVar
from typing import Final

from msgspec import Struct
from starlette.types import Scope

__all__ = ["Ids", "Request", "current", "ids"]

Ids = tuple[str, str]
"""The id of a request, and that of its trace, which may be empty."""

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_TRACE_PARENT: Final = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")


class Request(Struct):
    """One request; ``scope`` is its scope, as long as it lasts."""

    scope: Scope | None
    known: Ids | None = None

    def __repr__(self) -> str:
        return "<Request>"  # its headers have credentials

    def ids(self) -> Ids | None:
        """Return its ids; ``None`` when it ended before anybody asked.

        The id is that of ``X-Request-Id``, as nginx makes it, or made up; the trace's is in ``traceparent``.
        """
        if self.known is None and self.scope is not None:
            own, trace = secrets.token_hex(8), ""
            for name, value in self.scope["headers"]:
                if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                    own = value.decode()
                elif name == b"traceparent" and (parent := _TRACE_PARENT.fullmatch(value)) is not None:
                    trace = parent[1].decode()
            self.known = own, trace
        return self.known

    def end(self) -> None:
        """Let go of the headers."""
        self.scope = None


current: Final[ContextVar[Request | None]] = ContextVar("metamcp.request", default=None)


def ids() -> Ids | None:
    """Return the ids of the request that is being answered; ``None`` outside of one."""
    request = current.get()
    return None if request is None else request.ids()
