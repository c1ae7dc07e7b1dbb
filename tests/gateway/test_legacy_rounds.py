"""Calls of legacy clients that a modern server answers with `input_required`: asked, then repeated (MR-04 to MR-07)."""

import asyncio
import json

import pytest

from tests.gateway.client import CAPABILITIES, JSON, Session
from tests.gateway.running import gateway_over
from tests.gateway.test_legacy_asking import ACCEPTED, EVERYTHING, FORM, ROOTS, SAMPLE
from tests.gateway.upstreams.raw import Error, RawServer, Seen, text_result

pytestmark = pytest.mark.asyncio(loop_scope="session")

DONE = text_result("done", resultType="complete")
PAGE: JSON = {
    "method": "elicitation/create",
    "params": {"mode": "url", "message": "Sign in", "url": "https://example.com/sign-in?a=1&b=%C3%BC"},
}
ODD = 'a "quoted" \\ \u00fc \u2028 \U0001f600 </script> \\u0041' + "x" * 4000
"""A state that any second encoding would change."""


def required(requests: dict[str, JSON] | None = None, **more: str) -> JSON:
    return {"resultType": "input_required", **({"inputRequests": requests} if requests is not None else {}), **more}


def in_turn(*replies: JSON) -> RawServer:
    """Returns a modern server whose tool has an answer for each round, the last one for all that follow."""
    left = list(replies)
    return RawServer("modern", ("ask",), {"tools/call ask": lambda _: left.pop(0) if len(left) > 1 else left[0]})


def rounds(server: RawServer) -> list[Seen]:
    return [seen for seen in server.seen if seen.method == "tools/call"]


async def answered(session: Session, result: JSON) -> tuple[list[JSON], JSON]:
    """Calls the tool and answers each question in the same way; returns all that came before the response, and that."""
    exchange = await session.start("tools/call", {"name": "raw__ask", "arguments": {}}, id="c")
    await exchange.head()
    questions: list[JSON] = []
    async with asyncio.timeout(60):
        if (b"content-type", b"application/json") in exchange.headers:
            return [], (await exchange.answer()).message()
        while "method" in (message := await exchange.message()):
            questions.append(message)
            if "id" in message:
                await session.respond(message, result=result)
    await exchange.close()
    return questions, message


async def test_a_server_that_never_has_enough_is_given_up_after_ten_rounds() -> None:
    server = in_turn(required({"r": ROOTS}))
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session("2025-11-25", EVERYTHING)
        questions, response = await answered(session, {"roots": []})
        assert len(questions) == 10
        assert response["id"] == "c"
        assert response["result"]["isError"] is True
        assert "more than 10 times" in response["result"]["content"][0]["text"]
        assert len(rounds(server)) == 11


async def test_a_state_without_questions_comes_back_with_the_repeated_call() -> None:
    server = in_turn(required(requestState=ODD), required({}, requestState="2"), DONE)
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session("2025-11-25", EVERYTHING)
        questions, response = await answered(session, {})
        assert questions == []
        assert response["result"] == text_result("done")
        first, second, third = rounds(server)
        assert "requestState" not in first.params
        assert (second.params["requestState"], third.params["requestState"]) == (ODD, "2")
        assert not any(seen.params.get("inputResponses") for seen in (first, second, third))


async def test_a_page_that_the_user_has_opened_is_not_asked_for_again() -> None:
    server = in_turn(required({"a": PAGE}), required({"b": PAGE}), required({"c": PAGE, "d": FORM}), DONE)
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session("2025-11-25", EVERYTHING)
        questions, response = await answered(session, ACCEPTED)
        assert response["result"] == text_result("done")
        page, form, through = questions
        assert (page["params"]["mode"], form["params"]["mode"]) == ("url", "form")
        assert page["params"]["url"] == PAGE["params"]["url"]
        # Once the server no longer asks, the client hears that its user is through, before the result.
        assert through["method"] == "notifications/elicitation/complete"
        assert through["params"] == {"elicitationId": page["params"]["elicitationId"]}
        assert [seen.params.get("inputResponses") for seen in rounds(server)] == [
            None,
            {"a": ACCEPTED},
            {"b": {"action": "accept"}},
            {"c": {"action": "accept"}, "d": ACCEPTED},
        ]


async def test_a_client_hears_of_a_page_while_the_server_still_asks_for_something_else() -> None:
    server = in_turn(required({"a": PAGE}), required({"d": FORM}), DONE)
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session("2025-11-25", EVERYTHING)
        questions, _ = await answered(session, ACCEPTED)
        assert [each["method"].rpartition("/")[2] for each in questions] == ["create", "complete", "create"]


async def test_a_page_that_the_user_has_not_opened_may_be_asked_for_again() -> None:
    server = in_turn(required({"a": PAGE}), required({"b": PAGE}), DONE)
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session("2025-11-25", EVERYTHING)
        questions, _ = await answered(session, {"action": "decline"})
        assert [question["params"]["url"] for question in questions] == [PAGE["params"]["url"]] * 2


async def test_who_refuses_to_sample_in_a_later_round_has_the_call_end_there() -> None:
    server = in_turn(required({"f": FORM}, requestState="1"), required({"f": FORM, "s": SAMPLE}), DONE)
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session("2025-11-25", EVERYTHING)
        exchange = await session.start("tools/call", {"name": "raw__ask", "arguments": {}}, id="c")
        await exchange.head()
        while "method" in (message := await asyncio.wait_for(exchange.message(), 30)):
            if message["method"] == "sampling/createMessage":
                await session.respond(message, error={"code": -1, "message": "Not with my money"})
            elif message["method"] == "elicitation/create":
                await session.respond(message, result=ACCEPTED)
        await exchange.close()
        assert message["result"]["isError"] is True
        assert "Not with my money" in message["result"]["content"][0]["text"]
        assert len(rounds(server)) == 2


async def test_a_state_goes_back_as_it_came_and_only_with_the_round_it_came_in() -> None:
    questions = {"q": FORM}
    server = in_turn(
        required(questions, requestState=ODD), required(questions), required(questions, requestState=""), DONE
    )
    async with gateway_over({"raw": server}) as running:
        session = await running.client().session("2025-11-25", EVERYTHING)
        _, response = await answered(session, ACCEPTED)
        assert response["result"] == text_result("done")
        none = object()
        assert [seen.params.get("requestState", none) for seen in rounds(server)] == [none, ODD, none, ""]
        assert len({seen.message["id"] for seen in rounds(server)}) == 4


LOCKED = Error(
    -32042,
    "Open the page first",
    {
        "elicitations": [
            {"mode": "url", "elicitationId": "e-1", "url": "https://example.com/connect", "message": "Connect yourself"}
        ]
    },
)


def locked_server() -> RawServer:
    return RawServer("legacy", ("locked",), {"tools/call": LOCKED})


async def test_who_knows_pages_is_told_the_error_of_2025_11_25() -> None:
    async with gateway_over({"raw": locked_server()}) as running:
        session = await running.client().session("2025-11-25", {"elicitation": {"url": {}}})
        error = (await session.call("raw__locked")).error()
        assert error == {"code": LOCKED.code, "message": LOCKED.message, "data": LOCKED.data}


@pytest.mark.parametrize(
    ("revision", "capabilities"),
    [("2025-11-25", {"elicitation": {}}), ("2025-11-25", {"roots": {}}), ("2025-06-18", EVERYTHING)],
)
async def test_who_knows_no_pages_is_told_in_words_which_one_to_open(revision: str, capabilities: JSON) -> None:
    async with gateway_over({"raw": locked_server()}) as running:
        session = await running.client().session(revision, capabilities)
        result = (await session.call("raw__locked")).result()
        assert result["isError"] is True
        assert "Connect yourself https://example.com/connect" in result["content"][0]["text"]
        assert "-32042" not in json.dumps(result)


@pytest.mark.parametrize("client", ["modern", "2025-11-25"])
async def test_who_can_be_asked_nothing_is_told_in_words_too(client: str) -> None:
    async with gateway_over({"raw": locked_server()}) as running:
        if client == "modern":
            answer = await running.client().call("raw__locked")
        else:
            answer = await (await running.client().session(client)).call("raw__locked")
        assert answer.status == 200
        assert answer.result()["isError"] is True
        assert "Connect yourself https://example.com/connect" in answer.result()["content"][0]["text"]


@pytest.mark.parametrize("capabilities", [{}, {"elicitation": {"url": {}}}])
async def test_nobody_is_sent_to_what_is_no_page_of_the_web(capabilities: JSON) -> None:
    page = {"mode": "url", "elicitationId": "e", "url": "javascript:alert(1)", "message": "Click"}
    server = RawServer("legacy", ("locked",), {"tools/call": Error(-32042, "Locked", {"elicitations": [page]})})
    async with gateway_over({"raw": server}) as running:
        for answer in (
            await running.client().call("raw__locked", meta={CAPABILITIES: capabilities}),
            await (await running.client().session("2025-11-25", capabilities)).call("raw__locked"),
        ):
            assert answer.result()["isError"] is True
            assert "names none that can be opened: Locked" in answer.result()["content"][0]["text"]
            assert b"javascript" not in answer.body


async def test_a_prompt_behind_a_page_is_an_error_in_words() -> None:
    server = RawServer("legacy", (), {"prompts/get": LOCKED})
    server.behaviour["prompts/list"] = server.listed("prompts", [{"name": "p"}])
    async with gateway_over({"raw": server}) as running:
        answer = await running.client().modern("prompts/get", {"name": "raw__p"})
        assert (answer.status, answer.code()) == (200, -32603)
        assert "Connect yourself https://example.com/connect" in answer.error()["message"]
