"""Questions at the wrong time, and clients that never come back (checks 68 and 69, eras.md 2.6)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.gateway.client import CAPABILITIES, JSON
from tests.gateway.running import gateway_over
from tests.gateway.upstreams.raw import Behaviour, Plain, RawServer, Seen, Stream, text_result

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOTS: JSON = {"jsonrpc": "2.0", "id": "at-start", "method": "roots/list"}
FORM: JSON = {
    "jsonrpc": "2.0",
    "id": "form",
    "method": "elicitation/create",
    "params": {"message": "Sure?", "requestedSchema": {"type": "object", "properties": {}}},
}
ABLE: JSON = {CAPABILITIES: {"elicitation": {}, "roots": {}}}


class Asking(RawServer):
    """A legacy server that takes the answers to its questions, which are no requests."""

    def __init__(self, behaviour: dict[str, Behaviour] | None = None) -> None:
        self.answers: asyncio.Queue[JSON] = asyncio.Queue()
        super().__init__("legacy", ("ask", "echo"), {"": self._answered, **(behaviour or {})})

    def _answered(self, seen: Seen) -> Plain:
        self.answers.put_nowait(seen.message)
        return Plain(202)


async def test_check_68_roots_at_the_start_of_a_session() -> None:
    server = Asking()

    async def ask() -> JSON:
        await server.listening.wait()
        for queue in server.listeners:
            queue.put_nowait(ROOTS)
        return await server.answers.get()

    asks = asyncio.create_task(ask())
    async with gateway_over({"old": server}) as running:
        async with asyncio.timeout(15):
            answer = await asks
        assert answer["id"] == "at-start"
        # Nobody can be asked outside of a call, so it is answered here, with nothing of anybody's.
        assert answer.get("result") == {"roots": []} or "error" in answer
        listed = (await running.client().modern("tools/list", meta=ABLE)).result()
        assert [tool["name"] for tool in listed["tools"]] == ["old__ask", "old__echo"]
        assert "inputRequests" not in listed
        assert (await running.client().call("old__echo", meta=ABLE)).result()["resultType"] == "complete"


@pytest.mark.parametrize("ends", [True, False])
async def test_check_69_a_call_that_nobody_comes_back_for(ends: bool) -> None:
    async def asks(seen: Seen) -> AsyncIterator[JSON | bytes]:
        yield FORM
        answer = await server.answers.get()
        taken.set_result(answer)
        if not ends:
            await asyncio.Event().wait()
        yield {"jsonrpc": "2.0", "id": seen.message["id"], "result": text_result("given up")}

    taken: asyncio.Future[JSON] = asyncio.get_running_loop().create_future()
    server = Asking({"tools/call ask": lambda seen: Stream(asks(seen))})
    async with gateway_over({"old": server}, input_seconds=0.2) as running:
        client = running.client()
        first = (await client.call("old__ask", meta=ABLE)).result()
        assert first["resultType"] == "input_required"
        async with asyncio.timeout(15):
            assert (await taken)["result"] == {"action": "cancel"}
        if not ends:
            cancelled = await server.arrival("notifications/cancelled")
            assert cancelled.params["requestId"] == server.last("tools/call").message["id"]
        given: JSON = {"name": "old__ask", "arguments": {}, "requestState": first["requestState"]}
        answers = {key: {"action": "accept", "content": {}} for key in first["inputRequests"]}
        late = await client.modern("tools/call", {**given, "inputResponses": answers}, meta=ABLE)
        assert late.code() == -32602
        assert (await client.call("old__echo", meta=ABLE)).result()["resultType"] == "complete"
