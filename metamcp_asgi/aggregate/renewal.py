"""Resets and refreshes of servers that somebody asks for, in every process of the gateway.

Each process has sessions and lists of its own, and whoever asks reaches one of them, which tells the others over the
bus. A reset has a name, by which a companion knows that the processes that use it all mean the same one.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping

import msgspec
from msgspec import Struct

from metamcp_asgi.aggregate.catalogue import Catalogue
from metamcp_asgi.bus.protocol import Bus
from metamcp_asgi.errors import UpstreamError

__all__ = ["Renewal"]

_KIND = "renewal"


class _Wish(Struct, frozen=True, array_like=True):
    """A server by the name that the snapshot has for it, and the name of its reset; none for a refresh."""

    server: str
    reset: str = ""


class Renewal:
    """Begins anew with servers.

    Args:
        bus: Leads to the other processes.
        catalogues: Returns the catalogues of this process, by the names of the snapshot.
    """

    def __init__(self, bus: Bus, catalogues: Callable[[], Mapping[str, Catalogue]]) -> None:
        self._bus = bus
        self._catalogues = catalogues
        bus.serve(_KIND, self._arrived)

    async def reset(self, server: str) -> None:
        """End a server's sessions in all processes, and connect anew; calls in flight fail.

        Args:
            server: The name by which the snapshot knows it.

        Raises:
            BusUnavailable: The other processes cannot be told, or not all of them; this one has done it.
        """
        wish = _Wish(server, secrets.token_urlsafe(12))
        try:
            await self._bus.tell_all(_KIND, msgspec.msgpack.encode(wish))
        finally:
            await self._reset(wish)

    async def refresh(self, server: str) -> None:
        """Have the lists of a server that is ready read again in all other processes.

        Args:
            server: The name by which the snapshot knows it.

        Raises:
            BusUnavailable: They cannot be told, or not all of them.
        """
        await self._bus.tell_all(_KIND, msgspec.msgpack.encode(_Wish(server)))

    async def _reset(self, wish: _Wish) -> None:
        if (catalogue := self._catalogues().get(wish.server)) is not None:
            await catalogue.server.reset(wish.reset)

    async def _arrived(self, message: bytes) -> AsyncIterator[bytes]:
        wish = msgspec.msgpack.decode(message, type=_Wish)
        if wish.reset:
            # What cannot be reset now, a companion that is away, begins anew when it is back.
            with contextlib.suppress(UpstreamError):
                await self._reset(wish)
        elif (catalogue := self._catalogues().get(wish.server)) is not None and catalogue.server.state == "ready":
            await asyncio.wait([catalogue.refresh()])
        return
        yield b""
