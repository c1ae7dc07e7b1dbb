"""A worker, the owner of a call, the companion or a server's child is killed with SIGKILL: checks 99 and 100.

That a retry which comes after its owner died is told so is in tests/workers/test_restarts.py.
"""

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import h11
import pytest
from mcp.server.mcpserver import Context, MCPServer

from tests.gateway.client import CAPABILITIES, Client
from tests.gateway.running import document_of
from tests.gateway.upstreams.raw import RawServer
from tests.lab.common import Word
from tests.places import BIN, ROOT
from tests.processes import running
from tests.redis import Redis
from tests.reliability.clock import AT_ONCE, RECOVERY, until_true, within
from tests.stdio import stdio
from tests.upstream.child.children import exists
from tests.workers.running import RunningWorkers, children_of, until, workers_over

FORMS: dict[str, Any] = {CAPABILITIES: {"elicitation": {}}}


def descendants(pid: int) -> set[int]:
    """Returns the processes that a process, or one of them, has started."""
    found = set(children_of(pid))
    return found.union(*map(descendants, found))


def children_with(text: str, pid: int) -> set[int]:
    """Returns those whose command line has a text."""
    found = set()
    for child in descendants(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if exists(child) and text.encode() in Path(f"/proc/{child}/cmdline").read_bytes():
                found.add(child)
    return found


async def pid_of_child(client: Client) -> int:
    return int((await client.call("us__pid")).result()["content"][0]["text"])


async def works(client: Client, name: str = "us__echo") -> bool:
    """Tells whether a tool can be called; a connection may still be broken off meanwhile."""
    with contextlib.suppress(OSError, h11.RemoteProtocolError):
        message = (await client.call(name, {})).message()
        return "result" in message and not message["result"].get("isError")
    return False


async def test_check_99_an_owner_that_is_killed_while_it_works_on_the_answer(
    shared_redis: Redis, prefix: str, tmp_path: Path
) -> None:
    answered, release = asyncio.Event(), asyncio.Event()
    server: MCPServer[Any] = MCPServer("asking", log_level="WARNING")

    @server.tool()
    async def ask(ctx: Context[Any]) -> str:
        answer = await ctx.elicit("A word?", Word)
        answered.set()
        await release.wait()
        return answer.action

    async def call(client: Client, **more: Any) -> dict[str, Any]:
        return (await client.modern("tools/call", {"name": "ul__ask", "arguments": {}, **more}, meta=FORMS)).result()

    def given(asked: dict[str, Any]) -> dict[str, Any]:
        answers = {key: {"action": "accept", "content": {"word": "leaf"}} for key in asked["inputRequests"]}
        return {"requestState": asked["requestState"], "inputResponses": answers}

    config = {"ul": {"era": "legacy"}}
    servers = {"ul": server.streamable_http_app()}
    async with workers_over(servers, redis=shared_redis, prefix=prefix, folder=tmp_path, config=config) as workers:
        owner, other = workers.pids()
        asked = await call(workers.at(owner))
        retry = asyncio.create_task(call(workers.at(other), **given(asked)))
        await answered.wait()
        os.kill(owner, signal.SIGKILL)
        async with within(10, "a retry in flight, when its owner is killed"):
            told = await retry
        assert told["isError"]
        assert "may have reached the server" in told["content"][0]["text"]
        release.set()
        again = await call(workers.at(other))
        final = await call(workers.at(other), **given(again))
        assert final["content"][0]["text"] == "accept"


async def test_check_100_a_killed_worker_costs_only_its_own_connections(
    shared_redis: Redis, prefix: str, tmp_path: Path
) -> None:
    log = tmp_path / "calls"
    servers: dict[str, Any] = {"um": RawServer("modern"), "us": stdio(log=log)}
    over = False
    broken: list[Exception] = []
    finished = 0

    async def load(client: Client) -> None:
        nonlocal finished
        while not over:
            for name in ("um__echo", "us__echo"):
                try:
                    assert "result" in (await client.call(name, {})).message()
                except (OSError, h11.RemoteProtocolError) as error:
                    broken.append(error)
                finished += 1

    async with (
        workers_over(servers, redis=shared_redis, prefix=prefix, folder=tmp_path) as workers,
        asyncio.TaskGroup() as group,
    ):
        killed, other = workers.pids()
        child = await pid_of_child(workers.anywhere())
        clients = 6
        for _ in range(clients):
            group.create_task(load(workers.anywhere()))
        await until(lambda: finished > 10 * clients)
        os.kill(killed, signal.SIGKILL)
        async with within(AT_ONCE, "the other worker, after one was killed"):
            assert (await workers.at(other).call("um__echo")).status == 200
        async with within(RECOVERY, "a killed worker's replacement"):
            pids = await workers.replaced(killed)
        successor = next(pid for pid in pids if pid != other)
        await until_true(lambda: works(workers.at(successor)), "the first call at the replacement")
        over = True
    # One client has one connection at a time, so no more than one of its calls was cut off.
    assert len(broken) <= clients
    await until(lambda: not exists(child))  # it belongs to the companion, and ends with the gateway
    assert len(log.read_text().splitlines()) <= finished


async def test_check_100_with_a_companion_the_child_outlives_the_worker_and_nothing_else_is_started(
    shared_redis: Redis, prefix: str, tmp_path: Path
) -> None:
    async with workers_over({"us": stdio()}, redis=shared_redis, prefix=prefix, folder=tmp_path) as workers:
        killed, _ = workers.pids()
        child = await pid_of_child(workers.at(killed))
        os.kill(killed, signal.SIGKILL)
        for pid in await workers.replaced(killed):
            await until_true(lambda pid=pid: works(workers.at(pid)), "each worker")  # type: ignore[misc]
            assert await pid_of_child(workers.at(pid)) == child
        assert children_with("stdio_server.py", workers.program.pid) == {child}


async def test_check_100_without_a_companion_the_child_goes_with_its_worker_and_comes_once(
    shared_redis: Redis, prefix: str, tmp_path: Path
) -> None:
    config = tmp_path / "mcp.json"
    config.write_text(json.dumps(document_of({"us": stdio()})))
    env = {
        "MCP_CONFIG": str(config),
        "METAMCP_REDIS_URL": shared_redis.url,
        "METAMCP_REDIS_PREFIX": prefix,
        "METAMCP_SECRET_KEYS": "k" * 32,
    }
    worker = "metamcp_asgi.worker.GatewayWorker"
    command: list[str | Path] = [BIN / "gunicorn", "--chdir", ROOT / "examples", "--worker-class", worker]
    command += ["--workers", "2", "--bind", "127.0.0.1:0", "gunicorn_app:app"]
    listens = r"Listening at: http://127\.0\.0\.1:(\d+)"
    with contextlib.ExitStack() as stack:
        program, ready = await asyncio.to_thread(stack.enter_context, running(command, listens, env, ROOT))
        workers = RunningWorkers(program, int(ready[1]), config)
        killed, other = await workers.replaced()
        for pid in (killed, other):
            await until_true(lambda pid=pid: works(workers.at(pid)), "each worker")  # type: ignore[misc]
        child = await pid_of_child(workers.at(killed))
        kept = await pid_of_child(workers.at(other))
        assert child != kept
        os.kill(killed, signal.SIGKILL)
        async with within(AT_ONCE, "the end of a killed worker's child"):
            await until(lambda: not exists(child))
        assert [t["name"] for t in (await workers.at(other).modern("tools/list")).result()["tools"]]
        successor = next(pid for pid in await workers.replaced(killed) if pid != other)
        await until_true(lambda: works(workers.at(successor)), "the replacement of a killed worker")
        new = await pid_of_child(workers.at(successor))
        assert children_with("stdio_server.py", program.pid) == {kept, new}
    await until(lambda: not exists(kept) and not exists(new))


@pytest.mark.parametrize("victim", ["child", "companion"])
async def test_a_child_or_the_companion_is_killed_in_the_middle_of_a_call(
    shared_redis: Redis, prefix: str, tmp_path: Path, victim: str
) -> None:
    log = tmp_path / "calls"
    servers: dict[str, Any] = {"us": stdio(log=log), "um": RawServer("modern")}
    async with workers_over(servers, redis=shared_redis, prefix=prefix, folder=tmp_path) as workers:
        client = workers.client()
        child = await pid_of_child(client)
        [companion] = children_with("metamcp_asgi.commands.stdio", workers.program.pid) - {child}
        call = asyncio.create_task(client.call("us__slow", {"until": "/nowhere"}))
        await until(lambda: "slow" in log.read_text())
        os.kill(child if victim == "child" else companion, signal.SIGKILL)
        async with within(AT_ONCE, f"a call in flight, when the {victim} is killed"):
            told = (await call).result()
        assert told["isError"]
        assert "'us'" in told["content"][0]["text"]
        async with within(AT_ONCE, f"another server, when the {victim} is killed"):
            assert await works(workers.client(), "um__echo")
        await until(lambda: not exists(child))
        await until_true(lambda: works(workers.client()), f"the first call after the {victim} was killed")
        for pid in workers.pids():
            await until_true(lambda pid=pid: works(workers.at(pid)), "each worker")  # type: ignore[misc]
        new = await pid_of_child(workers.client())
        assert children_with("stdio_server.py", workers.program.pid) == {new} != {child}
    assert log.read_text().splitlines().count("slow") == 1, "nothing is done twice"
