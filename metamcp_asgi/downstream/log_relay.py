"""Log messages of a call, relayed to its client on the stream of this very request (LO-01)."""

import msgspec
from msgspec import Raw

from metamcp_asgi.downstream.reply import Outlet
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, Members, encode, notification
from metamcp_asgi.protocol.levels import LEVELS, at_least
from metamcp_asgi.protocol.meta import LOG_LEVEL

__all__ = ["LogRelay", "read_level"]


def read_level(value: Raw) -> str:
    """Return the level that a request names in its ``_meta``.

    Raises:
        ProtocolError: ``INVALID_PARAMS``, there is no such level.
    """
    level = _level(value)
    if level is None:
        raise ProtocolError(INVALID_PARAMS, f"{LOG_LEVEL} must be one of {', '.join(LEVELS)}")
    return level


class LogRelay:
    """Called with the members of each log message of one call.

    Args:
        level: The least severe level that the client wants; ``None`` leaves it to the server (LO-02).
        outlet: Where the client reads.
    """

    __slots__ = ("_level", "_outlet")

    def __init__(self, level: str | None, outlet: Outlet) -> None:
        self._level = level
        self._outlet = outlet

    def __call__(self, members: Members) -> None:
        """Relay one message, unless it is less severe than the client wants; one without a known level is."""
        level = _level(members.get("level", Raw(b"null")))
        if level is not None and (self._level is None or at_least(level, self._level)):
            self._outlet.notify(notification("notifications/message", encode(members)))


def _level(value: Raw) -> str | None:
    level = msgspec.json.decode(value)
    return level if isinstance(level, str) and level in LEVELS else None
