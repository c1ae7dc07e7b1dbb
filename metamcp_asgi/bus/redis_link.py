"""One connection to Redis for all commands of this process that do not block.

Commands given at the same time travel together, in the order in which they were given. No command is repeated: when the
connection fails, nobody knows whether Redis ran it, so whoever gave it decides. Knows nothing of what is stored.
"""

import asyncio
import collections
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AskError, RedisError, ResponseError

from metamcp_asgi.bus.protocol import BusUnavailable
from metamcp_asgi.bus.redis_address import COMMAND_SECONDS, Connections

__all__ = ["Link", "backoff", "open_connection"]

logger = logging.getLogger("metamcp")

_MOST_AT_ONCE: Final = 256
_BYTES_AT_ONCE: Final = 4 * 1024 * 1024
_SLOWEST: Final = 4 * 1024 * 1024
"""Bytes per second that a large message is given time for."""
_FIRST_DELAY, _LAST_DELAY = 0.05, 1.0


async def open_connection(connection: AbstractConnection) -> None:
    """Open a connection, log in included, within ``COMMAND_SECONDS``."""
    async with asyncio.timeout(COMMAND_SECONDS):
        await connection.connect()  # type: ignore[no-untyped-call]


def backoff(delay: float) -> float:
    """Return the next pause between attempts to connect; the first is that after 0."""
    return min(max(2 * delay, _FIRST_DELAY), _LAST_DELAY)


class Link:
    """Runs commands.

    Args:
        connections: How to reach Redis.
        connected: Called on every new connection, to give the first commands on it.
    """

    def __init__(self, connections: Connections, connected: Callable[[], None]) -> None:
        self._connection = connections.make()
        self._place = connections.place
        self._elsewhere = connections.elsewhere
        self._connected = connected
        self._waiting: collections.deque[tuple[list[bytes], int, asyncio.Future[Any]]] = collections.deque()
        self._wake = asyncio.Event()
        self._away: str | None = None
        """Why commands fail at once now."""

    async def open(self) -> None:
        """Connect for the first time, before ``run``.

        Raises:
            BusUnavailable: Redis cannot be reached.
        """
        try:
            await open_connection(self._connection)
        except (RedisError, OSError) as error:
            raise BusUnavailable(self._describe(error)) from error
        self._connected()

    def submit(self, *command: str | bytes | float) -> "asyncio.Future[Any]":
        """Give a command; the future fails with ``BusUnavailable``."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._away is not None:
            future.set_exception(BusUnavailable(self._away))
        else:
            packed = self._connection.pack_command(*command)
            self._waiting.append((packed, sum(map(len, packed)), future))
            self._wake.set()
        return future

    def post(self, *command: str | bytes | float) -> None:
        """Give a command whose failure is made good by others that follow."""
        self.submit(*command).add_done_callback(_retrieve)

    async def run(self) -> None:
        """Run what is given, and connect again after a failure; until cancelled."""
        delay = 0.0
        try:
            while True:
                try:
                    await self._exchange()
                except (RedisError, OSError) as error:
                    self._fail(self._describe(error))
                    await self._connection.disconnect(nowait=True)
                while self._away is not None:
                    try:
                        await open_connection(self._connection)
                    except (RedisError, OSError) as error:
                        self._away = self._describe(error)
                        delay = backoff(delay)
                        await asyncio.sleep(delay)
                    else:
                        logger.info("Redis at %s is reached again", self._place)
                        self._away, delay = None, 0.0
                        self._connected()
        finally:
            self._fail("this process leaves the bus", quiet=True)
            await self._connection.disconnect(nowait=True)

    async def flush(self) -> None:
        """Wait until everything given so far was run, or has failed."""
        if self._waiting:
            await asyncio.wait([future for _, _, future in self._waiting])

    async def _exchange(self) -> None:
        while True:
            await self._wake.wait()
            size = 0
            packed: list[bytes] = []
            batch: list[asyncio.Future[Any]] = []
            while self._waiting and len(batch) < _MOST_AT_ONCE and (not batch or size < _BYTES_AT_ONCE):
                command, length, future = self._waiting.popleft()
                packed += command
                size += length
                batch.append(future)
            if not self._waiting:
                self._wake.clear()
            await self._run_batch(packed, batch, COMMAND_SECONDS + size / _SLOWEST)

    async def _run_batch(self, packed: list[bytes], batch: "list[asyncio.Future[Any]]", seconds: float) -> None:
        refused: ResponseError | None = None
        try:
            async with asyncio.timeout(seconds):
                await self._connection.send_packed_command(packed, check_health=False)
                for future in batch:
                    try:
                        result = await self._connection.read_response()
                    except ResponseError as error:
                        if isinstance(error, self._elsewhere):
                            refused = error
                        _refuse(future, self._refusal(error))
                    else:
                        if not future.done():
                            future.set_result(result)
        except (RedisError, OSError) as error:
            for future in batch:
                _refuse(future, self._describe(error))
            raise
        except asyncio.CancelledError:
            for future in batch:
                _refuse(future, "this process leaves the bus")
            raise
        if refused is not None:
            # What was the primary is a replica now, or its keys have moved; a new connection may find them already.
            raise refused

    def _fail(self, reason: str, *, quiet: bool = False) -> None:
        if self._away is None and not quiet:
            logger.warning("%s", reason)
        self._away = reason
        while self._waiting:
            _refuse(self._waiting.popleft()[2], reason)
        self._wake.clear()

    def _refusal(self, error: ResponseError) -> str:
        if isinstance(error, AskError) and AskError not in self._elsewhere:
            return f"Redis at {self._place} is one node of a cluster, whose URL begins with redis+cluster://"
        return f"Redis at {self._place} refuses a command: {error}"

    def _describe(self, error: Exception) -> str:
        why = "its keys have moved" if isinstance(error, AskError) else error or type(error).__name__
        return f"Redis at {self._place} cannot be reached: {why}"


def _refuse(future: "asyncio.Future[Any]", reason: str) -> None:
    if not future.done():
        future.set_exception(BusUnavailable(reason))


def _retrieve(future: "asyncio.Future[Any]") -> None:
    with contextlib.suppress(asyncio.CancelledError):
        future.exception()
