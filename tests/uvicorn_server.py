"""uvicorn in the event loop of a test, which knows at once when it listens and when to stop."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import uvicorn


class LoopServer(uvicorn.Server):
    """Leaves signals to the test runner, and waits for events where uvicorn looks now and then."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._listening = asyncio.Event()
        self._over = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self._listening.set()

    async def main_loop(self) -> None:
        # uvicorn's own looks at `should_exit` ten times a second, which adds up over many servers.
        await self.on_tick(0)
        await self._over.wait()

    @property
    def port(self) -> int:
        port: int = self.servers[0].sockets[0].getsockname()[1]
        return port

    async def begin(self) -> asyncio.Task[None]:
        """Returns the task that serves, as soon as it listens."""
        task = asyncio.create_task(self.serve())
        listening = asyncio.create_task(self._listening.wait())
        await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        assert self.started, "uvicorn did not start"
        return task

    def end(self) -> None:
        """Has the task of `begin` come to its end."""
        self.should_exit = True
        self._over.set()
