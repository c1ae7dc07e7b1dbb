"""The laboratory of tests/gateway with a gateway of two processes."""

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import pytest_asyncio

from tests.gateway.conftest import Lab, lab_servers
from tests.gateway.running import document_of
from tests.redis import Redis
from tests.workers.running import workers_for


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lab(shared_redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    async with (
        lab_servers(folder) as servers,
        workers_for(document_of(servers.configured), shared_redis, folder.name, folder) as workers,
    ):
        yield servers.lab(cast("Any", workers))
