"""Which programs stdio servers may be, and the limits that they run under."""

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from metamcp_asgi.errors import ConfigError
from metamcp_asgi.settings import Settings
from metamcp_asgi.upstream.launch import Launch
from tests.serving import gateway
from tests.stdio import stdio

OPEN: dict[str, Any] = {
    "namespaces": {"n": {"servers": ["s"]}},
    "endpoints": {"default": {"namespace": "n", "apiKeyAuth": False}},
}


def named(program: Path) -> dict[str, Any]:
    return {**stdio(), "command": program.name, "env": {}}


async def reason(server: dict[str, Any], *commands: str) -> str:
    """Returns why a server is not started."""
    async with gateway({"s": server}, Settings(stdio_commands=commands), **OPEN) as running:
        return (await running.missing())["s"]


async def test_what_is_allowed_runs() -> None:
    async with gateway({"s": stdio()}, Settings(stdio_commands=("npx", sys.executable)), **OPEN) as running:
        assert await running.text("s__echo", word="hello") == '{"word": "hello"}'


@pytest.mark.parametrize("command", ["sh", "/bin/sh", "./python", Path(sys.executable).name])
async def test_nothing_else_does(command: str) -> None:
    said = await reason({**stdio(), "command": command}, sys.executable, "npx")
    assert f"command '{command}' is not among those that METAMCP_STDIO_COMMANDS allows" in said


@pytest.mark.parametrize("name", ["PATH", "LD_PRELOAD", "LD_LIBRARY_PATH"])
async def test_a_server_cannot_choose_what_an_allowed_name_means(name: str) -> None:
    said = await reason({**stdio(), "env": {name: "/tmp/mine"}}, sys.executable)
    assert f"its env sets {name}" in said
    assert "/tmp/mine" not in said


async def test_a_name_is_looked_up_where_the_operator_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "our-server"
    program.symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    async with gateway({"s": named(program)}, Settings(stdio_commands=("our-server",)), **OPEN) as running:
        assert await running.text("s__echo", word="hello") == '{"word": "hello"}'


async def test_a_process_and_its_children_keep_within_their_limits() -> None:
    if shutil.which("prlimit") is None:
        pytest.skip("prlimit is not installed")
    limits = (("nofile", 123), ("core", 0))
    async with gateway({"s": stdio()}, Settings(stdio_limits=limits), **OPEN) as running:
        pid = await running.text("s__pid")
        text = await asyncio.to_thread(Path(f"/proc/{pid}/limits").read_text)
        found = {line[:26].strip(): line[26:].split()[:2] for line in text.splitlines()}
        assert found["Max open files"] == ["123", "123"]
        assert found["Max core file size"] == ["0", "0"]
        command = await asyncio.to_thread(Path(f"/proc/{pid}/cmdline").read_bytes)
        assert command.startswith(sys.executable.encode()), "what sets the limits has become the server"


async def test_a_limit_that_cannot_be_set_is_told(tmp_path: Path) -> None:
    if shutil.which("prlimit") is None:
        pytest.skip("prlimit is not installed")
    server = {**stdio(), "command": "no-such-program"}
    async with gateway({"s": server}, Settings(stdio_limits=(("nofile", 123),)), **OPEN) as running:
        assert "not found on the PATH" in (await running.missing())["s"]


def test_limits_need_what_sets_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"METAMCP_STDIO_LIMITS: needs the program prlimit"):
        Launch(None, (("nofile", 1),), {"PATH": str(tmp_path)})


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("METAMCP_STDIO_COMMANDS", "npx, bin/server"),
        ("METAMCP_STDIO_COMMANDS", ","),
        ("METAMCP_STDIO_LIMITS", "files=1"),
        ("METAMCP_STDIO_LIMITS", "nofile"),
        ("METAMCP_STDIO_LIMITS", "nofile=many"),
    ],
)
def test_a_wrong_value_is_named(variable: str, text: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        Settings.from_environ({variable: text}, None)


def test_right_values_are_read() -> None:
    environ = {"METAMCP_STDIO_COMMANDS": "npx, /opt/server", "METAMCP_STDIO_LIMITS": "nofile=10, core=0"}
    settings = Settings.from_environ(environ, None)
    assert settings.stdio_commands == ("npx", "/opt/server")
    assert settings.stdio_limits == (("nofile", 10), ("core", 0))
    assert json.dumps(settings.stdio_limits) == '[["nofile", 10], ["core", 0]]'
