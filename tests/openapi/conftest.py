"""The bridge that most tests use."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.openapi.bridge import Bridge, bridge_over


@pytest_asyncio.fixture
async def bridge() -> AsyncIterator[Bridge]:
    endpoints = {"query": {"queryParamAuth": True}}
    async with bridge_over(endpoints=endpoints) as bridge:
        yield bridge
