"""A legacy client on the wire: acceptance checks 22 to 33 and what belongs to them."""

import asyncio
import itertools
import json
import time
from typing import Any

import pytest

from metamcp_asgi.downstream.legacy_requests import MAX_BATCH
from tests.gateway.client import BASE, MODERN, Session
from tests.gateway.running import KEY_A, KEY_B, gateway_over
from tests.gateway.upstreams.raw import RawServer, Seen, Stream, text_result
from tests.lab.running import KINDS, Lab

pytestmark = pytest.mark.asyncio(loop_scope="session")

ERAS = ("modern", "legacy")
LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
LISTS = ("tools/list", "prompts/list", "resources/list", "resources/templates/list")


def request(number: Any, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


@pytest.mark.parametrize(
    ("asked", "agreed"),
    [*((revision, revision) for revision in LEGACY), ("1999-01-01", "2025-11-25"), (MODERN, "2025-11-25")],
)
async def test_check_22_initialize(lab: Lab, asked: str, agreed: str) -> None:
    answer = await lab.client().initialize(asked)
    assert answer.status == 200
    result = answer.result()
    assert result["protocolVersion"] == agreed
    assert result["serverInfo"]["name"]
    assert {"tools", "prompts", "resources"} <= result["capabilities"].keys()
    assert answer.message()["id"] == 0


@pytest.mark.parametrize("header", [MODERN, "2025-11-25", "v999"])
async def test_check_22_initialize_whatever_the_header_says(lab: Lab, header: str) -> None:
    answer = await lab.client().initialize("2025-06-18", [("MCP-Protocol-Version", header)])
    assert answer.result()["protocolVersion"] == "2025-06-18"


@pytest.mark.parametrize("params", [{}, {"protocolVersion": 5}, [], "x"])
async def test_check_22_initialize_with_something_else(lab: Lab, params: Any) -> None:
    answer = await lab.client().post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
    assert answer.code() in (-32600, -32602)
    assert answer.header("mcp-session-id") is None


async def test_check_23_session_ids(lab: Lab) -> None:
    ids = [(await lab.client().session()).id for _ in range(20)]
    assert len(set(ids)) == 20
    for session_id in ids:
        assert all(0x21 <= ord(character) <= 0x7E for character in session_id)
        assert len(session_id) >= 22


async def test_check_24_without_a_session_id(lab: Lab) -> None:
    for method in ("tools/list", "ping"):
        answer = await lab.client().post(request(24, method))
        assert answer.status == 400
        assert answer.code() == -32600
        assert answer.message()["id"] == 24
    answer = await lab.client().post(request(24, "tools/list"), [("MCP-Protocol-Version", "2025-06-18")])
    assert answer.status == 400
    assert (await lab.client().send("DELETE")).status == 400
    assert (await lab.client().send("GET", [("Accept", "text/event-stream")])).status in (400, 405)


async def test_check_24_unknown_and_ended_sessions(lab: Lab) -> None:
    client = lab.client()
    unknown = Session(client, "s1.junk", "2025-11-25")
    assert (await unknown.request("tools/list")).status == 404
    session = await client.session()
    assert (await session.request("tools/list")).status == 200
    assert (await session.end()).status in (200, 202, 204)
    assert (await session.request("tools/list")).status == 404
    assert (await session.notify("notifications/initialized")).status == 404
    assert (await session.end()).status == 404
    assert (await client.send("GET", [("Accept", "text/event-stream"), *session.headers])).status == 404


async def test_check_24_a_changed_session_id(lab: Lab) -> None:
    session = await lab.client().session()
    for place in (5, len(session.id) // 2, len(session.id) - 1):
        other = "A" if session.id[place] != "A" else "B"
        changed = session.id[:place] + other + session.id[place + 1 :]
        assert (await Session(session.client, changed, "2025-11-25").request("ping")).status == 404


async def test_check_25_the_session_of_somebody_else(lab: Lab) -> None:
    session = await lab.a.session()
    stolen = await Session(lab.b, session.id, "2025-11-25").request("tools/list")
    unknown = await Session(lab.b, "s1.junk", "2025-11-25").request("tools/list")
    assert (stolen.status, unknown.status) == (404, 404)
    strip = [{k: v for k, v in json.loads(a.body).items() if k != "timestamp"} for a in (stolen, unknown)]
    assert strip[0] == strip[1]
    elsewhere = await Session(lab.client(), session.id, "2025-11-25").request("tools/list")
    assert elsewhere.status == 404
    stolen_end = await Session(lab.b, session.id, "2025-11-25").end()
    assert stolen_end.status == 404
    assert (await session.request("tools/list")).status == 200


async def test_check_26_version_header_within_a_session(lab: Lab) -> None:
    session = await lab.client().session("2025-06-18")
    for version in ("1.0", "", "2099-01-01"):
        session.headers = [("Mcp-Session-Id", session.id), ("MCP-Protocol-Version", version)]
        assert (await session.request("tools/list")).status == (400 if version else 200), version
    session.headers = [("Mcp-Session-Id", session.id)]
    assert (await session.request("tools/list")).status == 200


async def test_check_27_a_batch(lab: Lab) -> None:
    session = await lab.client().session("2025-03-26")
    batch = [
        request("a", "tools/call", name="um__echo", arguments={"text": "1"}),
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        request(2, "ping"),
    ]
    answer = await session.post(batch)
    assert answer.status == 200
    assert {message["id"] for message in answer.messages()} == {"a", 2}
    assert all("result" in message for message in answer.messages())


async def test_check_27_a_batch_of_notifications_only(lab: Lab) -> None:
    session = await lab.client().session("2025-03-26")
    answer = await session.post([{"jsonrpc": "2.0", "method": "notifications/initialized"}])
    assert (answer.status, answer.body) == (202, b"")


async def test_check_27_a_batch_with_faults(lab: Lab) -> None:
    session = await lab.client().session("2025-03-26")
    answer = await session.post(
        [
            request(1, "initialize", protocolVersion="2025-03-26", capabilities={}, clientInfo={}),
            request(2, "no/such"),
            request(3, "tools/call"),
            request(4, "ping"),
        ]
    )
    by_id = {message["id"]: message for message in answer.messages()}
    assert by_id[1]["error"]["code"] == -32600
    assert by_id[2]["error"]["code"] == -32601
    assert by_id[3]["error"]["code"] == -32602
    assert by_id[4]["result"] == {}


@pytest.mark.parametrize(
    "odd",
    [{"jsonrpc": "2.0", "id": None, "method": "ping"}, 5, {"id": 1}, {"jsonrpc": "2.0", "id": {}, "method": "ping"}],
)
async def test_check_27_a_batch_with_something_that_is_no_message(lab: Lab, odd: Any) -> None:
    session = await lab.client().session("2025-03-26")
    answer = await session.post([odd, request(4, "ping")])
    assert answer.status in (200, 400), answer
    codes = {message["error"]["code"] for message in answer.messages() if "error" in message}
    assert codes == {-32600}, answer


@pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
async def test_check_27_no_batches_in_other_revisions(lab: Lab, revision: str) -> None:
    session = await lab.client().session(revision)
    answer = await session.post([request(1, "ping"), request(2, "ping")])
    assert answer.status == 400
    assert answer.code() == -32600


async def test_check_27_an_empty_batch(lab: Lab) -> None:
    session = await lab.client().session("2025-03-26")
    answer = await session.post([])
    assert (answer.status, answer.code()) == (400, -32600)


async def test_a_batch_that_is_too_large(lab: Lab) -> None:
    session = await lab.client().session("2025-03-26")
    assert (await session.post([request(n, "ping") for n in range(MAX_BATCH)])).status == 200
    answer = await session.post([request(n, "ping") for n in range(MAX_BATCH + 1)])
    assert (answer.status, answer.code()) == (400, -32600)
    assert str(MAX_BATCH) in answer.error()["message"]


async def test_check_27_progress_of_a_batch(lab: Lab) -> None:
    session = await lab.client().session("2025-03-26")
    arguments = {"tag": "batch", "steps": 2}
    call = request(1, "tools/call", name="um__slow", arguments=arguments, _meta={"progressToken": "t"})
    answer = await session.post([call, request(2, "ping")])
    flat: list[Any] = []
    for message in answer.messages():
        flat += message if isinstance(message, list) else [message]
    assert {message["id"] for message in flat if "id" in message} == {1, 2}
    assert [m["params"]["progress"] for m in flat if m.get("method") == "notifications/progress"] == [1, 2]


@pytest.mark.parametrize("kind", KINDS)
async def test_check_29_two_streams_at_once_get_their_own(lab: Lab, kind: str) -> None:
    session = await lab.client().session()

    async def one(number: int) -> None:
        params = {"name": f"{kind}__slow", "arguments": {"tag": f"n{number}", "steps": 4}}
        answer = await session.request("tools/call", {**params, "_meta": {"progressToken": number}}, id=number)
        assert answer.is_stream
        *progress, last = answer.messages()
        assert [message["params"]["progressToken"] for message in progress] == [number] * 4
        assert (last["id"], last["result"]["content"][0]["text"]) == (number, f"n{number} done")

    await asyncio.gather(one(1), one(2), one(3))


@pytest.mark.parametrize("revision", LEGACY)
async def test_check_30_no_members_of_modern_results(lab: Lab, revision: str) -> None:
    session = await lab.client().session(revision)
    answers = [await session.request(method) for method in LISTS]
    answers += [await session.call(f"{kind}__echo", {"text": "x"}) for kind in (*KINDS, "raw", "old")]
    answers += [await session.request("resources/read", {"uri": f"{kind}://doc"}) for kind in KINDS]
    got = {"who": "Ada"}
    answers += [await session.request("prompts/get", {"name": f"{k}__greet", "arguments": got}) for k in KINDS]
    for answer in answers:
        result = answer.result()
        assert not {"resultType", "ttlMs", "cacheScope"} & result.keys()
        assert not any(key.startswith("io.modelcontextprotocol/") for key in result.get("_meta", {}))


async def forever(_: Seen) -> None:
    await asyncio.Event().wait()


async def test_check_31_ping_while_every_server_is_down() -> None:
    hung = {era: RawServer(era, behaviour={"server/discover": forever, "initialize": forever}) for era in ERAS}
    servers = {**hung, "gone": {"url": "http://127.0.0.1:9/mcp"}, "dead": {"command": "/bin/false"}}
    async with gateway_over(servers, wait=False, server_deadline=60) as running:
        session = await running.client().session()
        for server in hung.values():
            await server.arrival("server/discover")
        listing = await session.start("tools/list", id="l")
        async with asyncio.timeout(30):  # a machine that is busy with other tests may need several attempts
            for number in itertools.count():
                ping = await session.start("ping", id=f"p{number}")
                began = time.monotonic()
                answer = await ping.answer()
                assert answer.message() == {"jsonrpc": "2.0", "id": f"p{number}", "result": {}}
                if time.monotonic() - began < 0.05:
                    break
        # A list waits for the servers, for up to a minute here; a ping, which was sent later, waits for nobody.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(listing.head(), 0.05)
        await listing.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_check_32_a_client_that_disconnects_has_not_cancelled(lab: Lab, kind: str) -> None:
    session = await lab.client().session()
    tag = f"c32-{kind}"
    params = {"name": f"{kind}__slow", "arguments": {"tag": tag, "steps": 10}, "_meta": {"progressToken": 1}}
    exchange = await session.start("tools/call", params)
    await lab.witness.saw(f"{tag} started")
    await exchange.close()
    await lab.witness.saw(f"{tag} finished")
    assert f"{tag} cancelled" not in lab.witness.reports


@pytest.mark.parametrize("revision", LEGACY)
async def test_check_33_the_first_event_has_an_id_and_no_data_where_clients_can_read_that(
    lab: Lab, revision: str
) -> None:
    session = await lab.client().session(revision)
    params = {"name": "um__slow", "arguments": {"tag": "c33", "steps": 2}, "_meta": {"progressToken": 1}}
    answer = await session.request("tools/call", params)
    assert answer.is_stream
    first = answer.body.replace(b"\r\n", b"\n").split(b"\n\n")[0].split(b"\n")
    if revision == "2025-11-25":
        assert [line.partition(b":")[0] for line in first] == [b"id", b"data"]
        assert first[1].strip() == b"data:"
    else:
        assert b"data: \r" not in answer.body
        assert b"data:\r" not in answer.body
        assert not answer.body.startswith(b"id:")
        assert b"\nid:" not in answer.body
    assert len(answer.messages()) == 3


async def test_methods_of_http_without_a_session(lab: Lab) -> None:
    client = lab.client()
    for method in ("PUT", "PATCH", "HEAD"):
        answer = await client.send(method)
        assert answer.status == 405
        assert answer.header("allow")
        if method == "HEAD":
            assert answer.body == b""


async def test_the_stream_of_a_session(lab: Lab) -> None:
    session = await lab.client().session()
    stream = await session.listen()
    assert dict(stream.headers)[b"content-type"].startswith(b"text/event-stream")
    newer = await session.listen()
    # The newer stream replaces the older one: a message must never be sent on both (T-57).
    assert (await asyncio.wait_for(stream.answer(), 30)).messages() == []
    await newer.close()
    headers = [("Accept", "application/json"), *session.headers]
    assert (await session.client.send("GET", headers)).status == 406


async def test_ending_a_session_ends_its_stream(lab: Lab) -> None:
    session = await lab.client().session()
    stream = await session.listen()
    await session.end()
    assert (await asyncio.wait_for(stream.answer(), 30)).messages() == []


async def test_answers_to_requests_that_were_never_made_are_accepted(lab: Lab) -> None:
    session = await lab.client().session()
    for message in (
        {"jsonrpc": "2.0", "id": 5, "result": {}},
        {"jsonrpc": "2.0", "id": 5, "error": {"code": -1, "message": "no"}},
    ):
        answer = await session.post(message)
        assert (answer.status, answer.body) == (202, b"")


async def test_methods_that_do_not_exist(lab: Lab) -> None:
    session = await lab.client().session()
    for method in ("server/discover", "subscriptions/listen", "no/such", "tasks/list"):
        answer = await session.request(method, id="x")
        assert answer.code() == -32601, answer
        assert answer.message()["id"] == "x"
    assert (await session.notify("notifications/whatever", {"x": 1})).status == 202


async def test_requests_within_a_session_need_no_accept_header_of_modern_clients(lab: Lab) -> None:
    session = await lab.client().session()
    headers = [("Content-Type", "application/json"), ("Accept", "application/json"), *session.headers]
    answer = await session.client.send("POST", headers, json.dumps(request(1, "ping")).encode())
    assert answer.status in (200, 406)


async def test_same_request_id_in_two_sessions_and_twice_in_one(lab: Lab) -> None:
    first, second = await lab.client().session(), await lab.client().session()
    answers = await asyncio.gather(
        *(session.call("um__echo", {"text": f"t{n}"}, id=1) for n in range(5) for session in (first, second))
    )
    texts = [answer.result()["content"][0]["text"] for answer in answers]
    assert texts == [f"t{n}" for n in range(5) for _ in range(2)]


async def test_parameters_in_the_header_are_not_wanted_of_legacy_clients(lab: Lab) -> None:
    session = await lab.client().session()
    assert (await session.call("um__region", {"region": "münchen"})).result()["content"][0]["text"] == "münchen"


async def test_headers_that_lie_about_a_legacy_body_are_not_believed(lab: Lab) -> None:
    session = await lab.client().session()
    session.headers += [("Mcp-Method", "tools/list"), ("Mcp-Name", "um__fail")]
    assert (await session.call("um__echo", {"text": "body"})).result()["content"][0]["text"] == "body"


async def test_resources_that_nobody_has(lab: Lab) -> None:
    session = await lab.client().session()
    for uri in ("um://nothing", "ul://nothing", "none://at-all"):
        answer = await session.request("resources/read", {"uri": uri})
        assert answer.code() == -32002
        assert answer.error()["data"]["uri"] == uri


async def test_what_a_server_logs_in_a_call_comes_before_its_result() -> None:
    async def messages(seen: Seen) -> Any:
        yield {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}}
        yield {"jsonrpc": "2.0", "id": seen.message["id"], "result": text_result("done")}

    server = RawServer("legacy", ("noisy",), behaviour={"tools/call noisy": lambda seen: Stream(messages(seen))})
    async with gateway_over({"old": server}) as running:
        answer = await (await running.client().session()).call("old__noisy")
        assert answer.result()["content"][0]["text"] == "done"
        assert [m.get("method") for m in answer.messages()] == ["notifications/message", None]


async def test_keys_of_a_session(lab: Lab) -> None:
    for key in (KEY_A, KEY_B):
        session = await lab.client("keyed", key).session()
        assert (await session.request("ping")).status == 200
    without = await lab.client("keyed").send("POST", [*BASE, *session.headers], b"{}")
    assert without.status == 401


async def test_ids_come_back_in_their_own_type(lab: Lab) -> None:
    session = await lab.client().session()
    for request_id in (0, -3, "7", "", "ü", 2**63, 2**64, -(2**63) - 1):
        for answer in (
            await session.request("ping", id=request_id),
            await session.call("um__echo", {"text": "x"}, id=request_id),
        ):
            assert answer.message()["id"] == request_id
            assert type(answer.message()["id"]) is type(request_id)


@pytest.mark.parametrize(
    "body",
    [
        '{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
        '{"jsonrpc":"2.0","id":true,"method":"ping"}',
        '{"jsonrpc":"2.0","id":{},"method":"ping"}',
        '{"jsonrpc":"2.0","id":null,"method":"ping"}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[1]}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":null}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"raw__other","name":"raw__echo"}}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":5}}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"raw__echo","_meta":5}}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call"}',
        '{"jsonrpc":"2.0","id":1,"method":"initialize","method":"ping"}',
        "{",
        "5",
        '"x"',
    ],
)
async def test_odd_bodies_within_a_session_are_refused(lab: Lab, body: str) -> None:
    session = await lab.client().session()
    before = lab.raw.count("tools/call")
    answer = await session.client.post(body.encode(), session.headers)
    assert answer.status in (200, 400), answer
    assert answer.code() in (-32700, -32600, -32602)
    assert lab.raw.count("tools/call") == before


async def test_a_notification_that_opens_no_session(lab: Lab) -> None:
    for method in ("initialize", "notifications/initialized", "tools/list"):
        answer = await lab.client().post({"jsonrpc": "2.0", "method": method, "params": {}})
        assert answer.status == 400
        assert answer.header("mcp-session-id") is None


async def test_a_batch_that_is_cancelled_whole(lab: Lab) -> None:
    session = await lab.client().session("2025-03-26")
    call = {"name": "um__hold", "arguments": {"tag": "whole"}}
    body = json.dumps([request(3, "tools/call", **call)]).encode()
    exchange = await session.client.open("POST", [*BASE, *session.headers], body)
    await lab.witness.saw("whole started")
    await session.notify("notifications/cancelled", {"requestId": 3})
    await lab.witness.saw("whole cancelled")
    answer = await asyncio.wait_for(exchange.answer(), 30)
    assert answer.status in (200, 202)
    assert b'"id"' not in answer.body
