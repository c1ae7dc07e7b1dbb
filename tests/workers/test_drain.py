"""What a process that is told to end does with connections on which no request is in flight."""

import asyncio
import os
import time
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from metamcp_asgi.http_server import bounded
from tests.serving import Served, serving, until

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
APP: ASGIApp = PlainTextResponse("here")


async def connect(served: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    before = len(served._server.server_state.connections)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    await until(lambda: len(served._server.server_state.connections) > before)
    return reader, writer


def end(served: Served) -> None:
    """Tells every connection what uvicorn tells it when the process is to end."""
    for connection in list(served._server.server_state.connections):
        connection.shutdown()


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(REQUEST)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 15)
    assert await asyncio.wait_for(reader.readexactly(4), 15) == b"here"
    return head.lower()


async def test_a_request_on_its_way_is_answered_and_is_the_last() -> None:
    http: Any = bounded(1 << 15, drain_seconds=60)
    async with serving(APP, http=http) as served:
        fresh, used = await connect(served), await connect(served)
        assert b"connection: close" not in await exchange(*used)
        end(served)
        for reader, writer in (fresh, used):
            assert b"\r\nconnection: close\r\n" in await exchange(reader, writer)
            assert await asyncio.wait_for(reader.read(), 15) == b""
            writer.close()


async def test_without_a_request_the_connection_ends() -> None:
    for seconds in (0.0, 0.05):
        http: Any = bounded(1 << 15, drain_seconds=seconds)
        async with serving(APP, http=http) as served:
            reader, writer = await connect(served)
            end(served)
            assert await asyncio.wait_for(reader.read(), 15) == b""
            writer.close()


async def test_a_response_that_promised_to_keep_the_connection_is_followed_by_one_more() -> None:
    more = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"he", "more_body": True})
        await more.wait()
        await send({"type": "http.response.body", "body": b"re"})

    async with serving(app, http=bounded(1 << 15, drain_seconds=60)) as served:
        reader, writer = await connect(served)
        writer.write(REQUEST)
        assert b"connection: close" not in (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 15)).lower()
        end(served)
        more.set()
        assert await asyncio.wait_for(reader.readexactly(4), 15) == b"here"
        assert b"\r\nconnection: close\r\n" in await exchange(reader, writer)
        assert await asyncio.wait_for(reader.read(), 15) == b""
        writer.close()


async def test_a_request_that_nobody_has_read_yet_is_answered() -> None:
    async with serving(APP, http=bounded(1 << 15, drain_seconds=0.05)) as served:
        reader, writer = await connect(served)
        end(served)
        os.write(writer.get_extra_info("socket").fileno(), REQUEST)
        time.sleep(0.2)  # noqa: ASYNC251 - nothing runs meanwhile, so that the connection is to be closed first
        assert b"HTTP/1.1 200" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 15)
        writer.close()
