"""A server that is our child and talks on its standard streams.

The era is found by asking (V-07). A server that ignores what comes before ``initialize`` would never answer, so
after a while the handshake is sent as well, and the first of the two answers decides.
"""

import asyncio
from functools import partial
from typing import Final

from metamcp_asgi.config.snapshot import Server
from metamcp_asgi.errors import UpstreamProtocolError
from metamcp_asgi.upstream.channel import Channel, handshake
from metamcp_asgi.upstream.channel_session import ChannelSession
from metamcp_asgi.upstream.child import Child
from metamcp_asgi.upstream.environment import child_environment
from metamcp_asgi.upstream.hearing import hearing
from metamcp_asgi.upstream.legacy import HandshakeRefused
from metamcp_asgi.upstream.probe import DISCOVER, judge
from metamcp_asgi.upstream.request import Events, Peer, Terms, relay
from metamcp_asgi.upstream.runtime import Runtime

__all__ = ["open_stdio"]

PROBE_ALONE: Final = 4.0
"""Seconds that ``server/discover`` has for itself; a modern server that is merely slow still answers it later."""


async def open_stdio(server: Server, runtime: Runtime, events: Events, era: str, terms: Terms) -> ChannelSession:
    """Start the server's process and open a session.

    Args:
        server: Its configuration.
        runtime: What the process shares.
        events: Gets what happens outside of requests.
        era: ``modern``, ``legacy`` or ``auto``.
        terms: On which terms the session is opened.

    Raises:
        UpstreamError: It does not start, or does not speak MCP; with its last lines on stderr in ``__notes__``.
    """
    link = _Link(server, runtime, events, terms)
    try:
        await link.spawn()
        peer = await _open(link.channel, era)
    except BaseException as error:
        await link.stop()
        if stderr := link.stderr:
            error.add_note(stderr)
        raise
    link.opened = True
    return ChannelSession(peer, link.channel, events, link.stop)


class _Link:
    """The child, the channel over its streams, and what the one tells the other."""

    def __init__(self, server: Server, runtime: Runtime, events: Events, terms: Terms) -> None:
        self.channel = Channel(self._send, partial(relay, events), terms)
        self.opened = False
        self._server = server
        self._runtime = runtime
        self._events = events
        self._child: Child | None = None

    async def spawn(self) -> None:
        launch = self._runtime.launch
        command = launch.command(self._server)
        env = child_environment(self._server.env, self._runtime.environ)
        prefix = launch.prefix(self._server, env)
        self._runtime.take_child()
        try:
            self._child = await Child.spawn(
                command,
                self._server.args,
                name=self._server.name,
                env=env,
                cwd=self._server.cwd,
                on_message=self.channel.received,
                on_exit=self._exited,
                max_message_bytes=self._runtime.max_message_bytes,
                reaper=self._runtime.reaper,
                prefix=prefix,
                heard=hearing(self._server, self._runtime.heard),
            )
        except BaseException:
            self._runtime.return_child()
            raise

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
        self._runtime.return_child()
        self.channel.closed(reason)
        if self.opened:
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
