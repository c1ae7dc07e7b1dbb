"""Messages of a modern client that no client should send: refused, or the server's business, and never half of each."""

import json
from typing import Any

import pytest

from tests.gateway.client import CAPABILITIES, MODERN, VERSION, modern_request
from tests.lab.running import Lab

pytestmark = pytest.mark.asyncio(loop_scope="session")

META = json.dumps({VERSION: MODERN, CAPABILITIES: {}})
PARAMS = f'{{"_meta":{META},"name":"raw__echo","arguments":{{}}}}'


@pytest.mark.parametrize(
    "body",
    [
        '{"jsonrpc":"2.0","id":1e400,"method":"tools/call","params":PARAMS}',
        '{"jsonrpc":"2.0","id":1.5,"method":"tools/call","params":PARAMS}',
        '{"jsonrpc":"2.0","id":true,"method":"tools/call","params":PARAMS}',
        '{"jsonrpc":"2.0","id":[1],"method":"tools/call","params":PARAMS}',
        '{"jsonrpc":"2.0","id":"\\ud800","method":"tools/call","params":PARAMS}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":null}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[1]}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":"x"}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":null}}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":[]}}',
        '{"jsonrpc":"2.0","id":1,"method":null,"params":PARAMS}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call\\ud800","params":PARAMS}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"raw__other","_meta":META,"name":"raw__echo"}}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"raw__other","_meta":META,"n\\u0061me":"raw__echo"}}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":5,"_meta":META}}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":null,"_meta":META}}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":META}}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":PARAMS,"result":{}}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":PARAMS,"method":"tools/list"}',
    ],
)
async def test_check_19_odd_bodies_are_refused_and_never_executed(lab: Lab, body: str) -> None:
    headers, _ = modern_request("tools/call", {"name": "raw__echo"})
    before = lab.raw.count("tools/call")
    data = body.replace("PARAMS", PARAMS).replace("META", META).encode()
    answer = await lab.client().send("POST", headers, data)
    assert answer.status in (400, 404), answer
    assert answer.code() in (-32700, -32600, -32601, -32602, -32020)
    assert lab.raw.count("tools/call") == before


@pytest.mark.parametrize("name", ["raw__echo", "old__echo"])
@pytest.mark.parametrize("arguments", ["null", "[]", '"x"', "5", '{"a":1,"a":2}', '{"x":"\\ud800"}'])
async def test_odd_arguments_are_the_servers_business_or_refused(lab: Lab, name: str, arguments: str) -> None:
    headers, body = modern_request("tools/call", {"name": name, "arguments": "ARGUMENTS"})
    answer = await lab.client().send("POST", headers, body.replace(b'"ARGUMENTS"', arguments.encode()))
    assert answer.status in (200, 400), answer
    assert answer.message()["id"] in (1, None)


@pytest.mark.parametrize("token", [None, 1.5, True, {}, [], 2**70])
async def test_odd_progress_tokens_do_no_harm(lab: Lab, token: Any) -> None:
    answer = await lab.client().call("um__slow", {"tag": "x", "steps": 1}, meta={"progressToken": token})
    assert answer.status in (200, 400), answer
    if answer.status == 200:
        assert answer.result()["content"][0]["text"] == "x done"
