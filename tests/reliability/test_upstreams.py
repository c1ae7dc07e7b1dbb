"""Servers that are half-open: connected, and silent. One never answers, one has stopped in the middle of its life."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.client import Client
from tests.gateway.running import document_of, gateway_for, gateway_over
from tests.gateway.upstreams.raw import RawServer
from tests.places import ROOT
from tests.processes import running
from tests.reliability.clock import AT_ONCE, until_true, within
from tests.serving import UNAVAILABLE
from tests.stdio import stdio

DEADLINE = 1.0
TIMEOUT = 2.0
SLACK = 5.0
"""Seconds more than the setting says, on a machine that is busy with other tests."""


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """Accepts connections, reads, and never answers; yields the port."""
    over = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        over.set()


async def listed(client: Client) -> tuple[list[str], list[str]]:
    """Returns the tools, and the servers that are missing."""
    result = (await client.modern("tools/list")).result()
    missing = [entry["server"] for entry in result.get("_meta", {}).get(UNAVAILABLE, [])]
    return [tool["name"] for tool in result["tools"]], missing


async def test_a_server_that_accepts_and_says_nothing() -> None:
    async with silent() as port:
        servers: dict[str, Any] = {
            "quiet": {"url": f"http://127.0.0.1:{port}/mcp", "timeout": TIMEOUT},
            "um": RawServer("modern"),
            "us": stdio(),
        }
        async with gateway_over(servers, wait=False, server_deadline=DEADLINE) as gateway:
            client = gateway.client()
            async with within(AT_ONCE, "a call of another server"):
                assert (await client.call("um__echo")).result()["content"]
            async with within(DEADLINE + SLACK, "the first list, with METAMCP_SERVER_DEADLINE=1"):
                tools, missing = await listed(client)
            assert "um__echo" in tools
            assert "us__echo" in tools
            assert missing == ["quiet"]
            async with within(DEADLINE + SLACK, "a list again"):
                assert (await listed(client))[1] == ["quiet"]


@pytest.mark.parametrize("kind", ["modern HTTP", "legacy HTTP", "stdio"])
async def test_a_server_that_stands_still(tmp_path: Path, kind: str) -> None:
    """As a connection that died without a word looks, too: the other side does not even close it."""
    async with contextlib.AsyncExitStack() as stack:
        server: dict[str, Any]
        if kind == "stdio":
            server = {**stdio(), "timeout": TIMEOUT}
        else:
            command = [sys.executable, "-m", "tests.reliability.server", kind.split()[0]]
            _, ready = await asyncio.to_thread(stack.enter_context, running(command, r"listens on (\d+)", cwd=ROOT))
            server = {"url": f"http://127.0.0.1:{ready[1]}/mcp", "timeout": TIMEOUT}
        document = document_of({"still": server, "um": stdio(era="modern")})
        gateway = await stack.enter_async_context(gateway_for(document, server_deadline=DEADLINE))
        client = gateway.client()
        pid = int((await client.call("still__pid")).result()["content"][0]["text"])
        os.kill(pid, signal.SIGSTOP)
        try:
            async with within(TIMEOUT + SLACK, f"{kind}: a call, with a timeout of 2 seconds"):
                told = (await client.call("still__echo")).result()
            assert told["isError"]
            assert "still" in json.dumps(told)
            async with within(AT_ONCE, f"{kind}: another server meanwhile"):
                assert (await client.call("um__echo")).result()["content"]
            async with within(DEADLINE + SLACK, f"{kind}: a list"):
                assert "um__echo" in (await listed(client))[0]
        finally:
            os.kill(pid, signal.SIGCONT)

        async def works() -> bool:
            return not (await client.call("still__echo")).result().get("isError")

        await until_true(works, f"{kind}: the first call after it goes on")
