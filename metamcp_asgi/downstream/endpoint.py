"""The MCP endpoint: one URL for both eras, told apart request by request.

The ladder of eras.md 2.1, written as a ladder. Whatever comes here has been routed, admitted and counted by the
layers outside; ``metamcp.endpoint`` and ``metamcp.principal`` are in the scope.
"""

from collections.abc import Awaitable
from typing import Final

import msgspec
from msgspec import UNSET
from starlette.types import Receive, Scope, Send

from metamcp_asgi.asgi.answers import send_refusal
from metamcp_asgi.config.snapshot import ANONYMOUS, Endpoint, Principal
from metamcp_asgi.downstream.inbound import Headers, read_headers
from metamcp_asgi.downstream.intake import Intake, check_request
from metamcp_asgi.downstream.legacy import LegacyLeg
from metamcp_asgi.downstream.modern import ModernLeg
from metamcp_asgi.downstream.reply import send_message
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol import jsonrpc, meta
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, INVALID_REQUEST, Members, Message
from metamcp_asgi.protocol.revisions import LEGACY, MODERN

__all__ = ["MCPEndpoint"]

_LEGACY_HEADERS: Final = frozenset(version.encode() for version in LEGACY)
_MODERN_HEADERS: Final = frozenset(version.encode() for version in MODERN)
_SESSION: Final = b"mcp-session-id"


class MCPEndpoint:
    """The ASGI application behind ``/metamcp/{endpoint}/mcp``.

    Args:
        modern: The leg of the modern revisions.
        legacy: The leg of the legacy revisions.
        intake: Reads messages.
        streams: Whether legacy sessions have a stream of their own, and an end before their time.
    """

    def __init__(self, modern: ModernLeg, legacy: LegacyLeg, intake: Intake, *, streams: bool = True) -> None:
        self._streams = streams
        self._modern = modern
        self._legacy = legacy
        self._intake = intake

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one HTTP request; a plain call, which costs no coroutine of its own."""
        endpoint: Endpoint = scope["metamcp.endpoint"]
        principal: Principal = scope.get("metamcp.principal", ANONYMOUS)
        headers = read_headers(scope["headers"])
        if self._intake.refuses(headers):
            return self._intake.refuse(send)
        method = scope["method"]
        if method == "POST":
            return self._post(endpoint, principal, headers, scope, receive, send)
        if method in ("GET", "DELETE"):
            return self._without_body(method, endpoint, principal, headers, scope, receive, send)
        return _method_not_allowed(scope, send, b"POST, GET, DELETE")

    async def _without_body(
        self,
        method: str,
        endpoint: Endpoint,
        principal: Principal,
        headers: Headers,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        version = headers.values.get(b"mcp-protocol-version", b"").strip()
        if not self._streams or (version and version not in _LEGACY_HEADERS):
            # A modern client has no use for either method (T-11), a legacy one lives without (T-56, T-59).
            await _method_not_allowed(scope, send, b"POST")
        elif _SESSION in headers.values:
            if method == "GET":
                await self._legacy.stream(endpoint, principal, headers, scope, receive, send)
            else:
                await self._legacy.end(endpoint, principal, headers, scope, send)
        elif method == "GET":
            await _method_not_allowed(scope, send, b"POST")
        else:
            body = {"error": "Missing sessionId", "message": "DELETE needs the header Mcp-Session-Id"}
            await send_refusal(scope, send, 400, body)

    async def _post(
        self,
        endpoint: Endpoint,
        principal: Principal,
        headers: Headers,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        values = headers.values
        body = await self._intake.body(headers, receive, send)
        if body is None:
            return
        try:
            message = self._intake.parse(body)
            if isinstance(message, list) or message.method is UNSET:
                # Batches and responses exist within legacy sessions only (T-04, T-51).
                if _SESSION not in values:
                    raise ProtocolError(INVALID_REQUEST, "The body must be a single request or notification")
                await self._legacy.post(endpoint, principal, headers, message, scope, receive, send)
                return
            check_request(message)
            request_id = None if message.id is UNSET else message.id
            params, fields = _params(message)
        except ProtocolError as error:
            await send_message(send, 400, jsonrpc.error_response(None, error.code, error.message, error.data))
            return
        declared = fields is not None and meta.PROTOCOL_VERSION in fields
        if message.method == "initialize" and not declared and request_id is not None:
            await self._legacy.initialize(endpoint, principal, request_id, params, send)
        elif _is_modern(values, declared):
            await self._modern.handle(
                endpoint, principal, headers, message.method, request_id, params, fields, receive, send
            )
        elif _SESSION in values:
            await self._legacy.post(endpoint, principal, headers, message, scope, receive, send)
        else:
            text = "Missing session ID: initialize first, or declare a protocol version in params._meta"
            await send_message(send, 400, jsonrpc.error_response(request_id, INVALID_REQUEST, text))


def _params(message: Message) -> tuple[Members, Members | None]:
    """Return the params of a request without ``_meta``, and the members of that, ``None`` when it is no object."""
    if message.params is UNSET:
        return {}, {}
    try:
        params = jsonrpc.decode_client(message.params)
    except msgspec.ValidationError:
        raise ProtocolError(INVALID_PARAMS, "params must be an object") from None
    try:
        fields = params.pop("_meta", None)
        return params, jsonrpc.decode_client(fields) if fields is not None else {}
    except msgspec.ValidationError:
        return params, None


def _is_modern(values: dict[bytes, bytes], declared: bool) -> bool:
    """Tell whether a request goes the modern ladder (eras.md 2.1, step 5).

    Within a legacy session a legacy header decides: a bridge may carry the body of a modern client in it.
    """
    header = values.get(b"mcp-protocol-version", b"").strip()
    if header in _LEGACY_HEADERS:
        return declared and _SESSION not in values
    if _SESSION in values and not declared and header not in _MODERN_HEADERS:
        return False
    return declared or bool(header)


async def _method_not_allowed(scope: Scope, send: Send, allowed: bytes) -> None:
    body = {"error": "Method not allowed", "message": f"This URL takes {allowed.decode()} here"}
    await send_refusal(scope, send, 405, body, [(b"allow", allowed)])
