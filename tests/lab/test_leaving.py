"""A user who never answers, over two processes and legacy servers of real SDKs (check 69)."""

from pathlib import Path
from typing import Any

import pytest

from tests.gateway.client import CAPABILITIES, JSON
from tests.gateway.running import KEY_A, document_of
from tests.gateway.witness import witness_at
from tests.lab.running import legacy_command, program
from tests.places import ROOT
from tests.redis import Redis
from tests.workers.running import Alternating, workers_for

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORMS = {CAPABILITIES: {"elicitation": {}}}


async def test_check_69_a_call_that_nobody_comes_back_for_ends_at_its_server(
    shared_redis: Redis, prefix: str, tmp_path: Path
) -> None:
    async def abandoned(client: Alternating, kind: str, tool: str, topic: str) -> JSON:
        """Has a tool ask, and never answers; returns what would be the next request."""
        params: JSON = {"name": f"{kind}__{tool}", "arguments": {"topic": topic}}
        asked = (await client.modern("tools/call", params, meta=FORMS)).result()
        answers = {key: {"action": "accept", "content": {"word": "leaf"}} for key in asked["inputRequests"]}
        return {**params, "requestState": asked["requestState"], "inputResponses": answers}

    async with witness_at(tmp_path / "witness") as witness, program("ul", "http", tmp_path) as url:
        python, *arguments = map(str, legacy_command("ud", tmp_path))
        servers = {
            "ul": {"url": url},
            "ud": {"command": python, "args": [*arguments, "stdio"], "env": {"PYTHONPATH": str(ROOT)}},
        }
        given: Any = {"input_seconds": 0.3}
        async with workers_for(document_of(servers), shared_redis, prefix, tmp_path, **given) as workers:
            client = workers.client("keyed", KEY_A)
            for kind in servers:
                # One ends when it is told that nobody answers, the other has to be cancelled.
                late = [await abandoned(client, kind, tool, f"{kind} {tool}") for tool in ("ask", "ask_and_hold")]
                await witness.saw(f"{kind} answered about {kind} ask")
                await witness.saw(f"{kind} ask_and_hold was told cancel")
                await witness.saw(f"{kind} ask_and_hold cancelled")
                for params in late:
                    assert (await client.modern("tools/call", params, meta=FORMS)).code() == -32602
                # Nothing of them is left that would be in the way.
                done = (await client.call(f"{kind}__echo", {"text": "next"}, meta=FORMS)).result()
                assert done["content"][0]["text"] == "next"
