"""What the servers of a measurement answer, over HTTP and over stdio: lists of any length, and a tool that echoes."""

import functools

import msgspec
from msgspec import UNSET, Raw, UnsetType

__all__ = ["MODERN", "Request", "call", "discover", "initialize", "listing"]

MODERN = "2026-07-28"
LEGACY = "2025-11-25"

_INFO = {"name": "bench", "version": "1"}
_STAMP = b'"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"bench","version":"1"}},'
_FILLER = "A server's answer is a few hundred bytes of text for a model to read. " * 6


class Request(msgspec.Struct, gc=False):
    """A message to a server; a notification has no id."""

    method: str
    id: int | str | UnsetType = UNSET
    params: Raw = Raw(b"{}")


class _Arguments(msgspec.Struct, gc=False):
    text: str


class _Call(msgspec.Struct, gc=False):
    name: str
    arguments: _Arguments


_call = msgspec.json.Decoder(_Call)


def call(params: Raw, *, modern: bool) -> bytes:
    """Return the result of a ``tools/call``: the argument ``text``, and some more.

    Raises:
        msgspec.ValidationError: The params are not those of a tool of ours.
    """
    given = _call.decode(params)
    if not given.name.startswith("tool"):
        raise msgspec.ValidationError(f"no tool {given.name}")
    text = msgspec.json.encode(f"{given.arguments.text} {_FILLER}")
    return b'{%b"content":[{"type":"text","text":%b}],"isError":false}' % (_STAMP if modern else b"", text)


@functools.cache
def listing(count: int, *, modern: bool) -> bytes:
    """Return the result of a ``tools/list`` of ``count`` tools, each of about half a kilobyte."""
    tools = [
        {
            "name": f"tool{number}",
            "title": f"Tool number {number}",
            "description": "Gives back the text that it gets, with a remark of its own. " * 3,
            "inputSchema": {
                "type": "object",
                "properties": {"text": {"type": "string", "description": "What to give back"}},
                "required": ["text"],
                "additionalProperties": False,
            },
        }
        for number in range(count)
    ]
    stamp = b'%b"ttlMs":3600000,"cacheScope":"public",' % _STAMP if modern else b""
    return b'{%b"tools":%b}' % (stamp, msgspec.json.encode(tools))


@functools.cache
def discover() -> bytes:
    """Return the result of ``server/discover``."""
    return b"{%b%b" % (
        _STAMP,
        msgspec.json.encode(
            {"supportedVersions": [MODERN], "capabilities": {"tools": {}}, "ttlMs": 3600000, "cacheScope": "public"}
        )[1:],
    )


@functools.cache
def initialize() -> bytes:
    """Return the result of ``initialize``."""
    return msgspec.json.encode({"protocolVersion": LEGACY, "capabilities": {"tools": {}}, "serverInfo": _INFO})
