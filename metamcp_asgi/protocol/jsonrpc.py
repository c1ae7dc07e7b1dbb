"""The JSON-RPC 2.0 envelope as MCP uses it; what is inside a message stays bytes.

Only the envelope is decoded. ``params``, ``result`` and ``error`` are carried as ``msgspec.Raw``, so that
a payload passes through without being parsed, changed or copied more than once.

Knows nothing of transports, revisions or methods. Source: JSON-RPC 2.0 specification;
MCP 2026-07-28 basic/index.mdx "Messages" and "Error Codes".
"""

import re
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from metamcp_asgi.errors import ProtocolError

__all__ = [
    "HEADER_MISMATCH",
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "METHOD_NOT_FOUND",
    "MISSING_CAPABILITY",
    "PARSE_ERROR",
    "RATE_LIMITED",
    "RESOURCE_NOT_FOUND",
    "UNSUPPORTED_VERSION",
    "ErrorObject",
    "Members",
    "Message",
    "RequestId",
    "decode_client",
    "decode_members",
    "encode",
    "error_response",
    "notification",
    "parse",
    "parse_object",
    "parse_peer",
    "request",
    "response",
    "response_head",
    "single_line",
]

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
RESOURCE_NOT_FOUND: Final = -32002
"""Revisions up to 2025-11-25 only; 2026-07-28 forbids it and uses ``INVALID_PARAMS`` (ER-03)."""
HEADER_MISMATCH: Final = -32020
MISSING_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022
RATE_LIMITED: Final = 42900
"""Of ours, outside of what JSON-RPC and MCP keep for themselves (eras.md 2.12)."""

RequestId: TypeAlias = int | str
Members: TypeAlias = dict[str, Raw]
"""The members of a JSON object by name, each value still in its own bytes."""


class Message(Struct, gc=False):
    """One envelope: a request, a notification or a response, by which members are set."""

    jsonrpc: Literal["2.0"]
    id: RequestId | None | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


class ErrorObject(Struct):
    """The ``error`` member of a response. Tolerant, for servers that leave the message out."""

    code: int = INTERNAL_ERROR
    message: str = ""
    data: Raw | UnsetType = UNSET


encode: Final = msgspec.json.Encoder().encode
_message = msgspec.json.Decoder(Message).decode
_batch = msgspec.json.Decoder(list[Message]).decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_raws = msgspec.json.Decoder(list[Raw]).decode

_ESCAPE = re.compile(rb"\\u[dD][89aAbB]..\\u[dD][c-fC-F]..|\\u([dD][89a-fA-F]..)|\\.", re.DOTALL)
_OPENS: Final = bytes.maketrans(b"[{]}", b"\1\1\0\0")
_NO_BRACKET: Final = bytes(set(range(256)) - set(b"[]{}"))
_NAME = re.compile(rb'[\s{,]*"(?:[^"\\]++|\\.)*+"\s*:\s*', re.DOTALL)


def parse(body: bytes, max_depth: int) -> Message | list[Message]:
    """Decode what a client sent: one message, or the messages of a batch.

    Strict, because the gateway and whatever else reads the message must never read two different things in it:
    UTF-8 only, no NaN or Infinity, nesting bounded, and no member of the envelope twice; ``decode_client`` sees to
    the members of what is inside.

    Args:
        body: The request body.
        max_depth: How many arrays and objects may be nested.

    Raises:
        ProtocolError: ``PARSE_ERROR`` when it is not such JSON, ``INVALID_REQUEST`` when it is JSON but no envelope.
    """
    try:
        if not body.isascii():
            body.decode()
        message = _batch(body) if body.lstrip()[:1] == b"[" else _message(body)
    except msgspec.ValidationError as error:
        raise ProtocolError(INVALID_REQUEST, f"Invalid request: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(PARSE_ERROR, f"Parse error: {error}") from None
    _refuse_depth(body, max_depth)
    if isinstance(message, list):
        for raw in _raws(body):
            decode_client(raw)
    elif len(body) != _compact_length(message):
        _refuse_duplicates(body, _members(body))
    return message


def parse_object(body: bytes, max_depth: int) -> Members:
    """Decode a JSON object that a client sent outside of JSON-RPC, as strictly as ``parse``.

    Args:
        body: The object.
        max_depth: How many arrays and objects may be nested.

    Raises:
        ProtocolError: ``PARSE_ERROR`` when it is not such JSON, ``INVALID_REQUEST`` when it is JSON but no object.
    """
    try:
        if not body.isascii():
            body.decode()
        members = decode_client(body)
    except msgspec.ValidationError as error:
        raise ProtocolError(INVALID_REQUEST, f"It is no JSON object: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(PARSE_ERROR, f"Parse error: {error}") from None
    _refuse_depth(body, max_depth)
    return members


def parse_peer(line: bytes) -> Message:
    """Decode one message from a server; tolerates what real servers send and JSON forbids.

    Node servers cut strings within a character, which leaves half a surrogate pair (``"\\ud83d"``); others send bytes
    that are not UTF-8. A strict reader would lose the whole message, so U+FFFD takes the place of such a character,
    here, before any client sees it. Every other byte stays as it is.

    Raises:
        ValueError: It is not a JSON-RPC message.
    """
    if not line.isascii():
        line = line.decode("utf-8", "replace").encode()
    # One byte is found at the speed of memory, and most messages have no escape at all.
    if line.find(b"\\") >= 0 and (b"\\ud" in line or b"\\uD" in line):
        line = _ESCAPE.sub(_without_half_pair, line)
    try:
        return _message(line)
    except RecursionError:
        raise ValueError("JSON nested too deep") from None


def decode_members(value: Raw | bytes) -> Members:
    """Split a JSON object into its members without decoding them.

    Raises:
        msgspec.ValidationError: It is not an object.
    """
    return _members(value)


def decode_client(value: Raw | bytes) -> Members:
    """Split a JSON object that a client sent into its members, none of which may come twice.

    Args:
        value: A value out of a message that ``parse`` accepted.

    Raises:
        msgspec.ValidationError: It is not an object.
        ProtocolError: ``PARSE_ERROR`` when it names a member twice.
    """
    members = _members(value)
    # A text as short as its members can be written has nothing else in it, so most calls are spared the closer look.
    if len(value) != 1 + 4 * len(members) + sum(map(len, members)) + sum(map(len, members.values())):
        _refuse_duplicates(bytes(value), members)
    return members


def response(request_id: RequestId, result: bytes | Raw) -> bytes:
    """Return a success response around ``result``, which must be a JSON value in bytes."""
    return b"".join((b'{"jsonrpc":"2.0","id":', encode(request_id), b',"result":', result, b"}"))


def response_head(request_id: RequestId) -> bytes:
    """Return what comes before the result in a success response; a closing brace ends it."""
    return b'{"jsonrpc":"2.0","id":%b,"result":' % encode(request_id)


def error_response(request_id: RequestId | None, code: int, message: str, data: object = None) -> bytes:
    """Return an error response; ``data`` may be any JSON-serialisable value or ``Raw``; ``None`` leaves it out."""
    error: dict[str, object] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return encode({"jsonrpc": "2.0", "id": request_id, "error": error})


def request(request_id: RequestId, method: str, params: bytes) -> bytes:
    """Return a request with ``params`` as they are."""
    return b'{"jsonrpc":"2.0","id":%b,"method":%b,"params":%b}' % (encode(request_id), encode(method), params)


def notification(method: str, params: bytes | None = None) -> bytes:
    """Return a notification, without ``params`` when there are none."""
    if params is None:
        return b'{"jsonrpc":"2.0","method":%b}' % encode(method)
    return b'{"jsonrpc":"2.0","method":%b,"params":%b}' % (encode(method), params)


def single_line(data: bytes) -> bytes:
    """Return the same JSON on one line, as stdio and SSE framing need; line ends only occur between its tokens."""
    if b"\n" in data or b"\r" in data:
        return data.replace(b"\r", b" ").replace(b"\n", b" ")
    return data


def _refuse_depth(body: bytes, max_depth: int) -> None:
    if body.count(b"{") + body.count(b"[") > max_depth and _deeper_than(max_depth, body):
        raise ProtocolError(PARSE_ERROR, f"Parse error: JSON nested deeper than {max_depth} levels")


def _deeper_than(limit: int, body: bytes) -> bool:
    """Tell whether arrays and objects of a well-formed JSON text are nested deeper than ``limit``."""
    # Without its escapes, every second part between quotes is a string. A regular expression would need a hundred
    # times the memory of a long string, and a microsecond for each short one.
    parts = body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
    depth = 0
    for opens in b"".join(parts[::2]).translate(_OPENS, _NO_BRACKET):
        depth += 1 if opens else -1
        if depth > limit:
            return True
    return False


def _compact_length(message: Message) -> int:
    """Return the length of a message's text, if it is as short as it can be written."""
    request_id, method = message.id, message.method
    length = 17  # {"jsonrpc":"2.0"}
    if request_id is not UNSET:
        length += 6 + (len(request_id) + 2 if isinstance(request_id, str) else len(str(request_id)))
    if method is not UNSET:
        length += 12 + len(method)
    if message.params is not UNSET:
        length += 10 + len(message.params)
    if message.result is not UNSET:
        length += 10 + len(message.result)
    if message.error is not UNSET:
        length += 9 + len(message.error)
    return length


def _refuse_duplicates(text: bytes, members: Members) -> None:
    """Raise when an object names a member twice: readers disagree which one counts.

    ``members`` has each name once. So the object does, too, if it is these members one after the other to its end.
    """
    position = 0
    for value in members.values():
        name = _NAME.match(text, position)
        position = name.end() + len(value) if name is not None else len(text)
        if name is None or text[name.end() : position] != bytes(value):
            break
    if members and text[position:].strip() != b"}":
        raise ProtocolError(PARSE_ERROR, "Parse error: an object names the same member twice")


def _without_half_pair(escape: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if escape[1] else escape[0]
