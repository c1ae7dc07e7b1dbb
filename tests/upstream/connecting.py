"""One server's upstream side alone, as the core uses it: requests with somebody who answers questions."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from msgspec import Raw

from metamcp_asgi.config.file import compile_document
from metamcp_asgi.protocol.capabilities import Capabilities
from metamcp_asgi.protocol.outcome import Failure, Outcome, Result
from metamcp_asgi.upstream.request import Answer, Question, Request
from metamcp_asgi.upstream.runtime import Runtime
from metamcp_asgi.upstream.server import Happening, Server
from metamcp_asgi.upstream.sharing import Affinity

ALL = Capabilities(form=True, url=True, sampling=True, roots=True)
FORM = Capabilities(form=True)
ADA, BOB = Affinity("ada"), Affinity("bob")


class Client:
    """Who is behind one request: answers questions, keeps what it was asked and shown.

    Args:
        reply: Returns the answer to a question; by default every question is accepted with `word`.
        word: That word.
    """

    def __init__(self, word: str = "yes", reply: Callable[[Question], Any] | None = None) -> None:
        self.word = word
        self.questions: list[tuple[str, dict[str, Any]]] = []
        self.logs: list[str] = []
        self.asked = asyncio.Event()
        self.withdrawn = asyncio.Event()
        self._reply = reply

    async def ask(self, question: Question) -> Answer:
        self.questions.append((question.method, json.loads(bytes(question.params))))
        self.asked.set()
        try:
            if self._reply is not None:
                answer: Answer = await self._reply(question)
                return answer
        except asyncio.CancelledError:
            self.withdrawn.set()
            raise
        return result_for(question.method, self.word)

    def log(self, members: dict[str, Raw]) -> None:
        self.logs.append(json.loads(bytes(members["data"])))


def result_for(method: str, word: str) -> Answer:
    """Returns what a friendly client answers."""
    results: dict[str, Any] = {
        "elicitation/create": {"action": "accept", "content": {"word": word}},
        "sampling/createMessage": {"role": "assistant", "model": "m", "content": {"type": "text", "text": word}},
        "roots/list": {"roots": [{"uri": f"file:///{word}"}]},
    }
    return Answer(raw(results[method]))


def raw(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())


async def never(question: Question) -> Answer:
    """Thinks about it for ever."""
    await asyncio.Event().wait()
    raise AssertionError


def call(
    name: str,
    client: Client | None = None,
    capabilities: Capabilities = ALL,
    level: str | None = None,
    more: dict[str, Any] | None = None,
    **arguments: Any,
) -> Request:
    """Returns the request for a tool; `more` are further params."""
    params = {
        "name": raw(name),
        "arguments": raw(arguments),
        **{key: raw(value) for key, value in (more or {}).items()},
    }
    request = Request("tools/call", params, name=name)
    if client is not None:
        request.capabilities, request.ask, request.on_log = capabilities, client.ask, client.log
        request.log_level = level
    return request


def text(outcome: Outcome) -> str:
    """Returns the text of a tool's result."""
    assert isinstance(outcome, Result), outcome
    members = {name: json.loads(bytes(value)) for name, value in outcome.split().items()}
    assert not members.get("isError"), members
    said: str = members["content"][0]["text"]
    return said


def failure(outcome: Outcome | Failure | None) -> Failure:
    assert isinstance(outcome, Failure), outcome
    return outcome


class Happenings:
    """What a server told its listener."""

    def __init__(self) -> None:
        self.all: list[Happening] = []
        self._more = asyncio.Event()

    def __call__(self, server: Server, happening: Happening) -> None:
        self.all.append(happening)
        self._more.set()

    async def wait(self, happening: Happening, times: int = 1) -> None:
        async with asyncio.timeout(20):
            while self.all.count(happening) < times:
                self._more.clear()
                await self._more.wait()


@contextlib.asynccontextmanager
async def connected(
    config: dict[str, Any], happened: Happenings | None = None, idle: float = 300.0, **shared: Any
) -> AsyncIterator[Server]:
    """Runs the upstream side of the server with that entry of `mcpServers`, in a `Runtime` with these arguments."""
    snapshot = compile_document({"mcpServers": {"s": config}}, environ={})
    runtime = Runtime(**shared)
    server = Server(snapshot.servers["s"], runtime, happened or Happenings(), idle_seconds=idle)
    server.start()
    try:
        await server.settled()
        assert server.state == "ready", (server.error, server.stderr)
        yield server
    finally:
        await server.aclose()
        await runtime.aclose()
