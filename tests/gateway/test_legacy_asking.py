"""Legacy clients that servers ask, on the wire: acceptance checks 65 to 67 and what belongs to them."""

import asyncio
import json
from typing import Any

import pytest

from metamcp_asgi.downstream import asking, reply
from tests.gateway.client import BASE, CAPABILITIES, JSON, Exchange, Session
from tests.gateway.running import KEY_A, KEY_B, gateway_over
from tests.gateway.upstreams.raw import RawServer, Seen, text_result
from tests.lab.running import Lab

pytestmark = pytest.mark.asyncio(loop_scope="session")

EVERYTHING: JSON = {
    "elicitation": {"form": {}, "url": {}},
    "sampling": {"tools": {}, "context": {}},
    "roots": {"listChanged": True},
}
FORM: JSON = {
    "method": "elicitation/create",
    "params": {
        "mode": "form",
        "message": "Sure?",
        "requestedSchema": {"type": "object", "properties": {"ok": {"type": "boolean"}}},
    },
}
SAMPLE: JSON = {
    "method": "sampling/createMessage",
    "params": {"messages": [{"role": "user", "content": {"type": "text", "text": "Hi"}}], "maxTokens": 10},
}
ROOTS: JSON = {"method": "roots/list"}
ACCEPTED: JSON = {"action": "accept", "content": {"ok": True}}
STATE = 'opaque "state" \u00fc'


def asking_server(*questions: JSON) -> RawServer:
    """Returns a modern server whose tool asks all questions at once, and then shows the answers."""

    def ask(seen: Seen) -> JSON:
        if "inputResponses" in seen.params:
            assert seen.params["requestState"] == STATE
            return text_result(json.dumps(seen.params["inputResponses"]), resultType="complete")
        requests = {f"q{number}": question for number, question in enumerate(questions)}
        return {"resultType": "input_required", "inputRequests": requests, "requestState": STATE}

    return RawServer("modern", ("ask", "echo"), {"tools/call ask": ask})


async def asked(session: Session, number: Any = 3) -> Exchange:
    """Calls the tool that asks; returns the exchange once the response has begun, as an event stream."""
    exchange = await session.start("tools/call", {"name": "raw__ask", "arguments": {}}, id=number)
    assert await exchange.head() == 200
    return exchange


def answers(message: JSON) -> JSON:
    """Returns the answers that the server has got, as its tool shows them."""
    shown: JSON = json.loads(message["result"]["content"][0]["text"])
    return shown


async def until_asked(session: Session) -> tuple[Exchange, JSON]:
    exchange = await asked(session)
    return exchange, await exchange.message()


async def test_check_65_a_question_and_its_answer_on_another_connection() -> None:
    server = asking_server(FORM)
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session("2025-11-25", EVERYTHING)
        exchange, question = await until_asked(session)
        assert question["method"] == "elicitation/create"
        assert question["params"]["requestedSchema"] == FORM["params"]["requestedSchema"]
        assert question["id"].startswith("gw-")
        assert len(question["id"]) > 32
        told = await session.respond(question, result=ACCEPTED)
        assert (told.status, told.body) == (202, b"")
        response = await exchange.message()
        assert response["id"] == 3
        assert answers(response) == {"q0": ACCEPTED}
        assert "resultType" not in response["result"]
        await exchange.close()
        late = await session.respond(question, result={"action": "decline"})
        assert late.status == 202
        assert server.count("tools/call") == 2


async def test_check_65_several_questions_at_once_answered_in_any_order() -> None:
    async with gateway_over({"raw": asking_server(FORM, SAMPLE, ROOTS)}) as running:
        session = await running.client().session("2025-11-25", EVERYTHING)
        exchange = await asked(session)
        questions = {question["method"]: question for question in [await exchange.message() for _ in range(3)]}
        assert len({question["id"] for question in questions.values()}) == 3
        said = {"role": "assistant", "content": {"type": "text", "text": "Ho"}, "model": "m"}
        roots = {"roots": [{"uri": "file:///a"}]}
        await session.respond(questions["roots/list"], result=roots)
        await session.respond(questions["sampling/createMessage"], result=said)
        await session.respond(questions["elicitation/create"], result={"action": "decline"})
        assert answers(await exchange.message()) == {"q0": {"action": "decline"}, "q1": said, "q2": roots}
        await exchange.close()


async def test_check_66_a_client_that_refuses_to_sample() -> None:
    server = asking_server(SAMPLE)
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session("2025-11-25", EVERYTHING)
        exchange, question = await until_asked(session)
        await session.respond(question, error={"code": -1, "message": "User rejected sampling request"})
        response = await exchange.message()
        assert response["result"]["isError"]
        assert "User rejected" in response["result"]["content"][0]["text"]
        assert server.count("tools/call") == 1
        await exchange.close()


@pytest.mark.parametrize(
    ("revision", "declared", "told"),
    [
        ("2024-11-05", EVERYTHING, {"sampling": {}, "roots": {}}),
        ("2025-03-26", EVERYTHING, {"sampling": {}, "roots": {}}),
        ("2025-06-18", EVERYTHING, {"sampling": {}, "roots": {}, "elicitation": {}}),
        ("2025-06-18", {"elicitation": {}}, {"elicitation": {}}),
        ("2025-06-18", {"elicitation": {"url": {}}}, {}),
        ("2025-11-25", {"elicitation": {}}, {"elicitation": {}}),
        ("2025-11-25", {"roots": {"listChanged": True}, "experimental": {"x": {}}}, {"roots": {}}),
        ("2025-11-25", {}, {}),
        ("2025-11-25", {"sampling": "yes", "elicitation": None, "roots": []}, {}),
    ],
)
async def test_check_67_servers_are_told_what_the_revision_can_express(
    revision: str, declared: JSON, told: JSON
) -> None:
    server = RawServer("modern", ("echo",))
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session(revision, declared)
        assert (await session.call("raw__echo")).status == 200
        assert server.last("tools/call").params["_meta"][CAPABILITIES] == told


async def test_a_question_that_the_revision_has_no_words_for_is_declined() -> None:
    several = {"type": "object", "properties": {"c": {"type": "array", "items": {"type": "string", "enum": ["a"]}}}}
    form = {"method": "elicitation/create", "params": {"message": "Which?", "requestedSchema": several}}
    async with gateway_over({"raw": asking_server(form)}) as running:
        session = await running.client().session("2025-06-18", {"elicitation": {}})
        answer = await session.call("raw__ask")
        assert answers(answer.message()) == {"q0": {"action": "decline"}}


async def test_nobody_else_can_answer() -> None:
    server = asking_server(FORM)
    async with gateway_over({"raw": server}) as running:
        mine = await running.client("keyed", KEY_A).session("2025-11-25", EVERYTHING)
        exchange, question = await until_asked(mine)
        for key, capabilities in ((KEY_A, EVERYTHING), (KEY_B, EVERYTHING)):
            other = await running.client("keyed", key).session("2025-11-25", capabilities)
            assert (await other.respond(question, result={"action": "decline"})).status == 202
        guessed = await mine.post({"jsonrpc": "2.0", "id": "gw-x-y", "result": {"action": "decline"}})
        assert guessed.status == 202
        await mine.respond(question, result=ACCEPTED)
        assert answers(await exchange.message()) == {"q0": ACCEPTED}
        await exchange.close()


@pytest.mark.parametrize("how", [{"result": 5}, {"result": None}, {"error": 7}, {}, {"error": {"code": "x"}}])
async def test_an_odd_answer_is_none(how: JSON) -> None:
    async with gateway_over({"raw": asking_server(FORM)}) as running:
        session = await running.client().session("2025-11-25", EVERYTHING)
        exchange, question = await until_asked(session)
        assert (await session.respond(question, **how)).status == 202
        assert answers(await exchange.message()) == {"q0": {"action": "cancel"}}
        await exchange.close()


async def test_a_client_that_cancels_its_request_is_not_asked_any_longer() -> None:
    server = asking_server(FORM)
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session("2025-06-18", EVERYTHING)
        exchange, question = await until_asked(session)
        await session.notify("notifications/cancelled", {"requestId": 3})
        rest = (await asyncio.wait_for(exchange.answer(), 15)).messages()
        [cancelled] = rest
        assert cancelled["method"] == "notifications/cancelled"
        assert cancelled["params"]["requestId"] == question["id"]
        assert (await session.respond(question, result=ACCEPTED)).status == 202
        assert server.count("tools/call") == 1


async def test_an_answer_counts_although_the_stream_was_lost() -> None:
    server = asking_server(FORM)
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session("2025-06-18", EVERYTHING)
        exchange, question = await until_asked(session)
        await server.arrival("tools/call")
        await exchange.close()
        await session.respond(question, result=ACCEPTED)
        repeated = await server.arrival("tools/call")
        assert repeated.params["inputResponses"] == {"q0": ACCEPTED}


async def test_a_client_that_never_comes_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply, "GRACE", 0.05)
    server = asking_server(FORM)
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session("2025-11-25", EVERYTHING)
        exchange, _ = await until_asked(session)
        await server.arrival("tools/call")
        await exchange.close()
        assert (await server.arrival("tools/call")).params["inputResponses"] == {"q0": {"action": "cancel"}}


async def test_a_client_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.05)
    async with gateway_over({"raw": asking_server(FORM)}) as running:
        session = await running.client().session("2025-11-25", EVERYTHING)
        exchange, question = await until_asked(session)
        cancelled = await exchange.message()
        assert cancelled["params"]["requestId"] == question["id"]
        assert answers(await exchange.message()) == {"q0": {"action": "cancel"}}
        await exchange.close()


async def test_a_stream_that_waits_for_an_answer_is_kept_alive() -> None:
    async with gateway_over({"raw": asking_server(FORM)}, keepalive_seconds=0.05) as running:
        session = await running.client().session("2025-11-25", EVERYTHING)
        exchange, _ = await until_asked(session)
        comments = 0
        async with asyncio.timeout(15):
            async for chunk in exchange.chunks():
                comments += chunk.count(b": keep-alive")
                if comments > 2:
                    break
        await exchange.close()


async def test_questions_of_a_batch_are_asked_on_its_stream() -> None:
    async with gateway_over({"raw": asking_server(ROOTS)}) as running:
        session = await running.client().session("2025-03-26", EVERYTHING)
        call = {"name": "raw__ask", "arguments": {}}
        batch = [{"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": call} for n in (1, "2")]
        body = json.dumps([*batch, {"jsonrpc": "2.0", "id": 3, "method": "ping"}]).encode()
        exchange = await session.client.open("POST", [*BASE, *session.headers], body)
        assert await exchange.head() == 200
        for number in range(2):
            question = await exchange.message()
            assert question["method"] == "roots/list"
            await session.respond(question, result={"roots": [{"uri": f"file:///{number}"}]})
        response: Any = await exchange.message()
        assert [each["id"] for each in response] == [1, "2", 3]
        assert {answers(each)["q0"]["roots"][0]["uri"] for each in response[:2]} == {"file:///0", "file:///1"}
        await exchange.close()


async def test_answers_may_come_in_a_batch() -> None:
    async with gateway_over({"raw": asking_server(ROOTS)}) as running:
        session = await running.client().session("2025-03-26", EVERYTHING)
        exchange, question = await until_asked(session)
        told = await session.post([{"jsonrpc": "2.0", "id": question["id"], "result": {"roots": []}}])
        assert (told.status, told.body) == (202, b"")
        assert answers(await exchange.message()) == {"q0": {"roots": []}}
        await exchange.close()


@pytest.mark.parametrize("capabilities", ["[]", '"x"', "7"])
async def test_capabilities_that_are_no_object(capabilities: str, lab: Lab) -> None:
    params = f'{{"protocolVersion":"2025-11-25","capabilities":{capabilities}}}'
    body = f'{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{params}}}'
    answer = await lab.client().post(body.encode())
    assert answer.code() == -32602
    assert answer.header("mcp-session-id") is None


async def test_session_ids_stay_short(lab: Lab) -> None:
    ui = {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}}
    session = await lab.client().session("2025-11-25", {**EVERYTHING, "extensions": ui})
    assert len(session.id) < 400
    endless = {"io.modelcontextprotocol/ui": {"mimeTypes": ["x" * 5000]}}
    session = await lab.client().session("2025-11-25", {**EVERYTHING, "extensions": endless})
    assert len(session.id) < 400
    assert (await session.call("raw__echo")).status == 200
