"""What real servers ask reaches the client of the very request, in every transport and era (eras.md 2.2, 2.6)."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metamcp_asgi.protocol.capabilities import NOTHING
from metamcp_asgi.protocol.outcome import Failure, InputRequired, Outcome, Result
from metamcp_asgi.upstream.request import Answer
from metamcp_asgi.upstream.sharing import Affinity
from tests.places import client_python
from tests.processes import running
from tests.upstream.connecting import ADA, ALL, BOB, FORM, Client, call, connected, text

SCRIPT = Path(__file__).parent / "asking_server.py"
SDK = {"1": lambda: client_python("mcp-1.30.0"), "2": lambda: Path(sys.executable)}
LEGACY = ["1-stdio", "1-http", "1-sse", "2-stdio", "2-http", "2-sse"]


@contextlib.contextmanager
def entry(kind: str) -> Iterator[dict[str, Any]]:
    """Yields the configuration of a server, which runs meanwhile."""
    line, transport = kind.split("-")
    command = [str(SDK[line]()), str(SCRIPT), transport]
    if transport == "stdio":
        yield {"command": command[0], "args": command[1:]}
        return
    with running(command, r"ready (\S+)") as (_, ready):
        path, kind = ("/sse", "sse") if transport == "sse" else ("/mcp", "streamable_http")
        yield {"url": f"{ready[1]}{path}", "type": kind}


@pytest.fixture(scope="module", params=LEGACY)
def legacy(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    with entry(request.param) as config:
        yield {**config, "era": "legacy"}


@pytest.fixture(scope="module", params=["2-stdio", "2-http"])
def modern(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    with entry(request.param) as config:
        yield {**config, "era": "modern"}


def refused(outcome: Outcome) -> str:
    """Returns why a tool failed; the one line of the SDK says so with a result, the other with an error."""
    if isinstance(outcome, Failure):
        return outcome.message
    assert isinstance(outcome, Result)
    assert json.loads(bytes(outcome.raw))["isError"]
    return bytes(outcome.raw).decode()


async def test_each_kind_of_question_is_put_to_the_client_and_its_answer_goes_back(legacy):
    async with connected(legacy) as server:
        client = Client("blue")
        assert text(await server.send(call("ask", client, tag="a"), ADA)) == "a: blue"
        assert text(await server.send(call("sample", client, tag="b"), ADA)) == "b: blue"
        assert text(await server.send(call("roots", client), ADA)) == "file:///blue"
        assert [method for method, _ in client.questions] == [
            "elicitation/create",
            "sampling/createMessage",
            "roots/list",
        ]
        assert client.questions[0][1]["message"] == "Word for a?"


async def test_what_the_client_declines_is_declined(legacy):
    async def decline(question):
        return Answer(failure=Failure(-1, "User rejected sampling request"))

    async with connected(legacy) as server:
        assert "User rejected" in refused(await server.send(call("sample", Client(reply=decline), tag="b"), ADA))


async def test_what_was_not_declared_is_not_asked(legacy):
    async with connected(legacy) as server:
        client = Client()
        assert "not found" in refused(await server.send(call("sample", client, FORM, tag="b"), ADA))
        assert "not found" in refused(await server.send(call("ask", client, NOTHING, tag="b"), ADA))
        assert client.questions == []


async def test_nobody_gets_the_question_of_another(legacy):
    async with connected(legacy) as server:

        async def one(number: int) -> None:
            who = (ADA, BOB, Affinity("ada", "her session"))[number % 3]
            tag, client = f"tag {number}", Client(f"word {number}")
            assert text(await server.send(call("ask", client, tag=tag), who)) == f"{tag}: word {number}"
            assert [params["message"] for _, params in client.questions] == [f"Word for {tag}?"]

        async with asyncio.timeout(60):
            for start in range(0, 90, 6):
                await asyncio.gather(*(one(number) for number in range(start, start + 6)))


async def test_logs_are_shown_to_those_who_want_them_and_at_their_level(legacy):
    async with connected(legacy) as server:
        if "logging" not in server.peer.capabilities and legacy.get("type") != "streamable_http":
            pytest.skip("this SDK declares no logging, so nothing says whose its messages would be")
        clients = {level: Client() for level in ("debug", "warning")}
        await asyncio.gather(
            *(
                server.send(call("log", client, NOTHING, level, tag=level), who)
                for (level, client), who in zip(clients.items(), (ADA, BOB), strict=True)
            ),
            server.send(call("log", None, tag="nobody"), ADA),
        )
        assert clients["debug"].logs == ["debug debug", "debug info", "debug warning"]
        assert clients["warning"].logs == ["warning warning"]


class TestModern:
    async def test_a_call_that_needs_input_says_so_and_is_completed_by_the_next(self, modern):
        async with connected(modern) as server:
            outcome = await server.send(call("input_required", Client(), ALL), ADA)
            assert isinstance(outcome, InputRequired)
            assert outcome.state
            asked = json.loads(bytes(outcome.requests["w"]))
            assert (asked["method"], asked["params"]["message"]) == ("elicitation/create", "Word?")
            answer = {"w": {"action": "accept", "content": {"word": "blue"}}}
            more = {"inputResponses": answer, "requestState": outcome.state}
            done = await server.send(call("input_required", Client(), ALL, more=more), ADA)
            assert text(done) == 'kept: {"word": "blue"}'

    async def test_a_client_that_cannot_be_asked_is_not(self, modern):
        async with connected(modern) as server:
            outcome = await server.send(call("input_required"), ADA)
            assert not isinstance(outcome, InputRequired)

    async def test_the_log_level_is_that_of_the_request(self, modern):
        async with connected(modern) as server:
            client, silent = Client(), Client()
            assert text(await server.send(call("log", client, NOTHING, "info", tag="x"), ADA)) == "x"
            assert text(await server.send(call("log", silent, NOTHING, tag="y"), BOB)) == "y"
            assert client.logs == ["x info", "x warning"]
            assert silent.logs == []
