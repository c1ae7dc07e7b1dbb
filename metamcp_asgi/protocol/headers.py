"""HTTP headers that mirror a modern request: their encoding, and ``x-mcp-header`` parameters.

Used on both sides: what a client sent is checked against the body, what we send is derived from it.
Source: MCP 2026-07-28 basic/transports/streamable-http.mdx, "Value Encoding", "Standard Request Headers",
"Schema Extension" (T-17 to T-22, T-31, T-32).
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol.jsonrpc import HEADER_MISMATCH

__all__ = ["ParamHeader", "check_params", "decode_value", "encode_value", "matches", "mirror_params", "param_headers"]

_SENTINEL: Final = re.compile(rb"=\?base64\?(.*)\?=", re.DOTALL)
_SAFE: Final = re.compile(rb"[\x20-\x7e]*")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_DECIMAL: Final = re.compile(r"(-?[0-9]+)(?:\.0+)?")

_ONE_SCHEMA: Final = frozenset(
    {
        "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames", "then",
        "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip
_SCHEMA_LIST: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SCHEMA_MAP: Final = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties"})


class ParamHeader(Struct, frozen=True):
    """One tool parameter that is mirrored in a header.

    ``path`` are the property names from the schema's root, ``header`` the lower-case header name,
    ``wire`` the header name as it is sent.
    """

    path: tuple[str, ...]
    header: bytes
    wire: bytes
    integer: bool


def encode_value(value: str) -> bytes:
    """Return ``value`` as a header value: as it is, or Base64-wrapped where HTTP would not carry it unchanged."""
    raw = value.encode()
    if _SAFE.fullmatch(raw) and raw.strip() == raw and not _SENTINEL.fullmatch(raw):
        return raw
    return b"=?base64?%b?=" % base64.b64encode(raw)


def decode_value(value: bytes) -> str | None:
    """Return what a header value says, or ``None`` when it is malformed (T-20)."""
    value = value.strip(b" \t")
    if not _SAFE.fullmatch(value):
        return None
    wrapped = _SENTINEL.fullmatch(value)
    if wrapped is None:
        return value.decode("ascii")
    try:
        raw = base64.b64decode(wrapped[1], validate=True)
        # Several texts decode to the same bytes; only the canonical one can be what an encoder sent.
        return raw.decode() if base64.b64encode(raw) == wrapped[1] else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def matches(value: bytes, expected: str) -> bool:
    """Tell whether a header value says exactly ``expected``."""
    plain = expected.isascii() and expected.isprintable() and expected[:1] not in ("", " ", "=") and expected[-1] != " "
    return (plain and value == expected.encode()) or decode_value(value) == expected


def param_headers(schema: Any) -> tuple[ParamHeader, ...]:
    """Return the parameters of a tool that are mirrored in headers.

    Args:
        schema: The tool's ``inputSchema``, decoded.

    Raises:
        ValueError: An annotation is invalid, so the tool must not be offered (T-32); says why.
    """
    found: dict[bytes, ParamHeader] = {}
    for path, position in _positions(schema):
        if "x-mcp-header" not in position:
            continue
        if not path:
            raise ValueError("x-mcp-header is only allowed on properties reached through `properties` alone")
        where, name, kind = ".".join(path), position["x-mcp-header"], position.get("type")
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ValueError(f"x-mcp-header of property {where!r} is not a header name (RFC 9110 token)")
        if kind not in ("string", "integer", "boolean"):
            raise ValueError(f"x-mcp-header of property {where!r} needs type string, integer or boolean")
        wire = b"Mcp-Param-" + name.encode()
        if wire.lower() in found:
            raise ValueError(f"x-mcp-header {name!r} of property {where!r} is used twice")
        found[wire.lower()] = ParamHeader(path, wire.lower(), wire, kind == "integer")
    return tuple(found.values())


def mirror_params(params: Sequence[ParamHeader], arguments: Any) -> bytes:
    """Return the ``Mcp-Param-*`` header lines for these arguments; absent and ``null`` ones have none (T-31)."""
    lines = []
    for param in params:
        text = _rendered(_value_at(arguments, param.path))
        if text is not None:
            lines.append(b"%b: %b\r\n" % (param.wire, encode_value(text)))
    return b"".join(lines)


def check_params(params: Sequence[ParamHeader], arguments: Any, sent: Mapping[bytes, Sequence[bytes]]) -> None:
    """Compare the ``Mcp-Param-*`` headers of a request with its arguments (T-21, T-22, T-24).

    Args:
        params: The tool's mirrored parameters.
        arguments: The decoded arguments.
        sent: Every header value by lower-case name, in order.

    Raises:
        ProtocolError: ``HEADER_MISMATCH`` that names header and argument.
    """
    for param in params:
        values = sent.get(param.header, ())
        value = _value_at(arguments, param.path)
        text = _rendered(value)
        problem = ""
        if len(values) > 1:
            problem = "is sent more than once"
        elif text is None:
            problem = "is sent but the argument is absent" if values else ""
        elif not values:
            problem = "is missing"
        elif not _says(decode_value(values[0]), text, value, param.integer):
            problem = "does not match the argument"
        if problem:
            name, argument = param.wire.decode(), ".".join(param.path)
            raise ProtocolError(HEADER_MISMATCH, f"Header {name} {problem} (argument {argument!r})")


def _says(decoded: str | None, text: str, value: Any, integer: bool) -> bool:
    if decoded is None:
        return False
    if integer and type(value) in (int, float) and (number := _DECIMAL.fullmatch(decoded)):
        try:
            return bool(int(number[1]) == value)
        except ValueError:
            # More digits than Python reads, so not a number that the arguments could have.
            return False
    return decoded == text


def _rendered(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    try:
        return str(value) if isinstance(value, int | float) else None
    except ValueError:
        # More digits than Python writes.
        return None


def _value_at(arguments: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(arguments, dict):
            return None
        arguments = arguments.get(name)
    return arguments


def _positions(schema: Any) -> Iterator[tuple[tuple[str, ...] | None, dict[str, Any]]]:
    """Yield every schema position with its path of ``properties``, or ``None`` once another keyword was crossed.

    ``$ref`` is never followed and instance data (``default``, ``const``, ``examples``) is never entered.
    """
    stack: list[tuple[tuple[str, ...] | None, Any]] = [((), schema)]
    while stack:
        path, node = stack.pop()
        if not isinstance(node, dict):
            continue
        yield path, node
        for keyword, value in node.items():
            if keyword == "properties" and isinstance(value, dict):
                stack.extend(((*path, name) if path is not None else None, sub) for name, sub in value.items())
            elif keyword in _ONE_SCHEMA:
                stack.append((None, value))
            elif keyword in _SCHEMA_LIST and isinstance(value, list):
                stack.extend((None, sub) for sub in value)
            elif keyword in _SCHEMA_MAP and isinstance(value, dict):
                stack.extend((None, sub) for sub in value.values())
