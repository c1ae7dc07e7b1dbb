"""Where Redis is: at one address, or wherever its Sentinels say that the primary is at the moment.

    redis://user:password@host:6379/0                          rediss:// with TLS
    redis+sentinel://user:password@one:26379,two:26379/NAME/0  rediss+sentinel:// with TLS, for the Sentinels, too
    unix:///path

Each connection asks the Sentinels when it is opened, so it finds a new primary after the old one has failed.
"""

from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from metamcp_asgi.errors import ConfigError

__all__ = ["COMMAND_SECONDS", "Connections"]

COMMAND_SECONDS: Final = 2.0
"""How long Redis may take to accept a connection, or to answer what does not block."""
SENTINEL_SECONDS: Final = 0.5
"""How long a Sentinel may take, before the next one is asked."""
_SENTINEL_PORT: Final = 26379


class Connections:
    """Makes connections to one Redis.

    Args:
        url: As above, with options of redis-py such as ``?ssl_ca_certs=/path``.

    Raises:
        ConfigError: The URL is wrong; the message does not show it, because it may have a password.
    """

    def __init__(self, url: str) -> None:
        self._sentinel: Sentinel | None = None
        self._pool: ConnectionPool
        try:
            scheme, _, rest = url.partition("://")
            if scheme.endswith("+sentinel"):
                self._pool = self._found_by_sentinels(scheme.removesuffix("+sentinel"), rest)
            else:
                parts = urlsplit(url)
                self.place = f"{parts.hostname}:{parts.port or 6379}" if parts.scheme != "unix" else parts.path
                given = _given(url)
                if parts.scheme == "unix":
                    del given["socket_keepalive"]
                self._pool = ConnectionPool(**given)
            self.make()
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"the URL of Redis cannot be used ({type(error).__name__}); it looks like redis://host:6379/0, or "
                "rediss://user:password@host:6379/0 for TLS, or redis+sentinel://host:26379,host:26379/NAME/0",
                path="METAMCP_REDIS_URL",
            ) from None

    def make(self) -> Connection:
        """Return a connection that is not open yet; it can be opened again and again."""
        connection: Connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        return connection

    async def aclose(self) -> None:
        """Close the connections to the Sentinels; the others are whose who made them."""
        for sentinel in self._sentinel.sentinels if self._sentinel is not None else ():
            await sentinel.aclose()

    def _found_by_sentinels(self, scheme: str, rest: str) -> SentinelConnectionPool:
        authority, _, path = rest.partition("/")
        login, at, hosts = authority.rpartition("@")
        path, _, query = path.partition("?")
        name, _, database = path.partition("/")
        if not name:
            raise ValueError("the name of the primary is missing")
        sentinels = [urlsplit(f"//{host}") for host in hosts.split(",")]
        if not all(each.hostname for each in sentinels):
            raise ValueError("a Sentinel is missing")
        self.place = f"the primary {name} of {hosts}"
        given = _given(f"{scheme}://{login}{at}primary/{database}" + (f"?{query}" if query else ""))
        del given["host"]
        own = {key: value for key, value in given.items() if key.startswith("ssl_")}
        own |= {"socket_timeout": SENTINEL_SECONDS, "socket_connect_timeout": SENTINEL_SECONDS, "ssl": False}
        own["retry"] = Retry(NoBackoff(), 0)
        if given.pop("connection_class", None) is SSLConnection:
            given["ssl"] = own["ssl"] = True
        addresses = [(each.hostname, each.port or _SENTINEL_PORT) for each in sentinels]
        self._sentinel = Sentinel(addresses, sentinel_kwargs=own)  # type: ignore[no-untyped-call]
        return SentinelConnectionPool(name, self._sentinel, **given)  # type: ignore[no-untyped-call]


def _given(url: str) -> dict[str, Any]:
    # Timeouts are set around whole batches, and retries are decided by who knows what may be repeated.
    return dict(parse_url(url)) | {
        "protocol": 2,
        "decode_responses": False,
        "socket_timeout": None,
        "socket_connect_timeout": COMMAND_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": 0,
        "retry": Retry(NoBackoff(), 0),
    }
