"""Two gateways, each a process of its own as `metamcp serve` runs it, and one companion behind both."""

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from metamcp_asgi.config.file import compile_document
from metamcp_asgi.settings import Settings
from tests.companion.workers import companion_at, kill
from tests.conftest import RunningGateway, serve
from tests.gateway.client import CAPABILITIES
from tests.gateway.witness import Witness, witness_at
from tests.places import ROOT
from tests.processes import Program
from tests.serving import Client, gateway
from tests.stdio import stdio
from tests.upstream.child.children import exists, vanished

FORMS = {"elicitation": {}}


class Lab:
    """The gateways, the companion, and what the servers report."""

    def __init__(self, folder: Path, stack: contextlib.AsyncExitStack, http: httpx2.AsyncClient) -> None:
        self.folder = folder
        self.socket = folder / "stdio"
        self.witness: Witness
        self.companion: Program
        self._stack = stack
        self._http = http
        self._count = 0

    def python(self, module: str, name: str, era: str) -> dict[str, Any]:
        arguments = ["-m", module, name, str(self.folder / "witness")]
        return {"command": sys.executable, "args": arguments, "cwd": str(ROOT), "era": era}

    def gateway(self, *names: str, **more: Any) -> RunningGateway:
        """Starts one more gateway, over the servers of these names and further ones."""
        known = {
            "s": stdio(),
            "sdk": self.python("tests.lab.modern", "sdk", "legacy"),
            "ud": self.python("tests.lab.modern", "ud", "legacy"),
            "us": self.python("tests.lab.modern", "us", "auto"),
        }
        servers = {name: known[name] for name in names} | more
        self._count += 1
        folder = self.folder / str(self._count)
        folder.mkdir()
        environ = {"METAMCP_STDIO_SOCKET": str(self.socket)}
        started = self._stack.enter_context(serve({"mcpServers": servers}, folder, environ))
        for name in servers:
            started.program.wait_for_line(rf" {name}: ready")
        return started

    def client(self, gateway: RunningGateway) -> Client:
        return Client(gateway.url(), self._http)


@contextlib.asynccontextmanager
async def laboratory() -> AsyncIterator[Lab]:
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="companion-")))
        lab = Lab(folder, stack, await stack.enter_async_context(httpx2.AsyncClient(timeout=30)))
        lab.witness = await stack.enter_async_context(witness_at(folder / "witness"))
        lab.companion = stack.enter_context(companion_at(lab.socket))
        yield lab


async def pids(*clients: Client) -> list[int]:
    return [int(await client.text("s__pid")) for client in clients]


async def test_two_gateways_share_one_child_and_everything_that_comes_from_it() -> None:
    async with laboratory() as lab:
        one, other = lab.client(lab.gateway("s", "sdk")), lab.client(lab.gateway("s", "sdk"))
        first, second = await pids(one, other)
        assert first == second
        assert sorted(await one.tools()) == sorted(await other.tools())

        # Progress, to the one who called.
        answer = await other.post(
            "tools/call", name="sdk__slow", arguments={"tag": "p", "steps": 3}, _meta={"progressToken": "mine"}
        )
        messages = [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:")]
        told = [message["params"] for message in messages if message.get("method") == "notifications/progress"]
        assert [(params["progressToken"], params["progress"]) for params in told] == [("mine", n) for n in (1, 2, 3)]

        # A client that leaves cancels its call.
        leaving = asyncio.create_task(one.call("sdk__hold", tag="c"))
        await lab.witness.saw("c started", 20)
        leaving.cancel()
        await lab.witness.saw("c cancelled", 20)


@pytest.mark.parametrize("name", ["ud", "us"])
async def test_questions_are_asked_and_answered_through_the_companion(name: str) -> None:
    async with laboratory() as lab:
        client = lab.client(lab.gateway(name))
        call = {"name": f"{name}__ask", "arguments": {"topic": "tea"}, "_meta": {CAPABILITIES: FORMS}}
        asked = await client.result("tools/call", **call)
        assert asked["resultType"] == "input_required"
        (key,) = asked["inputRequests"]
        answers = {key: {"action": "accept", "content": {"word": "leaf"}}}
        result = await client.result("tools/call", **call, requestState=asked["requestState"], inputResponses=answers)
        assert result["content"][0]["text"] == "tea: leaf"


async def test_a_changed_list_is_told_by_both_gateways() -> None:
    async with laboratory() as lab:
        tools = lab.folder / "tools"
        tools.write_text("before")
        changing = stdio(tools_file=tools)
        one, other = lab.client(lab.gateway(c=changing)), lab.client(lab.gateway(c=changing))
        async with one.listening() as here, other.listening() as there:
            tools.write_text("after")
            await one.text("c__announce")
            for stream in (here, there):
                assert (await stream.message(20))["method"] == "notifications/tools/list_changed"
        assert "c__after" in await one.tools()
        assert "c__after" in await other.tools()


async def test_a_killed_gateway_leaves_the_child_but_not_its_calls() -> None:
    async with laboratory() as lab:
        dying, living = lab.gateway("s", "sdk"), lab.gateway("s", "sdk")
        one, other = lab.client(dying), lab.client(living)
        (child,) = await pids(one)
        lost = asyncio.create_task(one.post("tools/call", name="sdk__hold", arguments={"tag": "k"}))
        await lab.witness.saw("k started", 20)
        kill(dying.program)
        await lab.witness.saw("k cancelled", 20)
        with pytest.raises(httpx2.TransportError):
            await lost
        assert await pids(other) == [child]
        living.program.stop()
        assert exists(child)
        assert await pids(lab.client(lab.gateway("s"))) == [child]


async def test_a_killed_companion_takes_the_children_along_and_a_new_one_heals_all() -> None:
    async with laboratory() as lab:
        surviving = lab.gateway("s", "sdk")
        client = lab.client(surviving)
        (child,) = await pids(client)
        running = asyncio.create_task(client.call("sdk__hold", tag="d"))
        await lab.witness.saw("d started", 20)
        kill(lab.companion)
        result = await running
        assert result["isError"]
        assert "Server 'sdk' was lost with the companion metamcp-stdio" in result["content"][0]["text"]
        assert await vanished(child)
        seen = len(surviving.program.output().splitlines())
        assert "is not running" in (await client.call("s__pid"))["content"][0]["text"]
        with companion_at(lab.socket):
            surviving.program.wait_for_line(r"The stdio servers run at the companion", start=seen)
            (new,) = await pids(client)
            assert new != child
            async with asyncio.timeout(30):
                while await client.missing():
                    pass


async def test_a_gateway_takes_over_a_changed_configuration_and_the_old_child_ends() -> None:
    async with laboratory() as lab:
        settings = Settings(stdio_socket=lab.socket)
        async with gateway({"s": stdio()}, settings) as changing, gateway({"s": stdio()}, settings) as other:
            (child,) = set(await pids(changing, other))
            changed = compile_document({"mcpServers": {"s": {**stdio(), "env": {"NEW": "1"}}}}, environ={})
            changing.gateway.apply(changed)
            (new,) = await pids(changing)
            assert await pids(other) == [child] != [new]
            other.gateway.apply(changed)
            assert await pids(other) == [new]
            assert await vanished(child)
