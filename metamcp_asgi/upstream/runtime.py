"""What every connection to a server needs from the process it runs in."""

import asyncio
import contextlib
import copy
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

from metamcp_asgi.config.snapshot import Server
from metamcp_asgi.metrics.sheet import uncounted
from metamcp_asgi.outward.guard import Guard
from metamcp_asgi.upstream.companion.client import Companion
from metamcp_asgi.upstream.granted import GrantedHTTP, Grants
from metamcp_asgi.upstream.hearing import Heard, unheard
from metamcp_asgi.upstream.http1 import HTTPClient
from metamcp_asgi.upstream.launch import Launch
from metamcp_asgi.upstream.owners import Owners
from metamcp_asgi.upstream.places import Places
from metamcp_asgi.upstream.reaper import Reaper

__all__ = ["Runtime"]

TURN_SECONDS = 2.0
"""How long the opening of one session keeps others from starting theirs."""


class Runtime:
    """The HTTP client, the reaper and the bounds that all servers share.

    Args:
        max_children: How many child processes may run at once.
        warm_spares: Whether servers have a process ahead of their next session, once they needed one of that kind.
        connect_concurrency: How many sessions may be opened at the same time, so that a start is no stampede.
        max_message_bytes: The largest message that a server may send.
        environ: The environment from which children inherit.
        companion: The process that runs stdio servers, if that is not this one; closed with the runtime.
        grants: The OAuth grants of servers that ask for some; closed with the runtime.
        owners: Knows which process has which session; ``None`` where there is one process, or none knows of others.
        children: Is told of one child more, or of one less.
        commands: The programs that stdio servers may be, as in ``Launch``.
        limits: Their resource limits, as there.
        heard: Is told the lines that they write to stderr.
        guard: Where the URLs of ``Server.guarded`` may lead; ``None``: to public addresses.

    Raises:
        ConfigError: Limits cannot be set here.
    """

    def __init__(
        self,
        *,
        max_children: int = 256,
        warm_spares: bool = False,
        connect_concurrency: int = 8,
        max_message_bytes: int = 64 * 1024 * 1024,
        environ: Mapping[str, str] | None = None,
        companion: Companion | None = None,
        grants: Grants | None = None,
        owners: Owners | None = None,
        children: Callable[[int], object] = uncounted,
        commands: Sequence[str] | None = None,
        limits: Sequence[tuple[str, int]] = (),
        heard: Heard = unheard,
        guard: Guard | None = None,
    ) -> None:
        self.environ = _with_our_scripts(os.environ if environ is None else environ)
        self.max_message_bytes = max_message_bytes
        self._client = HTTPClient(environ=self.environ)
        # Without a proxy: that would resolve a name anew, to an address which nobody judges.
        self._guarded = HTTPClient(environ={}, guard=guard or Guard())
        self.http: HTTPClient | GrantedHTTP = self._client
        self.grants = grants
        self.owners = owners
        self.reaper = Reaper()
        self.launch = Launch(commands, limits, self.environ)
        self.companion = companion
        self.heard = heard
        self.places = Places(max_children, children)
        self.warm_spares = warm_spares
        self._opening = asyncio.Semaphore(connect_concurrency)

    def reaching(self, server: Server, user: str | None = None) -> "Runtime":
        """Return the same runtime for the sessions of a server that is guarded or asks for OAuth, else this one.

        Args:
            server: The server.
            user: Whose own grant they use.
        """
        grant = self.grants.of(server, user) if self.grants is not None else None
        client = self._guarded if server.guarded else self._client
        if grant is None and client is self._client:
            return self
        runtime = copy.copy(self)
        runtime.http = client if grant is None else GrantedHTTP(client, grant)
        return runtime

    @contextlib.asynccontextmanager
    async def opening_slot(self) -> AsyncIterator[None]:
        """Wait for one's turn to open a session; whoever is slow gives way to the next after a while."""
        await self._opening.acquire()
        timer = asyncio.get_running_loop().call_later(TURN_SECONDS, self._opening.release)
        try:
            yield
        finally:
            if asyncio.get_running_loop().time() < timer.when():
                timer.cancel()
                self._opening.release()

    async def aclose(self) -> None:
        """Close what is shared; the servers are stopped before."""
        if self.companion is not None:
            await self.companion.aclose()
        if self.grants is not None:
            await self.grants.aclose()
        await self._client.aclose()
        await self._guarded.aclose()
        await self.reaper.aclose()


def _with_our_scripts(environ: Mapping[str, str]) -> dict[str, str]:
    """Return ``environ`` with our own scripts folder last on ``PATH``: servers installed beside us are found."""
    scripts = str(Path(sys.executable).parent)
    path = environ.get("PATH", os.defpath)
    return {**environ, "PATH": path if scripts in path.split(os.pathsep) else f"{path}{os.pathsep}{scripts}"}
