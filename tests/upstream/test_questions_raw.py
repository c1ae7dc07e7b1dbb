"""Questions that no orderly server asks: at the wrong time, on the wrong stream, of the wrong kind (eras.md 2.6)."""

import asyncio
import itertools
import json
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from metamcp_asgi.errors import UpstreamError, UpstreamTimeout
from metamcp_asgi.protocol.capabilities import Capabilities
from metamcp_asgi.upstream import dialogue as dialogue_module
from metamcp_asgi.upstream import sessions as sessions_module
from metamcp_asgi.upstream.sharing import Affinity
from tests.scripted import LegacyServer, ModernServer, Offer, body_of, reply
from tests.scripted import text as said
from tests.serving import serving, until
from tests.upstream.connecting import ADA, ALL, BOB, FORM, Client, call, connected, failure, never, text

FORM_PARAMS = {"message": "Word?", "requestedSchema": {"type": "object", "properties": {}}}


class Asking(LegacyServer):
    """A legacy server whose tools ask on the stream that they like, and which keeps what it is answered."""

    def __init__(self, **options: Any) -> None:
        super().__init__(Offer(), **options)
        self.numbers = itertools.count()
        self.answers: dict[str, dict[Any, dict[str, Any]]] = {}
        self.answered = asyncio.Condition()
        self.declared: dict[str, Any] = {}
        self.arrived: asyncio.Queue[str] = asyncio.Queue()
        self.go = asyncio.Event()
        self.at_start: dict[str, Any] | None = None
        self.queues: dict[str, asyncio.Queue[Any]] = {}
        for name in ("own", "other", "wait", "withdraw"):
            self.offer.add(name, getattr(self, name))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        session = dict(scope["headers"]).get(b"mcp-session-id", b"").decode()
        if scope["method"] == "POST":
            body = await body_of(receive)
            message = json.loads(body)
            if message.get("method") == "initialize":
                self.declared[f"next {len(self.opened)}"] = message["params"]["capabilities"]
            if "method" not in message:
                async with self.answered:
                    self.answers.setdefault(session, {})[message["id"]] = message
                    self.answered.notify_all()
                await reply(send, 202)
                return
            if message["method"] == "notifications/initialized" and self.at_start and session in self.queues:
                self.queues[session].put_nowait(self.at_start)

            async def again() -> dict[str, Any]:
                return {"type": "http.request", "body": body, "more_body": False}

            await super().__call__(scope, again, send)
        else:
            await super().__call__(scope, receive, send)

    async def _stream(self, headers: Any, receive: Any, send: Any) -> None:
        before = set(self.listeners)
        task = asyncio.ensure_future(super()._stream(headers, receive, send))
        await until(lambda: self.listeners - before or task.done())
        for queue in self.listeners - before:
            self.queues[headers[b"mcp-session-id"]] = queue
            if self.at_start:
                queue.put_nowait(self.at_start)
        await task

    async def answer(self, session: str, number: Any) -> dict[str, Any]:
        """Waits for the answer to a question."""
        async with asyncio.timeout(20), self.answered:
            await self.answered.wait_for(lambda: number in self.answers.get(session, {}))
            return self.answers[session][number]

    def question(self, method: str = "elicitation/create", params: Any = None) -> dict[str, Any]:
        params = FORM_PARAMS if params is None else params
        return {"jsonrpc": "2.0", "id": f"q{next(self.numbers)}", "method": method, "params": params}

    async def own(self, context: Any) -> Any:
        """Asks on the stream of the call."""
        question = self.question(context.arguments.get("method", "elicitation/create"), context.arguments.get("params"))
        await context.tell(question)
        answer = await self.answer(context.session, question["id"])
        return said(json.dumps(answer.get("result", answer.get("error"))))

    async def other(self, context: Any) -> Any:
        """Asks on the stream of the session, which belongs to no call."""
        await until(lambda: context.session in self.queues)
        question = self.question(context.arguments.get("method", "elicitation/create"))
        self.queues[context.session].put_nowait(question)
        answer = await self.answer(context.session, question["id"])
        return said(json.dumps(answer.get("result", answer.get("error"))))

    async def wait(self, context: Any) -> Any:
        self.arrived.put_nowait(context.session)
        await self.go.wait()
        return said("waited")

    async def withdraw(self, context: Any) -> Any:
        """Asks, and no longer wants to know."""
        question = self.question()
        await context.tell(question)
        self.arrived.put_nowait(context.session)
        await self.go.wait()
        params = {"requestId": question["id"]}
        await context.tell({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
        second = self.question()
        await context.tell(second)
        await self.answer(context.session, second["id"])
        return said("answered" if question["id"] in self.answers[context.session] else "not answered")


@pytest.fixture
async def up() -> AsyncIterator[tuple[Asking, dict[str, Any]]]:
    app = Asking()
    async with serving(app) as served:
        yield app, {"url": f"{served.origin}/mcp", "era": "legacy", "type": "streamable_http"}


class TestStreamableHTTP:
    async def test_the_shared_session_declares_nothing_and_others_what_their_client_did(self, up):
        app, config = up
        async with connected(config) as server:
            await server.send(call("own", Client(), FORM), ADA)
            assert list(app.declared.values()) == [{}, {"elicitation": {}}]

    async def test_with_shared_sharing_nobody_is_ever_asked(self, up):
        app, config = up
        async with connected({**config, "sharing": "shared"}) as server:
            client = Client()
            assert "-32601" in text(await server.send(call("own", client), ADA))
            assert client.questions == []
            assert list(app.declared.values()) == [{}]

    async def test_concurrent_calls_of_one_caller_share_a_session_and_each_gets_its_own_question(self, up):
        app, config = up
        async with connected(config) as server:
            clients = [Client(f"word {number}") for number in range(20)]
            outcomes = await asyncio.gather(*(server.send(call("own", client), ADA) for client in clients))
            for client, outcome in zip(clients, outcomes, strict=True):
                assert client.word in text(outcome)
                assert len(client.questions) == 1
            assert len(app.opened) == 2

    async def test_clients_with_other_capabilities_have_another_session(self, up):
        app, config = up
        async with connected(config) as server:
            for capabilities in (FORM, ALL, FORM):
                await server.send(call("own", Client(), capabilities), ADA)
            await server.send(call("own", Client(), FORM), BOB)
            assert len(app.opened) == 4

    async def test_a_stranger_has_a_session_for_the_call_alone(self, up):
        app, config = up
        async with connected(config) as server:
            for _ in range(2):
                assert "yes" in text(await server.send(call("own", Client()), Affinity()))
            await until(lambda: len(app.ended) == 2)

    async def test_a_question_on_the_sessions_stream_belongs_to_the_only_call(self, up):
        _, config = up
        async with connected(config) as server:
            client = Client("only")
            assert "only" in text(await server.send(call("other", client), ADA))
            assert len(client.questions) == 1

    async def test_a_question_on_the_sessions_stream_is_refused_when_it_could_be_anybodys(self, up):
        app, config = up
        async with connected(config) as server:
            waiting, client = Client(), Client()
            call_in_flight = asyncio.create_task(server.send(call("wait", waiting), ADA))
            await app.arrived.get()
            assert "-32602" in text(await server.send(call("other", client), ADA))
            app.go.set()
            await call_in_flight
            assert waiting.questions == client.questions == []

    async def test_a_question_on_the_stream_of_a_request_that_cannot_be_asked_is_not_put_to_another(self, up):
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
    async def test_what_was_not_declared_is_refused(self, up, capabilities, method, params, code):
        _, config = up
        async with connected(config) as server:
            client = Client()
            outcome = await server.send(call("own", client, capabilities, method=method, params=params), ADA)
            assert json.loads(text(outcome))["code"] == code
            assert client.questions == []

    async def test_a_question_that_the_server_withdraws_is_no_longer_put(self, up):
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

    async def test_a_question_of_a_cancelled_call_is_withdrawn_before_the_cancellation(self, up):
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

    async def test_roots_asked_for_at_the_start_are_those_of_the_first_call(self, up):
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

    async def test_roots_that_nobody_can_be_asked_for_are_none(self, up, monkeypatch):
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

    async def test_the_clock_stands_still_while_the_client_thinks(self, up):
        _, config = up

        async def slowly(question):
            await asyncio.sleep(0.8)
            return await Client("slow").ask(question)

        async with connected({**config, "timeout": 0.4}) as server:
            assert "slow" in text(await server.send(call("own", Client(reply=slowly)), ADA))
            with pytest.raises(UpstreamTimeout):
                await server.send(call("wait", Client()), ADA)

    async def test_logs_that_come_on_the_stream_of_a_call_are_its_own(self, up):
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


class TestStdio:
    """One pipe for all: what comes on it says nothing of the call that it belongs to."""

    async def test_two_principals_at_once_never_get_each_others_questions(self, stdio):
        async with connected(stdio) as server:

            async def one(number: int) -> None:
                client = Client(f"word {number}")
                outcome = await server.send(call("ask", client, tag=f"tag {number} "), (ADA, BOB)[number % 2])
                assert text(outcome) == f'tag {number} {{"action": "accept", "content": {{"word": "word {number}"}}}}'
                assert [params["message"] for _, params in client.questions] == [f"tag {number} "]

            async with asyncio.timeout(60):
                await asyncio.gather(*(one(number) for number in range(400)))

    async def test_more_calls_than_sessions_wait_their_turn(self, stdio, monkeypatch):
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

    async def test_waiting_for_a_session_counts_against_the_calls_own_time(self, stdio, monkeypatch):
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

    async def test_a_question_after_the_end_of_its_call_is_put_to_nobody(self, stdio):
        answered = Path(stdio["args"][-1])

        def answer():
            return answered.exists() and json.loads(answered.read_text())

        async with connected(stdio) as server:
            client = Client()
            assert text(await server.send(call("late", client, tag="l"), ADA)) == "done"
            assert (await until(answer, within=20))["error"]["code"] == -32602
            assert client.questions == []
            assert "yes" in text(await server.send(call("ask", client, tag=""), ADA)), (
                "the session is as good as before"
            )

    async def test_with_sharing_by_principal_a_question_has_to_be_unambiguous(self, stdio):
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

    async def test_a_level_makes_a_session_of_ones_own_talk(self, stdio):
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

    async def test_a_reset_ends_these_sessions_too_and_later_calls_open_new_ones(self, stdio, monkeypatch):
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

    async def test_idle_sessions_are_closed(self, stdio):
        async with connected(stdio, idle=0.2) as server:
            for who in (ADA, BOB):
                await server.send(call("ask", Client(), tag=""), who)
            await until(lambda: not server._others._groups)


MODERN_STDIO = textwrap.dedent(
    """
    import json, sys

    def say(message):
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\\n")
        sys.stdout.flush()

    held = []
    for line in sys.stdin:
        message = json.loads(line)
        method, number, params = message.get("method"), message.get("id"), message.get("params", {})
        if method == "server/discover":
            say({"id": number, "result": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}})
        elif method == "tools/call":
            held.append(number)
            tag, wait = params["arguments"]["tag"], params["arguments"]["wait"]
            if len(held) >= wait:
                if params["arguments"]["log"]:
                    say({"method": "notifications/message", "params": {"level": "info", "data": tag}})
                for each in held:
                    say({"id": each, "result": {"resultType": "complete", "content": [{"type": "text", "text": tag}]}})
                if params["arguments"]["log"]:
                    say({"method": "notifications/message", "params": {"level": "info", "data": "too late"}})
                held = []
    """
)


class TestModernStdio:
    """One process for all; a log message says nothing of its request, but there is none for who set no level."""

    @pytest.fixture
    def modern(self, tmp_path: Path) -> dict[str, Any]:
        script = tmp_path / "modern.py"
        script.write_text(MODERN_STDIO)
        return {"command": sys.executable, "args": ["-I", "-S", str(script)], "era": "modern"}

    async def both(self, server, *levels):
        clients = [Client() for _ in levels]
        sending = []
        for number, (client, level) in enumerate(zip(clients, levels, strict=True)):
            arguments = {"tag": str(number), "wait": len(levels), "log": True}
            sending.append(
                asyncio.create_task(server.send(call("t", client, ALL, level, **arguments), (ADA, BOB)[number]))
            )
        await asyncio.gather(*sending)
        await self.heard_out(server)
        return [client.logs for client in clients]

    async def heard_out(self, server):
        """Returns when what this server says after its responses has been read, as one more has come."""
        await server.send(call("t", Client(), ALL, None, tag="last", wait=1, log=False), ADA)

    async def test_it_is_that_of_the_only_request_with_a_level(self, modern):
        async with connected(modern) as server:
            assert await self.both(server, "debug", None) == [["1"], []]
            assert await self.both(server, None, "info") == [[], ["1"]]
            assert await self.both(server, "info") == [["0"]]

    async def test_with_two_it_could_be_anybodys_and_is_dropped(self, modern):
        async with connected(modern) as server:
            assert await self.both(server, "debug", "debug") == [[], []]

    async def test_a_cancelled_request_may_still_be_talked_about(self, modern):
        async with connected(modern) as server:
            gone = call("t", Client(), ALL, "debug", tag="gone", wait=2, log=True)
            sending = asyncio.create_task(server.send(gone, ADA))
            await until(lambda: server._main._channel._talking)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            client = Client()
            await server.send(call("t", client, ALL, "debug", tag="mine", wait=2, log=True), BOB)
            assert client.logs == []
            await self.heard_out(server)
            assert await self.both(server, "debug") == [["0"]], "its response has come meanwhile"


class Needing(ModernServer):
    """A modern server whose tool answers what it is told to."""

    def __init__(self) -> None:
        super().__init__(Offer())
        self.metas: list[dict[str, Any]] = []
        self.offer.add("need", self.need)

    async def need(self, context: Any) -> Any:
        self.metas.append(context.meta)
        return {"resultType": "input_required", **context.arguments}


class TestModern:
    @pytest.fixture
    async def up(self) -> AsyncIterator[tuple[Needing, dict[str, Any]]]:
        app = Needing()
        async with serving(app) as served:
            yield app, {"url": f"{served.origin}/mcp", "era": "modern", "type": "streamable_http"}

    async def test_capabilities_and_level_go_out_with_each_request(self, up):
        app, config = up
        async with connected(config) as server:
            await server.send(call("need", Client(), FORM, "error", requestState="s"), ADA)
            await server.send(call("need"), ADA)
        keys = [f"io.modelcontextprotocol/{key}" for key in ("clientCapabilities", "logLevel")]
        assert [app.metas[0].get(key) for key in keys] == [{"elicitation": {}}, "error"]
        assert [app.metas[1].get(key) for key in keys] == [{}, None]

    async def test_a_state_without_questions_is_passed_on(self, up):
        _, config = up
        async with connected(config) as server:
            outcome = await server.send(call("need", Client(), FORM, requestState="s"), ADA)
            assert (outcome.requests, outcome.state) == ({}, "s")

    @pytest.mark.parametrize(
        "result",
        [
            {},
            {"inputRequests": {}},
            {"inputRequests": []},
            {"requestState": 7},
            {"inputRequests": {"a": {"method": "ping"}}},
            {"inputRequests": {"a": {"params": {}}}},
            {"inputRequests": {"a": "elicitation/create"}},
        ],
    )
    async def test_what_is_malformed_is_never_passed_on(self, up, result):
        _, config = up
        async with connected(config) as server:
            assert failure(await server.send(call("need", Client(), FORM, **result), ADA)).code == -32603

    @pytest.mark.parametrize(
        "result",
        [
            {"inputRequests": {"a": {"method": "sampling/createMessage", "params": {}}}},
            {"inputRequests": {"a": {"method": "elicitation/create", "params": {"mode": "url"}}}},
            {
                "inputRequests": {
                    "a": {"method": "elicitation/create", "params": FORM_PARAMS},
                    "b": {"method": "roots/list"},
                }
            },
        ],
    )
    async def test_what_was_not_offered_is_never_passed_on(self, up, result):
        _, config = up
        async with connected(config) as server:
            assert failure(await server.send(call("need", Client(), FORM, **result), ADA)).code == -32021

    async def test_only_the_three_methods_may_ask(self, up):
        app, config = up

        async def complete(*_: Any) -> Any:
            return {"resultType": "input_required", "requestState": "s"}

        app.offer._answer = complete
        async with connected(config) as server:
            request = call("need", Client(), FORM)
            request.method = "completion/complete"
            assert failure(await server.send(request, ADA)).code == -32603
