"""The clients under soak. Each runs until it is told to stop, and has at most one call at a time.

Their calls carry ids that nobody else uses, and a result must have the id of its call in it.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import h11
import httpx2
from mcp import Client as SDKClient
from mcp.client.streamable_http import streamable_http_client

from tests.gateway.client import CAPABILITIES, JSON, Answer, Client, Session
from tests.gateway.running import KEY_A, KEY_B
from tests.soak.ledger import PATIENCE, Ledger

SERVERS = ("um", "us", "ul", "ux", "ud")
BROKEN = (OSError, h11.RemoteProtocolError, AssertionError)
"""A connection that broke: `Exchange` asserts that a response goes on."""


@dataclass(slots=True)
class Soak:
    """What all clients share."""

    port: int
    ledger: Ledger
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def client(self, number: int) -> Client:
        return Client(self.port, "keyed", (KEY_A, KEY_B)[number % 2])

    @contextlib.asynccontextmanager
    async def call(self, kind: str) -> AsyncIterator[str]:
        """Begins a call, whose end the block notes unless the connection breaks or nothing comes."""
        call = self.ledger.begin(kind)
        try:
            async with asyncio.timeout(PATIENCE):
                yield call
        except TimeoutError:
            self.ledger.end(call, "hung")
            self.ledger.violation(f"{call} had no answer within {PATIENCE:g} s")
        except BROKEN as error:
            self.ledger.end(call, "cut", f"{type(error).__name__}")

    def note(self, call: str, message: JSON, expected: str) -> None:
        """Notes a response."""
        if "error" in message:
            self.ledger.end(call, "error", f"{message['error']['code']} {message['error']['message'][:90]}")
            return
        result = message["result"]
        text = result["content"][0]["text"] if result.get("content") else str(result)
        if result.get("isError"):
            self.ledger.end(call, "error", _without_numbers(text))
            return
        self.ledger.end(call, "result")
        if text != expected:
            self.ledger.violation(f"{call} was answered {text!r}, which is not {expected!r}")


def _without_numbers(text: str) -> str:
    return "".join("#" if letter.isdecimal() else letter for letter in text)[:110]


async def modern(soak: Soak, number: int) -> None:
    """Calls tools of all servers, each call on a connection of its own."""
    client = soak.client(number)
    while not soak.over.is_set():
        async with soak.call("modern") as call:
            answer = await client.call(f"{random.choice(SERVERS)}__work", {"call": call})
            soak.note(call, answer.message(), call)


async def legacy(soak: Soak, number: int) -> None:
    """Calls tools in a session, and now and then in a new one."""
    client = soak.client(number)
    while not soak.over.is_set():
        session = await _session(soak, client)
        for _ in range(50):
            if session is None or soak.over.is_set():
                break
            async with soak.call("legacy") as call:
                answer = await session.call(f"{random.choice(SERVERS)}__work", {"call": call}, id=call)
                soak.note(call, answer.message(), call)
        await _end(session)


async def asked(soak: Soak, number: int) -> None:
    """Is asked for a word, and brings it with the repeated call, perhaps to another worker."""
    client = soak.client(number)
    forms: JSON = {CAPABILITIES: {"elicitation": {}}}
    while not soak.over.is_set():
        async with soak.call("modern, asked") as call:
            params: JSON = {"name": f"{random.choice(SERVERS)}__ask", "arguments": {"call": call}}
            message = (await client.modern("tools/call", params, meta=forms)).message()
            if message.get("result", {}).get("resultType") == "input_required":
                result = message["result"]
                if not all(call in each["params"]["message"] for each in result["inputRequests"].values()):
                    soak.ledger.violation(f"{call} was asked somebody else's question: {result['inputRequests']}")
                given = {"action": "accept", "content": {"word": f"word-{call}"}}
                params["inputResponses"] = dict.fromkeys(result["inputRequests"], given)
                if "requestState" in result:
                    params["requestState"] = result["requestState"]
                message = (await client.modern("tools/call", params, meta=forms)).message()
            soak.note(call, message, f"{call} word-{call}")


async def legacy_asked(soak: Soak, number: int) -> None:
    """Is asked for a word on the stream of its call, and answers with a request of its own."""
    client = soak.client(number)
    while not soak.over.is_set():
        session = await _session(soak, client, {"elicitation": {}})
        if session is None:
            continue
        async with soak.call("legacy, asked") as call:
            arguments = {"name": f"{random.choice(SERVERS)}__ask", "arguments": {"call": call}}
            exchange = await session.start("tools/call", arguments, id=call)
            try:
                await _answer(soak, session, exchange, call)
            finally:
                await exchange.close()
        await _end(session)


async def _answer(soak: Soak, session: Session, exchange: Any, call: str) -> None:
    await exchange.head()
    if (b"content-type", b"application/json") in exchange.headers:
        soak.note(call, (await exchange.answer()).message(), f"{call} word-{call}")
        return
    while "method" in (message := await exchange.message()):
        if "id" in message:
            if call not in message["params"]["message"]:
                soak.ledger.violation(f"{call} was asked somebody else's question: {message['params']}")
            given = {"action": "accept", "content": {"word": f"word-{call}"}}
            await session.respond(message, result=given)
    soak.note(call, message, f"{call} word-{call}")


async def leaving(soak: Soak, number: int) -> None:
    """Closes the connection in the middle of a call, which cancels it."""
    client = soak.client(number)
    while not soak.over.is_set():
        async with soak.call("modern, cancelling") as call:
            arguments = {"name": f"{random.choice(SERVERS)}__slow", "arguments": {"call": call}}
            exchange = await client.start("tools/call", arguments)
            await asyncio.sleep(random.uniform(0.05, 0.5))
            await exchange.close()
            soak.ledger.end(call, "left")


async def subscribed(soak: Soak, number: int) -> None:
    """Listens for changes, and listens again when the stream ends."""
    client = soak.client(number)
    wanted = {"toolsListChanged": True, "resourceSubscriptions": ["soak://doc"]}
    while not soak.over.is_set():
        with contextlib.suppress(*BROKEN, TimeoutError):
            if number % 2:
                exchange = await client.start("subscriptions/listen", {"notifications": wanted}, id=number)
            else:
                session = await _session(soak, client)
                if session is None:
                    continue
                exchange = await session.listen()
            try:
                async with asyncio.timeout(random.uniform(1, 15)):
                    while not soak.over.is_set():
                        soak.ledger.told += "method" in await exchange.message()
            finally:
                await exchange.close()


async def sdk(soak: Soak, number: int) -> None:
    """Is a client of the Python SDK, of either era."""
    mode = ("auto", "legacy")[number % 2]
    key = (KEY_A, KEY_B)[number % 2]
    while not soak.over.is_set():
        # What it raises when a connection breaks is its own matter; its calls are counted as cut.
        with contextlib.suppress(Exception):
            async with (
                httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE) as http,
                SDKClient(
                    streamable_http_client(f"http://127.0.0.1:{soak.port}/metamcp/keyed/mcp", http_client=http),
                    mode=mode,
                ) as client,
            ):
                await client.list_tools()
                for _ in range(30):
                    if soak.over.is_set():
                        break
                    await _sdk_call(soak, client, f"SDK, {mode}")


async def _sdk_call(soak: Soak, client: SDKClient, kind: str) -> None:
    call = soak.ledger.begin(kind)
    try:
        result = await client.call_tool(f"{random.choice(SERVERS)}__work", {"call": call})
    except asyncio.CancelledError:  # how its transport lets go of a caller
        soak.ledger.end(call, "cut", "SDK: cancelled")
        raise
    except Exception as error:
        code = getattr(getattr(error, "error", None), "code", None)
        text = str(error)
        clear = code is not None and "closed" not in text.lower()
        soak.ledger.end(
            call, "error" if clear else "cut", f"SDK: {type(error).__name__} {code} {_without_numbers(text)}"
        )
        raise
    block = result.content[0]
    soak.note(call, {"result": {"isError": result.is_error, "content": [{"text": getattr(block, "text", "")}]}}, call)


async def _session(soak: Soak, client: Client, capabilities: JSON | None = None) -> Session | None:
    with contextlib.suppress(*BROKEN, TimeoutError):
        return await client.session("2025-11-25", capabilities)
    await asyncio.sleep(0.1)
    return None


async def _end(session: Session | None) -> Answer | None:
    with contextlib.suppress(*BROKEN, TimeoutError):
        return await session.end() if session is not None else None
    return None


CROWD = ((modern, 8), (legacy, 4), (asked, 3), (legacy_asked, 2), (leaving, 2), (subscribed, 4), (sdk, 2))
"""How many of each there are."""
ANSWERED = ("modern", "legacy", "modern, asked", "legacy, asked", "SDK, auto", "SDK, legacy")
"""The kinds of their calls, but for those that are left before they have a result."""
