"""One process for all; a log message says nothing of its request, but there is none for who set no level."""

import asyncio
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.serving import until
from tests.upstream.connecting import ADA, ALL, BOB, Client, call, connected

MODERN_STDIO = textwrap.dedent(
    """
    import json, sys

    def say(message):
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\\n")
        sys.stdout.flush()

    held = []
    for line in sys.stdin:
        message = json.loads(line)
        method, number, params = message.get("method"), message.get("id"), message.get("params", {})
        if method == "server/discover":
            say({"id": number, "result": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}})
        elif method == "tools/call":
            held.append(number)
            tag, wait = params["arguments"]["tag"], params["arguments"]["wait"]
            if len(held) >= wait:
                if params["arguments"]["log"]:
                    say({"method": "notifications/message", "params": {"level": "info", "data": tag}})
                for each in held:
                    say({"id": each, "result": {"resultType": "complete", "content": [{"type": "text", "text": tag}]}})
                if params["arguments"]["log"]:
                    say({"method": "notifications/message", "params": {"level": "info", "data": "too late"}})
                held = []
    """
)


@pytest.fixture
def modern(tmp_path: Path) -> dict[str, Any]:
    script = tmp_path / "modern.py"
    script.write_text(MODERN_STDIO)
    return {"command": sys.executable, "args": ["-I", "-S", str(script)], "era": "modern"}


async def both(server, *levels):
    clients = [Client() for _ in levels]
    sending = []
    for number, (client, level) in enumerate(zip(clients, levels, strict=True)):
        arguments = {"tag": str(number), "wait": len(levels), "log": True}
        sending.append(asyncio.create_task(server.send(call("t", client, ALL, level, **arguments), (ADA, BOB)[number])))
    await asyncio.gather(*sending)
    await heard_out(server)
    return [client.logs for client in clients]


async def heard_out(server):
    """Returns when what this server says after its responses has been read, as one more has come."""
    await server.send(call("t", Client(), ALL, None, tag="last", wait=1, log=False), ADA)


async def test_it_is_that_of_the_only_request_with_a_level(modern):
    async with connected(modern) as server:
        assert await both(server, "debug", None) == [["1"], []]
        assert await both(server, None, "info") == [[], ["1"]]
        assert await both(server, "info") == [["0"]]


async def test_with_two_it_could_be_anybodys_and_is_dropped(modern):
    async with connected(modern) as server:
        assert await both(server, "debug", "debug") == [[], []]


async def test_a_cancelled_request_may_still_be_talked_about(modern):
    async with connected(modern) as server:
        gone = call("t", Client(), ALL, "debug", tag="gone", wait=2, log=True)
        sending = asyncio.create_task(server.send(gone, ADA))
        await until(lambda: server._main._channel._talking)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        client = Client()
        await server.send(call("t", client, ALL, "debug", tag="mine", wait=2, log=True), BOB)
        assert client.logs == []
        await heard_out(server)
        assert await both(server, "debug") == [["0"]], "its response has come meanwhile"
