"""The programs of `examples/` run as their first lines say, and do what they are for."""

import contextlib
import json
import os
import sys
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from metamcp_asgi import Gateway, Settings
from tests.places import BIN, ROOT
from tests.processes import free_port, running
from tests.serving import Client, serving
from tests.stdio import stdio
from tests.upstream.child.children import becomes, exists

EXAMPLES = ROOT / "examples"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"s": stdio()}}))
    return path


@contextlib.contextmanager
def asgi(name: str, config: Path, *options: str):
    """Runs an example with uvicorn, as it says itself."""
    command = [sys.executable, "-m", "uvicorn", "--app-dir", EXAMPLES, f"{name}:app", "--port", "0", *options]
    with running(command, r"running on (http://127\.0\.0\.1:\d+)", {"MCP_CONFIG": str(config)}, ROOT) as (
        program,
        ready,
    ):
        yield program, ready[1]


@contextlib.asynccontextmanager
async def client_of(url: str):
    async with httpx2.AsyncClient(timeout=20, verify=False) as http:
        yield Client(url, http)


@pytest.mark.parametrize("name", ["mount_fastapi", "mount_starlette"])
async def test_mounted_under_a_path(name, config):
    with asgi(name, config) as (program, origin):
        async with client_of(f"{origin}/tools/metamcp/default/mcp") as client:
            assert "/tools/metamcp/default/mcp" in (await client.http.get(f"{origin}/")).text
            pid = int(await client.text("s__pid"))
            assert await (await client.session()).text("s__echo") == "{}"
            index = (await client.http.get(f"{origin}/tools/metamcp/")).json()
            assert index["endpoints"][0]["endpoints"]["mcp"] == "/tools/metamcp/default/mcp"
            assert (await client.http.get(f"{origin}/tools/health")).json() == {"status": "ok"}
            assert (await client.http.get(f"{origin}/metamcp/default/mcp")).status_code == 404
        program.stop()
        assert not exists(pid), "the host's lifespan stops the servers"


async def test_mounted_behind_a_proxy_that_cuts_a_path_off(config):
    with asgi("mount_starlette", config, "--root-path", "/api") as (_, origin):
        async with client_of(f"{origin}/tools/metamcp/default/mcp") as client:
            assert await client.text("s__echo") == "{}"
            index = (await client.http.get(f"{origin}/tools/metamcp/")).json()
            assert index["endpoints"][0]["endpoints"]["mcp"] == "/api/tools/metamcp/default/mcp"


@pytest.mark.parametrize("lifespan", ["off", "on"])
async def test_a_host_that_runs_no_lifespan_for_it(config, lifespan):
    """Starlette runs the lifespan of the application alone, not those of what is mounted in it."""
    gateway = Gateway.from_file(config, Settings())
    async with serving(Starlette(routes=[Mount("/a/b", gateway)]), lifespan=lifespan) as served:
        async with client_of(f"{served.origin}/a/b/metamcp/default/mcp") as client:
            pid = int(await client.text("s__pid"))
            assert "s__echo" in await (await client.session()).tools()
        await gateway.aclose()
        assert not exists(pid)


async def test_two_gateways_in_one_application(config):
    one, two = Gateway.from_file(config, Settings()), Gateway.from_file(config, Settings())
    app = Starlette(routes=[Mount("/one", one), Mount("/two", two)])
    async with serving(app) as served, one.lifespan(), two.lifespan():
        pids = set()
        for name in ("one", "two"):
            async with client_of(f"{served.origin}/{name}/metamcp/default/mcp") as client:
                pids.add(await client.text("s__pid"))
        assert len(pids) == 2


WORKERS = ["asgi", "uvicorn_worker.UvicornWorker", "metamcp_asgi.worker.GatewayWorker"]


@pytest.mark.parametrize("worker", WORKERS)
async def test_under_gunicorn(worker, config):
    bind = f"127.0.0.1:{free_port()}"
    command = [BIN / "gunicorn", "--chdir", EXAMPLES, "--worker-class", worker, "--bind", bind, "gunicorn_app:app"]
    with running(command, r"Booting worker", {"MCP_CONFIG": str(config)}, ROOT) as (program, _):
        async with client_of(f"http://{bind}/metamcp/default/mcp") as client:
            pid = int(await client.text("s__pid"))
            session = await client.session()
            assert await session.text("s__echo", word="hello") == '{"word": "hello"}'
            async with session.listening():
                pass
            async with client.listening() as changes:
                assert await client.text("s__announce") == "{}"
                assert changes is not None
        program.stop()
        assert await becomes(lambda: not exists(pid))


async def test_layers_alone(tmp_path):
    with asgi("layers", tmp_path) as (program, origin):
        async with httpx2.AsyncClient(verify=False) as http:
            assert (await http.get(origin)).status_code == 401
            answers = [await http.get(origin, headers={"X-API-Key": "sk_mt_example"}) for _ in range(6)]
            assert [answer.status_code for answer in answers] == [200] * 5 + [503]
            assert answers[0].text == "Hello, Ada\n"
            assert "retry-after" in answers[5].headers
        program.wait_for_line(r"metamcp.access|GET / ")
        assert "sk_mt_example" not in program.output()


def test_every_example_is_tested_here():
    source = Path(__file__).read_text()
    missing = [path.stem for path in EXAMPLES.glob("*.py") if path.stem not in source]
    assert missing == []
    assert os.access(EXAMPLES / "mcp.json", os.R_OK)
