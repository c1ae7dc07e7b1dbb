"""Modern clients, asked by real servers of either era (eras.md 2.6; checks 55 to 64)."""

import asyncio
import json
from typing import Any

import pytest

from tests.gateway.client import CAPABILITIES, JSON, Answer, Client
from tests.lab.running import KINDS, LEGACY_KINDS, PAGE_KINDS, Lab, expired

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORMS = {"elicitation": {}}
EVERYTHING = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
OVER_HTTP = ("um", "ul", "ux")
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
def a(lab: Lab) -> Client:
    return lab.a


@pytest.fixture
def b(lab: Lab) -> Client:
    return lab.b


@pytest.mark.parametrize("kind", KINDS)
async def test_check_55_56_a_question_is_answered_on_another_connection(a: Client, kind: str) -> None:
    tool, arguments = f"{kind}__ask", {"topic": "tea"}
    requests, state = asked(await call(a, tool, arguments))
    (question,) = requests.values()
    assert question["method"] == "elicitation/create"
    assert question["params"]["message"] == f"[{kind}] A word for tea?"
    assert question["params"]["requestedSchema"]["properties"].keys() == {"word"}
    final = await call(a, tool, arguments, requestState=state, inputResponses=accept(requests, word="leaf"))
    assert text(final) == "tea: leaf"


async def test_check_55_two_hundred_times_over_both_processes(lab: Lab) -> None:
    at_once = asyncio.Semaphore(16)

    async def one(number: int) -> None:
        client, tool, arguments = lab.a, "ul__ask", {"topic": f"tea {number}"}
        async with at_once:
            requests, state = asked(await call(client, tool, arguments))
            given = accept(requests, word=f"leaf {number}")
            assert text(await call(client, tool, arguments, requestState=state, inputResponses=given)) == (
                f"tea {number}: leaf {number}"
            )
        first, second = client.reached
        assert first != second

    await asyncio.gather(*(one(number) for number in range(200)))


@pytest.mark.parametrize("kind", KINDS)
async def test_check_56_prompts_and_resources_ask_as_well(a: Client, kind: str) -> None:
    meta = {CAPABILITIES: FORMS}
    params = {"name": f"{kind}__story", "arguments": {"topic": "tea"}}
    requests, state = asked(await a.modern("prompts/get", params, meta=meta))
    given = {"requestState": state, "inputResponses": accept(requests, word="leaf")}
    final = await a.modern("prompts/get", {**params, **given}, meta=meta)
    assert final.result()["messages"][0]["content"]["text"] == "tea with leaf"

    read = {"uri": f"{kind}://asked/tea"}
    requests, state = asked(await a.modern("resources/read", read, meta=meta))
    given = {"requestState": state, "inputResponses": accept(requests, word="leaf")}
    final = await a.modern("resources/read", {**read, **given}, meta=meta)
    assert final.result()["contents"][0]["text"] == "tea with leaf"


@pytest.mark.parametrize("kind", KINDS)
async def test_check_57_nobody_sees_anothers_question(a: Client, b: Client, kind: str) -> None:
    async def one(client: Client, topic: str) -> None:
        tool, arguments = f"{kind}__ask", {"topic": topic}
        requests, state = asked(await call(client, tool, arguments))
        assert [r["params"]["message"] for r in requests.values()] == [f"[{kind}] A word for {topic}?"]
        final = await call(client, tool, arguments, requestState=state, inputResponses=accept(requests, word=topic))
        assert text(final) == f"{topic}: {topic}"

    await asyncio.gather(*(one(client, f"{whose}{n}") for n in range(3) for whose, client in (("a", a), ("b", b))))


@pytest.mark.parametrize("kind", KINDS)
async def test_check_58_a_state_is_good_for_one_call_of_one_caller(lab: Lab, a: Client, b: Client, kind: str) -> None:
    tool, topic = f"{kind}__ask", lab.tag()
    arguments = {"topic": topic}
    requests, state = asked(await call(a, tool, arguments))
    given: JSON = {"requestState": state, "inputResponses": accept(requests, word="leaf")}
    middle = len(state) // 2
    changed = state[:middle] + ("A" if state[middle] != "A" else "B") + state[middle + 1 :]
    asks, calls = f"{kind} asks about {topic}", f"{kind} answered about {topic}"
    assert lab.witness.reports.count(asks) == 1
    refused = {
        "another caller": await call(b, tool, arguments, **given),
        "other arguments": await call(a, tool, {"topic": topic + " and coffee"}, **given),
        "another tool": await call(a, f"{kind}__ask_twice", arguments, **given),
        "another method": await a.modern(
            "prompts/get", {"name": f"{kind}__story", "arguments": arguments, **given}, meta={CAPABILITIES: FORMS}
        ),
        "tampered": await call(a, tool, arguments, **{**given, "requestState": changed}),
        "no token": await call(a, tool, arguments, **{**given, "requestState": "g1.x"}),
        "none": await call(a, tool, arguments, inputResponses=given["inputResponses"]),
        "expired": await call(a, tool, arguments, **{**given, "requestState": expired(state)}),
    }
    told = {why: (answer.error()["code"], answer.error()["message"]) for why, answer in refused.items()}
    assert told == dict.fromkeys(refused, (-32602, NOT_VALID))
    assert not [report for report in lab.witness.reports if report.startswith((calls, asks + " and"))]
    assert lab.witness.reports.count(asks) == 1
    assert len(lab.arrived(kind, topic)) == (kind in OVER_HTTP)
    assert text(await call(a, tool, arguments, **given)) == f"{topic}: leaf"
    assert lab.witness.reports.count(calls) == 1
    if kind in LEGACY_KINDS:  # what a modern server allows to be repeated is its own matter
        again = await call(a, tool, arguments, **given)
        assert (again.code(), again.error()["message"]) == (-32602, NOT_VALID)
        assert lab.witness.reports.count(calls) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_check_59_missing_and_surplus_answers(a: Client, kind: str) -> None:
    tool, arguments = f"{kind}__ask", {"topic": "tea"}
    requests, state = asked(await call(a, tool, arguments))
    again, state = asked(await call(a, tool, arguments, requestState=state, inputResponses={}))
    assert list(again.values()) == list(requests.values())
    wrong = await call(a, tool, arguments, requestState=state, inputResponses={key: {"action": 7} for key in again})
    assert wrong.code() == -32602 or wrong.result()["resultType"] == "input_required"
    surplus = {**accept(again, word="leaf"), "unknown": {"action": "accept"}}
    assert text(await call(a, tool, arguments, requestState=state, inputResponses=surplus)) == "tea: leaf"


@pytest.mark.parametrize("kind", KINDS)
async def test_check_60_a_client_that_cannot_be_asked_is_not(a: Client, kind: str) -> None:
    assert json.loads(text(await call(a, f"{kind}__told", {}, {}))) == {}, "what the server may ask for"
    for name, arguments in (("ask", {"topic": "tea"}), ("all_at_once", {"topic": "tea"})):
        answer = await call(a, f"{kind}__{name}", arguments, {})
        message = answer.message()
        assert b"inputRequests" not in answer.body
        if "error" in message:
            assert (answer.status, message["error"]["code"]) == (400, -32021)
            assert message["error"]["data"]["requiredCapabilities"]
        else:
            assert message["result"]["resultType"] == "complete"
            assert message["result"]["isError"]


@pytest.mark.parametrize("kind", PAGE_KINDS)
async def test_check_61_a_page_is_for_clients_that_open_pages(a: Client, kind: str) -> None:
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
    refused = await call(a, tool, {}, FORMS)
    assert b"https://example.com" not in refused.body
    if kind in LEGACY_KINDS:  # the server is told that the client can't, and makes an error of it
        assert refused.result()["isError"]
        assert "elicitation of mode 'url'" in text(refused)
    else:
        assert (refused.status, refused.code()) == (400, -32021)
        assert refused.error()["data"]["requiredCapabilities"] == {"elicitation": {"url": {}}}


@pytest.mark.parametrize("kind", KINDS)
async def test_check_63_sampling_and_roots(a: Client, kind: str) -> None:
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


@pytest.mark.parametrize("kind", KINDS)
async def test_check_64_two_questions_are_two_rounds(a: Client, kind: str) -> None:
    tool, arguments = f"{kind}__ask_twice", {"topic": "tea"}
    first, state = asked(await call(a, tool, arguments))
    answer = await call(a, tool, arguments, requestState=state, inputResponses=accept(first, word="leaf"))
    second, then = asked(answer)
    assert [r["params"]["message"] for r in second.values()] == [f"[{kind}] And one after leaf?"]
    assert then != state
    # The state of a round that is over is good for nothing.
    if kind in LEGACY_KINDS:
        stale = await call(a, tool, arguments, requestState=state, inputResponses=accept(first, word="leaf"))
        assert stale.code() == -32602
    final = await call(a, tool, arguments, requestState=then, inputResponses=accept(second, word="cup"))
    assert text(final) == "tea: leaf, cup"


async def test_check_64_a_modern_server_gets_its_own_state_byte_by_byte(lab: Lab, a: Client) -> None:
    topic = lab.tag()
    given: JSON = {}
    for word in ("leaf", "cup"):
        requests, state = asked(await call(a, "um__ask_twice", {"topic": topic}, **given))
        given = {"requestState": state, "inputResponses": accept(requests, word=word)}
    assert text(await call(a, "um__ask_twice", {"topic": topic}, **given)) == f"{topic}: leaf, cup"
    arrived = [seen.message["params"] for seen in lab.arrived("um", topic)]
    said = [message["result"] for message in lab.said("um", "requestState")][-2:]
    assert [set(params) & {"requestState", "inputResponses"} for params in arrived] == [
        set(),
        {"requestState", "inputResponses"},
        {"requestState", "inputResponses"},
    ]
    assert [params["requestState"] for params in arrived[1:]] == [result["requestState"] for result in said]
    assert all(given["requestState"] != result["requestState"] for result in said)

    requests, state = asked(await call(a, "um__open_page", {}, EVERYTHING))
    assert "requestState" not in lab.said("um", "inputRequests")[-1]["result"]
    given = {"requestState": state, "inputResponses": {key: {"action": "accept"} for key in requests}}
    assert text(await call(a, "um__open_page", {}, EVERYTHING, **given)) == "accept"
    assert "requestState" not in lab.arrived("um", "inputResponses")[-1].message["params"]


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
