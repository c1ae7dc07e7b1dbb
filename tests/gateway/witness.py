"""Tells a test what happened inside the servers, in this process or in their children.

A child sends datagrams to a socket; servers in the same process report directly.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol


class Reports(Protocol):
    """Where a server says what happens in it."""

    def report(self, what: str) -> None:
        """Report one thing."""


class Witness(asyncio.DatagramProtocol):
    """Collects what was reported and lets tests wait for it."""

    def __init__(self) -> None:
        self.reports: list[str] = []
        self._news = asyncio.Event()

    def report(self, what: str) -> None:
        self.reports.append(what)
        self._news.set()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.report(data.decode())

    async def saw(self, what: str, timeout: float = 30.0) -> None:
        """Waits until something was reported."""
        async with asyncio.timeout(timeout):
            while what not in self.reports:
                self._news.clear()
                await self._news.wait()


@contextlib.asynccontextmanager
async def witness_at(path: Path) -> AsyncIterator[Witness]:
    """Listens on a Unix socket for the length of a `with` block."""
    loop = asyncio.get_running_loop()
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(str(path))
    receiver.setblocking(False)
    transport, witness = await loop.create_datagram_endpoint(Witness, sock=receiver)
    try:
        yield witness
    finally:
        transport.close()


class RemoteWitness:
    """Reports from a child to the socket of its test."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def report(self, what: str) -> None:
        self._socket.sendto(what.encode(), self._path)
