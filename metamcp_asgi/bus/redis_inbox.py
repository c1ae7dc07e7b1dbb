"""The inbox of this process: a Redis stream that is read on a connection of its own.

An entry is deleted after it was handled, with the next read; so a read always begins at the stream's start, whatever
happened to Redis in between. Knows nothing of what the entries say.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from redis.exceptions import RedisError

from metamcp_asgi.bus.redis_address import COMMAND_SECONDS, Connections
from metamcp_asgi.bus.redis_link import backoff, open_connection

__all__ = ["Inbox"]

logger = logging.getLogger("metamcp")

_BLOCK: Final = 1.0
"""Seconds that a read waits for entries; each return shows that the inbox works."""
_MOST_AT_ONCE: Final = 64
_DELAYED: Final = 2.5 * _BLOCK
"""Seconds since the read before this one was begun, after which entries may be old."""


class Inbox:
    """Reads entries and has each handled, in their order.

    Args:
        connections: How to reach Redis.
        key: The stream.
        handle: Handles an entry; is given its age in seconds where it may be old, else 0.0.
    """

    def __init__(self, connections: Connections, key: str, handle: Callable[[bytes, float], None]) -> None:
        self._connection = connections.make()
        self._key = key
        self._handle = handle
        self._handled: list[bytes] = []
        """Entries that are to be deleted; when that fails, they are read again and passed over."""
        self._at_once = _MOST_AT_ONCE
        self.read_at = time.monotonic()
        """When the last read was answered."""
        self._began_at = self.read_at
        """When it was begun."""

    async def run(self) -> None:
        """Read, and connect again after a failure; until cancelled."""
        delay = 0.0
        try:
            while True:
                try:
                    await open_connection(self._connection)
                    while True:
                        await self._read()
                        delay = 0.0
                        self._at_once = min(2 * self._at_once, _MOST_AT_ONCE)
                except (RedisError, OSError) as error:
                    logger.debug("The inbox is read again after: %s", error or type(error).__name__)
                    await self._connection.disconnect(nowait=True)
                    # Large entries may take too long over a slow network, unless there are fewer of them.
                    self._at_once = max(1, self._at_once // 2)
                delay = backoff(delay)
                await asyncio.sleep(delay)
        finally:
            await self._connection.disconnect(nowait=True)

    async def _read(self) -> None:
        commands: list[tuple[str | bytes | int, ...]] = []
        if self._handled:
            commands.append(("XDEL", self._key, *self._handled))
        # Not longer than the timeout around it: a reader that fails of waiting is how calls come to hang.
        read = ("XREAD", "COUNT", self._at_once, "BLOCK", int(1000 * _BLOCK), "STREAMS", self._key, "0")
        began_at = time.monotonic()
        *_, found = await self._exchange([*commands, read], _BLOCK + COMMAND_SECONDS)
        entries: list[tuple[bytes, list[bytes]]] = found[0][1] if found else []
        now = 0.0
        if entries and time.monotonic() - self._began_at > _DELAYED:
            # This process or its connection stood still. Its last answer may be as old as its last question: what is
            # read now can have come since then.
            [(seconds, micros)] = await self._exchange([("TIME",)], COMMAND_SECONDS)
            now = int(seconds) + int(micros) / 1e6
        self.read_at, self._began_at = time.monotonic(), began_at
        again, self._handled = set(self._handled), [entry for entry, _ in entries]
        for entry, fields in entries:
            if entry in again:
                continue
            try:
                self._handle(fields[1], now - int(entry.partition(b"-")[0]) / 1000 if now else 0.0)
            except Exception:  # a defect met by one message is not to cost the others
                logger.exception("A message of the bus could not be handled")

    async def _exchange(self, commands: list[tuple[str | bytes | int, ...]], seconds: float) -> list[Any]:
        async with asyncio.timeout(seconds):
            packed = self._connection.pack_commands(commands)
            await self._connection.send_packed_command(packed, check_health=False)
            return [await self._connection.read_response() for _ in commands]
