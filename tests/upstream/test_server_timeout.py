"""How long a server may take: `timeout` seconds of silence, which progress restarts."""

import asyncio

import pytest

from metamcp_asgi.settings import Settings
from tests.scripted import LegacyServer, ModernServer, Offer, SSEServer, text
from tests.serving import gateway, serving, until
from tests.stdio import stdio

KINDS = [LegacyServer, ModernServer, SSEServer]


def patient():
    """Returns an offer with a tool that never answers, and one that reports progress for a while."""
    offer = Offer()

    async def never(context):
        await asyncio.Event().wait()

    async def steps(context):
        for step in range(8):
            await asyncio.sleep(0.2)
            await context.progress(step)
        return text("done")

    offer.add("never", never)
    offer.add("steps", steps)
    return offer


@pytest.mark.parametrize("kind", KINDS)
async def test_silence_ends_the_call_and_says_so(kind):
    async with serving(kind(patient())) as up, gateway({"s": {"url": f"{up.origin}/sse", "timeout": 0.9}}) as g:
        await g.ready()
        result = await g.call("s__never")
        assert result["isError"]
        assert "0.9 seconds" in result["content"][0]["text"]
        assert await g.text("s__echo") == "{}", "the session is as good as before"


async def test_a_legacy_server_is_told_of_the_cancellation():
    app = LegacyServer(patient())
    async with serving(app) as up, gateway({"s": {"url": f"{up.origin}/mcp", "timeout": 0.9}}) as g:
        await g.call("s__never")
        await until(lambda: len(app.cancelled) == 1)


@pytest.mark.parametrize("kind", KINDS)
async def test_progress_restarts_the_clock(kind):
    async with serving(kind(patient())) as up, gateway({"s": {"url": f"{up.origin}/sse", "timeout": 1.2}}) as g:
        await g.ready()
        assert (await g.call("s__steps", {"progressToken": "mine"}))["content"][0]["text"] == "done"


@pytest.mark.parametrize("kind", KINDS)
async def test_progress_restarts_the_clock_for_a_client_that_did_not_ask_for_progress(kind):
    """MetaMCP never asks for progress itself, so that its long tools die in spite of its setting (dossier B22)."""
    async with serving(kind(patient())) as up, gateway({"s": {"url": f"{up.origin}/sse", "timeout": 1.2}}) as g:
        await g.ready()
        assert await g.text("s__steps") == "done"
        answer = await g.post("tools/call", name="s__steps", arguments={})
        assert "notifications/progress" not in answer.text, "the client gets none, as it wanted none"


async def test_progress_restarts_the_clock_of_a_stdio_server():
    async with gateway({"s": {**stdio(), "timeout": 1.2}}) as g:
        await g.ready()
        assert (await g.call("s__steps", {"progressToken": 7}, steps=8, pause=0.2))["content"]


async def test_a_call_to_a_server_that_never_finishes_starting(tmp_path):
    async with gateway({"s": stdio(wait_for=tmp_path / "never")}, Settings(server_deadline=0.2)) as g:
        async with asyncio.timeout(30):
            result = await g.call("s__echo")
        assert result["isError"]
        assert "is starting" in result["content"][0]["text"]
