"""Opens a session on a URL: finds out which era and which transport the server there speaks.

Modern first, then the legacy handshake, then HTTP+SSE (V-06, T-72, eras.md 2.3). An outage is never a verdict.
"""

import contextlib

from metamcp_asgi.config.snapshot import Server
from metamcp_asgi.errors import UpstreamError, UpstreamProtocolError
from metamcp_asgi.protocol import jsonrpc
from metamcp_asgi.protocol.jsonrpc import Message
from metamcp_asgi.protocol.revisions import LATEST_MODERN
from metamcp_asgi.upstream.http import EventStream, message_of, post_headers
from metamcp_asgi.upstream.http1 import Response
from metamcp_asgi.upstream.http_legacy import LegacyHTTP, NotStreamable
from metamcp_asgi.upstream.http_modern import ModernHTTP
from metamcp_asgi.upstream.legacy import HandshakeRefused
from metamcp_asgi.upstream.probe import DISCOVER, judge, wants_retry
from metamcp_asgi.upstream.request import Events, Peer, Session, Terms
from metamcp_asgi.upstream.runtime import Runtime
from metamcp_asgi.upstream.sse import open_sse
from metamcp_asgi.upstream.status import refusal

__all__ = ["open_http"]


async def open_http(server: Server, runtime: Runtime, events: Events, era: str, terms: Terms) -> Session:
    """Open a session on the server's URL.

    Args:
        server: Its configuration.
        runtime: What the process shares.
        events: Gets what happens outside of requests.
        era: ``modern``, ``legacy`` or ``auto``.
        terms: On which terms the session is opened.

    Raises:
        UpstreamError: The server cannot be reached, or speaks nothing that we speak.
    """
    if era != "legacy":
        peer = await _discover(server, runtime)
        if peer is not None:
            return ModernHTTP(server, runtime, events, peer)
        if era == "modern":
            raise UpstreamProtocolError("does not speak a modern revision; set its era to auto or legacy")
    try:
        return await LegacyHTTP.open(server, runtime, events, terms)
    except HandshakeRefused:
        if era == "legacy" or (peer := await _discover(server, runtime)) is None:
            raise
        return ModernHTTP(server, runtime, events, peer)
    except NotStreamable as error:
        try:
            return await open_sse(server, runtime, events, terms)
        except UpstreamError as second:
            raise UpstreamProtocolError(f"{error}; nor HTTP+SSE: {second}") from None


async def _discover(server: Server, runtime: Runtime) -> Peer | None:
    target = runtime.http.target(server.url, post_headers(server, LATEST_MODERN))
    body = jsonrpc.request(1, "server/discover", DISCOVER)
    for attempt in (1, 2):
        response = await runtime.http.send(target, b"POST", b"Mcp-Method: server/discover\r\n", body)
        if response.status in (401, 403, 407, 429) or response.status >= 500 or 300 <= response.status < 400:
            raise refusal(response)
        answer = await _answer(response, runtime.max_message_bytes)
        if attempt == 2 or not wants_retry(answer):
            break
    peer = judge(answer)
    if peer is None and (session_id := response.header(b"mcp-session-id")) is not None:
        # Some legacy servers open a session for a request that they refuse (trap 6).
        with contextlib.suppress(UpstreamError):
            goodbye = runtime.http.target(
                server.url, [*server.headers, ("Mcp-Session-Id", session_id.decode("latin-1"))]
            )
            (await runtime.http.send(goodbye, b"DELETE")).detach()
    return peer


async def _answer(response: Response, limit: int) -> Message | None:
    try:
        if response.event_stream:
            return await EventStream(limit, lambda _: None).read(response, 1)
        return message_of(response)
    except UpstreamError:
        return None
