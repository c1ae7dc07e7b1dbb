"""Streams whose clients do not read, and how many anybody may have; a test is the client at the ASGI channel."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable

import pytest
from msgspec.structs import replace
from starlette.types import Message

from metamcp_asgi.config.snapshot import ANONYMOUS, Principal
from metamcp_asgi.downstream import streams as room
from metamcp_asgi.downstream.streams import LEAST_SHARE, MAX_WAITING, Put, Streams

A = Principal("a", "key")
B = Principal("b", "key")
MEGABYTE = 1 << 20


class Reader:
    """A client that reads while it likes to, and does not leave."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.reads.set()
        self.stuck = asyncio.Event()
        self.more = asyncio.Event()
        self.body = b""
        self.ended = False
        self.largest = 0

    async def receive(self) -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Message) -> None:
        if not self.reads.is_set():
            self.stuck.set()
        await self.reads.wait()
        if message["type"] == "http.response.body":
            self.body += message["body"]
            self.largest = max(self.largest, len(message["body"]))
            self.ended = not message.get("more_body", False)
        self.more.set()

    async def until(self, end: bytes) -> None:
        async with asyncio.timeout(30):
            while not self.body.endswith(end):
                self.more.clear()
                await self.more.wait()

    async def stop(self, put: Put) -> None:
        """Stops to read, and waits until something cannot be sent to it."""
        self.reads.clear()
        put(b"first")
        async with asyncio.timeout(30):
            await self.stuck.wait()


class Served:
    """One open stream."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.reader = Reader()
        self.begun = asyncio.Event()
        self.put: Put
        self.over = asyncio.create_task(
            streams.serve(self.reader.receive, self.reader.send, self._begin, whose=("open", A), key=b"k", last=b"last")
        )

    def _begin(self, put: Put) -> Callable[[], None]:
        self.put = put
        self.begun.set()
        return self.begun.clear


@contextlib.asynccontextmanager
async def served(streams: Streams) -> AsyncIterator[Served]:
    serving = Served(streams)
    async with asyncio.timeout(30):
        await serving.begun.wait()
    await serving.reader.until(b"\n")
    yield serving
    serving.over.cancel()
    await asyncio.gather(serving.over, return_exceptions=True)


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Streams:
    monkeypatch.setattr(room, "GRACE_SECONDS", 0.05)
    return Streams(64, 30)


@pytest.mark.parametrize("how", ["end", "keep", "close"])
async def test_a_stream_that_is_ended_is_over_whether_its_client_reads_or_not(streams: Streams, how: str) -> None:
    async with served(streams) as stream:
        await stream.reader.stop(stream.put)
        if how == "end":
            streams.end(b"k")
        elif how == "keep":
            streams.keep(lambda endpoint, principal: False)
        else:
            streams.close()
        await asyncio.wait_for(stream.over, 30)
        assert not stream.begun.is_set()
        assert not streams.has(b"k")
        assert not stream.reader.ended


async def test_a_client_that_reads_is_told_the_end(streams: Streams) -> None:
    async with served(streams) as stream:
        streams.end(b"k")
        await asyncio.wait_for(stream.over, 30)
        assert stream.reader.ended
        assert stream.reader.body.endswith(b"last")


async def test_nobody_waits_for_ever_for_a_client_to_read_on(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(streams) as stream:
        monkeypatch.setattr(room, "STALL_SECONDS", 0.05)
        await stream.reader.stop(stream.put)
        await asyncio.wait_for(stream.over, 30)
        assert not streams.has(b"k")


@pytest.mark.parametrize(("size", "count"), [(1, MAX_WAITING + 1), (MEGABYTE, 5)])
async def test_too_much_that_waits_ends_the_stream(streams: Streams, size: int, count: int) -> None:
    async with served(streams) as stream:
        await stream.reader.stop(stream.put)
        for _ in range(count):
            stream.put(b"x" * size)
        assert not streams.put(b"k", b"after the end")
        stream.reader.reads.set()
        await asyncio.wait_for(stream.over, 30)
        assert stream.reader.body.endswith(b"firstlast")


async def test_one_large_event_may_pass_in_parts(streams: Streams) -> None:
    async with served(streams) as stream:
        stream.put(b"x" * 6 * MEGABYTE + b"!")
        await stream.reader.until(b"!")
        assert stream.reader.body.count(b"x") == 6 * MEGABYTE
        assert stream.reader.largest < MEGABYTE


async def test_what_can_wait_for_room_ends_no_stream(streams: Streams) -> None:
    async with served(streams) as stream:
        await stream.reader.stop(stream.put)
        placing = [asyncio.create_task(stream.put.place(b"%x" % n * MEGABYTE)) for n in range(9)]
        _, waiting = await asyncio.wait(placing, timeout=0)
        stream.reader.reads.set()
        await stream.reader.until(b"8" * MEGABYTE)
        assert waiting
        assert [stream.reader.body.count(b"%x" % n) for n in range(9)] == [MEGABYTE] * 9


async def test_what_waits_for_room_does_so_no_longer_than_the_stream(streams: Streams) -> None:
    async with served(streams) as stream:
        await stream.reader.stop(stream.put)
        placing = [asyncio.create_task(stream.put.place(b"x" * MEGABYTE)) for _ in range(9)]
        streams.close()
        await asyncio.wait_for(asyncio.gather(*placing), 30)


async def test_the_rest_of_a_stream_comes_as_fast_as_it_is_read(streams: Streams) -> None:
    async def events() -> AsyncGenerator[bytes, None]:
        for n in range(9):
            yield b"%x" % n * MEGABYTE

    reader = Reader()
    await asyncio.wait_for(streams.relay(reader.receive, reader.send, events(), whose=("open", A)), 30)
    assert reader.ended
    assert [reader.body.count(b"%x" % n) for n in range(9)] == [MEGABYTE] * 9


def test_nobody_takes_all_streams() -> None:
    streams = Streams(4 * LEAST_SHARE, 30)
    with contextlib.ExitStack() as taken:
        for _ in range(LEAST_SHARE):
            assert not streams.full("open", A)
            taken.enter_context(streams.reserved("open", A))
        assert streams.full("open", A)
        assert not streams.full("open", B)
        assert not streams.full("open", ANONYMOUS)
        assert not streams.full("other", A)
    assert not streams.full("open", A)


def test_an_address_does_not_take_the_streams_of_all_strangers() -> None:
    streams = Streams(16 * LEAST_SHARE, 30)
    one, other = (replace(ANONYMOUS, address=f"192.0.2.{n}") for n in (1, 2))
    with contextlib.ExitStack() as taken:
        for _ in range(LEAST_SHARE):
            assert not streams.full("open", one)
            taken.enter_context(streams.reserved("open", one))
        assert streams.full("open", one)
        for n in range(3 * LEAST_SHARE):
            assert not streams.full("open", other), "others have what is left of the strangers' share"
            taken.enter_context(streams.reserved("open", replace(ANONYMOUS, address=f"192.0.3.{n}")))
        assert streams.full("open", other)
        assert not streams.full("open", A)
    assert not streams.full("open", one)
