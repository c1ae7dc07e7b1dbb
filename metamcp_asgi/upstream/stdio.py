"""A server that is our child and talks on its standard streams.

The era is found by asking (V-07). A server that ignores what comes before ``initialize`` would never answer, so
after a while the handshake is sent as well, and the first of the two answers decides.
"""

import asyncio
import contextlib
from functools import partial
from typing import Final

from metamcp_asgi.config.snapshot import Server
from metamcp_asgi.errors import UpstreamProtocolError, UpstreamUnavailable
from metamcp_asgi.upstream.channel import Channel, handshake
from metamcp_asgi.upstream.channel_session import ChannelSession
from metamcp_asgi.upstream.child import Child
from metamcp_asgi.upstream.legacy import HandshakeRefused
from metamcp_asgi.upstream.probe import DISCOVER, judge
from metamcp_asgi.upstream.program import Program
from metamcp_asgi.upstream.request import Events, Peer, Terms, relay
from metamcp_asgi.upstream.runtime import Runtime
from metamcp_asgi.upstream.spare import Spare

__all__ = ["open_stdio"]

PROBE_ALONE: Final = 4.0
"""Seconds that ``server/discover`` has for itself; a modern server that is merely slow still answers it later."""


async def open_stdio(
    server: Server, runtime: Runtime, events: Events, era: str, terms: Terms, spare: Spare | None = None
) -> ChannelSession:
    """Start the server's process, or take the one that was started ahead, and open a session.

    Args:
        server: Its configuration.
        runtime: What the process shares.
        events: Gets what happens outside of requests.
        era: ``modern``, ``legacy`` or ``auto``.
        terms: On which terms the session is opened.
        spare: Where private sessions find a process, and leave one for the next; the main session starts its own.

    Raises:
        UpstreamError: It does not start, or does not speak MCP; with its last lines on stderr in ``__notes__``.
    """
    if spare is None or not terms.private:
        return await _session(_Link(server, runtime, events, terms), era)
    session = None
    link = _Link(server, runtime, events, terms)
    if link.take(spare):
        # One that ends now was asked nothing but who it is, so another process may be asked.
        with contextlib.suppress(UpstreamUnavailable):
            session = await _session(link, era)
    if session is None:
        session = await _session(_Link(server, runtime, events, terms), era)
    spare.prepare()
    return session


async def _session(link: "_Link", era: str) -> ChannelSession:
    try:
        await link.start()
        peer = await _open(link.channel, era)
    except BaseException as error:
        await link.stop()
        if stderr := link.stderr:
            error.add_note(stderr)
        raise
    return link.session(peer)


class _Link:
    """The child, the channel over its streams, and what the one tells the other."""

    def __init__(self, server: Server, runtime: Runtime, events: Events, terms: Terms) -> None:
        self.channel = Channel(self._send, partial(relay, events), terms)
        self._opened = False
        self._server = server
        self._runtime = runtime
        self._events = events
        self._child: Child | None = None

    def take(self, spare: Spare) -> bool:
        """Use the process that was started ahead, if there is one."""
        self._child = spare.take(self.channel.received, self._exited)
        return self._child is not None

    async def start(self) -> None:
        """Start a process, unless there is one."""
        if self._child is not None:
            return
        program = Program(self._server, self._runtime)
        await self._runtime.places.take()
        try:
            self._child = await program.start(self.channel.received, self._exited)
        except BaseException:
            self._runtime.places.give_back()
            raise

    def session(self, peer: Peer) -> ChannelSession:
        """Return the session that was opened."""
        self._opened = True
        return ChannelSession(peer, self.channel, self._events, self.stop)

    @property
    def stderr(self) -> str:
        return self._child.stderr if self._child is not None else ""

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop()
        await self.channel.aclose()

    async def _send(self, line: bytes) -> None:
        child = self._child
        assert child is not None
        child.write(line)
        await child.drain()

    def _exited(self, reason: str) -> None:
        self._runtime.places.give_back()
        self.channel.closed(reason)
        if self._opened:
            self._events.lost(reason)


async def _open(channel: Channel, era: str) -> Peer:
    if era == "legacy":
        return await handshake(channel)
    probe = asyncio.create_task(channel.call("server/discover", DISCOVER))
    legacy: asyncio.Task[Peer] | None = None
    try:
        await asyncio.wait({probe}, timeout=PROBE_ALONE if era == "auto" else None)
        if not probe.done():
            legacy = asyncio.create_task(handshake(channel))
            await asyncio.wait({probe, legacy}, return_when=asyncio.FIRST_COMPLETED)
            if legacy.done() and isinstance(legacy.exception(), HandshakeRefused):
                # A modern server that is slow: it refuses the handshake, and its answer to the probe is on its way.
                await asyncio.wait({probe})
        if probe.done():
            if (peer := judge(probe.result())) is not None:
                return peer
            if era == "modern":
                raise UpstreamProtocolError("does not speak a modern revision")
        return await (legacy or handshake(channel))
    finally:
        for task in (probe, legacy):
            if task is not None and not task.done():
                task.cancel()
        await asyncio.gather(*(task for task in (probe, legacy) if task is not None), return_exceptions=True)
