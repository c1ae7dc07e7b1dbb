"""TLS with a private certificate authority, and both ways through an HTTP proxy."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from metamcp_asgi.errors import UpstreamProtocolError, UpstreamUnavailable
from metamcp_asgi.upstream import http1_target
from metamcp_asgi.upstream.http1 import HTTPLimits
from tests.upstream.http1_peers import EVENT_STREAM, Peer, chunked, client, ok, saying, serving


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert(*names).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def forever(peer: Peer) -> None:
    while request := await peer.request():
        await peer.say(ok(request.split()[1]))


async def test_a_server_with_a_trusted_certificate_is_called_over_one_connection(authority: trustme.CA) -> None:
    tls = server_context(authority, "localhost", "127.0.0.1")
    async with serving(forever, tls) as server, client(ssl_context=trusting(authority)) as http:
        for url in (server.url, f"https://localhost:{server.port}/named"):
            target = http.target(url)
            for _ in range(3):
                response = await http.send(target, b"POST", b"", b"x" * 200_000)
                assert response.status == 200
        assert len(server.peers) == 2


async def test_a_stream_over_tls_is_paused_and_resumed(authority: trustme.CA) -> None:
    tls = server_context(authority, "127.0.0.1")
    body = [b"x" * 10_000] * 300
    wire = chunked(*body, headers=EVENT_STREAM)
    limits = HTTPLimits(max_buffered_bytes=20_000)
    async with (
        serving(saying(wire, ok()), tls) as server,
        client(limits, ssl_context=trusting(authority)) as http,
        asyncio.timeout(30),
    ):
        target = http.target(server.url)
        response = await http.send(target, b"GET")
        got = 0
        while piece := await response.chunk():
            got += len(piece)
            await asyncio.sleep(0)
        assert got == 3_000_000
        assert (await http.send(target, b"GET")).body == b"fine"
        assert len(server.peers) == 1


async def test_the_default_context_trusts_ssl_cert_file(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    negotiated = []

    async def talk(peer: Peer) -> None:
        negotiated.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await forever(peer)

    async with serving(talk, server_context(authority, "127.0.0.1")) as server, client() as http:
        assert (await http.send(http.target(server.url), b"GET")).body == b"/mcp"
    assert negotiated == ["http/1.1"]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("another authority", "certificate of 127.0.0.1:{port} is not accepted: .*(self.signed|unable to get)"),
        ("another name", "certificate of 127.0.0.1:{port} is not accepted: .*[Mm]ismatch.*127.0.0.1"),
        ("no TLS at all", "no TLS with 127.0.0.1:{port}: "),
    ],
)
async def test_a_certificate_that_is_not_accepted_says_why_and_nothing_was_sent(
    authority: trustme.CA, case: str, reason: str
) -> None:
    asked = []

    async def talk(peer: Peer) -> None:
        if case == "no TLS at all":
            await peer.reader.read(10)
            await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        else:
            asked.append(await peer.request())

    issuer = trustme.CA() if case == "another authority" else authority
    name = "other.example" if case == "another name" else "127.0.0.1"
    tls = None if case == "no TLS at all" else server_context(issuer, name)
    loop = asyncio.get_running_loop()
    unexpected: list[Any] = []
    async with serving(talk, tls) as server, client(ssl_context=trusting(authority)) as http:
        loop.set_exception_handler(lambda loop, context: unexpected.append(context))
        with pytest.raises(UpstreamUnavailable, match=reason.format(port=server.port)) as caught:
            await http.send(http.target(f"https://127.0.0.1:{server.port}/?key=s3cret"), b"GET")
    assert not caught.value.sent
    assert "s3cret" not in str(caught.value)
    assert not any(asked)


async def test_cancelling_during_the_handshake_closes_the_connection(authority: trustme.CA) -> None:
    async def never_shakes_hands(peer: Peer) -> None:
        await peer.gone()

    async with (
        serving(never_shakes_hands) as server,
        client(HTTPLimits(max_connections=1), ssl_context=trusting(authority)) as http,
    ):
        target = http.target(f"https://127.0.0.1:{server.port}/")
        for _ in range(2):
            sending = asyncio.create_task(http.send(target, b"GET"))
            await server.until_open(1)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await server.until_open(0)


# --- proxies


@contextlib.asynccontextmanager
async def proxy(port: int, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> AsyncIterator[Any]:
    """A small proxy that leads every CONNECT to `port` of the loopback, and answers other requests by itself."""
    requests: list[bytes] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def talk(peer: Peer) -> None:
        while request := await peer.request():
            requests.append(request)
            if not request.startswith(b"CONNECT "):
                await peer.say(ok(request.split()[1]))
                continue
            await peer.say(answer)
            if b" 200 " not in answer:
                return
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await asyncio.gather(copy(peer.reader, writer), copy(reader, peer.writer))
            finally:
                writer.close()
            return

    async with serving(talk) as server:
        yield server, requests


async def test_https_goes_through_a_tunnel_with_tls_inside(authority: trustme.CA) -> None:
    tls = server_context(authority, "far.example")
    async with serving(forever, tls) as server, proxy(server.port) as (via, requests):
        environ = {"HTTPS_PROXY": f"http://alice:p%40ss@127.0.0.1:{via.port}", "NO_PROXY": "near.example"}
        async with client(ssl_context=trusting(authority), environ=environ) as http:
            target = http.target("https://far.example/mcp?a=1")
            for _ in range(3):
                assert (await http.send(target, b"POST", b"", b"{}")).body == b"/mcp?a=1"
        # Base64 of `alice:p@ss`; and what is inside the tunnel is not for the proxy.
        assert requests == [
            b"CONNECT far.example:443 HTTP/1.1\r\nHost: far.example:443\r\n"
            b"Proxy-Authorization: Basic YWxpY2U6cEBzcw==\r\n\r\n"
        ]


async def test_inside_the_tunnel_the_certificate_must_be_the_servers(authority: trustme.CA) -> None:
    tls = server_context(authority, "proxy.example")
    async with serving(forever, tls) as server, proxy(server.port) as (via, _):
        environ = {"https_proxy": f"http://127.0.0.1:{via.port}"}
        async with client(ssl_context=trusting(authority), environ=environ) as http:
            with pytest.raises(UpstreamUnavailable, match=r"far\.example:443 is not accepted") as caught:
                await http.send(http.target("https://far.example/"), b"GET")
            assert not caught.value.sent


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        (b"HTTP/1.1 407 Who are you\r\n\r\n", UpstreamUnavailable, "refused a tunnel to far.example:443: 407 Proxy"),
        (b"HTTP/1.0 503 x\r\nA: b\r\n\r\nbody", UpstreamUnavailable, "far.example:443: 503 Service Unavailable"),
        (b"SSH-2.0-x\r\n\r\n", UpstreamProtocolError, "not HTTP"),
        (b"HTTP/1.1 200" + b"a" * 20_000, UpstreamProtocolError, "not HTTP"),
        (b"", UpstreamUnavailable, "closed the connection before it answered"),
    ],
)
async def test_a_refused_tunnel_is_unsent_and_names_the_proxy(
    authority: trustme.CA, answer: bytes, error: type[Exception], reason: str
) -> None:
    async with proxy(0, answer) as (via, _):
        environ = {"HTTPS_PROXY": f"http://alice:s3cret@127.0.0.1:{via.port}"}
        async with client(ssl_context=trusting(authority), environ=environ) as http:
            with pytest.raises(error, match=reason) as caught:
                await http.send(http.target("https://far.example/"), b"GET")
            assert not getattr(caught.value, "sent", False)
            assert f"127.0.0.1:{via.port}" in str(caught.value)
            assert "s3cret" not in str(caught.value)


async def test_http_goes_to_the_proxy_in_absolute_form() -> None:
    async with proxy(0) as (via, requests):
        environ = {"HTTP_PROXY": f"http://alice:pass@127.0.0.1:{via.port}"}
        async with client(environ=environ) as http:
            target = http.target("http://far.example:8000/mcp?a=1")
            for _ in range(2):
                response = await http.send(target, b"GET")
                assert response.body == b"http://far.example:8000/mcp?a=1"
        assert len(via.peers) == 1
        assert b"\r\nHost: far.example:8000\r\n" in requests[0]
        assert b"\r\nProxy-Authorization: Basic YWxpY2U6cGFzcw==\r\n" in requests[0]


async def test_loopback_and_no_proxy_are_reached_directly() -> None:
    environ = {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "direct.example"}
    async with serving(forever) as server, client(environ=environ) as http:
        assert (await http.send(http.target(server.url), b"GET")).body == b"/mcp"
        assert http.target("http://direct.example/").origin.proxy is None
        assert http.target("http://far.example/").origin.proxy == http1_target.Proxy("127.0.0.1", 9)


async def test_an_unreachable_proxy_is_named() -> None:
    async with client(environ={"HTTP_PROXY": "http://nowhere.invalid:3128"}) as http:
        reason = r"far\.example:80 through proxy nowhere\.invalid:3128: the host name nowhere\.invalid is not known"
        with pytest.raises(UpstreamUnavailable, match=reason) as caught:
            await http.send(http.target("http://far.example/"), b"GET")
        assert not caught.value.sent


async def test_cancelling_while_the_proxy_thinks_closes_the_connection(authority: trustme.CA) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with serving(talk) as via:
        environ = {"HTTPS_PROXY": f"http://127.0.0.1:{via.port}"}
        async with client(HTTPLimits(max_connections=1), ssl_context=trusting(authority), environ=environ) as http:
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await http.send(http.target("https://far.example/"), b"GET")
                await via.until_open(0)
