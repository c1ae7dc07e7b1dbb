"""The checks of the laboratory that are about two requests, each at another node (check 98).

Here two gateways are nodes: each has its own connections, child processes and memory, and they share their keys and
a Redis. In the rest of the laboratory two processes of one gateway share a companion as well.
"""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from metamcp_asgi.settings import Settings
from tests.gateway import test_cancel_progress as cancelling
from tests.gateway import test_changes as changes
from tests.gateway import test_legacy_sse as sse
from tests.gateway.running import document_of, gateway_for
from tests.lab import test_asking as asking
from tests.lab import test_legacy as legacy
from tests.lab import test_lists as lists
from tests.lab import test_tasks as tasks
from tests.lab.nodes import Nodes
from tests.lab.running import KEEPALIVE, KINDS, PAGE_SIZE, SECRET, Lab
from tests.redis import Redis

pytestmark = pytest.mark.asyncio(loop_scope="session")

ONE_FOR_BOTH = ("um", "ul", "ux")
"""Servers over HTTP. A stdio server is another one on each machine: what it keeps in its memory, of tasks, of what it
has asked, of who watches a resource, is known there only. A call in which a legacy one asks has an owner all the same.
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def nodes(lab: Lab, shared_redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    """The laboratory's servers behind two nodes."""
    folder = tmp_path_factory.mktemp("nodes")
    servers = {name: server for name, server in lab.servers.items() if name in KINDS}
    document, common = document_of(servers), settings(shared_redis, folder)
    async with gateway_for(document, **common) as one, gateway_for(document, **common) as other:
        yield dataclasses.replace(lab, running=Nodes(one.port, other.port))


def settings(redis: Redis, folder: Path) -> dict[str, Any]:
    """Returns what both nodes have, with the keys of the laboratory."""
    secret_keys = Settings.from_environ({"METAMCP_SECRET_KEYS": SECRET}, None).secret_keys
    shared = {"redis_url": redis.url, "redis_prefix": folder.name, "secret_keys": secret_keys}
    return {**shared, "page_size": PAGE_SIZE, "keepalive_seconds": KEEPALIVE}


@pytest.mark.parametrize("kind", ONE_FOR_BOTH)
async def test_check_98_56_57_58_64_questions_of_modern_clients(nodes: Lab, kind: str) -> None:
    await asking.test_check_56_prompts_and_resources_ask_as_well(nodes.a, kind)
    await asking.test_check_57_nobody_sees_anothers_question(nodes.a, nodes.b, kind)
    await asking.test_check_58_a_state_is_good_for_one_call_of_one_caller(nodes, nodes.a, nodes.b, kind)
    await asking.test_check_64_two_questions_are_two_rounds(nodes.a, kind)


@pytest.mark.parametrize("kind", [*ONE_FOR_BOTH, "ud"])
async def test_check_98_55_65_72_73_questions_and_cancellations(nodes: Lab, kind: str) -> None:
    await asking.test_check_55_56_a_question_is_answered_on_another_connection(nodes.a, kind)
    await legacy.test_check_65_a_question_on_the_stream_of_its_call(nodes, kind, "2025-11-25")
    await legacy.test_check_72_leaving_cancels_within_a_second(nodes, kind, True)
    await cancelling.test_check_73_a_legacy_client_cancels(nodes, kind, True)


@pytest.mark.parametrize("kind", ["um", "ul"])
async def test_check_98_74_75_logs(nodes: Lab, kind: str) -> None:
    await legacy.test_check_74_logs_of_a_call_that_wants_them(nodes, kind)
    await legacy.test_check_75_a_level_set_at_one_process_holds_at_the_other(nodes, kind)


@pytest.mark.parametrize("kind", ONE_FOR_BOTH)
async def test_check_98_77_78_79_news(nodes: Lab, kind: str) -> None:
    if kind != "um":
        await lists.test_check_41_77_a_legacy_server_changes(nodes, kind)
    await legacy.test_check_78_79_an_update_reaches_those_who_asked_for_it(nodes, kind)


async def test_check_98_28_35_76_77_84_cursors_streams_and_tasks(nodes: Lab) -> None:
    await sse.test_check_28_a_session(nodes, "2024-11-05")
    await lists.test_check_35_a_cursor_of_one_process_is_good_at_the_other(nodes)
    await changes.test_check_76_of_what_was_asked_for_that_is_acknowledged_which_there_is(nodes, 7)
    await changes.test_check_77_a_real_server_announces(nodes)
    await tasks.test_check_84_86_a_task_is_followed_at_any_process_by_whose_it_is(nodes, "um")
