"""The tasks of 2025-11-25, for clients of that revision, whatever the server is (checks 53 and 85, eras.md 2.13)."""

import pytest

from tests.gateway.client import JSON, Answer
from tests.gateway.running import KEY_A, KEY_B, RunningGateway
from tests.tasks.following import RELATED, begun
from tests.workers.running import RunningWorkers

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.peers, pytest.mark.xdist_group("tasks")]

Gateway = RunningGateway | RunningWorkers

SLOW: list[tuple[str, JSON, str]] = [
    ("http__slow", {"what": "it"}, "done with it"),
    ("stdio__slow", {"what": "it"}, "done with it"),
    # A modern server that answers at once, one that makes a task for this client, and one that insists on a task.
    ("modern__slow_compute", {"seconds": 0, "label": "x"}, "computed x"),
    ("modern__slow_compute", {"seconds": 0.2, "label": "x"}, "computed x"),
    ("modern__failing_job", {}, "it failed"),
]


def text(answer: Answer) -> str:
    return str(answer.result()["content"][0]["text"])


@pytest.mark.parametrize(("tool", "arguments", "expected"), SLOW)
async def test_a_task_is_made_looked_at_and_waited_for(
    tasks: Gateway, tool: str, arguments: JSON, expected: str
) -> None:
    session = await tasks.client().session()
    task = await begun(session, tool, arguments)
    assert task["status"] in ("working", "completed", "failed")
    assert (task["ttl"], type(task["pollInterval"])) == (60_000, int)
    # Waits for the end.
    result = await session.request("tasks/result", {"taskId": task["taskId"]})
    assert text(result) == expected
    assert result.result()["_meta"][RELATED] == {"taskId": task["taskId"]}
    assert "resultType" not in result.result()
    got = (await session.request("tasks/get", {"taskId": task["taskId"]})).result()
    failed = result.result().get("isError", False)
    assert (got["status"], got["createdAt"]) == ("failed" if failed else "completed", task["createdAt"])
    assert got["taskId"] == task["taskId"]
    # Once more, as often as it is kept.
    assert text(await session.request("tasks/result", {"taskId": task["taskId"]})) == expected


async def test_an_error_is_the_error_of_the_call(tasks: Gateway) -> None:
    session = await tasks.client().session()
    # It is known at once.
    params: JSON = {"name": "modern__protocol_error_job", "arguments": {}, "task": {}}
    answer = (await session.request("tools/call", params)).message()
    if "result" in answer:
        task = answer["result"]["task"]["taskId"]
        answer = (await session.request("tasks/result", {"taskId": task})).message()
        assert (await session.request("tasks/get", {"taskId": task})).result()["status"] == "failed"
    assert (answer["error"]["code"], answer["error"]["message"]) == (-32603, "a crash")


@pytest.mark.parametrize(
    ("tool", "questions", "expected"),
    [
        ("http__twice", ["[http] Sure?", "[http] Really?"], "accept {'sure': True} accept {'sure': True}"),
        ("stdio__twice", ["[stdio] Sure?", "[stdio] Really?"], "accept {'sure': True} accept {'sure': True}"),
        ("modern__confirm_delete", ["[modern] Your confirm?"], "deleted"),
        ("modern__multi_input", ["[modern] Your one?", "[modern] Your other?"], "both"),
        # Asks before it makes a task.
        ("modern__test_tool_with_task", ["[modern] Your user_name?"], "Hello, True"),
    ],
)
async def test_a_task_asks_on_the_stream_that_waits_for_it(
    tasks: Gateway, tool: str, questions: list[str], expected: str
) -> None:
    session = await tasks.client().session(capabilities={"elicitation": {}})
    task = (await begun(session, tool))["taskId"]
    exchange = await session.start("tasks/result", {"taskId": task})
    await exchange.head()
    for _ in questions:
        asked = await exchange.message()
        questions = [question for question in questions if question != asked["params"]["message"]]
        assert asked["params"]["_meta"][RELATED] == {"taskId": task}
        answer = {"action": "accept", "content": {"sure": True}}
        assert (await session.respond(asked, result=answer)).status == 202
    assert not questions
    message = await exchange.message()
    assert message["result"]["content"][0]["text"] == expected
    await exchange.close()


async def test_a_task_that_asks_says_so_and_a_refusal_reaches_it(tasks: Gateway) -> None:
    session = await tasks.client().session(capabilities={"elicitation": {}})
    task = (await begun(session, "http__ask"))["taskId"]
    while (await session.request("tasks/get", {"taskId": task})).result()["status"] != "input_required":
        pass
    exchange = await session.start("tasks/result", {"taskId": task})
    await exchange.head()
    asked = await exchange.message()
    await session.respond(asked, error={"code": -32603, "message": "no user here"})
    result = (await exchange.message())["result"]
    assert result["isError"] or "no user here" in result["content"][0]["text"]
    await exchange.close()


async def test_a_task_is_cancelled_and_only_once(tasks: Gateway) -> None:
    session = await tasks.client().session()
    task = (await begun(session, "stdio__forever"))["taskId"]
    waiting = await session.start("tasks/result", {"taskId": task}, id="w")
    cancelled = (await session.request("tasks/cancel", {"taskId": task})).result()
    assert (cancelled["status"], cancelled["taskId"]) == ("cancelled", task)
    assert (await session.request("tasks/get", {"taskId": task})).result()["status"] == "cancelled"
    assert (await session.request("tasks/cancel", {"taskId": task})).code() == -32602
    assert (await waiting.answer()).code() == -32603


async def test_waiting_is_ended_without_the_task(tasks: Gateway) -> None:
    session = await tasks.client().session()
    task = (await begun(session, "http__forever"))["taskId"]
    waiting = await session.start("tasks/result", {"taskId": task}, id="w")
    # Not lost on the way to the process that waits: it is cancelled again until the stream has ended.
    assert (await session.notify("notifications/cancelled", {"requestId": "w"})).status == 202
    assert (await session.request("tasks/get", {"taskId": task})).result()["status"] == "working"
    await waiting.close()
    await session.request("tasks/cancel", {"taskId": task})


async def test_a_tool_that_is_no_task_is_not_made_one(tasks: Gateway) -> None:
    session = await tasks.client().session()
    for tool, code in (("http__states", -32601), ("http__nothing", -32602)):
        params: JSON = {"name": tool, "arguments": {}, "task": {}}
        assert (await session.request("tools/call", params)).code() == code
    params = {"name": "http__slow", "arguments": {}, "task": 7}
    assert (await session.request("tools/call", params)).code() == -32602


async def test_nobody_else_can_use_the_id(tasks: Gateway) -> None:
    session = await tasks.client("keyed", KEY_A).session()
    task = (await begun(session, "http__forever"))["taskId"]
    for other in (await tasks.client("keyed", KEY_B).session(), await tasks.client("open").session()):
        for method in ("tasks/get", "tasks/result", "tasks/cancel"):
            assert (await other.request(method, {"taskId": task})).code() == -32602
    older = await tasks.client("keyed", KEY_A).session("2025-06-18")
    for method in ("tasks/get", "tasks/result", "tasks/cancel"):
        assert (await older.request(method, {"taskId": task})).code() == -32601
    # Another session of the same client is that client.
    again = await tasks.client("keyed", KEY_A).session()
    assert (await again.request("tasks/cancel", {"taskId": task})).result()["status"] == "cancelled"


async def test_check_53_tools_say_that_they_may_be_tasks(tasks: Gateway) -> None:
    listed = (await (await tasks.client().session()).request("tools/list")).result()["tools"]
    support = {tool["name"]: tool.get("execution", {}).get("taskSupport") for tool in listed}
    assert support["http__slow"] == support["http__either"] == support["modern__slow_compute"] == "optional"
    assert support["http__states"] == "forbidden"
