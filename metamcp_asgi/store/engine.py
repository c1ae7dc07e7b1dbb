"""Which database, and how to talk to it: SQLite in the user's data folder, or PostgreSQL.

Every transaction begins explicitly: a reader sees one state throughout, and writers come one after the other, so that
neither database can find two of them in each other's way. Knows nothing of tables.
"""

import asyncio
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from metamcp_asgi.errors import ConfigError

__all__ = ["BUSY_SECONDS", "connect", "data_folder", "database_url", "is_sqlite", "shown", "writing"]

BUSY_SECONDS: Final = 10
"""How long a change waits for another one to end."""

_AGAIN_SECONDS: Final = 0.02

_SOURCE: Final = "DATABASE_URL"


def data_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the user's folder for our data, after the XDG Base Directory specification; it need not exist."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "metamcp"
    base = environ.get("XDG_DATA_HOME", "")
    # The specification has relative paths ignored.
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "share") / "metamcp"


def database_url(environ: Mapping[str, str], given: str | None = None) -> URL:
    """Return the database that is meant.

    Args:
        environ: ``DATABASE_URL``, else MetaMCP's ``POSTGRES_HOST``, ``_PORT``, ``_USER``, ``_PASSWORD`` and ``_DB``,
            else SQLite in the data folder. ``POSTGRES_CA_CERT``, as a PEM text or a path, has the server verified.
        given: A URL that wins over all of these.

    Raises:
        ConfigError: The URL is no URL or of another kind of database; the message has no password.
    """
    text = given or environ.get(_SOURCE, "").strip()
    if not text and environ.get("POSTGRES_HOST", "").strip():
        url = URL.create(
            "postgresql",
            username=environ.get("POSTGRES_USER") or "metamcp_user",
            password=environ.get("POSTGRES_PASSWORD") or "m3t4mcp",
            host=environ["POSTGRES_HOST"].strip(),
            port=_port(environ.get("POSTGRES_PORT", "").strip()),
            database=environ.get("POSTGRES_DB") or "metamcp_db",
        )
    elif not text:
        return URL.create("sqlite+aiosqlite", database=str(data_folder(environ) / "metamcp.db"))
    else:
        try:
            url = make_url(text)
        except (ArgumentError, ValueError):
            raise ConfigError(f"is not a URL of a database; write {_FORMS}", path=_SOURCE) from None
    kind = url.drivername.partition("+")[0]
    if kind == "sqlite" and url.database and ":memory:" not in url.database and not url.query:
        return url.set(drivername="sqlite+aiosqlite", database=str(Path(url.database).absolute()))
    if kind not in ("postgres", "postgresql"):
        raise ConfigError(f"is a database of a kind that is not supported; write {_FORMS}", path=_SOURCE)
    if certificate := environ.get("POSTGRES_CA_CERT", "").strip():
        url = url.update_query_dict({"sslmode": "verify-full", "sslrootcert": _certificate_file(certificate)})
    return url.set(drivername="postgresql+psycopg")


_FORMS: Final = '"sqlite:////folder/metamcp.db" or "postgresql://user:password@host:5432/name"'


def is_sqlite(url: URL) -> bool:
    """Tell whether a database is a file of ours."""
    return url.get_backend_name() == "sqlite"


def shown(url: URL) -> str:
    """Return the URL for people to read, without its password."""
    return str(url.database) if is_sqlite(url) else url.set(drivername="postgresql", query={}).render_as_string()


def connect(url: URL) -> AsyncEngine:
    """Return an engine, which connects when it is first used.

    An SQLite database and its folder are made, readable by nobody else.

    Args:
        url: From ``database_url``.

    Raises:
        ConfigError: The folder cannot be made, or the driver is not installed.
    """
    if is_sqlite(url):
        _make_private(Path(str(url.database)))
        engine = create_async_engine(url, connect_args={"timeout": BUSY_SECONDS}, pool_size=4)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    options = f"-c timezone=UTC -c lock_timeout={BUSY_SECONDS}s -c idle_in_transaction_session_timeout=5min"
    try:
        return create_async_engine(
            url,
            connect_args={"options": options, "connect_timeout": BUSY_SECONDS, "application_name": "metamcp-asgi"},
            isolation_level="REPEATABLE READ",
            pool_size=4,
            pool_pre_ping=True,
        )
    except ImportError as error:
        raise ConfigError(
            f'needs the driver for PostgreSQL ({error.name}): pip install "metamcp-asgi[postgres]"', path=_SOURCE
        ) from None


def writing(engine: AsyncEngine) -> AsyncEngine:
    """Return the engine for transactions that write."""
    if engine.dialect.name == "sqlite":
        # A transaction that turns from reading to writing half-way fails when another one wrote in between.
        return engine.execution_options(metamcp_begin="BEGIN IMMEDIATE")
    return engine.execution_options(isolation_level="READ COMMITTED")


def _prepare_sqlite(connection: Any, record: object) -> None:
    # The driver begins transactions in its own way, and not at all for DDL; ``_begin_sqlite`` does it instead.
    connection.isolation_level = None
    connection.run_async(_log_ahead)
    cursor = connection.cursor()
    for pragma in ("synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


async def _log_ahead(connection: Any) -> None:
    """Turn on write-ahead logging, for which SQLite, unlike for anything else, does not wait until the file is free."""
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            await connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            await asyncio.sleep(_AGAIN_SECONDS)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("metamcp_begin", "BEGIN"))


def _make_private(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its log and index the mode of the database. A file that is there is left alone: closing it here
        # would end the locks that SQLite holds on it for this process.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if not path.is_file() or not os.access(path, os.R_OK | os.W_OK):
            raise ConfigError("cannot be opened: it is no file that we may write", source=str(path)) from None
    except OSError as error:
        raise ConfigError(f"cannot be opened: {error.strerror}", source=str(path)) from None


def _port(text: str) -> int:
    if not text:
        return 5432
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ConfigError("must be a port from 1 to 65535", path="POSTGRES_PORT")
    return int(text)


def _certificate_file(certificate: str) -> str:
    """Return the path of a certificate; libpq takes no other form, and MetaMCP's variable has the text itself."""
    if "-----BEGIN" not in certificate:
        return certificate
    handle, name = tempfile.mkstemp(prefix="metamcp-ca-", suffix=".pem")
    with os.fdopen(handle, "w", encoding="ascii") as file:
        # In a line of an .env file the breaks are often written as \n.
        file.write(certificate.replace("\\n", "\n") + "\n")
    return name
