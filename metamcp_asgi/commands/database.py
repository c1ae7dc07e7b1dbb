"""``metamcp db`` and ``metamcp secrets``: the schema of the database, and the keys of the secrets in it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from metamcp_asgi.commands.terminal import faults
from metamcp_asgi.settings import Settings, read_environment

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["db", "secrets"]

_DATABASE = click.option(
    "--database", metavar="URL", help="The database.  [default: DATABASE_URL, or SQLite in your data folder]"
)


@click.group()
def db() -> None:
    """Upgrade the database, or show its schema."""


@db.command()
@_DATABASE
@click.argument("revision", default="head")
def upgrade(database: str | None, revision: str) -> None:
    """Bring the database to REVISION, by default the newest."""
    from metamcp_asgi.store import schema
    from metamcp_asgi.store.engine import shown

    async def run(engine: "AsyncEngine") -> None:
        before = await schema.current(engine)
        await schema.upgrade(engine, revision)
        click.echo(f"{shown(engine.url)}: {before or 'empty'} -> {await schema.current(engine)}")

    _with_engine(database, run)


@db.command()
@_DATABASE
@click.argument("revision")
@click.confirmation_option(prompt="What the older schema has no place for is lost. Go on?")
def downgrade(database: str | None, revision: str) -> None:
    """Bring the database back to REVISION; "base" removes every table."""
    from metamcp_asgi.store import schema
    from metamcp_asgi.store.engine import shown

    async def run(engine: "AsyncEngine") -> None:
        before = await schema.current(engine)
        await schema.downgrade(engine, revision)
        click.echo(f"{shown(engine.url)}: {before or 'empty'} -> {await schema.current(engine) or 'empty'}")

    _with_engine(database, run)


@db.command()
@_DATABASE
def current(database: str | None) -> None:
    """Show which schema the database has, and which one this version needs."""
    from metamcp_asgi.store import schema
    from metamcp_asgi.store.engine import shown

    async def run(engine: "AsyncEngine") -> None:
        found = await schema.current(engine)
        click.echo(f"{shown(engine.url)}: {found or 'empty'} (this version needs {schema.HEAD})")

    _with_engine(database, run)


@click.group()
def secrets() -> None:
    """Manage the keys that seal secrets in the database."""


@secrets.command()
@_DATABASE
def rotate(database: str | None) -> None:
    """Seal every secret with a new key.

    Beside an SQLite database the new key is made in its key file. Otherwise put one in front of the others in
    METAMCP_SECRET_KEYS, restart every process, and run this; the older ones can be removed after that.
    """
    from metamcp_asgi.store.repository import SYSTEM, Store

    async def run() -> None:
        store = await Store.open(database, environ=read_environment(), secret_keys=Settings.from_environ().secret_keys)
        try:
            count = await store.rotate(SYSTEM)
        finally:
            await store.aclose()
        click.echo(f"{store.name}: {count} {'value' if count == 1 else 'values'} sealed with the newest key")

    with faults():
        asyncio.run(run())


def _with_engine(database: str | None, run: Callable[["AsyncEngine"], Awaitable[Any]]) -> None:
    from metamcp_asgi.store.engine import connect, database_url
    from metamcp_asgi.store.repository import out_of_reach

    async def connected() -> None:
        engine = connect(database_url(read_environment(), database))
        try:
            with out_of_reach(engine):
                await run(engine)
        finally:
            await engine.dispose()

    with faults():
        asyncio.run(connected())
