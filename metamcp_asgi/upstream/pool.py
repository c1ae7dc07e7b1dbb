"""All servers of a snapshot, running; a new snapshot starts, keeps and stops what differs, and nothing else."""

import asyncio
from collections.abc import Callable, Mapping

from metamcp_asgi.config import snapshot
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.companion.remote import RemoteServer
from metamcp_asgi.upstream.interface import Happening, Server
from metamcp_asgi.upstream.runtime import Runtime
from metamcp_asgi.upstream.server import Server as OwnServer

__all__ = ["Pool"]


class Pool:
    """The running servers by name.

    Args:
        runtime: What they share; closed with the pool.
        listener: Is told what happens on any of them; must not block.
        idle_seconds: How long a session that is not shared is kept unused.
    """

    def __init__(self, runtime: Runtime, listener: Callable[[Server, Happening], None], *, idle_seconds: float) -> None:
        self.servers: dict[str, Server] = {}
        self._runtime = runtime
        self._listener = listener
        self._idle_seconds = idle_seconds
        self._tasks = Tasks()

    def apply(self, configured: Mapping[str, snapshot.Server]) -> None:
        """Run exactly the servers that are configured and not disabled.

        A server whose configuration is unchanged keeps its sessions. One that changed or went away gets no new
        calls and is closed when those in flight have ended.
        """
        running, self.servers = self.servers, {}
        for name, config in configured.items():
            if config.disabled:
                continue
            server = running.get(name)
            if server is not None and server.config == config:
                del running[name]
            else:
                server = self._server(config)
                server.start()
            self.servers[name] = server
        for server in running.values():
            self._tasks.start(server.retire(), f"retire {server.name}")

    def authorized(self, key: str) -> None:
        """Try again at once to use the servers for which there is a new grant.

        Args:
            key: The key of their grants.
        """
        for server in self.servers.values():
            if isinstance(server, OwnServer) and server.config.grant is not None and server.config.grant.key == key:
                server.hurry()

    async def aclose(self) -> None:
        """Stop every server and close what they shared."""
        if self._runtime.owners is not None:
            await self._runtime.owners.aclose()
        servers, self.servers = self.servers, {}
        await asyncio.gather(*(server.aclose() for server in servers.values()))
        await self._tasks.aclose()
        await self._runtime.aclose()

    def _server(self, config: snapshot.Server) -> Server:
        companion = self._runtime.companion
        if companion is not None and config.type == "stdio":
            return RemoteServer(config, companion, self._listener)
        return OwnServer(config, self._runtime, self._listener, idle_seconds=self._idle_seconds)
