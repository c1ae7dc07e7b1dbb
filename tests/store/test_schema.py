"""The schema: made, upgraded and taken back with rows in it, never half-way, and never over somebody else's tables."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.store import schema
from metamcp_asgi.store.columns import Base
from metamcp_asgi.store.engine import connect, database_url
from metamcp_asgi.store.models import ApiKey, Server
from metamcp_asgi.store.repository import SYSTEM, Store
from metamcp_asgi.store.services import keys
from tests.databases import SECRET
from tests.store.rows import SECRETS, one_of_each


def engine_of(url: str) -> AsyncEngine:
    return connect(database_url({}, url))


async def tables(engine: AsyncEngine) -> set[str]:
    async with engine.connect() as connection:
        return set(await connection.run_sync(lambda c: inspect(c).get_table_names()))


async def test_the_migrations_make_the_tables_that_the_models_describe(empty_database: Callable[[], str]) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = engine_of(empty_database())
    await schema.upgrade(engine)

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    assert await schema.current(engine) == schema.HEAD
    await engine.dispose()


async def test_down_and_up_again_with_rows_in_every_table(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    store = await Store.open(url, environ={}, secret_keys=(SECRET,))
    await one_of_each(store)
    await store.aclose()
    engine = engine_of(url)
    await schema.downgrade(engine, "base")
    assert await tables(engine) == {"alembic_version"}
    await schema.upgrade(engine)
    assert await schema.current(engine) == schema.HEAD
    await engine.dispose()
    store = await Store.open(url, environ={}, secret_keys=(SECRET,))
    ids = await one_of_each(store)
    await schema.upgrade(store.engine)
    async with store.read() as tx:
        assert tx.secrets(await tx.get(Server, ids["Server"])) == SECRETS
    await store.aclose()


async def test_a_key_outlasts_the_way_down_and_up_again_what_it_was_before_does_not(
    empty_database: Callable[[], str],
) -> None:
    url = empty_database()
    store = await Store.open(url, environ={}, secret_keys=(SECRET,))
    ids = await one_of_each(store)
    await store.aclose()
    engine = engine_of(url)
    await schema.downgrade(engine, "0004")
    async with engine.connect() as connection:
        (row,) = (await connection.execute(text("SELECT * FROM api_keys"))).mappings()
    assert (row["name"], bytes(row["digest"])) == ("laptop", digest_of("sk_mt_laptop"))
    assert not {name for name in row if name.startswith("previous")}
    await schema.upgrade(engine)
    await engine.dispose()
    store = await Store.open(url, environ={}, secret_keys=(SECRET,))
    async with store.read() as tx:
        key = await tx.get(ApiKey, ids["ApiKey"])
        assert await keys.of_digest(tx, digest_of("sk_mt_laptop")) is key
        assert await keys.of_digest(tx, digest_of("sk_mt_before")) is None
    assert (key.previous_digest, key.previous_until) == (None, None)
    await store.aclose()


async def test_a_server_with_a_sandbox_is_off_where_there_are_none(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    store = await Store.open(url, environ={}, secret_keys=(SECRET,))
    async with store.write(SYSTEM) as tx:
        await tx.add(Server(name="boxed", type="stdio", command="true", sandbox={}))
        await tx.add(Server(name="free", type="stdio", command="true"))
    await store.aclose()
    engine = engine_of(url)
    await schema.downgrade(engine, "0005")
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT name, disabled FROM servers ORDER BY name"))
        assert [(name, bool(disabled)) for name, disabled in rows] == [("boxed", True), ("free", False)]
    await engine.dispose()


async def test_processes_that_start_together_make_the_schema_once(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    stores = await asyncio.gather(*(Store.open(url, environ={}, secret_keys=(SECRET,)) for _ in range(4)))
    assert [await store.revision() for store in stores] == [0] * 4
    for store in stores:
        await store.aclose()


async def test_a_database_that_another_process_is_writing_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    opening = asyncio.ensure_future(Store.open(f"sqlite:///{path}", environ={}, secret_keys=(SECRET,)))
    done, _ = await asyncio.wait([opening], timeout=0.3)
    assert not done
    other.execute("COMMIT")
    other.close()
    store = await opening
    assert await store.revision() == 0
    await store.aclose()


async def test_foreign_keys_hold_on_every_connection_after_an_upgrade(tmp_path: Path) -> None:
    engine = engine_of(f"sqlite:///{tmp_path}/a.db")
    await schema.upgrade(engine)
    for _ in range(3):
        async with engine.connect() as connection:
            assert (await connection.execute(text("PRAGMA foreign_keys"))).scalar() == 1
            assert (await connection.execute(text("PRAGMA journal_mode"))).scalar() == "wal"
    await engine.dispose()


async def test_an_older_postgresql_schema_is_refused_with_the_command_to_run(postgres_url: Callable[[], str]) -> None:
    url = postgres_url()
    engine = engine_of(url)
    await schema.upgrade(engine)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    await engine.dispose()
    with pytest.raises(ConfigError, match="metamcp db upgrade"):
        await Store.open(url, environ={}, secret_keys=(SECRET,))


async def test_a_newer_schema_is_refused(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    engine = engine_of(url)
    await schema.upgrade(engine)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await engine.dispose()
    with pytest.raises(ConfigError, match="has the schema 9999"):
        await Store.open(url, environ={}, secret_keys=(SECRET,))


async def test_somebody_elses_tables_are_left_alone(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    engine = engine_of(url)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE namespaces (uuid TEXT)"))
    await engine.dispose()
    with pytest.raises(ConfigError, match="not ours"):
        await Store.open(url, environ={}, secret_keys=(SECRET,))


@pytest.mark.parametrize(
    ("environ", "given", "expected"),
    [
        ({"XDG_DATA_HOME": "/d"}, None, "sqlite+aiosqlite:////d/metamcp/metamcp.db"),
        ({"DATABASE_URL": "postgres://u:p@h/d"}, None, "postgresql+psycopg://u:p@h/d"),
        ({"DATABASE_URL": "postgres://u:p@h/d"}, "sqlite:////a.db", "sqlite+aiosqlite:////a.db"),
        (
            {"POSTGRES_HOST": "db", "POSTGRES_USER": "u", "POSTGRES_PASSWORD": "p@:/", "POSTGRES_DB": "d"},
            None,
            "postgresql+psycopg://u:p%40%3A%2F@db:5432/d",
        ),
        (
            {"POSTGRES_HOST": "db", "POSTGRES_PORT": "9433"},
            None,
            "postgresql+psycopg://metamcp_user:m3t4mcp@db:9433/metamcp_db",
        ),
        (
            {"DATABASE_URL": "postgresql://h/d", "POSTGRES_CA_CERT": "/ca.pem"},
            None,
            "postgresql+psycopg://h/d?sslmode=verify-full&sslrootcert=%2Fca.pem",
        ),
    ],
)
def test_the_database_is_named_as_metamcp_names_it(environ: dict[str, str], given: str | None, expected: str) -> None:
    assert database_url(environ, given).render_as_string(hide_password=False) == expected


@pytest.mark.parametrize(
    "url", ["mysql://u:clear-7f3a@h/d", "clear-7f3a", "postgresql://u:clear-7f3a@h:x/d", "sqlite://"]
)
def test_a_wrong_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        database_url({"DATABASE_URL": url})
    assert "7f3a" not in str(caught.value)


async def test_a_database_out_of_reach_is_an_error_without_the_password() -> None:
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        await Store.open("postgresql://u:clear-7f3a@127.0.0.1:1/d", environ={}, secret_keys=(SECRET,))
    assert "7f3a" not in str(caught.value)
