"""Connections: kept, shared, counted, given up; and nothing left behind when a request is cancelled."""

import asyncio
import contextlib
import functools
import gc
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from metamcp_asgi.errors import UpstreamProtocolError, UpstreamUnavailable
from metamcp_asgi.upstream import http1_dial
from metamcp_asgi.upstream.http1 import HTTPLimits
from tests.upstream.http1_peers import EVENT_STREAM, Peer, chunked, client, ok, saying, serving


def open_sockets() -> int:
    """How many sockets this process holds."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(descriptor.readlink()).startswith("socket:")
    return count


@pytest_asyncio.fixture(autouse=True)
async def nothing_left_behind() -> AsyncIterator[None]:
    """After each test: as many open sockets as before, no task, and nothing that only the loop's handler heard of."""
    loop = asyncio.get_running_loop()
    unexpected: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: unexpected.append(context))
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    await loop.getaddrinfo("localhost", 80)  # The executor and the loop's own descriptors exist from here on.
    before = open_sockets()
    yield
    gc.collect()
    async with asyncio.timeout(30):
        while open_sockets() > before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # The loop closes sockets in its own time; there is no event for it.
    assert asyncio.all_tasks() - {asyncio.current_task()} == tasks
    assert not unexpected


async def forever(peer: Peer) -> None:
    """Answers with `{number of the connection}/{path}` for ever."""
    while request := await peer.request():
        await peer.say(ok(b"%d%b" % (peer.number, request.split()[1])))


async def test_sequential_requests_share_one_connection_and_the_last_used_is_used_first() -> None:
    async with serving(forever) as server, client() as http:
        target = http.target(server.url)
        assert {(await http.send(target, b"GET")).body for _ in range(20)} == {b"0/mcp"}
        both = await asyncio.gather(http.send(target, b"GET"), http.send(target, b"GET"))
        assert {response.body for response in both} == {b"0/mcp", b"1/mcp"}
        assert len({(await http.send(target, b"GET")).body for _ in range(20)}) == 1
        assert len(server.peers) == 2


async def test_the_connection_is_free_before_the_caller_wakes() -> None:
    async with serving(forever) as server, client() as http:
        target = http.target(server.url)
        second: list[asyncio.Task[Any]] = []
        first = asyncio.create_task(http.send(target, b"GET"))
        # Runs before the caller of `first` goes on, and must find the connection idle already.
        first.add_done_callback(lambda _: second.append(asyncio.create_task(http.send(target, b"GET"))))
        await first
        await second[0]
        assert len(server.peers) == 1


@pytest.mark.parametrize(
    "response",
    [
        ok(headers=b"Connection: close\r\n"),
        ok(headers=b"Connection: Keep-Alive, Close\r\n"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nfine",
        ok(headers=b"Keep-Alive: timeout=0\r\n"),
    ],
)
async def test_a_connection_that_the_server_will_close_is_not_used_again(response: bytes) -> None:
    async with serving(saying(response, response)) as server, client() as http:
        target = http.target(server.url)
        for _ in range(2):
            assert (await http.send(target, b"GET")).body == b"fine"
        assert len(server.peers) == 2


async def test_http_1_0_with_keep_alive_is_used_again() -> None:
    response = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\nfine"
    async with serving(saying(response, response)) as server, client() as http:
        target = http.target(server.url)
        for _ in range(2):
            assert (await http.send(target, b"GET")).body == b"fine"
        assert len(server.peers) == 1


async def test_a_server_that_closes_the_idle_connection_is_simply_connected_to_again() -> None:
    async with serving(saying(ok(), close=True)) as server, client() as http:
        target = http.target(server.url)
        for number in range(1, 6):
            assert (await http.send(target, b"GET")).body == b"fine"
            await server.until_open(0)
            assert len(server.peers) == number


async def test_a_close_that_lies_unread_in_the_socket_is_seen_before_writing() -> None:
    """The race of every proxy: the server's FIN is there, the event loop has not looked yet."""
    listener = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.get_running_loop()
    closing, closed = threading.Event(), threading.Event()

    def serve() -> None:
        for _ in range(2):
            peer, _ = listener.accept()
            peer.recv(65536)
            peer.sendall(ok())
            if closing.wait(5):
                peer.close()
            closed.set()

    serving_thread = loop.run_in_executor(None, serve)
    with listener:
        async with client() as http:
            target = http.target(f"http://127.0.0.1:{listener.getsockname()[1]}/")
            await http.send(target, b"POST", b"", b"{}")
            closing.set()
            closed.wait(5)  # Blocks the loop on purpose: it must have no chance to read the FIN.
            assert (await http.send(target, b"POST", b"", b"{}")).body == b"fine"
            await serving_thread
        await loop.shutdown_default_executor()


async def test_a_server_that_closes_instead_of_answering_a_reused_connection_may_have_seen_the_request() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(ok())
        await peer.request()

    async with serving(talk) as server, client() as http:
        target = http.target(server.url)
        await http.send(target, b"GET")
        with pytest.raises(UpstreamUnavailable) as caught:
            await http.send(target, b"GET")
        assert caught.value.sent
        await http.send(target, b"GET")


async def test_idle_connections_are_closed_in_time_and_none_is_needed_for_that() -> None:
    async with serving(forever) as server, client(HTTPLimits(keepalive=0.2)) as http:
        target = http.target(server.url)
        await asyncio.gather(*(http.send(target, b"GET") for _ in range(5)))
        await server.until_open(0)


async def test_a_shorter_time_announced_by_the_server_is_kept() -> None:
    async with serving(saying(ok(headers=b"Keep-Alive: timeout=3, max=100\r\n"))) as server, client() as http:
        began = asyncio.get_running_loop().time()
        await http.send(http.target(server.url), b"GET")
        await server.until_open(0)
        assert asyncio.get_running_loop().time() - began < 3


async def test_data_on_an_idle_connection_closes_it() -> None:
    talk_now = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(ok())
        await talk_now.wait()
        await peer.say(ok(b"poison"))
        await peer.gone()

    async with serving(talk) as server, client() as http:
        target = http.target(server.url)
        await http.send(target, b"GET")
        talk_now.set()
        await server.until_open(0)
        assert (await http.send(target, b"GET")).body == b"fine"


async def test_a_server_that_talks_first_is_refused_or_read_as_malformed() -> None:
    async def talk(peer: Peer) -> None:
        await peer.say(b"220 mail.example ESMTP\r\n")
        await peer.gone()

    async with serving(talk) as server, client() as http:
        with pytest.raises(UpstreamProtocolError):
            await http.send(http.target(server.url), b"GET")


async def test_a_refused_connection_is_unsent_and_says_where() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with client() as http:
            with pytest.raises(UpstreamUnavailable) as caught:
                await http.send(http.target(f"http://localhost:{port}/mcp?key=s3cret"), b"GET")
    assert not caught.value.sent
    assert str(caught.value) == f"cannot connect to localhost:{port}: Connection refused"


async def test_an_unknown_host_is_unsent() -> None:
    async with client() as http:
        with pytest.raises(UpstreamUnavailable, match=r"the host name nowhere\.invalid is not known") as caught:
            await http.send(http.target("http://nowhere.invalid/"), b"GET")
    assert not caught.value.sent


async def test_ipv6_is_connected_to() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    async with serving(forever, host="::1") as server, client() as http:
        assert (await http.send(http.target(f"http://[::1]:{server.port}/six"), b"GET")).body == b"0/six"


async def test_a_name_with_a_dead_address_is_reached_by_the_other() -> None:
    """Happy eyeballs: the first address swallows packets, the second answers."""
    async with serving(forever) as server:
        loop = asyncio.get_running_loop()
        dead = socket.create_server(("127.0.0.1", 0), backlog=0)
        address = dead.getsockname()
        fillers = []
        for _ in range(4):  # A full backlog leaves further SYNs unanswered.
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            fillers.append(filler)

        async def two_addresses(host: str, port: int, **options: Any) -> list[tuple[Any, ...]]:
            kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            return [(*kind, address), (*kind, ("127.0.0.1", server.port))]

        class Loop:
            getaddrinfo = staticmethod(two_addresses)

            def __getattr__(self, name: str) -> Any:
                return getattr(loop, name)

        sock = await http1_dial._connect(Loop(), "two.example", 80)  # type: ignore[arg-type]
        assert sock.getpeername()[1] == server.port
        for opened in (sock, dead, *fillers):
            opened.close()


async def test_connecting_has_a_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        async with client(HTTPLimits(connect_timeout=0.1)) as http:
            with pytest.raises(
                UpstreamUnavailable, match=r"no connection to 127.0.0.1:\d+ within 0.1 seconds"
            ) as caught:
                await http.send(http.target(f"http://127.0.0.1:{address[1]}/"), b"GET")
            assert not caught.value.sent
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize("most", [1, 3])
async def test_above_the_limit_requests_wait_in_order(most: int) -> None:
    order: list[int] = []

    async def talk(peer: Peer) -> None:
        while request := await peer.request():
            assert server.open <= most
            order.append(int(request.split()[1][1:]))
            await peer.say(ok())

    async with serving(talk) as server, client(HTTPLimits(max_connections=most)) as http:
        targets = [http.target(f"http://127.0.0.1:{server.port}/{number}") for number in range(30)]
        await asyncio.gather(*(http.send(target, b"GET") for target in targets))
        assert len(server.peers) == most
    assert sorted(order) == list(range(30))
    if most == 1:  # With more, the server may read them in another order than they were written in.
        assert order == list(range(30))


async def test_a_waiting_request_gets_the_slot_of_a_connection_that_was_closed() -> None:
    async with serving(saying(ok(), close=True)) as server, client(HTTPLimits(max_connections=1)) as http:
        target = http.target(server.url)
        responses = await asyncio.gather(*(http.send(target, b"GET") for _ in range(10)), return_exceptions=True)
        # Each connection serves one request; a request that met the close in flight says so, none hangs.
        assert all(getattr(each, "body", b"") == b"fine" or isinstance(each, UpstreamUnavailable) for each in responses)
        assert (await http.send(target, b"GET")).body == b"fine"


async def test_waiting_requests_fail_when_connecting_does_and_none_hangs() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with client(HTTPLimits(max_connections=1)) as http, asyncio.timeout(30):
            target = http.target(f"http://127.0.0.1:{unused.getsockname()[1]}/")
            outcomes = await asyncio.gather(*(http.send(target, b"GET") for _ in range(10)), return_exceptions=True)
            assert all(isinstance(outcome, UpstreamUnavailable) and not outcome.sent for outcome in outcomes)


@pytest.mark.parametrize("after", range(12))
async def test_cancelling_at_any_step_of_the_loop_leaks_nothing(after: int) -> None:
    """Connecting, queued, waiting for the head or the body: wherever `after` turns of the loop lead."""

    async def talk(peer: Peer) -> None:
        while await peer.request():
            await peer.say(ok(b"x" * 50)[:-20])
            await asyncio.sleep(0)
            await peer.say(b"x" * 20)

    async with serving(talk) as server, client(HTTPLimits(max_connections=2)) as http, asyncio.timeout(30):
        target = http.target(server.url)
        for _ in range(3):
            sending = [asyncio.create_task(http.send(target, b"POST", b"", b"{}")) for _ in range(6)]
            for _ in range(after):
                await asyncio.sleep(0)
            for task in sending[::2]:
                task.cancel()
            for task, outcome in zip(sending, await asyncio.gather(*sending, return_exceptions=True), strict=True):
                assert task.cancelled() or getattr(outcome, "status", 0) == 200
        # Every slot is there again.
        assert len(await asyncio.gather(*(http.send(target, b"GET") for _ in range(6)))) == 6


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-", ok(b"hello")[:-2], chunked(b"a", end=False)])
async def test_cancelling_closes_the_connection_at_once(said: bytes) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(said)
        await peer.gone()

    async with serving(talk) as server, client(HTTPLimits(max_connections=1)) as http:
        target = http.target(server.url)
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await http.send(target, b"POST", b"", b"{}")
            await server.until_open(0)


async def test_a_queued_request_can_be_cancelled_and_the_next_takes_its_turn() -> None:
    go_on = asyncio.Event()

    async def talk(peer: Peer) -> None:
        while request := await peer.request():
            await go_on.wait()
            await peer.say(ok(request.split()[1]))

    async with serving(talk) as server, client(HTTPLimits(max_connections=1)) as http:
        tasks = []
        for number in range(4):
            target = http.target(f"http://127.0.0.1:{server.port}/{number}")
            tasks.append(asyncio.create_task(http.send(target, b"GET")))
        await server.until_open(1)
        tasks[1].cancel()
        go_on.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcomes[1], asyncio.CancelledError)
        assert [getattr(outcome, "body", None) for outcome in outcomes] == [b"/0", None, b"/2", b"/3"]
        assert len(server.peers) == 1


@pytest.mark.parametrize("gift", ["a slot", "a connection"])
async def test_a_request_cancelled_when_its_turn_has_just_come_passes_it_on(gift: str) -> None:
    async with (
        serving(saying(ok(), chunked(headers=EVENT_STREAM, end=False))) as server,
        client(HTTPLimits(max_connections=1)) as http,
        asyncio.timeout(30),
    ):
        target = http.target(server.url)
        await http.send(target, b"GET")
        if gift == "a slot":
            give = (await http.send(target, b"GET")).close
        else:
            connection = target.pool.take()
            assert connection is not None
            give = functools.partial(target.pool.release, connection)
        queued = asyncio.create_task(http.send(target, b"GET"))
        await asyncio.sleep(0)
        give()
        queued.cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued
        assert (await http.send(target, b"GET")).status == 200


async def test_aclose_ends_everything_and_says_so() -> None:
    asked = asyncio.Event()

    async def talk(peer: Peer) -> None:
        if b"/stream" in await peer.request():
            await peer.say(chunked(b"data: 1\n\n", headers=EVENT_STREAM, end=False))
        else:
            asked.set()
        await peer.gone()

    async with serving(talk) as server, client(HTTPLimits(max_connections=2)) as http:
        target = http.target(server.url)
        stream = await http.send(http.target(f"http://127.0.0.1:{server.port}/stream"), b"GET")
        assert await stream.chunk() == b"data: 1\n\n"
        waiting = asyncio.create_task(stream.chunk())
        sending = [asyncio.create_task(http.send(target, b"GET")) for _ in range(2)]  # One in flight, one queued.
        await asked.wait()
        await http.aclose()
        outcomes = await asyncio.gather(waiting, *sending, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [UpstreamUnavailable] * 3
        assert [getattr(outcome, "sent", None) for outcome in outcomes] == [True, True, False]
        await server.until_open(0)
        with pytest.raises(UpstreamUnavailable, match="shutting down"):
            await http.send(target, b"GET")
        with pytest.raises(UpstreamUnavailable, match="shutting down"):
            await http.send(http.target("http://127.0.0.1:1/"), b"GET")
