"""Chooses the bus by the settings; Redis is imported only where it is used."""

from metamcp_asgi.bus.memory import MemoryBus
from metamcp_asgi.bus.protocol import Bus
from metamcp_asgi.errors import ConfigError

__all__ = ["open_bus"]


def open_bus(redis_url: str | None, prefix: str) -> Bus:
    """Return a bus that is not started yet.

    Args:
        redis_url: The Redis that all processes share; ``None``: this process is the only one.
        prefix: Of all keys in Redis.

    Raises:
        ConfigError: The URL is wrong, or redis-py is not installed.
    """
    if redis_url is None:
        return MemoryBus()
    try:
        from metamcp_asgi.bus.redis import RedisBus
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "redis":
            raise
        raise ConfigError("needs redis-py: pip install 'metamcp-asgi[redis]'", path="METAMCP_REDIS_URL") from None
    return RedisBus(redis_url, prefix)
