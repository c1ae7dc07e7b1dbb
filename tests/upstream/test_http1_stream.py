"""Event streams: delivered as they come, bounded when nobody takes them, ended by either side."""

import asyncio
import contextlib

import pytest

from metamcp_asgi.errors import UpstreamProtocolError, UpstreamUnavailable
from metamcp_asgi.upstream import http1_connection
from metamcp_asgi.upstream.http1 import HTTPLimits
from tests.upstream.http1_peers import EVENT_STREAM, Peer, chunked, client, ok, saying, serving

HEAD = chunked(headers=EVENT_STREAM, end=False)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize(
    ("status", "content_type", "expected"),
    [
        (200, b"text/event-stream", True),
        (200, b"Text/Event-Stream; charset=utf-8", True),
        (200, b"text/event-stream ; x=y", True),
        (200, b"text/event-streams", False),
        (200, b"application/json", False),
        (404, b"text/event-stream", False),
        (202, b"text/event-stream", False),
    ],
)
async def test_what_is_an_event_stream(status: int, content_type: bytes, expected: bool) -> None:
    response = b"HTTP/1.1 %d X\r\nContent-Type: %b\r\nContent-Length: 4\r\n\r\nfine" % (status, content_type)
    async with serving(saying(response)) as server, client() as http:
        got = await http.send(http.target(server.url), b"GET")
        assert got.event_stream is expected
        assert (await got.chunk() if expected else got.body) == b"fine"
        assert await got.chunk() == b""


async def test_pieces_come_as_the_server_sends_them_and_the_head_before_any() -> None:
    steps: asyncio.Queue[bytes] = asyncio.Queue()

    async def talk(peer: Peer) -> None:
        while await peer.request():
            await peer.say(HEAD)
            while (data := await steps.get()) != b"":
                await peer.say(chunk(data))
            await peer.say(b"0\r\n\r\n")

    async with serving(talk) as server, client() as http, asyncio.timeout(30):
        target = http.target(server.url)
        for _ in range(2):
            response = await http.send(target, b"GET")
            for data in (b"data: 1\n\n", b": ping\n\n", b"data: 2\n\n"):
                steps.put_nowait(data)
                assert await response.chunk() == data
            with pytest.raises(TimeoutError):  # A time limit around chunk() loses nothing.
                async with asyncio.timeout(0.02):
                    await response.chunk()
            steps.put_nowait(b"data: 3\n\n")
            assert await response.chunk() == b"data: 3\n\n"
            steps.put_nowait(b"")
            assert await response.chunk() == b""
            assert await response.chunk() == b""
        assert len(server.peers) == 1


async def test_what_is_buffered_comes_at_once_without_giving_up_the_loop() -> None:
    async with serving(saying(chunked(b"one", b"two", headers=EVENT_STREAM))) as server, client() as http:
        response = await http.send(http.target(server.url), b"GET")
        await server.until_open(1)
        first = await response.chunk()
        while len(first) < 6:
            first += await response.chunk()
        assert first == b"onetwo"
        with pytest.raises(StopIteration) as stopped:
            response.chunk().send(None)
        assert stopped.value.value == b""


@pytest.mark.parametrize("ending", ["length", "eof"])
async def test_other_framings_of_a_stream(ending: str) -> None:
    length = b"Content-Length: 9\r\n" if ending == "length" else b""
    wire = b"HTTP/1.1 200 OK\r\n" + EVENT_STREAM + length + b"\r\ndata: 1\n\n"
    async with serving(saying(wire, close=ending == "eof")) as server, client() as http:
        response = await http.send(http.target(server.url), b"GET")
        data = b""
        while piece := await response.chunk():
            data += piece
        assert data == b"data: 1\n\n"


async def test_a_stream_that_breaks_off_delivers_what_came_and_then_says_so() -> None:
    async with serving(saying(HEAD + chunk(b"data: 1\n\n"), close=True)) as server, client() as http:
        response = await http.send(http.target(server.url), b"GET")
        await server.until_open(0)
        assert await response.chunk() == b"data: 1\n\n"
        for _ in range(2):
            with pytest.raises(UpstreamUnavailable, match="in the middle of its answer"):
                await response.chunk()


async def test_a_stream_that_turns_into_garbage_is_a_protocol_error() -> None:
    async with serving(saying(HEAD + chunk(b"data: 1\n\n") + b"zz\r\n")) as server, client() as http:
        response = await http.send(http.target(server.url), b"GET")
        assert await response.chunk() == b"data: 1\n\n"
        with pytest.raises(UpstreamProtocolError, match="malformed"):
            await response.chunk()
        await server.until_open(0)


async def test_a_server_cannot_push_more_than_the_bound() -> None:
    limits = HTTPLimits(max_buffered_bytes=100_000)
    pushed = 0
    total = 40_000_000
    stuck = asyncio.Event()

    async def talk(peer: Peer) -> None:
        nonlocal pushed
        peer.writer.transport.set_write_buffer_limits(0)
        await peer.request()
        await peer.say(HEAD)
        piece = chunk(b"x" * 50_000)
        for _ in range(total // 50_000):
            writing = asyncio.ensure_future(peer.say(piece))
            done, _ = await asyncio.wait([writing], timeout=0.3)
            if not done:
                stuck.set()
            await writing
            pushed += 50_000
        await peer.say(b"0\r\n\r\n")

    async with serving(talk) as server, client(limits) as http, asyncio.timeout(30):
        response = await http.send(http.target(server.url), b"GET")
        await stuck.wait()
        held = len(await response.chunk())
        # The bound, and at most what one read of the event loop gave on top; the rest waits in the kernel's buffers.
        assert held <= limits.max_buffered_bytes + 262_144
        assert pushed < total / 2
        while data := await response.chunk():
            held += len(data)
        assert held == total
        # It is whole, and the connection is good for the next.
        assert len(server.peers) == 1


async def test_detach_uses_the_connection_again_when_the_message_ends_soon() -> None:
    end = asyncio.Event()

    async def talk(peer: Peer) -> None:
        while await peer.request():
            await peer.say(HEAD + chunk(b"data: answer\n\n"))
            await end.wait()
            await peer.say(chunk(b": bye\n\n") + b"0\r\n\r\n")

    async with serving(talk) as server, client(HTTPLimits(max_connections=1)) as http, asyncio.timeout(30):
        target = http.target(server.url)
        for _ in range(3):
            response = await http.send(target, b"GET")
            assert (await response.chunk()).startswith(b"data: answer\n\n")
            response.detach()
            response.detach()
            end.set()
        assert (await http.send(target, b"GET")).status == 200
        assert len(server.peers) == 1


async def test_detach_of_a_complete_response_does_nothing() -> None:
    async with serving(saying(ok(), chunked(b"a", headers=EVENT_STREAM), ok())) as server, client() as http:
        target = http.target(server.url)
        plain = await http.send(target, b"GET")
        plain.detach()
        plain.close()
        stream = await http.send(target, b"GET")
        while await stream.chunk():
            pass
        stream.detach()
        stream.close()
        assert (await http.send(target, b"GET")).body == b"fine"
        assert plain.body == b"fine"
        assert len(server.peers) == 1


async def test_detach_gives_up_a_stream_that_goes_on() -> None:
    async with serving(saying(HEAD + chunk(b"data: 1\n\n"))) as server, client() as http:
        response = await http.send(http.target(server.url), b"GET")
        await response.chunk()
        began = asyncio.get_running_loop().time()
        response.detach()
        await server.until_open(0)
        assert asyncio.get_running_loop().time() - began > 0.5


async def test_detach_gives_up_a_stream_that_says_too_much_even_after_it_was_paused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So that it is the amount that ends it, and not the time.
    monkeypatch.setattr(http1_connection, "_DRAIN_SECONDS", 3600.0)

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(HEAD)
        while True:
            await peer.say(chunk(b"x" * 20_000))

    async with serving(talk) as server, client(HTTPLimits(max_buffered_bytes=1000)) as http:
        response = await http.send(http.target(server.url), b"GET")
        await response.chunk()
        response.detach()
        await server.until_open(0)


async def test_close_is_seen_by_the_server_at_once_and_ends_a_waiting_chunk() -> None:
    async with serving(saying(HEAD)) as server, client() as http:
        response = await http.send(http.target(server.url), b"GET")
        waiting = asyncio.create_task(response.chunk())
        await asyncio.sleep(0)
        response.close()
        with pytest.raises(UpstreamUnavailable, match="was closed"):
            await waiting
        await server.until_open(0)


async def test_one_reader_at_a_time() -> None:
    async with serving(saying(HEAD)) as server, client() as http:
        response = await http.send(http.target(server.url), b"GET")
        waiting = asyncio.create_task(response.chunk())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError):
            await response.chunk()
        response.close()
        with pytest.raises(UpstreamUnavailable):
            await waiting


async def test_a_cancelled_call_whose_stream_had_just_begun_is_cancelled_upstream() -> None:
    said = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(HEAD)
        said.set()
        await peer.gone()

    async with serving(talk) as server, client() as http:
        for turns in range(6):
            said.clear()
            sending = asyncio.create_task(http.send(http.target(server.url), b"GET"))
            await said.wait()
            for _ in range(turns):
                await asyncio.sleep(0)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                (await sending).close()
            await server.until_open(0)
