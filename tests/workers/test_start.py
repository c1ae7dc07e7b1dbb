"""How `metamcp serve --workers` starts, says what it needs, and ends."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from metamcp_asgi.siblings import processes
from tests.gateway.client import Client
from tests.gateway.running import document_of
from tests.places import BIN, ROOT
from tests.processes import free_port, running
from tests.redis import Redis
from tests.stdio import stdio
from tests.upstream.child.children import exists
from tests.workers.running import RunningWorkers, children_of, until, workers_for

METAMCP = BIN / "metamcp"
GATEWAY = """
import os
from metamcp_asgi import Gateway
app = Gateway.from_file(os.environ["MCP_CONFIG"])
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"one": stdio()}}))
    return path


def serve(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs `metamcp serve` to its end."""
    command = [METAMCP, "serve", *map(str, arguments), "--port", "0"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, env={**os.environ, **env})


def test_without_redis_it_says_what_to_set(config: Path) -> None:
    for refused in (serve(config, "--workers", 2), serve(config, METAMCP_WORKERS="3")):
        assert refused.returncode == 1
        assert "METAMCP_REDIS_URL=redis://127.0.0.1:6379/0" in refused.stderr
        assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_redis_that_is_not_there_is_told_at_once(config: Path, workers: str) -> None:
    refused = serve(config, "--workers", workers, METAMCP_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert refused.returncode == 1
    assert re.search(r"^metamcp: Redis at 127\.0\.0\.1:\d+ cannot be reached", refused.stderr)
    assert "Traceback" not in refused.stderr


def test_a_wrong_file_is_told_before_any_process_starts(config: Path, shared_redis: Redis) -> None:
    config.write_text('{"mcpServers": {"a": {"comand": "x"}}}')
    refused = serve(config, "--workers", 2, METAMCP_REDIS_URL=shared_redis.url)
    assert refused.returncode == 1
    assert re.search(r"mcp\.json: mcpServers\.a.*comand", refused.stderr)
    assert "Booting" not in refused.stderr


def test_what_is_needed_is_named_when_it_is_not_installed(config: Path) -> None:
    code = "import sys; sys.modules['gunicorn'] = None; from metamcp_asgi.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", str(config), "--workers", "2"]
    env = {**os.environ, "METAMCP_REDIS_URL": "redis://127.0.0.1:1/0"}
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
    assert refused.returncode == 1
    assert "pip install 'metamcp-asgi[workers]'" in refused.stderr


def test_one_process_needs_no_gunicorn(config: Path) -> None:
    code = (
        "import sys, click.testing; from metamcp_asgi import cli, serve; serve.run = lambda gateway: 0\n"
        "click.testing.CliRunner().invoke(cli.main, ['serve', sys.argv[1]], catch_exceptions=False)\n"
        "print([name for name in sys.modules if name.startswith(('gunicorn', 'redis', 'uvicorn_worker'))])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(config)], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


async def test_it_introduces_itself_once_and_ends_in_good_order(shared_redis: Redis, tmp_path: Path) -> None:
    document = document_of({"one": stdio()})
    async with workers_for(document, shared_redis, tmp_path.name, tmp_path) as workers:
        await workers.said(r"^  one: ready")
        pids = workers.pids()
        assert len(pids) == 2
        client = workers.client()
        assert {(await client.call("one__echo", {})).status for _ in range(4)} == {200}
        assert set(client.reached) == set(pids)
    output = workers.program.output()
    assert output.count("metamcp serves") == 1
    assert len(re.findall(r"^  one: ready", output, re.MULTILINE)) == 1
    assert output.count("METAMCP_SECRET_KEYS is not set") == 1
    assert "Traceback" not in output
    assert not any(exists(pid) for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
async def test_other_ways_to_end(shared_redis: Redis, tmp_path: Path, number: signal.Signals) -> None:
    async with workers_for(document_of({"one": stdio()}), shared_redis, tmp_path.name, tmp_path) as workers:
        workers.program.signal(number)
        await until(lambda: not exists(workers.program.pid))
    assert "Traceback" not in workers.program.output()


async def test_processes_do_not_outlive_a_supervisor_that_was_killed(shared_redis: Redis, tmp_path: Path) -> None:
    document = document_of({"one": stdio()})
    async with workers_for(document, shared_redis, tmp_path.name, tmp_path, ends=-signal.SIGKILL) as workers:
        pids = descendants(workers.program.pid)
        assert len(pids) >= 4, "two workers, their companion, and its server"
        os.kill(workers.program.pid, signal.SIGKILL)
        await until(lambda: not any(exists(pid) for pid in pids))


def descendants(pid: int) -> list[int]:
    """Returns the processes that a process has started, and those that these have."""
    found = children_of(pid)
    for each in found:
        found += children_of(each)
    return found


async def kept(workers: RunningWorkers, client_key: str | None = None) -> list[int]:
    """Waits until there are two processes that answer, and returns them."""
    found = await workers.replaced()
    for pid in found:
        assert (await workers.at(pid, key=client_key).modern("tools/list")).status == 200
    return found


async def test_a_killed_process_is_replaced(shared_redis: Redis, tmp_path: Path) -> None:
    async with workers_for(document_of({"one": stdio()}), shared_redis, tmp_path.name, tmp_path) as workers:
        killed, other = workers.pids()
        server = await said_by(workers.at(other))
        os.kill(killed, signal.SIGKILL)
        await until(lambda: killed not in workers.pids())
        now = await kept(workers)
        assert other in now
        assert killed not in now
        assert {await said_by(workers.at(pid)) for pid in now} == {server}, "check 100: the server on stdio goes on"


async def test_a_restart_leaves_servers_on_stdio_alone(shared_redis: Redis, tmp_path: Path) -> None:
    async with workers_for(document_of({"one": stdio()}), shared_redis, tmp_path.name, tmp_path) as workers:
        before = workers.pids()
        server = await said_by(workers.client())
        workers.reload()
        await workers.replaced(*before)
        assert {await said_by(workers.at(pid)) for pid in workers.pids()} == {server}


async def said_by(client: Client) -> str:
    """Returns the process id of the server on stdio."""
    text: str = (await client.call("one__pid")).result()["content"][0]["text"]
    return text


async def test_all_take_over_a_change_in_the_database(shared_redis: Redis, tmp_path: Path) -> None:
    env = {"METAMCP_REDIS_URL": shared_redis.url, "METAMCP_REDIS_PREFIX": tmp_path.name}
    database = ["--database", f"sqlite:///{tmp_path}/metamcp.db"]

    def apply(**servers: object) -> None:
        config = tmp_path / "mcp.json"
        config.write_text(json.dumps(document_of(servers)))
        subprocess.run([METAMCP, "apply", config, *database], check=True, timeout=60, capture_output=True, cwd=ROOT)

    await asyncio.to_thread(apply, one=stdio())
    command = [METAMCP, "serve", *database, "--port", "0", "--workers", "2"]
    with running(command, r"metamcp serves .* on http://127\.0\.0\.1:(\d+)", env, ROOT) as (program, line):
        workers = RunningWorkers(program, int(line[1]), tmp_path / "mcp.json")
        pids = await workers.replaced()
        session = await workers.client().session()  # sealed by the database's keys, which all have
        assert (await session.call("one__echo")).status == 200
        await asyncio.to_thread(apply, one=stdio(), two=stdio())
        for pid in pids:
            await until_listed(workers, pid, "two__echo")
        assert workers.pids() == pids
        assert "METAMCP_SECRET_KEYS is not set" not in program.output()
        assert await asyncio.to_thread(program.stop, 30) == 0


async def test_a_restart_with_a_faulty_file_is_refused_and_all_goes_on(shared_redis: Redis, tmp_path: Path) -> None:
    async with workers_for(document_of({"one": stdio()}), shared_redis, tmp_path.name, tmp_path) as workers:
        before = workers.pids()
        workers.config.write_text("{")
        workers.reload()
        await workers.said(r"Not restarted, the old configuration stays: .*mcp\.json")
        # One that has to start meanwhile waits for a good file; nobody else is concerned.
        os.kill(before[0], signal.SIGKILL)
        await workers.said(r"A worker cannot start: .*mcp\.json")
        assert (await workers.at(before[1]).call("one__echo", {})).status == 200
        workers.config.write_text(json.dumps(document_of({"one": stdio()})))
        await workers.replaced(before[0])
        workers.reload()
        await workers.replaced(*before)
        await kept(workers)


async def test_a_saved_file_is_taken_over_by_all_without_a_restart(shared_redis: Redis, tmp_path: Path) -> None:
    async with workers_for(document_of({"one": stdio()}), shared_redis, tmp_path.name, tmp_path) as workers:
        pids = workers.pids()
        workers.config.write_text(json.dumps(document_of({"one": stdio(), "two": stdio()})))
        await workers.said("metamcp: Reloaded ", 2)
        for pid in pids:
            await until_listed(workers, pid, "two__echo")
        assert workers.pids() == pids


async def until_listed(workers: RunningWorkers, pid: int, name: str) -> None:
    async with asyncio.timeout(30):
        while name not in [t["name"] for t in (await workers.at(pid).modern("tools/list")).result()["tools"]]:
            pass


@pytest.mark.parametrize(
    ("arguments", "environ", "count"),
    [
        (["gunicorn", "-w", "4", "app:app"], {}, 4),
        (["/usr/bin/gunicorn", "-w4", "--worker-class", "asgi"], {}, 4),
        (["/x/gunicorn/__main__.py", "--workers=3"], {}, 3),
        (["gunicorn", "app:app"], {"WEB_CONCURRENCY": "5"}, 5),
        (["gunicorn", "app:app"], {"GUNICORN_CMD_ARGS": "--bind=x --workers=6", "WEB_CONCURRENCY": "5"}, 6),
        (["gunicorn", "--workers", "2"], {"GUNICORN_CMD_ARGS": "--workers=6"}, 2),
        (["uvicorn", "--workers", "2", "app:app"], {}, 2),
        (["uvicorn", "app:app"], {"WEB_CONCURRENCY": "2"}, 2),
        (["gunicorn", "--workers", "many"], {}, 1),
        (["metamcp", "serve"], {"WEB_CONCURRENCY": "4"}, 1),
        ([], {}, 1),
    ],
)
def test_what_a_command_line_says_of_processes(arguments: list[str], environ: dict[str, str], count: int) -> None:
    assert processes(arguments, environ) == count


@pytest.mark.parametrize(
    ("worker", "more", "has_redis"),
    [
        ("asgi", ["--workers", "2"], False),
        ("uvicorn_worker.UvicornWorker", ["-w", "2"], True),
        # What is in a configuration file, only our own worker class sees.
        ("metamcp_asgi.worker.GatewayWorker", ["--config", "gunicorn_two.py"], False),
        ("metamcp_asgi.worker.GatewayWorker", ["--config", "gunicorn_two.py"], True),
    ],
)
def test_plain_gunicorn_with_many_workers_needs_redis_and_keys_too(
    config: Path, tmp_path: Path, worker: str, more: list[str], has_redis: bool
) -> None:
    (tmp_path / "served.py").write_text(GATEWAY)
    (tmp_path / "gunicorn_two.py").write_text("workers = 2\n")
    command = [BIN / "gunicorn", "--worker-class", worker, "--bind", f"127.0.0.1:{free_port()}", *more, "served:app"]
    env = {**os.environ, "MCP_CONFIG": str(config)}
    if has_redis:  # which is not asked for, so it need not be there
        env["METAMCP_REDIS_URL"] = "redis://127.0.0.1:1/0"
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=env)
    # 3, if not a second worker fails while gunicorn ends because of the first.
    assert refused.returncode in (1, 3)
    what = (
        "keys that they share.*set METAMCP_SECRET_KEYS"
        if has_redis
        else "a Redis that they share: set METAMCP_REDIS_URL"
    )
    assert re.search(f"2 processes need {what}", refused.stderr)


def test_many_workers_of_plain_gunicorn(config: Path, tmp_path: Path, shared_redis: Redis) -> None:
    (tmp_path / "served.py").write_text(GATEWAY)
    command = [BIN / "gunicorn", "--worker-class", "metamcp_asgi.worker.GatewayWorker", "--workers", "2"]
    env = {
        "MCP_CONFIG": str(config),
        "METAMCP_REDIS_URL": shared_redis.url,
        "METAMCP_SECRET_KEYS": "0123456789abcdef" * 4,
    }
    command += ["--bind", f"127.0.0.1:{free_port()}", "served:app"]
    with running(command, "Application startup complete", env, tmp_path) as (program, _):
        assert program.stop(30) == 0
    assert "Traceback" not in program.output()
