"""What a legacy server says while its call waits for a modern client: progress, log messages (eras.md 2.6 rule 5)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.gateway.client import CAPABILITIES, JSON
from tests.gateway.one_or_two import one_or_two
from tests.gateway.running import KEY_A
from tests.gateway.upstreams.raw import Seen, Stream, text_result
from tests.interaction.test_leaving import FORM, Asking
from tests.redis import Redis

pytestmark = pytest.mark.asyncio(loop_scope="session")

LEVEL = "io.modelcontextprotocol/logLevel"
PING: JSON = {"jsonrpc": "2.0", "id": "ping", "method": "ping"}
MANY = 40


class Talking(Asking):
    """A server that asks, goes on talking while it waits for the answer, and knows when all that was heard."""

    def __init__(self) -> None:
        self.parked = asyncio.Event()
        self.heard = asyncio.Event()
        super().__init__({"tools/call ask": lambda seen: Stream(self._talk(seen))})
        self.capabilities = {"tools": {}, "logging": {}}
        self.behaviour["logging/setLevel"] = {}

    async def _talk(self, seen: Seen) -> AsyncIterator[JSON | bytes]:
        token = seen.params["_meta"]["progressToken"]
        yield FORM
        await self.parked.wait()
        for number in range(1, MANY + 1):
            yield _notification("progress", progressToken=token, progress=number, total=MANY)
            level = "warning" if number % 2 else "debug"
            yield _notification("message", level=level, data=number)
        yield PING
        assert (await self.answers.get())["id"] == "ping"
        self.heard.set()
        await self.answers.get()
        yield {"jsonrpc": "2.0", "id": seen.message["id"], "result": text_result("done")}


def _notification(kind: str, **params: Any) -> JSON:
    return {"jsonrpc": "2.0", "method": f"notifications/{kind}", "params": params}


@pytest.mark.parametrize("wants_logs", [True, False])
async def test_a_client_that_comes_back_hears_what_it_missed(
    redis_or_none: Redis | None, prefix: str, wants_logs: bool
) -> None:
    server = Talking()
    async with one_or_two(server, redis_or_none, prefix) as (here, there):
        params: JSON = {"name": "raw__ask", "arguments": {}}
        able: JSON = {CAPABILITIES: {"elicitation": {}}, "progressToken": "one"}
        first = await here.client("keyed", KEY_A).modern("tools/call", params, meta=able)
        requests, state = first.result()["inputRequests"], first.result()["requestState"]
        server.parked.set()
        await asyncio.wait_for(server.heard.wait(), 30)
        answers = {key: {"action": "accept", "content": {}} for key in requests}
        more = {"progressToken": "two"} | ({LEVEL: "info"} if wants_logs else {})
        second = await there.client("keyed", KEY_A).modern(
            "tools/call", {**params, "requestState": state, "inputResponses": answers}, meta={**able, **more}
        )
        *news, last = second.messages()
        assert last["result"]["content"][0]["text"] == "done"
        # Of progress, only the last is news; of log messages, the last 32 were kept, half of them loud enough.
        progress = [m["params"] for m in news if m["method"] == "notifications/progress"]
        assert progress == [{"progressToken": "two", "progress": MANY, "total": MANY}]
        logs = [m["params"]["data"] for m in news if m["method"] == "notifications/message"]
        assert logs == (list(range(MANY - 31, MANY, 2)) if wants_logs else [])
