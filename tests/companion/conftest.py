"""A companion of the test's own, and as many workers as it wants; the workers' side runs in both event loops."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio
import uvloop

from tests.companion.workers import Worker, companion_at, workers_at
from tests.processes import Program

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, LoopFactory]:
    """Both where the connection itself matters."""
    if item.path.name == "test_loss.py":
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
def path() -> Iterator[Path]:
    # Not tmp_path: the path of a socket has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="companion-") as folder:
        yield Path(folder, "stdio")


@pytest.fixture
def companion(path: Path) -> Iterator[Program]:
    with companion_at(path) as program:
        yield program


@pytest_asyncio.fixture
async def workers(companion: Program, path: Path) -> AsyncIterator[Callable[..., Worker]]:
    """Returns a new worker with each call."""
    async with workers_at(path) as start:
        yield start
