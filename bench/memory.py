"""Resident memory of ``metamcp serve``: with no server, and what each idle client adds."""

import asyncio
from pathlib import Path

from bench import client, gateway
from bench.answers import LEGACY
from bench.calls import COUNT, endpoints
from bench.gateway import KEY
from bench.programs import BenchError, Program
from bench.table import Row

__all__ = ["measure"]

EMPTY_MB, SESSION_KB = 60, 8
_PATH = "/metamcp/modern/mcp"
_STREAMS = 1000


def measure(folder: Path, *, quick: bool) -> list[Row]:
    """Measure an empty gateway, and the growth of one by idle modern clients, legacy sessions, and open streams."""
    clients = 500 if quick else 2000
    with gateway.gateway({"mcpServers": {}}, folder) as (process, port):
        gateway.listed(port, "/metamcp/default/mcp")
        empty = process.memory()
    with gateway.upstream(folder) as (_, beside):
        config = endpoints(["modern"])
        config["mcpServers"] = {"modern": {"url": f"http://127.0.0.1:{beside}/modern/{COUNT}"}}
        settings = {"METAMCP_MAX_STREAMS": str(8 * _STREAMS)}
        with gateway.gateway(config, folder, env=settings) as (process, port):
            gateway.await_tools(port, _PATH, sorted(f"modern__tool{n}" for n in range(COUNT)), key=KEY)
            for _ in range(200):  # until the allocator has what it needs
                _visit(port)
                _open(port)
            start = process.memory()
            for _ in range(clients):
                _visit(port)
            modern = process.memory()
            sessions = [_open(port) for _ in range(clients)]
            legacy = process.memory()
            streams = asyncio.run(_with_streams(port, sessions[:_STREAMS], process))
    return [
        Row("memory of metamcp serve without servers", "resident", empty / 1e6, EMPTY_MB, "MB"),
        _row("memory per idle modern client", clients, modern - start, 0.1),
        _row("memory per idle legacy session", clients, legacy - modern, SESSION_KB),
        _row("memory per open GET stream", min(clients, _STREAMS), streams - legacy, None),
    ]


def _row(what: str, count: int, grown: int, budget: float | None) -> Row:
    return Row(what, f"{count:,} of them: {grown / 1e6:.1f} MB", grown / count / 1e3, budget, "kB")


def _visit(port: int) -> None:
    """Be a modern client that lists, calls, and then is idle, which it is without a connection."""
    client.request(port, _PATH, "tools/list", key=KEY)
    client.request(port, _PATH, "tools/call", "modern__tool1", key=KEY)


def _open(port: int) -> str:
    """Be a legacy client that initializes, lists and calls, and then keeps its session."""
    session = client.initialize(port, _PATH, key=KEY)
    client.request(port, _PATH, "tools/list", key=KEY, session=session)
    client.request(port, _PATH, "tools/call", "modern__tool1", key=KEY, session=session)
    return session


async def _with_streams(port: int, sessions: list[str], process: Program) -> int:
    """Return the memory while each of these sessions has its GET stream open."""
    writers: list[asyncio.StreamWriter] = []
    try:
        for session in sessions:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            writer.write(
                f"GET {_PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {KEY}\r\n"
                f"Accept: text/event-stream\r\nMCP-Protocol-Version: {LEGACY}\r\n"
                f"Mcp-Session-Id: {session}\r\n\r\n".encode()
            )
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            if not head.startswith(b"HTTP/1.1 200") or b"text/event-stream" not in head:
                raise BenchError(f"a GET stream was refused: {head!r}")
        return process.memory()
    finally:
        for writer in writers:
            writer.close()
