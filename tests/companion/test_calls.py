"""Calls through the companion: everything that a server says in their course, and everything that a client does."""

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec import Raw

from metamcp_asgi.errors import UpstreamProtocolError, UpstreamTimeout, UpstreamUnavailable
from metamcp_asgi.protocol.capabilities import Capabilities
from metamcp_asgi.protocol.outcome import InputRequired, Result
from metamcp_asgi.upstream.companion import remote, wire
from metamcp_asgi.upstream.happening import Completed
from metamcp_asgi.upstream.request import Request
from metamcp_asgi.upstream.server import Updated
from tests.companion.workers import RunningServer, Worker, asking, companion_at, workers_at
from tests.gateway.witness import Witness, witness_at
from tests.places import ROOT
from tests.processes import Program
from tests.stdio import stdio
from tests.upstream.connecting import ADA, BOB, Client, call, failure, never, raw, text

Workers = Callable[..., Worker]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="companion-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def companion(folder: Path) -> Iterator[Program]:
    """One for all tests here: its servers are still there for the next test."""
    with companion_at(folder / "stdio") as program:
        yield program


@pytest_asyncio.fixture
async def workers(companion: Program, folder: Path) -> AsyncIterator[Workers]:
    async with workers_at(folder / "stdio") as start:
        yield start


@pytest_asyncio.fixture
async def witness(folder: Path) -> AsyncIterator[Witness]:
    async with witness_at(folder / "witness") as witness:
        yield witness
    (folder / "witness").unlink()


def sdk(folder: Path, era: str) -> dict[str, Any]:
    arguments = ["-m", "tests.lab.modern", "sdk", str(folder / "witness")]
    return {"command": sys.executable, "args": arguments, "cwd": str(ROOT), "era": era}


async def test_a_worker_hears_that_a_user_is_through_with_a_page(workers: Workers) -> None:
    told = {"jsonrpc": "2.0", "method": "notifications/elicitation/complete", "params": {"elicitationId": "e"}}
    server = await workers().ready(stdio(replies={"tools/call": [[told, {"jsonrpc": "2.0", "result": {}}]]}))
    await server.send(call("echo", Client()), ADA)
    await server.heard.wait(Completed("e"))


async def test_a_server_hears_of_other_roots(workers: Workers, folder: Path, witness: Witness) -> None:
    script = ROOT / "tests" / "gateway" / "upstreams" / "raw_stdio.py"
    arguments = [str(script), str(folder / "witness"), "legacy"]
    server = await workers().ready({"command": sys.executable, "args": arguments, "era": "legacy"})
    able = Capabilities(roots=True, roots_change=True)
    request = call("line", Client(), able)
    await server.send(request, ADA)
    server.roots_changed(BOB)
    server.roots_changed(ADA)
    changed = '{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}'
    async with asyncio.timeout(20):
        while changed not in witness.reports:
            await server.send(call("line", Client(), able), ADA)
    await server.send(call("line", Client(), able), BOB)
    assert witness.reports.count(changed) == 1


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_results_come_as_the_server_sent_them(workers: Workers, era: str) -> None:
    server = await workers().ready(stdio(era=era))
    outcome = await server.send(call("echo", word="ü☃", number=2**70))
    assert json.loads(text(outcome)) == {"word": "ü☃", "number": 2**70}
    assert isinstance(outcome, Result)
    assert ("resultType" in outcome.split()) == (era == "modern")


async def test_errors_come_as_the_server_sent_them(workers: Workers) -> None:
    error = {"code": -32050, "message": "not today", "data": {"until": ["tomorrow"]}}
    replies = {"tools/call": [[{"jsonrpc": "2.0", "error": error}]]}
    server = await workers().ready(stdio(replies=replies))
    told = failure(await server.send(call("echo")))
    assert (told.code, told.message, told.cause) == (-32050, "not today", "server")
    assert json.loads(bytes(told.data)) == {"until": ["tomorrow"]}


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_progress_comes_in_order_and_before_the_result(
    workers: Workers, witness: Witness, folder: Path, era: str
) -> None:
    server = await workers().ready(sdk(folder, era), f"sdk-{era}")
    seen: list[Any] = []
    request = call("slow", tag="t", steps=20)
    request.on_progress = lambda members: seen.append(json.loads(bytes(members["progress"])))
    assert text(await server.send(request)) == "t done"
    assert seen == list(range(1, 21))


async def test_log_messages_come_with_their_call(workers: Workers) -> None:
    server = await workers().ready(asking("legacy"), "asks-legacy")
    ada = Client()
    await server.send(call("log", ada, level="info", tag="t"), ADA)
    assert ada.logs == ["t info", "t warning"]


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_call_that_is_cancelled_is_cancelled_at_the_server(
    workers: Workers, witness: Witness, folder: Path, era: str
) -> None:
    server = await workers().ready(sdk(folder, era), f"sdk-{era}")
    running = asyncio.create_task(server.send(call("hold", tag=f"{era} c")))
    await witness.saw(f"{era} c started", 20)
    running.cancel()
    await asyncio.wait({running})
    await witness.saw(f"{era} c cancelled", 20)
    assert text(await server.send(call("echo", text="on"))) == "on"


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_calls_of_a_worker_that_dies_are_cancelled_at_the_server_and_no_others(
    workers: Workers, witness: Witness, folder: Path, era: str
) -> None:
    dying, living = workers(), workers()
    one, other = await dying.ready(sdk(folder, era), f"sdk-{era}"), await living.ready(sdk(folder, era), f"sdk-{era}")
    lost = asyncio.create_task(one.send(call("hold", tag=f"{era} dying")))
    kept = asyncio.create_task(other.send(call("hold", tag=f"{era} living")))
    await witness.saw(f"{era} dying started", 20)
    await witness.saw(f"{era} living started", 20)
    await dying.die()
    await witness.saw(f"{era} dying cancelled", 20)
    with pytest.raises(UpstreamUnavailable):
        await lost
    assert not kept.done()
    assert f"{era} living cancelled" not in witness.reports
    kept.cancel()


async def test_questions_of_a_legacy_server_are_answered(workers: Workers) -> None:
    server = await workers().ready(asking("legacy"), "asks-legacy")
    ada = Client("tea")
    assert text(await server.send(call("ask", ada, tag="t"), ADA)) == "t: tea"
    assert text(await server.send(call("sample", ada, tag="t"), ADA)) == "t: tea"
    assert text(await server.send(call("roots", ada), ADA)) == "file:///tea"
    assert [method for method, _ in ada.questions] == ["elicitation/create", "sampling/createMessage", "roots/list"]
    assert ada.questions[0][1]["message"] == "Word for t?"


async def test_many_questions_at_once_get_their_own_answers(workers: Workers) -> None:
    servers = [await workers().ready(asking("legacy"), "asks-legacy") for _ in range(2)]
    clients = {f"{which}-{n}": Client(f"word {which}-{n}") for which in range(2) for n in range(3)}
    outcomes = await asyncio.gather(
        *(servers[int(tag[0])].send(call("ask", client, tag=tag), ADA) for tag, client in clients.items())
    )
    assert [text(outcome) for outcome in outcomes] == [f"{tag}: word {tag}" for tag in clients]


async def test_a_question_ends_with_its_call(workers: Workers) -> None:
    server = await workers().ready(asking("legacy"), "asks-legacy")
    ada = Client(reply=never)
    running = asyncio.create_task(server.send(call("ask", ada, tag="t"), ADA))
    await asyncio.wait_for(ada.asked.wait(), 20)
    running.cancel()
    await asyncio.wait_for(ada.withdrawn.wait(), 20)


async def test_a_server_is_answered_even_when_asking_fails(workers: Workers) -> None:
    async def broken(question: object) -> Any:
        raise RuntimeError("a defect")

    server = await workers().ready(asking("legacy"), "asks-legacy")
    told = failure(await server.send(call("ask", Client(reply=broken), tag="t"), ADA))
    assert told.message == "The client could not be asked"


async def test_a_modern_server_returns_its_questions(workers: Workers) -> None:
    server = await workers().ready(asking("modern"), "asks-modern")
    outcome = await server.send(call("input_required", Client()))
    assert isinstance(outcome, InputRequired)
    assert json.loads(bytes(outcome.requests["w"]))["params"]["message"] == "Word?"
    more = {"inputResponses": {"w": {"action": "accept", "content": {"word": "leaf"}}}, "requestState": outcome.state}
    assert text(await server.send(call("input_required", Client(), more=more))) == 'kept: {"word": "leaf"}'


async def test_resources_are_watched_for_each_worker(workers: Workers) -> None:
    uri = "x://doc"
    leaving = workers()
    one, other = (
        await leaving.ready(asking("modern"), "asks-modern"),
        await workers().ready(asking("modern"), "asks-modern"),
    )
    assert await one.subscribe(uri) is None
    assert await other.subscribe(uri) is None
    await one.send(call("touch", uri=uri))
    await one.heard.wait(Updated(uri))
    await other.heard.wait(Updated(uri))
    await leaving.die()
    await other.send(call("touch", uri=uri))
    await other.heard.wait(Updated(uri), 2)
    await other.unsubscribe(uri)


async def test_a_subscription_that_the_server_refuses_is_a_failure(workers: Workers) -> None:
    server = await workers().ready(stdio())
    assert failure(await server.subscribe("x://doc")).message == "The server tells of no updates of its resources"


async def test_errors_of_the_connection_to_the_server_keep_their_kind(workers: Workers) -> None:
    server = await workers().ready({**stdio(), "timeout": 0.2})
    with pytest.raises(UpstreamTimeout, match=r"^Server 's' did not answer within 0.2 seconds$"):
        await server.send(call("slow", until="/nowhere"))
    with pytest.raises(UpstreamUnavailable, match=r"^Server 's' exited with code 3$") as raised:
        await server.send(call("crash"))
    assert raised.value.sent
    await server.heard.wait("lost")


async def test_a_child_that_dies_is_started_again_for_all(workers: Workers) -> None:
    one, other = await workers().ready(stdio(tools=["own"])), await workers().ready(stdio(tools=["own"]))
    with pytest.raises(UpstreamUnavailable):
        await one.send(call("crash"))
    await other.heard.wait("lost")
    assert text(await other.send(call("count"))) == "1"
    await one.heard.wait("ready", 2)


async def test_a_companion_that_hangs_is_not_waited_for_for_ever(
    companion: Program, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await workers().ready({**stdio(), "timeout": 1})
    monkeypatch.setattr(remote, "LATE", 0.1)  # not before: to start takes as long as it takes
    companion.signal(signal.SIGSTOP)
    try:
        with pytest.raises(UpstreamTimeout, match=r"the companion did not answer within 1.1 seconds"):
            await server.send(call("echo"))
        with pytest.raises(UpstreamTimeout, match=r"the companion did not answer"):
            await server.subscribe("x://doc")
    finally:
        companion.signal(signal.SIGCONT)


async def test_large_messages_pass_and_those_that_do_not_say_so(workers: Workers) -> None:
    server = await workers().ready(stdio())
    large = "x" * 20_000_000
    both = asyncio.gather(server.send(call("echo", word=large)), server.send(call("echo", word="small")))
    assert [len(json.loads(text(outcome))["word"]) for outcome in await both] == [len(large), 5]
    with pytest.raises(UpstreamUnavailable, match=r"^Server 's' cannot be told: a message of \d+ bytes") as raised:
        await server.send(
            Request("tools/call", {"name": raw("echo"), "arguments": Raw(b'"' + b"x" * 68_200_000 + b'"')})
        )
    assert not raised.value.sent
    assert text(await server.send(call("echo"))) == "{}"


async def test_a_thousand_calls_at_once_keep_apart(workers: Workers) -> None:
    servers: list[RunningServer] = [await workers().ready(stdio()) for _ in range(2)]
    numbers = range(500)
    outcomes = await asyncio.gather(*(server.send(call("echo", n=n)) for n in numbers for server in servers))
    assert [json.loads(text(outcome))["n"] for outcome in outcomes] == [n for n in numbers for _ in servers]


def test_every_kind_of_error_is_one_of_ours() -> None:
    for error in (UpstreamTimeout("t"), UpstreamProtocolError("p"), UpstreamUnavailable("u", sent=True)):
        with pytest.raises(type(error), match=str(error)) as raised:
            wire.outcome_of(wire.finished(error))
        assert getattr(raised.value, "sent", None) == getattr(error, "sent", None)
