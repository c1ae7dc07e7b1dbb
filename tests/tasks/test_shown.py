"""Tasks of 2025-11-25 servers, shown to modern clients as tasks of the extension (check 85, eras.md 2.13)."""

import pytest

from tests.gateway.client import CAPABILITIES, Client
from tests.gateway.running import KEY_A, KEY_B, RunningGateway
from tests.tasks.following import ABLE, ASKABLE, RELATED, about, until
from tests.workers.running import RunningWorkers

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.peers, pytest.mark.xdist_group("tasks")]

CALLERS = [("stranger", "http"), ("stranger", "stdio"), ("key", "http"), ("key", "apart")]

Gateway = RunningGateway | RunningWorkers


def client_of(tasks: Gateway, caller: str) -> Client:
    return tasks.client("open") if caller == "stranger" else tasks.client("keyed", KEY_A)


async def started(client: Client, tool: str, meta: object = ABLE, **arguments: str) -> str:
    result = (await client.call(tool, arguments, meta=meta)).result()
    assert (result["resultType"], result.get("status")) == ("task", "working"), result
    return str(result["taskId"])


@pytest.mark.parametrize(("caller", "kind"), CALLERS)
async def test_check_85_a_task_of_2025_is_a_flat_task(tasks: Gateway, caller: str, kind: str) -> None:
    client = client_of(tasks, caller)
    result = (await client.call(f"{kind}__slow", {"what": "it"}, meta=ABLE)).result()
    assert result["resultType"] == "task"
    assert (type(result["ttlMs"]), type(result["pollIntervalMs"])) == (int, int)
    assert result["createdAt"].endswith("Z")
    assert not {"task", "ttl", "pollInterval", "result", "inputRequests"} & result.keys()
    ended = await until(client, result["taskId"], "completed")
    assert (ended["resultType"], ended["createdAt"]) == ("complete", result["createdAt"])
    assert ended["result"]["content"][0]["text"] == "done with it"
    assert ended["result"]["resultType"] == "complete"
    assert RELATED not in ended["result"].get("_meta", {})
    assert ended["statusMessage"] == "slow has begun"


@pytest.mark.parametrize(
    ("tool", "text"), [("http__wrong", "it went wrong"), ("stdio__broken", "The task ended as failed: it broke off")]
)
async def test_check_85_a_task_that_failed_with_a_result_is_completed(tasks: Gateway, tool: str, text: str) -> None:
    client = tasks.client()
    ended = await until(client, await started(client, tool), "completed", "failed")
    assert (ended["status"], ended["result"]["isError"]) == ("completed", True)
    assert ended["result"]["content"][0]["text"] == text


@pytest.mark.parametrize(("caller", "kind"), CALLERS)
async def test_check_85_a_task_asks_twice_and_goes_on(tasks: Gateway, caller: str, kind: str) -> None:
    client = client_of(tasks, caller)
    task = await started(client, f"{kind}__twice", ASKABLE)
    keys = set()
    for message, content in (("Sure?", {"sure": False}), ("Really?", {"sure": True})):
        got = await until(client, task, "input_required", meta=ASKABLE)
        while next(iter(got["inputRequests"].values()))["params"]["message"] != f"[{kind}] {message}":
            got = await until(client, task, "input_required", meta=ASKABLE)
        ((key, question),) = got["inputRequests"].items()
        assert question["method"] == "elicitation/create"
        assert RELATED not in question["params"].get("_meta", {})
        keys.add(key)
        # What is not asked is ignored, and does not answer what is.
        other = await about(client, "tasks/update", task, ASKABLE, inputResponses={"other": {"action": "decline"}})
        assert other.result()["resultType"] == "complete"
        malformed = await about(client, "tasks/update", task, ASKABLE, inputResponses={key: {"action": "maybe"}})
        assert malformed.code() == -32602
        answers = {key: {"action": "accept", "content": content}}
        told = await about(client, "tasks/update", task, ASKABLE, inputResponses=answers)
        assert told.result().keys() == {"resultType", "_meta"}
    assert len(keys) == 2
    ended = await until(client, task, "completed", meta=ASKABLE)
    assert ended["result"]["content"][0]["text"] == "accept {'sure': False} accept {'sure': True}"
    late = await about(client, "tasks/update", task, ASKABLE, inputResponses=answers)
    assert late.result()["resultType"] == "complete"


async def test_a_client_is_only_shown_what_it_offered_with_this_request(tasks: Gateway) -> None:
    client = tasks.client()
    task = await started(client, "http__ask", ASKABLE)
    await until(client, task, "input_required", meta=ASKABLE)
    refused = await about(client, "tasks/get", task)
    assert refused.code() == -32603
    assert "Sure?" not in refused.body.decode()
    assert (await about(client, "tasks/cancel", task)).status == 200


@pytest.mark.parametrize("kind", ["http", "stdio"])
async def test_a_task_is_cancelled_at_its_server(tasks: Gateway, kind: str) -> None:
    client = tasks.client()

    async def cancelled() -> int:
        text: str = (await client.call(f"{kind}__states")).result()["content"][0]["text"]
        return text.split().count("cancelled")

    before = await cancelled()
    task = await started(client, f"{kind}__forever")
    for _ in range(2):  # the second one is acknowledged, too
        told = (await about(client, "tasks/cancel", task)).result()
        assert told.keys() == {"resultType", "_meta"}
    got = (await about(client, "tasks/get", task)).result()
    assert (got["status"], got["resultType"]) == ("cancelled", "complete")
    assert "result" not in got
    while await cancelled() <= before:
        pass


async def test_an_ended_task_stays_as_it_is_when_it_is_cancelled(tasks: Gateway) -> None:
    client = tasks.client()
    task = await started(client, "http__slow", what="it")
    await until(client, task, "completed")
    assert (await about(client, "tasks/cancel", task)).result()["resultType"] == "complete"
    assert (await about(client, "tasks/get", task)).result()["status"] == "completed"


async def test_nobody_else_can_use_the_id(tasks: Gateway) -> None:
    a = tasks.client("keyed", KEY_A)
    task = await started(a, "stdio__forever")
    for other, given in ((tasks.client("keyed", KEY_B), task), (tasks.client("open"), task), (a, task[:-4] + "AAAA")):
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            refused = await about(other, method, given)
            assert (refused.code(), refused.error()["message"]) == (-32602, "Unknown task")
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        refused = await about(a, method, task, meta={})
        assert (refused.status, refused.code()) == (400, -32021)
    assert (await about(a, "tasks/get", task)).result()["status"] == "working"
    await about(a, "tasks/cancel", task)


@pytest.mark.parametrize(("caller", "kind"), [("stranger", "http"), ("key", "stdio")])
async def test_a_client_that_follows_no_tasks_is_asked_in_the_midst_of_its_call(
    tasks: Gateway, caller: str, kind: str
) -> None:
    client = client_of(tasks, caller)
    meta = {CAPABILITIES: {"elicitation": {}}}
    params: dict[str, object] = {"name": f"{kind}__ask", "arguments": {}}
    asked = (await client.modern("tools/call", params, meta=meta)).result()
    assert asked["resultType"] == "input_required"
    ((key, question),) = asked["inputRequests"].items()
    assert question["params"]["message"] == f"[{kind}] Sure?"
    more = {"requestState": asked["requestState"], "inputResponses": {key: {"action": "decline"}}}
    ended = (await client.modern("tools/call", {**params, **more}, meta=meta)).result()
    assert (ended["resultType"], ended["content"][0]["text"]) == ("complete", "decline")


async def test_a_client_that_listens_hears_of_every_change(tasks: Gateway) -> None:
    client = tasks.client()
    task = await started(client, "http__ask", ASKABLE)
    exchange = await client.start(
        "subscriptions/listen", {"notifications": {"taskIds": [task, "t1.other"]}}, id="l", meta=ASKABLE
    )
    await exchange.head()
    acknowledged = await exchange.message()
    assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
    assert acknowledged["params"]["notifications"] == {"taskIds": [task]}
    while (told := (await exchange.message())["params"])["status"] != "input_required":
        assert told["taskId"] == task
    assert told["_meta"] == {"io.modelcontextprotocol/subscriptionId": "l"}
    (key,) = told["inputRequests"]
    await about(client, "tasks/update", task, ASKABLE, inputResponses={key: {"action": "cancel"}})
    while (told := (await exchange.message())["params"])["status"] != "completed":
        assert told["taskId"] == task
    assert told["result"]["content"][0]["text"] == "cancel"
    assert "resultType" not in told
    await exchange.close()
