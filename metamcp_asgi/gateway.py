"""The composition root: the whole stack, readable from top to bottom in ``Gateway.__init__``.

A ``Gateway`` is an ASGI application: run it, or mount it inside another one.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from operator import itemgetter
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.aggregate.page import Cursor, Pager
from metamcp_asgi.asgi.auth import Authenticate
from metamcp_asgi.asgi.cors import CORS
from metamcp_asgi.asgi.observe import Observe
from metamcp_asgi.asgi.origin import OriginGuard
from metamcp_asgi.asgi.ratelimit import RateLimit, policy_of_endpoint
from metamcp_asgi.asgi.router import NamespaceRouter
from metamcp_asgi.config.file import load
from metamcp_asgi.config.snapshot import Snapshot
from metamcp_asgi.downstream.endpoint import MCPEndpoint
from metamcp_asgi.downstream.identity import SERVER_INFO
from metamcp_asgi.downstream.legacy import LegacyLeg
from metamcp_asgi.downstream.modern import ModernLeg
from metamcp_asgi.downstream.sessions import ClientSessions
from metamcp_asgi.downstream.streams import Streams
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.protocol.sealed import KeyRing
from metamcp_asgi.settings import Settings, read_environment
from metamcp_asgi.upstream.runtime import Runtime

__all__ = ["Gateway"]

logger = logging.getLogger("metamcp")


class Gateway:
    """A reverse proxy for MCP, as an ASGI application.

    Its lifespan starts and stops the servers. A host that mounts the gateway and runs no lifespan for it needs
    to do nothing: the first request starts it. Such a host stops it with ``aclose``, or lets the end of the
    process do that.

    Args:
        snapshot: What to serve.
        settings: How to run; from the environment, when left out.

    Example::

        from fastapi import FastAPI
        from metamcp_asgi import Gateway

        gateway = Gateway.from_file("mcp.json")
        app = FastAPI(lifespan=gateway.lifespan)
        app.mount("/tools", gateway)
    """

    def __init__(self, snapshot: Snapshot, settings: Settings | None = None) -> None:
        self.settings = settings = Settings.from_environ() if settings is None else settings
        self.snapshot = snapshot
        self._path: Path | None = None
        self._keys = KeyRing(settings.secret_keys)
        self._watching: asyncio.Task[None] | None = None
        self._started = False

        self._streams = Streams(settings.max_streams, settings.keepalive_seconds)
        self.aggregator = Aggregator(
            Runtime(max_children=settings.max_children, connect_concurrency=settings.connect_concurrency),
            Pager(self._keys.sealer("c1", Cursor), settings.page_size, SERVER_INFO),
            deadline=settings.server_deadline,
            stale_seconds=settings.stale_seconds,
            idle_seconds=settings.session_idle_seconds,
        )

        app: ASGIApp = MCPEndpoint(
            ModernLeg(self.aggregator, self._streams, settings.keepalive_seconds),
            LegacyLeg(self.aggregator, ClientSessions(self._keys), self._streams, settings.keepalive_seconds),
            max_body_bytes=settings.max_body_bytes,
            max_header_bytes=settings.max_header_bytes,
            max_depth=settings.max_json_depth,
        )
        app = RateLimit(app, policy_of_endpoint)
        app = Authenticate(app, lambda: self.snapshot.keys, itemgetter("metamcp.endpoint"))
        app = OriginGuard(app, hosts=settings.allowed_hosts, origins=settings.allowed_origins)
        app = NamespaceRouter(app, lambda: self.snapshot.endpoints)
        app = CORS(app, settings.allowed_origins)
        self.app = Observe(app, access_log=settings.access_log)

    @classmethod
    def from_file(cls, path: str | Path, settings: Settings | None = None) -> "Gateway":
        """Return a gateway for a configuration file, which is read again whenever it is saved.

        Args:
            path: A JSON or YAML file.
            settings: How to run; from the environment, when left out.

        Raises:
            ConfigError: The file cannot be read or is wrong.
        """
        settings = Settings.from_environ() if settings is None else settings
        environ = read_environment()
        gateway = cls(load(path, environ=environ, transform_localhost=settings.transform_localhost), settings)
        gateway._path = Path(path)
        return gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http":
            if not self._started:
                await self.start()
            await self.app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            # MCP has no WebSocket transport; closing before accepting is HTTP 403.
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    @contextlib.asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Start and stop the gateway; fits the ``lifespan`` argument of Starlette and FastAPI.

        Args:
            app: The host application, which is not needed here.
        """
        await self.start()
        try:
            yield
        finally:
            await self.aclose()

    async def start(self) -> None:
        """Start the servers; returns at once, as no server's health decides whether the gateway serves."""
        if self._started:
            return
        self._started = True
        self.aggregator.apply(self.snapshot)
        if self._path is not None:
            self._watching = asyncio.create_task(self._watch(self._path), name="watch configuration")

    async def aclose(self) -> None:
        """End all streams and stop the servers; the gateway cannot be started again."""
        self.close_streams()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._started:
            await self.aggregator.aclose()

    def close_streams(self) -> None:
        """End the streams on which clients listen for changes, so that a server can shut down."""
        self._streams.close()

    def apply(self, snapshot: Snapshot) -> None:
        """Serve another configuration from now on; calls in flight finish on the old one.

        Args:
            snapshot: The new configuration.
        """
        self.snapshot = snapshot
        if self._started:
            self.aggregator.apply(snapshot)
            self._streams.keep(snapshot.admits)

    async def reload(self) -> bool:
        """Read the configuration file again.

        Returns:
            Whether it was good. A fault is logged, and what is served stays as it is.
        """
        if self._path is None:
            return False
        try:
            snapshot = await asyncio.to_thread(
                load,
                self._path,
                environ=read_environment(),
                transform_localhost=self.settings.transform_localhost,
            )
        except ConfigError as error:
            logger.error("Not reloaded, the old configuration stays: %s", error)
            return False
        self.apply(snapshot)
        logger.info("Reloaded %s", self._path)
        return True

    async def _watch(self, path: Path) -> None:
        """Reload when the file's content changes, however an editor or a deployment replaces it."""
        from watchfiles import awatch

        content = _content(path)
        folders = {path.absolute().parent, path.resolve().parent}  # noqa: ASYNC240 - once, at start
        try:
            # Folders, because a file that is replaced is another file; where a link leads, too.
            async for _ in awatch(*folders, recursive=False, debounce=200, step=50):
                if (now := _content(path)) != content and now is not None:
                    content = now
                    await self.reload()
        except OSError as error:
            logger.warning("%s is not watched (%s); send SIGHUP to reload it", path, error)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.start()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.aclose()
        await send({"type": "lifespan.shutdown.complete"})


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        # Half-way through being replaced; the next event tells of the other half.
        return None
