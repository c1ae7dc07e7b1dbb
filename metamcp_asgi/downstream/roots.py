"""``notifications/roots/list_changed`` of legacy clients, passed on to servers that may ask for them (eras.md 2.11).

The sessions with these servers may be at any process, whichever the notification came to.
"""

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from metamcp_asgi.bus.protocol import Bus

__all__ = ["Roots"]

_TOPIC: Final = "legacy:roots"


class _Changed(Struct, array_like=True):
    """Whose roots have changed; ``principal`` is ``None`` for a stranger."""

    endpoint: str
    principal: str | None
    session: str


class Roots:
    """Passes on that roots have changed.

    Args:
        changed: Tells the servers of an endpoint: given its name, the principal and the client session.
        bus: Leads to the other processes.
    """

    def __init__(self, changed: Callable[[str, str | None, str], None], bus: Bus) -> None:
        self._tell = changed
        self._bus = bus
        bus.subscribe(_TOPIC, self._heard)

    async def changed(self, endpoint: str, principal: str | None, session: str) -> None:
        """Tell the servers, in every process.

        Args:
            endpoint: Which the client uses.
            principal: Who it is; ``None`` for a stranger.
            session: Its session.

        Raises:
            BusUnavailable: Other processes cannot be told.
        """
        if self._bus.alone:
            self._tell(endpoint, principal, session)
        else:
            await self._bus.publish(_TOPIC, msgspec.msgpack.encode(_Changed(endpoint, principal, session)))

    def _heard(self, event: bytes | None) -> None:
        if event is not None:
            changed = msgspec.msgpack.decode(event, type=_Changed)
            self._tell(changed.endpoint, changed.principal, changed.session)
