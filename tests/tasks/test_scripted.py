"""Tasks of 2025-11-25 servers that do what no SDK would, and what becomes of tasks that cannot be kept."""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from metamcp_asgi.aggregate.longrunning import held, holding
from tests.gateway.client import JSON
from tests.gateway.running import document_of, gateway_for, gateway_over, served
from tests.gateway.upstreams.raw import Behaviour, Error, RawServer, Reply, Seen, text_result, tool_named
from tests.places import client_python
from tests.tasks.following import ABLE, about, begun, until

REQUIRED = tool_named("slow", execution={"taskSupport": "required"})


class Tasks(RawServer):
    """A server of 2025-11-25 that says what a test wants it to say of its tasks.

    Args:
        states: What `tasks/get` says, one after the other; the last one stays.
        result: What `tasks/result` answers.
        behaviour: Other answers.
    """

    def __init__(self, *states: JSON, result: Behaviour, behaviour: Mapping[str, Behaviour] | None = None) -> None:
        self.states = list(states)
        own = {"tools/call slow": self._call, "tasks/get": self._get, "tasks/result": result, "tasks/cancel": {}}
        super().__init__("legacy", (REQUIRED,), {**own, **(behaviour or {})})

    def _call(self, seen: Seen) -> Reply:
        assert seen.params["task"]["ttl"] > 0
        return {"task": self.task()}

    def _get(self, seen: Seen) -> Reply:
        assert seen.params["taskId"] == "task"
        return self.task(**(self.states.pop(0) if len(self.states) > 1 else self.states[0]))

    @staticmethod
    def task(**more: Any) -> JSON:
        at = "2026-08-01T00:00:00Z"
        times = {"createdAt": at, "lastUpdatedAt": at, "ttl": 60_000, "pollInterval": 50}
        return {"taskId": "task", "status": "working", **times, **more}


async def never(seen: Seen) -> None:
    await asyncio.Event().wait()


async def test_check_85_only_an_error_is_a_failure() -> None:
    server = Tasks({"status": "failed"}, result=Error(-32603, "a crash", {"why": 1}))
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        task = (await client.call("raw__slow", meta=ABLE)).result()["taskId"]
        got = await until(client, task, "failed")
        assert got["error"] == {"code": -32603, "message": "a crash", "data": {"why": 1}}
        assert got["statusMessage"] == "a crash"
        assert "result" not in got
        session = await client.session()
        task = (await begun(session, "raw__slow"))["taskId"]
        assert (await session.request("tasks/result", {"taskId": task})).error()["message"] == "a crash"


async def test_a_server_that_does_not_wait_is_asked_again() -> None:
    answers = itertools.chain([Error(-32602, "not yet")], itertools.repeat(text_result("done")))
    server = Tasks({}, {}, {"status": "completed"}, result=lambda seen: next(answers))
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        assert (await client.call("raw__slow")).result()["content"][0]["text"] == "done"


async def test_a_server_that_forgets_who_waits_is_asked_again() -> None:
    count = itertools.count()
    server = Tasks({"status": "completed"}, result=lambda seen: text_result("done") if next(count) else never(seen))
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        assert (await client.call("raw__slow")).result()["content"][0]["text"] == "done"


async def test_what_fails_at_once_is_no_task() -> None:
    refusing: dict[str, Behaviour] = {"tools/call slow": Error(-32602, "what is missing")}
    server = Tasks({}, result={}, behaviour=refusing)
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        assert (await client.call("raw__slow", meta=ABLE)).error()["message"] == "what is missing"
        session = await client.session()
        params: JSON = {"name": "raw__slow", "arguments": {}, "task": {}}
        assert (await session.request("tools/call", params)).error()["message"] == "what is missing"


async def test_a_client_that_leaves_before_it_knows_the_task_leaves_none() -> None:
    server = Tasks({}, result=never)
    server.behaviour["tools/call slow"] = never
    async with gateway_over({"raw": server}) as running:
        exchange = await running.client().start("tools/call", {"name": "raw__slow", "arguments": {}}, meta=ABLE)
        await server.arrival("tools/call")
        await exchange.close()
        assert (await server.arrival("notifications/cancelled")).params["requestId"]


async def test_the_middlewares_see_the_result_of_a_task() -> None:
    secret = "AKIA" + "A" * 16
    server = Tasks({"status": "completed"}, result=text_result(f"the key is {secret}"))
    async with gateway_over({"raw": server}, namespace={"middlewares": ["redact"]}) as running:
        client = running.client()
        task = (await client.call("raw__slow", meta=ABLE)).result()["taskId"]
        got = await until(client, task, "completed")
        assert secret not in got["result"]["content"][0]["text"]
        assert got["result"]["content"][0]["text"].startswith("the key is ")


async def test_with_too_many_tasks_a_modern_client_waits_for_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "MAX_OF_STRANGERS", 1)
    server = Tasks({"status": "completed"}, result=text_result("done"))
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        assert (await client.call("raw__slow", meta=ABLE)).result()["resultType"] == "task"
        assert (await client.call("raw__slow", meta=ABLE)).result()["content"][0]["text"] == "done"
        session = await client.session()
        params: JSON = {"name": "raw__slow", "arguments": {}, "task": {}}
        assert (await session.request("tools/call", params)).code() == -32603


async def test_what_ended_first_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "MAX_BYTES", 1500)
    server = Tasks({"status": "completed"}, result=text_result("x" * 1000))
    async with gateway_over({"raw": server}) as running:
        client = running.client()
        tasks = []
        for _ in range(2):
            tasks.append((await client.call("raw__slow", meta=ABLE)).result()["taskId"])
            await until(client, tasks[-1], "completed")
        assert (await about(client, "tasks/get", tasks[0])).code() == -32602
        assert (await about(client, "tasks/get", tasks[1])).result()["status"] == "completed"


async def test_a_task_is_forgotten_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "LEAST_TTL", 200)
    server = Tasks({}, result=never)
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session()
        task = await begun(session, "raw__slow", ttl=200)
        assert task["ttl"] == 200
        assert (await server.arrival("tasks/cancel")).params["taskId"] == "task"
        assert (await session.request("tasks/get", {"taskId": task["taskId"]})).code() == -32602


async def test_a_server_that_says_nothing_for_a_while_does_not_keep_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "BEGIN_SECONDS", 0.05)
    server = Tasks({}, result=never, behaviour={"tools/call slow": never})
    async with gateway_over({"raw": server}) as running:
        result = (await running.client().call("raw__slow", meta=ABLE)).result()
        assert (result["resultType"], result["status"]) == ("task", "working")
        await about(running.client(), "tasks/cancel", result["taskId"])


async def test_a_task_whose_process_is_gone_has_failed() -> None:
    server = Tasks({}, result=never)
    async with served(server) as port:
        document = document_of({"raw": {"url": f"http://127.0.0.1:{port}/mcp"}})
        keys: Any = {"secret_keys": (b"k" * 32,)}
        async with gateway_for(document, **keys) as one, gateway_for(document, **keys) as other:
            task = (await one.client().call("raw__slow", meta=ABLE)).result()
            got = (await about(other.client(), "tasks/get", task["taskId"])).result()
            assert (got["status"], got["error"]["code"]) == ("failed", -32603)
            assert got["createdAt"] == task["createdAt"]
            assert "lost" in got["statusMessage"]
            assert (await about(other.client(), "tasks/update", task["taskId"], inputResponses={})).code() == -32603
            session = await other.client().session()
            assert (await session.request("tasks/result", {"taskId": task["taskId"]})).code() == -32603


async def test_the_tasks_of_a_process_end_with_it() -> None:
    server = Tasks({}, result=never)
    async with served(server) as port:
        async with gateway_for(document_of({"raw": {"url": f"http://127.0.0.1:{port}/mcp"}})) as running:
            await running.client().call("raw__slow", meta=ABLE)
        assert (await server.arrival("tasks/cancel")).params["taskId"] == "task"


CLIENT = """
import asyncio, sys
import mcp.types as types
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

async def answer(context, params):
    return types.ElicitResult(action="accept", content={"sure": True})

async def main():
    async with streamablehttp_client(sys.argv[1]) as (reader, writer, _):
        async with ClientSession(reader, writer, elicitation_callback=answer) as session:
            await session.initialize()
            tasks = session.experimental
            slow = {"http__slow": {"what": "it"}, "modern__slow_compute": {"seconds": 0.1, "label": "x"}}
            for name, arguments in slow.items():
                made = await tasks.call_tool_as_task(name, arguments)
                async for status in tasks.poll_task(made.task.taskId):
                    pass
                result = await tasks.get_task_result(made.task.taskId, types.CallToolResult)
                print(status.status, result.content[0].text)
            made = await tasks.call_tool_as_task("http__ask", {})
            result = await tasks.get_task_result(made.task.taskId, types.CallToolResult)
            print(result.content[0].text)
            made = await tasks.call_tool_as_task("http__forever", {})
            print((await tasks.cancel_task(made.task.taskId)).status)

asyncio.run(main())
"""


@pytest.mark.peers
@pytest.mark.xdist_group("tasks")
@pytest.mark.asyncio(loop_scope="session")
async def test_the_sdk_of_2025_follows_tasks(tasks: Any) -> None:
    client = tasks.client()
    program = await asyncio.create_subprocess_exec(
        client_python("mcp-1.30.0"),
        "-c",
        CLIENT,
        f"http://127.0.0.1:{client.port}{client.path}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await program.communicate()
    assert out.decode().splitlines() == ["completed done with it", "completed computed x", "accept", "cancelled"], err
