"""Where Redis is: at one address, or wherever its Sentinels, or the nodes of its cluster, say at the moment.

    redis://user:password@host:6379/0                          rediss:// with TLS
    redis+sentinel://user:password@one:26379,two:26379/NAME/0  rediss+sentinel:// with TLS, for the Sentinels, too
    redis+cluster://user:password@one:6379,two:6379            rediss+cluster:// with TLS
    unix:///path

Each connection asks them when it is opened, so it finds a new primary after the old one has failed.
"""

from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, ResponseError

from metamcp_asgi.bus.redis_cluster import MOVED, NODE_SECONDS, ClusterConnection, ClusterSSLConnection, tagged
from metamcp_asgi.errors import ConfigError

__all__ = ["COMMAND_SECONDS", "Connections"]

COMMAND_SECONDS: Final = 2.0
"""How long Redis may take to accept a connection, or to answer what does not block."""
SENTINEL_SECONDS: Final = 0.5
"""How long a Sentinel may take, before the next one is asked."""
_SENTINEL_PORT: Final = 26379
_PORT: Final = 6379


class Connections:
    """Makes connections to one Redis.

    Args:
        url: As above, with options of redis-py such as ``?ssl_ca_certs=/path``.
        prefix: Of all keys.

    Raises:
        ConfigError: The URL is wrong; the message does not show it, because it may have a password.
    """

    elsewhere: tuple[type[ResponseError], ...] = (ReadOnlyError,)
    """What a Redis says that is the wrong one now: the connection is opened again, which leads to the right one."""

    def __init__(self, url: str, prefix: str) -> None:
        self.prefix = prefix
        self._sentinel: Sentinel | None = None
        self._pool: ConnectionPool
        try:
            scheme, _, rest = url.partition("://")
            if scheme.endswith("+sentinel"):
                self._pool = self._found_by_sentinels(scheme.removesuffix("+sentinel"), rest)
            elif scheme.endswith("+cluster"):
                self._pool = self._found_by_nodes(scheme.removesuffix("+cluster"), rest)
            else:
                parts = urlsplit(url)
                self.place = f"{parts.hostname}:{parts.port or _PORT}" if parts.scheme != "unix" else parts.path
                given = _given(url)
                if parts.scheme == "unix":
                    del given["socket_keepalive"]
                self._pool = ConnectionPool(**given)
            self.make()
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"the URL of Redis cannot be used ({type(error).__name__}); it looks like redis://host:6379/0, or "
                "rediss://user:password@host:6379/0 for TLS, or redis+sentinel://host:26379,host:26379/NAME/0, or "
                "redis+cluster://host:6379,host:6379",
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
        addresses = _addresses(hosts, _SENTINEL_PORT)
        self.place = f"the primary {name} of {hosts}"
        given = _given(f"{scheme}://{login}{at}primary/{database}" + (f"?{query}" if query else ""))
        del given["host"]
        own = {key: value for key, value in given.items() if key.startswith("ssl_")}
        own |= {"socket_timeout": SENTINEL_SECONDS, "socket_connect_timeout": SENTINEL_SECONDS, "ssl": False}
        own["retry"] = Retry(NoBackoff(), 0)
        if given.pop("connection_class", None) is SSLConnection:
            given["ssl"] = own["ssl"] = True
        self._sentinel = Sentinel(addresses, sentinel_kwargs=own)  # type: ignore[no-untyped-call]
        return SentinelConnectionPool(name, self._sentinel, **given)  # type: ignore[no-untyped-call]

    def _found_by_nodes(self, scheme: str, rest: str) -> ConnectionPool:
        authority, _, path = rest.partition("/")
        login, at, hosts = authority.rpartition("@")
        path, _, query = path.partition("?")
        if path not in ("", "0"):
            raise ValueError("a cluster has no other database than 0")
        self.place = f"the cluster of {hosts}"
        self.prefix = tagged(self.prefix)
        self.elsewhere = MOVED
        given = _given(f"{scheme}://{login}{at}node" + (f"?{query}" if query else ""))
        del given["host"]
        secure = given.pop("connection_class", None) is SSLConnection
        given |= {"nodes": _addresses(hosts, _PORT), "key": self.prefix, "socket_connect_timeout": NODE_SECONDS}
        return ConnectionPool(connection_class=ClusterSSLConnection if secure else ClusterConnection, **given)


def _addresses(hosts: str, port: int) -> list[tuple[str, int]]:
    parts = [urlsplit(f"//{host}") for host in hosts.split(",")]
    found = [(part.hostname, part.port or port) for part in parts if part.hostname]
    if len(found) != len(parts):
        raise ValueError("an address is missing")
    return found


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
