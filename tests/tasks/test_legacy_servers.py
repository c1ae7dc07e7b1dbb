"""Tools of 2025-11-25 servers that only run as a task, for clients that know nothing of it (check 85, eras.md 2.13)."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.gateway.client import JSON, Answer, Client
from tests.gateway.running import KEY_A, RunningGateway, document_of, gateway_for
from tests.places import client_python
from tests.processes import running

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.peers, pytest.mark.xdist_group("tasks")]

SERVER = Path(__file__).with_name("server_2025.py")
RELATED = "io.modelcontextprotocol/related-task"
KINDS = ("http", "stdio", "apart")
"""Legacy servers: one over HTTP, one over stdio, and one that gives every caller a session of its own."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway() -> AsyncIterator[RunningGateway]:
    python = client_python("mcp-1.30.0")
    with contextlib.ExitStack() as stack:
        _, ready = stack.enter_context(running([python, SERVER, "http"], r"^ready (\S+)"))
        stdio: JSON = {"command": str(python), "args": [str(SERVER), "stdio"], "era": "legacy"}
        servers: JSON = {"http": {"url": ready[1]}, "stdio": stdio, "apart": {**stdio, "sharing": "principal"}}
        async with gateway_for(document_of(servers)) as started:
            yield started


@pytest.fixture(params=["stranger", "key"])
def client(request: pytest.FixtureRequest, gateway: RunningGateway) -> Client:
    return gateway.client("open") if request.param == "stranger" else gateway.client("keyed", KEY_A)


def text(answer: Answer) -> str:
    result = answer.result()
    assert not {"task", "taskId"} & result.keys()
    assert RELATED not in result.get("_meta", {})
    return str(result["content"][0]["text"])


@pytest.mark.parametrize("kind", KINDS)
async def test_check_85_a_required_task_is_driven_to_its_end(client: Client, kind: str) -> None:
    answer = await client.call(f"{kind}__slow", {"what": "it"})
    assert answer.result()["resultType"] == "complete"
    assert text(answer) == "done with it"
    session = await client.session()
    answer = await session.call(f"{kind}__slow", {"what": "it"})
    assert text(answer) == "done with it"
    assert "resultType" not in answer.result()


async def test_what_the_server_says_meanwhile_is_progress(gateway: RunningGateway) -> None:
    session = await gateway.client().session()
    params: JSON = {"name": "http__slow", "arguments": {"what": "it"}, "_meta": {"progressToken": "p"}}
    for answer in (
        await session.request("tools/call", params),
        await gateway.client().modern(
            "tools/call", {"name": "http__slow", "arguments": {"what": "it"}}, meta={"progressToken": "p"}
        ),
    ):
        (told,) = [m["params"] for m in answer.messages() if m.get("method") == "notifications/progress"]
        assert (told["progressToken"], told["message"]) == ("p", "slow has begun")
        assert text(answer) == "done with it"


@pytest.mark.parametrize("kind", KINDS)
async def test_check_85_a_task_that_failed(gateway: RunningGateway, kind: str) -> None:
    client = gateway.client()
    wrong = await client.call(f"{kind}__wrong")
    assert wrong.result()["isError"]
    assert text(wrong) == "it went wrong"
    session = await client.session()
    for broken in (await client.call(f"{kind}__broken"), await session.call(f"{kind}__broken")):
        assert broken.result()["isError"]
        assert text(broken) == "The task ended as failed: it broke off"


@pytest.mark.parametrize("kind", KINDS)
async def test_the_task_of_a_client_that_cannot_be_asked_is_offered_nothing(gateway: RunningGateway, kind: str) -> None:
    answer = await gateway.client().call(f"{kind}__ask")
    assert answer.result()["isError"]
    assert "does not support elicitation" in text(answer)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_legacy_client_is_asked_while_its_call_waits(gateway: RunningGateway, kind: str) -> None:
    session = await gateway.client().session(capabilities={"elicitation": {}})
    exchange = await session.start("tools/call", {"name": f"{kind}__ask", "arguments": {}})
    await exchange.head()
    asked = await exchange.message()
    assert (asked["method"], asked["params"]["message"]) == ("elicitation/create", f"[{kind}] Sure?")
    assert RELATED not in asked["params"].get("_meta", {})
    assert (await session.respond(asked, result={"action": "decline"})).status == 202
    assert (await exchange.message())["result"]["content"][0]["text"] == "decline"
    await exchange.close()


async def begun(exchange: Any) -> None:
    message = await exchange.message()
    assert message["params"]["message"] == "forever has begun"


@pytest.mark.parametrize("kind", ["http", "stdio"])
async def test_a_client_that_gives_up_cancels_the_task(gateway: RunningGateway, kind: str) -> None:
    client = gateway.client()

    async def cancelled(times: int) -> None:
        async def states() -> str:
            return text(await client.call(f"{kind}__states"))

        while (await states()).split().count("cancelled") < times:
            pass

    before = text(await client.call(f"{kind}__states")).split().count("cancelled")
    params: JSON = {"name": f"{kind}__forever", "arguments": {}}
    exchange = await client.start("tools/call", params, meta={"progressToken": 1})
    await exchange.head()
    await begun(exchange)
    await exchange.close()
    await cancelled(before + 1)
    session = await client.session()
    exchange = await session.start("tools/call", {**params, "_meta": {"progressToken": 1}}, id="x")
    await exchange.head()
    await begun(exchange)
    assert (await session.notify("notifications/cancelled", {"requestId": "x"})).status == 202
    await cancelled(before + 2)


async def test_the_wish_for_a_task_of_a_revision_without_such_tasks_is_ignored(gateway: RunningGateway) -> None:
    params: JSON = {"name": "stdio__either", "arguments": {}, "task": {"ttl": 1000}}
    assert text(await gateway.client().modern("tools/call", params)) == "no task"
    assert text(await (await gateway.client().session("2025-06-18")).request("tools/call", params)) == "no task"


async def test_check_53_only_clients_of_2025_11_25_are_offered_its_tasks(gateway: RunningGateway) -> None:
    listed = (await gateway.client().modern("tools/list")).result()["tools"]
    assert len(listed) == 24
    assert not any("execution" in tool for tool in listed)
    older = (await (await gateway.client().session("2025-06-18")).request("tools/list")).result()["tools"]
    assert not any("execution" in tool for tool in older)
    listed = (await (await gateway.client().session()).request("tools/list")).result()["tools"]
    support = {tool["name"]: tool["execution"]["taskSupport"] for tool in listed}
    # Nobody has to make a task of a call: what insists on one is driven.
    assert {support.pop(f"{kind}__states") for kind in KINDS} == {"forbidden"}
    assert set(support.values()) == {"optional"}


async def test_a_session_for_each_request_cannot_follow_a_task() -> None:
    stdio: JSON = {"command": str(client_python("mcp-1.30.0")), "args": [str(SERVER), "stdio"], "era": "legacy"}
    async with gateway_for(document_of({"each": {**stdio, "sharing": "call"}})) as running_:
        answer = await running_.client().call("each__slow", {"what": "it"})
    assert answer.result()["isError"]
    assert "only runs as a task" in text(answer)
