"""HTTP+SSE for clients, on the wire: acceptance check 28 and what belongs to it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from metamcp_asgi import Gateway
from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.config.file import compile_document
from metamcp_asgi.downstream import sse
from metamcp_asgi.settings import Settings
from tests.gateway.client import BASE, JSON, Answer, Client, Exchange
from tests.gateway.running import KEY_A, KEY_B, document_of, gateway_over, served
from tests.gateway.test_legacy_asking import ACCEPTED, EVERYTHING, FORM, answers, asking_server
from tests.gateway.upstreams.raw import RawServer, Seen, text_result
from tests.lab.running import KINDS, Lab

pytestmark = pytest.mark.asyncio(loop_scope="session")

REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")


class Stream:
    """A session over HTTP+SSE: its stream, and where its messages go."""

    def __init__(self, client: Client, exchange: Exchange, target: str) -> None:
        self.client = client
        self.exchange = exchange
        self.target = target

    async def post(self, body: Any) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.send("POST", BASE, data, self.target)

    async def tell(self, method: str, params: Any = None, **more: Any) -> None:
        told = await self.post({"jsonrpc": "2.0", "method": method, "params": params or {}, **more})
        assert told.status == 202, told

    async def request(self, method: str, params: Any = None, id: Any = 1) -> JSON:  # noqa: A002
        await self.tell(method, params, id=id)
        while "method" in (message := await self.exchange.message()):
            pass
        return message

    async def call(self, name: str, arguments: JSON | None = None, **how: Any) -> JSON:
        return await self.request("tools/call", {"name": name, "arguments": arguments or {}}, **how)

    async def initialize(self, revision: str = "2024-11-05", capabilities: JSON | None = None) -> JSON:
        params = {"protocolVersion": revision, "capabilities": capabilities or {}, "clientInfo": {"name": "raw"}}
        response = await self.request("initialize", params, id=0)
        await self.tell("notifications/initialized")
        return response


async def opened(client: Client, path: str | None = None) -> Stream:
    """Opens a stream, and reads where to POST."""
    target = path or client.path.removesuffix("/mcp") + "/sse"
    exchange = await client.open("GET", [("Accept", "text/event-stream")], target=target)
    assert await exchange.head() == 200
    first = b""
    async with asyncio.timeout(15):
        async for chunk in exchange.chunks():
            first += chunk
            if b"\r\n\r\n" in first:
                break
    event, data = first.decode().split("\r\n")[:2]
    assert event == "event: endpoint"
    return Stream(client, exchange, data.removeprefix("data: "))


@contextlib.asynccontextmanager
async def session(client: Client, revision: str = "2024-11-05", **how: Any) -> AsyncIterator[Stream]:
    stream = await opened(client)
    await stream.initialize(revision, **how)
    yield stream
    await stream.exchange.close()


@pytest.mark.parametrize("revision", REVISIONS)
async def test_check_28_a_session(lab: Lab, revision: str) -> None:
    stream = await opened(lab.client())
    assert stream.target.startswith("/metamcp/open/message?sessionId=")
    result = (await stream.initialize(revision))["result"]
    assert result["protocolVersion"] == revision
    assert ("completions" in result["capabilities"]) == (revision > "2025")
    assert (await stream.request("ping", id="p")) == {"jsonrpc": "2.0", "id": "p", "result": {}}
    for kind in KINDS:
        response = await stream.call(f"{kind}__echo", {"text": f"to {kind}"}, id=kind)
        assert response["id"] == kind
        assert response["result"]["content"][0]["text"] == f"to {kind}"
        assert "resultType" not in response["result"]
    first = (await stream.request("tools/list"))["result"]
    rest = (await stream.request("tools/list", {"cursor": first["nextCursor"]}))["result"]
    assert {"um__echo", "us__echo"} <= {tool["name"] for page in (first, rest) for tool in page["tools"]}
    assert (await stream.request("foo/bar"))["error"]["code"] == -32601
    await stream.exchange.close()


async def test_progress_comes_before_the_result(lab: Lab) -> None:
    async with session(lab.client()) as stream:
        call = {"name": "um__slow", "arguments": {"tag": "sse", "steps": 3}, "_meta": {"progressToken": "t"}}
        await stream.tell("tools/call", call, id=5)
        messages = [await stream.exchange.message() for _ in range(4)]
        assert [message.get("method") for message in messages] == ["notifications/progress"] * 3 + [None]
        assert messages[-1]["id"] == 5


async def test_a_client_cancels(lab: Lab) -> None:
    async with session(lab.client()) as stream:
        await stream.tell("tools/call", {"name": "ud__hold", "arguments": {"tag": "sse-cancel"}}, id=5)
        await lab.witness.saw("sse-cancel started")
        await stream.tell("notifications/cancelled", {"requestId": 5})
        await lab.witness.saw("sse-cancel cancelled")
        assert (await stream.request("ping", id=6))["id"] == 6


async def test_a_session_ends_with_its_stream(lab: Lab) -> None:
    async with session(lab.client()) as stream:
        await stream.tell("tools/call", {"name": "um__hold", "arguments": {"tag": "sse-end"}}, id=5)
        await lab.witness.saw("sse-end started")
    await lab.witness.saw("sse-end cancelled")
    told = await stream.post({"jsonrpc": "2.0", "id": 1, "method": "ping"})
    assert (told.status, told.body) == (404, b"Session not found")


async def test_messages_of_somebody_else_and_to_nowhere(lab: Lab) -> None:
    async with session(lab.a) as mine:
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        body = json.dumps(ping).encode()
        assert (await lab.b.send("POST", BASE, body, mine.target)).status == 404
        elsewhere = mine.target.replace("/keyed/", "/open/")
        assert (await lab.client().send("POST", BASE, body, elsewhere)).status == 404
        assert (await lab.client("keyed").send("POST", BASE, body, mine.target)).status == 401
        assert (await lab.a.send("POST", BASE, body, mine.target[:-3])).status == 404
        assert (await lab.a.send("POST", BASE, body, mine.target.partition("?")[0])).status == 400
        assert (await lab.a.send("GET", BASE, b"", mine.target)).status == 405
        assert (await lab.a.send("POST", BASE, body, "/metamcp/keyed/sse")).status == 405
        evil = [("Origin", "http://evil.example"), *BASE]
        assert (await lab.a.send("POST", evil, body, mine.target)).status == 403
        assert (await lab.a.send("GET", evil, b"", "/metamcp/keyed/sse")).status == 403
        assert (await mine.request("ping"))["result"] == {}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"nonsense", 400),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}', 400),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', 400),
        (b" " * (5 << 20), 413),
    ],
)
async def test_odd_bodies(lab: Lab, body: bytes, status: int) -> None:
    async with session(lab.client()) as stream:
        assert (await stream.post(body)).status == status
        assert (await stream.request("ping"))["result"] == {}


async def test_before_the_handshake_there_is_only_ping(lab: Lab) -> None:
    stream = await opened(lab.client())
    assert (await stream.request("tools/list"))["error"]["code"] == -32600
    assert (await stream.request("initialize", {"protocolVersion": 7}))["error"]["code"] == -32602
    assert (await stream.request("ping"))["result"] == {}
    await stream.tell("notifications/cancelled", {"requestId": 5})
    assert "result" in await stream.initialize()
    assert (await stream.request("initialize", {"protocolVersion": "2024-11-05"}))["error"]["code"] == -32600
    await stream.exchange.close()


async def test_batches(lab: Lab) -> None:
    batch = [{"jsonrpc": "2.0", "id": n, "method": "ping"} for n in (1, 2)]
    async with session(lab.client(), "2025-03-26") as stream:
        assert (await stream.post(batch)).status == 202
        response: Any = await stream.exchange.message()
        assert [each["id"] for each in response] == [1, 2]
    async with session(lab.client(), "2025-06-18") as stream:
        assert (await stream.post(batch)).status == 202
        assert (await stream.exchange.message())["error"]["code"] == -32600


async def test_the_messages_of_a_batch_count_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_AT_ONCE", 3)
    let_go = asyncio.Event()

    async def held(seen: Seen) -> JSON:
        await let_go.wait()
        return text_result("x", resultType="complete")

    batch = [{"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": {"name": "raw__hold"}} for n in (1, 2)]
    server = RawServer("modern", ("hold",), {"tools/call hold": held})
    async with gateway_over({"raw": server}) as running, session(running.client(), "2025-03-26") as stream:
        assert (await stream.post(batch)).status == 202
        assert (await stream.post(batch)).status == 503
        assert (await stream.request("ping"))["result"] == {}
        let_go.set()
        response: Any = await stream.exchange.message()
        assert [each["id"] for each in response] == [1, 2]
        assert (await stream.post(batch)).status == 202
        await stream.exchange.message()


async def test_a_defect_of_ours_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def defect(*given: Any) -> Any:
        raise RuntimeError("planted")

    async with gateway_over({"raw": RawServer()}) as running, session(running.client(), "2025-03-26") as stream:
        monkeypatch.setattr(Aggregator, "call", defect)
        response = await stream.request("tools/list", id="d")
        assert (response["id"], response["error"]["code"]) == ("d", -32603)
        assert "planted" not in json.dumps(response)
        await stream.post([{"jsonrpc": "2.0", "id": n, "method": "tools/list"} for n in (1, 2)])
        several: Any = await stream.exchange.message()
        assert [(each["id"], each["error"]["code"]) for each in several] == [(1, -32603), (2, -32603)]


@pytest.mark.parametrize("revision", REVISIONS)
async def test_progress_has_words_where_the_revision_has_them(lab: Lab, revision: str) -> None:
    async with session(lab.client(), revision) as stream:
        call = {"name": "um__slow", "arguments": {"tag": "words", "steps": 1}, "_meta": {"progressToken": "t"}}
        await stream.tell("tools/call", call, id=5)
        params = (await stream.exchange.message())["params"]
        assert ("message" in params) == (revision != "2024-11-05")
        assert (params["progress"], params["total"]) == (1, 1)
        await stream.exchange.message()


async def test_a_client_is_asked_on_its_stream() -> None:
    async with (
        gateway_over({"raw": asking_server(FORM)}) as running,
        session(running.client(), "2025-06-18", capabilities=EVERYTHING) as stream,
    ):
        await stream.tell("tools/call", {"name": "raw__ask", "arguments": {}}, id=5)
        question = await stream.exchange.message()
        assert question["method"] == "elicitation/create"
        told = await stream.post({"jsonrpc": "2.0", "id": question["id"], "result": ACCEPTED})
        assert told.status == 202
        assert answers(await stream.exchange.message()) == {"q0": ACCEPTED}


async def test_changes_of_lists_are_told() -> None:
    server = RawServer("legacy", ("echo",))
    async with gateway_over({"raw": server}) as running, session(running.client()) as stream:
        server.behaviour["tools/list"] = server.listed("tools", [{"name": "new", "inputSchema": {"type": "object"}}])
        await server.announce("tools")
        assert (await stream.exchange.message())["method"] == "notifications/tools/list_changed"


async def test_silence_is_broken_by_comments() -> None:
    async with gateway_over({"raw": RawServer()}, keepalive_seconds=0.05) as running:
        stream = await opened(running.client())
        async with asyncio.timeout(15):
            async for chunk in stream.exchange.chunks():
                if b": keep-alive" in chunk:
                    break
        await stream.exchange.close()


async def test_streams_are_limited() -> None:
    async with gateway_over({"raw": RawServer()}, max_streams=1) as running:
        stream = await opened(running.client())
        assert (await running.client().send("GET", target="/metamcp/open/sse")).status == 503
        await stream.exchange.close()


async def test_below_a_mount_point_the_url_has_it_too() -> None:
    async with served(RawServer()) as port:
        document = document_of({"raw": {"url": f"http://127.0.0.1:{port}/mcp"}})
        gateway = Gateway(compile_document(document, environ={}), Settings())
        app = Starlette(routes=[Mount("/some where", gateway)], lifespan=gateway.lifespan)
        async with served(app, "on") as mounted:
            client = Client(mounted)
            stream = await opened(client, "/some%20where/metamcp/open/sse/")
            assert urlsplit(stream.target).path == "/some%20where/metamcp/open/message"
            assert "result" in await stream.initialize()
            await stream.exchange.close()
            gateway.close_streams()


async def test_a_key_that_is_taken_away_ends_the_stream() -> None:
    async with gateway_over({"raw": RawServer()}) as running:
        stream = await opened(running.client("keyed", KEY_A))
        other = await opened(running.client("keyed", KEY_B))
        snapshot = running.gateway.snapshot
        keys = {digest: key for digest, key in snapshot.keys.items() if key.principal.name != "A"}
        running.gateway.apply(
            type(snapshot)(
                servers=snapshot.servers, namespaces=snapshot.namespaces, endpoints=snapshot.endpoints, keys=keys
            )
        )
        await asyncio.wait_for(stream.exchange.answer(), 15)
        assert "result" in await other.initialize()
        await other.exchange.close()
