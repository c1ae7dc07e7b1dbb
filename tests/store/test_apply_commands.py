"""The commands ``plan``, ``apply`` and ``export``; and what a killed ``apply`` leaves."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from metamcp_asgi.config.file import compile_document
from metamcp_asgi.store.repository import Store
from tests.command import metamcp
from tests.databases import SECRET
from tests.places import BIN
from tests.store.applying import applied, there


def printed(*arguments: str, folder: Path, database: str, status: int = 0) -> str:
    done = metamcp(*arguments, env=environment(database), cwd=folder)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def environment(database: str) -> dict[str, str]:
    return {**os.environ, "DATABASE_URL": database, "METAMCP_SECRET_KEYS": SECRET.hex()}


def many(word: str, count: int) -> dict[str, Any]:
    servers = {f"s{n}": {"command": word, "env": {"TOKEN": f"{word}-secret"}} for n in range(count)}
    return {"mcpServers": servers, "namespaces": {"n": {"servers": list(servers)}}, "endpoints": {}}


def test_a_file_is_planned_applied_and_exported(empty_database: Callable[[], str], tmp_path: Path) -> None:
    url = empty_database()

    def run(*arguments: str, status: int = 0) -> str:
        return printed(*arguments, folder=tmp_path, database=url, status=status)

    if url.startswith("postgresql"):
        run("db", "upgrade")
    for word in ("old", "new"):
        (tmp_path / f"{word}.json").write_text(json.dumps(many(word, 1)))
    run("apply", "old.json")
    assert run("plan", "old.json") == "Nothing to do.\n"
    told = run("plan", "new.json", "--exit-code", status=2)
    assert told.splitlines() == [
        "~ server s0",
        '    command: "old" -> "new"',
        '    env.TOKEN: "***" -> "***" (secret)',
        "0 to add, 1 to change, 0 to remove.",
    ]
    (change,) = json.loads(run("plan", "new.json", "--json"))
    assert (change["action"], change["name"], change["fields"][0]["after"]) == ("change", "s0", "new")
    assert run("apply", "new.json").endswith("Done.\n")
    run("export", "--output", "out.yaml", "--env-file", "out.env")
    assert yaml.safe_load((tmp_path / "out.yaml").read_text())["mcpServers"]["s0"]["env"] == {"TOKEN": "${S0_TOKEN}"}
    assert (tmp_path / "out.env").read_text() == "S0_TOKEN='new-secret'\n"
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("out.yaml", "out.env")} == {0o600}
    assert "is there already" in run("export", "--output", "out.yaml", status=1)
    (tmp_path / ".env").write_text((tmp_path / "out.env").read_text())
    assert run("plan", "out.yaml", "--prune") == "Nothing to do.\n"
    (tmp_path / "bad.json").write_text('{"mcpServers": {"x": {}}}')
    assert "bad.json: mcpServers.x" in run("apply", "bad.json", status=1)
    (tmp_path / "bad.json").write_text(
        '{"mcpServers": {}, "namespaces": {"n": {"servers": [], "middlewares": [{"limit": {"maxByte": 1}}]}}}'
    )
    (tmp_path / "long.json").write_text(json.dumps({"mcpServers": {"x" * 101: {"command": "x"}}}))
    for verb in ("plan", "apply"):
        told = run(verb, "bad.json", status=1)
        assert "bad.json: namespaces.n.middlewares[0].limit: has an unknown key" in told
        assert 'did you mean "maxBytes"' in told
        assert f"long.json: mcpServers.{'x' * 101}: has a name of 101 characters" in run(verb, "long.json", status=1)
    assert "there is no user" in run("plan", "old.json", "--owner", "nobody@example.com", status=1)


def being_written(database: str) -> bool:
    """Tells whether some process is in the middle of a transaction that writes."""
    if database.startswith("sqlite"):
        connection = sqlite3.connect(database.removeprefix("sqlite:///"), timeout=0, isolation_level=None)
        with contextlib.closing(connection):
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            connection.execute("ROLLBACK")
            return False
    with psycopg.connect(database, autocommit=True) as observer:
        written = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL"
        row = observer.execute(written).fetchone()
        return row is not None and row[0] > 0


@pytest.mark.parametrize("delay", [0.0, 0.1])
async def test_a_killed_apply_leaves_the_old_state_or_the_new(
    database: Callable[[], str], tmp_path: Path, delay: float
) -> None:
    url = database()
    old, new = (compile_document(many(word, 200)) for word in ("old", "new"))
    (tmp_path / "new.json").write_text(json.dumps(many("new", 200)))
    store = await Store.open(url, environ={}, secret_keys=(SECRET,))
    await applied(store, old)
    command = [str(BIN / "metamcp"), "apply", "new.json"]
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(  # noqa: ASYNC220 - watched from outside
        command, env=environment(url), cwd=tmp_path, stdout=nothing, stderr=nothing
    )
    try:
        while not being_written(url):
            assert process.poll() is None, "it ended before it was seen to write"
        time.sleep(delay)  # a later place in the transaction  # noqa: ASYNC251
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    found = await there(store)
    assert found in (old, new)
    # And the store is as usable as before.
    await applied(store, new)
    assert await there(store) == new
    await store.aclose()
