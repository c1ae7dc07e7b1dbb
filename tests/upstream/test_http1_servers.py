"""The same calls against servers of other makers, as they run in production."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from metamcp_asgi.upstream.http1 import HTTPLimits
from tests.places import BIN, ROOT
from tests.processes import free_port, running
from tests.upstream.http1_app import EVENTS
from tests.upstream.http1_peers import client

_READY = r"running on (http://127\.0\.0\.1:\d+)"
_READY_ANY_CASE = f"(?i){_READY}"
_APP = "tests.upstream.http1_app"

_NODE = """
const events = %s;
const server = require('http').createServer((request, response) => {
  response.setHeader('X-Peer', request.socket.remotePort);
  const parts = [];
  request.on('data', part => parts.push(part));
  request.on('end', () => {
    if (request.url === '/echo') {
      response.writeHead(200, {'Content-Type': 'application/json'}).end(Buffer.concat(parts));
    } else if (request.url === '/stream') {
      response.writeHead(200, {'Content-Type': 'text/event-stream'});
      for (const event of events) response.write(event);
      response.end();
    } else if (request.url === '/none') response.writeHead(204).end();
    else if (request.url === '/close') response.writeHead(200, {'Connection': 'close'}).end('bye');
    else response.writeHead(404).end('none');
  });
});
server.listen(0, '127.0.0.1', () => console.log(`running on http://127.0.0.1:${server.address().port}`));
"""

_NGINX = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log stderr notice;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  client_max_body_size 10m;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass {upstream}; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
      proxy_hide_header X-Peer; add_header X-Peer $remote_port always;
    }}
    location = /close {{ keepalive_timeout 0; add_header X-Peer $remote_port; return 200 "bye"; }}
  }}
}}
"""


@contextmanager
def _uvicorn(*options: str) -> Iterator[str]:
    command = [BIN / "uvicorn", f"{_APP}:app", "--port", "0", "--lifespan", "off", "--no-access-log", *options]
    with running(command, _READY_ANY_CASE, cwd=ROOT) as (_, ready):
        yield ready[1]


@contextmanager
def _served(kind: str, folder: Path) -> Iterator[str]:
    match kind:
        case "uvicorn-httptools":
            with _uvicorn("--http", "httptools") as origin:
                yield origin
        case "uvicorn-h11":
            with _uvicorn("--http", "h11") as origin:
                yield origin
        case "hypercorn":
            command: list[str | Path] = [BIN / "hypercorn", f"{_APP}:app", "--bind", f"127.0.0.1:{free_port()}"]
            with running(command, _READY_ANY_CASE, cwd=ROOT) as (_, ready):
                yield ready[1]
        case "aiohttp":
            with running([BIN / "python", "-m", _APP, "aiohttp"], _READY, cwd=ROOT) as (_, ready):
                yield ready[1]
        case "node":
            node = shutil.which("node")
            if node is None:
                pytest.skip("Node.js is not installed")
            script = _NODE % [event.decode() for event in EVENTS]
            with running([node, "-e", script], _READY) as (_, ready):
                yield ready[1]
        case "nginx":
            nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
            if nginx is None:
                pytest.skip("nginx is not installed")
            port = free_port()
            config = folder / "nginx.conf"
            with _uvicorn() as upstream:
                user = "user root;" if os.geteuid() == 0 else ""  # Else its workers may not write in our folder.
                config.write_text(_NGINX.format(user=user, folder=folder, port=port, upstream=upstream))
                with running([nginx, "-p", folder, "-c", config], "start worker process "):
                    yield f"http://127.0.0.1:{port}"


@pytest.fixture(
    scope="module",
    params=[
        "uvicorn-httptools",
        "uvicorn-h11",
        "hypercorn",
        "aiohttp",
        pytest.param("node", marks=pytest.mark.node),
        pytest.param("nginx", marks=pytest.mark.nginx),
    ],
)
def origin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with _served(request.param, tmp_path_factory.mktemp("server")) as served:
        yield served


async def test_calls_streams_and_empty_answers_share_one_connection(origin: str) -> None:
    async with client() as http, asyncio.timeout(30):
        peers = set()
        for number in range(5):
            echo = await http.send(http.target(f"{origin}/echo"), b"POST", b"", b'{"id": %d}' % number)
            assert (echo.status, echo.body, echo.event_stream) == (200, b'{"id": %d}' % number, False)
            assert (echo.header(b"content-type") or b"").startswith(b"application/json")
            stream = await http.send(http.target(f"{origin}/stream"), b"POST", b"", b"{}")
            assert stream.event_stream
            events = b""
            while piece := await stream.chunk():
                events += piece
            assert events == b"".join(EVENTS)
            none = await http.send(http.target(f"{origin}/none"), b"GET")
            assert (none.status, none.body) == (204, b"")
            missing = await http.send(http.target(f"{origin}/elsewhere"), b"GET")
            assert missing.status == 404
            peers |= {response.header(b"x-peer") for response in (echo, stream, none)}
        assert len(peers) == 1


async def test_a_stream_given_up_after_its_first_event_leaves_the_connection_usable(origin: str) -> None:
    # With one connection, the next call waits until the rest of the stream has been thrown away.
    async with client(HTTPLimits(max_connections=1)) as http, asyncio.timeout(30):
        peers = set()
        for _ in range(5):
            stream = await http.send(http.target(f"{origin}/stream"), b"POST", b"", b"{}")
            assert (await stream.chunk()).startswith(EVENTS[0])
            stream.detach()
            echo = await http.send(http.target(f"{origin}/echo"), b"POST", b"", b"[]")
            assert echo.body == b"[]"
            peers |= {stream.header(b"x-peer"), echo.header(b"x-peer")}
        assert len(peers) == 1


async def test_a_closing_answer_is_followed_by_a_new_connection(origin: str) -> None:
    async with client() as http, asyncio.timeout(30):
        target = http.target(f"{origin}/close")
        peers = set()
        for _ in range(3):
            response = await http.send(target, b"GET")
            assert response.body == b"bye"
            peers.add(response.header(b"x-peer"))
        assert len(peers) == 3


async def test_many_at_once_with_large_bodies_come_back_to_whom_they_belong(origin: str) -> None:
    async with client() as http, asyncio.timeout(30):
        target = http.target(f"{origin}/echo")

        async def calls(letter: bytes) -> None:
            for size in (0, 1, 70_000, 1_000_000):
                body = letter * size
                assert (await http.send(target, b"POST", b"", body)).body == body

        await asyncio.gather(*(calls(letter) for letter in (b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h")))


async def test_a_uvicorn_that_closes_idle_connections_never_costs_a_call() -> None:
    with _uvicorn("--timeout-keep-alive", "0") as origin:
        async with client() as http, asyncio.timeout(30):
            target = http.target(f"{origin}/echo")
            for _ in range(10):
                assert (await http.send(target, b"POST", b"", b"{}")).body == b"{}"
                await asyncio.sleep(0.02)  # Longer than the server keeps it; what it does then is up to the server.
