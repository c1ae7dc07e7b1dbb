"""Responses as RFC 9112 allows and forbids them, from a server that sends exactly those bytes."""

import asyncio
import itertools
from collections.abc import Coroutine

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metamcp_asgi.errors import UpstreamProtocolError, UpstreamUnavailable
from metamcp_asgi.upstream.http1 import HTTPClient, HTTPLimits, Response
from tests.upstream.http1_peers import EVENT_STREAM, Peer, chunked, client, ok, saying, serving

SMALL = HTTPLimits(max_header_bytes=4096, max_body_bytes=10_000)


async def answer(
    *responses: bytes, method: bytes = b"POST", close: bool = True, limits: HTTPLimits = SMALL
) -> Response:
    """Returns what the client makes of `responses`, sent in separate segments, to one request."""

    async def talk(peer: Peer) -> None:
        await peer.request()
        for response in responses:
            await peer.say(response)
        if not close:
            await peer.gone()

    async with serving(talk) as server, client(limits) as http, asyncio.timeout(30):
        return await http.send(http.target(server.url), method, b"", b"{}")


@pytest.mark.parametrize(
    ("response", "status", "body"),
    [
        (ok(b"hello"), 200, b"hello"),
        (ok(b""), 200, b""),
        (chunked(b"he", b"llo"), 200, b"hello"),
        (chunked(b"hello", trailers=b"X-Sum: 1\r\nX-More: 2\r\n"), 200, b"hello"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n0;x\r\n\r\n", 200, b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, b""),
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", 202, b""),
        (b"HTTP/1.1 307 Away\r\nLocation: http://other.example/\r\nContent-Length: 0\r\n\r\n", 307, b""),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno", 500, b"no"),
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nno", 200, b"no"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"hello"), 200, b"hello"),
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\nContent-Type: text/event-stream\r\n\r\n"
            b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"hello"),
            200,
            b"hello",
        ),
        (b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    ],
)
async def test_a_complete_response_is_understood_however_it_is_cut(response: bytes, status: int, body: bytes) -> None:
    cuts = iter(range(1, len(response)))

    async def talk(peer: Peer) -> None:
        while await peer.request():
            if (cut := next(cuts, None)) is None:
                for position in range(len(response)):
                    await peer.say(response[position : position + 1])
                    await asyncio.sleep(0)
            else:
                await peer.say(response[:cut])
                await peer.say(response[cut:])

    async with serving(talk) as server, client() as http, asyncio.timeout(30):
        target = http.target(server.url)
        for _ in range(len(response)):
            got = await http.send(target, b"POST", b"", b"{}")
            assert (got.status, got.body, got.event_stream) == (status, body, False)
            assert b"link" not in dict(got.headers)
            assert b"x-sum" not in dict(got.headers)
        assert len(server.peers) == 1, "the connection was not used again"


async def test_header_names_are_lower_case_values_trimmed_and_repeated_ones_kept() -> None:
    response = await answer(ok(headers=b"MCP-Session-Id: \t abC\t\r\nX-Empty:\r\nSet-Cookie: a\r\nset-cookie: b\r\n"))
    assert response.headers[:4] == [
        (b"mcp-session-id", b"abC"),
        (b"x-empty", b""),
        (b"set-cookie", b"a"),
        (b"set-cookie", b"b"),
    ]
    assert response.header(b"set-cookie") == b"a"
    assert response.header(b"x-none") is None


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
async def test_a_body_without_length_ends_with_the_connection(version: bytes) -> None:
    response = await answer(version + b" 200 OK\r\n\r\nhel", b"lo")
    assert response.body == b"hello"


async def test_a_head_response_has_no_body_whatever_its_length_says() -> None:
    response = await answer(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", method=b"HEAD", close=False)
    assert (response.status, response.body, response.header(b"content-length")) == (200, b"", b"500")


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "malformed"),
        (b"<html>", "malformed"),
        (b"HTTP/1.1 abc\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "transfer encoding"),
        (ok(headers=b"Content-Encoding: gzip\r\n"), "compressed"),
        (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "another protocol"),
        (b"HTTP/1.1 199 Odd\r\nContent-Length: 2\r\n\r\nno" + ok(), "interim"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 5000 + b"\r\n\r\n", "more than 4096 bytes"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 1000 + b"\r\n", "more than 4096 bytes"),
        (b"HTTP/1.1 200 " + b"a" * 5000, "more than 4096 bytes"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 200, "more than 4096 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"a" * 5000, "more than 4096 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * 5000, "more than 4096 bytes"),
        (ok(b"x" * 10_001), "more than 10000 bytes"),
        (chunked(*[b"x" * 1001] * 10), "more than 10000 bytes"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 10_001, "more than 10000 bytes"),
    ],
)
async def test_what_breaks_http_or_a_limit_is_a_protocol_error(response: bytes, reason: str) -> None:
    for pieces in (
        [response],
        [response[:-1], response[-1:]],
        [response[i : i + 700] for i in range(0, len(response), 700)],
    ):
        with pytest.raises(UpstreamProtocolError, match=reason) as caught:
            await answer(*pieces, close=False)
        assert str(caught.value).startswith("127.0.0.1:")
        assert "\n" not in str(caught.value)


async def test_a_body_at_the_limit_passes() -> None:
    assert len((await answer(ok(b"x" * 10_000))).body) == 10_000


async def test_identity_is_no_content_encoding() -> None:
    assert (await answer(ok(headers=b"Content-Encoding: Identity\r\n"))).body == b"fine"


@pytest.mark.parametrize(
    ("response", "state"),
    [
        (b"", "before it answered"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "before it answered"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "before it answered"),
        (ok(b"hello")[:-1], "in the middle of its answer"),
        (chunked(b"hello", end=False), "in the middle of its answer"),
        (chunked(b"hello")[:-2], "in the middle of its answer"),
    ],
)
async def test_an_early_close_is_unavailable_and_may_have_been_sent(response: bytes, state: str) -> None:
    with pytest.raises(UpstreamUnavailable, match=state) as caught:
        await answer(response)
    assert caught.value.sent


async def test_a_reset_is_unavailable() -> None:
    async def talk(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")  # The body stays unread: closing then resets.
        peer.writer.transport.abort()

    async with serving(talk) as server, client() as http:
        with pytest.raises(UpstreamUnavailable) as caught:
            await http.send(http.target(server.url), b"POST", b"", b"x" * 60_000)
    assert caught.value.sent


async def test_an_answer_before_the_request_is_read_arrives_and_the_connection_is_not_used_again() -> None:
    async def talk(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await asyncio.Event().wait()

    async with serving(talk) as server, client() as http, asyncio.timeout(30):
        target = http.target(server.url)
        for _ in range(2):
            response = await http.send(target, b"POST", b"", b"x" * 20_000_000)
            assert (response.status, response.body) == (413, b"big")
        assert len(server.peers) == 2


async def test_a_slow_body_is_waited_for() -> None:
    go_on = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(ok(b"hello")[:-3])
        await go_on.wait()
        await peer.say(b"llo")

    async with serving(talk) as server, client() as http:
        sending = asyncio.create_task(http.send(http.target(server.url), b"GET"))
        await server.until_open(1)
        done, _ = await asyncio.wait([sending], timeout=0.05)
        assert not done
        go_on.set()
        assert (await sending).body == b"hello"


# What servers send at random. The connection is closed after it, so every case has an end.
_pieces = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from(
            [
                b"HTTP/1.1 200 OK\r\n",
                b"HTTP/1.1 204 \r\n",
                b"HTTP/1.1 100 Continue\r\n\r\n",
                b"HTTP/1.1 101 Up\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
                b"HTTP/1.0 200 OK\r\n",
                b"Content-Length: 3\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b"Connection: close\r\n",
                b"Keep-Alive: timeout=9999999999999\r\n",
                b"Keep-Alive: timeout=\xb2, max\r\n",
                b"Content-Encoding: gzip\r\n",
                EVENT_STREAM,
                b"\r\n",
                b"\r\n\r\n",
                b"3\r\nabc\r\n",
                b"0\r\n\r\n",
                b"abc",
            ]
        ),
    ),
    max_size=9,
)
_LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
_fuzz = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def _take(http: HTTPClient, url: str) -> tuple[object, ...]:
    """What a caller gets to see of one response, to its end."""
    try:
        response = await http.send(http.target(url), b"POST", b"", b"{}")
        body = response.body
        if response.event_stream:
            while piece := await response.chunk():
                body += piece
    except (UpstreamProtocolError, UpstreamUnavailable) as error:
        return (type(error),)
    return response.status, tuple(response.headers), response.event_stream, body


@pytest.mark.parametrize("factory", ["asyncio", "uvloop"])
@_fuzz
@given(pieces=_pieces, cut=st.booleans())
def test_any_bytes_give_a_response_or_one_of_the_two_errors(pieces: list[bytes], cut: bool, factory: str) -> None:
    async def scenario() -> None:
        async def talk(peer: Peer) -> None:
            await peer.request()
            for piece in pieces if cut else [b"".join(pieces)]:
                await peer.say(piece)
                await asyncio.sleep(0)

        async with serving(talk) as server, client(SMALL) as http, asyncio.timeout(30):
            await _take(http, server.url)
            # And the client still works.
            await _take(http, server.url)

    _run(scenario(), factory)


_token = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=10).map(lambda text: f"x-{text}".encode())
_value = st.text("abc XYZ=;,\xe9", max_size=12).map(lambda text: text.strip().encode("latin-1"))
_headers = st.lists(st.tuples(_token, _value), max_size=4)
_body = st.lists(st.binary(min_size=1, max_size=40), max_size=4)


@pytest.mark.parametrize("factory", ["asyncio", "uvloop"])
@_fuzz
@given(
    headers=_headers,
    body=_body,
    framing=st.sampled_from(["length", "chunked", "eof"]),
    stream=st.booleans(),
    interim=st.integers(0, 2),
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
def test_any_valid_response_is_the_same_wherever_it_is_cut(
    headers: list[tuple[bytes, bytes]],
    body: list[bytes],
    framing: str,
    stream: bool,
    interim: int,
    cuts: list[int],
    factory: str,
) -> None:
    lines = b"".join(b"%b: %b\r\n" % header for header in headers) + (EVENT_STREAM if stream else b"")
    whole = b"".join(body)
    wire = (
        b"HTTP/1.1 103 Early\r\nLink: </>\r\n\r\n" * interim
        + {
            "length": ok(whole, lines),
            "chunked": chunked(*body, headers=lines, trailers=b"X-T: 1\r\n"),
            "eof": b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n" + whole,
        }[framing]
    )
    edges = [0, *sorted({cut for cut in cuts if cut < len(wire)}), len(wire)]
    sent = [*headers]
    sent += [(b"content-type", b"text/event-stream")] if stream else []
    sent += {"length": [(b"content-length", b"%d" % len(whole))], "chunked": [(b"transfer-encoding", b"chunked")]}.get(
        framing, []
    )

    async def scenario() -> None:
        async def talk(peer: Peer) -> None:
            await peer.request()
            for start, end in itertools.pairwise(edges):
                await peer.say(wire[start:end])
                await asyncio.sleep(0)

        async with serving(talk) as server, client() as http, asyncio.timeout(30):
            assert await _take(http, server.url) == (200, tuple(sent), stream, whole)

    _run(scenario(), factory)


def _run(scenario: Coroutine[None, None, None], factory: str) -> None:
    unexpected: list[dict[str, object]] = []
    with asyncio.Runner(loop_factory=_LOOPS[factory]) as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: unexpected.append(context))
        runner.run(scenario)
    assert not unexpected


async def test_garbage_after_a_response_closes_the_connection_but_spoils_nothing() -> None:
    async with serving(saying(ok() + b"garbage", close=False)) as server, client() as http:
        target = http.target(server.url)
        assert (await http.send(target, b"GET")).body == b"fine"
        await server.until_open(0)
        assert (await http.send(target, b"GET")).body == b"fine"
        assert len(server.peers) == 2


async def test_a_second_response_nobody_asked_for_is_never_given_to_a_later_request() -> None:
    async with serving(saying(ok(b"mine") + ok(b"poison"), ok(b"poison"))) as server, client() as http:
        target = http.target(server.url)
        assert [(await http.send(target, b"GET")).body for _ in range(3)] == [b"mine"] * 3
        assert len(server.peers) == 3
