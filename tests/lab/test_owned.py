"""Sessions that keep something are one for all processes: what passes from one process to the other (check 54)."""

import asyncio

import pytest

from tests.gateway.client import CAPABILITIES
from tests.gateway.running import KEY_A, KEY_B
from tests.gateway.test_cancel_progress import progress_of
from tests.lab.running import Lab

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORMS = {CAPABILITIES: {"elicitation": {}}}


@pytest.mark.parametrize("kind", ["ul", "ux"])
async def test_check_54_progress_and_results_of_calls_beside_each_other(lab: Lab, kind: str) -> None:
    tags = [lab.tag() for _ in range(6)]
    a, b = lab.client("kept", KEY_A), lab.client("kept", KEY_B)

    async def slow(number: int) -> None:
        arguments = {"tag": tags[number], "steps": 4}
        client = (a, b)[number // 3]
        answer = await client.call(f"k{kind}__slow", arguments, meta={"progressToken": 1})
        *before, last = answer.messages()
        assert [params["progress"] for params in progress_of(before)] == [1, 2, 3, 4]
        assert last["result"]["content"][0]["text"] == f"{tags[number]} done"

    await asyncio.gather(*(slow(number) for number in range(6)))


@pytest.mark.parametrize("kind", ["ul", "ux"])
async def test_check_54_who_leaves_cancels_wherever_the_session_is(lab: Lab, kind: str) -> None:
    for pid in lab.running.pids():
        tag = lab.tag()
        params = {"name": f"k{kind}__hold", "arguments": {"tag": tag}}
        exchange = await lab.running.at(pid, "kept", KEY_A).start("tools/call", params)
        await lab.witness.saw(f"{tag} started")
        await exchange.close()
        await lab.witness.saw(f"{tag} cancelled")


@pytest.mark.parametrize("kind", ["ul", "ux"])
async def test_check_54_a_question_comes_to_the_client_wherever_the_session_is(lab: Lab, kind: str) -> None:
    name = f"k{kind}__ask"
    for pid in lab.running.pids():
        topic = lab.tag()
        client = lab.running.at(pid, "kept", KEY_A)
        asked = (await client.call(name, {"topic": topic}, meta=FORMS)).result()
        [(key, question)] = asked["inputRequests"].items()
        assert question["params"]["message"] == f"[k{kind}] A word for {topic}?"
        answers = {key: {"action": "accept", "content": {"word": "leaf"}}}
        again = {"requestState": asked["requestState"], "inputResponses": answers}
        params = {"name": name, "arguments": {"topic": topic}, **again}
        final = await lab.client("kept", KEY_A).modern("tools/call", params, meta=FORMS)
        assert final.result()["content"][0]["text"] == f"{topic}: leaf"
