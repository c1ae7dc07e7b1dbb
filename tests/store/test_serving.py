"""`metamcp serve` from the database: what is written there is served within a second, by every process."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.gateway import Gateway
from metamcp_asgi.settings import Settings
from metamcp_asgi.store.columns import now
from metamcp_asgi.store.models import ApiKey, AuditEntry, Change, Endpoint, Membership, Namespace, Server, User
from metamcp_asgi.store.policy import COMMAND_LINE
from metamcp_asgi.store.repository import SYSTEM, Store
from metamcp_asgi.store.schema import HEAD
from metamcp_asgi.store.secrets import ServerSecrets
from metamcp_asgi.store.services import keys
from metamcp_asgi.store.services.inputs import Rotation
from metamcp_asgi.store.source import StoreSource
from tests.command import metamcp
from tests.databases import SECRET
from tests.places import BIN, ROOT
from tests.processes import Program, running

KEY = "sk_mt_of_these_tests"
ENV = {"METAMCP_SECRET_KEYS": SECRET.hex()}
SERVER = """
import json, os, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    tool = {"name": os.environ["TOOL"], "inputSchema": {"type": "object"}}
    results = {
        "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                       "serverInfo": {"name": "s", "version": "1"}},
        "tools/list": {"tools": [tool]},
        "ping": {},
    }
    answer = {"jsonrpc": "2.0", "id": message["id"]}
    if message["method"] in results:
        answer["result"] = results[message["method"]]
    else:
        answer["error"] = {"code": -32601, "message": "no"}
    print(json.dumps(answer), flush=True)
"""


TERMINATE = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@contextlib.contextmanager
def serving(url: str, env: dict[str, str] | None = None) -> Iterator[tuple[Program, str]]:
    command = [BIN / "metamcp", "serve", "--database", url, "--port", "0"]
    with running(command, r"metamcp serves .* on (http://127\.0\.0\.1:\d+)", ENV if env is None else env, ROOT) as (
        program,
        ready,
    ):
        yield program, ready[1]


def status(origin: str, endpoint: str, key: str = "") -> tuple[int, bytes]:
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/list",
        "params": {
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        },
    }
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/list",
    } | ({"X-API-Key": key} if key else {})
    request = urllib.request.Request(f"{origin}/metamcp/{endpoint}/mcp", json.dumps(call).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


async def until(origin: str, endpoint: str, wanted: int, key: str = "") -> bytes:
    """Asks until the answer has a status, at most 30 seconds; returns its body."""
    deadline = time.monotonic() + 30
    while True:
        found, body = await asyncio.to_thread(status, origin, endpoint, key)
        if found == wanted:
            return body
        assert time.monotonic() < deadline, f"{endpoint} still answers {found}: {body!r}"
        await asyncio.sleep(0.02)


@pytest.fixture
async def opened(database: Callable[[], str]) -> AsyncIterator[tuple[str, Store]]:
    """A database's URL, and the store in it."""
    url = database()
    store = await Store.open(url, environ={}, secret_keys=(SECRET,))
    yield url, store
    await store.aclose()


async def rotate(store: Store, key: uuid.UUID, *, grace_seconds: int) -> str:
    """Returns another text for a key."""
    async with store.write(COMMAND_LINE) as tx:
        _, made = await keys.rotate(tx, COMMAND_LINE, key, Rotation(grace_seconds=grace_seconds))
    return made


async def publish(store: Store, name: str, **more: object) -> None:
    async with store.write(SYSTEM) as tx:
        namespace = await tx.add(Namespace(name=name))
        await tx.add(Endpoint(name=name, namespace_id=namespace.id, **more))  # type: ignore[arg-type]


async def test_what_is_written_is_served_by_every_process_at_once(
    opened: tuple[str, Store], capsys: pytest.CaptureFixture[str]
) -> None:
    url, store = opened
    with serving(url) as (_, one), serving(url) as (_, other):
        await until(one, "tools", 404)
        await until(other, "tools", 404)
        async with store.write(SYSTEM) as tx:
            server = await tx.add(
                Server(name="s", type="stdio", command=sys.executable, args=["-c", SERVER]),
                secrets=ServerSecrets(env={"TOOL": "from_a_secret"}),
            )
            namespace = await tx.add(Namespace(name="tools"))
            await tx.add(Membership(namespace_id=namespace.id, server_id=server.id))
            await tx.add(Endpoint(name="tools", namespace_id=namespace.id))
            key = await tx.add(ApiKey(name="k", digest=digest_of(KEY), prefix=KEY[:5]))
        begin = time.monotonic()
        await asyncio.gather(until(one, "tools", 401), until(other, "tools", 401))
        seconds = time.monotonic() - begin
        with capsys.disabled():
            print(f"\n{store.engine.dialect.name}: two processes swapped within {seconds:.2f} s")
        for origin in (one, other):
            body = await until(origin, "tools", 200, KEY)
            assert [tool["name"] for tool in json.loads(body)["result"]["tools"]] == ["s__from_a_secret"]
        rotated = await rotate(store, key.id, grace_seconds=3600)
        await asyncio.gather(until(one, "tools", 200, rotated), until(other, "tools", 200, rotated))
        for origin in (one, other):
            assert (await asyncio.to_thread(status, origin, "tools", KEY))[0] == 200, "good for an hour"
        last = await rotate(store, key.id, grace_seconds=0)
        await asyncio.gather(*(until(origin, "tools", 401, each) for origin in (one, other) for each in (KEY, rotated)))
        await asyncio.gather(until(one, "tools", 200, last), until(other, "tools", 200, last))
        begin = time.monotonic()
        async with store.write(SYSTEM) as tx:
            (await tx.get(ApiKey, key.id)).disabled = True
        await asyncio.gather(until(one, "tools", 401, last), until(other, "tools", 401, last))
        with capsys.disabled():
            print(f"two processes refused a key within {time.monotonic() - begin:.2f} s")


@pytest.mark.parametrize(
    ("column", "left"), [("expires_at", 0), ("previous_until", 1)], ids=["expiry", "what it was before"]
)
async def test_a_key_ends_by_itself_when_its_time_is_over(opened: tuple[str, Store], column: str, left: int) -> None:
    url, store = opened
    await publish(store, "tools")
    source = StoreSource(url, environ={}, secret_keys=(SECRET,))
    assert len((await source.reload()).keys) == 0
    async with store.write(SYSTEM) as tx:
        key = ApiKey(name="k", digest=digest_of(KEY), prefix=KEY[:5])
        if column == "previous_until":
            key.previous_digest = digest_of("sk_mt_before")
        setattr(key, column, now() + timedelta(seconds=1))
        await tx.add(key)
    seen = []
    async with asyncio.timeout(20), contextlib.aclosing(source.changes()) as changes:
        async for _ in changes:
            seen.append(len((await source.reload()).keys))
            if len(seen) == 2:
                break
    assert seen == [left + 1, left]
    await source.aclose()


def listed_keys(origin: str, key: str) -> dict[str, str | None]:
    """Returns when each key was last used, as the management API has it."""
    request = urllib.request.Request(f"{origin}/api/v1/keys", headers={"X-API-Key": key})
    with urllib.request.urlopen(request, timeout=30) as response:
        return {item["name"]: item["lastUsedAt"] for item in json.loads(response.read())["items"]}


async def test_when_a_key_was_last_used_can_be_seen(opened: tuple[str, Store]) -> None:
    url, store = opened
    await publish(store, "tools")
    async with store.write(SYSTEM) as tx:
        owner = await tx.add(User(email="ada@example.com", role="admin"))
        admin = await tx.add(
            ApiKey(name="admin", digest=digest_of("sk_mt_admin"), prefix="", owner_id=owner.id, admin=True)
        )
        for name in ("served", "unused", "last"):
            await tx.add(ApiKey(name=name, digest=digest_of(f"sk_mt_{name}"), prefix="", owner_id=owner.id))
    revision, begin = await store.revision(), now()
    with serving(url) as (_, one), serving(url) as (_, other):
        for origin in (one, other):
            await until(origin, "tools", 200, "sk_mt_served")
            await until(origin, "tools", 401, "sk_mt_unknown")
        deadline = time.monotonic() + 30
        while (found := await asyncio.to_thread(listed_keys, other, "sk_mt_admin"))["served"] is None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert found["unused"] is None
        # What is not written down yet when a process ends is written down then.
        await until(one, "tools", 200, "sk_mt_last")
    async with store.read() as tx:
        used = {key.name: key.last_used_at for key in await tx.list(ApiKey)}
        assert (await tx.get(ApiKey, admin.id)).version == 1
        assert len(await tx.list(AuditEntry, AuditEntry.object_kind == "api_key")) == 4
    assert used.pop("unused") is None
    assert all(at is not None and begin <= at <= now() for at in used.values()), used
    assert await store.revision() == revision


async def test_a_gateway_can_be_made_where_a_loop_runs_already(opened: tuple[str, Store]) -> None:
    url, store = opened
    await publish(store, "tools")
    settings = Settings(secret_keys=(SECRET,))
    gateway = Gateway.from_store(url, settings)
    assert list(gateway.snapshot.endpoints) == ["tools"]
    async with asyncio.timeout(20), gateway.lifespan():
        await publish(store, "more")
        while "more" not in gateway.snapshot.endpoints:  # noqa: ASYNC110 - a snapshot tells nobody
            await asyncio.sleep(0.02)


WRITER = textwrap.dedent("""
    import asyncio, sys
    from metamcp_asgi.store.models import Endpoint, Namespace, Server
    from metamcp_asgi.store.repository import SYSTEM, Store

    async def main():
        store = await Store.open(sys.argv[1], environ={}, secret_keys=(bytes.fromhex(sys.argv[2]),))
        async with store.write(SYSTEM) as tx:
            for row in await tx.list(Server):
                await tx.delete(row)
            namespace = await tx.add(Namespace(name="half"))
            await tx.add_all([Server(name=f"half{n}", type="stdio", command="x") for n in range(500)])
            print("in the middle", flush=True)
            sys.stdin.readline()
            await tx.add(Endpoint(name="half", namespace_id=namespace.id))
        print("done", flush=True)
        sys.stdin.readline()

    asyncio.run(main())
""")


@pytest.mark.parametrize("moment", ["in the middle", "done"])
async def test_a_writer_that_is_killed_leaves_the_old_or_the_new_state(opened: tuple[str, Store], moment: str) -> None:
    url, store = opened
    async with store.write(SYSTEM) as tx:
        await tx.add(Server(name="before", type="stdio", command="x"))
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, url, SECRET.hex(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    async with asyncio.timeout(30):
        assert (await writer.stdout.readline()).decode().strip() == "in the middle"
        if moment == "done":
            writer.stdin.write(b"\n")
            assert (await writer.stdout.readline()).decode().strip() == "done"
    os.kill(writer.pid, signal.SIGKILL)
    await writer.wait()

    fresh = await Store.open(url, environ={}, secret_keys=(SECRET,))
    async with asyncio.timeout(20), fresh.write(SYSTEM) as tx:
        names = {row.name for row in await tx.list(Server)}
        endpoints = await tx.list(Endpoint)
        changes = {change.revision for change in await tx.list(Change)}
        audit = len(await tx.list(AuditEntry))
        await tx.add(User(email="after@example.com"))
    if moment == "done":
        assert (len(names), len(endpoints), changes, audit) == (500, 1, {1, 2}, 504)
    else:
        assert (names, len(endpoints), changes, audit) == ({"before"}, 0, {1}, 1)
    assert await fresh.revision() == max(changes) + 1
    await fresh.aclose()


async def test_serving_survives_a_database_that_goes_away(postgres_url: Callable[[], str]) -> None:
    url = postgres_url()
    store = await Store.open(url, environ={}, secret_keys=(SECRET,))
    await publish(store, "tools")
    with serving(url) as (program, origin):
        await publish(store, "first")
        await until(origin, "first", 401)
        async with store.write(SYSTEM) as tx:
            # Every other connection to this database, as if the server had been started anew.
            await tx.session.execute(TERMINATE)
        program.wait_for_line("out of reach")
        await until(origin, "tools", 401)
        program.wait_for_line("The database is back")
        await publish(store, "more")
        await until(origin, "more", 401)
    await store.aclose()


def test_serve_refuses_what_it_cannot_use_and_says_what_to_do(postgres_url: Callable[[], str], tmp_path: Path) -> None:
    def command(*arguments: str, **env: str) -> tuple[int, str]:
        done = metamcp(*arguments, cwd=tmp_path, env={"HOME": str(tmp_path), **env})
        return done.returncode, done.stdout + done.stderr

    url = postgres_url()
    code, said = command("serve", DATABASE_URL=url)
    assert (code, "METAMCP_SECRET_KEYS" in said) == (1, True)
    code, said = command("serve", "mcp.json", "--database", url)
    assert (code, "choose one" in said) == (1, True)
    assert "empty" in command("db", "current", DATABASE_URL=url)[1]
    assert f"empty -> {HEAD}" in command("db", "upgrade", DATABASE_URL=url)[1]
    assert f"{HEAD} -> empty" in command("db", "downgrade", "base", "--yes", DATABASE_URL=url)[1]
    code, said = command("db", "upgrade", "9999", DATABASE_URL=url)
    assert (code, "9999" in said) == (1, True)
    assert "0 values" in command("secrets", "rotate")[1]
    assert (tmp_path / ".local" / "share" / "metamcp" / "metamcp.keys").exists()
    code, said = command("secrets", "rotate", DATABASE_URL="postgresql://u:clear-7f3a@127.0.0.1:1/d", **ENV)
    assert (code, "cannot be used" in said, "7f3a" in said) == (1, True, False)
