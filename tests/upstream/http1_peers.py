"""Peers for the tests of the HTTP client: servers that say exactly the bytes a test gives them, and small proxies."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from metamcp_asgi.upstream.http1 import HTTPClient, HTTPLimits

Talk = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One accepted connection, seen from the server's side."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """Returns the next request, head and body; `b""` when the client closed instead."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            return head + (await self.reader.readexactly(int(length[1])) if length else b"")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Returns when the client has closed its side."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


class Server:
    """A listening server: its URL, and every connection that it ever accepted."""

    def __init__(self, port: int, scheme: str) -> None:
        self.port = port
        self.url = f"{scheme}://127.0.0.1:{port}/mcp"
        self.peers: list[Peer] = []
        self.open = 0
        self.changed = asyncio.Condition()

    async def until_open(self, number: int) -> None:
        """Waits until exactly that many connections are being served."""
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(lambda: self.open == number)


@contextlib.asynccontextmanager
async def serving(talk: Talk, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[Server]:
    """Serves each connection with `talk`, and closes it when that returns. What `talk` raises fails the test."""
    failures: list[BaseException] = []
    tasks: set[asyncio.Task[Any]] = set()
    server: Server

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        peer = Peer(len(server.peers), reader, writer)
        server.peers.append(peer)
        async with server.changed:
            server.open += 1
            server.changed.notify_all()
        try:
            await talk(peer)
        except ConnectionError:
            pass  # The client went away in the middle, which is what many of these tests are about.
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            failures.append(error)
        finally:
            writer.close()
            tasks.discard(task)
            async with server.changed:
                server.open -= 1
                server.changed.notify_all()

    listener = await asyncio.start_server(serve, host, 0, ssl=tls)
    server = Server(listener.sockets[0].getsockname()[1], "https" if tls else "http")
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for failure in failures:
            raise failure


def saying(*responses: bytes, close: bool = False) -> Talk:
    """A server that answers the n-th request of each connection with the n-th of `responses`, then waits, or closes."""

    async def talk(peer: Peer) -> None:
        for response in responses:
            if not await peer.request():
                return
            await peer.say(response)
        if not close:
            await peer.gone()

    return talk


def ok(body: bytes = b"fine", headers: bytes = b"") -> bytes:
    """Returns a plain response with `Content-Length`."""
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (headers, len(body), body)


def chunked(*chunks: bytes, headers: bytes = b"", trailers: bytes = b"", end: bool = True) -> bytes:
    """Returns a chunked response."""
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    last = b"0\r\n%b\r\n" % trailers if end else b""
    return b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n%b%b" % (headers, framed, last)


EVENT_STREAM = b"Content-Type: text/event-stream\r\n"


@contextlib.asynccontextmanager
async def client(limits: HTTPLimits | None = None, **options: Any) -> AsyncIterator[HTTPClient]:
    """A client that reads nothing from the environment of the test run, closed at the end."""
    options.setdefault("environ", {})
    http = HTTPClient(limits or HTTPLimits(), **options)
    try:
        yield http
    finally:
        await http.aclose()
