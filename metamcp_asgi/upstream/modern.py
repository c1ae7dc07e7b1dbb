"""The upstream leg of the modern revisions: every request stands alone and says who asks.

Source: MCP 2026-07-28 basic/index.mdx "_meta", basic/transports/streamable-http.mdx; eras.md 2.3, 2.5.
"""

from functools import lru_cache

import msgspec
from msgspec import UNSET, Raw

from metamcp_asgi import __version__
from metamcp_asgi.protocol import meta
from metamcp_asgi.protocol.headers import encode_value
from metamcp_asgi.protocol.jsonrpc import ErrorObject, Message, decode_members, encode
from metamcp_asgi.protocol.outcome import Failure, Outcome, Result, internal
from metamcp_asgi.protocol.revisions import LATEST_MODERN
from metamcp_asgi.upstream.request import Peer, Request

__all__ = ["CLIENT_INFO", "ModernLeg", "failure_of", "listen", "peer_of", "request_headers"]

CLIENT_INFO = {"name": "metamcp-asgi", "version": __version__}

# No capability that needs the client is declared yet, so a server cannot ask for input (eras.md 2.2).
_STAMP = encode({meta.PROTOCOL_VERSION: LATEST_MODERN, meta.CLIENT_INFO: CLIENT_INFO, meta.CLIENT_CAPABILITIES: {}})


class ModernLeg:
    """Writes requests with their ``_meta`` and reads results with their ``resultType``."""

    __slots__ = ()

    def params(self, request: Request, token: int) -> bytes:
        """Return the params with the ``_meta`` of this hop added to what passes through."""
        stamp = _STAMP
        if request.on_progress is not None:
            stamp = b'{"progressToken":%d,%b' % (token, stamp[1:])
        if request.hops is not None:
            stamp = b"%b,%b" % (request.hops.opening, stamp[1:])
        if request.meta:
            stamp = b"%b,%b" % (encode(request.meta)[:-1], stamp[1:])
        if not request.params:
            return b'{"_meta":%b}' % stamp
        return b'%b,"_meta":%b}' % (encode(request.params)[:-1], stamp)

    def outcome(self, message: Message) -> Outcome:
        """Return what a response says; a ``resultType`` that we did not negotiate is invalid (ME-02)."""
        if message.error is not UNSET:
            return failure_of(message.error)
        try:
            members = decode_members(message.result) if message.result is not UNSET else None
        except msgspec.ValidationError:
            members = None
        if members is None:
            return internal("The server answered without a result object")
        kind = bytes(members.get("resultType", b'"complete"'))
        if kind == b'"input_required"':
            return internal("The server asks for input, which was not offered to it")
        if kind != b'"complete"':
            return internal(f"The server answered with resultType {kind.decode(errors='replace')[:40]}")
        return Result(b"", members)


def failure_of(error: Raw) -> Failure:
    """Return the failure that an ``error`` member tells of."""
    try:
        told = msgspec.json.decode(error, type=ErrorObject)
    except msgspec.DecodeError:
        return internal("The server answered with a malformed error")
    return Failure(told.code, told.message, None if told.data is UNSET else told.data)


def request_headers(request: Request) -> bytes:
    """Return the header lines that mirror a request (T-31); the version is among the configured headers."""
    lines = _mirror(request.method, request.name) + request.param_headers
    return lines if request.hops is None else lines + request.hops.line


@lru_cache(4096)
def _mirror(method: str, name: str | None) -> bytes:
    lines = b"Mcp-Method: %b\r\n" % method.encode()
    return lines if name is None else b"%bMcp-Name: %b\r\n" % (lines, encode_value(name))


def listen(peer: Peer) -> Request:
    """Return the request that opens a stream of the server's list changes (SUB "Opening")."""
    wanted = {f"{kind}ListChanged": True for kind in peer.changes()}
    return Request("subscriptions/listen", {"notifications": Raw(encode(wanted))})


def peer_of(result: Raw) -> Peer:
    """Return what a ``DiscoverResult`` says of the server.

    Raises:
        msgspec.ValidationError: It is none.
    """
    told = msgspec.json.decode(result, type=Discovered)
    info = told.meta.get(meta.SERVER_INFO, told.serverInfo)
    return Peer(
        era="modern",
        revision=LATEST_MODERN,
        capabilities=told.capabilities,
        server_info=info if isinstance(info, dict) else {},
        instructions=told.instructions or "",
    )


class Discovered(msgspec.Struct):
    """The members of a ``DiscoverResult`` that matter to us."""

    supportedVersions: list[str]  # noqa: N815
    capabilities: dict[str, object] = {}
    instructions: str | None = None
    serverInfo: dict[str, object] = {}  # noqa: N815  # SEP-2575 before its final form had it here
    meta: dict[str, object] = msgspec.field(name="_meta", default_factory=dict)
