"""What one POST and its response are on Streamable HTTP, in either era.

Source: MCP transports.mdx of 2025-11-25 and streamable-http.mdx of 2026-07-28 (T-06, T-30, T-34).
"""

import logging
from collections.abc import Callable

from msgspec import UNSET

from metamcp_asgi.config.snapshot import Server
from metamcp_asgi.errors import UpstreamProtocolError
from metamcp_asgi.protocol import jsonrpc
from metamcp_asgi.protocol.jsonrpc import Message
from metamcp_asgi.protocol.sse import Parser
from metamcp_asgi.upstream.http1 import Response
from metamcp_asgi.upstream.status import refusal

__all__ = ["EventStream", "message_of", "post_headers"]

logger = logging.getLogger("metamcp.upstream")


def post_headers(server: Server, revision: str | None = None) -> list[tuple[str, str]]:
    """Return the headers of every POST to a server.

    Args:
        server: Its configuration.
        revision: The revision, once it is known: without it a stateless legacy server would run a modern
            request by its own rules (trap 7).
    """
    headers = [*server.headers, ("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]
    if revision is not None:
        headers.append(("MCP-Protocol-Version", revision))
    return headers


def message_of(response: Response) -> Message:
    """Return the JSON-RPC message in a response that is not an event stream, whatever its status.

    Raises:
        UpstreamProtocolError: A success status, but no such message.
        UpstreamUnavailable: Another status, and no such message.
    """
    try:
        message = jsonrpc.parse_peer(response.body)
    except ValueError:
        if response.status == 200:
            raise UpstreamProtocolError("answered with something that is not JSON-RPC") from None
        raise refusal(response) from None
    if message.method is not UNSET or (message.error is UNSET and message.result is UNSET):
        raise UpstreamProtocolError("answered with something that is not a response")
    return message


class EventStream:
    """Reads responses and other messages from event streams of one request, or of none.

    Args:
        limit: The largest event, in bytes.
        take: Gets every message that is not the awaited response.
    """

    __slots__ = ("_limit", "_take", "last_id", "retry")

    def __init__(self, limit: int, take: Callable[[Message], None]) -> None:
        self._limit = limit
        self._take = take
        self.last_id: bytes | None = None
        self.retry: int | None = None

    async def read(self, response: Response, number: int | None) -> Message | None:
        """Read one stream until the response to request ``number``, or to its end.

        Returns:
            The response, or ``None`` when the stream ended before it.

        Raises:
            UpstreamError: The stream broke, or an event is too large.
        """
        parser = Parser(self._limit)
        try:
            while chunk := await response.chunk():
                for event in parser.feed(chunk):
                    if event.id is not None:
                        self.last_id = event.id
                    if event.retry is not None:
                        self.retry = event.retry
                    if event.data and (message := self._message(event.data)) is not None:
                        if message.method is UNSET and message.id == number:
                            response.detach()
                            return message
                        self._take(message)
        except BaseException:
            response.close()
            raise
        response.detach()
        return None

    def _message(self, data: bytes) -> Message | None:
        try:
            return jsonrpc.parse_peer(data)
        except ValueError:
            logger.debug("A server sent an event of %d bytes that is not JSON-RPC", len(data))
            return None
