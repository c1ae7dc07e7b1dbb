"""Checks of tests/gateway that need a gateway of their own, once more with two processes."""

from functools import partial
from pathlib import Path

import pytest

from tests.gateway import (
    test_changes,
    test_legacy,
    test_legacy_asking,
    test_legacy_resume,
    test_legacy_sessions,
    test_legacy_sse,
    test_lists,
)
from tests.gateway.test_changes import test_check_77_one_notification_to_each_who_asked  # noqa: F401
from tests.gateway.test_legacy import test_check_31_ping_while_every_server_is_down  # noqa: F401
from tests.gateway.test_legacy_asking import (  # noqa: F401
    test_a_client_that_cancels_its_request_is_not_asked_any_longer,
    test_check_65_several_questions_at_once_answered_in_any_order,
    test_nobody_else_can_answer,
)
from tests.gateway.test_legacy_resume import test_check_32_a_stream_is_resumed_while_the_call_runs  # noqa: F401
from tests.gateway.test_legacy_sessions import test_an_update_is_told_when_the_stream_is_back  # noqa: F401
from tests.gateway.test_legacy_sse import (  # noqa: F401
    test_a_client_is_asked_on_its_stream,
    test_changes_of_lists_are_told,
)
from tests.gateway.test_lists import test_check_42_a_server_that_is_down_is_missing_and_named  # noqa: F401
from tests.interaction import test_leaving
from tests.interaction.test_leaving import test_check_68_roots_at_the_start_of_a_session  # noqa: F401
from tests.redis import Redis
from tests.workers.running import workers_over

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODULES = (
    test_changes,
    test_legacy,
    test_legacy_asking,
    test_legacy_resume,
    test_legacy_sessions,
    test_legacy_sse,
    test_leaving,
    test_lists,
)


@pytest.fixture(autouse=True)
def two_processes(monkeypatch: pytest.MonkeyPatch, shared_redis: Redis, prefix: str, tmp_path: Path) -> None:
    """Has these tests run their gateways with two processes."""
    over = partial(workers_over, redis=shared_redis, prefix=prefix, folder=tmp_path)
    for module in MODULES:
        monkeypatch.setattr(module, "gateway_over", over)
