"""The upstream leg of the legacy revisions: a handshake, then requests that rely on it.

Source: MCP 2025-11-25 basic/lifecycle.mdx; eras.md 2.3, 2.5.
"""

from functools import lru_cache

import msgspec
from msgspec import UNSET, Raw

from metamcp_asgi.errors import UpstreamProtocolError
from metamcp_asgi.protocol.capabilities import Capabilities
from metamcp_asgi.protocol.hops import HOPS
from metamcp_asgi.protocol.jsonrpc import UNSUPPORTED_VERSION, Message, encode
from metamcp_asgi.protocol.outcome import Outcome, Result, internal
from metamcp_asgi.protocol.revisions import LATEST_LEGACY, LEGACY
from metamcp_asgi.upstream.modern import CLIENT_INFO, failure_of
from metamcp_asgi.upstream.request import Peer, Request

__all__ = ["HandshakeRefused", "LegacyLeg", "initialize", "read_initialize"]


@lru_cache(256)
def initialize(capabilities: Capabilities) -> bytes:
    """Return the params of ``initialize``.

    Args:
        capabilities: What is declared, for as long as the session lives (trap 4). Without any, a server may ask nothing
            of the client, so that one session serves everybody (eras.md 2.2).
    """
    declared = Raw(capabilities.json(legacy=True))
    return encode({"protocolVersion": LATEST_LEGACY, "capabilities": declared, "clientInfo": CLIENT_INFO})


class HandshakeRefused(UpstreamProtocolError):
    """The server refuses the version of a handshake: it is a modern one, and has to be probed again."""


class LegacyLeg:
    """Writes requests without the fields of modern hops and carries results as they are."""

    __slots__ = ()

    def params(self, request: Request, token: int) -> bytes:
        """Return the params, with ``_meta`` only where there is something in it."""
        meta = request.meta
        if request.on_progress is not None:
            meta = {**meta, "progressToken": Raw(b"%d" % token)}
        if request.hops is not None:
            meta = {**meta, HOPS: request.hops.value}
        if not meta:
            return encode(request.params)
        return encode({**request.params, "_meta": Raw(encode(meta))})

    def outcome(self, message: Message, request: Request) -> Outcome:
        """Return what the response to a request says."""
        if message.error is not UNSET:
            return failure_of(message.error)
        if message.result is UNSET or bytes(message.result)[:1] != b"{":
            return internal("The server answered without a result object")
        return Result(message.result)


def read_initialize(answer: Message) -> Peer:
    """Return what the answer to ``initialize`` says of the server.

    Raises:
        UpstreamProtocolError: It refuses, or the answer is no ``InitializeResult`` of a revision with a handshake.
    """
    if answer.result is UNSET:
        failure = failure_of(answer.error) if answer.error is not UNSET else internal("no result")
        kind = HandshakeRefused if failure.code == UNSUPPORTED_VERSION else UpstreamProtocolError
        raise kind(f"refused to initialize: {failure.message[:200]} ({failure.code})")
    try:
        told = msgspec.json.decode(answer.result, type=_Initialized)
    except msgspec.DecodeError as error:
        raise UpstreamProtocolError(f"answered initialize with something else: {error}") from None
    if told.protocolVersion not in LEGACY:
        raise UpstreamProtocolError(f"wants revision {told.protocolVersion[:40]!r}, which no handshake can agree on")
    return Peer(
        era="legacy",
        revision=told.protocolVersion,
        capabilities=told.capabilities,
        server_info=told.serverInfo,
        instructions=told.instructions or "",
    )


class _Initialized(msgspec.Struct):
    protocolVersion: str  # noqa: N815
    capabilities: dict[str, object] = {}
    serverInfo: dict[str, object] = {}  # noqa: N815
    instructions: str | None = None
