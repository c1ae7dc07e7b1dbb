"""One gateway with an authorization server for each test module, and one for each test that changes what is for all."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.oauth.company import Company, company_in
from tests.oauth.home import Home, home


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    """A gateway over SQLite, for all tests of a module."""
    async with home(f"sqlite:///{tmp_path_factory.mktemp('oauth')}/metamcp.db") as running:
        yield running


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Home]:
    """A gateway over SQLite, for one test."""
    async with home(f"sqlite:///{tmp_path}/metamcp.db") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def company(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Company]:
    """A gateway whose people sign in at a provider, for all tests of a module."""
    async with company_in(tmp_path_factory.mktemp("company")) as running:
        yield running
