"""Private databases for tests: a PostgreSQL server for the session, and a database for each test in it or in SQLite."""

import getpass
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

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


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL server of this session, on a socket in its own folder; yields the URL of its first database."""
    programs = _programs()
    # The server refuses to run as root, and a socket's path must be short.
    user = getpass.getuser()
    if os.geteuid() == 0:
        user = next(name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()})
    account = pwd.getpwnam(user)
    identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        os.chown(folder, account.pw_uid, account.pw_gid)
        data = folder / "data"
        command = [programs / "initdb", "-D", data, "-U", "metamcp", "-A", "trust", "-E", "UTF8", "--no-sync", "-N"]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=60, **identity)
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(folder),
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "max_connections": "200",
            "shared_buffers": "32MB",
        }
        arguments = [text for name, value in options.items() for text in ("-c", f"{name}={value}")]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", data, *arguments], cwd=folder, stdout=log, stderr=log, **identity
            )
        try:
            url = f"postgresql://metamcp@/postgres?host={folder}"
            ready = [programs / "pg_isready", "-h", folder, "-t", "1"]
            for _ in range(300):
                if subprocess.run(ready, capture_output=True, timeout=10).returncode == 0:
                    break
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.05)
            else:
                raise AssertionError((folder / "log").read_text())
            yield url
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_spare: list[str] = []


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[Callable[[], str]]:
    """Makes an empty database on each call, and returns its URL; emptied and used again by later tests."""
    used: list[str] = []

    def make() -> str:
        if _spare:
            used.append(_spare.pop())
        else:
            name = f"t{uuid.uuid4().hex}"
            with psycopg.connect(postgres, autocommit=True) as connection:
                connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
            used.append(postgres.replace("/postgres?", f"/{name}?"))
        return used[-1]

    yield make
    # A database is 7 MB in 300 files, which takes longer to copy than its tables to drop.
    for url in used:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
    _spare.extend(used)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes an empty database on each call, and returns its URL; a test with it runs on both kinds."""
    if request.param == "postgresql":
        make: Callable[[], str] = request.getfixturevalue("postgres_url")
        return make
    numbers = itertools.count()
    return lambda: f"sqlite:///{tmp_path}/store{next(numbers)}.db"


@pytest.fixture
async def store(database: Callable[[], str]) -> AsyncIterator[Store]:
    """An empty store, once in SQLite and once in PostgreSQL."""
    opened = await Store.open(database(), environ={}, secret_keys=(SECRET,))
    yield opened
    await opened.aclose()
