"""The command `metamcp` on a database of its own, and on a gateway that runs over one."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from msgspec import Struct

from metamcp_asgi.cli import main
from metamcp_asgi.store.keys import describe_key
from metamcp_asgi.store.models import ApiKey, Endpoint, Namespace, Role, Server, Setting, User
from metamcp_asgi.store.repository import SYSTEM, Store
from tests.databases import sqlite_with_tables
from tests.places import BIN
from tests.processes import running

ADMIN = "sk_mt_" + "a" * 64
MEMBER = "sk_mt_" + "m" * 64


Environ = Mapping[str, str | None]
NOTHING_MORE: Environ = {}


class Metamcp(Struct):
    """The command in one environment; `database` is what it manages in the end."""

    database: str
    environ: Environ

    def __call__(self, *arguments: str, text: str = "", env: Environ = NOTHING_MORE) -> Result:
        """Runs it to its end, with a text on its standard input, and with more variables or fewer."""
        return CliRunner().invoke(main, list(arguments), input=text, env={**self.environ, **env})

    def said(self, *arguments: str, text: str = "", env: Environ = NOTHING_MORE) -> str:
        """Runs it, and returns what it printed when all went well."""
        done = self(*arguments, text=text, env=env)
        assert done.exit_code == 0, done.output
        return done.stdout

    def json(self, *arguments: str, text: str = "", env: Environ = NOTHING_MORE) -> Any:
        return json.loads(self.said(*arguments, "--json", text=text, env=env))

    def error(self, *arguments: str, code: int = 1, text: str = "", env: Environ = NOTHING_MORE) -> str:
        """Runs it, and returns the message with which it failed."""
        done = self(*arguments, text=text, env=env)
        assert (done.exit_code, done.stdout) == (code, ""), done.output
        assert "Traceback" not in done.stderr
        if code == 1:
            assert done.stderr.count("\n") == 1
        return done.stderr

    def add(self, *rows: Any) -> None:
        """Adds rows to the database as they are."""

        async def add() -> None:
            store = await Store.open(self.database, environ={})
            async with store.write(SYSTEM) as tx:
                await tx.add_all(rows)
            await store.aclose()

        asyncio.run(add())


PEOPLE: tuple[tuple[str, str, Role], ...] = (
    (ADMIN, "ada@example.com", "admin"),
    (MEMBER, "mel@example.com", "member"),
)


def with_people(database: str) -> str:
    """Makes Ada, an admin, and Mel, a member, each with a key for managing; returns the database's URL."""

    async def make() -> None:
        store = await Store.open(database, environ={})
        async with store.write(SYSTEM) as tx:
            for text, email, role in PEOPLE:
                user = await tx.add(User(email=email, role=role))
                digest, prefix = describe_key(text)
                await tx.add(ApiKey(name="managing", owner_id=user.id, digest=digest, prefix=prefix, admin=True))
        await store.aclose()

    asyncio.run(make())
    return database


def clear(database: str) -> None:
    """Removes all but Ada and Mel and their keys."""

    async def remove() -> None:
        store = await Store.open(database, environ={})
        async with store.write(SYSTEM) as tx:
            for kind in (Endpoint, Namespace, Server, Setting):
                for row in await tx.list(kind):
                    await tx.delete(row)
            for key in await tx.list(ApiKey, ApiKey.name != "managing"):
                await tx.delete(key)
            for user in await tx.list(User, User.email.not_in([email for _, email, _ in PEOPLE])):
                await tx.delete(user)
        await store.aclose()

    asyncio.run(remove())


NOWHERE: Environ = {"METAMCP_URL": None, "METAMCP_API_KEY": None, "METAMCP_SECRET_KEYS": None}


@pytest.fixture
def metamcp(tmp_path: Path) -> Metamcp:
    """The command on an SQLite database."""
    database = with_people(sqlite_with_tables(tmp_path / "metamcp.db"))
    return Metamcp(database, {**NOWHERE, "DATABASE_URL": database})


@pytest.fixture(scope="module")
def running_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A gateway that runs over an SQLite database; yields the URLs of both."""
    folder = tmp_path_factory.mktemp("served")
    database = with_people(sqlite_with_tables(folder / "served.db"))
    command: Sequence[str | Path] = [BIN / "metamcp", "serve", "--database", database, "--port", "0"]
    with running(command, r"serves .* on (http://\S+)", cwd=folder) as (_, ready):
        yield database, ready[1]


@pytest.fixture
def served(running_gateway: tuple[str, str], tmp_path: Path) -> Iterator[Metamcp]:
    """The command on a gateway with nothing in it, of whose database it does not know."""
    database, url = running_gateway
    clear(database)
    elsewhere = {"DATABASE_URL": f"sqlite:///{tmp_path}/nothing.db"}
    yield Metamcp(database, {**NOWHERE, **elsewhere, "METAMCP_URL": url, "METAMCP_API_KEY": ADMIN})
    assert not (tmp_path / "nothing.db").exists(), "something was done to the database at hand"


@pytest.fixture(params=["database", "gateway"])
def anywhere(request: pytest.FixtureRequest) -> Metamcp:
    """The command on either; a test with it runs on both."""
    wanted = {"database": "metamcp", "gateway": "served"}[request.param]
    found: Metamcp = request.getfixturevalue(wanted)
    return found


@pytest.fixture
def one_file(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a text to a file, and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "given"
        path.write_text(text)
        return path

    return write
