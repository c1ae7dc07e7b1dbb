"""Headers that mirror a request: our encoding, decoding, schemas and checks, and the Python SDK's as the oracle."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mcp.shared import inbound

from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol.headers import (
    check_params,
    decode_value,
    encode_value,
    matches,
    mirror_params,
    param_headers,
)
from metamcp_asgi.protocol.jsonrpc import HEADER_MISMATCH
from tests.protocol.documents import TEXT, VALUES

VISIBLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)
SENTINELS = st.builds(
    "=?{}?{}{}".format, st.sampled_from(["base64", "Base64", "q"]), VISIBLE, st.sampled_from(["?=", "?", ""])
)
BASE64 = st.from_regex(r"=\?base64\?[A-Za-z0-9+/_-]{0,8}={0,3}\?=", fullmatch=True)
VALUE = TEXT | VISIBLE | SENTINELS | BASE64 | st.sampled_from([" a", "a ", "\ta", "a\x01", "a\x7f", "a\nb", "", "="])


@given(VALUE)
@example("=?base64?YQ==?=")
def test_any_text_survives_as_a_header_value(text: str) -> None:
    sent = encode_value(text)
    assert all(0x20 <= byte <= 0x7E for byte in sent)
    assert sent == sent.strip()
    assert decode_value(sent) == text
    # White space around a value is not part of it (T-19), and not every server takes it away.
    assert decode_value(b" \t" + sent + b" \t ") == text
    assert sent.decode() == inbound.encode_header_value(text)


@given(VISIBLE | SENTINELS | BASE64)
@example("=?base64?YR==?=")
@example("=?base64?YQ?=")
@example("=?base64?_w==?=")
@example("=?BASE64?YQ==?=")
@example("=?base64?YQ==")
def test_decodes_as_the_sdk_does(value: str) -> None:
    assert decode_value(value.encode()) == inbound.decode_header_value(value.strip(" \t"))


@given(st.binary(max_size=12))
def test_bytes_that_no_header_value_may_have_say_nothing(value: bytes) -> None:
    decoded = decode_value(value)
    if any(not 0x20 <= byte <= 0x7E for byte in value.strip(b" \t")):
        assert decoded is None
    else:
        assert decoded is not None or value.strip(b" \t").startswith(b"=?base64?")


@given(VALUE, VALUE)
@example(" a", " a")
@example("a\x01", "a\x01")
@example("=?base64?YQ==?=", "=?base64?YQ==?=")
def test_a_value_matches_exactly_what_it_decodes_to(value: str, expected: str) -> None:
    for raw in (value.encode(), expected.encode(), encode_value(expected), b" " + encode_value(expected) + b"\t"):
        assert matches(raw, expected) == (decode_value(raw) == expected)
    assert matches(encode_value(expected), expected)


_NAMES = st.sampled_from(["a", "b", "properties", "x-mcp-header"])
_ANNOTATION = st.sampled_from(["Region", "region", "Id", "a b", "", "é", "X:", "Ok\n", 7, None, ["Region"]])
_TYPE = st.sampled_from(["string", "integer", "boolean", "number", "object", ["string"], None])
_LEAF = st.fixed_dictionaries(
    {}, optional={"type": _TYPE, "x-mcp-header": _ANNOTATION, "default": st.just({"x-mcp-header": "No"})}
)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    many = st.dictionaries(_NAMES, inner, max_size=2)
    keywords: dict[Any, st.SearchStrategy[Any]] = {
        "properties": many | inner,
        "type": _TYPE,
        "x-mcp-header": _ANNOTATION,
    }
    keywords |= dict.fromkeys(["items", "additionalProperties", "not", "if", "contentSchema"], inner | st.booleans())
    keywords |= dict.fromkeys(["allOf", "anyOf", "oneOf", "prefixItems"], st.lists(inner, max_size=2) | inner)
    keywords |= dict.fromkeys(["$defs", "definitions", "patternProperties", "dependentSchemas"], many | inner)
    keywords |= dict.fromkeys(["const", "enum", "examples", "$ref", "unknown"], inner)
    return st.dictionaries(st.sampled_from(sorted(keywords)), st.none(), max_size=3).flatmap(
        lambda chosen: st.fixed_dictionaries({name: keywords[name] for name in chosen})
    )


SCHEMAS = st.recursive(_LEAF, _nested, max_leaves=8)


def annotations(schema: Any) -> dict[tuple[str, ...], str] | None:
    """Returns our reading of a schema's annotations; None when it is refused."""
    try:
        found = param_headers(schema)
    except ValueError:
        return None
    for param in found:
        assert param.header == param.wire.lower()
    return {param.path: param.wire.decode().removeprefix("Mcp-Param-") for param in found}


@given(SCHEMAS | VALUES)
def test_finds_the_annotations_that_the_sdk_finds(schema: Any) -> None:
    if inbound.find_invalid_x_mcp_header(schema) is not None:
        assert annotations(schema) is None
    else:
        assert annotations(schema) == inbound.x_mcp_header_map(schema)


SCHEMA = {
    "properties": {
        "text": {"type": "string", "x-mcp-header": "Text"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "flag": {"type": "boolean", "x-mcp-header": "flag"},
        "deep": {"properties": {"er": {"type": "string", "x-mcp-header": "Deep-Er"}}},
        "free": {"type": "string"},
    }
}
PARAMS = param_headers(SCHEMA)
_SCALARS = (
    st.none() | st.booleans() | st.integers() | TEXT | st.just([]) | st.just({}) | st.sampled_from(["042", "1.0"])
)
# A whole number that came as 42.0 is where we differ on purpose; it has a test of its own.
_FLOATS = st.floats(-1e15, 1e15).filter(lambda number: not number.is_integer())
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "text": _SCALARS | _FLOATS,
        "count": _SCALARS | _FLOATS,
        "flag": _SCALARS,
        "deep": _SCALARS | st.fixed_dictionaries({}, optional={"er": _SCALARS}),
        "free": _SCALARS,
    },
)


def lines_of(arguments: Any) -> dict[str, str]:
    lines = mirror_params(PARAMS, arguments).split(b"\r\n")
    assert lines.pop() == b""
    return dict(line.decode().split(": ", 1) for line in lines)


@given(ARGUMENTS)
def test_mirrors_the_arguments_that_the_sdk_mirrors(arguments: dict[str, Any]) -> None:
    assert lines_of(arguments) == inbound.mcp_param_headers(inbound.x_mcp_header_map(SCHEMA), arguments)


def refused(arguments: Any, sent: Mapping[str, str]) -> bool:
    """Tells whether these headers are refused beside these arguments."""
    try:
        check_params(PARAMS, arguments, {name.lower().encode(): [value.encode()] for name, value in sent.items()})
    except ProtocolError as error:
        return error.code == HEADER_MISMATCH and "Mcp-Param-" in error.message
    return False


_SENT = (
    SENTINELS
    | BASE64
    | VISIBLE.map(str.strip)
    | st.integers().map(str)
    | st.sampled_from(["true", "42.0", "042", "42", "-0", "1e2", "1.0", "9" * 5000])
)


@given(
    ARGUMENTS,
    st.dictionaries(st.sampled_from([param.wire.decode() for param in PARAMS]), _SENT, max_size=2),
    st.sets(st.integers(0, 3)),
)
@example({"count": 42}, {"Mcp-Param-Count": "42.0"}, {0, 1, 2, 3})
@example({"count": 42}, {"Mcp-Param-Count": "9" * 5000}, {0, 1, 2, 3})
@example({"count": "042"}, {"Mcp-Param-Count": "42"}, {0, 1, 2, 3})
@example({"count": True}, {"Mcp-Param-Count": "1"}, {0, 1, 2, 3})
@example({"count": 10**4999}, {}, set())
def test_checks_headers_against_arguments_as_the_sdk_does(
    arguments: dict[str, Any], changed: dict[str, str], dropped: set[int]
) -> None:
    mirrored = list(inbound.mcp_param_headers(inbound.x_mcp_header_map(SCHEMA), arguments).items())
    sent = dict(pair for index, pair in enumerate(mirrored) if index not in dropped) | changed
    assert refused(arguments, sent) == (inbound.validate_mcp_param_headers(SCHEMA, arguments, sent) is not None)


@given(ARGUMENTS)
def test_accepts_what_it_would_send(arguments: dict[str, Any]) -> None:
    assert not refused(arguments, lines_of(arguments))


@given(st.integers(-(10**15), 10**15))
def test_a_whole_number_is_mirrored_as_a_decimal_however_it_was_spelled(number: int) -> None:
    # T-31: an integer is sent as a decimal. The SDK's client sends "42.0" for 42.0 in the body; both are understood.
    assert lines_of({"count": float(number)}) == {"Mcp-Param-Count": str(number)}
    for spelled in (f"{number}", f"{number}.0", f"{number}.000"):
        for value in (number, float(number)):
            assert not refused({"count": value}, {"Mcp-Param-Count": spelled})
    assert refused({"count": number}, {"Mcp-Param-Count": str(number + 1)})
    assert refused({"count": number}, {"Mcp-Param-Count": f"{number}.5"})


@pytest.mark.parametrize("param", PARAMS, ids=lambda param: param.wire.decode())
def test_a_header_that_comes_twice_is_refused(param: Any) -> None:
    arguments = {"text": "a", "count": 1, "flag": True, "deep": {"er": "b"}}
    sent = {name.lower().encode(): [value.encode()] for name, value in lines_of(arguments).items()}
    check_params(PARAMS, arguments, sent)
    sent[param.header] *= 2
    with pytest.raises(ProtocolError, match="more than once"):
        check_params(PARAMS, arguments, sent)
