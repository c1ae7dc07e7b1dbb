"""Legacy servers that refuse until a page was opened (-32042), and modern clients, which do not know that (ER-03)."""

import uuid

import pytest

from tests.gateway.client import CAPABILITIES, JSON, Client
from tests.gateway.running import gateway_over
from tests.gateway.upstreams.raw import Error, RawServer
from tests.lab.running import Lab
from tests.lab.test_asking import EVERYTHING, FORMS, accept, asked, call, text

PAGES = ("ul", "ux")
"""The legacy servers whose revision sends users to pages."""

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def a(lab: Lab) -> Client:
    return lab.a


def page_of(requests: dict[str, JSON], topic: str) -> dict[str, JSON]:
    """Checks the one question, and returns the answer of a user who has opened the page."""
    ((key, question),) = requests.items()
    assert question["method"] == "elicitation/create"
    params = question["params"]
    assert (params["mode"], params["url"]) == ("url", f"https://example.com/connect?{topic}")
    assert params["message"].endswith("Open this")
    assert "elicitationId" not in params
    return {key: {"action": "accept"}}


@pytest.mark.parametrize("kind", PAGES)
async def test_check_62_a_page_first_then_the_call(a: Client, kind: str) -> None:
    tool, arguments = f"{kind}__locked", {"topic": uuid.uuid4().hex}
    answer = await call(a, tool, arguments, EVERYTHING)
    assert b"-32042" not in answer.body
    requests, state = asked(answer)
    given = page_of(requests, arguments["topic"])
    final = await call(a, tool, arguments, EVERYTHING, requestState=state, inputResponses=given)
    assert text(final) == f"{arguments['topic']} is open"


@pytest.mark.parametrize("kind", PAGES)
async def test_check_62_a_user_who_is_still_busy_is_not_sent_there_again(a: Client, kind: str) -> None:
    tool, arguments = f"{kind}__account", {"topic": uuid.uuid4().hex}
    requests, state = asked(await call(a, tool, arguments, EVERYTHING))
    given = page_of(requests, arguments["topic"])
    final = await call(a, tool, arguments, EVERYTHING, requestState=state, inputResponses=given)
    assert text(final) == f"{arguments['topic']} is connected"


@pytest.mark.parametrize("kind", PAGES)
async def test_check_62_a_page_after_a_question(a: Client, kind: str) -> None:
    topic = uuid.uuid4().hex
    tool, arguments = f"{kind}__locked", {"topic": topic, "asks": True}
    requests, state = asked(await call(a, tool, arguments, EVERYTHING))
    answer = await call(
        a, tool, arguments, EVERYTHING, requestState=state, inputResponses=accept(requests, word="leaf")
    )
    requests, state = asked(answer)
    given = page_of(requests, topic)
    answer = await call(a, tool, arguments, EVERYTHING, requestState=state, inputResponses=given)
    requests, state = asked(answer)  # the server asks anew, as the call is a new one for it
    final = await call(a, tool, arguments, EVERYTHING, requestState=state, inputResponses=accept(requests, word="leaf"))
    assert text(final) == f"{topic} is open"


@pytest.mark.parametrize("kind", PAGES)
async def test_a_user_who_does_not_open_the_page(a: Client, kind: str) -> None:
    tool, arguments = f"{kind}__locked", {"topic": uuid.uuid4().hex}
    requests, state = asked(await call(a, tool, arguments, EVERYTHING))
    given = {key: {"action": "decline"} for key in requests}
    final = await call(a, tool, arguments, EVERYTHING, requestState=state, inputResponses=given)
    assert final.result()["isError"]
    assert "did not open the page" in text(final)


async def test_a_prompt_whose_page_is_not_opened_is_an_error_and_no_result() -> None:
    page = {"mode": "url", "elicitationId": "E", "url": "https://example.com/connect", "message": "Open this"}
    server = RawServer("legacy", (), {"prompts/get": Error(-32042, "locked", {"elicitations": [page]})})
    server.behaviour["prompts/list"] = server.listed("prompts", [{"name": "p"}])
    async with gateway_over({"raw": server}) as running:
        client, params = running.client(), {"name": "raw__p"}
        requests, state = asked(await client.modern("prompts/get", params, meta={CAPABILITIES: EVERYTHING}))
        given = {"requestState": state, "inputResponses": {key: {"action": "decline"} for key in requests}}
        final = await client.modern("prompts/get", {**params, **given}, meta={CAPABILITIES: EVERYTHING})
        assert final.code() == -32603
        assert "did not open the page" in final.error()["message"]


@pytest.mark.parametrize("kind", PAGES)
async def test_check_61_a_client_that_opens_no_pages(a: Client, kind: str) -> None:
    answer = await call(a, f"{kind}__locked", {"topic": uuid.uuid4().hex}, FORMS)
    assert (answer.status, answer.code()) == (400, -32021)
    assert answer.error()["data"] == {"requiredCapabilities": {"elicitation": {"url": {}}}}
