"""Private databases for tests: a PostgreSQL server for the session, and a database for each test in it or in SQLite.

To make the tables takes ten times as long as all else that most tests do, so a test gets them made, unless it asks for
an empty database.
"""

import asyncio
import contextlib
import getpass
import itertools
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from metamcp_asgi.store.repository import Store

SECRET = b"a key of tests, thirty-two bytes"


def _programs() -> Path:
    found = shutil.which("postgres")
    places = [
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
        *([Path(found).parent] if found else []),
    ]
    for place in places:
        if (place / "initdb").exists():
            return place
    raise AssertionError("PostgreSQL is missing: run `make test-environment`")


class PostgreSQL:
    """A PostgreSQL server on a socket in its own folder, which can be killed, stopped and started again."""

    def __init__(self) -> None:
        self._programs = _programs()
        # The server refuses to run as root, and a socket's path must be short.
        user = getpass.getuser()
        if os.geteuid() == 0:
            user = next(name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()})
        account = pwd.getpwnam(user)
        self._identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._server: subprocess.Popen[bytes] | None = None
        try:
            os.chown(self._folder, account.pw_uid, account.pw_gid)
            options = ["-U", "metamcp", "-A", "trust", "-E", "UTF8", "--no-sync", "-N"]
            command = [self._programs / "initdb", "-D", self._folder / "data", *options]
            subprocess.run(command, check=True, capture_output=True, cwd=self._folder, timeout=60, **self._identity)
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Of its first database."""
        return f"postgresql://metamcp@/postgres?host={self._folder}"

    def start(self) -> None:
        """Starts it, with what it was last told, and waits until it answers."""
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._folder),
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "max_connections": "200",
            "shared_buffers": "32MB",
        }
        arguments = [text for name, value in options.items() for text in ("-c", f"{name}={value}")]
        command: list[str | Path] = [self._programs / "postgres", "-D", self._folder / "data", *arguments]
        log = self._folder / "log"
        with log.open("ab") as output:
            server: subprocess.Popen[bytes] = subprocess.Popen(
                command, cwd=self._folder, stdout=output, stderr=output, start_new_session=True, **self._identity
            )
        self._server = server
        ready: list[str | Path] = [self._programs / "pg_isready", "-h", self._folder, "-t", "1"]
        for _ in range(300):
            if subprocess.run(ready, capture_output=True, timeout=10).returncode == 0:
                return
            assert server.poll() is None, log.read_text()
            time.sleep(0.05)
        raise AssertionError(log.read_text())

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to it and to the process of each connection, which have sessions of their own."""
        assert self._server is not None
        children = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children").read_text().split()
        for pid in (self._server.pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Kills all its processes at once."""
        assert self._server is not None
        self.signal(signal.SIGKILL)
        self._server.wait(30)

    def close(self) -> None:
        """Ends it."""
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait(30)
        shutil.rmtree(self._folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL server of this session; yields the URL of its first database."""
    server = PostgreSQL()
    try:
        yield server.url
    finally:
        server.close()


_SPARE: list[str] = []
_SPARE_WITH_TABLES: list[str] = []
_WITH_TABLES: list[bytes] = []


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[Callable[[], str]]:
    """Makes an empty database on each call, and returns its URL; emptied and used again by later tests."""
    used: list[str] = []

    def make() -> str:
        used.append(_SPARE.pop() if _SPARE else _new_database(postgres))
        return used[-1]

    yield make
    # A database is 7 MB in 300 files, which takes longer to copy than its tables to drop.
    for url in used:
        with _alone(url) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
    _SPARE.extend(used)


def _new_database(postgres: str) -> str:
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    return postgres.replace("/postgres?", f"/{name}?")


@contextlib.contextmanager
def _alone(url: str) -> Iterator[psycopg.Connection]:
    """Connects to a database, and ends all other connections to it."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        yield connection


@pytest.fixture
def postgres_with_tables(postgres: str) -> Iterator[Callable[[], str]]:
    """As `postgres_url`, with our tables in it."""
    used: list[str] = []

    def make() -> str:
        if _SPARE_WITH_TABLES:
            used.append(_SPARE_WITH_TABLES.pop())
        else:
            used.append(_new_database(postgres))
            _in_a_loop_of_its_own(_make_tables(used[-1]))
        return used[-1]

    yield make
    for url in used:
        with _alone(url) as connection:
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            assert ("alembic_version",) in tables
            rows = [name for (name,) in tables if name not in ("alembic_version", "revision")]
            # In any order: what refers to what is not looked at.
            connection.execute(
                "; ".join(
                    [
                        "SET session_replication_role = replica",
                        "UPDATE revision SET number = 0",
                        *(f'DELETE FROM "{name}"' for name in rows),
                    ]
                )
            )
    _SPARE_WITH_TABLES.extend(used)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes an empty database on each call, and returns its URL; a test with it runs on both kinds."""
    if request.param == "postgresql":
        make: Callable[[], str] = request.getfixturevalue("postgres_url")
        return make
    numbers = itertools.count()
    return lambda: f"sqlite:///{tmp_path}/empty{next(numbers)}.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes a database with nothing but tables on each call, and returns its URL; a test runs on both kinds."""
    if request.param == "postgresql":
        make: Callable[[], str] = request.getfixturevalue("postgres_with_tables")
        return make
    numbers = itertools.count()
    return lambda: sqlite_with_tables(tmp_path / f"store{next(numbers)}.db")


def sqlite_with_tables(path: Path) -> str:
    """Makes an SQLite database with our tables in it, and returns its URL."""
    if not _WITH_TABLES:
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "made.db"
            _in_a_loop_of_its_own(_make_tables(f"sqlite:///{made}"))
            with contextlib.closing(sqlite3.connect(made)) as connection:
                _WITH_TABLES.append(connection.serialize())
    path.write_bytes(_WITH_TABLES[0])
    return f"sqlite:///{path}"


async def opened(url: str) -> Store:
    """Opens a store; an SQLite database that is not there is made first, with our tables in it."""
    if url.startswith("sqlite:"):
        _be_there(Path(url.removeprefix("sqlite:///")))
    return await Store.open(url, environ={}, secret_keys=(SECRET,))


def _be_there(path: Path) -> None:
    if not path.exists():
        sqlite_with_tables(path)


async def _make_tables(url: str) -> None:
    await (await Store.open(url, environ={}, secret_keys=(SECRET,))).aclose()


def _in_a_loop_of_its_own(work: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine to its end; the caller may be in a loop."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


@pytest.fixture
async def store(database: Callable[[], str]) -> AsyncIterator[Store]:
    """A store with nothing in it, once in SQLite and once in PostgreSQL."""
    store = await opened(database())
    yield store
    await store.aclose()
