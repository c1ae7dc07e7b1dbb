"""The schema of the database: which one it has, and how to bring it to another, by Alembic.

Every change is one transaction on either database: a process that is killed in the middle has changed nothing.
Alembic is imported only when there is something to do.
"""

import enum
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from metamcp_asgi.errors import ConfigError
from metamcp_asgi.store.engine import shown, writing

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["HEAD", "current", "downgrade", "prepare", "upgrade"]

logger = logging.getLogger("metamcp.store")

HEAD: Final = "0007"
"""The revision that this version of the program works with."""

_LOCK: Final = 0x6D6574616D6370
"""Of PostgreSQL's advisory locks the one that keeps two upgrades apart."""


class _State(enum.Enum):
    EMPTY = enum.auto()
    FOREIGN = enum.auto()
    OURS = enum.auto()


async def current(engine: AsyncEngine) -> str | None:
    """Return the revision that the database has; ``None`` when it has none of our tables."""
    async with engine.connect() as connection:
        return await connection.run_sync(_revision)


async def prepare(engine: AsyncEngine) -> None:
    """Make sure that the database has the schema we need: SQLite is upgraded, and so is an empty PostgreSQL.

    Raises:
        ConfigError: PostgreSQL has an older schema, either has a newer one, or somebody else's tables are there.
    """
    async with engine.connect() as connection:
        state, revision = await connection.run_sync(lambda c: (_state(c), _revision(c)))
    if revision == HEAD:
        return
    if state is _State.OURS and engine.dialect.name != "sqlite":
        known = revision is not None and revision < HEAD
        if known:
            raise ConfigError(
                f"has the schema {revision}, and this version needs {HEAD}; make a backup and run: metamcp db upgrade",
                source=shown(engine.url),
            )
    await upgrade(engine)


async def upgrade(engine: AsyncEngine, revision: str = "head") -> None:
    """Bring the database to a newer schema.

    Args:
        engine: The database.
        revision: The schema, as Alembic names it.

    Raises:
        ConfigError: The schema is newer than ours, the revision is unknown, or the tables are somebody else's.
    """
    await _migrate(engine, "upgrade", revision)


async def downgrade(engine: AsyncEngine, revision: str) -> None:
    """Bring the database to an older schema, with the loss of what that has no place for.

    Args:
        engine: The database.
        revision: The schema, as Alembic names it; ``base`` removes every table.

    Raises:
        ConfigError: As ``upgrade``.
    """
    await _migrate(engine, "downgrade", revision)


async def _migrate(engine: AsyncEngine, direction: str, revision: str) -> None:
    async with writing(engine).connect() as connection:
        sqlite = engine.dialect.name == "sqlite"
        if sqlite:
            # Making a table anew drops the old one, which would delete all that refers to it. Without effect in a
            # transaction, so it has to come before.
            raw = await connection.get_raw_connection()
            cursor = await raw.driver_connection.execute("PRAGMA foreign_keys = OFF")  # type: ignore[union-attr]
            await cursor.close()
        try:
            async with connection.begin():
                if not sqlite:
                    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
                before = await connection.run_sync(_revision)
                await connection.run_sync(_run, direction, revision)
                after = await connection.run_sync(_revision)
                if sqlite and (await connection.exec_driver_sql("PRAGMA foreign_key_check")).first() is not None:
                    raise ConfigError("has rows that refer to missing ones, so it is left as it was", source="database")
        finally:
            # Its pragma must not reach the next user of the connection.
            await connection.invalidate()
    if before != after:
        logger.info("%s: schema %s is now %s", shown(engine.url), before or "(none)", after or "(none)")


def _run(connection: Connection, direction: str, revision: str) -> None:
    from alembic import command
    from alembic.util import CommandError

    source = shown(connection.engine.url)
    if _state(connection) is _State.FOREIGN:
        raise ConfigError(
            "has tables of the same names that are not ours, perhaps MetaMCP's; give the gateway a database of its own",
            source=source,
        )
    config = _config()
    config.attributes["connection"] = connection
    try:
        getattr(command, direction)(config, revision)
    except CommandError as error:
        here = _revision(connection)
        reason = f"has the schema {here}, which this version ({HEAD}) cannot bring to {revision}: {error}"
        raise ConfigError(reason, source=source) from None


def _config() -> "Config":
    from alembic.config import Config

    package = Path(__file__).resolve().parent.parent
    # In a wheel the migrations lie in the package, in a checkout beside it.
    places = (package / "migrations", package.parent / "migrations")
    config = Config()
    config.set_main_option("script_location", str(next(place for place in places if (place / "env.py").is_file())))
    return config


def _state(connection: Connection) -> _State:
    from metamcp_asgi.store.columns import Base

    tables = set(inspect(connection).get_table_names())
    if "alembic_version" in tables:
        return _State.OURS
    return _State.FOREIGN if tables & set(Base.metadata.tables) else _State.EMPTY


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision
