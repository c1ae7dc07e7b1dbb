"""What a gateway keeps of what happens, for pages that show it: the last lines, and samples of the numbers.

Only where there are such pages: a gateway of a file has none, and keeps nothing.
"""

import asyncio
import logging
from pathlib import Path

from metamcp_asgi.lines.handler import LineHandler
from metamcp_asgi.lines.lines import Lines
from metamcp_asgi.metrics.counts import Metrics
from metamcp_asgi.metrics.history import STEP, History
from metamcp_asgi.tasks import Tasks

__all__ = ["Recording"]

logger = logging.getLogger("metamcp")


class Recording:
    """The last lines and the last hour's numbers, from ``open`` to ``aclose``.

    Args:
        metrics: What is counted.
        folder: Where the processes of this machine share both; ``None``: there is only this one.
    """

    def __init__(self, metrics: Metrics, folder: Path | None) -> None:
        self.wanted = False
        """Whether there is somebody to show it to; to be set before ``open``."""
        self.lines = Lines(folder)
        self.history = History(metrics.snapshot)
        self._handler = LineHandler(self.lines)
        self._tasks = Tasks()

    def open(self) -> None:
        """Begin to keep, if it is wanted; the loggers of ``metamcp`` are those of the process.

        Raises:
            ConfigError: The folder cannot be used.
        """
        if self.wanted:
            self.lines.open()
            logger.addHandler(self._handler)
            self._tasks.start(self._sample(), "sample the numbers")

    async def aclose(self) -> None:
        """Keep nothing more."""
        logger.removeHandler(self._handler)
        await self._tasks.aclose()
        self.lines.close()

    async def _sample(self) -> None:
        while True:
            try:
                # Those of other processes are in files.
                await asyncio.to_thread(self.history.sample)
            except OSError as error:
                logger.warning("The numbers cannot be read: %s", error)
            await asyncio.sleep(STEP)
