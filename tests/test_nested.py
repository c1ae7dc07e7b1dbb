"""Gateways behind gateways: they work, and where they lead to each other the loop is found and named."""

import asyncio
import contextlib
import json
import re
import sys
from pathlib import Path

import httpx2
import pytest

from tests.conftest import RunningGateway
from tests.gateway.client import Session
from tests.gateway.running import gateway_over
from tests.gateway.upstreams.raw import RawServer
from tests.places import BIN, ROOT
from tests.processes import free_port, running
from tests.serving import Client
from tests.stdio import stdio

BRIDGE = Path(__file__).parent / "stdio_bridge.py"
HOPS = "io.github.metamcp-asgi/hops"


@contextlib.asynccontextmanager
async def ring(folder: Path, *names, era: str = "auto"):
    """Runs `metamcp serve` for each name, each with a server of its own and the next one's endpoint as another."""
    ports = {name: free_port() for name in names}
    with contextlib.ExitStack() as stack:
        gateways = {}
        for name, following in zip(names, [*names[1:], names[0]], strict=True):
            (folder / name).mkdir()
            url = f"http://127.0.0.1:{ports[following]}/metamcp/default/mcp"
            servers = {f"own{name}": stdio(tools=[name]), following: {"url": url, "era": era}}
            gateways[name] = stack.enter_context(serve_at(ports[name], {"mcpServers": servers}, folder / name))
        async with httpx2.AsyncClient(timeout=20) as http:
            yield gateways, {name: Client(gateway.url(), http) for name, gateway in gateways.items()}


@contextlib.contextmanager
def serve_at(port, config, folder):
    """Runs `metamcp serve` on a port that is known before."""
    path = folder / "mcp.json"
    path.write_text(json.dumps(config))
    command = [BIN / "metamcp", "serve", path, "--host", "127.0.0.1", "--port", str(port)]
    with running(command, r"(http://127\.0\.0\.1:\d+)/metamcp/", None, ROOT) as (program, ready):
        yield RunningGateway(program, ready[1], path)


async def settled(client, expected, within=30.0):
    """Waits until a list is what it should be, and a moment longer, in which it must not grow."""
    listed = set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within):
            while not expected(listed := set(await client.tools())):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    return listed


def named(*tools):
    return lambda listed: {tool for tool in listed if tool[-3:] in ("__a", "__b", "__c")} == set(tools)


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_two_gateways_that_lead_to_each_other(tmp_path, era):
    async with ring(tmp_path, "a", "b", era=era) as (gateways, clients):
        expected = {"a": named("owna__a", "b__ownb__b"), "b": named("ownb__b", "a__owna__a")}
        for _ in range(2):
            for name, client in clients.items():
                listed = await settled(client, expected[name])
                assert expected[name](listed), (name, listed)
            await asyncio.sleep(1.2)  # longer than such a list counts as fresh
        assert await clients["a"].text("b__ownb__b") == "{}"
        assert await clients["b"].text("a__owna__a") == "{}"
        log = "".join(gateway.program.output() for gateway in gateways.values())
        assert re.search(
            r"left out of what another gateway is shown. Loop of gateways: \w+/default > \w+/default > \w+", log
        )
        assert "Traceback" not in log


async def test_three_in_a_circle(tmp_path):
    async with ring(tmp_path, "a", "b", "c") as (_, clients):
        for own, following in (("a", "b"), ("b", "c"), ("c", "a")):
            expected = named(f"own{own}__{own}", f"{following}__own{following}__{following}")
            listed = await settled(clients[own], expected)
            assert expected(listed), (own, listed)


@pytest.mark.parametrize("bridge", [False, True], ids=["by HTTP", "through a stdio bridge"])
async def test_a_namespace_that_contains_itself(tmp_path, bridge):
    port = free_port()
    url = f"http://127.0.0.1:{port}/metamcp/default/mcp"
    me = {"command": sys.executable, "args": ["-I", "-S", str(BRIDGE), url]} if bridge else {"url": url}
    config = {"mcpServers": {"own": stdio(), "me": me}}
    with serve_at(port, config, tmp_path) as gateway:
        async with httpx2.AsyncClient(timeout=20) as http:
            client = Client(gateway.url(), http)
            async with asyncio.timeout(30):
                while "Loop of gateways" not in (missing := await client.missing()).get("me", ""):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert re.search(r"refused [\w/]+: Loop of gateways: (\w+/default) > \1 ", missing["me"] + " "), missing
            assert all(name.startswith("own__") for name in await client.tools())
            assert await client.text("own__echo") == "{}"


async def test_one_endpoint_of_a_gateway_behind_another_of_the_same(tmp_path):
    """As MetaMCP makes a server of each endpoint: no loop."""
    port = free_port()
    config = {
        "mcpServers": {"own": stdio(), "inner": {"url": f"http://127.0.0.1:{port}/metamcp/in/mcp"}},
        "namespaces": {"in": {"servers": ["own"]}, "out": {"servers": ["inner"]}},
        "endpoints": {n: {"namespace": n, "apiKeyAuth": False} for n in ("in", "out")},
    }
    with serve_at(port, config, tmp_path) as gateway:
        async with httpx2.AsyncClient(timeout=20) as http:
            client = Client(gateway.url("out"), http)
            assert await settled(client, lambda listed: "inner__own__echo" in listed)
            assert await client.text("inner__own__echo") == "{}"


class TestCalls:
    async def test_the_hops_are_told_in_meta_and_header(self):
        for era in ("modern", "legacy"):
            raw = RawServer(era)
            async with gateway_over({"raw": raw}) as running:
                for client in (running.client(), await running.client().session()):
                    await client.call("raw__echo", {})
                    seen = raw.last("tools/call")
                    (hop,) = seen.params["_meta"][HOPS]
                    assert re.fullmatch(r"[0-9a-f]{12}/all", hop)
                    assert seen.header("metamcp-hops") == [json.dumps([hop]).encode()]
                await running.client().call("raw__echo", meta={HOPS: ["x/y"]})
                assert raw.last("tools/call").params["_meta"][HOPS] == ["x/y", hop]
                await running.client().call("raw__echo", headers=[("Metamcp-Hops", '["h/y"]')])
                assert raw.last("tools/call").params["_meta"][HOPS] == ["h/y", hop]
                (reading,) = raw.last("tools/list").params["_meta"][HOPS]
                assert reading == hop

    async def test_a_call_that_comes_back_is_refused_with_its_way(self):
        raw = RawServer()
        async with gateway_over({"raw": raw}) as running:
            await running.client().call("raw__echo")
            (hop,) = raw.last("tools/call").params["_meta"][HOPS]
            calls = raw.count("tools/call")
            for client in (running.client(), await running.client().session()):
                passed = {HOPS: [hop, "b/x"]}
                answer = await (
                    client.request("tools/call", {"name": "raw__echo", "_meta": passed})
                    if isinstance(client, Session)
                    else client.modern("tools/call", {"name": "raw__echo"}, meta=passed)
                )
                result = answer.result()
                assert result["isError"]
                assert result["content"][0]["text"] == f"Loop of gateways: {hop} > b/x > {hop}"
            listed = await running.client().modern("tools/list", meta={HOPS: [hop]})
            assert listed.error()["message"] == f"Loop of gateways: {hop} > {hop}"
            assert raw.count("tools/call") == calls

    async def test_no_call_comes_through_more_than_eight(self):
        raw = RawServer()
        async with gateway_over({"raw": raw}) as running:
            far = [f"{n}/x" for n in range(8)]
            assert not (await running.client().call("raw__echo", meta={HOPS: far[1:]})).result().get("isError")
            refused = (await running.client().call("raw__echo", meta={HOPS: far})).result()
            assert refused["isError"]
            assert "came through 8 gateways" in refused["content"][0]["text"]
            read = await running.client().modern("resources/read", {"uri": "r:1"}, meta={HOPS: far})
            assert "came through 8 gateways" in read.error()["message"]

    @pytest.mark.parametrize("hops", ["x", [1], {}, ["x" * 400], ["x"] * 40])
    async def test_malformed_hops(self, hops):
        async with gateway_over({"raw": RawServer()}) as running:
            assert "must be a list" in (await running.client().call("raw__echo", meta={HOPS: hops})).error()["message"]
