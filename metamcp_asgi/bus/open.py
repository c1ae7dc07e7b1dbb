"""Chooses the bus by the settings; Redis is imported only where it is used."""

from collections.abc import Sequence

from metamcp_asgi.bus.memory import MemoryBus
from metamcp_asgi.bus.protocol import Bus, BusUnavailable
from metamcp_asgi.errors import ConfigError

__all__ = ["open_bus"]


def open_bus(redis_url: str | None, prefix: str, *, stateless: bool = False) -> Bus:
    """Return a bus that is not started yet.

    Args:
        redis_url: The Redis that all processes share; ``None``: this process is the only one.
        prefix: Of all keys in Redis.
        stateless: Whether there may be other processes that this one does without; then no buckets are shared, either.

    Raises:
        ConfigError: The URL is wrong or not wanted, or redis-py is not installed.
    """
    if redis_url is None:
        return MemoryBus(take=_uncountable if stateless else None)
    if stateless:
        reason = "is for processes without a Redis, and METAMCP_REDIS_URL is set; unset one of the two"
        raise ConfigError(reason, path="METAMCP_STATELESS")
    try:
        from metamcp_asgi.bus.redis import RedisBus
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "redis":
            raise
        raise ConfigError("needs redis-py: pip install 'metamcp-asgi[redis]'", path="METAMCP_REDIS_URL") from None
    return RedisBus(redis_url, prefix)


async def _uncountable(group: str, buckets: Sequence[tuple[str, int, float]]) -> tuple[int, Sequence[float]]:
    raise BusUnavailable("nothing is counted together without a Redis")
