"""What a model is told of an endpoint at the beginning: the namespace's own words, and those of its servers."""

import pytest

from tests.gateway.running import gateway_over
from tests.gateway.upstreams.raw import RawServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


def telling(era: str, instructions: str | None) -> RawServer:
    server = RawServer(era)
    server.instructions = instructions
    return server


@pytest.mark.parametrize(
    ("namespace", "expected"),
    [
        (
            {"description": "Tools of the office."},
            "Tools of the office.\n\n## new\n\nAsk before you call.\n\n## old\n\nI know “dates”.\nOnly those.",
        ),
        ({}, "## new\n\nAsk before you call.\n\n## old\n\nI know “dates”.\nOnly those."),
    ],
)
async def test_instructions_of_all_servers_are_told_under_their_names(namespace: dict[str, str], expected: str) -> None:
    servers = {
        "new": telling("modern", "Ask before you call.\n"),
        "silent": telling("modern", None),
        "blank": telling("legacy", " \n"),
        "old": telling("legacy", "I know “dates”.\nOnly those."),
    }
    async with gateway_over(servers, namespace=namespace) as running:
        client = running.client()
        assert (await client.modern("server/discover")).result()["instructions"] == expected
        for revision in ("2024-11-05", "2025-11-25"):
            assert (await client.initialize(revision)).result()["instructions"] == expected


async def test_where_nobody_has_instructions_there_are_none() -> None:
    async with gateway_over({"new": telling("modern", None), "old": telling("legacy", None)}) as running:
        client = running.client()
        assert "instructions" not in (await client.modern("server/discover")).result()
        assert "instructions" not in (await client.initialize()).result()
