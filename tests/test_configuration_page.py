"""`docs/configuration.md` names every variable with its default, and what it shows works."""

import ast
import configparser
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import httpx2
import pytest

import metamcp_asgi
from metamcp_asgi.cli import main
from metamcp_asgi.settings import Settings
from tests.conftest import serve
from tests.places import ROOT
from tests.processes import free_port, running
from tests.serving import Client
from tests.stdio import stdio

PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in row.strip("|").split("|")] for row in re.findall(r"(?m)^\| `.*\|$", PAGE)]
DEFAULTS = {name: default for names, default, _ in ROWS for name in re.findall(r"`([A-Z][A-Z_]+)`", names)}

OWN_NAMES = {
    "app_url": "APP_URL",
    "log_level": "LOG_LEVEL",
    "transform_localhost": "TRANSFORM_LOCALHOST_TO_DOCKER_INTERNAL",
}
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
OTHERS = r"(POSTGRES|BOOTSTRAP|DATABASE|XDG)_[A-Z_]*[A-Z]"


def block(language: str) -> str:
    """Returns the one block of code in that language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def shown(value: object) -> str:
    if value in (None, ()):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


@pytest.mark.parametrize("field", Settings.__struct_fields__)
def test_a_setting_is_there_with_its_default(field: str) -> None:
    assert DEFAULTS.get(OWN_NAMES.get(field, f"METAMCP_{field.upper()}")) == shown(getattr(Settings(), field))


def test_every_variable_that_is_there_is_a_setting() -> None:
    named = {OWN_NAMES.get(field, f"METAMCP_{field.upper()}") for field in Settings.__struct_fields__}
    named |= {"EXTRA_TRUSTED_ORIGINS", "REDIS_URL"}
    assert {name for name in DEFAULTS if not re.fullmatch(OTHERS, name)} == named


def test_every_other_variable_of_the_program_is_there() -> None:
    found = set()
    for path in Path(metamcp_asgi.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(OTHERS, node.value):
                found.add(node.value)
    assert len(found) > 15
    assert found == {name for name in DEFAULTS if re.fullmatch(OTHERS, name)}


def test_the_service_starts_what_there_is() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block("ini"))
    program, command, *arguments = shlex.split(unit["Service"]["ExecStart"])
    assert Path(program).name == "metamcp"
    main.commands[command].make_context(command, arguments)
    assert float(unit["Service"]["TimeoutStopSec"]) > Settings().shutdown_seconds + 5


@pytest.mark.nginx
async def test_the_gateway_behind_nginx(tmp_path: Path) -> None:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    offered = tmp_path / "offered"
    offered.touch()
    config: dict[str, Any] = {"mcpServers": {"s": stdio(tools_file=offered)}, "namespaces": {"n": {"servers": ["s"]}}}
    config["endpoints"] = {"default": {"namespace": "n"}}
    key = "sk_mt_behind_nginx_0000000000"
    config["apiKeys"] = [{"name": "one", "key": key}]
    with serve(config, tmp_path, {"METAMCP_ACCESS_LOG": "true"}) as gateway:
        port = free_port()
        site = block("nginx").replace("listen 443 ssl", f"listen 127.0.0.1:{port}")
        site = re.sub(r"(?m)^\s*ssl_certificate.*$", "", site).replace("http://127.0.0.1:12008", gateway.origin)
        places = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in TEMPORARY)
        user = "user root;" if os.geteuid() == 0 else ""
        file = tmp_path / "nginx.conf"
        file.write_text(
            f"{user} daemon off; pid {tmp_path}/nginx.pid; error_log stderr notice; worker_processes 1;\n"
            f"events {{ worker_connections 64; }}\nhttp {{ access_log off; {places}\n{site} }}\n"
        )
        transport = httpx2.AsyncHTTPTransport(local_address="127.0.0.2")
        with running([nginx, "-p", tmp_path, "-c", file], "start worker process "):
            async with httpx2.AsyncClient(timeout=30, transport=transport) as http:
                http.headers["Host"] = "mcp.example.com"
                client = Client(f"http://127.0.0.1:{port}/metamcp/default/mcp", http, key)
                assert await client.text("s__echo", word="hello") == '{"word": "hello"}'
                session = await client.session()
                async with session.listening() as changes:
                    offered.write_text("later")
                    await client.call("s__announce")
                    assert await changes.of_method("notifications/tools/list_changed")
                large = await client.post("tools/call", name="s__echo", arguments={"x": "x" * 4_500_000})
                assert large.status_code == 413
        gateway.program.wait_for_line(r"127\.0\.0\.2 POST /metamcp/default/mcp 200")
