"""A proxy that gives every request a connection of its own, so that no client stays with one process of a gateway."""

import asyncio
import contextlib
import re
import threading
from collections.abc import Iterator

_HEAD = 1 << 20
_CONNECTION = re.compile(rb"(?im)^connection:[^\r\n]*\r\n")


@contextlib.contextmanager
def spreading(port: int) -> Iterator[int]:
    """Runs a proxy in front of a port for the length of a `with` block; yields its own port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await _one_request(reader, writer, port)
        finally:
            connections.discard(task)
            writer.close()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(connected, "127.0.0.1", 0, limit=_HEAD)

    async def stop(server: asyncio.Server) -> None:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _one_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    line, _, lines = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
    there, back = await asyncio.open_connection("127.0.0.1", port)
    back.write(line + b"\r\nConnection: close\r\n" + _CONNECTION.sub(b"", lines))
    body = asyncio.create_task(_copy(reader, back))
    try:
        # The server ends the connection with its response; a client that leaves before ends it, too.
        await _copy(there, writer)
    finally:
        body.cancel()
        await asyncio.gather(body, return_exceptions=True)
        back.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()
