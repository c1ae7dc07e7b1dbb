"""What travels between worker and companion arrives as it was."""

from typing import Any

import msgspec
import pytest
from msgspec import Raw, UnsetType

from metamcp_asgi.protocol.capabilities import NOTHING, Capabilities
from metamcp_asgi.protocol.hops import hops_of
from metamcp_asgi.protocol.outcome import Failure, InputRequired, Result
from metamcp_asgi.upstream.companion import wire
from metamcp_asgi.upstream.request import Answer, Peer, Request


def progress(members: object) -> None: ...


def event(method: str, params: Raw | UnsetType) -> None: ...


def log(members: object) -> None: ...


async def ask(question: object) -> Any: ...


FULL = Request(
    method="tools/call",
    params={"name": Raw(b'"t"'), "arguments": Raw('{"ü": [1.0, 1e400]}'.encode())},
    meta={"traceparent": Raw(b'"00-1"')},
    name="t",
    param_headers=b"Mcp-Param-Region: eu\r\n",
    on_progress=progress,
    hops=hops_of(["a/b", "c/d"]),
    capabilities=Capabilities(form=True, extensions=b'{"x":{}}'),
    ask=ask,
    log_level="info",
    on_log=log,
    trace=b"traceparent: 00-1\r\n",
    on_event=event,
)
EMPTY = Request("tools/list", {})


def over_the_wire(request: Request) -> Request:
    sent = msgspec.msgpack.encode(wire.Send(1, 2, wire.asked(request), ("p", None, "t")))
    frame = wire.to_companion.decode(sent)
    assert isinstance(frame, wire.Send)
    assert (frame.call, frame.server, frame.whose) == (1, 2, ("p", None, "t"))
    return wire.request_of(frame.request, progress, log, ask, event)


def test_no_field_of_a_request_is_left_out() -> None:
    for name in Request.__struct_fields__:
        if name != "method":
            assert getattr(FULL, name) != getattr(EMPTY, name), f"give {name} a value in FULL, and a place in wire.py"


@pytest.mark.parametrize("request_", [FULL, EMPTY], ids=["full", "empty"])
def test_a_request_arrives_as_it_was(request_: Request) -> None:
    arrived = over_the_wire(request_)
    for name in Request.__struct_fields__:
        assert shown(getattr(arrived, name)) == shown(getattr(request_, name)), name


def test_legs_still_tell_by_identity_that_nothing_is_declared() -> None:
    request = Request("tools/list", {}, capabilities=Capabilities())
    assert over_the_wire(request).capabilities is NOTHING


@pytest.mark.parametrize(
    "outcome",
    [
        Result(b'{"content":[]}'),
        Result(Raw(b'{"content":[]}'), cause="timeout"),
        Result(b"", {"content": Raw(b"[]")}),
        Failure(-32000, "m"),
        Failure(-32000, "m", Raw(b'{"a":1}'), "refused"),
        InputRequired({"k": Raw(b'{"method":"roots/list"}')}, "state"),
        InputRequired({}, None),
        None,
    ],
)
def test_an_outcome_arrives_as_it_was(outcome: Any) -> None:
    frame = wire.to_worker.decode(msgspec.msgpack.encode(wire.Done(7, wire.finished(outcome))))
    assert isinstance(frame, wire.Done)
    assert shown(wire.outcome_of(frame.end)) == shown(outcome)


@pytest.mark.parametrize("answer", [Answer(Raw(b'{"a":1}')), Answer(failure=Failure(-1, "no"))])
def test_an_answer_arrives_as_it_was(answer: Answer) -> None:
    frame = wire.to_companion.decode(msgspec.msgpack.encode(wire.answered(1, 2, answer)))
    assert isinstance(frame, wire.Answered)
    assert shown(wire.answer_of(frame)) == shown(answer)


def test_what_a_server_says_of_itself_arrives_as_it_was() -> None:
    peer = Peer("modern", "2026-07-28", {"tools": {"listChanged": True}}, {"version": 2**80}, "use it")
    assert wire.peer_of(msgspec.json.encode(peer)) == peer


def shown(value: Any) -> Any:
    """Returns a value in which raw JSON can be compared, whatever holds its bytes."""
    if isinstance(value, Raw | bytes):
        return bytes(value)
    if isinstance(value, dict):
        return {name: shown(item) for name, item in value.items()}
    if isinstance(value, msgspec.Struct):
        return type(value).__name__, [shown(getattr(value, name)) for name in value.__struct_fields__]
    return value
