"""Gateways with people, one for each test module or, where a test changes what is for all, for each test."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.signin.people import House, house, shared_home  # noqa: F401 - a fixture


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    """A gateway over an SQLite database."""
    async with house(f"sqlite:///{tmp_path}/metamcp.db") as running:
        yield running


@pytest.fixture
async def any_home(database: Callable[[], str]) -> AsyncIterator[House]:
    """A gateway over each kind of database."""
    async with house(database()) as running:
        yield running
