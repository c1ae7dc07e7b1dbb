"""No orphan after ``kill -9`` of the gateway: a small watchdog process that outlives it and ends its children.

Knows process group ids and nothing else. The watchdog holds the read end of a pipe whose only writer is the gateway;
the kernel closes that pipe however the gateway dies. See ``_reaper_main.py`` for what it does then.
"""

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

from metamcp_asgi.upstream.process import describe_exit, when_exited

__all__ = ["Reaper"]

logger = logging.getLogger("metamcp.upstream.reaper")

_SCRIPT = Path(__file__).with_name("_reaper_main.py")
_MIN_LIFE = 1.0  # seconds; one that dies sooner is not restarted before the next child, lest we fork in a loop
_CLOSE_TIMEOUT = 3.0  # seconds; above the second of grace that the watchdog gives to groups left over


class Reaper:
    """The watchdog of one gateway process: started with the first child, told of every group, restarted if it dies.

    Belongs to one event loop.
    """

    __slots__ = ("_closed", "_exited", "_groups", "_process", "_started_at")

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._exited = asyncio.Event()
        self._started_at = 0.0
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process id of the watchdog while it runs."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the watchdog unless it runs. Where it cannot be started that is logged, and children go unwatched."""
        if self._process is None:
            self._closed = False
            self._spawn()

    def watch(self, pgid: int) -> None:
        """End the process group ``pgid`` when the gateway dies."""
        self._groups.add(pgid)
        self._tell(b"+%d\n" % pgid)

    def release(self, pgid: int) -> None:
        """Forget the process group ``pgid``: it has no member any more."""
        if pgid in self._groups:
            self._groups.discard(pgid)
            self._tell(b"-%d\n" % pgid)

    async def aclose(self) -> None:
        """Let the watchdog end, and wait for it. It first ends the groups that were not released."""
        self._closed = True
        if (process := self._process) is None:
            return
        self._close_pipe(process)
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self._exited.wait()
        except TimeoutError:
            process.kill()
            await self._exited.wait()

    def _spawn(self) -> None:
        try:
            # Its own session: neither Ctrl-C nor a kill of the gateway's group reaches it. -I and -S: nothing from the
            # environment or site-packages runs in it, and it stays small. "/": it keeps no file system busy.
            process = subprocess.Popen(  # noqa: S603 - our own script  # nosec B603
                [sys.executable, "-I", "-S", str(_SCRIPT)],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            logger.error(
                "no watchdog: stdio servers may outlive a killed gateway; %s: %s", sys.executable, error.strerror
            )
            return
        assert process.stdin is not None
        # A watchdog that was stopped (SIGSTOP) must not block the gateway; its pipe holds thousands of lines.
        os.set_blocking(process.stdin.fileno(), False)
        self._process = process
        self._exited.clear()
        self._started_at = asyncio.get_running_loop().time()
        when_exited(process, self._on_exit)
        if self._groups:
            self._tell(b"".join(b"+%d\n" % pgid for pgid in self._groups))

    def _tell(self, lines: bytes) -> None:
        if self._process is None or self._closed:
            return
        assert self._process.stdin is not None
        try:
            written = os.write(self._process.stdin.fileno(), lines)
        except BrokenPipeError:
            return  # it has just died; _on_exit tells the next one everything
        except BlockingIOError:
            written = 0
        if written < len(lines):
            logger.warning("the watchdog of the stdio servers does not read; replacing it")
            self._process.kill()

    def _on_exit(self) -> None:
        process, self._process = self._process, None
        self._exited.set()
        assert process is not None
        self._close_pipe(process)
        if self._closed:
            return
        logger.warning("the watchdog of the stdio servers %s", describe_exit(process.returncode))
        if asyncio.get_running_loop().time() - self._started_at >= _MIN_LIFE:
            self._spawn()

    @staticmethod
    def _close_pipe(process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        process.stdin.close()
