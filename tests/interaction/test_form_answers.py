"""Answers that do not fit the form that a server asked with (eras.md 2.6 rule 4)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.gateway.client import CAPABILITIES, JSON, Exchange, Session
from tests.gateway.running import RunningGateway, gateway_over
from tests.gateway.upstreams.raw import RawServer, Seen, Stream, text_result
from tests.interaction.test_leaving import Asking

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCHEMA: JSON = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 18}}, "required": ["age"]}
FORM: JSON = {"method": "elicitation/create", "params": {"message": "How old?", "requestedSchema": SCHEMA}}
ABLE: JSON = {"elicitation": {}}
GOOD: JSON = {"action": "accept", "content": {"age": 44}}
BAD: JSON = {"action": "accept", "content": {"age": 7}}


def legacy_server() -> Asking:
    """Returns a server whose tool asks on its stream, and ends with what it was told."""

    async def ask(seen: Seen) -> AsyncIterator[JSON | bytes]:
        yield {"jsonrpc": "2.0", "id": "q", **FORM}
        answer = await server.answers.get()
        told = str(answer.get("result", answer.get("error")))
        yield {"jsonrpc": "2.0", "id": seen.message["id"], "result": text_result(told)}

    server = Asking({"tools/call ask": lambda seen: Stream(ask(seen))})
    return server


def modern_server() -> RawServer:
    def ask(seen: Seen) -> JSON:
        if "inputResponses" in seen.params:
            return text_result(str(seen.params["inputResponses"]["q"]), resultType="complete")
        return {"resultType": "input_required", "inputRequests": {"q": FORM}}

    return RawServer("modern", ("ask",), {"tools/call ask": ask})


async def test_a_modern_client_is_told_why_and_may_answer_again() -> None:
    async with gateway_over({"raw": legacy_server()}) as running:
        client, params = running.client(), {"name": "raw__ask", "arguments": {}}
        first = (await client.modern("tools/call", params, meta={CAPABILITIES: ABLE})).result()
        (key,) = first["inputRequests"]

        async def repeated(answer: JSON) -> JSON:
            given = {"requestState": first["requestState"], "inputResponses": {key: answer}}
            return (await client.modern("tools/call", {**params, **given}, meta={CAPABILITIES: ABLE})).message()

        for answer, reason in (
            (BAD, "age must be at least 18"),
            ({"action": "accept", "content": {}}, "age is missing"),
            ({"action": "accept"}, "age is missing"),
        ):
            error = (await repeated(answer))["error"]
            assert error["code"] == -32602
            assert error["message"] == f"inputResponses.{key}: {reason}"
        assert (await repeated(GOOD))["result"]["content"][0]["text"] == str(GOOD)


@pytest.mark.parametrize("answer", [{"action": "decline"}, {"action": "cancel", "content": {"age": "x"}}])
async def test_who_does_not_accept_has_nothing_to_fill_in(answer: JSON) -> None:
    async with gateway_over({"raw": legacy_server()}) as running:
        session = await running.client().session("2025-06-18", ABLE)
        exchange = await begun(session)
        await session.respond(await exchange.message(), result=answer)
        assert (await exchange.message())["result"]["content"][0]["text"] == str(answer)
        await exchange.close()


async def begun(session: Session) -> Exchange:
    exchange = await session.start("tools/call", {"name": "raw__ask", "arguments": {}}, id=3)
    assert await exchange.head() == 200
    return exchange


async def answered(running: RunningGateway, *answers: JSON) -> tuple[list[JSON], str]:
    """Calls the tool as a legacy client and answers its questions in turn; returns the questions and the result."""
    session, questions = await running.client().session("2025-06-18", ABLE), []
    async with asyncio.timeout(30):
        exchange = await begun(session)
        for answer in answers:
            questions.append(await exchange.message())
            assert (await session.respond(questions[-1], result=answer)).status == 202
        result = (await exchange.message())["result"]["content"][0]["text"]
    await exchange.close()
    return questions, result


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_legacy_client_is_asked_again_with_the_reason(era: str) -> None:
    server = legacy_server() if era == "legacy" else modern_server()
    async with gateway_over({"raw": server}) as running:
        questions, result = await answered(running, BAD, GOOD)
        assert [question["params"]["message"] for question in questions] == [
            "[raw] How old?",
            "[raw] How old?\n(The last answer does not fit: age must be at least 18.)",
        ]
        assert questions[1]["params"]["requestedSchema"] == SCHEMA
        assert result == str(GOOD)


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_legacy_client_is_asked_three_times_and_not_more(era: str) -> None:
    server = legacy_server() if era == "legacy" else modern_server()
    async with gateway_over({"raw": server}) as running:
        _, result = await answered(running, BAD, BAD, BAD)
        # A legacy server is told what is wrong; a modern one has no form for that (MR-07).
        expected = "does not fit the form: age must be at least 18" if era == "legacy" else str({"action": "cancel"})
        assert expected in result
