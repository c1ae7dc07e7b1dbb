"""A gateway that serves from a database which is killed, stands still, or has no room on its disk."""

import asyncio
import contextlib
import errno
import json
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from metamcp_asgi.admin.api.routing import PATIENCE
from metamcp_asgi.store.keys import describe_key
from metamcp_asgi.store.models import ApiKey, User
from metamcp_asgi.store.repository import SYSTEM, Store
from tests.admin.managed import ADMIN
from tests.databases import SECRET, PostgreSQL
from tests.gateway.client import Client
from tests.places import BIN, ROOT
from tests.processes import Program, running
from tests.redis import Redis
from tests.reliability.clock import AT_ONCE, until_true, within
from tests.stdio import stdio
from tests.workers.running import RunningWorkers

READY = r"metamcp serves .* on (http://127\.0\.0\.1:(\d+))"
STAND_STILL = PATIENCE + 25.0
"""Seconds after which a request of the management API is given up when the database says nothing, and some more."""


class Managed:
    """A running gateway, its management API, and what it serves."""

    def __init__(self, program: Program, origin: str, port: int, http: httpx2.AsyncClient) -> None:
        self.program = program
        self.client = Client(port, "tools")
        self._workers = RunningWorkers(program, port, Path())
        self._origin = origin
        self._http = http
        self._made = 0

    async def ask(self, path: str, body: object = None) -> httpx2.Response:
        method = "GET" if body is None else "POST"
        url, key = f"{self._origin}/api/v1{path}", {"Authorization": f"Bearer {ADMIN}"}
        return await self._http.request(method, url, headers=key, json=body)

    async def write(self) -> httpx2.Response:
        """Adds a namespace."""
        self._made += 1
        return await self.ask("/namespaces", {"name": f"made{self._made}", "description": "x" * 2000})

    async def set_up(self) -> None:
        """Publishes a server."""
        entry = stdio()
        server = (await self.ask("/servers", {"name": "us", "command": entry["command"], "args": entry["args"]})).json()
        body = {"name": "tools", "servers": [{"serverId": server["id"]}]}
        namespace = (await self.ask("/namespaces", body)).json()
        body = {"name": "tools", "namespaceId": namespace["id"], "apiKeyAuth": False}
        made = await self.ask("/endpoints", body)
        assert made.status_code == 201, (server, namespace, made.text)
        await until_true(self.serves, "what was set up")
        # Each process reads what has changed by itself, which it cannot any more once the database is away.
        for pid in self._workers.pids():
            client = self._workers.at(pid, "tools")
            await until_true(lambda client=client: self.serves(client), "each worker")  # type: ignore[misc]

    async def serves(self, client: Client | None = None) -> bool:
        answer = await (client or self.client).call("us__echo")
        return answer.status == 200 and "result" in answer.message()


async def admin_in(url: str) -> None:
    """Makes a database with an admin who has a key."""
    store = await Store.open(url, environ={}, secret_keys=(SECRET,))
    async with store.write(SYSTEM) as tx:
        ada = await tx.add(User(email="ada@example.com", role="admin"))
        digest, prefix = describe_key(ADMIN)
        await tx.add(ApiKey(name="managing", owner_id=ada.id, digest=digest, prefix=prefix, admin=True))
    await store.aclose()


@contextlib.asynccontextmanager
async def managed(command: list[str | Path], **env: str) -> AsyncIterator[Managed]:
    """Runs `metamcp serve` with that command line."""
    env["METAMCP_SECRET_KEYS"] = SECRET.hex()
    with contextlib.ExitStack() as stack:
        program, ready = await asyncio.to_thread(stack.enter_context, running(command, READY, env, ROOT))
        async with httpx2.AsyncClient(timeout=60) as http:
            gateway = Managed(program, ready[1], int(ready[2]), http)
            await gateway.set_up()
            yield gateway


def is_problem(answer: httpx2.Response, status: int, detail: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert detail in problem["detail"]


@pytest.mark.parametrize("fault", ["killed", "stopped"])
async def test_postgresql_fails_while_it_is_served_from(
    postgresql: PostgreSQL, shared_redis: Redis, prefix: str, fault: str
) -> None:
    await admin_in(postgresql.url)
    command: list[str | Path] = [BIN / "metamcp", "serve", "--database", postgresql.url, "--workers", "2"]
    env = {"METAMCP_REDIS_URL": shared_redis.url, "METAMCP_REDIS_PREFIX": prefix}
    async with managed([*command, "--port", "0"], **env) as gateway:
        if fault == "killed":
            await asyncio.to_thread(postgresql.kill)
        else:
            postgresql.signal(signal.SIGSTOP)
        try:
            for _ in range(6):
                async with within(AT_ONCE, f"PostgreSQL {fault}: a call"):
                    assert await gateway.serves()
            async with within(
                AT_ONCE if fault == "killed" else STAND_STILL,
                f"PostgreSQL {fault}: the management API reads and writes",
            ):
                for answer in await asyncio.gather(gateway.ask("/namespaces"), gateway.write()):
                    is_problem(answer, 503, "database cannot be used")
            assert await gateway.serves()
        finally:
            if fault == "killed":
                await asyncio.to_thread(postgresql.start)
            else:
                postgresql.signal(signal.SIGCONT)

        async def written() -> bool:
            return (await gateway.write()).status_code == 201

        await until_true(written, f"PostgreSQL {fault}: the first change after it is back")
        for _ in range(4):
            assert (await gateway.ask("/namespaces")).status_code == 200
        assert await gateway.serves()


def fill(path: Path) -> None:
    """Writes to a file until there is no room left."""
    with path.open("wb", buffering=0) as file:
        size = 1 << 16
        while size:
            try:
                file.write(b"\0" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                size //= 2


async def test_the_disk_of_an_sqlite_database_is_full(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=4m tmpfs "$0" && '
    inside = [shutil.which("unshare") or "unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    disk, made = tmp_path / "disk", tmp_path / "made"
    disk.mkdir()
    made.mkdir()
    trial = await asyncio.create_subprocess_exec(*inside, mount + "true", disk)
    if await trial.wait():
        pytest.skip("this machine lets nobody mount a file system, so none can be full")
    await admin_in(f"sqlite:///{made}/metamcp.db")
    serve = 'cp -p "$1"/* "$0" && exec "$2" serve --database "sqlite:///$0/metamcp.db" --port 0'
    async with managed([*inside, mount + serve, disk, made, BIN / "metamcp"]) as gateway:
        filler = Path(f"/proc/{gateway.program.pid}/root{disk}/filler")
        await asyncio.to_thread(fill, filler)
        # What the log has room for already is still written.
        async with within(30, "disk full: the first change that is refused"):
            while (refused := await gateway.write()).status_code == 201:
                pass
        is_problem(refused, 507, "disk of the database is full")
        async with within(AT_ONCE, "disk full: a change"):
            is_problem(await gateway.write(), 507, "nothing was changed")
        async with within(AT_ONCE, "disk full: reading"):
            before = (await gateway.ask("/namespaces")).json()
        async with within(AT_ONCE, "disk full: a call"):
            assert await gateway.serves()
        await asyncio.to_thread(filler.unlink)

        async def written() -> bool:
            return (await gateway.write()).status_code == 201

        await until_true(written, "the first change after there is room")
        after = (await gateway.ask("/namespaces")).json()
        assert len(json.dumps(after)) > len(json.dumps(before))
        assert await gateway.serves()
