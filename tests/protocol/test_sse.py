"""Event streams: read the same wherever the network cuts them, and as the WHATWG's algorithm reads them."""

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metamcp_asgi.errors import UpstreamProtocolError
from metamcp_asgi.protocol.sse import KEEP_ALIVE, Event, Parser, frame
from tests.protocol.documents import RAW

LIMIT = 1 << 16
_FIELDS = [
    b"data",
    b"data:",
    b"data: x",
    b"data:  y: z",
    b"event: e",
    b"event",
    b"id: 1",
    b"id",
    b"id: a\0b",
    b"retry: 10",
]
_FIELDS += [
    b"retry: 1x",
    b"retry:",
    b": comment",
    b":",
    b"unknown: 1",
    b"",
    b"",
    b" data: 1",
    b"data: \xc3\xa9",
    b"\xff",
]
_ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
_LINES = st.tuples(st.sampled_from(_FIELDS) | st.binary(max_size=8), _ENDS).map(b"".join)
STREAMS = st.builds(
    lambda bom, lines, rest: bom + b"".join(lines) + rest,
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb"]),
    st.lists(_LINES, max_size=14),
    st.sampled_from([b"", b"data: cut", b"\r"]),
)


def reference(stream: bytes) -> list[Event]:
    """Returns the events of a whole stream, by the letter of the standard: section 9.2.6, on complete lines only."""
    lines = re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf"))
    events: list[Event] = []
    data: list[bytes] = []
    fields: dict[str, bytes] = {}
    for line in lines[:-1]:
        if line == b"":
            known = {"id": fields.get("id"), "retry": int(fields["retry"]) if "retry" in fields else None}
            if data or known["id"] is not None or known["retry"] is not None:
                event = fields.get("event") or b"message"
                events.append(Event(b"\n".join(data), event, fields.get("id"), known["retry"]))  # type: ignore[arg-type]
            data, fields = [], {}
            continue
        name, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if line.startswith(b":"):
            continue
        if name == b"data":
            data.append(value)
        elif name == b"event" or (name == b"id" and b"\0" not in value):
            fields[name.decode()] = value
        elif name == b"retry" and re.fullmatch(rb"[0-9]+", value):
            fields["retry"] = value
    return events


def read(stream: bytes, cuts: list[int], limit: int = LIMIT) -> list[Event]:
    parser = Parser(limit)
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [
        event for a, b in zip(places, [*places[1:], len(stream)], strict=True) for event in parser.feed(stream[a:b])
    ]


@given(STREAMS, st.lists(st.integers(0, 400), max_size=20))
@example(b"\xef\xbb\xbfdata: 1\n\n", [1, 2, 3])
@example(b"data: 1\r\n\r\ndata: 2\r\n\r\n", [8, 9, 10])
@example(b"data: 1\r\rdata: 2\n\r", [7, 8])
def test_a_stream_cut_anywhere_gives_the_events_of_the_standard(stream: bytes, cuts: list[int]) -> None:
    assert read(stream, cuts) == reference(stream)


@given(STREAMS)
def test_a_stream_byte_by_byte_gives_the_same_events(stream: bytes) -> None:
    assert read(stream, list(range(len(stream)))) == reference(stream)


def test_an_event_is_given_out_with_the_byte_that_ends_it() -> None:
    parser = Parser(LIMIT)
    assert parser.feed(b"data: 1\r\n") == []
    assert parser.feed(b"\r") == [Event(b"1")]
    assert parser.feed(b"\ndata: 2\n") == []
    assert parser.feed(b"\n") == [Event(b"2")]


@given(RAW)
def test_a_message_comes_back_out_of_its_frame(payload: str) -> None:
    framed = frame(payload.encode())
    (event,) = Parser(LIMIT).feed(KEEP_ALIVE + framed + KEEP_ALIVE)
    assert (event.event, event.id, event.retry) == (b"message", None, None)
    assert json.loads(event.data, parse_int=str, parse_float=str) == json.loads(payload, parse_int=str, parse_float=str)


def size(lines: list[bytes]) -> int:
    return sum(len(line) + 1 for line in lines)


@given(
    st.lists(st.sampled_from([b"data: abcdef", b"data", b"event: e", b"id: 1", b"x"]), min_size=1),
    st.lists(st.integers(0, 400)),
)
@example([b"data"] * 50, [])
@example([b"data: " + b"x" * 300], [])
def test_the_size_bound_is_exact_wherever_the_stream_is_cut(lines: list[bytes], cuts: list[int]) -> None:
    stream = b"\r\n".join([*lines, b"", b""])
    for before in (b"", b"data: 1\n\n"):
        assert read(before + stream, cuts, limit=max(8, size(lines))) == reference(before + stream)
        if size(lines) > 8:
            with pytest.raises(UpstreamProtocolError, match="more than"):
                read(before + stream, cuts, limit=size(lines) - 1)


def test_a_line_that_never_ends_is_refused() -> None:
    parser = Parser(1000)
    for _ in range(999):
        assert parser.feed(b"x") == []
    with pytest.raises(UpstreamProtocolError):
        parser.feed(b"x")


def test_keep_alives_that_no_blank_line_divides_go_on_for_ever() -> None:
    parser = Parser(100)
    assert [event for _ in range(1000) for event in parser.feed(b": ping\n")] == []
    assert parser.feed(b"data: 1\n\n") == [Event(b"1")]
