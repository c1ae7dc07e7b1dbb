"""Gateways that serve from a store of their own, with an admin and a member who have keys for managing."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.admin.managed import Managed, managed


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Managed]:
    """A gateway over an SQLite database."""
    async with managed(f"sqlite:///{tmp_path}/metamcp.db") as running:
        yield running


@pytest.fixture
async def any_api(database: Callable[[], str]) -> AsyncIterator[Managed]:
    """A gateway over each kind of database."""
    async with contextlib.AsyncExitStack() as stack:
        yield await stack.enter_async_context(managed(database()))
