"""The names of all processes that live, for what is said to every one of them.

A name stays for a while after its process has died, so who is on the roll is still to be found alive.
"""

from typing import Final

from metamcp_asgi.bus.redis_link import Link

__all__ = ["Roll"]

_SECONDS: Final = 60
"""How long a name stays after its last sign of life."""

_SIGN: Final = """
local now = redis.call('TIME')[1]
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""


class Roll:
    """The roll of one gateway.

    Args:
        link: Runs commands.
        prefix: Of the key.
        name: This process.
    """

    __slots__ = ("_key", "_link", "_name")

    def __init__(self, link: Link, prefix: str, name: str) -> None:
        self._link = link
        self._key = f"{prefix}:{{processes}}"
        self._name = name

    def sign(self) -> None:
        """Put this process on the roll, and take off who has not signed for long."""
        self._link.post("EVAL", _SIGN, 1, self._key, self._name, _SECONDS)

    def leave(self) -> None:
        """Take this process off."""
        self._link.post("ZREM", self._key, self._name)

    async def others(self) -> list[str]:
        """Return all names but that of this process.

        Raises:
            BusUnavailable: Redis cannot be reached.
        """
        names: list[bytes] = await self._link.submit("ZRANGE", self._key, 0, -1)
        return [name.decode() for name in names if name.decode() != self._name]
