"""Questions on one pipe for all: what comes on it says nothing of the call that it belongs to (eras.md 2.6)."""

import asyncio
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from metamcp_asgi.errors import UpstreamError, UpstreamTimeout
from metamcp_asgi.protocol.capabilities import Capabilities
from metamcp_asgi.upstream import sessions as sessions_module
from tests.serving import until
from tests.upstream.connecting import ADA, BOB, FORM, Client, call, connected, never, text

STDIO = textwrap.dedent(
    """
    import json, os, sys, threading

    lock = threading.Lock()

    def say(message):
        with lock:
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\\n")
            sys.stdout.flush()

    asked, level = {}, None
    for line in sys.stdin:
        message = json.loads(line)
        method, number, params = message.get("method"), message.get("id"), message.get("params", {})
        if method == "initialize":
            capabilities = {"tools": {}, "logging": {}}
            info = {"name": "raw", "version": "1"}
            told = {"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": info}
            say({"id": number, "result": told})
        elif method == "logging/setLevel":
            level = params["level"]
            say({"id": number, "result": {}})
        elif method == "tools/call":
            name, tag = params["name"], params["arguments"].get("tag", "")
            if name == "ask":
                asked["q"] = (number, tag)
                say({"id": "q", "method": "elicitation/create", "params": {"message": tag, "requestedSchema": {}}})
            elif name == "late":
                say({"id": number, "result": {"content": [{"type": "text", "text": "done"}]}})
                say({"id": "late", "method": "elicitation/create", "params": {"message": tag, "requestedSchema": {}}})
            elif name == "log":
                say({"method": "notifications/message", "params": {"level": "info", "data": tag}})
                say({"id": number, "result": {"content": [{"type": "text", "text": str(level)}]}})
        elif method == "notifications/cancelled":
            asked.pop("q", None)
        elif method is None and number == "q" and "q" in asked:
            number, tag = asked.pop("q")
            text = tag + json.dumps(message.get("result"))
            say({"id": number, "result": {"content": [{"type": "text", "text": text}]}})
        elif method is None and number == "late":
            with open(sys.argv[1] + ".part", "w") as file:
                json.dump(message, file)
            os.rename(sys.argv[1] + ".part", sys.argv[1])
    """
)


@pytest.fixture
def stdio(tmp_path: Path) -> dict[str, Any]:
    script = tmp_path / "server.py"
    script.write_text(STDIO)
    return {"command": sys.executable, "args": ["-I", "-S", str(script), str(tmp_path / "late.json")], "era": "legacy"}


async def test_two_principals_at_once_never_get_each_others_questions(stdio):
    async with connected(stdio) as server:

        async def one(number: int) -> None:
            client = Client(f"word {number}")
            outcome = await server.send(call("ask", client, tag=f"tag {number} "), (ADA, BOB)[number % 2])
            assert text(outcome) == f'tag {number} {{"action": "accept", "content": {{"word": "word {number}"}}}}'
            assert [params["message"] for _, params in client.questions] == [f"tag {number} "]

        async with asyncio.timeout(60):
            await asyncio.gather(*(one(number) for number in range(400)))


async def test_more_calls_than_sessions_wait_their_turn(stdio, monkeypatch):
    monkeypatch.setattr(sessions_module, "MAX_EXCLUSIVE", 1)
    thinking = asyncio.Event()

    async def think(question):
        await thinking.wait()
        return await Client("first").ask(question)

    async with connected({**stdio, "timeout": 10}) as server:
        client, second = Client(reply=think), Client("second")
        first = asyncio.create_task(server.send(call("ask", client, tag=""), ADA))
        await client.asked.wait()
        waiting = asyncio.create_task(server.send(call("ask", second, tag=""), ADA))
        gone = asyncio.create_task(server.send(call("ask", Client(), tag=""), ADA))
        await asyncio.sleep(0)
        gone.cancel()
        more = server.send(call("ask", Client(), FORM, tag=""), ADA)
        other = asyncio.create_task(more)
        assert "yes" in text(await server.send(call("ask", Client(), tag=""), BOB)), "others need not wait"
        assert not other.done(), "nor does it help to declare something else"
        assert second.questions == []
        thinking.set()
        assert "first" in text(await first)
        assert "second" in text(await waiting)
        assert "yes" in text(await other)


async def test_waiting_for_a_session_counts_against_the_calls_own_time(stdio, monkeypatch):
    monkeypatch.setattr(sessions_module, "MAX_EXCLUSIVE", 1)
    async with connected({**stdio, "timeout": 1.0}) as server:
        client = Client(reply=never)
        first = asyncio.create_task(server.send(call("ask", client, tag=""), ADA))
        await client.asked.wait()
        with pytest.raises(UpstreamTimeout):
            await server.send(call("ask", Client(), tag=""), ADA)
        assert not first.done(), "the one that waits for its client has all the time"
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert "yes" in text(await server.send(call("ask", Client(), tag=""), ADA)), "the session is free again"


async def test_a_question_after_the_end_of_its_call_is_put_to_nobody(stdio):
    answered = Path(stdio["args"][-1])

    def answer():
        return answered.exists() and json.loads(answered.read_text())

    async with connected(stdio) as server:
        client = Client()
        assert text(await server.send(call("late", client, tag="l"), ADA)) == "done"
        assert (await until(answer, within=20))["error"]["code"] == -32602
        assert client.questions == []
        assert "yes" in text(await server.send(call("ask", client, tag=""), ADA)), "the session is as good as before"


async def test_with_sharing_by_principal_a_question_has_to_be_unambiguous(stdio):
    async with connected({**stdio, "sharing": "principal"}) as server:
        thinking = asyncio.Event()

        async def think(question):
            await thinking.wait()
            return await Client("first").ask(question)

        client, second = Client(reply=think), Client()
        first = asyncio.create_task(server.send(call("ask", client, tag=""), ADA))
        await client.asked.wait()
        assert "yes" in text(await server.send(call("ask", Client(), tag=""), BOB))
        # The script would overwrite its one open question, so this one asks after its own end.
        assert text(await server.send(call("late", second, tag=""), ADA)) == "done"
        thinking.set()
        assert "first" in text(await first)
        assert second.questions == []


async def test_a_level_makes_a_session_of_ones_own_talk(stdio):
    async with connected(stdio) as server:
        ada, bob, nobody = Client(), Client(), Client()
        nothing = Capabilities()
        outcomes = await asyncio.gather(
            server.send(call("log", ada, nothing, "debug", tag="a"), ADA),
            server.send(call("log", bob, nothing, "error", tag="b"), BOB),
            server.send(call("log", nobody, nothing, None, tag="n"), ADA),
        )
        assert [text(outcome) for outcome in outcomes] == ["debug", "error", "None"]
        assert (ada.logs, bob.logs, nobody.logs) == (["a"], [], [])
        assert text(await server.send(call("log", bob, nothing, "info", tag="b2"), BOB)) == "info"
        assert text(await server.send(call("log", bob, nothing, "error", tag="b3"), BOB)) == "info"
        assert bob.logs == ["b2"]


async def test_a_reset_ends_these_sessions_too_and_later_calls_open_new_ones(stdio, monkeypatch):
    monkeypatch.setattr(sessions_module, "MAX_EXCLUSIVE", 1)
    async with connected(stdio) as server:
        client = Client(reply=never)
        first = asyncio.create_task(server.send(call("ask", client, tag=""), ADA))
        await client.asked.wait()
        waiting = asyncio.create_task(server.send(call("ask", Client(), tag=""), ADA))
        await asyncio.sleep(0)
        await server.reset()
        for each in (first, waiting):
            with pytest.raises(UpstreamError, match=r"exited|was stopped"):
                await each
        async with asyncio.timeout(20):
            await client.withdrawn.wait()
        assert "yes" in text(await server.send(call("ask", Client(), tag=""), ADA))


async def test_idle_sessions_are_closed(stdio):
    async with connected(stdio, idle=0.2) as server:
        for who in (ADA, BOB):
            await server.send(call("ask", Client(), tag=""), who)
        await until(lambda: not server._others._groups)
