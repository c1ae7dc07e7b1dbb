"""Tasks of modern servers of a real SDK over two processes (checks 84 to 86)."""

import json

import pytest

from tests.gateway.client import JSON
from tests.gateway.running import KEY_A, gateway_over
from tests.gateway.witness import Witness
from tests.lab.modern import build
from tests.lab.running import MODERN_KINDS, Lab
from tests.tasks.following import ABLE, ASKABLE, TASKS, about

pytestmark = pytest.mark.asyncio(loop_scope="session")

NEEDED: JSON = {"requiredCapabilities": {"extensions": {TASKS: {}}}}


@pytest.mark.parametrize("kind", MODERN_KINDS)
async def test_check_84_86_a_task_is_followed_at_any_process_by_whose_it_is(lab: Lab, kind: str) -> None:
    tool, arguments = f"{kind}__task_slow", {"topic": lab.tag()}
    seed = (await lab.a.call(tool, arguments, meta=ABLE)).result()
    task = seed["taskId"]
    assert (seed["resultType"], seed["status"], type(seed["ttlMs"])) == ("task", "working", int)
    assert not {"task", "content"} & seed.keys()
    for pid in lab.running.pids():
        client = lab.running.at(pid, "keyed", KEY_A)
        got = (await about(client, "tasks/get", task)).result()
        assert (got["resultType"], got["taskId"]) == ("complete", task)
    assert (got["status"], got["result"]["content"][0]["text"]) == ("completed", f"{arguments['topic']}: done")
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        undeclared = await about(lab.a, method, task, meta={})
        assert (undeclared.status, undeclared.code(), undeclared.error()["data"]) == (400, -32021, NEEDED)
        assert (await about(lab.b, method, task)).code() == -32602
    misnamed = await lab.a.modern("tasks/get", {"taskId": task}, meta=ABLE, headers=[("Mcp-Name", "another")])
    assert (misnamed.status, misnamed.code()) == (400, -32020)
    assert (await lab.a.call(tool, arguments)).result()["content"][0]["text"] == f"{arguments['topic']}: at once"


@pytest.mark.parametrize("kind", MODERN_KINDS)
async def test_check_84_a_task_asks_and_is_answered_at_another_process(lab: Lab, kind: str) -> None:
    arguments = {"topic": lab.tag()}
    task = (await lab.a.call(f"{kind}__task_ask", arguments, meta=ASKABLE)).result()["taskId"]
    client = lab.a
    asking = (await about(client, "tasks/get", task, ASKABLE)).result()
    assert asking["status"] == "input_required"
    assert asking["inputRequests"]["word"]["params"]["message"] == f"[{kind}] A word for {arguments['topic']}?"
    answers = {"word": {"action": "accept", "content": {"word": "leaf"}}}
    assert (await about(client, "tasks/update", task, ASKABLE, inputResponses=answers)).result()
    while (got := (await about(client, "tasks/get", task, ASKABLE)).result())["status"] == "working":
        pass
    assert got["result"]["content"][0]["text"] == f"{arguments['topic']}: leaf"


@pytest.mark.parametrize("undeclared", ["drive", "pass"])
async def test_who_declares_no_tasks_and_a_server_that_insists_on_one(undeclared: str) -> None:
    app = build("um", Witness()).streamable_http_app()
    async with gateway_over({"um": app}, undeclared_tasks=undeclared) as running:
        client, done = running.client(), "tea: done"
        answer = await client.call("um__task_only", {"topic": "tea"})
        if undeclared == "drive":
            assert answer.result()["content"][0]["text"] == done
        else:
            assert (answer.status, answer.code(), answer.error()["data"]) == (400, -32021, NEEDED)
        assert (await client.call("um__task_slow", {"topic": "tea"})).result()["content"][0]["text"] == "tea: at once"
        assert (await client.call("um__task_only", {"topic": "tea"}, meta=ABLE)).result()["resultType"] == "task"
        # Of those who could not follow it, everybody is served.
        session = await client.session()
        assert (await session.call("um__task_only", {"topic": "tea"})).result()["content"][0]["text"] == done
        body = json.dumps({"topic": "tea"}).encode()
        headers = [("Content-Type", "application/json")]
        rest = await client.send("POST", headers, body, target="/metamcp/open/api/um__task_only")
        assert done in rest.body.decode()
