"""The units of `deploy/systemd`: right, tight, and answered by a gateway that is started as systemd starts it."""

import asyncio
import configparser
import json
import math
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import click
import httpx2
import pytest

from metamcp_asgi.cli import main
from metamcp_asgi.commands.stdio import main as stdio_main
from metamcp_asgi.settings import Settings
from metamcp_asgi.supervisor import LAST_SECONDS
from metamcp_asgi.worker import DRAIN
from tests.places import BIN, ROOT
from tests.processes import Program, free_port
from tests.redis import Redis
from tests.serving import Client
from tests.stdio import stdio

UNITS = ROOT / "deploy" / "systemd"
SERVICES = ("metamcp.service", "metamcp-stdio.service")
KEY = "sk_mt_of_systemd_00000000000000"
EXPOSURE = {"metamcp.service": 1.2, "metamcp-stdio.service": 1.4}
"""What `systemd-analyze security` says, of 10, as docs/deployment.md has it."""


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip("systemd is not installed")
    return found


@pytest.fixture
def config(tmp_path: Path) -> Path:
    document = {"mcpServers": {"s": stdio()}, "apiKeys": [{"name": "one", "key": KEY}]}
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({**document, "endpoints": {"default": {"namespace": "default"}}}))
    return path


def read(name: str) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNITS / name)
    return unit


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    for unit in UNITS.glob("metamcp*"):
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/metamcp/bin", str(BIN)))
    names = [tmp_path / unit.name for unit in UNITS.glob("metamcp*")]
    done = subprocess.run(
        [program("systemd-analyze"), "verify", *names], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "metamcp" not in done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_little(name: str) -> None:
    command = [program("systemd-analyze"), "security", "--offline=true", UNITS / name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= EXPOSURE[name] + 0.2  # versions of systemd differ a little


@pytest.mark.parametrize("name", SERVICES)
def test_its_command_is_one_of_ours(name: str) -> None:
    path, *arguments = shlex.split(read(name)["Service"]["ExecStart"])
    command: click.Command = stdio_main
    if Path(path).name == "metamcp":
        command = main.commands[arguments.pop(0)]
    assert command.make_context(name, arguments)


def test_the_page_says_how_tight_they_are() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text()
    for name, exposure in EXPOSURE.items():
        assert re.search(rf"`{re.escape(name)}` (?:an exposure|one) of \*\*{exposure}\*\*", page)


def test_there_is_time_to_end() -> None:
    least = math.ceil(2 * Settings().shutdown_seconds + DRAIN + LAST_SECONDS)
    assert float(read("metamcp.service")["Service"]["TimeoutStopSec"]) > least


def test_variables_are_settings() -> None:
    text = "".join(path.read_text() for path in UNITS.iterdir())
    page = (ROOT / "docs" / "configuration.md").read_text()
    names = set(re.findall(r"\b((?:METAMCP|LOG)_[A-Z_]*[A-Z])\b", text))
    assert len(names) > 5
    assert {name for name in names if f"`{name}`" not in page} == set()


class Notices:
    """What a service tells systemd.

    Args:
        folder: Where the socket is.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(30)

    def next(self) -> str:
        return self._socket.recv(4096).decode()


@pytest.mark.parametrize("workers", [1, 2])
async def test_it_takes_the_socket_and_says_when_it_is_ready(
    workers: int, config: Path, shared_redis: Redis, tmp_path: Path
) -> None:
    port, notices = free_port(), Notices(tmp_path)
    env = {"NOTIFY_SOCKET": str(notices.path), "METAMCP_WORKERS": str(workers)}
    if workers > 1:
        env |= {"METAMCP_REDIS_URL": shared_redis.url, "METAMCP_REDIS_PREFIX": tmp_path.name}
    # It starts the service at the first connection, with the environment that is named here.
    passed = [f"--setenv={name}" for name in ("PATH", "PYTHONPATH", "HOME", *env) if name in {**os.environ, **env}]
    command = [program("systemd-socket-activate"), "-l", f"127.0.0.1:{port}", *passed, BIN / "metamcp", "serve", config]
    service = Program(command, env, ROOT)
    try:
        await asyncio.to_thread(service.wait_for_line, "Listening on")
        async with httpx2.AsyncClient(timeout=60) as http:
            client = Client(f"http://127.0.0.1:{port}/metamcp/default/mcp", http, KEY)
            assert await client.text("s__echo", word="hello") == '{"word": "hello"}'
        assert "READY=1" in await asyncio.to_thread(notices.next)
        assert f"on http://127.0.0.1:{port}" in service.output()
    finally:
        code = await asyncio.to_thread(service.stop, 30.0)
    assert code in (0, -signal.SIGTERM), service.output()
    assert "Traceback" not in service.output()


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    path = tmp_path / "open.json"
    path.write_text(json.dumps({"mcpServers": {"s": stdio()}}))
    return path


async def test_an_open_endpoint_is_not_served_where_systemd_listens_for_the_world(opened: Path) -> None:
    port = free_port()
    command = [program("systemd-socket-activate"), "-l", f"0.0.0.0:{port}", "--setenv=PATH", "--setenv=PYTHONPATH"]
    service = Program([*command, BIN / "metamcp", "serve", opened], {}, ROOT)
    try:
        await asyncio.to_thread(service.wait_for_line, "Listening on")
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.to_thread(service.wait_for_line, r"needs no key, so it is not served on 0\.0\.0\.0")
        writer.close()
    finally:
        await asyncio.to_thread(service.stop, 30.0)
    assert "metamcp serves" not in service.output()


def test_the_companion_says_when_it_is_ready(tmp_path: Path) -> None:
    notices = Notices(tmp_path)
    path = tmp_path / "stdio"
    service = Program([BIN / "metamcp-stdio", "--socket", path], {"NOTIFY_SOCKET": str(notices.path)}, ROOT)
    try:
        assert notices.next() == "READY=1"
        assert path.is_socket()
    finally:
        assert service.stop(30.0) == 0
    assert notices.next() == "STOPPING=1"
