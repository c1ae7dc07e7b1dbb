"""The tasks extension of 2026-07-28, between modern clients and modern servers (checks 84, 86; eras.md 1.19, 2.13)."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from metamcp_asgi.config.file import compile_document
from tests.gateway.client import CAPABILITIES, JSON, Answer, Client, Exchange
from tests.gateway.running import KEY_A, KEY_B, document_of, gateway_for, gateway_over, served
from tests.gateway.upstreams.raw import Behaviour, Error, RawServer, Reply, Seen, text_result

TASKS = "io.modelcontextprotocol/tasks"
ABLE: JSON = {CAPABILITIES: {"extensions": {TASKS: {}}}}
ASKABLE: JSON = {CAPABILITIES: {"extensions": {TASKS: {}}, "elicitation": {}}}
LACKING = Error(-32021, "this takes a while", {"requiredCapabilities": {"extensions": {TASKS: {}}}}, 400)
QUESTION: JSON = {
    "method": "elicitation/create",
    "params": {"message": "Sure?", "requestedSchema": {"type": "object", "properties": {}}},
}


def follows(seen: Seen) -> bool:
    capabilities = seen.params["_meta"][CAPABILITIES]
    return TASKS in capabilities.get("extensions", {})


class Tasks(RawServer):
    """A modern server whose tool `slow` answers with a task, to whoever can follow one.

    Args:
        states: What `tasks/get` says of the task, one after the other; the last one stays.
        otherwise: What everybody else is answered.
    """

    def __init__(
        self, *states: JSON, otherwise: Behaviour = LACKING, behaviour: Mapping[str, Behaviour] | None = None
    ) -> None:
        self.states = list(states)
        self.otherwise = otherwise
        tools = {"tools/call slow": self._call, "tasks/get": self._get, "tasks/cancel": {"resultType": "complete"}}
        super().__init__("modern", ("slow", "echo"), {**tools, **(behaviour or {})})

    def _call(self, seen: Seen) -> Any:
        if follows(seen):
            return self.task(resultType="task")
        return self.otherwise(seen) if callable(self.otherwise) else self.otherwise

    def _get(self, seen: Seen) -> Reply:
        if seen.params["taskId"] != "task/ä":
            return Error(-32602, "I have no such task")
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return self.task(resultType="complete", **state)

    @staticmethod
    def task(**more: Any) -> JSON:
        at = "2026-08-01T00:00:00Z"
        times = {"createdAt": at, "lastUpdatedAt": at, "ttlMs": 60_000, "pollIntervalMs": 50}
        return {"taskId": "task/ä", "status": "working", **times, **more}


def completed(**result: Any) -> JSON:
    return {"status": "completed", "result": text_result("done", **result)}


async def about(client: Client, method: str, task: str, meta: JSON = ABLE, **params: Any) -> Answer:
    """Asks about a task, as a well-formed request does."""
    return await client.modern(method, {"taskId": task, **params}, meta=meta, headers=[("Mcp-Name", task)])


async def started(client: Client, tool: str = "raw__slow", meta: JSON = ABLE) -> str:
    result = (await client.call(tool, meta=meta)).result()
    assert result["resultType"] == "task"
    return str(result["taskId"])


async def test_check_84_86_a_task_is_passed_on_under_another_id() -> None:
    server = Tasks({}, completed())
    async with gateway_over({"raw": server}) as running:
        client = running.client("keyed", KEY_A)
        result = (await client.call("raw__slow", meta=ABLE)).result()
        task = result.pop("taskId")
        assert result.pop("_meta")
        assert {**result, "taskId": "task/ä"} == Tasks.task(resultType="task")
        assert "task/" not in task
        first = (await about(client, "tasks/get", task)).result()
        assert (first["resultType"], first["status"], first["taskId"]) == ("complete", "working", task)
        last = (await about(client, "tasks/get", task)).result()
        assert (last["status"], last["result"]["content"][0]["text"]) == ("completed", "done")
        asked = server.last("tasks/get")
        assert asked.params["taskId"] == "task/ä"
        assert asked.header("mcp-name") == [b"=?base64?dGFzay/DpA==?="]
        assert follows(asked)
        count = len(server.seen)
        for headers in ([("Mcp-Name", "task/ä".encode())], [("Mcp-Name", "another")], []):
            refused = await client.modern("tasks/get", {"taskId": task}, meta=ABLE, headers=headers)
            assert (refused.status, refused.code()) == (400, -32020)
        assert len(server.seen) == count


async def test_check_84_nobody_else_can_use_the_id() -> None:
    server = Tasks({})
    endpoints = {"second": {"namespace": "all"}}
    async with gateway_over({"raw": server}, endpoints=endpoints) as running:
        a = running.client("keyed", KEY_A)
        task = await started(a)
        count = len(server.seen)
        for client, given in (
            (running.client("keyed", KEY_B), task),
            (running.client("second", KEY_A), task),
            (running.client("open"), task),
            (a, task[:-3] + ("AAA" if task[-3:] != "AAA" else "BBB")),
            (a, "task/ä"),
        ):
            for method in ("tasks/get", "tasks/update", "tasks/cancel"):
                headers = [("Mcp-Name", given.replace("task/ä", "=?base64?dGFzay/DpA==?="))]
                refused = await client.modern(method, {"taskId": given}, meta=ABLE, headers=headers)
                assert (refused.code(), refused.error()["message"]) == (-32602, "Unknown task")
        assert len(server.seen) == count


async def test_check_84_a_client_that_does_not_follow_tasks_gets_the_result() -> None:
    server = Tasks({}, otherwise=lambda seen: text_result("at once", resultType="complete"))
    async with gateway_over({"raw": server}) as running:
        result = (await running.client().call("raw__slow")).result()
        assert (result["resultType"], result["content"][0]["text"]) == ("complete", "at once")
        task = await started(running.client())
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            refused = await about(running.client(), method, task, meta={})
            assert (refused.status, refused.code()) == (400, -32021)
            assert refused.error()["data"] == {"requiredCapabilities": {"extensions": {TASKS: {}}}}


async def test_check_86_the_header_names_the_task() -> None:
    async with gateway_over({"raw": Tasks({})}) as running:
        client = running.client()
        task = await started(client)
        for headers in ([("Mcp-Name", "another")], []):
            for method in ("tasks/get", "tasks/update", "tasks/cancel"):
                refused = await client.modern(method, {"taskId": task}, meta=ABLE, headers=headers)
                assert (refused.status, refused.code()) == (400, -32020)
        missing = await client.modern("tasks/get", {}, meta=ABLE)
        assert (missing.status, missing.code()) == (400, -32602)


async def test_check_11_there_is_no_more_than_the_extension_has() -> None:
    async with gateway_over({"raw": Tasks({})}) as running:
        client = running.client()
        for method in ("tasks/result", "tasks/list"):
            refused = await about(client, method, await started(client))
            assert (refused.status, refused.code()) == (404, -32601)
        session = await client.session(capabilities={"extensions": {TASKS: {}}, "tasks": {"list": {}, "cancel": {}}})
        for method in ("tasks/update", "tasks/list"):
            assert (await session.request(method, {"taskId": "x"})).code() == -32601


async def test_each_revision_is_told_of_its_own_tasks() -> None:
    async with gateway_over({"raw": Tasks({})}) as running:
        discovered = (await running.client().modern("server/discover")).result()
        assert discovered["capabilities"]["extensions"] == {TASKS: {}}
        assert "tasks" not in discovered["capabilities"]
        initialized = (await running.client().initialize()).result()
        assert "extensions" not in initialized["capabilities"]
        # No list: it could show one client what another one does.
        assert initialized["capabilities"]["tasks"] == {"cancel": {}, "requests": {"tools": {"call": {}}}}
        older = (await running.client().initialize("2025-06-18")).result()
        assert not {"extensions", "tasks"} & older["capabilities"].keys()


async def test_a_task_asks_and_is_answered() -> None:
    server = Tasks(
        {"status": "input_required", "inputRequests": {"k1": QUESTION}},
        behaviour={"tasks/update": {"resultType": "complete"}},
    )
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        task = await started(client, meta=ASKABLE)
        got = (await about(client, "tasks/get", task, ASKABLE)).result()
        assert got["status"] == "input_required"
        assert got["inputRequests"]["k1"]["params"]["message"] == "[raw] Sure?"
        answers = {"k1": {"action": "accept", "content": {}}}
        told = await about(client, "tasks/update", task, ASKABLE, inputResponses=answers)
        assert told.result().keys() == {"resultType", "_meta"}
        seen = server.last("tasks/update")
        assert (seen.params["taskId"], seen.params["inputResponses"]) == ("task/ä", answers)
        # A client is never shown what it did not offer.
        refused = await about(client, "tasks/get", task)
        assert refused.code() == -32603
        assert "Sure?" not in refused.body.decode()


async def test_cancelling_is_acknowledged() -> None:
    server = Tasks({"status": "cancelled"})
    async with gateway_over({"raw": server}) as running:
        task = await started(running.client())
        told = (await about(running.client(), "tasks/cancel", task)).result()
        assert told["resultType"] == "complete"
        assert "taskId" not in told
        assert server.last("tasks/cancel").params["taskId"] == "task/ä"


@pytest.mark.parametrize("code", [-32001, -32020, -32050, -32601])
async def test_check_83_codes_about_a_task_that_would_mean_something_else(code: int) -> None:
    async with gateway_over({"raw": Tasks({}, behaviour={"tasks/get": Error(code)})}) as running:
        task = await started(running.client())
        answer = await about(running.client(), "tasks/get", task)
        assert (answer.status, answer.code()) == (200, -32603)


@pytest.mark.parametrize("answer", [{"taskId": 7}, {"taskId": "x", "status": "asleep"}, {"status": "working"}])
async def test_what_is_no_task_is_an_error_of_the_server(answer: JSON) -> None:
    server = Tasks({}, behaviour={"tools/call slow": {"resultType": "task", **answer}})
    async with gateway_over({"raw": server}) as running:
        told = (await running.client().call("raw__slow", meta=ABLE)).message()
        assert "error" in told or told["result"]["isError"]


async def test_a_task_that_nobody_can_follow_is_an_error_of_the_server() -> None:
    server = Tasks(
        {}, otherwise=Tasks.task(resultType="task"), behaviour={"prompts/get": Tasks.task(resultType="task")}
    )
    server.behaviour["prompts/list"] = server.listed("prompts", [{"name": "p"}])
    async with gateway_over({"raw": server}) as running:
        assert (await running.client().call("raw__slow")).code() == -32603
        prompt = await running.client().modern("prompts/get", {"name": "raw__p"}, meta=ABLE)
        assert prompt.code() == -32603


async def test_a_result_that_only_looks_like_a_task_is_left_as_it_is() -> None:
    plain = text_result("plain", resultType="complete", taskId="mine", structuredContent={"taskId": "x"})
    async with gateway_over({"raw": Tasks({}, behaviour={"tools/call slow": plain})}) as running:
        result = (await running.client().call("raw__slow", meta=ABLE)).result()
        assert (result["taskId"], result["resultType"]) == ("mine", "complete")


async def test_uris_in_the_result_of_a_task_are_those_that_are_published() -> None:
    link = {"type": "resource_link", "uri": "x://doc", "name": "doc"}
    one = Tasks({"status": "completed", "result": {"content": [link]}})
    two = RawServer("modern")
    for server in (one, two):
        server.behaviour["resources/list"] = server.listed("resources", [{"uri": "x://doc", "name": "doc"}])
    async with gateway_over({"one": one, "two": two}) as running:
        client = running.client()
        task = await started(client, "one__slow")
        (found,) = (await about(client, "tasks/get", task)).result()["result"]["content"]
        listed = [each["uri"] for each in (await client.modern("resources/list")).result()["resources"]]
        assert found["uri"] in listed
        assert found["uri"] != "x://doc"


async def test_a_server_that_insists_is_waited_for() -> None:
    server = Tasks({"statusMessage": "half"}, completed(isError=False))
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        answer = await client.call("raw__slow", meta={"progressToken": 3})
        result = answer.result()
        assert (result["resultType"], result["content"][0]["text"]) == ("complete", "done")
        assert "taskId" not in result
        told = [m["params"] for m in answer.messages()[:-1]]
        assert [(each["progressToken"], each["message"]) for each in told] == [(3, "half")]
        session = await client.session()
        legacy = (await session.call("raw__slow")).result()
        assert legacy["content"][0]["text"] == "done"
        assert "resultType" not in legacy


async def test_who_follows_tasks_but_may_not_is_waited_for_whatever_others_get() -> None:
    server, redacting = Tasks(completed()), {"middlewares": ["redact"]}
    async with gateway_over({"raw": server}, namespace=redacting, undeclared_tasks="pass") as running:
        assert (await running.client().call("raw__slow", meta=ABLE)).result()["content"][0]["text"] == "done"
        assert (await running.client().call("raw__slow")).code() == -32021


async def test_over_rest_a_task_is_waited_for() -> None:
    server = Tasks(completed())
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        body = json.dumps({"arguments": {}, "clientCapabilities": {"extensions": {TASKS: {}}}}).encode()
        answer = await client.send(
            "POST",
            [("Content-Type", "application/vnd.metamcp.call+json")],
            body,
            target="/metamcp/open/api/raw__slow",
        )
        assert answer.status == 200
        assert json.loads(answer.body)["content"][0]["text"] == "done"


async def test_how_a_task_ends_is_how_the_call_ends() -> None:
    server = Tasks({})
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        server.states = [completed(isError=True)]
        assert (await client.call("raw__slow")).result()["isError"]
        server.states = [{"status": "failed", "error": {"code": -32603, "message": "no more", "data": {"why": 1}}}]
        error = (await client.call("raw__slow")).error()
        assert (error["code"], error["message"], error["data"]) == (-32603, "no more", {"why": 1})
        server.states = [{"status": "failed", "error": {"code": -32021, "message": "no more"}}]
        assert (await client.call("raw__slow")).code() in (-32021, -32603)
        server.states = [{"status": "cancelled", "statusMessage": "by the operator"}]
        result = (await client.call("raw__slow")).result()
        assert result["isError"]
        assert "cancelled: by the operator" in result["content"][0]["text"]
        server.states = [{"status": "input_required", "inputRequests": {"k": QUESTION}}]
        assert (await client.call("raw__slow")).code() == -32603
        assert server.last("tasks/cancel").header("mcp-name") == [b"=?base64?dGFzay/DpA==?="]


async def test_a_client_that_gives_up_cancels_the_task_of_a_server_that_insists() -> None:
    server = Tasks({})
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        exchange = await client.start("tools/call", {"name": "raw__slow", "arguments": {}})
        await server.arrival("tasks/get")
        await exchange.close()
        assert (await server.arrival("tasks/cancel")).params["taskId"] == "task/ä"
        session = await client.session()
        call = asyncio.create_task(session.call("raw__slow", id="x"))
        await server.arrival("tasks/get")
        assert (await session.notify("notifications/cancelled", {"requestId": "x"})).status == 202
        assert (await server.arrival("tasks/cancel")).params["taskId"] == "task/ä"
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def test_a_server_that_insists_may_ask_first() -> None:
    def call(seen: Seen) -> Reply:
        if not follows(seen):
            return LACKING
        if seen.params.get("requestState") == "inner":
            return Tasks.task(resultType="task")
        return {"resultType": "input_required", "inputRequests": {"k": QUESTION}, "requestState": "inner"}

    server = Tasks(completed(), behaviour={"tools/call slow": call})
    meta = {CAPABILITIES: {"elicitation": {}}}
    answers = {"k": {"action": "accept", "content": {}}}
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        params: JSON = {"name": "raw__slow", "arguments": {}}
        first = (await client.modern("tools/call", params, meta=meta)).result()
        assert first["inputRequests"]["k"]["params"]["message"] == "[raw] Sure?"
        assert first["requestState"] != "inner"
        params |= {"requestState": first["requestState"], "inputResponses": answers}
        assert (await client.modern("tools/call", params, meta=meta)).result()["content"][0]["text"] == "done"

        session = await client.session(capabilities={"elicitation": {}})
        exchange = await session.start("tools/call", {"name": "raw__slow", "arguments": {}}, id=9)
        await exchange.head()
        question = await exchange.message()
        assert question["params"]["message"] == "[raw] Sure?"
        assert (await session.respond(question, result=answers["k"])).status == 202
        assert (await exchange.message())["result"]["content"][0]["text"] == "done"
        await exchange.close()


async def test_middlewares_see_how_every_task_ends() -> None:
    secret = text_result("my key is sk-secret-0123456789", resultType="complete")
    server = Tasks({"status": "completed", "result": secret})
    middlewares = [{"redact": {"patterns": ["sk-secret-[0-9]{1,20}"]}}]
    config: dict[str, Any] = {"namespace": {"middlewares": middlewares}}
    async with gateway_over({"raw": server}, **config) as running:
        result = (await running.client().call("raw__slow", meta=ABLE)).result()
        assert result["resultType"] == "complete"
        assert "sk-secret" not in result["content"][0]["text"]
        assert server.count("tasks/get") == 1


async def test_middlewares_that_came_later_are_not_gone_around() -> None:
    server = Tasks(completed())
    async with served(server) as port:
        servers = {"raw": {"url": f"http://127.0.0.1:{port}/mcp"}}
        async with gateway_for(document_of(servers)) as running:
            task = await started(running.client())
            assert (await about(running.client(), "tasks/get", task)).result()["status"] == "completed"
            after = document_of(servers, {"middlewares": ["redact"]})
            running.gateway.apply(compile_document(after, environ={}))
            assert (await about(running.client(), "tasks/get", task)).code() == -32602


async def listening(client: Client, *tasks: str, meta: JSON = ABLE) -> Exchange:
    exchange = await client.start("subscriptions/listen", {"notifications": {"taskIds": list(tasks)}}, id=9, meta=meta)
    assert await exchange.head() == 200
    return exchange


async def test_a_client_that_listens_hears_what_the_server_tells_of_its_task() -> None:
    server = Tasks({})
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        task = await started(client)
        exchange = await listening(client, task)
        told = await exchange.message()
        tag = {"io.modelcontextprotocol/subscriptionId": 9}
        assert told["params"] == {"notifications": {"taskIds": [task]}, "_meta": tag}
        asked = server.last("subscriptions/listen")
        assert (asked.params["notifications"], follows(asked)) == ({"taskIds": ["task/ä"]}, True)
        await server.tell("notifications/tasks", **Tasks.task(taskId="another"))
        await server.tell("notifications/tasks", **Tasks.task(statusMessage="half"))
        await server.tell("notifications/tasks", **Tasks.task(**completed()))
        half, done = (await exchange.message()), (await exchange.message())
        assert half["method"] == done["method"] == "notifications/tasks"
        assert half["params"] == {**Tasks.task(statusMessage="half"), "taskId": task, "_meta": tag}
        assert (done["params"]["taskId"], done["params"]["result"]["content"][0]["text"]) == (task, "done")
        await exchange.close()


async def test_who_hears_of_which_tasks() -> None:
    server = Tasks({})
    async with gateway_over({"raw": server}) as running:
        a = running.client("keyed", KEY_A)
        task = await started(a)
        refused = await a.modern("subscriptions/listen", {"notifications": {"taskIds": [task]}})
        assert (refused.status, refused.code()) == (400, -32021)
        assert refused.error()["data"] == {"requiredCapabilities": {"extensions": {TASKS: {}}}}
        for other, given in ((running.client("keyed", KEY_B), task), (running.client("open"), task), (a, "t1.x")):
            exchange = await listening(other, given)
            assert (await exchange.message())["params"]["notifications"] == {}
            await exchange.close()
        many = await a.modern("subscriptions/listen", {"notifications": {"taskIds": ["x"] * 65}}, meta=ABLE)
        assert many.code() == -32602


async def test_what_a_server_could_not_tell_is_asked_for() -> None:
    server = Tasks({"statusMessage": "half"}, completed())
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        task = await started(client)
        exchange = await listening(client, task)
        await exchange.message()
        server.end_streams()
        assert (await exchange.message())["params"]["statusMessage"] == "half"
        await exchange.close()


async def test_check_53_only_tools_of_a_server_with_the_extension_say_that_they_may_be_tasks() -> None:
    server, plain = Tasks({}), RawServer("modern")
    server.capabilities = {**server.capabilities, "extensions": {TASKS: {}}}
    server.behaviour["prompts/list"] = server.listed("prompts", [{"name": "p"}])
    async with gateway_over({"raw": server, "plain": plain}) as running:
        session = await running.client().session()
        tools = (await session.request("tools/list")).result()["tools"]
        (prompt,) = (await session.request("prompts/list")).result()["prompts"]
        assert {tool["name"]: tool.get("execution") for tool in tools} == {
            "raw__slow": {"taskSupport": "optional"},
            "raw__echo": {"taskSupport": "optional"},
            "plain__echo": None,
        }
        assert "execution" not in prompt
