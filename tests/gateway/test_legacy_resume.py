"""Streams of legacy clients that break off and are resumed: acceptance check 32 and what belongs to it (T-54, T-58)."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import pytest

from metamcp_asgi.downstream import reply, resume
from tests.gateway.client import JSON, Client, Exchange, Session, events_of
from tests.gateway.running import KEY_A, KEY_B, RunningGateway, gateway_over
from tests.gateway.test_legacy_asking import ACCEPTED, EVERYTHING, FORM, answers, asked, asking_server
from tests.gateway.upstreams.raw import RawServer, Seen, Stream, text_result
from tests.lab.running import Lab

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Steps:
    """A server whose tool reports a step whenever the test lets it."""

    def __init__(self) -> None:
        self.allowed: dict[int, asyncio.Queue[bool]] = defaultdict(asyncio.Queue)
        self.taken: asyncio.Queue[int] = asyncio.Queue()
        self.server = RawServer("modern", ("steps",), {"tools/call steps": lambda seen: Stream(self._run(seen))})

    async def _run(self, seen: Seen) -> AsyncIterator[JSON | bytes]:
        token, step = seen.params["_meta"]["progressToken"], 0
        while await self.allowed[seen.params["arguments"]["number"]].get():
            step += 1
            params = {"progressToken": token, "progress": step}
            yield {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
            self.taken.put_nowait(step)
        yield {"jsonrpc": "2.0", "id": seen.message["id"], "result": text_result("done", resultType="complete")}

    async def step(self, number: int = 3) -> None:
        self.allowed[number].put_nowait(True)
        await self.taken.get()

    def finish(self, number: int = 3) -> None:
        self.allowed[number].put_nowait(False)


class Events:
    """Reads the events of a stream with their ids."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.ids: list[str] = []
        self.messages: list[JSON] = []
        self._chunks = exchange.chunks()
        self._rest = b""

    async def next(self) -> bool:
        """Reads the next event; returns whether there was one."""
        async with asyncio.timeout(15):
            while b"\r\n\r\n" not in self._rest:
                try:
                    self._rest += await anext(self._chunks)
                except StopAsyncIteration:
                    return False
        block, _, self._rest = self._rest.partition(b"\r\n\r\n")
        if block.startswith(b":"):
            return await self.next()
        fields = dict(line.split(": ", 1) for line in block.decode().split("\r\n") if ": " in line)
        self.ids.append(fields["id"])
        if data := events_of(block):
            self.messages.append(json.loads(data[0]))
        return True

    async def until(self, messages: int) -> None:
        while len(self.messages) < messages:
            assert await self.next()

    async def to_the_end(self) -> None:
        while await self.next():
            pass

    @property
    def progress(self) -> list[Any]:
        return [message["params"]["progress"] for message in self.messages if "method" in message]


async def started(session: Session, number: int = 3) -> Events:
    call = {"name": "raw__steps", "arguments": {"number": number}, "_meta": {"progressToken": "p"}}
    return Events(await session.start("tools/call", call, id=number))


async def resumed(session: Session, event_id: str) -> Events:
    return Events(await session.listen([("Last-Event-ID", event_id)]))


async def test_check_32_a_stream_is_resumed_and_ends_with_its_response() -> None:
    steps = Steps()
    async with gateway_over({"raw": steps.server}) as running:
        session = await running.client().session("2025-11-25")
        first = await started(session)
        await steps.step()
        await steps.step()
        await first.exchange.head()
        await first.until(1)
        assert len(first.ids) == 2
        assert len(set(first.ids)) == 2
        await first.exchange.close()
        await steps.step()
        steps.finish()
        again = await resumed(session, first.ids[1])
        await again.to_the_end()
        assert again.progress == [2, 3]
        assert again.messages[-1]["id"] == 3
        assert sum("result" in message for message in again.messages) == 1
        assert not set(again.ids) & set(first.ids)


async def test_check_32_a_stream_is_resumed_while_the_call_runs() -> None:
    steps = Steps()
    async with gateway_over({"raw": steps.server}) as running:
        session = await running.client().session("2025-11-25")
        first = await started(session)
        await steps.step()
        await first.exchange.head()
        await first.until(1)
        # Not closed: a proxy may hold it open. Whatever comes now goes to the newer stream, and to no other.
        again = await resumed(session, first.ids[0])
        await again.until(1)
        await steps.step()
        await again.until(2)
        await first.to_the_end()
        assert first.progress == [1]
        third = await resumed(session, again.ids[-1])
        steps.finish()
        await third.to_the_end()
        await again.to_the_end()
        assert again.progress == [1, 2]
        assert [message["id"] for message in third.messages] == [3]


async def test_check_32_nothing_of_other_streams() -> None:
    steps = Steps()
    async with gateway_over({"raw": steps.server}) as running:
        session = await running.client().session("2025-11-25")
        one, two = await started(session, 1), await started(session, 2)
        await steps.step(1)
        await steps.step(2)
        for events in (one, two):
            await events.exchange.head()
            await events.until(1)
            await events.exchange.close()
        steps.finish(1)
        steps.finish(2)
        again = await resumed(session, two.ids[0])
        await again.to_the_end()
        assert [message.get("id") for message in again.messages] == [None, 2]


async def refused(client: Client, session: Session, event_id: str) -> int:
    headers = [("Accept", "text/event-stream"), ("Last-Event-ID", event_id), *session.headers]
    return (await client.send("GET", headers)).status


async def done(running: RunningGateway, session: Session, steps: Steps) -> Events:
    events = await started(session)
    await steps.step()
    steps.finish()
    await events.exchange.head()
    await events.to_the_end()
    return events


async def test_only_the_session_itself_resumes_its_streams() -> None:
    steps = Steps()
    async with gateway_over({"raw": steps.server}) as running:
        mine = await running.client("keyed", KEY_A).session("2025-11-25")
        events = await done(running, mine, steps)
        for key in (KEY_A, KEY_B):
            client = running.client("keyed", key)
            assert await refused(client, await client.session("2025-11-25"), events.ids[0]) == 400
        record, _, _ = events.ids[0].rpartition("-")
        for odd in (f"{record}-99", f"{record}-x", f"{record[:-1]}{'1' if record.endswith('0') else '0'}-0"):
            assert await refused(mine.client, mine, odd) == 400
        again = await resumed(mine, events.ids[0])
        await again.to_the_end()
        assert again.messages == events.messages


async def test_a_strange_event_id_is_no_reason_to_refuse_the_stream_of_the_session(lab: Lab) -> None:
    session = await lab.client().session("2025-11-25")
    stream = await session.listen([("Last-Event-ID", "7")])
    await stream.close()


async def test_only_so_many_events_are_kept() -> None:
    steps = Steps()
    async with gateway_over({"raw": steps.server}, resume_events=2) as running:
        session = await running.client().session("2025-11-25")
        events = await started(session)
        for _ in range(3):
            await steps.step()
        steps.finish()
        await events.exchange.head()
        await events.to_the_end()
        assert await refused(session.client, session, events.ids[0]) == 400
        again = await resumed(session, events.ids[2])
        await again.to_the_end()
        assert again.progress == [3]


async def test_streams_are_kept_for_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "SECONDS", 0.01)
    steps = Steps()
    async with gateway_over({"raw": steps.server}) as running:
        session = await running.client().session("2025-11-25")
        events = await done(running, session, steps)
        async with asyncio.timeout(15):
            while await refused(session.client, session, events.ids[0]) != 400:
                pass


async def test_without_a_number_of_events_there_are_no_ids() -> None:
    steps = Steps()
    async with gateway_over({"raw": steps.server}, resume_events=0) as running:
        session = await running.client().session("2025-11-25")
        exchange = (await started(session)).exchange
        await steps.step()
        steps.finish()
        answer = await exchange.answer()
        assert b"id: " not in answer.body
        assert len(answer.messages()) == 2


async def test_a_question_is_asked_again_on_the_resumed_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply, "GRACE", 3600)
    async with gateway_over({"raw": asking_server(FORM)}) as running:
        session = await running.client().session("2025-11-25", EVERYTHING)
        first = Events(await asked(session))
        await first.until(1)
        question = first.messages[0]
        await first.exchange.close()
        again = await resumed(session, first.ids[0])
        await again.until(1)
        assert again.messages[0] == question
        await session.respond(question, result=ACCEPTED)
        await again.to_the_end()
        assert answers(again.messages[-1]) == {"q0": ACCEPTED}
