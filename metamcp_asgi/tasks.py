"""Background tasks with an owner: none runs unseen, none outlives what it works for."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

__all__ = ["Tasks"]

logger = logging.getLogger("metamcp")


class Tasks:
    """The background tasks of one owner, which are cancelled and awaited when it closes.

    For work that starts at any time and whose failure concerns nobody who waits; where somebody does,
    use ``asyncio.TaskGroup``.
    """

    __slots__ = ("_running",)

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """How many are running."""
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run ``work``; an exception that it lets through is logged as the defect that it is."""
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("Task %s failed", task.get_name(), exc_info=error)

    async def aclose(self) -> None:
        """Cancel what still runs and wait for its end. The calling task, if it is one of them, is left alone."""
        tasks = self._running - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
