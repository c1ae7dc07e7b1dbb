"""Leases in Redis: one key each, that is gone when the lease is over, with its holder, number and note.

Numbers are microseconds on the clock of Redis, or one more than the last, so that they rise even over a loss of all
data. Every script touches one key, so any of a cluster's nodes may hold it.
"""

from typing import Final

from metamcp_asgi.bus.protocol import Lease
from metamcp_asgi.bus.redis_link import Link

__all__ = ["RedisLeases"]

# Microseconds of our time have 16 digits, which Lua's numbers hold exactly until the year 2255.
_TAKE: Final = """
local found = redis.call('HMGET', KEYS[1], 'holder', 'number', 'note')
if found[1] and ARGV[3] ~= '*' and ARGV[3] ~= found[1] then return {} end
local time = redis.call('TIME')
local number = math.max(time[1] * 1000000 + time[2], (tonumber(found[2]) or 0) + 1)
local written = string.format('%.0f', number)
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'number', written)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {written, found[1] or '', found[3] or ''}
"""
_RENEW: Final = """
if redis.call('HGET', KEYS[1], 'number') ~= ARGV[1] then return 0 end
if ARGV[3] then redis.call('HSET', KEYS[1], 'note', ARGV[3]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
_RELEASE: Final = """
if redis.call('HGET', KEYS[1], 'number') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class RedisLeases:
    """The leases of one gateway; what each method does is in ``Bus``.

    Args:
        link: Runs commands.
        prefix: Of the keys.
        name: This process.
    """

    __slots__ = ("_link", "_name", "_prefix")

    def __init__(self, link: Link, prefix: str, name: str) -> None:
        self._link = link
        self._prefix = prefix
        self._name = name

    async def lease(self, key: str, seconds: float, *, seize: bool | str) -> Lease | None:
        """Take a lease."""
        of = seize if isinstance(seize, str) else "*" if seize else ""
        arguments = self._name, _milliseconds(seconds), of
        found = await self._link.submit("EVAL", _TAKE, 1, self._key(key), *arguments)
        if not found:
            return None
        number, before, note = found
        return Lease(key, int(number), before.decode() or None, note)

    async def renew(self, lease: Lease, seconds: float, note: bytes | None) -> bool:
        """Renew a lease."""
        arguments = [lease.number, _milliseconds(seconds)] + ([note] if note is not None else [])
        return bool(await self._link.submit("EVAL", _RENEW, 1, self._key(lease.key), *arguments))

    async def release(self, lease: Lease) -> None:
        """Give a lease up."""
        await self._link.submit("EVAL", _RELEASE, 1, self._key(lease.key), lease.number)

    async def holder(self, key: str) -> str | None:
        """Return who holds a lease."""
        found: bytes | None = await self._link.submit("HGET", self._key(key), "holder")
        return None if found is None else found.decode()

    def _key(self, key: str) -> str:
        return f"{self._prefix}:lease:{key}"


def _milliseconds(seconds: float) -> int:
    return max(1, int(1000 * seconds))
