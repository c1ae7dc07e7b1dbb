"""Arguments in a query string: text that a tool's input schema gives a type.

A query can hold arguments that are single values; for all else there is a body. Knows nothing of HTTP methods.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import parse_qsl

from metamcp_asgi.errors import MetaMCPError

__all__ = ["NeedsBody", "WrongParameter", "arguments_in", "takes_arguments"]

_BEARERS: Final = (
    "$ref",
    "allOf",
    "anyOf",
    "oneOf",
    "if",
    "dependentSchemas",
    "patternProperties",
    "additionalProperties",
    "unevaluatedProperties",
)
"""Keywords by which a schema may allow arguments that are not among its ``properties``."""
_SCALARS: Final = ("integer", "number", "boolean", "null", "string")
"""In the order in which a text is tried: what reads as a number is none only where numbers are not allowed."""
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,999})")
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS: Final[dict[str, dict[str, Any]]] = {"boolean": {"true": True, "false": False}, "null": {"null": None}}


class NeedsBody(MetaMCPError):
    """The tool has arguments that a query string cannot hold."""


class WrongParameter(MetaMCPError):
    """A parameter is not what the tool takes."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        super().__init__(reason)


def takes_arguments(schema: Any) -> bool:
    """Tell whether a tool with this input schema takes any arguments."""
    return isinstance(schema, dict) and bool(schema.get("properties") or any(schema.get(key) for key in _BEARERS))


def arguments_in(query: bytes, schema: Any) -> dict[str, Any]:
    """Return the arguments of a call.

    Args:
        query: The query string, without keys.
        schema: The input schema of the tool; ``None`` when it is not known, which leaves all values text.

    Raises:
        NeedsBody: The schema allows other arguments than single values.
        WrongParameter: A parameter is unknown, comes twice, or is not of its type.
    """
    types = _types_of(schema) if schema is not None else None
    arguments: dict[str, Any] = {}
    try:
        pairs = parse_qsl(query.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise WrongParameter("", "must be UTF-8") from None
    for name, text in pairs:
        if name in arguments:
            raise WrongParameter(name, "may be given once only")
        if types is None:
            arguments[name] = text
        elif name in types:
            arguments[name] = _typed(name, text, types[name])
        else:
            known = ", ".join(types)
            raise WrongParameter(name, f"is no parameter of this tool; it takes {known or 'none'}")
    return arguments


def _types_of(schema: Any) -> dict[str, tuple[str, ...]]:
    if not takes_arguments(schema):
        return {}
    if any(schema.get(key) for key in _BEARERS) or not isinstance(schema["properties"], dict):
        raise NeedsBody
    found: dict[str, tuple[str, ...]] = {}
    for name, value in schema["properties"].items():
        allowed = set(_scalars(value, schema, 0))
        if not allowed <= set(_SCALARS):
            raise NeedsBody
        found[str(name)] = tuple(each for each in _SCALARS if each in allowed)
    return found


def _scalars(value: Any, root: dict[str, Any], depth: int) -> Iterator[str]:
    """Yield the types that a schema allows; an empty one for what is not known."""
    if not isinstance(value, dict) or depth > 8:
        yield ""
    elif "enum" in value or "const" in value:
        yield from map(_type_of, value["enum"] if isinstance(value.get("enum"), list) else [value.get("const")])
    elif "type" in value:
        kinds = value["type"]
        yield from (str(kind) for kind in kinds) if isinstance(kinds, list) else (str(kinds),)
    elif alternatives := value.get("anyOf") or value.get("oneOf"):
        for alternative in alternatives if isinstance(alternatives, list) else (None,):
            yield from _scalars(alternative, root, depth + 1)
    elif isinstance(reference := value.get("$ref"), str) and len(parts := reference.split("/")) == 3:
        definitions = root.get(parts[1])
        yield from _scalars(definitions.get(parts[2]) if isinstance(definitions, dict) else None, root, depth + 1)
    else:
        yield ""


def _type_of(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    return names.get(type(value), "")


def _typed(name: str, text: str, types: tuple[str, ...]) -> Any:
    for kind in types:
        if kind == "string":
            return text
        if kind == "integer" and _INTEGER.fullmatch(text):
            return int(text)
        if kind == "number" and _NUMBER.fullmatch(text) and math.isfinite(number := float(text)):
            return int(text) if _INTEGER.fullmatch(text) else number
        if kind in _WORDS and text in _WORDS[kind]:
            return _WORDS[kind][text]
    raise WrongParameter(name, f"must be of type {' or '.join(types)}")
