"""The composition root: the whole stack, readable from top to bottom in ``Gateway.__init__``.

A ``Gateway`` is an ASGI application: run it, or mount it inside another one.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from operator import itemgetter
from pathlib import Path
from typing import TypedDict

from msgspec.structs import replace
from starlette.types import ASGIApp, Receive, Scope, Send

from metamcp_asgi.aggregate.alone import stays
from metamcp_asgi.aggregate.middleware.registry import check, instances, naming
from metamcp_asgi.asgi.auth import Authenticate, opened_by
from metamcp_asgi.asgi.bearer import METADATA
from metamcp_asgi.asgi.beside import Beside
from metamcp_asgi.asgi.bucket import Counting, Take, WhenAway
from metamcp_asgi.asgi.cors import CORS
from metamcp_asgi.asgi.observe import Observe
from metamcp_asgi.asgi.origin import OriginGuard
from metamcp_asgi.asgi.ratelimit import RateLimit, policy_of_endpoint
from metamcp_asgi.asgi.router import Leaves, NamespaceRouter
from metamcp_asgi.bus.open import open_bus
from metamcp_asgi.bus.protocol import Bus
from metamcp_asgi.config.snapshot import Snapshot
from metamcp_asgi.config.source import FileSource, SnapshotSource
from metamcp_asgi.core import aggregator_for
from metamcp_asgi.downstream.openapi_page import SwaggerUI
from metamcp_asgi.downstream.step_up import StepUp
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.grants.book import Book
from metamcp_asgi.grants.fetch import Outward
from metamcp_asgi.grants.registration import Ourselves
from metamcp_asgi.instance import instance_of
from metamcp_asgi.legs import Legs
from metamcp_asgi.metrics.counts import Metrics
from metamcp_asgi.operations.operations import Operations
from metamcp_asgi.operations.recording import Recording
from metamcp_asgi.operations.telemetry import spans
from metamcp_asgi.outward.guard import Guard
from metamcp_asgi.protocol.sealed import KeyRing
from metamcp_asgi.running import runtime_for
from metamcp_asgi.settings import Settings, read_environment
from metamcp_asgi.siblings import lacking, processes
from metamcp_asgi.tokens.metadata import ResourceMetadata
from metamcp_asgi.tokens.needed import check_tokens
from metamcp_asgi.tokens.verifier import Verifier
from metamcp_asgi.upstream.companion.client import Companion
from metamcp_asgi.upstream.owners import Owners

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
        source: Where the snapshot came from and the next ones will; none when there will be no other.

    Raises:
        ConfigError: A middleware or a setting is wrong, or there are more processes than one, and no Redis or no keys.

    Example::

        from fastapi import FastAPI
        from metamcp_asgi import Gateway

        gateway = Gateway.from_file("mcp.json")
        app = FastAPI(lifespan=gateway.lifespan)
        app.mount("/tools", gateway)
    """

    def __init__(
        self, snapshot: Snapshot, settings: Settings | None = None, *, source: SnapshotSource | None = None
    ) -> None:
        self.settings = settings = Settings.from_environ() if settings is None else settings
        check(snapshot)
        check_tokens(snapshot)
        self.snapshot = snapshot
        self.source = source
        self.metrics = Metrics(settings.metrics_folder)
        self.recording = Recording(self.metrics, settings.metrics_folder)
        named = settings.app_url is not None or settings.allowed_hosts is not None
        self.tokens = Verifier(lambda: self.snapshot, Guard(settings.outward_allowed), named)
        self._keys = KeyRing(settings.secret_keys)
        self._watching: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._started = False

        stateless = settings.stateless
        self.bus: Bus = open_bus(settings.redis_url, settings.redis_prefix, stateless=stateless)
        redis, keys = not self.bus.alone, bool(settings.secret_keys)
        if (reason := lacking(processes(), redis=redis, keys=keys, stateless=stateless)) is not None:
            raise ConfigError(reason)
        base = settings.app_url or f"http://127.0.0.1:{settings.port}"
        self.grants = Book(Outward(Guard(settings.outward_allowed)), Ourselves.at(base), self.bus)
        counted = self.metrics.changing
        socket = settings.stdio_socket
        companion = None if socket is None else Companion(socket, instance_of(settings))
        self._owners = None if self.bus.alone else Owners(self.bus, settings.shutdown_seconds)
        self._spans = spans()
        runtime = runtime_for(
            settings, counted("children"), self.recording.lines.heard, companion, self.grants, self._owners
        )
        self.aggregator = aggregator_for(settings, runtime, self.bus, self._keys, self.metrics, self._spans)
        self._legs = Legs(self.aggregator, self.bus, self._keys, settings, counted)
        leaves = self._legs.leaves
        # Each layer is given the next one's method: to call an object takes Python twice as long.
        app: ASGIApp = StepUp(Leaves(leaves).__call__, self.aggregator, self._legs.intake, settings.app_url).__call__
        shared: _Shared = {"take": self.bus.take, "when_away": settings.limits_without_redis}
        self.admitted: ASGIApp = RateLimit(app, policy_of_endpoint, **shared).__call__
        used = source.used if source is not None else None
        keys_of, access = lambda: self.snapshot.keys, itemgetter("metamcp.endpoint")
        inside, url = self.admitted, settings.app_url
        app = Authenticate(inside, keys_of, access, used=used, tokens=self.tokens, app_url=url, **shared).__call__
        app = SwaggerUI(app).__call__
        app = OriginGuard(app, hosts=settings.allowed_hosts, origins=settings.allowed_origins).__call__
        app = NamespaceRouter(
            app,
            lambda: self.snapshot.endpoints,
            leaves=leaves,
            opened=lambda scope: opened_by(scope, self.snapshot.keys),
        ).__call__
        app = Beside(app, lambda: self.sites).__call__
        app = CORS(app, settings.allowed_origins).__call__
        self.app = Observe(app, access_log=settings.access_log)
        opened = settings.open_metrics
        self.operations = Operations(self.metrics, self.aggregator, self.bus, source, opened=opened)
        metadata = ResourceMetadata(lambda: self.snapshot.endpoints, settings.app_url)
        self.sites: dict[str, ASGIApp] = {METADATA: metadata, **self.operations.sites}

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
        source = FileSource(path, read_environment, transform_localhost=settings.transform_localhost)
        return cls._from_source(source, source.load(), settings)

    @classmethod
    def from_store(cls, url: str | None = None, settings: Settings | None = None) -> "Gateway":
        """Return a gateway for what is in a database, which follows every change there within a second.

        The database is made when it is an SQLite file that does not exist. Its keys seal sessions and cursors, too.

        Args:
            url: ``sqlite:////folder/metamcp.db`` or ``postgresql://user:password@host/name``; ``None``: the one that
                the environment names, else SQLite in the user's data folder.
            settings: How to run; from the environment, when left out.

        Raises:
            ConfigError: The database cannot be used.
        """
        from metamcp_asgi.beside import administrators, sites
        from metamcp_asgi.store.source import StoreSource

        settings = Settings.from_environ() if settings is None else settings
        environ = read_environment()
        source = StoreSource(
            url,
            environ=environ,
            secret_keys=settings.secret_keys,
            transform_localhost=settings.transform_localhost,
            check=instances,
        )
        snapshot = source.load()
        gateway = cls._from_source(source, snapshot, replace(settings, secret_keys=source.secret_keys))
        gateway.recording.wanted = True
        counting = Counting(gateway.bus.take, gateway.settings.limits_without_redis)
        gateway.operations.numbers.admits = administrators(source, gateway, counting)
        gateway.sites |= sites(source, gateway, environ, counting)
        return gateway

    @classmethod
    def _from_source(cls, source: SnapshotSource, snapshot: Snapshot, settings: Settings) -> "Gateway":
        with naming(source.name):
            return cls(snapshot, settings, source=source)

    @property
    def name(self) -> str:
        """What people call the configuration that is served: its file, or its database; empty for neither."""
        return self.source.name if self.source is not None else ""

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
        """Start the servers; waits for none of them, as no server's health decides whether the gateway serves.

        Raises:
            BusUnavailable: The other processes cannot be reached; nothing is started then.
        """
        async with self._starting:  # many requests may come first
            if self._started:
                return
            await self.bus.start()
            self.app.stats.cells = self.metrics.open()
            self.recording.open()
            self._spans.open()
            self._started = True
            self.aggregator.apply(self.snapshot)
            if self.source is not None:
                self._watching = asyncio.create_task(self._watch(self.source), name="watch configuration")

    async def aclose(self) -> None:
        """End all streams and stop the servers; the gateway cannot be started again."""
        self.close_streams()
        if self._owners is not None:
            self._owners.close()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self.source is not None:
            await self.source.aclose()
        if self._started:
            await self.aggregator.aclose()
        await self.tokens.aclose()
        await self._legs.aclose()
        await self.bus.aclose()
        await self.recording.aclose()
        self.metrics.close()
        await self._spans.aclose()

    def close_streams(self) -> None:
        """End the streams on which clients listen for changes, so that a server can shut down."""
        self.operations.ending = True
        self.recording.lines.end()
        self._legs.streams.close()

    def cut_short(self) -> None:
        """Have calls that a server cancels from now on answered with an error; the time for their end is over."""
        self.aggregator.over = True

    def apply(self, snapshot: Snapshot) -> None:
        """Serve another configuration from now on; calls in flight finish on the old one.

        Args:
            snapshot: The new configuration.

        Raises:
            ConfigError: A middleware is unknown or its options are wrong; the old configuration stays then.
        """
        check_tokens(snapshot)
        if self._started:
            self.aggregator.apply(snapshot)
        else:
            check(snapshot)
        self.snapshot = snapshot
        if self._started:
            self._legs.streams.keep(lambda *whose: snapshot.admits(*whose) or stays(snapshot, *whose))

    async def reload(self) -> bool:
        """Read the configuration again.

        Returns:
            Whether it was good. A fault is logged, and what is served stays as it is.
        """
        if self.source is None:
            return False
        try:
            snapshot = await self.source.reload()
            with naming(self.source.name):
                self.apply(snapshot)
        except ConfigError as error:
            logger.error("Not reloaded, the old configuration stays: %s", error)
            return False
        logger.info("Reloaded %s", self.source.name)
        return True

    async def _watch(self, source: SnapshotSource) -> None:
        async with contextlib.aclosing(source.changes()) as changes:
            async for _ in changes:
                await self.reload()

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


class _Shared(TypedDict):
    """How layers count what all processes count together."""

    take: Take | None
    when_away: WhenAway
