"""Token buckets that all processes share, exact and atomic in Redis.

The same arithmetic as ``metamcp_asgi/asgi/bucket.py``, in a script: a bucket is the moment at which it will be full
again, by the clock of Redis, and one that is full is no key at all.
"""

import hashlib
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from metamcp_asgi.bus.redis_link import Link

__all__ = ["RedisBuckets"]

# For each bucket its capacity and its seconds in ARGV. The slack is that of bucket.py. Moments are written with
# microseconds, because Lua would round them to 14 digits.
_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local debts, empty = {}, -1
for i = 1, #KEYS do
  local interval = ARGV[2 * i] / ARGV[2 * i - 1]
  debts[i] = math.max(0, (redis.call('GET', KEYS[i]) or now) - now)
  if empty < 0 and debts[i] + interval - ARGV[2 * i] > interval * 0.001 then
    empty = i - 1
  end
end
local answer = {empty}
for i = 1, #KEYS do
  if empty < 0 then
    debts[i] = debts[i] + ARGV[2 * i] / ARGV[2 * i - 1]
    local milliseconds = string.format('%d', math.ceil(debts[i] * 1000))
    redis.call('SET', KEYS[i], string.format('%.6f', now + debts[i]), 'PX', milliseconds)
  end
  answer[i + 1] = string.format('%.6f', debts[i])
end
return answer
"""


class RedisBuckets:
    """The buckets of one gateway.

    Args:
        link: Runs commands.
        prefix: Of the keys.
    """

    __slots__ = ("_link", "_prefix")

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix

    async def take(self, group: str, buckets: Sequence[tuple[str, int, float]]) -> tuple[int, Sequence[float]]:
        """Take one from each bucket, or from none if one is empty.

        Args:
            group: What the buckets belong to; a group is kept together in a cluster.
            buckets: Name, capacity, and the seconds in which it fills, of each. Other sizes are other buckets.

        Returns:
            The index of the first that is empty, -1 if there is none; and the seconds until each is full.

        Raises:
            BusUnavailable: Redis cannot be reached.
        """
        keys, sizes = [], []
        for name, capacity, seconds in buckets:
            # The digest keeps keys short, and addresses and header values out of Redis.
            digest = hashlib.blake2b(f"{capacity}/{seconds!r}/{name}".encode(), digest_size=16).hexdigest()
            keys.append(f"{self._prefix}:{{limits:{quote(group, safe='')}}}:{digest}")
            sizes += [capacity, seconds]
        empty, *debts = await self._link.submit("EVAL", _TAKE, len(keys), *keys, *sizes)
        return int(empty), [float(debt) for debt in debts]
