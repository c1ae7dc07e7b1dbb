"""The envelope: what is refused, what is read as everybody reads it, and that payloads keep their bytes."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol import jsonrpc
from metamcp_asgi.protocol.jsonrpc import INVALID_REQUEST, PARSE_ERROR, Message
from tests.protocol.documents import RAW, TEXT, VALUES, DuplicateMember, depth, read

DEPTH = 16
CALL = (
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a__b","arguments":{"x":[1,2.5]},'
    b'"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","k":null}}}'
)
TOKENS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"\\",
    b"\\u",
    b"\\ud83d",
    b"\\/",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xc3\xa9",
]
TOKENS += [
    b"1",
    b"-",
    b"01",
    b"1e5",
    b".",
    b"NaN",
    b"Infinity",
    b"null",
    b"true",
    b'"method"',
    b'"id":2,',
    b'"x":1,',
    b" ",
]


@st.composite
def damaged_calls(draw: st.DrawFn) -> bytes:
    body = draw(st.sampled_from([CALL, b"[" + CALL + b"]", b'{"jsonrpc":"2.0","id":"a","result":{}}']))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        cut = draw(st.integers(0, 3))
        body = body[:at] + draw(st.sampled_from(TOKENS) | st.binary(max_size=2)) + body[at + cut :]
    return body


def refused(body: bytes, max_depth: int = DEPTH) -> int:
    """Returns the code with which a body is refused; 0 when it is not."""
    try:
        jsonrpc.parse(body, max_depth)
    except ProtocolError as error:
        return error.code
    return 0


def is_envelope(value: Any) -> bool:
    """Tells whether a strictly read value (numbers spelled in bytes) is a JSON-RPC message as parse promises it."""
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0":
        return False
    request_id = value.get("id")
    whole = isinstance(request_id, bytes) and request_id.lstrip(b"-").isdigit()
    return (request_id is None or isinstance(request_id, str) or whole) and isinstance(value.get("method", ""), str)


@given(st.binary() | damaged_calls())
@example(b"")
@example(b"\xef\xbb\xbf" + CALL)
@example(CALL.decode().encode("utf-16"))
@example(b"[" * 200_000)
@example(b'{"a":' * 200_000)
def test_any_bytes_are_a_message_or_a_protocol_error(body: bytes) -> None:
    message: object
    try:
        message = jsonrpc.parse(body, DEPTH)
    except ProtocolError as error:
        message = error.code
    assert isinstance(message, Message | list) or message in (PARSE_ERROR, INVALID_REQUEST)


@given(damaged_calls())
def test_reads_what_the_standard_library_reads(body: bytes) -> None:
    try:
        expected = read(body, str.encode)
    except (ValueError, DuplicateMember) as error:
        if isinstance(error, ValueError):
            assert refused(body)
        return
    documents = expected if isinstance(expected, list) else [expected]
    if not all(map(is_envelope, documents)):
        assert refused(body) == INVALID_REQUEST
        return
    message = jsonrpc.parse(body, DEPTH)
    messages = message if isinstance(message, list) else [message]
    assert len(messages) == len(documents)
    for ours, theirs in zip(messages, documents, strict=True):
        for name in ("params", "result", "error"):
            carried = getattr(ours, name)
            assert (carried is UNSET) == (name not in theirs)
            if carried is not UNSET:
                assert read(bytes(carried), str.encode) == theirs[name]
        assert ours.method == theirs.get("method", UNSET)
        wanted = theirs.get("id", UNSET)
        assert ours.id == (int(wanted) if isinstance(wanted, bytes) else wanted)


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", '{"a":[NaN]}', "nan", "01", "1.", "+1", "0x1", "[1,]"]
)
def test_what_only_some_readers_take_for_json_is_refused(value: str) -> None:
    assert refused(b'{"jsonrpc":"2.0","id":1,"method":"m","params":%b}' % value.encode()) == PARSE_ERROR


@pytest.mark.parametrize(
    "text", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", rb"\ud83d", rb"\ude00", rb"\ud83d\u0041", b"\n", b"\0"]
)
def test_strings_that_are_not_unicode_are_refused(text: bytes) -> None:
    assert refused(b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":"%b"}}' % text) == PARSE_ERROR
    assert refused(b'{"jsonrpc":"2.0","id":"%b","method":"m"}' % text) == PARSE_ERROR


def strictly(body: bytes) -> jsonrpc.Members:
    """Reads an object, and all objects of requests in it, as the gateway reads what a client sent."""
    members = jsonrpc.decode_client(body)
    for name in ("params", "_meta"):
        if name in members:
            strictly(bytes(members[name]))
    return members


META = '"io.modelcontextprotocol/protocolVersion":"2026-07-28"'


@pytest.mark.parametrize(
    "body",
    [
        '{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"a"}',
        '{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}',
        '{"jsonrpc":"2.0","id":1,"id":1,"method":"a"}',
        '{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}',
        r'{"jsonrpc":"2.0","id":1,"method":"a","\u006dethod":"b"}',
        '{"jsonrpc":"2.0", "id":1, "method":"a", "params":{}, "params":{}}',
        '{"jsonrpc":"2.0","id":1,"result":{},"result":{}}',
        '{"jsonrpc":"2.0","id":1,"error":{},"error":{}}',
        '[{"jsonrpc":"2.0","id":1,"method":"a"},{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}]',
    ],
)
def test_a_message_must_not_name_a_member_twice(body: str) -> None:
    assert refused(body.encode()) == PARSE_ERROR


@pytest.mark.parametrize(
    "params",
    [
        '{"name":"a","name":"b"}',
        '{"name":"a","name":"a"}',
        '{"name":1,"name":12}',
        '{"name":12,"name":1}',
        r'{"name":"a","n\u0061me":"b"}',
        '{"uri":"a", "uri":"b"}',
        '{"arguments":{},"arguments":{}}',
        '{"cursor":"a","b":1,"cursor":"b"}',
        '{"_meta":{},"_meta":{}}',
        '{"_meta":{"progressToken":1,"progressToken":2}}',
        f'{{"_meta":{{{META},{META}}}}}',
        f'{{"_meta":{{{META},{META.replace("/", chr(92) + "/")}}}}}',
    ],
)
def test_the_objects_that_routing_reads_must_not_name_a_member_twice(params: str) -> None:
    body = f'{{"jsonrpc":"2.0","id":1,"method":"a","params":{params}}}'.encode()
    assert refused(body) == 0
    with pytest.raises(ProtocolError, match="twice") as raised:
        strictly(body)
    assert raised.value.code == PARSE_ERROR


def test_the_same_name_in_different_objects_is_no_duplicate() -> None:
    params = '{"name":"a","id":1,"arguments":{"name":"b","method":"c","id":2}}'
    body = f'{{"jsonrpc":"2.0","id":1,"method":"a","params":{params}}}'.encode()
    assert refused(body) == 0
    assert strictly(body)


_SPELLED = st.sampled_from(
    ['"a"', r'"\u0061"', '"b"', '"é"', r'"\u00e9"', r'"\/"', '"/"', r'"\""', '""', '"{,"', '"name"']
)


@given(
    st.lists(st.tuples(_SPELLED, RAW | st.sampled_from(["1", "12"])), max_size=5), st.sampled_from(["", " ", "\r\n\t "])
)
@example([], " ")
@example([('"a"', "1"), ('"a"', "12")], "")
@example([('"a"', "12"), ('"a"', "1")], "")
def test_members_are_all_there_or_the_object_is_refused(members: list[tuple[str, str]], space: str) -> None:
    inside = f"{space},{space}".join(f"{name}{space}:{space}{value}" for name, value in members)
    text = f"{{{space}{inside}{space}}}".encode()
    names = [json.loads(name) for name, _ in members]
    if len(set(names)) < len(names):
        with pytest.raises(ProtocolError, match="twice"):
            jsonrpc.decode_client(text)
    else:
        read_ = {name: bytes(value) for name, value in jsonrpc.decode_client(text).items()}
        assert read_ == {name: value.encode() for name, (_, value) in zip(names, members, strict=True)}
    envelope = f'{{"jsonrpc":"2.0",{space}"method":"m"{"," if members else ""}{inside}}}'.encode()
    assert bool(refused(envelope)) == (len(set(names)) < len(names))


@given(VALUES.filter(lambda value: depth(value) > 0), st.integers(1, 6))
@example({"a": '[[[["{{'}, 1)
@example(['\\"[[[', "\\", ["]]"]], 1)
def test_the_depth_bound_is_exact(value: Any, filler: int) -> None:
    # Brackets within strings, beside escapes, must count for nothing.
    document = {"jsonrpc": "2.0", "method": "m", "params": [value, '[{"\\' * filler, '}]\\"' * filler]}
    body = json.dumps(document).encode()
    assert refused(body, depth(document)) == 0
    assert refused(body, depth(document) - 1) == PARSE_ERROR


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "params",
    [
        b'"' + rb"\"" * 1_000_000 + b'"',
        b'"' + rb"\"" * 1_000_000,
        b'["' + b"x" * 4_000_000 + b'"]',
        b"[" * 2_000_000,
        b"[" * 2_000_000 + b"]" * 2_000_000,
        b"[" + b"[]," * 1_000_000 + b"1]",
        b"[" + b'"",' * 1_000_000 + b"1]",
    ],
    ids=["escapes", "unterminated", "long-string", "open", "deep", "wide", "strings"],
)
def test_a_large_body_takes_time_in_proportion(params: bytes) -> None:
    nested = b"[" * DEPTH + b"]" * DEPTH
    assert refused(b'{"jsonrpc":"2.0","method":"m","x":%b,"params":%b}' % (nested, params)) == PARSE_ERROR


@given(RAW, st.integers() | TEXT)
@example("1e2", 1)
@example("12345678901234567890123456789.10", 2**63)
@example("9" * 5000, "é")
@example(r'{"a":"\u0041\/\ud83d\ude00"}', 'a"b')
def test_payloads_keep_their_bytes(payload: str, request_id: int | str) -> None:
    raw = payload.encode()
    call = jsonrpc.parse(jsonrpc.request(request_id, "m", raw), 100)
    assert isinstance(call, Message)
    assert (call.id, call.method, bytes(call.params)) == (request_id, "m", raw)
    answer = jsonrpc.parse_peer(jsonrpc.response(request_id, raw))
    assert (answer.id, bytes(answer.result)) == (request_id, raw)
    assert jsonrpc.response(7, answer.result) == b'{"jsonrpc":"2.0","id":7,"result":' + raw + b"}"
    told = jsonrpc.parse_peer(jsonrpc.notification("n", raw))
    assert (told.id, told.method, bytes(told.params)) == (UNSET, "n", raw)
    members = jsonrpc.decode_members(b'{"a":' + raw + b',"b":1}')
    assert bytes(members["a"]) == raw
    assert read(jsonrpc.encode(members)) == read(b'{"a":' + raw + b',"b":1}')


@given(RAW)
def test_single_line_is_the_same_json_on_one_line(payload: str) -> None:
    line = jsonrpc.single_line(payload.encode())
    assert b"\n" not in line
    assert b"\r" not in line
    assert read(line) == read(payload.encode())


@given(TEXT, TEXT, VALUES)
def test_what_we_write_is_what_everybody_reads(request_id: str, text: str, data: Any) -> None:
    assert read(jsonrpc.error_response(request_id, -1, text, data), json.loads) == {
        "jsonrpc": "2.0",
        "id": request_id,
        "error": {"code": -1, "message": text} | ({} if data is None else {"data": data}),
    }
    assert json.loads(jsonrpc.request(request_id, text, b"{}"))["method"] == text
    assert "params" not in json.loads(jsonrpc.notification(text))


@given(st.binary() | damaged_calls())
@example(b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
@example(b'{"jsonrpc":"2.0","id":1,"x":"\\ud83d","result":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
@example(b'{"jsonrpc":"2.0","id":1,"result":{"a":"\xff"}}')
def test_any_bytes_of_a_server_are_a_message_or_a_value_error(line: bytes) -> None:
    try:
        message = jsonrpc.parse_peer(line)
    except ValueError:
        return
    for carried in (message.params, message.result, message.error):
        # What goes on to a client is JSON that every client can read.
        if carried is not UNSET:
            json.dumps(json.loads(bytes(carried).decode()), ensure_ascii=False).encode()


_LONE = st.sampled_from([r"\ud83d", r"\uDE00", r"\ud83d\u0041", r"\ud83d\\", r"\ud83d\ud83d\ude00", r"\ude00\ud83d"])


@given(st.lists(_LONE | st.sampled_from([r"\\ud83d", r"\ud83d\ude00", r"\\", r"\n", "x", "é"]), min_size=1))
def test_half_characters_of_a_server_are_replaced_and_all_else_stays(parts: list[str]) -> None:
    text = f'{{"a":"{"".join(parts)}","n":12345678901234567890.50,"e":1e400}}'
    message = jsonrpc.parse_peer(f'{{"jsonrpc":"2.0","id":1,"result":{text}}}'.encode())
    expected = json.loads(text)["a"].encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    result = bytes(message.result)
    assert json.loads(result)["a"] == expected
    assert result.endswith(b',"n":12345678901234567890.50,"e":1e400}')


def test_a_tolerated_message_of_a_server_keeps_its_error_and_its_id() -> None:
    message = jsonrpc.parse_peer(b'{"jsonrpc":"2.0","id":"x","error":{"code":-1,"message":"cut \\ud83d\xff"}}')
    assert message.id == "x"
    assert json.loads(bytes(message.error)) == {"code": -1, "message": "cut �\ufffd"}
