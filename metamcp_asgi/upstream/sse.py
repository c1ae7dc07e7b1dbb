"""A server that speaks HTTP+SSE, the transport of revision 2024-11-05: one stream down, one URL to post to.

Source: MCP 2024-11-05 basic/transports.mdx "HTTP with SSE" (T-72, T-80).
"""

import asyncio
from functools import partial
from urllib.parse import urljoin, urlsplit

from metamcp_asgi.config.snapshot import Server
from metamcp_asgi.errors import UpstreamError, UpstreamProtocolError, UpstreamUnavailable
from metamcp_asgi.protocol.sse import Parser
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.channel import Channel, handshake
from metamcp_asgi.upstream.channel_session import ChannelSession
from metamcp_asgi.upstream.http1 import Response
from metamcp_asgi.upstream.request import Events, Terms, relay
from metamcp_asgi.upstream.runtime import Runtime
from metamcp_asgi.upstream.status import refusal

__all__ = ["open_sse"]


async def open_sse(server: Server, runtime: Runtime, events: Events, terms: Terms) -> ChannelSession:
    """Open the stream, learn where to post, and shake hands.

    Args:
        server: Its configuration.
        runtime: What the process shares.
        events: Gets what happens outside of requests.
        terms: On which terms the session is opened.

    Raises:
        UpstreamError: It is no such server, or cannot be reached.
    """
    link = _Link(server, runtime, events, terms)
    try:
        await link.connect()
        peer = await handshake(link.channel)
    except BaseException:
        await link.stop()
        raise
    link.opened = True
    return ChannelSession(peer, link.channel, events, link.stop)


class _Link:
    """The stream, the URL to post to, and the channel made of both."""

    def __init__(self, server: Server, runtime: Runtime, events: Events, terms: Terms) -> None:
        self.channel = Channel(self._send, partial(relay, events), terms)
        self.opened = False
        self._server = server
        self._http = runtime.http
        self._limit = runtime.max_message_bytes
        self._events = events
        self._tasks = Tasks()
        self._endpoint: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def connect(self) -> None:
        target = self._http.target(self._server.url, (*self._server.headers, ("Accept", "text/event-stream")))
        response = await self._http.send(target, b"GET")
        if not response.event_stream:
            raise refusal(response)
        self._tasks.start(self._read(response), f"read {self._server.name}")
        posted_to = urljoin(self._server.url, await self._endpoint)
        # The stream could name any URL; our credentials go to the origin that was configured and nowhere else.
        if urlsplit(posted_to)[:2] != urlsplit(self._server.url)[:2]:
            raise UpstreamProtocolError("names an endpoint on another origin")
        self._post = self._http.target(
            posted_to,
            (*self._server.headers, ("Content-Type", "application/json"), ("Accept", "application/json")),
        )

    async def stop(self) -> None:
        await self._tasks.aclose()
        await self.channel.aclose()

    async def _read(self, response: Response) -> None:
        parser = Parser(self._limit)
        reason = "closed its event stream"
        try:
            while chunk := await response.chunk():
                for event in parser.feed(chunk):
                    if event.event == b"endpoint":
                        if not self._endpoint.done():
                            self._endpoint.set_result(event.data.decode("ascii", "replace"))
                    elif event.event == b"message" and event.data:
                        self.channel.received(event.data)
        except UpstreamError as error:
            reason = str(error)
        finally:
            response.close()
        if not self._endpoint.done():
            self._endpoint.set_exception(UpstreamUnavailable(reason))
        self.channel.closed(reason)
        if self.opened:
            self._events.lost(reason)

    async def _send(self, line: bytes) -> None:
        response = await self._http.send(self._post, b"POST", b"", line)
        status = response.status
        response.detach()
        if not 200 <= status < 300:
            raise refusal(response)
