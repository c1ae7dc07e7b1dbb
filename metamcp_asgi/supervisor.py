"""``metamcp serve --workers N``: gunicorn starts the processes that serve, replaces those that die, and restarts them.

The supervisor listens, and serves nothing itself: it checks the configuration, forks, and passes signals on. What one
of its processes does is in ``worker.py``.
"""

import asyncio
import contextlib
import fcntl
import logging
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from msgspec.structs import replace

from metamcp_asgi.companion import Spawned
from metamcp_asgi.errors import MetaMCPError
from metamcp_asgi.gateway import Gateway
from metamcp_asgi.serve import introduce, origin, reach
from metamcp_asgi.settings import Settings
from metamcp_asgi.worker import DRAIN, GatewayWorker

__all__ = ["supervise"]

Build: TypeAlias = Callable[[Settings], Gateway]
"""Makes a gateway, which is not started."""

LAST_SECONDS: Final = 15.0
"""How long a worker may take, once its clients' calls, and then those of other workers' clients, have finished."""
KEEP_ALIVE: Final = 5
"""Seconds that an idle connection is kept, as in one process."""


def supervise(build: Build, gateway: Gateway) -> None:
    """Serve with many processes until told to stop; ends by raising ``SystemExit``.

    Args:
        build: Makes the gateway of each process.
        gateway: What ``build`` made a moment ago, and thereby checked; not started here.
    """
    settings = gateway.settings
    if not settings.secret_keys:
        settings = replace(settings, secret_keys=(secrets.token_bytes(32),))
        logging.getLogger("metamcp").info(
            "METAMCP_SECRET_KEYS is not set: sessions end with this start, and other machines cannot read them"
        )
    with contextlib.ExitStack() as stack:
        if settings.metrics_folder is None:
            settings = replace(settings, metrics_folder=stack.enter_context(_folder()))
        companion = None
        if settings.stdio_socket is None:
            companion = stack.enter_context(contextlib.closing(Spawned(settings)))
            settings = replace(settings, stdio_socket=companion.path)
        _Application(build, gateway, settings, companion).run()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Make a folder for the numbers of all processes, until this one ends; those that were forked leave it alone."""
    owner = os.getpid()
    path = Path(tempfile.mkdtemp(prefix="metamcp-"))
    # What cleans the folder of temporary files up passes over one that is locked (tmpfiles.d(5)).
    lock = os.open(path, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    try:
        yield path
    finally:
        os.close(lock)
        if os.getpid() == owner:
            shutil.rmtree(path, ignore_errors=True)


class _Application(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """The gateway as gunicorn starts it.

    Args:
        build: Makes the gateway of each process.
        gateway: One that was made already, to tell what is served.
        settings: How each runs.
        companion: The process that runs the stdio servers of all, if it is ours.
    """

    def __init__(self, build: Build, gateway: Gateway, settings: Settings, companion: Spawned | None = None) -> None:
        self._build = build
        self._gateway = gateway
        self._settings = settings
        self.companion = companion
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self._bind = f"{host}:{settings.port}"
        super().__init__()

    def load_config(self) -> None:
        """Give gunicorn the settings; those that its version does not have are left out."""
        settings = self._settings
        given: dict[str, Any] = {
            # As it was at the start, port 0 included: gunicorn would listen anew at another place.
            "bind": self._bind,
            "workers": settings.workers,
            "worker_class": GatewayWorker,
            "graceful_timeout": math.ceil(2 * settings.shutdown_seconds + DRAIN + LAST_SECONDS),
            "keepalive": KEEP_ALIVE,
            "proc_name": "metamcp",
            "errorlog": None,
            "logger_class": _Log,
            "when_ready": self._ready,
            "control_socket_disable": True,
        }
        for name, value in given.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Gateway:
        """Build the gateway of one process; called after the fork."""
        return self._build(self._settings)

    def check(self) -> None:
        """See that processes could start now.

        Raises:
            MetaMCPError: They could not.
        """
        self._build(self._settings)
        asyncio.run(reach(self._settings))

    def run(self) -> None:
        """Supervise until told to stop."""
        _Arbiter(self).run()

    def _ready(self, arbiter: Arbiter) -> None:
        port = arbiter.LISTENERS[0].getsockname()[1]
        # All processes are one gateway: their name, by which it knows itself in a circle, is made with the port.
        self._settings = replace(self._settings, port=port)
        introduce(self._gateway, origin(self._settings, port))


class _Arbiter(Arbiter):  # type: ignore[misc]
    """Restarts processes only when their successors could start, and keeps the companion running beside them."""

    def manage_workers(self) -> None:
        """Start what is missing; called at least every second."""
        if self.app.companion is not None:
            self.app.companion.tend()
        super().manage_workers()

    def handle_hup(self) -> None:
        """Have all processes replaced by new ones, which read the configuration again."""
        try:
            self.app.check()
        except MetaMCPError as error:
            self.log.error("Not restarted, the old configuration stays: %s", error)
        else:
            super().handle_hup()

    def handle_int(self) -> None:
        """End as with SIGTERM: what is in flight may finish."""
        self.handle_term()


class _Log(Logger):  # type: ignore[misc]
    """Sends gunicorn's messages where ours go."""

    def setup(self, cfg: Any) -> None:
        """Set up the loggers, at the start and on every restart."""
        super().setup(cfg)
        self.error_log.setLevel(logging.NOTSET)
        self.error_log.propagate = True
