"""What a client of an older revision gets in place of what it cannot parse (eras.md 2.17): results, and lines of lists.

Everything inside has the form of the latest revisions, so this is only ever a step down, by the revision of the client
alone. Members that a revision merely does not know stay in results, because readers pass over them; in lists they are
left out, where that is done once for many. Nothing is decoded that cannot need it.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from metamcp_asgi.protocol.jsonrpc import Members, decode_members, encode
from metamcp_asgi.protocol.revisions import LEGACY

__all__ = ["item", "object_schema", "result"]

_NOVEMBER_2025, _JUNE_2025, _MARCH_2025, _NOVEMBER_2024 = LEGACY

_BLOCKS: Final = {_MARCH_2025: frozenset({"resource_link"}), _NOVEMBER_2024: frozenset({"resource_link", "audio"})}
"""The kinds of content that a revision does not have; its readers refuse the whole result for one of them."""

_UNSTRUCTURED: Final = (_MARCH_2025, _NOVEMBER_2024)
"""The revisions without ``structuredContent`` and ``outputSchema``; later ones have it for objects (TO-06)."""

_NOT_AN_OBJECT: Final = re.compile(rb'"structuredContent"\s*:\s*[^\s{]')
_SUSPECT: Final = {
    _NOVEMBER_2025: _NOT_AN_OBJECT,
    _JUNE_2025: _NOT_AN_OBJECT,
    _MARCH_2025: re.compile(rb'"(?:resource_link|structuredContent)"'),
    _NOVEMBER_2024: re.compile(rb'"(?:resource_link|structuredContent|audio)"'),
}
"""What is somewhere in every result that is not as a revision has it. Within a text its quotes would be escaped."""

_WITH_CONTENT: Final = ("tools/call", "prompts/get")

_JUNE_LACKS: Final = frozenset({"icons", "execution"})
_MARCH_LACKS: Final = _JUNE_LACKS | {"title", "_meta", "outputSchema"}
_LACKS: Final = {
    _NOVEMBER_2025: frozenset[str](),
    _JUNE_2025: _JUNE_LACKS,
    _MARCH_2025: _MARCH_LACKS,
    _NOVEMBER_2024: _MARCH_LACKS,
}
"""The members of definitions that a revision does not have. Annotations of tools are a case of their own: the oldest
revision has annotations, but of resources."""


def result(raw: bytes | Raw, method: str, revision: str) -> bytes | Raw:
    """Return a result as a client of a legacy revision can parse it; nearly always that is what was given.

    Args:
        raw: The result, already without what no legacy revision has (``meta.legacy_result``).
        method: What it is the result of.
        revision: The client's revision.
    """
    if method not in _WITH_CONTENT or _SUSPECT[revision].search(raw) is None:
        return raw
    try:
        members = decode_members(raw)
        changed = _prompt(members, revision) if method == "prompts/get" else _tool(members, revision)
    except msgspec.DecodeError:
        # It is not what the method returns in any revision; that is for its server to answer for.
        return raw
    return encode(changed) if changed is not members else raw


def item(line: bytes, method: str, revision: str) -> bytes:
    """Return one line of a list with no member that a legacy revision does not have.

    Args:
        line: The definition, as JSON in the form of the latest legacy revision.
        method: The list.
        revision: The client's revision.
    """
    lacks = _LACKS[revision]
    if method == "tools/list" and revision == _NOVEMBER_2024:
        lacks |= {"annotations"}
    if not any(b'"%b"' % member.encode() in line for member in lacks):
        return line
    members = decode_members(line)
    kept = {name: value for name, value in members.items() if name not in lacks}
    return encode(kept) if len(kept) < len(members) else line


def object_schema(schema: Raw | None) -> bool:
    """Tell whether an ``outputSchema`` is of an object, as every legacy revision wants it; none at all is, too."""
    if schema is None:
        return True
    try:
        return bool(msgspec.json.decode(schema, type=_Schema).type == "object")
    except msgspec.DecodeError:
        return False


class _Schema(Struct):
    type: Any = None


class _Block(Struct):
    """A block of content, as far as it has to be told in words."""

    type: str = ""
    text: str = ""
    name: str = ""
    title: str | None = None
    uri: str = ""
    description: str | None = None
    mimeType: str | None = None  # noqa: N815
    data: Raw = Raw(b'""')
    annotations: Raw | UnsetType = UNSET


class _Text(Struct, omit_defaults=True):
    text: str
    type: str = "text"
    annotations: Raw | UnsetType = UNSET

    def json(self) -> Raw:
        return Raw(b'{"type":"text",%b' % encode(self)[1:])


def _tool(members: Members, revision: str) -> Members:
    given = msgspec.json.decode(members.get("content", Raw(b"[]")), type=list[Raw])
    blocks = [_block(block, revision) for block in given]
    structured = members.get("structuredContent")
    drop = structured is not None and (revision in _UNSTRUCTURED or not bytes(structured).startswith(b"{"))
    if not drop and blocks == given:
        return members
    changed = dict(members)
    if drop and structured is not None:
        del changed["structuredContent"]
        if not _told(structured, blocks):
            blocks.append(_Text(bytes(structured).decode()).json())
    changed["content"] = Raw(encode(blocks))
    return changed


def _prompt(members: Members, revision: str) -> Members:
    given = msgspec.json.decode(members.get("messages", Raw(b"[]")), type=list[Members])
    messages = [
        {**message, "content": _block(message["content"], revision)} if "content" in message else message
        for message in given
    ]
    if messages == given:
        return members
    return {**members, "messages": Raw(encode(messages))}


def _block(block: Raw, revision: str) -> Raw:
    """Return a block of content as it is, or in words where the revision has no such block."""
    lacks = _BLOCKS.get(revision)
    if lacks is None:
        return block
    told = msgspec.json.decode(block, type=_Block)
    if told.type not in lacks:
        return block
    kind = f" ({told.mimeType})" if told.mimeType else ""
    if told.type == "audio":
        # Not as a blob: a host that has no use for audio would show its base64 to the model.
        text = f"[audio{kind} of {(len(told.data) - 2) * 3 // 4} bytes, which this version of MCP cannot carry]"
    else:
        text = f"{told.title or told.name}: {told.uri}{kind}"
        if told.description:
            text = f"{text}\n{told.description}"
    return _Text(text, annotations=told.annotations).json()


def _told(structured: Raw, blocks: Sequence[Raw]) -> bool:
    """Tell whether the content already says what the structured content does, which a model needs to see once.

    Servers wrap what is no object into one, of a single member, and say each item of a list in a block of its own.
    """
    value = msgspec.json.decode(structured)
    if value is None:
        return bool(blocks)
    meanings = [value]
    if isinstance(value, dict) and len(value) == 1:
        meanings += value.values()
    said: list[Any] = []
    for block in blocks:
        told = msgspec.json.decode(block, type=_Block)
        if told.type == "text":
            said += (told.text, _read(told.text))
    return any(meaning in said for meaning in meanings) or any(
        meaning in (said[::2], said[1::2]) for meaning in meanings if isinstance(meaning, list)
    )


def _read(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
