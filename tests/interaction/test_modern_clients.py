"""Modern clients, asked by servers of either era (eras.md 2.6; checks 55 to 64)."""

import asyncio
import json
from typing import Any

import pytest

from tests.gateway.client import CAPABILITIES, JSON, Answer, Client
from tests.gateway.running import KEY_A, KEY_B, RunningGateway
from tests.interaction.conftest import KINDS

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORMS = {"elicitation": {}}
EVERYTHING = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
NOT_VALID = "requestState is not valid for this request"


async def call(client: Client, name: str, arguments: JSON, capabilities: JSON = FORMS, **more: Any) -> Answer:
    """Calls a tool on a connection of its own, as every request of the raw client."""
    params = {"name": name, "arguments": arguments, **more}
    return await client.modern("tools/call", params, meta={CAPABILITIES: capabilities})


def text(answer: Answer) -> str:
    result = answer.result()
    assert result["resultType"] == "complete", result
    return str(result["content"][0]["text"])


def asked(answer: Answer) -> tuple[dict[str, JSON], str]:
    """Returns the questions and the state of an answer that needs input."""
    result = answer.result()
    assert answer.status == 200
    assert result["resultType"] == "input_required", result
    assert not {"ttlMs", "cacheScope", "content"} & result.keys()
    return result["inputRequests"], result["requestState"]


def accept(requests: dict[str, JSON], **content: Any) -> dict[str, JSON]:
    return {key: {"action": "accept", "content": content} for key in requests}


@pytest.fixture
def a(asking: RunningGateway) -> Client:
    return asking.client("keyed", KEY_A)


@pytest.fixture
def b(asking: RunningGateway) -> Client:
    return asking.client("keyed", KEY_B)


@pytest.mark.parametrize("kind", KINDS)
async def test_55_56_a_question_is_answered_on_another_connection(a: Client, kind: str) -> None:
    tool, arguments = f"{kind}__ask", {"topic": "tea"}
    requests, state = asked(await call(a, tool, arguments))
    (question,) = requests.values()
    assert question["method"] == "elicitation/create"
    assert question["params"]["message"] == f"[{kind}] A word for tea?"
    assert question["params"]["requestedSchema"]["properties"].keys() == {"word"}
    final = await call(a, tool, arguments, requestState=state, inputResponses=accept(requests, word="leaf"))
    assert text(final) == "tea: leaf"


@pytest.mark.parametrize("kind", KINDS)
async def test_64_two_questions_are_two_rounds(a: Client, kind: str) -> None:
    tool, arguments = f"{kind}__ask_twice", {"topic": "tea"}
    requests, state = asked(await call(a, tool, arguments))
    answer = await call(a, tool, arguments, requestState=state, inputResponses=accept(requests, word="leaf"))
    requests, state = asked(answer)
    assert [r["params"]["message"] for r in requests.values()] == [f"[{kind}] And one after leaf?"]
    final = await call(a, tool, arguments, requestState=state, inputResponses=accept(requests, word="cup"))
    assert text(final) == "tea: leaf, cup"


@pytest.mark.parametrize("kind", KINDS)
async def test_63_sampling_and_roots(a: Client, kind: str) -> None:
    tool, arguments = f"{kind}__all_at_once", {"topic": "tea"}
    answers = {
        "elicitation/create": {"action": "accept", "content": {"word": "leaf"}},
        "sampling/createMessage": {"role": "assistant", "content": {"type": "text", "text": "Oh, tea"}, "model": "m"},
        "roots/list": {"roots": [{"uri": "file:///tea"}]},
    }
    seen = []
    answer = await call(a, tool, arguments, EVERYTHING)
    while answer.result()["resultType"] == "input_required":
        requests, state = asked(answer)
        seen += [request["method"] for request in requests.values()]
        for request in requests.values():
            if request["method"] == "sampling/createMessage":
                assert request["params"]["includeContext"] == "none"
        given = {key: answers[request["method"]] for key, request in requests.items()}
        answer = await call(a, tool, arguments, EVERYTHING, requestState=state, inputResponses=given)
    assert sorted(seen) == sorted(answers)
    assert text(answer) == "leaf / Oh, tea / 1"


@pytest.mark.parametrize("kind", ["um", "us", "ul", "ud"])
async def test_56_prompts_ask_as_well(a: Client, kind: str) -> None:
    params = {"name": f"{kind}__story", "arguments": {"topic": "tea"}}
    meta = {CAPABILITIES: FORMS}
    requests, state = asked(await a.modern("prompts/get", params, meta=meta))
    given = {"requestState": state, "inputResponses": accept(requests, word="leaf")}
    final = await a.modern("prompts/get", {**params, **given}, meta=meta)
    assert final.result()["messages"][0]["content"]["text"] == "tea with leaf"


@pytest.mark.parametrize("kind", KINDS)
async def test_57_nobody_sees_anothers_question(a: Client, b: Client, kind: str) -> None:
    async def one(client: Client, topic: str) -> None:
        tool, arguments = f"{kind}__ask", {"topic": topic}
        requests, state = asked(await call(client, tool, arguments))
        assert [r["params"]["message"] for r in requests.values()] == [f"[{kind}] A word for {topic}?"]
        final = await call(client, tool, arguments, requestState=state, inputResponses=accept(requests, word=topic))
        assert text(final) == f"{topic}: {topic}"

    for _ in range(2):
        await asyncio.gather(*(one(client, f"{whose}{n}") for n in range(3) for whose, client in (("a", a), ("b", b))))


@pytest.mark.parametrize("kind", ["um", "ul", "ud"])
async def test_58_a_state_is_good_for_one_call_of_one_caller(a: Client, b: Client, kind: str) -> None:
    tool, arguments = f"{kind}__ask", {"topic": "tea"}
    requests, state = asked(await call(a, tool, arguments))
    given: JSON = {"requestState": state, "inputResponses": accept(requests, word="leaf")}
    wrong = [
        await call(b, tool, arguments, **given),
        await call(a, tool, {"topic": "coffee"}, **given),
        await call(a, f"{kind}__ask_twice", arguments, **given),
        await call(
            a, tool, arguments, **{**given, "requestState": state[:-2] + ("AA" if state[-2:] != "AA" else "BB")}
        ),
        await call(a, tool, arguments, **{**given, "requestState": "g1.x"}),
        await call(a, tool, arguments, inputResponses=given["inputResponses"]),
    ]
    for answer in wrong:
        error = answer.error()
        assert (error["code"], error["message"]) == (-32602, NOT_VALID)
    assert text(await call(a, tool, arguments, **given)) == "tea: leaf"
    if kind != "um":  # what a modern server allows to be repeated is its own matter
        again = await call(a, tool, arguments, **given)
        assert again.error()["message"] == NOT_VALID


@pytest.mark.parametrize("kind", ["um", "ul", "ud"])
async def test_59_missing_and_surplus_answers(a: Client, kind: str) -> None:
    tool, arguments = f"{kind}__ask", {"topic": "tea"}
    requests, state = asked(await call(a, tool, arguments))
    again, state = asked(await call(a, tool, arguments, requestState=state, inputResponses={}))
    assert list(again.values()) == list(requests.values())
    wrong = await call(a, tool, arguments, requestState=state, inputResponses={key: {"action": 7} for key in again})
    assert wrong.code() == -32602 or wrong.result()["resultType"] == "input_required"
    surplus = {**accept(again, word="leaf"), "unknown": {"action": "accept"}}
    assert text(await call(a, tool, arguments, requestState=state, inputResponses=surplus)) == "tea: leaf"


@pytest.mark.parametrize("kind", KINDS)
async def test_60_a_client_that_cannot_be_asked_is_not(a: Client, kind: str) -> None:
    answer = await call(a, f"{kind}__ask", {"topic": "tea"}, {})
    message = answer.message()
    if "error" in message:
        assert (answer.status, message["error"]["code"]) == (400, -32021)
    else:
        assert message["result"]["resultType"] == "complete"
        assert message["result"]["isError"]


@pytest.mark.parametrize("kind", ["um", "us", "ul", "ud"])
async def test_61_a_page_is_for_clients_that_open_pages(a: Client, kind: str) -> None:
    tool = f"{kind}__open_page"
    requests, state = asked(await call(a, tool, {}, EVERYTHING))
    (question,) = requests.values()
    assert question["params"]["mode"] == "url"
    assert question["params"]["url"] == "https://example.com/connect"
    assert "elicitationId" not in question["params"]
    final = await call(
        a, tool, {}, EVERYTHING, requestState=state, inputResponses={key: {"action": "accept"} for key in requests}
    )
    assert text(final) == "accept"
    refused = (await call(a, tool, {}, FORMS)).message()
    assert "inputRequests" not in json.dumps(refused)


async def test_progress_goes_on_in_the_round_that_is_open(a: Client) -> None:
    params: JSON = {"name": "ul__progress_and_ask", "arguments": {"topic": "tea"}}
    meta = {CAPABILITIES: FORMS}
    first = await a.modern("tools/call", params, meta={**meta, "progressToken": "one"})
    assert [m["params"]["progress"] for m in first.messages()[:-1]] == [1]
    requests, state = asked(first)
    params |= {"requestState": state, "inputResponses": accept(requests, word="leaf")}
    second = await a.modern("tools/call", params, meta={**meta, "progressToken": "two"})
    told = [(m["params"]["progressToken"], m["params"]["progress"]) for m in second.messages()[:-1]]
    assert told == [("two", 2)]
    assert text(second).startswith("tea: leaf")


async def test_a_decline_reaches_the_server(a: Client) -> None:
    for kind in KINDS:
        requests, state = asked(await call(a, f"{kind}__ask", {"topic": "tea"}))
        given = {key: {"action": "decline"} for key in requests}
        final = await call(a, f"{kind}__ask", {"topic": "tea"}, requestState=state, inputResponses=given)
        assert text(final) == "tea: decline"
