"""The command `metamcp`, run as a user runs it."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import httpx2
import pytest

from metamcp_asgi.serve import check_free
from tests.conftest import serve
from tests.places import BIN, ROOT
from tests.processes import running
from tests.serving import Client
from tests.stdio import stdio
from tests.upstream.child.children import becomes, exists, vanished

METAMCP = BIN / "metamcp"
KEY = "sk-cli-0123456789abcdef"


def write(folder: Path, document) -> Path:
    path = folder / "mcp.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def run(*arguments, cwd=ROOT, **env):
    """Runs `metamcp` to its end."""
    return subprocess.run(
        [METAMCP, *map(str, arguments)], capture_output=True, text=True, timeout=30, cwd=cwd, env={**os.environ, **env}
    )


def children_of(pid: int) -> list[int]:
    """Returns all descendants of a process."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


class TestServe:
    SERVERS: ClassVar = {
        "one": stdio(),
        "bad": stdio(exit=3, stderr="no database\n"),
        "off": {**stdio(), "disabled": True},
    }

    def test_it_says_what_is_served_and_how_to_connect(self, tmp_path):
        with serve({"mcpServers": self.SERVERS}, tmp_path) as gateway:
            program = gateway.program
            program.wait_for_line(r"^\s*one: ready, legacy 2025-11-25, 10 tools")
            program.wait_for_line(r"^\s*bad: failed.*exited with code 3")
            # The last lines of its stderr tell why it failed.
            program.wait_for_line(r"^\s+no database")
            program.wait_for_line(r"^\s*off: disabled")
            output = program.output()
            assert f"{gateway.url()} " in output
            snippet = json.loads(re.search(r"^  (\{\n.*?\n  \})$", output, re.DOTALL | re.MULTILINE)[1])
            assert [server["url"] for server in snippet["mcpServers"].values()] == [gateway.url()]

    def test_the_curl_that_it_prints_works_in_a_shell(self, tmp_path):
        with serve({"mcpServers": {"one": stdio()}}, tmp_path) as gateway:
            gateway.program.wait_for_line(r"one: ready")
            command = re.search(r"^  (curl .*?)\n\n", gateway.program.output(), re.DOTALL | re.MULTILINE)[1]
            answer = subprocess.run(["sh", "-c", f"{command} -s"], capture_output=True, timeout=10, check=True)
            assert json.loads(answer.stdout)["result"]["tools"][0]["name"].startswith("one__")

    def test_the_curl_for_an_endpoint_with_a_key_works_with_that_key(self, tmp_path):
        document = {"mcpServers": {"one": stdio()}, "apiKeys": [{"name": "me", "key": KEY}]}
        with serve(document, tmp_path) as gateway:
            output = gateway.program.wait_for_line(r"one: ready") and gateway.program.output()
            command = re.search(r"^  (curl .*?)\n\n", output, re.DOTALL | re.MULTILINE)[1]
            assert KEY not in output
            answer = subprocess.run(
                ["sh", "-c", f"{command.replace('YOUR_API_KEY', KEY)} -s"], capture_output=True, timeout=10, check=True
            )
            assert "result" in json.loads(answer.stdout)
            refused = subprocess.run(["sh", "-c", f"{command} -s"], capture_output=True, timeout=10, check=True)
            assert "error" in json.loads(refused.stdout)

    def test_python_m(self, tmp_path):
        path = write(tmp_path, {"mcpServers": {"one": stdio()}})
        command = [sys.executable, "-m", "metamcp_asgi", "serve", path, "--host", "127.0.0.1", "--port", "0"]
        with running(command, r"one: ready", cwd=tmp_path) as (program, _):
            assert re.search(r"http://127\.0\.0\.1:\d+/metamcp/default/mcp", program.output())

    def test_a_wrong_file_is_told_with_its_place(self, tmp_path):
        result = run("serve", write(tmp_path, {"mcpServers": {"a": {"comand": "x"}}}), "--port", "0")
        assert result.returncode == 1
        assert re.search(r"mcp\.json: mcpServers\.a.*comand", result.stderr)
        assert "Traceback" not in result.stderr

    def test_a_file_that_is_not_there(self, tmp_path):
        result = run("serve", tmp_path / "none.json", "--port", "0")
        assert result.returncode in {1, 2}
        assert "none.json" in result.stderr
        assert "Traceback" not in result.stderr

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_a_port_that_somebody_has_is_told_before_anything_starts(self, tmp_path, host):
        marker = tmp_path / "ran"
        path = write(tmp_path, {"mcpServers": {"one": stdio(log=marker)}})
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            result = run("serve", path, "--host", host, "--port", port)
        assert not marker.exists()
        assert result.returncode == 1
        assert (
            result.stderr
            == f"metamcp: port {port} of {host} is in use; choose another one with --port, or METAMCP_PORT\n"
        )

    def test_who_listens_by_another_protocol_has_another_port(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            check_free("::", taken.getsockname()[1])

    @pytest.mark.parametrize("host", ["0.0.0.0", "::"])
    def test_an_open_endpoint_is_not_served_beyond_loopback(self, tmp_path, host):
        result = run("serve", write(tmp_path, {"mcpServers": {"one": stdio()}}), "--host", host, "--port", "0")
        assert result.returncode == 1
        assert "--allow-open" in result.stderr
        assert "default" in result.stderr

    async def test_unless_that_is_wanted(self, tmp_path):
        path = write(tmp_path, {"mcpServers": {"one": stdio()}})
        command = [METAMCP, "serve", path, "--host", "0.0.0.0", "--port", "0", "--allow-open"]
        with running(command, r"(http://127\.0\.0\.1:\d+)/metamcp/default") as (_, ready):
            async with httpx2.AsyncClient(verify=False) as http:
                client = Client(f"{ready[1]}/metamcp/default/mcp", http)
                client.headers["Host"] = "gateway.internal"
                assert await client.text("one__echo") == "{}"

    def test_an_endpoint_with_a_key_is(self, tmp_path):
        path = write(tmp_path, {"mcpServers": {"one": stdio()}, "apiKeys": [{"name": "me", "key": KEY}]})
        with running([METAMCP, "serve", path, "--host", "0.0.0.0", "--port", "0"], r"one: ready"):
            pass

    async def test_reloading_does_not_open_what_would_not_have_been_started(self, tmp_path):
        document = {"mcpServers": {"one": stdio()}, "apiKeys": [{"name": "me", "key": KEY}]}
        path = write(tmp_path, document)
        command = [METAMCP, "serve", path, "--host", "0.0.0.0", "--port", "0"]
        with running(command, r"(http://127\.0\.0\.1:\d+)/metamcp/default") as (program, ready):
            path.write_text(json.dumps({"mcpServers": {"one": stdio()}}))
            await asyncio.to_thread(program.wait_for_line, "[Rr]eloaded")
            async with httpx2.AsyncClient(verify=False) as http:
                client = Client(f"{ready[1]}/metamcp/default/mcp", http)
                client.headers["Host"] = "gateway.internal"
                assert (await client.post("tools/list")).status_code in {401, 403}


class TestStop:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_promptly_with_open_streams_and_no_children_left(self, tmp_path, number):
        with serve({"mcpServers": {"one": stdio(), "two": stdio(era="modern")}}, tmp_path) as gateway:
            async with httpx2.AsyncClient(timeout=20, verify=False) as http:
                client = Client(gateway.url(), http)
                pids = [int(await client.text(f"{name}__pid")) for name in ("one", "two")]
                session = await client.session()
                async with session.listening() as legacy, client.listening() as modern:
                    gateway.program.signal(number)
                    # Both end as streams should: with the last chunk, and the modern one with its response.
                    assert (await modern.message())["result"]["resultType"] == "complete"
                    with pytest.raises(EOFError):
                        await legacy.message()
                code = await asyncio.wait_for(asyncio.to_thread(gateway.program._process.wait), 30)
                assert code in {0, -number, 128 + number}
                assert not any(map(exists, pids))
                assert "Traceback" not in gateway.program.output()

    async def test_a_call_in_flight_is_answered_first(self, tmp_path):
        gate = tmp_path / "gate"
        with serve({"mcpServers": {"one": stdio(log=tmp_path / "log")}}, tmp_path) as gateway:
            async with httpx2.AsyncClient(timeout=20, verify=False) as http:
                client = Client(gateway.url(), http)
                await client.tools()
                call = asyncio.create_task(client.text("one__slow", until=str(gate)))
                assert await becomes(lambda: (tmp_path / "log").exists())
                gateway.program.signal(signal.SIGTERM)
                await asyncio.to_thread(gateway.program.wait_for_line, "Shutting down|shutting down|Waiting for")
                gate.touch()
                assert "gate" in await call
                await asyncio.wait_for(asyncio.to_thread(gateway.program._process.wait), 30)

    async def test_kill_9_leaves_no_child(self, tmp_path):
        stubborn = {"command": "/bin/sh", "args": ["-c", 'trap "" TERM HUP; "$@"; sleep 1000', "sh"]}
        working = stdio()
        stubborn["args"] += [working["command"], *working["args"]]
        with serve({"mcpServers": {"one": stdio(), "two": stubborn}}, tmp_path) as gateway:
            async with httpx2.AsyncClient(timeout=20, verify=False) as http:
                client = Client(gateway.url(), http)
                await client.text("one__echo")
                await client.text("two__echo")
            children = children_of(gateway.program.pid)
            assert len(children) >= 3
            gateway.program.signal(signal.SIGKILL)
            assert await vanished(*children)


class TestCheck:
    def test_a_good_file(self, tmp_path):
        result = run("check", write(tmp_path, {"mcpServers": {"one": stdio(), "two": stdio(era="modern")}}))
        assert result.returncode == 0, result.stderr
        head, one, two = (re.split(r"\s{2,}", line) for line in result.stdout.splitlines()[:3])
        assert [each.lower() for each in head[:5]] == ["server", "transport", "state", "era", "tools"]
        assert one[:5] == ["one", "stdio", "ready", "legacy 2025-11-25", "10"]
        assert two[:5] == ["two", "stdio", "ready", "modern 2026-07-28", "10"]
        assert "endpoint default: 20 tools" in result.stdout
        assert "open to everybody" in result.stdout

    def test_a_wrong_file(self, tmp_path):
        result = run("check", write(tmp_path, '{"mcpServers": {"a": '))
        assert result.returncode == 1
        assert "line 1" in result.stderr
        assert "Traceback" not in result.stderr

    def test_a_server_that_fails_is_shown_with_its_last_words_and_the_others_too(self, tmp_path):
        bad = stdio(exit=3, stderr="reading settings\nno database\n")
        document = {"mcpServers": {"bad": bad, "gone": {"url": "http://127.0.0.1:1/mcp"}, "good": stdio()}}
        result = run("check", write(tmp_path, document))
        assert result.returncode == 1
        states = {line.split()[0]: line.split()[2] for line in result.stdout.splitlines()[1:4]}
        assert states == {"bad": "failed", "gone": "failed", "good": "ready"}
        assert "exited with code 3" in result.stderr
        assert "no database" in result.stderr
        assert "127.0.0.1:1" in result.stderr
        assert "Traceback" not in result.stdout + result.stderr

    def test_a_tool_that_cannot_be_published(self, tmp_path):
        document = {
            "mcpServers": {"one": stdio(), "two": stdio()},
            "namespaces": {"n": {"servers": ["one", "two"], "prefix": "never"}},
            "endpoints": {"e": {"namespace": "n"}},
            "apiKeys": [{"name": "me", "key": KEY}],
        }
        result = run("check", write(tmp_path, document))
        assert result.returncode == 1
        assert "echo of server two is left out" in result.stderr

    def test_a_name_that_many_models_do_not_take_is_said_and_is_no_fault(self, tmp_path):
        result = run("check", write(tmp_path, {"mcpServers": {"s" * 70: stdio(), "one": stdio()}}))
        assert result.returncode == 0
        assert f"the name of tool {'s' * 70}__echo has 76 characters, and many models take 64" in result.stderr
        assert "tool one__echo" not in result.stderr

    def test_a_switch_for_a_tool_that_does_not_exist_is_said(self, tmp_path):
        document = {
            "mcpServers": {"one": stdio()},
            "namespaces": {"n": {"servers": ["one"], "tools": {"one__ecko": {"enabled": False}}}},
        }
        result = run("check", write(tmp_path, document))
        assert "one__ecko" in result.stdout + result.stderr

    def test_it_leaves_nothing_running(self, tmp_path):
        pid_file = tmp_path / "pid"
        command = {"command": "/bin/sh", "args": ["-c", f'echo $$ > {pid_file}; exec "$@"', "sh"]}
        working = stdio()
        command["args"] += [working["command"], *working["args"]]
        assert run("check", write(tmp_path, {"mcpServers": {"one": command}})).returncode == 0
        assert not exists(int(pid_file.read_text()))


def test_help_names_the_commands():
    result = run("--help")
    assert result.returncode == 0
    assert re.search(r"^  check .*\n(?:  .*\n)*  serve ", result.stdout, re.MULTILINE)
    assert run("--version").stdout.startswith("metamcp")
