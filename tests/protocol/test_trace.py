"""Trace context that passes through (TR-01, check 97), by the rules of W3C Trace Context."""

import json
from typing import Any

import pytest
from msgspec import Raw

from metamcp_asgi.protocol import trace

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


def passed(
    meta: dict[str, Any], headers: dict[bytes, bytes] | None = None, *, baggage: bool = False
) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the `_meta` and the headers for the server."""
    fields = {name: Raw(json.dumps(value).encode()) for name, value in meta.items()}
    lines = trace.onward(fields, headers or {}, baggage=baggage)
    sent = dict(line.split(": ", 1) for line in lines.decode().split("\r\n") if line)
    return {name: json.loads(bytes(value)) for name, value in fields.items()}, sent


def test_the_server_is_told_of_the_same_trace_and_another_span() -> None:
    told, sent = passed({"traceparent": PARENT, "tracestate": "a=1,b=2", "baggage": "user=5", "own": 1})
    version, trace_id, span, flags = told["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "01")
    assert span != SPAN
    assert int(span, 16)
    assert told == {"traceparent": told["traceparent"], "tracestate": "a=1,b=2", "own": 1}
    assert sent == {"traceparent": told["traceparent"], "tracestate": "a=1,b=2"}


def test_baggage_where_that_is_allowed() -> None:
    told, sent = passed({"traceparent": PARENT, "baggage": "user=5"}, baggage=True)
    assert (told["baggage"], sent["baggage"]) == ("user=5", "user=5")


def test_headers_count_where_the_body_says_nothing() -> None:
    headers = {b"traceparent": f" {PARENT} ".encode(), b"tracestate": b"a=1", b"baggage": b"b=1"}
    told, sent = passed({"own": 1}, headers)
    assert told["traceparent"].split("-")[1] == TRACE
    assert told.keys() == {"own", "traceparent", "tracestate"}
    assert sent["tracestate"] == "a=1"
    told, _ = passed({"traceparent": f"00-{'1' * 32}-{SPAN}-00"}, headers)
    assert told["traceparent"].split("-")[1] == "1" * 32
    assert "tracestate" not in told, "the state belongs to another trace"


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\r\nEvil: 1",
        5,
        None,
        {},
    ],
)
def test_what_is_no_trace_is_not_passed_on(parent: Any) -> None:
    assert passed({"traceparent": parent, "tracestate": "a=1", "own": 1}) == ({"own": 1}, {})


def test_a_later_version_is_read_as_this_one() -> None:
    told, _ = passed({"traceparent": f"01-{TRACE}-{SPAN}-03-more"})
    assert told["traceparent"].startswith(f"00-{TRACE}-")
    assert told["traceparent"].endswith("-03")


@pytest.mark.parametrize("state", ["a=1\r\nEvil: 1", "a=1\nb", "ä=1", "a" * 513, "", 7])
def test_a_state_that_no_header_can_carry_is_left_out(state: Any) -> None:
    told, sent = passed({"traceparent": PARENT, "tracestate": state})
    assert told.keys() == sent.keys() == {"traceparent"}


def test_requests_without_any_are_told_apart() -> None:
    assert not trace.carried({"own": Raw(b"1")}, {b"accept": b"*/*", b"tracestate": b"a=1"})
    assert trace.carried({"traceparent": Raw(b'""')}, {})
    assert trace.carried({}, {b"traceparent": b""})
    assert trace.carried({"baggage": Raw(b'""')}, {})
