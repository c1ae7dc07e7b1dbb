"""Calls over REST that need the user's input: asked, answered, repeated; or refused where nobody can be asked."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.gateway.client import JSON
from tests.gateway.running import KEY_A, KEY_B, RunningGateway, gateway_over
from tests.gateway.upstreams.raw import Error, RawServer, Seen, Stream, text_result

MEDIA_TYPE = "application/vnd.metamcp.call+json"
FORM: JSON = {
    "method": "elicitation/create",
    "params": {"message": "Sure?", "requestedSchema": {"type": "object", "properties": {"ok": {"type": "boolean"}}}},
}
ASKABLE: JSON = {"clientCapabilities": {"elicitation": {}}}
ACCEPTED = {"action": "accept", "content": {"ok": True}}


def modern_server() -> RawServer:
    def answer(seen: Seen) -> Any:
        if "elicitation" not in seen.params["_meta"]["io.modelcontextprotocol/clientCapabilities"]:
            return Error(-32021, "needs elicitation", {"requiredCapabilities": {"elicitation": {}}}, 400)
        if "inputResponses" not in seen.params:
            return {"resultType": "input_required", "inputRequests": {"a": FORM}, "requestState": "its own"}
        told = [seen.params["inputResponses"]["a"], seen.params["requestState"], seen.params["arguments"]]
        return text_result(json.dumps(told), resultType="complete")

    return RawServer("modern", ("ask", "echo"), {"tools/call ask": answer})


def legacy_server() -> RawServer:
    async def ask(seen: Seen) -> AsyncIterator[Any]:
        yield {"jsonrpc": "2.0", "id": "q1", **FORM}
        async with asyncio.timeout(15):
            while (told := await seen.server.arrived.get()).message.get("id") != "q1":
                pass
        said = [told.message.get("result"), "its own", seen.params["arguments"]]
        yield {"jsonrpc": "2.0", "id": seen.message["id"], "result": text_result(json.dumps(said))}

    return RawServer("legacy", ("ask", "echo"), {"tools/call ask": lambda seen: Stream(ask(seen))})


async def post(running: RunningGateway, body: Any, tool: str = "raw__ask", **how: Any) -> httpx2.Response:
    """Posts to a tool; `how` is `kind`, the media type, and `key`."""
    headers = {"Content-Type": how.get("kind", MEDIA_TYPE), "Authorization": f"Bearer {how.get('key', KEY_A)}"}
    url = f"http://127.0.0.1:{running.port}/metamcp/keyed/api/{tool}"
    async with httpx2.AsyncClient(timeout=30) as http:
        return await http.post(url, content=json.dumps(body).encode(), headers=headers)


@pytest.mark.parametrize("make", [modern_server, legacy_server])
async def test_a_call_is_repeated_with_the_answers(make: Any) -> None:
    async with gateway_over({"raw": make()}) as running:
        call = {"arguments": {"n": 1}, **ASKABLE}
        first = await post(running, call)
        assert first.status_code == 200, first.text
        asked = first.json()
        assert asked["resultType"] == "input_required"
        [(key, question)] = asked["inputRequests"].items()
        assert question["params"]["requestedSchema"] == FORM["params"]["requestedSchema"]
        more = {"inputResponses": {key: ACCEPTED}, "requestState": asked["requestState"]}

        stranger = await post(running, {**call, **more}, key=KEY_B)
        assert stranger.status_code == 422, "whoever has a state need not be who was asked"

        done = (await post(running, {**call, **more})).json()
        assert done["resultType"] == "complete"
        assert json.loads(done["content"][0]["text"]) == [ACCEPTED, "its own", {"n": 1}]


async def test_a_call_that_needs_no_input_is_answered_at_once() -> None:
    async with gateway_over({"raw": modern_server()}) as running:
        done = (await post(running, {"arguments": {"n": 1}}, "raw__echo")).json()
        assert done["resultType"] == "complete"
        assert json.loads(done["content"][0]["text"]) == {"n": 1}
        assert "resultType" not in (await post(running, {"n": 1}, "raw__echo", kind="application/json")).json()


@pytest.mark.parametrize(
    ("body", "kind"), [({"n": 1}, "application/json"), ({"arguments": {"n": 1}}, MEDIA_TYPE), ({}, MEDIA_TYPE)]
)
async def test_who_cannot_be_asked_is_told_what_is_missing(body: Any, kind: str) -> None:
    async with gateway_over({"raw": modern_server()}) as running:
        answer = await post(running, body, kind=kind)
        assert answer.status_code == 422
        [detail] = answer.json()["detail"]
        assert detail["type"] == "missing_capability"
        assert "elicitation" in detail["msg"]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"n": 1},
        {"arguments": []},
        {"arguments": {}, "clientCapabilities": []},
        {"arguments": {}, "clientCapabilities": {"x": "x" * 20_000}},
        {"arguments": {}, "inputResponses": {"a": 5}},
        {"arguments": {}, "requestState": 5},
        {"arguments": {}, "requestState": "not ours", **ASKABLE},
    ],
)
async def test_malformed_calls(body: Any) -> None:
    server = modern_server()
    async with gateway_over({"raw": server}) as running:
        answer = await post(running, body)
        assert answer.status_code == 422, answer.text
        assert answer.json()["detail"]
        assert server.count("tools/call") == 0
