"""What waits for another process is bounded, and what it needs is never dropped."""

import pytest

from metamcp_asgi.protocol.jsonrpc import encode
from metamcp_asgi.upstream.companion import wire
from metamcp_asgi.upstream.companion.wire import Told
from metamcp_asgi.upstream.outbox import MAX_WAITING, MAX_WAITING_BYTES, Outbox


def told(text: str) -> Told:
    return Told(1, "log", {"data": encode(text)})


async def taken(outbox: Outbox) -> list[wire.ToWorker]:
    frames = []
    while (data := await outbox.next()) is not None:
        frames.append(wire.to_worker.decode(data))
    return frames


@pytest.mark.parametrize(("text", "most"), [("short", MAX_WAITING), ("x" * (1 << 20), MAX_WAITING_BYTES >> 20)])
async def test_a_server_that_logs_without_end_takes_no_memory_without_end(text: str, most: int) -> None:
    outbox = Outbox()
    for _ in range(3 * most):
        outbox.say(told(text))
    question = wire.Asks(1, 1, "elicitation/create", b"{}")
    outbox.say(question)
    outbox.end()
    frames = await taken(outbox)
    assert (len(frames), frames[-1]) == (most + 1, question)
    outbox.say(told("there is room again"))
    outbox.end()
    assert len(await taken(outbox)) == 1
