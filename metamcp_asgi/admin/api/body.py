"""The body of a request: read with a bound, and decoded strictly to the Struct that the operation takes.

Knows JSON and msgspec's messages; knows nothing of what a field means.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from starlette.types import Receive, Scope

from metamcp_asgi.admin.api.problem import Fault, Problem, pointer_to, sentence
from metamcp_asgi.config.node import nearest

__all__ = ["JSON", "YAML", "Text", "decode", "read", "text"]

JSON: Final = "application/json"
YAML: Final = "application/yaml"  # RFC 9512

_OBJECTS: Final = (JSON, "application/merge-patch+json")
# What YAML was sent as before it had a type of its own (RFC 9512 2.1).
_SAME: Final = {"application/x-yaml": YAML, "text/yaml": YAML, "text/x-yaml": YAML}
_NAMES: Final = {JSON: "JSON", YAML: "YAML"}
_MAX_NAME: Final = 100
_PLACE: Final = re.compile(r" - at `(key in )?\$(?P<path>[^`]*)`$")
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\[\.\.\.\]")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`")
_MISSING: Final = re.compile(r"Object missing required field `(.*)`")


class Text(Struct, frozen=True):
    """A body as it was sent.

    Args:
        kind: Its media type: ``JSON`` or ``YAML``.
        content: What it says.
    """

    kind: str
    content: str

    def __repr__(self) -> str:
        return f"Text({self.kind!r}, <hidden>)"


async def text(scope: Scope, receive: Receive, most: int, types: Sequence[str]) -> Text:
    """Return the body of a request as text.

    Args:
        scope: The request.
        receive: The ASGI channel.
        most: The bytes that it may have.
        types: The media types that it may have.

    Raises:
        Problem: It is of another type (415), too long (413), or not UTF-8 (400).
    """
    kind = _type(scope)
    content = await read(scope, receive, most, types)
    try:
        return Text(kind, content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Problem(400, f"The body is not UTF-8 (at byte {error.start}).") from None


async def read(scope: Scope, receive: Receive, most: int, types: Sequence[str] = _OBJECTS) -> bytes:
    """Return the body of a request.

    Args:
        scope: The request.
        receive: The ASGI channel.
        most: The bytes that it may have.
        types: The media types that it may have.

    Raises:
        Problem: It is of another type by its ``Content-Type`` (415), or too long (413).
    """
    if _type(scope) not in types:
        known = [(name, kind) for kind, name in _NAMES.items() if kind in types]
        names, kinds = (" or ".join(each) for each in zip(*known, strict=True))
        raise Problem(415, f"The body must be {names}, with Content-Type: {kinds}.")
    parts: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "The request ended before its body did.")
        part: bytes = message.get("body", b"")
        length += len(part)
        if length > most:
            raise Problem(413, f"The body is larger than {most} bytes.", headers=[(b"connection", b"close")])
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def decode(body: bytes, kind: Any) -> Any:
    """Return the body as the Struct ``kind``.

    Raises:
        Problem: It is not JSON (400), or not what the operation takes (422); ``errors`` names the field.
    """
    try:
        # Both at once would stop at the first field that is wrong, and never see that the rest is not JSON.
        given = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, f"The body is not JSON: {error}.") from None
    except RecursionError:
        raise Problem(400, "The body is nested too deeply.") from None
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise _wrong(str(error), given, kind) from None


def _type(scope: Scope) -> str:
    """Return the media type of a body; empty where there is none, or more than one."""
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    kind = kinds[0].partition(b";")[0].strip().lower().decode("latin-1") if len(kinds) == 1 else ""
    return _SAME.get(kind, kind)


def _wrong(message: str, given: Any, kind: Any) -> Problem:
    place = _PLACE.search(message)
    steps = [name or index for name, index in _STEP.findall(place["path"])] if place else []
    while "" in steps:  # a key of a free object, which msgspec doesn't tell
        at = steps.index("")
        key = _key(message, given, steps[:at], kind)
        if key is None:
            del steps[at:]
        else:
            given = _with(given, steps[:at], {key: _at(given, [*steps[:at], key])})
            steps[at] = key
    reason = message[: place.start()] if place else message
    if unknown := _UNKNOWN.fullmatch(reason):
        steps.append(unknown[1])
        near = nearest(unknown[1], _fields(kind, deep=len(steps) > 1))
        reason = "is not a field here" + (f'; did you mean "{near}"?' if near else "")
    elif missing := _MISSING.fullmatch(reason):
        steps.append(missing[1])
        reason = "is required"
    else:
        reason = reason[:1].lower() + reason[1:]
    pointer = pointer_to(*steps)
    return Problem(422, sentence(f"{pointer or 'The body'}: {reason}"), [Fault(reason, pointer=pointer)])


def _key(message: str, given: Any, steps: Sequence[str], kind: Any) -> str | None:
    """Return the key, in the free object at ``steps``, with which the error begins; ``None``: not to be quoted."""
    items = list(_at(given, steps).items())
    least, most = 1, len(items)
    while least < most:
        half = (least + most) // 2
        try:
            msgspec.convert(_with(given, steps, dict(items[:half])), kind)
            found = False
        except msgspec.ValidationError as error:
            found = str(error) == message
        least, most = (least, half) if found else (half + 1, most)
    key: str = items[least - 1][0]
    # By mistake it may be a whole "NAME=secret".
    return key if key and len(key) <= _MAX_NAME and key.isprintable() and "=" not in key else None


def _at(given: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        given = given[int(step)] if isinstance(given, list) else given[step]
    return given


def _with(given: Any, steps: Sequence[str], value: Any) -> Any:
    """Return ``given`` with another value at ``steps``; nothing is changed in place."""
    if not steps:
        return value
    inner = _with(_at(given, steps[:1]), steps[1:], value)
    if isinstance(given, list):
        place = int(steps[0])
        return [*given[:place], inner, *given[place + 1 :]]
    return {**given, steps[0]: inner}


def _fields(kind: Any, *, deep: bool) -> list[str]:
    """Return the names of the fields of a Struct, or, ``deep``, of those that it holds."""
    top, components = msgspec.json.schema_components([kind], ref_template="{name}")
    own = top[0].get("$ref")
    return [
        field for name, schema in components.items() if (name != own) == deep for field in schema.get("properties", ())
    ]
