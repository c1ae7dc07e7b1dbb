"""One message, or the messages of a batch, out of the body of a POST."""

from msgspec import UNSET
from starlette.types import Receive, Send

from metamcp_asgi.downstream.inbound import BodyTooLarge, ClientGone, Headers, read_body
from metamcp_asgi.downstream.reply import send_message
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol import jsonrpc
from metamcp_asgi.protocol.jsonrpc import INVALID_REQUEST, Message

__all__ = ["Intake", "check_request"]


class Intake:
    """Reads messages within bounds.

    Args:
        max_body_bytes: The largest body.
        max_header_bytes: The largest headers, all together.
        max_depth: How deep JSON may be nested.
    """

    def __init__(self, *, max_body_bytes: int, max_header_bytes: int, max_depth: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_header_bytes = max_header_bytes
        self._max_depth = max_depth

    def refuses(self, headers: Headers) -> bool:
        """Tell whether the headers of a request are too large."""
        return headers.size > self._max_header_bytes

    async def refuse(self, send: Send) -> None:
        """Answer a request whose headers are too large."""
        await _refuse(send, 431, f"Request headers are larger than {self._max_header_bytes} bytes")

    async def body(self, headers: Headers, receive: Receive, send: Send) -> bytes | None:
        """Return the body of a POST; or answer what is wrong with it, and return ``None``."""
        values = headers.values
        try:
            body = await read_body(receive, values.get(b"content-length"), self._max_body_bytes)
        except BodyTooLarge:
            # Without closing the connection: that would throw the answer away while the client is still sending.
            await _refuse(send, 413, f"The body is larger than {self._max_body_bytes} bytes")
            return None
        except ClientGone:
            # Read by nobody, or by a client that fell silent: the connection is of no further use.
            await _refuse(send, 408, "The body did not arrive", [(b"connection", b"close")])
            return None
        if values.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
            await _refuse(send, 415, "Content-Type must be application/json")
            return None
        return body

    def parse(self, body: bytes) -> Message | list[Message]:
        """Return what a body says.

        Raises:
            ProtocolError: It is no message, and no batch of messages.
        """
        return jsonrpc.parse(body, self._max_depth)


def check_request(message: Message) -> None:
    """Refuse what has a method, and is no request or notification all the same.

    Raises:
        ProtocolError: It is neither.
    """
    if message.id is None:
        raise ProtocolError(INVALID_REQUEST, "Invalid request: id must be a string or an integer")
    if message.result is not UNSET or message.error is not UNSET:
        raise ProtocolError(INVALID_REQUEST, "Invalid request: it is a response as well")


async def _refuse(send: Send, status: int, text: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    await send_message(send, status, jsonrpc.error_response(None, INVALID_REQUEST, text), headers or ())
