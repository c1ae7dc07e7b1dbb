"""Legacy clients over two processes, asked, told and listened to (checks 65 to 67, 72, 75, 78 to 80)."""

import asyncio
import json
import time

import pytest

from tests.gateway.client import CAPABILITIES, JSON, Session
from tests.gateway.running import KEY_A, KEY_B
from tests.gateway.test_changes import SUBSCRIPTION, listening, silent
from tests.gateway.upstreams.raw import tool_named
from tests.lab.running import KINDS, LEGACY_KINDS, PAGE_KINDS, Lab
from tests.workers.running import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOGGING_KINDS = ("um", "us", "ul")
"""Servers of SDK 1 do not declare that they log; on one stream for all, nobody can tell for whom they do."""

EVERYTHING: JSON = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {"listChanged": True}}


async def asked(session: Session, name: str, arguments: JSON, answers: dict[str, JSON]) -> tuple[JSON, list[JSON]]:
    """Calls a tool and answers what is asked on the stream of the call, each on a connection of its own.

    Returns the response, and the questions.
    """
    questions: list[JSON] = []
    exchange = await session.start("tools/call", {"name": name, "arguments": arguments}, id=3)
    async with asyncio.timeout(30):
        assert await exchange.head() == 200
        while "method" in (message := await exchange.message()):
            if "id" not in message:
                # Of a question that is no longer asked, and of a page with which the user is through.
                assert message["method"] in ("notifications/cancelled", "notifications/elicitation/complete")
                continue
            questions.append(message)
            told = await session.respond(message, **answers[message["method"]])
            assert (told.status, told.body) == (202, b"")
    await exchange.close()
    assert message["id"] == 3
    return message, questions


FORM: dict[str, JSON] = {"elicitation/create": {"result": {"action": "accept", "content": {"word": "leaf"}}}}


@pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
@pytest.mark.parametrize("kind", KINDS)
async def test_check_65_a_question_on_the_stream_of_its_call(lab: Lab, kind: str, revision: str) -> None:
    session = await lab.a.session(revision, EVERYTHING)
    response, [question] = await asked(session, f"{kind}__ask", {"topic": "tea"}, FORM)
    assert question["id"].startswith("gw-")
    assert question["params"]["message"] == f"[{kind}] A word for tea?"
    assert response["result"]["content"][0]["text"] == "tea: leaf"
    assert "resultType" not in response["result"]
    late = await session.respond(question, result={"action": "decline"})
    assert late.status == 202


@pytest.mark.parametrize("kind", PAGE_KINDS)
async def test_check_65_a_page_is_sent_to_clients_that_open_pages(lab: Lab, kind: str) -> None:
    session = await lab.a.session("2025-11-25", EVERYTHING)
    opened: dict[str, JSON] = {"elicitation/create": {"result": {"action": "accept"}}}
    response, [question] = await asked(session, f"{kind}__open_page", {}, opened)
    assert (question["params"]["mode"], question["params"]["url"]) == ("url", "https://example.com/connect")
    assert response["result"]["content"][0]["text"] == "accept"


@pytest.mark.parametrize("kind", KINDS)
async def test_check_66_a_client_that_declines_to_sample(lab: Lab, kind: str) -> None:
    topic = lab.tag()
    session = await lab.a.session("2025-11-25", EVERYTHING)
    answers: dict[str, JSON] = {
        **FORM,
        "sampling/createMessage": {"error": {"code": -1, "message": "User rejected sampling request"}},
        "roots/list": {"result": {"roots": []}},
    }
    response, questions = await asked(session, f"{kind}__all_at_once", {"topic": topic}, answers)
    assert "sampling/createMessage" in [question["method"] for question in questions]
    assert response["result"]["isError"]
    assert "requestState" not in json.dumps(response)
    if kind == "um":  # asked for once, and not again after the refusal
        assert [("inputResponses" in seen.message["params"]) for seen in lab.arrived("um", topic)].count(False) == 1


@pytest.mark.parametrize(
    ("revision", "told"),
    [
        ("2024-11-05", {"sampling", "roots"}),
        ("2025-03-26", {"sampling", "roots"}),
        ("2025-06-18", {"sampling", "roots", "elicitation"}),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
async def test_check_67_a_server_is_told_what_the_revision_can_express(
    lab: Lab, kind: str, revision: str, told: set[str]
) -> None:
    session = await lab.a.session(revision, EVERYTHING)
    answer = await session.call(f"{kind}__told")
    assert json.loads(answer.result()["content"][0]["text"]).keys() == told
    if "elicitation" not in told:
        refused = (await session.call(f"{kind}__ask", {"topic": "tea"})).message()
        assert "method" not in refused
        assert refused["result"]["isError"]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_check_72_leaving_cancels_within_a_second(lab: Lab, kind: str, streaming: bool) -> None:
    client, took = lab.client(), 2.0
    meta = {"progressToken": 1} if streaming else {}
    async with asyncio.timeout(30):  # a machine that is busy with other tests may need several attempts
        while took >= 1:
            tag = lab.tag()
            exchange = await client.start("tools/call", {"name": f"{kind}__hold", "arguments": {"tag": tag}}, meta=meta)
            await lab.witness.saw(f"{tag} started")
            if streaming:
                assert await exchange.head() == 200
                await exchange.message()
            began = time.monotonic()
            await exchange.close()
            await lab.witness.saw(f"{tag} cancelled")
            took = time.monotonic() - began


@pytest.mark.parametrize("kind", LOGGING_KINDS)
async def test_check_75_a_level_set_at_one_process_holds_at_the_other(lab: Lab, kind: str) -> None:
    session = await lab.a.session()
    assert (await session.request("logging/setLevel", {"level": "error"})).result() == {}
    for _ in range(2):
        answer = await session.call(f"{kind}__log")
        *logged, last = answer.messages()
        assert last["result"]["content"][0]["text"] == "logged"
        assert [message["params"]["level"] for message in logged] == ["error"]
    if kind == "um":
        meta = lab.arrived("um", '"log"')[-1].message["params"]["_meta"]
        assert meta["io.modelcontextprotocol/logLevel"] == "error"
    assert (await session.request("logging/setLevel", {"level": "warning"})).result() == {}
    *logged, last = (await session.call(f"{kind}__log")).messages()
    assert [message["params"]["level"] for message in logged] == ["warning", "error"]


@pytest.mark.parametrize("kind", LOGGING_KINDS)
async def test_check_74_logs_of_a_call_that_wants_them(lab: Lab, kind: str) -> None:
    silence = (await lab.a.call(f"{kind}__log")).messages()
    assert [message.get("method") for message in silence] == [None]
    level = {"io.modelcontextprotocol/logLevel": "warning"}
    *logged, last = (await lab.a.call(f"{kind}__log", meta=level)).messages()
    assert [message["params"]["level"] for message in logged] == ["warning", "error"]
    assert last["result"]["content"][0]["text"] == "logged"


@pytest.mark.parametrize("kind", KINDS)
async def test_check_78_79_an_update_reaches_those_who_asked_for_it(lab: Lab, kind: str) -> None:
    uri, client = f"{kind}://doc", lab.client()
    wanted = {"notifications": {"resourceSubscriptions": [uri]}}
    stream = await client.start("subscriptions/listen", wanted, id="updates")
    assert await stream.head() == 200
    told = await stream.message()
    assert told["params"]["notifications"]["resourceSubscriptions"] == [uri]
    bystander = await listening(client, "tools")
    subscribed, other = await client.session(), await client.session()
    legacy, nothing = await subscribed.listen(), await other.listen()
    assert (await subscribed.request("resources/subscribe", {"uri": uri})).result() == {}
    for pid in lab.running.pids():
        assert (await lab.running.at(pid).call(f"{kind}__touch")).result()["content"][0]["text"] == "touched"
        told = await asyncio.wait_for(stream.message(), 30)
        assert told["method"] == "notifications/resources/updated"
        assert told["params"] == {"uri": uri, "_meta": {SUBSCRIPTION: "updates"}}
        assert (await asyncio.wait_for(legacy.message(), 30))["params"]["uri"] == uri
    # The last one who leaves takes the subscription along, not the first.
    await stream.close()
    await client.call(f"{kind}__touch")
    assert (await asyncio.wait_for(legacy.message(), 30))["params"]["uri"] == uri
    assert (await subscribed.request("resources/unsubscribe", {"uri": uri})).result() == {}
    if kind in LEGACY_KINDS:
        reports = lab.witness.reports
        assert reports.count(f"subscribed to {uri}") >= 1
        # Each process subscribes for its clients, the companion for those of all.
        await until(lambda: reports.count(f"unsubscribed from {uri}") == reports.count(f"subscribed to {uri}"))
    await client.call(f"{kind}__touch")
    for each in (bystander, legacy, nothing):
        await silent(each)
        await each.close()


async def test_check_80_a_change_of_what_an_endpoint_does_not_show_is_not_told_there(lab: Lab) -> None:
    seeing = [await listening(client, "tools") for client in (lab.client("public"), lab.client("filtered", KEY_A))]
    session = await lab.client("kept-open").session()
    blind = [await listening(lab.client("kept", KEY_B), "tools"), await session.listen()]
    before = lab.raw.behaviour["tools/list"]
    assert isinstance(before, dict)
    tools = [tool_named("other", title="changed") if tool["name"] == "other" else tool for tool in before["tools"]]
    for listed in ({**before, "tools": tools}, before):
        lab.raw.behaviour["tools/list"] = listed
        await lab.raw.announce("tools")
        for stream in seeing:
            told = await asyncio.wait_for(stream.message(), 30)
            assert told["method"] == "notifications/tools/list_changed"
    for stream in blind:
        await silent(stream)
    for stream in (*seeing, *blind):
        await stream.close()


async def test_check_60_the_capabilities_of_a_call_are_those_of_its_client(lab: Lab) -> None:
    for kind in KINDS:
        able = {CAPABILITIES: {"elicitation": {}, "roots": {}}}
        told = json.loads((await lab.a.call(f"{kind}__told", meta=able)).result()["content"][0]["text"])
        assert told.keys() == {"elicitation", "roots"}, kind
