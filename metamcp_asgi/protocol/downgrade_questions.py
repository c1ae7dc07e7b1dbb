"""What servers ask of clients, and what these answer, in the words of another revision (eras.md 2.6, 2.17).

A question that a revision has no words for is not asked: ``None`` tells whoever relays it to decline.
Knows neither who may be asked what (``capabilities``), nor how questions travel.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from msgspec import Raw

from metamcp_asgi.protocol.jsonrpc import Members, decode_members, encode
from metamcp_asgi.protocol.meta import PROGRESS_TOKEN, RELATED_TASK
from metamcp_asgi.protocol.revisions import LEGACY

__all__ = ["answer_for", "question_for"]

_NOVEMBER_2025, _JUNE_2025, _MARCH_2025, _NOVEMBER_2024 = LEGACY

_OF_A_HOP: Final = (PROGRESS_TOKEN, RELATED_TASK)
_MEDIA: Final = {
    _JUNE_2025: ("text", "image", "audio"),
    _MARCH_2025: ("text", "image", "audio"),
    _NOVEMBER_2024: ("text", "image"),
}
"""What a message of sampling may hold, one at a time; from 2025-11-25 on, any number, and uses of tools."""

_JUNE_KEEPS: Final = {
    "string": ("type", "title", "description", "minLength", "maxLength", "format"),
    "number": ("type", "title", "description", "minimum", "maximum"),
    "integer": ("type", "title", "description", "minimum", "maximum"),
    "boolean": ("type", "title", "description", "default"),
}
"""The members of each kind of field in a form of 2025-06-18; choices are kept apart (EL-07)."""


def question_for(revision: str, method: str, params: bytes | Raw) -> Raw | None:
    """Return the params of a server's question as the client's revision has them.

    Args:
        revision: The client's revision, a legacy one: modern clients are given questions as they are.
        method: ``elicitation/create``, ``sampling/createMessage`` or ``roots/list``.
        params: The params, of whatever revision the server has.

    Returns:
        ``None`` when the revision cannot express the question. An elicitation by URL has an ``elicitationId`` where
        the revision wants one, new where the server has given none.

    Raises:
        msgspec.ValidationError: The question is not one in any revision.
    """
    members = decode_members(params)
    members.pop("task", None)
    if "_meta" in members:
        meta = {name: value for name, value in decode_members(members.pop("_meta")).items() if name not in _OF_A_HOP}
        if meta:
            members["_meta"] = Raw(encode(meta))
    change = _CHANGES.get(method)
    changed = members if change is None else change(members, revision)
    return None if changed is None else Raw(encode(changed))


def answer_for(revision: str, method: str, result: Raw) -> Raw | None:
    """Return a client's answer as the revision of the server that asked has it.

    Args:
        revision: The server's revision, a legacy one.
        method: What was asked.
        result: The answer.

    Returns:
        ``None`` when the revision cannot express the answer.

    Raises:
        msgspec.ValidationError: The answer is not one in any revision.
    """
    if method != "sampling/createMessage" or revision not in _MEDIA:
        return result
    members = decode_members(result)
    content = msgspec.json.decode(members.get("content", Raw(b"null")))
    if not isinstance(content, list):
        return result
    if len(content) == 1 and _known(content[0], revision):
        return Raw(encode({**members, "content": content[0]}))
    texts = [block.get("text", "") for block in content if isinstance(block, dict) and block.get("type") == "text"]
    if len(texts) < len(content) or not texts:
        return None
    return Raw(encode({**members, "content": {"type": "text", "text": "\n".join(texts)}}))


def _elicitation(members: Members, revision: str) -> Members | None:
    url = bytes(members.get("mode", b'"form"')) == b'"url"'
    if revision == _NOVEMBER_2025:
        if url and "elicitationId" not in members:
            members["elicitationId"] = Raw(encode(os.urandom(16).hex()))
        return members
    if url or revision != _JUNE_2025:
        return None
    schema = _form_of_june(msgspec.json.decode(members.get("requestedSchema", Raw(b"{}")), type=dict[str, Any]))
    if schema is None:
        return None
    members.pop("mode", None)
    return {**members, "requestedSchema": Raw(encode(schema))}


def _form_of_june(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return a form as 2025-06-18 has it; it knows no field that takes several values."""
    fields = schema.get("properties", {})
    if not isinstance(fields, dict):
        return None
    changed: dict[str, Any] = {"type": "object", "properties": {}}
    for name, field in fields.items():
        if (older := _field_of_june(field)) is None:
            return None
        changed["properties"][name] = older
    if "required" in schema:
        changed["required"] = schema["required"]
    return changed


def _field_of_june(field: Any) -> dict[str, Any] | None:
    kind = field.get("type") if isinstance(field, dict) else None
    if not isinstance(kind, str) or kind not in _JUNE_KEEPS:
        return None
    kept = {name: field[name] for name in _JUNE_KEEPS[kind] if name in field}
    titled = field.get("oneOf")
    if isinstance(titled, list) and all(isinstance(option, dict) and "const" in option for option in titled):
        kept["enum"] = [option["const"] for option in titled]
        kept["enumNames"] = [str(option.get("title", option["const"])) for option in titled]
    elif "enum" in field:
        kept |= {name: field[name] for name in ("enum", "enumNames") if name in field}
    return kept


def _sampling(members: Members, revision: str) -> Members | None:
    if revision not in _MEDIA:
        return members
    if msgspec.json.decode(members.pop("tools", Raw(b"[]"))):
        return None
    members.pop("toolChoice", None)
    messages = list(_messages(msgspec.json.decode(members.get("messages", Raw(b"[]")), type=list[dict[str, Any]])))
    if not all(_known(message.get("content"), revision) for message in messages):
        return None
    members["messages"] = Raw(encode(messages))
    return members


def _messages(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield messages of one block each: what one message says in several blocks, several say in turn."""
    for message in messages:
        content = message.get("content")
        for block in content if isinstance(content, list) else [content]:
            yield {**message, "content": block}


def _known(block: Any, revision: str) -> bool:
    return isinstance(block, dict) and block.get("type") in _MEDIA[revision]


_CHANGES: Final[dict[str, Callable[[Members, str], Members | None]]] = {
    "elicitation/create": _elicitation,
    "sampling/createMessage": _sampling,
}
