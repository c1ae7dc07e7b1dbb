"""Connections to a Redis Cluster: each leads to the node that has the keys at the moment it is opened.

All keys of a gateway begin with its prefix in braces, which is their hash tag, so they are in one slot, and one node
has them all. Whichever node is asked says who that is; whoever is told later on that they have moved opens the
connection again.
"""

import collections
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import AskError, ClusterDownError, MovedError, ReadOnlyError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

__all__ = ["MOVED", "NODE_SECONDS", "ClusterConnection", "ClusterSSLConnection", "tagged"]

NODE_SECONDS: Final = 0.5
"""How long a node may take to accept a connection, before the next one is asked."""
MOVED: Final = (ReadOnlyError, AskError, ClusterDownError)
"""What a node says that has the keys no longer; ``MovedError`` is an ``AskError``."""
_MOST_MOVES: Final = 4
"""How often one node may send us to another, while they do not yet agree."""


def tagged(prefix: str) -> str:
    """Return what the names of all keys begin with, so that they are in one slot."""
    return f"{{{prefix}}}"


class ClusterConnection(Connection):
    """A connection to the node that has a key.

    Args:
        nodes: Host and port of some nodes of the cluster, of which one has to answer.
        key: The key.
        given: What every connection is given.
    """

    def __init__(self, *, nodes: Sequence[tuple[str, int]], key: str, **given: Any) -> None:
        super().__init__(**given)
        self._nodes = collections.deque(nodes)
        self._key = key

    async def connect(self) -> None:
        """Open the connection, unless it is open.

        Raises:
            RedisError: No node leads to the one that has the key.
        """
        failed: RedisError | None = None
        for _ in range(0 if self.is_connected else len(self._nodes)):
            self.host, self.port = self._nodes[0]
            # Whatever becomes of this attempt, also if it takes too long: the next one asks another node first.
            self._nodes.rotate(-1)
            try:
                await self._follow()
            except RedisError as error:
                failed = error
                await self.disconnect(nowait=True)
            else:
                return
        if failed is not None:
            raise failed

    async def _follow(self) -> None:
        for _ in range(_MOST_MOVES):
            await super().connect()  # type: ignore[no-untyped-call]
            await self.send_command("EXISTS", self._key, check_health=False)
            try:
                await self.read_response()
            except MovedError as moved:
                host, port = moved.node_addr
                await self.disconnect(nowait=True)
                # A node that does not know by which name it is reached leaves that out: it is the one that we used.
                self.host, self.port = host or self.host, port
            else:
                return
        raise RedisConnectionError("the nodes of the cluster do not agree on who has the keys")


class ClusterSSLConnection(ClusterConnection, SSLConnection):
    """The same with TLS."""
