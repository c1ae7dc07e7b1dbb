"""The body of a request: read with a bound, and decoded strictly to the Struct that the operation takes.

Knows JSON and msgspec's messages; knows nothing of what a field means.
"""

import re
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope

from metamcp_asgi.admin.api.problem import Fault, Problem, pointer_to, sentence
from metamcp_asgi.config.node import nearest

__all__ = ["decode", "read"]

_TYPES: Final = (b"application/json", b"application/merge-patch+json")
_PLACE: Final = re.compile(r" - at `(key in )?\$(?P<path>[^`]*)`$")
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\[\.\.\.\]")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`")
_MISSING: Final = re.compile(r"Object missing required field `(.*)`")


async def read(scope: Scope, receive: Receive, most: int) -> bytes:
    """Return the body of a request.

    Args:
        scope: The request.
        receive: The ASGI channel.
        most: The bytes that it may have.

    Raises:
        Problem: It is not JSON by its ``Content-Type`` (415), or too long (413).
    """
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    if len(kinds) != 1 or kinds[0].partition(b";")[0].strip().lower() not in _TYPES:
        raise Problem(415, "The body must be JSON, with Content-Type: application/json.")
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
        return msgspec.convert(msgspec.json.decode(body), kind)
    except msgspec.ValidationError as error:
        raise _wrong(str(error), kind) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, f"The body is not JSON: {error}.") from None
    except RecursionError:
        raise Problem(400, "The body is nested too deeply.") from None


def _wrong(message: str, kind: Any) -> Problem:
    place = _PLACE.search(message)
    steps = [name or index for name, index in _STEP.findall(place["path"])] if place else []
    if "" in steps:  # a key of a free object, which msgspec doesn't tell: the object is named
        del steps[steps.index("") :]
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


def _fields(kind: Any, *, deep: bool) -> list[str]:
    """Return the names of the fields of a Struct, or, ``deep``, of those that it holds."""
    top, components = msgspec.json.schema_components([kind], ref_template="{name}")
    own = top[0].get("$ref")
    return [
        field for name, schema in components.items() if (name != own) == deep for field in schema.get("properties", ())
    ]
