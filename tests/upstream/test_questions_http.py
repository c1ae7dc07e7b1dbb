"""Questions that no orderly server asks over HTTP: at the wrong time, on the wrong stream, of the wrong kind."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from metamcp_asgi.errors import UpstreamTimeout
from metamcp_asgi.protocol.capabilities import Capabilities
from metamcp_asgi.upstream import dialogue as dialogue_module
from metamcp_asgi.upstream.sharing import Affinity
from tests.scripted import text as said
from tests.serving import serving, until
from tests.upstream.asking_raw import FORM_PARAMS, Asking
from tests.upstream.connecting import ADA, ALL, BOB, FORM, Client, call, connected, never, text


@pytest.fixture
async def up() -> AsyncIterator[tuple[Asking, dict[str, Any]]]:
    app = Asking()
    async with serving(app) as served:
        yield app, {"url": f"{served.origin}/mcp", "era": "legacy", "type": "streamable_http"}


async def test_the_shared_session_declares_nothing_and_others_what_their_client_did(up):
    app, config = up
    async with connected(config) as server:
        await server.send(call("own", Client(), FORM), ADA)
        assert list(app.declared.values()) == [{}, {"elicitation": {}}]


async def test_with_shared_sharing_nobody_is_ever_asked(up):
    app, config = up
    async with connected({**config, "sharing": "shared"}) as server:
        client = Client()
        assert "-32601" in text(await server.send(call("own", client), ADA))
        assert client.questions == []
        assert list(app.declared.values()) == [{}]


async def test_concurrent_calls_of_one_caller_share_a_session_and_each_gets_its_own_question(up):
    app, config = up
    async with connected(config) as server:
        clients = [Client(f"word {number}") for number in range(20)]
        outcomes = await asyncio.gather(*(server.send(call("own", client), ADA) for client in clients))
        for client, outcome in zip(clients, outcomes, strict=True):
            assert client.word in text(outcome)
            assert len(client.questions) == 1
        assert len(app.opened) == 2


async def test_clients_with_other_capabilities_have_another_session(up):
    app, config = up
    async with connected(config) as server:
        for capabilities in (FORM, ALL, FORM):
            await server.send(call("own", Client(), capabilities), ADA)
        await server.send(call("own", Client(), FORM), BOB)
        assert len(app.opened) == 4


async def test_a_stranger_has_a_session_for_the_call_alone(up):
    app, config = up
    async with connected(config) as server:
        for _ in range(2):
            assert "yes" in text(await server.send(call("own", Client()), Affinity()))
        await until(lambda: len(app.ended) == 2)


async def test_a_question_on_the_sessions_stream_belongs_to_the_only_call(up):
    _, config = up
    async with connected(config) as server:
        client = Client("only")
        assert "only" in text(await server.send(call("other", client), ADA))
        assert len(client.questions) == 1


async def test_a_question_on_the_sessions_stream_is_refused_when_it_could_be_anybodys(up):
    app, config = up
    async with connected(config) as server:
        waiting, client = Client(), Client()
        call_in_flight = asyncio.create_task(server.send(call("wait", waiting), ADA))
        await app.arrived.get()
        assert "-32602" in text(await server.send(call("other", client), ADA))
        app.go.set()
        await call_in_flight
        assert waiting.questions == client.questions == []


async def test_a_question_on_the_stream_of_a_request_that_cannot_be_asked_is_not_put_to_another(up):
    app, config = up
    async with connected({**config, "sharing": "principal"}) as server:
        waiting = Client()
        in_flight = asyncio.create_task(server.send(call("wait", waiting), ADA))
        await app.arrived.get()
        request = call("own")
        request.capabilities = ALL
        assert "-32601" in text(await server.send(request, ADA)), "nothing was declared in its session"
        app.go.set()
        await in_flight
        assert waiting.questions == []


@pytest.mark.parametrize(
    ("capabilities", "method", "params", "code"),
    [
        (FORM, "sampling/createMessage", {"messages": [], "maxTokens": 1}, -32601),
        (FORM, "roots/list", {}, -32601),
        (FORM, "elicitation/create", {"mode": "url", "url": "https://x.example", "message": "m"}, -32602),
        (Capabilities(url=True), "elicitation/create", FORM_PARAMS, -32602),
        (Capabilities(roots=True), "elicitation/create", FORM_PARAMS, -32601),
        (ALL, "sampling/createMessage", {"messages": [], "maxTokens": 1, "tools": []}, -32602),
        (ALL, "elicitation/create", {"mode": 7}, -32602),
        (ALL, "tasks/list", {}, -32601),
    ],
)
async def test_what_was_not_declared_is_refused(up, capabilities, method, params, code):
    _, config = up
    async with connected(config) as server:
        client = Client()
        outcome = await server.send(call("own", client, capabilities, method=method, params=params), ADA)
        assert json.loads(text(outcome))["code"] == code
        assert client.questions == []


async def test_a_question_that_the_server_withdraws_is_no_longer_put(up):
    app, config = up

    async def first_never(question):
        return await never(question) if len(client.questions) == 1 else (await Client().ask(question))

    async with connected(config) as server:
        client = Client(reply=first_never)
        in_flight = asyncio.create_task(server.send(call("withdraw", client), ADA))
        await app.arrived.get()
        await client.asked.wait()
        app.go.set()
        async with asyncio.timeout(20):
            await client.withdrawn.wait()
        assert text(await in_flight) == "not answered"


async def test_a_question_of_a_cancelled_call_is_withdrawn_before_the_cancellation(up):
    app, config = up
    async with connected(config) as server:
        client = Client(reply=never)
        in_flight = asyncio.create_task(server.send(call("own", client), ADA))
        await client.asked.wait()
        in_flight.cancel()
        await asyncio.gather(in_flight, return_exceptions=True)
        session = app.offer.executed[-1][1]
        assert (await app.answer(session, "q0"))["result"] == {"action": "cancel"}
        async with asyncio.timeout(20):
            await client.withdrawn.wait()
            await until(lambda: app.cancelled)


async def test_roots_asked_for_at_the_start_are_those_of_the_first_call(up):
    app, config = up
    app.at_start = {"jsonrpc": "2.0", "id": "start", "method": "roots/list"}
    async with connected(config) as server:
        client = Client("home")
        in_flight = asyncio.create_task(server.send(call("wait", client), ADA))
        async with asyncio.timeout(20):
            await client.asked.wait()
        app.go.set()
        await in_flight
        session = app.offer.executed[-1][1]
        assert (await app.answer(session, "start"))["result"] == {"roots": [{"uri": "file:///home"}]}


async def test_roots_that_nobody_can_be_asked_for_are_none(up, monkeypatch):
    monkeypatch.setattr(dialogue_module, "ROOTS_WAIT", 0.05)
    app, config = up
    async with connected(config) as server:
        await server.send(call("own", Client(), ALL), ADA)
        session = app.offer.executed[-1][1]
        await until(lambda: session in app.queues)
        app.queues[session].put_nowait({"jsonrpc": "2.0", "id": "r", "method": "roots/list"})
        app.queues[session].put_nowait(app.question() | {"id": "e"})
        assert (await app.answer(session, "r"))["result"] == {"roots": []}
        assert (await app.answer(session, "e"))["error"]["code"] == -32602


async def test_the_clock_stands_still_while_the_client_thinks(up):
    _, config = up

    async def slowly(question):
        await asyncio.sleep(0.8)
        return await Client("slow").ask(question)

    async with connected({**config, "timeout": 0.4}) as server:
        assert "slow" in text(await server.send(call("own", Client(reply=slowly)), ADA))
        with pytest.raises(UpstreamTimeout):
            await server.send(call("wait", Client()), ADA)


async def test_logs_that_come_on_the_stream_of_a_call_are_its_own(up):
    app, config = up

    async def talk(context):
        for level in ("debug", "error"):
            params = {"level": level, "data": f"{context.arguments['tag']} {level}"}
            await context.tell({"jsonrpc": "2.0", "method": "notifications/message", "params": params})
        return said("ok")

    app.offer.add("talk", talk)
    async with connected(config) as server:
        clients = [Client() for _ in range(6)]
        levels = ["debug", "warning", None] * 2
        await asyncio.gather(
            *(
                server.send(call("talk", client, Capabilities(), level, tag=str(number)), ADA)
                for number, (client, level) in enumerate(zip(clients, levels, strict=True))
            )
        )
        assert [client.logs for client in clients] == [
            ["0 debug", "0 error"],
            ["1 error"],
            ["2 debug", "2 error"],
            ["3 debug", "3 error"],
            ["4 error"],
            ["5 debug", "5 error"],
        ]
        assert "logging/setLevel" not in app.offer.asked, "it declares no logging"
