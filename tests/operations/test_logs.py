"""The log: whose lines they are, how they look, where they go, and what is never in them."""

import asyncio
import json
import logging
import multiprocessing
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from metamcp_asgi.asgi.observe import Observe
from metamcp_asgi.asgi.request import ids
from metamcp_asgi.lines.handler import LineHandler
from metamcp_asgi.lines.lines import Lines
from metamcp_asgi.lines.secrets import hidden
from metamcp_asgi.logs.file import SharedFile
from metamcp_asgi.logs.setup import set_up
from metamcp_asgi.settings import Settings
from tests.asgi.driver import ask
from tests.conftest import serve
from tests.serving import ACCEPT, Client
from tests.stdio import stdio

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    loggers = [root, *map(logging.getLogger, ("metamcp", "metamcp.access", "metamcp.audit", "watchfiles", "alembic"))]
    levels, handlers = [logger.level for logger in loggers], root.handlers[:]
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


async def broken(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("no wonder")


async def test_a_line_of_a_request_has_its_ids(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(Settings(log_format="json", access_log=True))
    app = Observe(broken, access_log=True)
    await ask(app, headers={"X-Request-Id": "0123456789abcdef", "traceparent": PARENT})
    failed, access = lines(capsys)
    assert (failed["level"], access["logger"]) == ("error", "metamcp.access")
    assert "RuntimeError: no wonder" in failed["exception"]
    assert {(line["request_id"], line["trace_id"]) for line in (failed, access)} == {("0123456789abcdef", TRACE)}
    assert ids() is None, "and nobody else's"
    logging.getLogger("metamcp").warning("later")
    assert "request_id" not in lines(capsys)[0]


@pytest.mark.parametrize("given", ['" forged', "short", "x" * 65, ""])
async def test_an_id_that_could_forge_a_line_is_not_taken(capsys: pytest.CaptureFixture[str], given: str) -> None:
    set_up(Settings(log_format="json"))
    await ask(Observe(broken), headers={"X-Request-Id": given, "traceparent": f"00-{'0' * 32}-{'1' * 16}-01"})
    (line,) = lines(capsys)
    assert re.fullmatch("[0-9a-f]{16}", line["request_id"])
    assert "trace_id" not in line


async def test_requests_at_the_same_time_keep_their_ids_apart() -> None:
    seen = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        seen[scope["path"]] = ids()
        await send({"type": "http.response.start", "status": 204, "headers": []})

    paths = [f"/{number:08}" for number in range(20)]
    await asyncio.gather(*(asyncio.create_task(ask(Observe(app), p, headers={"X-Request-Id": p[1:]})) for p in paths))
    assert seen == {path: (path[1:], "") for path in paths}


async def test_what_outlives_its_request_keeps_no_headers() -> None:
    told: list[Any] = []
    go = asyncio.Event()

    async def background() -> None:
        await go.wait()
        told.append(ids())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told.append(asyncio.create_task(background()))
        await send({"type": "http.response.start", "status": 204, "headers": []})

    await ask(Observe(app), headers={"X-Request-Id": "0123456789abcdef"})
    go.set()
    await told[0]
    assert told[1] is None


def test_levels_are_metamcps(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def written(level: str) -> list[str]:
        set_up(Settings.from_environ({"LOG_LEVEL": level, "METAMCP_LOG_FORMAT": "json"}, None))
        for number in (10, 20, 30, 40, 50):
            logging.getLogger("metamcp").log(number, "said")
        return [line["level"] for line in lines(capsys)]

    assert written("all") == ["debug", "info", "warning", "error", "critical"]
    assert written("info") == ["info", "warning", "error", "critical"]
    assert written("errors-only") == ["error", "critical"]
    assert written("none") == []


def test_the_last_lines_are_kept_whatever_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(Settings.from_environ({"LOG_LEVEL": "none"}, None))
    lines = Lines()
    lines.open()
    handler = LineHandler(lines)
    logger = logging.getLogger("metamcp")
    logger.addHandler(handler)
    try:
        logging.getLogger("metamcp.upstream").info("Server a: ready", extra={"server": "a"})
    finally:
        logger.removeHandler(handler)
    assert [line.text for _, line in lines.read().lines] == ["Server a: ready"]
    assert not logging.getLogger("metamcp.access").isEnabledFor(logging.INFO), "requests cost nothing"
    assert capsys.readouterr().err == ""
    lines.close()


def test_the_console_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(Settings())
    logging.getLogger("metamcp.upstream").info("Server %s: ready", "a")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d [\d:,]+ INFO    metamcp\.upstream: Server a: ready\n", capsys.readouterr().err
    )


def test_files_have_all_and_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(Settings(log_folder=tmp_path / "logs", log_format="json"))
    logging.getLogger("a").info("fine")
    logging.getLogger("a").error("broken, sk_mt_0123456789abcdef")
    events = {
        name: [json.loads(line)["event"] for line in (tmp_path / "logs" / name).read_text().splitlines()]
        for name in ("app.log", "error.log")
    }
    assert events == {"app.log": ["fine", "broken, sk_mt_***"], "error.log": ["broken, sk_mt_***"]}
    assert [line["event"] for line in lines(capsys)] == events["app.log"]


def _write(path: Path, name: str, count: int, start: Any) -> None:
    handler = SharedFile(path, 4096, 1000)
    start.wait()
    for number in range(count):
        handler.emit(logging.makeLogRecord({"msg": f"{name}-{number} {'x' * 60} end"}))


def test_processes_share_a_file_that_is_full_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)
    writers = [context.Process(target=_write, args=(path, f"w{number}", 300, start)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
        assert writer.exitcode == 0
    files = [path, *tmp_path.glob("app.log.*")]
    written = [line for file in files for line in file.read_text().splitlines()]
    assert all(line.endswith(" end") for line in written)
    assert sorted(line.split()[0] for line in written) == sorted(f"w{n}-{m}" for n in range(4) for m in range(300))
    assert len(files) > 5
    assert all(file.stat().st_size < 4096 + 4 * 100 for file in files)


def test_only_so_many_files_are_kept(tmp_path: Path) -> None:
    handler = SharedFile(tmp_path / "app.log", 100, 2)
    for number in range(50):
        handler.emit(logging.makeLogRecord({"msg": f"{number} {'x' * 50}"}))
    assert {path.name for path in tmp_path.glob("app.log*")} == {"app.log", "app.log.1", "app.log.2"}
    assert (tmp_path / "app.log").read_text().startswith("48 ")


def test_a_file_that_somebody_moves_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    handler = SharedFile(path, 10_000, 2)
    handler.emit(logging.makeLogRecord({"msg": "one"}))
    path.rename(tmp_path / "moved")
    handler.emit(logging.makeLogRecord({"msg": "two"}))
    assert ((tmp_path / "moved").read_text(), path.read_text()) == ("one\n", "two\n")


SECRETS = {
    "postgresql://metamcp:hunter2@db/x": "hunter2",
    "redis://:hunter2@cache:6379/0 is away": "hunter2",
    "https://user:hun%20ter2@host/path": "hun%20ter2",
    "key sk_mt_0123456789abcdef0123 is unknown": "0123456789abcdef",
    "Authorization: Bearer abcdef.ghijkl-mnop": "ghijkl",
    "authorization: basic dXNlcjpodW50ZXIy": "dXNlcjpodW50ZXIy",
    "{'x-api-key': 'hunter2', 'b': 1}": "hunter2",
    "[(b'authorization', b'hunter2'), (b'a', b'b')]": "hunter2",
    '{"Cookie": "sid=hunter2"}': "hunter2",
    "GET /metamcp/a/mcp?api_key=hunter2&x=1": "hunter2",
    "POST /message?sessionId=hunter2": "hunter2",
    "/callback?code=hunter2&state=hunter3": "hunter",
    "env GITHUB_TOKEN=hunter2 npx server": "hunter2",
    "METAMCP_SECRET_KEYS=hunter2": "hunter2",
    "token eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-def": "eyJ",
    "mcp_token_0123456789abcdef": "0123456789abcdef",
}


@pytest.mark.parametrize("form", ["console", "json"])
def test_what_looks_like_a_secret_is_not_written(form: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(Settings(log_format=form, log_folder=tmp_path))
    for text in SECRETS:
        logging.getLogger("a").error("It was %s", text)
        try:
            raise ValueError(text)
        except ValueError:
            logging.getLogger("a").exception("It failed")
    found = capsys.readouterr().err + (tmp_path / "app.log").read_text() + (tmp_path / "error.log").read_text()
    assert found.count("It failed") == 3 * len(SECRETS)
    for secret in SECRETS.values():
        assert secret not in found
    if form == "json":
        for line in (tmp_path / "app.log").read_text().splitlines():
            json.loads(line)


@pytest.mark.parametrize(
    "text",
    [
        "mcpServers.a.bearerToken: has characters that a token must not have, such as a space or a line break",
        'has both "bearerToken" and an Authorization header; keep one of them',
        "METAMCP_SECRET_KEYS is not set: sessions end with this start",
        "Redis at 127.0.0.1:6379 cannot be reached",
        "metamcp serves mcp.json on http://127.0.0.1:12008",
        "basic auth is off",
    ],
)
def test_what_only_speaks_of_secrets_is(text: str) -> None:
    assert hidden(text) == text


async def test_a_gateway_tells_no_secret_that_it_is_given(tmp_path: Path) -> None:
    """Keys, tokens, headers and URLs with passwords, through every way that leads to a line."""
    secret = "hunter2hunter2hunter2"
    key = f"sk_mt_{secret}"
    config = {
        "mcpServers": {
            "s": {**stdio(), "env": {"PASSWORD": secret}},
            "gone": {"command": "no-such-program", "args": [f"--password={secret}"], "env": {"A_TOKEN": secret}},
            "http": {"url": f"http://127.0.0.1:9/mcp?api_key={secret}", "bearerToken": secret},
            "head": {"url": "http://127.0.0.1:9/mcp", "headers": {"X-Secret": secret}},
            "sse": {"type": "sse", "url": f"http://127.0.0.1:9/sse?token={secret}"},
        },
        "namespaces": {"n": {"servers": ["s", "gone", "http", "head", "sse"], "middlewares": ["audit"]}},
        "endpoints": {"default": {"namespace": "n", "queryParamAuth": True}},
        "apiKeys": [{"name": "one", "key": key}],
    }
    env = {
        "LOG_LEVEL": "all",
        "METAMCP_ACCESS_LOG": "true",
        "METAMCP_LOG_FORMAT": "json",
        "METAMCP_LOG_FOLDER": str(tmp_path / "logs"),
        "METAMCP_SECRET_KEYS": f"{secret}{secret}",
    }
    with serve(config, tmp_path, env) as gateway:
        async with httpx2.AsyncClient(timeout=20) as http:
            url = gateway.url()
            client = Client(url, http, key)
            assert await client.text("s__echo", password=secret) == f'{{"password": "{secret}"}}'
            await client.call("s__crash", token=secret)
            session = await client.session()
            await session.text("s__echo", password=secret)
            for headers in ({"Authorization": f"Bearer {secret}"}, {"X-API-Key": secret}, {"Cookie": f"sid={secret}"}):
                await http.post(url, json={"jsonrpc": "2.0"}, headers={**ACCEPT, **headers})
            for query in ("api_key", "apikey", "access_token", "code"):
                await http.post(f"{url}?{query}={secret}", content=b"{", headers=ACCEPT)
            await http.get(f"{gateway.origin}/metrics?token={secret}")
            gateway.config.write_text(json.dumps({**config, "mcpServers": {"s": {"comand": secret}}}))
            await asyncio.to_thread(gateway.program.wait_for_line, "Not reloaded")
        text = gateway.program.output() + "".join(path.read_text() for path in (tmp_path / "logs").glob("*.log"))
        assert "metamcp.access" in text
        assert "metamcp.audit" in text
        assert secret not in text
        requests = [json.loads(line) for line in (tmp_path / "logs" / "app.log").read_text().splitlines()]
        assert all(len(line["request_id"]) == 16 for line in requests if line["logger"] == "metamcp.access")


def test_a_log_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    command = [sys.executable, "-m", "metamcp_asgi", "serve", str(tmp_path / "none.json")]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "METAMCP_LOG_FOLDER": str(blocked / "x")},
    )
    assert done.returncode == 1
    assert "METAMCP_LOG_FOLDER" in done.stderr
    assert "Traceback" not in done.stderr
