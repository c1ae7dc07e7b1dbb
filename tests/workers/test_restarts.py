"""What clients see when processes are replaced or killed: checks 81, 99, 100 and 102."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import h11
import pytest
from mcp.server.mcpserver import Context, MCPServer

from tests.gateway.client import CAPABILITIES, Answer, Client
from tests.gateway.running import KEY_A
from tests.gateway.test_changes import SUBSCRIPTION, listening
from tests.gateway.upstreams.raw import RawServer, Seen, text_result
from tests.gateway.witness import witness_at
from tests.lab.common import Word
from tests.lab.modern import build
from tests.places import ROOT
from tests.redis import Redis
from tests.workers.running import RunningWorkers, until, workers_over

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORMS = {CAPABILITIES: {"elicitation": {}}}
CLIENTS = 4


async def restart(workers: RunningWorkers) -> None:
    """Has all processes replaced, and waits until that is done."""
    before = workers.pids()
    workers.reload()
    await workers.replaced(*before)


async def listed(workers: RunningWorkers) -> list[str]:
    """Returns the names of all tools once every server has been read, the same at both processes."""
    one, other = workers.pids()
    for pid in (one, other):
        await workers.read(pid)
    lists = [(await workers.at(pid).modern("tools/list")).result()["tools"] for pid in (one, other)]
    names = [[tool["name"] for tool in tools] for tools in lists]
    assert names[0] == names[1]
    return names[0]


async def test_check_45_102_a_restart_under_load_loses_and_repeats_nothing(
    shared_redis: Redis, prefix: str, tmp_path: Path
) -> None:
    scripted = {"new": RawServer("modern", ("echo",)), "old": RawServer("legacy", ("echo",))}
    over = False
    answered: dict[str, list[str]] = {name: [] for name in (*scripted, "us", "ul")}
    given_up: list[str] = []
    failed: list[BaseException] = []

    async def once(client: Client, sent: str) -> None:
        for name in scripted:
            result = (await client.call(f"{name}__echo", {"sent": sent})).result()
            assert sent in result["content"][0]["text"], "somebody else's answer"
            answered[name].append(sent)
        result = (await client.call("us__count", {"tag": sent})).result()
        assert result["content"][0]["text"] == sent, "somebody else's answer"
        answered["us"].append(sent)
        params = {"name": "ul__ask", "arguments": {"topic": sent}}
        asked = (await client.modern("tools/call", params, meta=FORMS)).result()
        if asked["resultType"] == "input_required":
            [question] = asked["inputRequests"].values()
            assert question["params"]["message"] == f"[ul] A word for {sent}?", "somebody else's question"
            asked = (await client.modern("tools/call", {**params, **given(asked)}, meta=FORMS)).result()
        text = asked["content"][0]["text"]
        if text == f"{sent}: leaf":
            answered["ul"].append(sent)
        else:  # its process ended while the user thought
            assert text == f"{sent}: cancel" or asked["isError"], text
            given_up.append(sent)

    async def load(number: int, client: Client) -> None:
        calls = 0
        while not over:
            calls += 1
            try:
                await once(client, f"{number}:{calls}")
            except (OSError, h11.RemoteProtocolError) as error:
                failed.append(error)

    async with witness_at(tmp_path / "witness") as witness:
        arguments = ["-m", "tests.lab.modern", "us", str(tmp_path / "witness")]
        servers: dict[str, Any] = {
            **scripted,
            "us": {"command": sys.executable, "args": arguments, "env": {"PYTHONPATH": str(ROOT)}},
            "ul": build("ul", witness).streamable_http_app(),
        }
        given_to: Any = {"redis": shared_redis, "prefix": prefix, "folder": tmp_path}
        async with (
            workers_over(servers, config={"ul": {"era": "legacy"}}, **given_to) as workers,
            asyncio.TaskGroup() as group,
        ):
            before = await listed(workers)
            assert {"us__ask", "ul__ask"} <= set(before)
            assert len(set(before)) == len(before)
            for number in range(CLIENTS):
                group.create_task(load(number, workers.anywhere("keyed", KEY_A)))
            for _ in range(2):
                seen = len(answered["ul"])
                await until(lambda seen=seen: len(answered["ul"]) > seen + CLIENTS)
                await restart(workers)
            seen = len(answered["ul"])
            await until(lambda: len(answered["ul"]) > seen + CLIENTS)
            over = True
            assert await listed(workers) == before, "names do not depend on which process reads the servers, or when"
        assert failed == []
        for name, server in scripted.items():
            assert server.count("tools/call") == len(answered[name])
        told = Counter(witness.reports)
        assert [told[f"{sent} counted"] for sent in answered["us"]] == [1] * len(answered["us"])
        assert sum(what.endswith(" counted") for what in told.elements()) == len(answered["us"])
        assert [told[f"ul asks about {sent}"] for sent in (*answered["ul"], *given_up)] == [1] * (
            len(answered["ul"]) + len(given_up)
        )
        assert [told[f"ul answered about {sent}"] for sent in answered["ul"]] == [1] * len(answered["ul"])
        assert max(told[f"ul answered about {sent}"] for sent in (*given_up, "nothing")) <= 1


async def test_check_81_streams_end_with_their_result_and_can_be_opened_again(
    shared_redis: Redis, prefix: str, tmp_path: Path
) -> None:
    async with workers_over({"raw": RawServer()}, redis=shared_redis, prefix=prefix, folder=tmp_path) as workers:
        client = workers.client()
        streams = [await listening(client, "tools", id=id_) for id_ in (5, "five")]
        session = await client.session()
        legacy = [await session.listen()]
        await restart(workers)
        for stream, id_ in zip(streams, (5, "five"), strict=True):
            answer = await asyncio.wait_for(stream.answer(), 15)
            assert answer.message() == {
                "jsonrpc": "2.0",
                "id": id_,
                "result": {"resultType": "complete", "_meta": {SUBSCRIPTION: id_}},
            }
        for stream in legacy:
            assert (await asyncio.wait_for(stream.answer(), 15)).messages() == []
        await (await listening(client, "tools")).close()
        # A session outlives every process that has seen it.
        await (await session.listen()).close()
        assert (await session.call("raw__echo")).result()["content"]


async def test_a_call_in_flight_finishes_although_its_process_is_to_end(
    shared_redis: Redis, prefix: str, tmp_path: Path
) -> None:
    release = asyncio.Event()

    async def late(_: Seen) -> Any:
        await release.wait()
        return text_result("late", resultType="complete")

    server = RawServer("modern", ("late",), {"tools/call": late})
    given = {"redis": shared_redis, "prefix": prefix, "folder": tmp_path, "shutdown_seconds": 30}
    async with workers_over({"raw": server}, **given) as workers:  # type: ignore[arg-type]
        before = workers.pids()
        calls = [await workers.at(pid).start("tools/call", {"name": "raw__late"}) for pid in before]
        await until(lambda: server.count("tools/call") == 2)
        workers.reload()
        await until(lambda: len(set(workers.pids()) - set(before)) == 2)
        assert (await workers.anywhere().modern("tools/list")).status == 200
        release.set()
        for call in calls:
            assert (await asyncio.wait_for(call.answer(), 15)).result()["content"][0]["text"] == "late"
        await until(lambda: not set(workers.pids()) & set(before))
    assert server.count("tools/call") == 2


async def test_who_waits_longer_than_the_time_for_the_end_is_told(
    shared_redis: Redis, prefix: str, tmp_path: Path
) -> None:
    async def never(_: Seen) -> Any:
        await asyncio.Event().wait()

    servers = {kind: RawServer("modern", ("never",), {"tools/call": never}) for kind in ("one", "other")}
    given: Any = {"redis": shared_redis, "prefix": prefix, "folder": tmp_path, "shutdown_seconds": 1}
    async with workers_over(servers, **given) as workers:
        client = workers.client()
        legacy = asyncio.create_task((await client.session()).call("one__never"))
        modern = await client.start("tools/call", {"name": "other__never"})
        await until(lambda: all(server.count("tools/call") for server in servers.values()))
        workers.reload()
        for answer in (legacy, modern.answer()):
            result = (await asyncio.wait_for(answer, 15)).result()
            assert result["isError"]
            assert "The gateway was restarted" in result["content"][0]["text"]
    assert "Traceback" not in workers.program.output()


class Asking:
    """A legacy server with one tool that asks, and what became of its questions; it goes on when ``release`` is set."""

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.release = asyncio.Event()
        self.release.set()
        server: MCPServer[Any] = MCPServer("asking", log_level="WARNING")

        @server.tool()
        async def ask(topic: str, ctx: Context[Any]) -> str:
            answer = await ctx.elicit(f"A word for {topic}?", Word)
            self.answers.append(answer.action)
            await self.release.wait()
            return f"{topic}: {answer.action}"

        self.app = server.streamable_http_app()


@contextlib.asynccontextmanager
async def asking_workers(
    asking: Asking, redis: Redis, prefix: str, folder: Path, **settings: object
) -> AsyncIterator[RunningWorkers]:
    given: Any = {"redis": redis, "prefix": prefix, "folder": folder, "config": {"ul": {"era": "legacy"}}, **settings}
    async with workers_over({"ul": asking.app}, **given) as workers:
        yield workers


async def ask(client: Client, **more: Any) -> Answer:
    params = {"name": "ul__ask", "arguments": {"topic": "tea"}, **more}
    return await client.modern("tools/call", params, meta=FORMS)


def given(asked: dict[str, Any]) -> dict[str, Any]:
    """Returns what a client adds to its repeated call."""
    answers = {key: {"action": "accept", "content": {"word": "leaf"}} for key in asked["inputRequests"]}
    return {"requestState": asked["requestState"], "inputResponses": answers}


async def test_a_restart_cancels_what_waits_for_a_user(shared_redis: Redis, prefix: str, tmp_path: Path) -> None:
    asking = Asking()
    async with asking_workers(asking, shared_redis, prefix, tmp_path) as workers:
        asked = (await ask(workers.client())).result()
        await restart(workers)
        await until(lambda: asking.answers)
        late = (await ask(workers.client(), **given(asked))).result()
        assert late["isError"]
        assert "Nothing was decided" in late["content"][0]["text"]
        again = (await ask(workers.client())).result()
        final = (await ask(workers.client(), **given(again))).result()
        assert final["content"][0]["text"] == "tea: accept"
    assert asking.answers == ["cancel", "accept"]


async def test_a_call_that_goes_on_for_a_client_elsewhere_finishes_although_its_owner_is_to_end(
    shared_redis: Redis, prefix: str, tmp_path: Path
) -> None:
    asking = Asking()
    async with asking_workers(asking, shared_redis, prefix, tmp_path, shutdown_seconds=30) as workers:
        owner, other = workers.pids()
        asked = (await ask(workers.at(owner))).result()
        asking.release.clear()
        late = asyncio.create_task(ask(workers.at(other), **given(asked)))
        await until(lambda: asking.answers)
        workers.reload()
        # Longer than a call gets that nobody goes on with.
        await workers.said(rf"\[{owner}\] INFO +uvicorn.error: Waiting for application shutdown")
        await asyncio.sleep(1.5)
        asking.release.set()
        assert (await asyncio.wait_for(late, 20)).result()["content"][0]["text"] == "tea: accept"
        await until(lambda: not {owner, other} & set(workers.pids()))
    assert asking.answers == ["accept"]


async def test_check_99_a_killed_owner_is_told_within_ten_seconds(
    shared_redis: Redis, prefix: str, tmp_path: Path
) -> None:
    asking = Asking()
    async with asking_workers(asking, shared_redis, prefix, tmp_path) as workers:
        owner, other = workers.pids()
        asked = (await ask(workers.at(owner))).result()
        os.kill(owner, signal.SIGKILL)
        async with asyncio.timeout(10):
            late = (await ask(workers.at(other), **given(asked))).result()
        assert late["isError"]
        assert "the process that held it has stopped" in late["content"][0]["text"]
        again = (await ask(workers.at(other))).result()
        final = (await ask(workers.at(other), **given(again))).result()
        assert final["content"][0]["text"] == "tea: accept"
    assert asking.answers == ["accept"]


async def test_check_101_while_redis_is_away_the_others_serve_on_and_nothing_restarts(
    redis: Redis, prefix: str, tmp_path: Path
) -> None:
    server = RawServer("modern", ("echo",))
    async with workers_over({"raw": server}, redis=redis, prefix=prefix, folder=tmp_path) as workers:
        killed, other = workers.pids()
        redis.kill()
        workers.reload()
        await workers.said("Not restarted, the old configuration stays: Redis at .* cannot be reached")
        os.kill(killed, signal.SIGKILL)
        await workers.said("A worker cannot start: Redis at .* cannot be reached")
        assert (await workers.at(other).call("raw__echo")).result()["content"]
        await asyncio.to_thread(redis.start)
        await workers.said("metamcp: Redis at .* is reached again")
        # Both at first, then the one that was lost once more.
        await workers.said("metamcp.upstream: Server raw: ready", 3)
        for pid in workers.pids():
            assert (await workers.at(pid).call("raw__echo")).result()["content"]
        assert other in workers.pids()
        session = await workers.client().session()
        assert (await session.call("raw__echo")).result()["content"]
