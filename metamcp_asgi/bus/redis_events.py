"""Events to all processes: one Redis channel, and a counter behind it by which each sees what it has missed.

The counter begins with a random epoch wherever Redis has none, so that a number never comes again after a loss of data.
"""

import asyncio
import contextlib
import logging
import secrets
from typing import Any, Final, TypeAlias

import msgspec
from redis.exceptions import RedisError

from metamcp_asgi.bus.memory import Listeners
from metamcp_asgi.bus.protocol import BusUnavailable
from metamcp_asgi.bus.redis_address import COMMAND_SECONDS, Connections
from metamcp_asgi.bus.redis_link import Link, backoff, open_connection

__all__ = ["Events"]

logger = logging.getLogger("metamcp")

_SILENCE: Final = 4.0
"""Seconds without an event or the answer to a ping, after which the connection counts as dead."""

_COUNTER: Final = """
redis.call('HSETNX', KEYS[1], 'epoch', ARGV[1])
local epoch = redis.call('HGET', KEYS[1], 'epoch')
local number = redis.call('HINCRBY', KEYS[1], 'number', ARGV[2])
redis.call('EXPIRE', KEYS[1], 86400)
"""
_READ: Final = f"{_COUNTER} return {{epoch, number}}"
_PUBLISH: Final = f"{_COUNTER} redis.call('PUBLISH', ARGV[3], epoch .. ' ' .. number .. ' ' .. ARGV[4])"

_Counter: TypeAlias = tuple[bytes, int]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, bytes]).decode


class Events:
    """Publishes, and tells the listeners of this process.

    Args:
        connections: How to reach Redis.
        link: Runs commands.
        prefix: Of the key and the channel.
        listeners: Who is told.
    """

    def __init__(self, connections: Connections, link: Link, prefix: str, listeners: Listeners) -> None:
        self._connection = connections.make()
        self._link = link
        self._channel = f"{prefix}:{{events}}"
        self._key = f"{prefix}:{{events}}:counter"
        self._listeners = listeners
        self._seen: _Counter | None = None
        """Of the last event that was told, or told as missed."""
        self._behind: _Counter | None = None
        """What was seen at the last beat, when the counter was further."""
        self._heard = asyncio.Event()
        self.fault: Exception | None = None
        """Why nothing is heard now."""

    async def publish(self, topic: str, event: bytes) -> None:
        """Tell all processes.

        Raises:
            BusUnavailable: Redis cannot be reached.
        """
        message = _encode((topic, event))
        await self._link.submit("EVAL", _PUBLISH, 1, self._key, secrets.token_hex(8), 1, self._channel, message)

    async def ready(self) -> None:
        """Wait until events are heard for the first time."""
        await self._heard.wait()

    async def beat(self) -> None:
        """Look whether the connection lives and whether anything was missed; to be called about once a second."""
        if self.fault is not None or not self._heard.is_set():
            return
        with contextlib.suppress(RedisError, OSError):  # the listening task notices that, too
            await self._connection.send_packed_command(self._connection.pack_command("PING"), check_health=False)
        self._read().add_done_callback(self._compare)

    async def run(self) -> None:
        """Listen, and connect again after a failure; until cancelled."""
        delay = 0.0
        try:
            while True:
                try:
                    await self._subscribe()
                    self.fault = None
                    self._heard.set()
                    while True:
                        async with asyncio.timeout(_SILENCE):
                            kind, *rest = await self._connection.read_response()
                        delay = 0.0
                        if kind == b"message":
                            self._hear(rest[-1])
                except (RedisError, OSError, BusUnavailable) as error:
                    self.fault = error
                    logger.debug("Events are heard again after: %s", error or type(error).__name__)
                    await self._connection.disconnect(nowait=True)
                delay = backoff(delay)
                await asyncio.sleep(delay)
        finally:
            await self._connection.disconnect(nowait=True)

    async def _subscribe(self) -> None:
        await open_connection(self._connection)
        async with asyncio.timeout(COMMAND_SECONDS):
            command = self._connection.pack_command("SUBSCRIBE", self._channel)
            await self._connection.send_packed_command(command, check_health=False)
            await self._connection.read_response()
        # What was published before this is missed or, a moment ago, heard twice, which does no harm.
        self._catch_up(_counter(await self._read()))

    def _read(self) -> "asyncio.Future[Any]":
        return self._link.submit("EVAL", _READ, 1, self._key, secrets.token_hex(8), 0)

    def _hear(self, data: bytes) -> None:
        try:
            epoch, number, message = data.split(b" ", 2)
            topic, event = _decode(message)
            counter = epoch, int(number)
        except (ValueError, msgspec.MsgspecError):
            logger.warning("An event that cannot be read was passed over; do all processes run the same version?")
            return
        if self._seen is None or self._seen[0] != counter[0] or self._seen[1] + 1 < counter[1]:
            self._catch_up(counter)
        elif self._seen[1] < counter[1]:
            self._seen = counter
        self._listeners.tell(topic, event)

    def _compare(self, read: "asyncio.Future[Any]") -> None:
        if read.cancelled() or read.exception() is not None or self.fault is not None:
            return
        counter = _counter(read.result())
        if counter == self._seen:
            self._behind = None
        elif self._seen == self._behind:
            # An event may be on its way while the counter is read, but not from one beat to the next.
            self._catch_up(counter)
        else:
            self._behind = self._seen

    def _catch_up(self, counter: _Counter) -> None:
        missed = self._seen is not None and self._seen != counter
        self._seen, self._behind = counter, None
        if missed:
            self._listeners.tell_missed()


def _counter(read: tuple[bytes, int]) -> _Counter:
    return read[0], read[1]
