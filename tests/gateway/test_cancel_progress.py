"""Progress and cancellation between every kind of client and server: acceptance checks 71 to 73."""

import asyncio
import json
from typing import Any

import pytest

from tests.gateway.client import Exchange
from tests.gateway.running import gateway_over
from tests.gateway.upstreams.raw import RawServer, Seen, Stream, text_result
from tests.lab.running import KINDS, Lab

pytestmark = pytest.mark.asyncio(loop_scope="session")


def progress_of(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [m["params"] for m in messages if m.get("method") == "notifications/progress"]


@pytest.mark.parametrize("kind", KINDS)
async def test_check_71_the_same_token_of_several_clients(lab: Lab, kind: str) -> None:
    session = await lab.client().session()

    async def modern(tag: str) -> Any:
        return await lab.a.call(f"{kind}__slow", {"tag": tag, "steps": 5}, meta={"progressToken": 1})

    async def legacy(tag: str) -> Any:
        params = {"name": f"{kind}__slow", "arguments": {"tag": tag, "steps": 5}, "_meta": {"progressToken": 1}}
        return await session.request("tools/call", params)

    tags = [f"c71-{kind}-{n}" for n in range(4)]
    answers = await asyncio.gather(modern(tags[0]), legacy(tags[1]), modern(tags[2]), legacy(tags[3]))
    for tag, answer in zip(tags, answers, strict=True):
        *before, last = answer.messages()
        assert [params["progressToken"] for params in progress_of(before)] == [1] * len(before)
        values = [params["progress"] for params in progress_of(before)]
        assert values == [1, 2, 3, 4, 5]
        assert all(params["total"] == 5 for params in progress_of(before))
        assert all(params["message"].startswith("step") for params in progress_of(before))
        assert last["result"]["content"][0]["text"] == f"{tag} done"


@pytest.mark.parametrize("token", ["text", "", 0, 7, "7", "ü"])
async def test_check_71_tokens_keep_their_type(lab: Lab, token: Any) -> None:
    answer = await lab.client().call("um__slow", {"tag": "t", "steps": 1}, meta={"progressToken": token})
    [params] = progress_of(answer.messages())
    assert (type(params["progressToken"]), params["progressToken"]) == (type(token), token)


async def test_check_71_without_a_token_there_is_no_progress(lab: Lab) -> None:
    for kind in KINDS:
        answer = await lab.client().call(f"{kind}__slow", {"tag": "n", "steps": 3})
        assert not answer.is_stream


async def test_check_71_values_that_do_not_increase_and_tokens_of_others_are_dropped() -> None:
    async def messages(seen: Seen) -> Any:
        token = seen.params["_meta"]["progressToken"]
        for value in (1, 1, 0.5, 2, 2.5, 1):
            yield notification(token, value)
        yield notification("somebody else's", 50)
        yield notification(token + 1000, 60)
        yield {"jsonrpc": "2.0", "id": seen.message["id"], "result": text_result("x", resultType="complete")}
        yield notification(token, 99)

    def notification(token: Any, value: float) -> dict[str, Any]:
        params = {"progressToken": token, "progress": value}
        return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}

    server = RawServer("modern", ("odd",), behaviour={"tools/call odd": lambda seen: Stream(messages(seen))})
    async with gateway_over({"raw": server}) as running:
        answer = await running.client().call("raw__odd", meta={"progressToken": "mine"})
        assert [(p["progressToken"], p["progress"]) for p in progress_of(answer.messages())] == [
            ("mine", 1),
            ("mine", 2),
            ("mine", 2.5),
        ]
        assert answer.messages()[-1]["id"] == 1
        assert sum("result" in message for message in answer.messages()) == 1


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_check_72_a_modern_client_that_leaves_cancels(lab: Lab, kind: str, streaming: bool) -> None:
    tag = lab.tag()
    meta = {"progressToken": 1} if streaming else {}
    exchange = await lab.client().start("tools/call", {"name": f"{kind}__hold", "arguments": {"tag": tag}}, meta=meta)
    await lab.witness.saw(f"{tag} started")
    if streaming:
        assert await exchange.head() == 200
        await exchange.message()
    await exchange.close()
    await lab.witness.saw(f"{tag} cancelled")
    assert (await lab.client().call(f"{kind}__echo", {"text": "next"})).result()["content"]


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_check_72_what_a_server_sees(era: str) -> None:
    async def never(_: Seen) -> Any:
        await asyncio.sleep(60)

    server = RawServer(era, ("never", "echo"), behaviour={"tools/call never": never})
    async with gateway_over({"raw": server}) as running:
        exchange = await running.client().start("tools/call", {"name": "raw__never"})
        call = await server.arrival("tools/call")
        await exchange.close()
        if era == "modern":
            assert (await asyncio.wait_for(server.disconnected.get(), 30)).body == call.body
            assert server.count("notifications/cancelled") == 0
        else:
            told = await server.arrival("notifications/cancelled")
            assert told.params["requestId"] == call.message["id"]
            assert told.header("mcp-session-id") == call.header("mcp-session-id")
        assert (await running.client().call("raw__echo", {"n": 1})).result()["content"]


async def test_check_72_a_legacy_client_that_leaves_does_not_cancel() -> None:
    release = asyncio.Event()

    async def late(_: Seen) -> Any:
        await release.wait()
        return text_result("late")

    for era in ("modern", "legacy"):
        server = RawServer(era, ("late", "echo"), behaviour={"tools/call late": late})
        async with gateway_over({"raw": server}) as running:
            session = await running.client().session()
            exchange = await session.start("tools/call", {"name": "raw__late"})
            await server.arrival("tools/call")
            await exchange.close()
            await session.request("ping")
            await asyncio.sleep(0.15)  # longer than the gateway waits before it watches for a modern client's leaving
            assert server.disconnected.empty()
            assert server.count("notifications/cancelled") == 0
            release.set()
            assert (await session.call("raw__echo", {"n": 1})).result()["content"]
        release.clear()


async def ended(exchange: Exchange) -> list[dict[str, Any]]:
    """Waits for the end of a response, and returns the messages that came."""
    answer = await asyncio.wait_for(exchange.answer(), 30)
    return answer.messages() if answer.body else []


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_check_73_a_legacy_client_cancels(lab: Lab, kind: str, streaming: bool) -> None:
    session, other = await lab.client().session(), await lab.client().session()
    tag = lab.tag()
    meta = {"_meta": {"progressToken": 1}} if streaming else {}
    call = {"name": f"{kind}__hold", **meta}
    first = await session.start("tools/call", {**call, "arguments": {"tag": tag}}, id=3)
    second = await other.start("tools/call", {**call, "arguments": {"tag": f"{tag}-other"}}, id=3)
    await lab.witness.saw(f"{tag} started")
    await lab.witness.saw(f"{tag}-other started")
    assert (await session.notify("notifications/cancelled", {"requestId": "3"})).status == 202
    assert (await session.notify("notifications/cancelled", {"requestId": 99})).status == 202
    assert f"{tag} cancelled" not in lab.witness.reports
    told = await session.notify("notifications/cancelled", {"requestId": 3, "reason": "enough"})
    assert (told.status, told.body) == (202, b"")
    await lab.witness.saw(f"{tag} cancelled")
    messages = await ended(first)
    assert not any("id" in message for message in messages)
    assert f"{tag}-other cancelled" not in lab.witness.reports
    await other.notify("notifications/cancelled", {"requestId": 3})
    await lab.witness.saw(f"{tag}-other cancelled")
    await ended(second)
    assert (await session.call(f"{kind}__echo", {"text": "next"})).result()["content"]


async def test_check_73_somebody_else_cannot_cancel(lab: Lab) -> None:
    mine, other = await lab.a.session(), await lab.b.session()
    exchange = await mine.start("tools/call", {"name": "um__hold", "arguments": {"tag": "c73-mine"}}, id=3)
    await lab.witness.saw("c73-mine started")
    other.headers[0] = ("Mcp-Session-Id", mine.id)
    assert (await other.notify("notifications/cancelled", {"requestId": 3})).status == 404
    assert "c73-mine cancelled" not in lab.witness.reports
    await mine.notify("notifications/cancelled", {"requestId": 3})
    await lab.witness.saw("c73-mine cancelled")
    await ended(exchange)


@pytest.mark.parametrize("params", [None, [], {}, {"requestId": None}, {"requestId": {}}, {"requestId": 1.5}])
async def test_check_73_odd_cancellations_do_no_harm(lab: Lab, params: Any) -> None:
    session = await lab.client().session()
    assert (await session.notify("notifications/cancelled", params)).status in (202, 400)
    assert (await session.request("ping")).status == 200


async def test_check_73_a_request_of_a_batch_is_cancelled(lab: Lab) -> None:
    session = await lab.client().session("2025-03-26")
    call = {"name": "um__hold", "arguments": {"tag": "c73-batch"}}
    batch = [
        {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": call},
        {"jsonrpc": "2.0", "id": 4, "method": "ping"},
    ]
    body = json.dumps(batch).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        *session.headers,
    ]
    exchange = await session.client.open("POST", headers, body)
    await lab.witness.saw("c73-batch started")
    await session.notify("notifications/cancelled", {"requestId": 3})
    await lab.witness.saw("c73-batch cancelled")
    flat: list[Any] = []
    for message in await ended(exchange):
        flat += message if isinstance(message, list) else [message]
    assert [message["id"] for message in flat if "id" in message] == [4]


async def test_calls_survive_a_reload_of_the_configuration() -> None:
    release = asyncio.Event()

    async def late(_: Seen) -> Any:
        await release.wait()
        return text_result("late", resultType="complete")

    server = RawServer("modern", ("late",), behaviour={"tools/call late": late})
    async with gateway_over({"raw": server}) as running:
        exchange = await running.client().start("tools/call", {"name": "raw__late"})
        await server.arrival("tools/call")
        snapshot = running.gateway.snapshot
        running.gateway.apply(type(snapshot)(servers={}, namespaces={}, endpoints={}, keys={}))
        assert (await running.client().modern("tools/list")).status == 404
        release.set()
        answer = await asyncio.wait_for(exchange.answer(), 30)
        assert answer.result()["content"][0]["text"] == "late"
