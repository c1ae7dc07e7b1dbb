"""Runs the companion, the process that owns the stdio servers of a machine, and starts one for the workers of a master.

With one process there is no need for it: the gateway then has its stdio servers itself.
"""

import asyncio
import contextlib
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import click
import uvloop

from metamcp_asgi.errors import ConfigError
from metamcp_asgi.lines.handler import LineHandler
from metamcp_asgi.lines.lines import Lines
from metamcp_asgi.metrics.counts import Metrics
from metamcp_asgi.running import runtime_for
from metamcp_asgi.settings import Settings
from metamcp_asgi.systemd import notify
from metamcp_asgi.upstream.companion.hub import Hub
from metamcp_asgi.upstream.companion.serving import serve_socket

__all__ = ["Spawned", "run"]

START_SECONDS: Final = 30.0
"""How long a companion may take until it listens."""
STOP_SECONDS: Final = 10.0
"""How long it may take to stop its servers."""
LEAST_LIFE: Final = 1.0
"""Seconds between two starts of one that ends by itself."""


def run(path: Path, settings: Settings, *, until_eof: bool) -> None:
    """Own stdio servers until told to stop.

    Args:
        path: The socket.
        settings: How to run.
        until_eof: Whether to stop, too, when standard input ends, as it does with whoever holds its other end.

    Raises:
        ConfigError: The socket cannot be made.
    """
    uvloop.run(_run(path, settings, until_eof))


async def _run(path: Path, settings: Settings, until_eof: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if until_eof:
        loop.add_reader(0, _at_eof, stop)
    metrics = Metrics(settings.metrics_folder)
    metrics.open()
    lines = Lines(settings.metrics_folder)
    runtime = runtime_for(settings, metrics.changing("children"), lines.heard)
    if lines.shared:  # else nobody can look
        lines.open()
        logging.getLogger("metamcp").addHandler(LineHandler(lines))
    async with serve_socket(path, Hub(runtime, idle_seconds=settings.session_idle_seconds)):
        click.echo(f"metamcp-stdio listens at {path}")  # whoever started it waits for this line
        notify("READY=1")
        await stop.wait()
        notify("STOPPING=1")


def _at_eof(stop: asyncio.Event) -> None:
    if not os.read(0, 4096):
        asyncio.get_running_loop().remove_reader(0)
        stop.set()


class Spawned:
    """A companion of this process, in a folder that only its user can enter; it ends with this process.

    Blocks, and knows no event loop: it is for the master of worker processes, which has none.

    Args:
        settings: How to run it, as far as they are not in the environment.

    Raises:
        ConfigError: It did not start.
    """

    def __init__(self, settings: Settings) -> None:
        self._environ = {**os.environ, "LOG_LEVEL": settings.log_level, "METAMCP_LOG_FORMAT": settings.log_format}
        if settings.metrics_folder is not None:
            self._environ["METAMCP_METRICS_FOLDER"] = str(settings.metrics_folder)
        self._folder = tempfile.mkdtemp(prefix="metamcp-")
        self._owner = os.getpid()
        self.path = Path(self._folder, "stdio")
        """Its socket, for ``METAMCP_STDIO_SOCKET``."""
        self._process = self._start()
        if not self._listens():
            self.close()
            raise ConfigError("the companion metamcp-stdio, which runs the stdio servers, did not start")

    def tend(self) -> None:
        """Start it again should it have ended; to be called every now and then."""
        if self._process.poll() is not None and time.monotonic() - self._started > LEAST_LIFE:
            self._release()
            self._process = self._start()

    def close(self) -> None:
        """Stop it; in a process that was forked from the one that started it, do nothing."""
        if os.getpid() != self._owner:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._release()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> subprocess.Popen[bytes]:
        self._started = time.monotonic()
        # A session of its own: Ctrl-C is for the master, which stops the workers first. Its standard input ends with
        # the last process that has the other end, so it outlives a killed master no longer than the workers do.
        return subprocess.Popen(  # noqa: S603 - our own program  # nosec B603
            [sys.executable, "-P", "-m", "metamcp_asgi.commands.stdio", "--socket", str(self.path), "--until-eof"],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environ,
            start_new_session=True,
        )

    def _listens(self) -> bool:
        output = self._process.stdout
        assert output is not None
        ready, _, _ = select.select([output], [], [], START_SECONDS)
        return bool(ready and output.read(1))

    def _release(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
