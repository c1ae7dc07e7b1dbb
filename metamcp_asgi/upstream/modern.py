"""The upstream leg of the modern revisions: every request stands alone and says who asks.

Source: MCP 2026-07-28 basic/index.mdx "_meta", basic/transports/streamable-http.mdx; eras.md 2.3, 2.5.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import UNSET, Raw

from metamcp_asgi import __version__
from metamcp_asgi.protocol import meta
from metamcp_asgi.protocol.capabilities import NOTHING, Capabilities
from metamcp_asgi.protocol.headers import encode_value
from metamcp_asgi.protocol.jsonrpc import ErrorObject, Members, Message, decode_members, encode
from metamcp_asgi.protocol.outcome import Failure, InputRequired, Outcome, Result, internal
from metamcp_asgi.protocol.revisions import LATEST_MODERN, NAME_OF, TASK_METHODS
from metamcp_asgi.upstream.questions import lacking, refusal
from metamcp_asgi.upstream.request import Peer, Request

__all__ = ["CLIENT_INFO", "ModernLeg", "failure_of", "listen", "peer_of", "request_headers"]

CLIENT_INFO = {"name": "metamcp-asgi", "version": __version__}
MAX_NAME: Final = 256
"""Characters of a name whose header lines are kept; clients choose URIs, so more would let them fill the memory."""


@lru_cache(4096)
def _stamp(capabilities: Capabilities, log_level: str | None) -> bytes:
    """Return what ``_meta`` says of this hop; what is not declared here, the server must not ask for (MR-03)."""
    told = {
        meta.PROTOCOL_VERSION: LATEST_MODERN,
        meta.CLIENT_INFO: CLIENT_INFO,
        meta.CLIENT_CAPABILITIES: Raw(capabilities.json()),
    }
    return encode(told if log_level is None else {**told, meta.LOG_LEVEL: log_level})


_STAMP = _stamp(NOTHING, None)


class ModernLeg:
    """Writes requests with their ``_meta`` and reads results with their ``resultType``."""

    __slots__ = ()

    def params(self, request: Request, token: int) -> bytes:
        """Return the params with the ``_meta`` of this hop added to what passes through."""
        stamp = _STAMP
        if request.capabilities is not NOTHING or request.log_level is not None:
            made = _stamp if request.capabilities.short else _stamp.__wrapped__
            stamp = made(request.capabilities, request.log_level)
        if request.on_progress is not None:
            stamp = b'{"progressToken":%d,%b' % (token, stamp[1:])
        if request.hops is not None:
            stamp = b"%b,%b" % (request.hops.opening, stamp[1:])
        if request.meta:
            stamp = b"%b,%b" % (encode(request.meta)[:-1], stamp[1:])
        if not request.params:
            return b'{"_meta":%b}' % stamp
        return b'%b,"_meta":%b}' % (encode(request.params)[:-1], stamp)

    def outcome(self, message: Message, request: Request) -> Outcome:
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
            return _input_required(members, request)
        if kind == b'"task"' and _task_allowed(members, request):
            return Result(b"", members)
        if kind != b'"complete"':
            return internal(f"The server answered with resultType {kind.decode(errors='replace')[:40]}")
        return Result(b"", members)


def _task_allowed(members: Members, request: Request) -> bool:
    """Tell whether a result may be a task: of a call whose client follows tasks, or what is told of one (TK-01)."""
    # Examples of SEP-2663 have the same type on results of tasks/get (eras.md 5-G).
    method = request.method
    return request.capabilities.tasks and "taskId" in members and (method == "tools/call" or method in TASK_METHODS)


def _input_required(members: Members, request: Request) -> Outcome:
    """Return what the server wants to know; a client is never shown what it did not offer (MR-01 to MR-03)."""
    if request.method not in NAME_OF:
        return internal(f"The server asks for input in {request.method}, where nobody can be asked")
    try:
        told = msgspec.json.decode(encode(members), type=_InputRequired)
        asked = {key: msgspec.json.decode(each, type=_Question) for key, each in told.inputRequests.items()}
    except msgspec.DecodeError as error:
        return internal(f"The server asks for input in a form that is not MCP: {error}")
    for question in asked.values():
        if (refused := refusal(request.capabilities, question.method, question.params)) is not None:
            return lacking(question.method, question.params, refused)
    if not asked and not request.capabilities.interactive:
        return internal("The server asks for input, which was not offered to it")
    if not asked and told.requestState is None:
        return internal("The server asks for input, but not for which")
    return InputRequired(told.inputRequests, told.requestState)


class _InputRequired(msgspec.Struct):
    inputRequests: Members = {}  # noqa: N815
    requestState: str | None = None  # noqa: N815


class _Question(msgspec.Struct):
    method: str
    params: Raw | msgspec.UnsetType = UNSET


def failure_of(error: Raw) -> Failure:
    """Return the failure that an ``error`` member tells of."""
    try:
        told = msgspec.json.decode(error, type=ErrorObject)
    except msgspec.DecodeError:
        return internal("The server answered with a malformed error")
    return Failure(told.code, told.message, None if told.data is UNSET else told.data)


def request_headers(request: Request) -> bytes:
    """Return the header lines that mirror a request (T-31); the version is among the configured headers."""
    name = request.name
    mirror = _mirror if name is None or len(name) <= MAX_NAME else _mirror.__wrapped__
    lines = mirror(request.method, name) + request.param_headers + request.trace
    return lines if request.hops is None else lines + request.hops.line


@lru_cache(4096)
def _mirror(method: str, name: str | None) -> bytes:
    lines = b"Mcp-Method: %b\r\n" % method.encode()
    return lines if name is None else b"%bMcp-Name: %b\r\n" % (lines, encode_value(name))


def listen(peer: Peer, uris: Iterable[str] = ()) -> Request:
    """Return the request that opens a stream of the server's changes (SUB "Opening").

    Args:
        peer: The server; all list changes that it announces are wanted.
        uris: The resources whose updates are wanted, too.
    """
    wanted: dict[str, object] = {f"{kind}ListChanged": True for kind in peer.changes()}
    if uris := sorted(uris):
        wanted["resourceSubscriptions"] = uris
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
