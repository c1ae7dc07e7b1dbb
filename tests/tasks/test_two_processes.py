"""Tasks once more with two processes, of which each request reaches another one; tests/lab has check 84."""

from functools import partial
from pathlib import Path

import pytest

from tests.redis import Redis
from tests.tasks import test_extension
from tests.tasks.test_extension import test_a_server_that_insists_may_ask_first  # noqa: F401 - once more here
from tests.workers.running import workers_over

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(autouse=True)
def two_processes(monkeypatch: pytest.MonkeyPatch, shared_redis: Redis, prefix: str, tmp_path: Path) -> None:
    """Has these tests run their gateways with two processes."""
    over = partial(workers_over, redis=shared_redis, prefix=prefix, folder=tmp_path)
    monkeypatch.setattr(test_extension, "gateway_over", over)
