"""One process of many: gunicorn's worker class for a gateway, under ``metamcp serve --workers`` or plain gunicorn.

    gunicorn --worker-class metamcp_asgi.worker.GatewayWorker --workers 4 module:gateway

Serves as ``metamcp serve`` does in one process. Each worker builds its own gateway, after the fork. Knows how a worker
begins and ends; how many there are, and what becomes of one that ends, is gunicorn's.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from typing import Any, ClassVar, Final

from gunicorn.arbiter import Arbiter
from uvicorn_worker import UvicornWorker

from metamcp_asgi.bus.protocol import BusUnavailable
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.gateway import Gateway
from metamcp_asgi.http_server import bounded
from metamcp_asgi.logs.setup import set_up
from metamcp_asgi.serve import GatewayServer, options
from metamcp_asgi.siblings import lacking

__all__ = ["GatewayWorker"]

DRAIN: Final = 1.0
"""Seconds in which a request that is on its way to a worker that ends must arrive there."""
RETRY: Final = 2.0
"""Seconds after which a worker that cannot start is replaced."""


class GatewayWorker(UvicornWorker):  # type: ignore[misc]  # gunicorn has no types
    """Serves a ``Gateway``, which is the application itself and not mounted in one."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {"loop": "auto", "http": "auto", "access_log": False}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # uvicorn's words go where gunicorn's go.
        logging.getLogger("uvicorn.error").propagate = self.log.error_log.propagate

    def load_wsgi(self) -> None:
        """Build the gateway of this process."""
        try:
            super().load_wsgi()
        except ConfigError as error:
            self._give_up(error)
        if not isinstance(self.wsgi, Gateway):
            self.log.error("This worker class serves a Gateway and no %s", type(self.wsgi).__name__)
            sys.exit(Arbiter.APP_LOAD_ERROR)
        if not logging.getLogger().handlers:  # plain gunicorn sets up its own loggers only
            set_up(self.wsgi.settings, several=True)
        redis, settings = not self.wsgi.bus.alone, self.wsgi.settings
        keys, stateless = bool(settings.secret_keys), settings.stateless
        if (reason := lacking(self.cfg.workers, redis=redis, keys=keys, stateless=stateless)) is not None:
            self.log.error("%s", reason)
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    async def _serve(self) -> None:
        gateway: Gateway = self.wsgi
        try:
            await gateway.start()
        except (BusUnavailable, ConfigError) as error:
            self._give_up(error)
        settings = gateway.settings
        given = {"app": gateway, "http": bounded(settings.max_header_bytes, drain_seconds=DRAIN), **options(settings)}
        for name, value in given.items():
            setattr(self.config, name, value)
        server = _Server(self.config, gateway, introduces=False, reports=self.age == 1)
        # With SIGQUIT the supervisor says that it was interrupted; what is in flight may still finish.
        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, server.stop)
        # Bare sockets, which the event loop can close without gunicorn's wrapper closing them once more.
        await server.serve(sockets=[listener.sock for listener in self.sockets])
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def _give_up(self, error: Exception) -> None:
        """End this process: at gunicorn's start the whole, later for another attempt, as the others serve on."""
        self.log.error("A worker cannot start: %s", error)
        if self.age <= self.cfg.workers:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
        time.sleep(RETRY)
        sys.exit(1)


class _Server(GatewayServer):
    """Ends when gunicorn does, even if that was killed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._parent = os.getppid()

    def stop(self) -> None:
        """End in good order."""
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Tell whether to end."""
        if os.getppid() != self._parent:
            self.stop()
        return await super().on_tick(counter)
