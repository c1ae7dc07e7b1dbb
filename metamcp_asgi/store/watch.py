"""Learns of new revisions: PostgreSQL tells them, SQLite is asked for them a few times a second.

Knows one number, and not what it means.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Any, Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from metamcp_asgi.store.engine import is_sqlite

__all__ = ["CHANNEL", "revisions"]

logger = logging.getLogger("metamcp.store")

CHANNEL: Final = "metamcp_revision"
"""PostgreSQL's channel on which a commit tells its revision."""

POLL: Final = 0.25
"""Seconds between two looks at an SQLite database; one costs some 50 microseconds."""

LISTEN: Final = 1.0
"""Seconds after which PostgreSQL is asked even so: a proxy in front of it may swallow notifications."""

RECONNECT: Final = 2.0

_QUERY: Final = "SELECT number FROM revision"


async def revisions(engine: AsyncEngine) -> AsyncGenerator[int, None]:
    """Iterate over the present revision: at once, as soon as it has changed, and now and then.

    A database that is out of reach is reported once and asked again until it is back.
    """
    lost = False
    broken = (DBAPIError, OSError, _driver_error(engine))
    while True:
        numbers = _polled(engine) if is_sqlite(engine.url) else _listened(engine)
        try:
            async with contextlib.aclosing(numbers):
                async for number in numbers:
                    if lost:
                        logger.info("The database is back")
                        lost = False
                    yield number
        except broken as error:
            if not lost:
                logger.warning("The database is out of reach, what is served stays as it is: %s", _first_line(error))
            lost = True
            await asyncio.sleep(RECONNECT)


async def _polled(engine: AsyncEngine) -> AsyncGenerator[int, None]:
    async with engine.connect() as connection:
        # Without SQLAlchemy's transactions, which would show one state for ever.
        driver: Any = (await connection.get_raw_connection()).driver_connection
        while True:
            async with driver.execute(_QUERY) as cursor:
                (number,) = await cursor.fetchone()
            yield number
            await asyncio.sleep(POLL)


async def _listened(engine: AsyncEngine) -> AsyncGenerator[int, None]:
    from psycopg import AsyncConnection

    address = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    async with await AsyncConnection.connect(address, autocommit=True, connect_timeout=10) as connection:
        await connection.execute(f"LISTEN {CHANNEL}".encode())
        while True:
            row = await (await connection.execute(_QUERY.encode())).fetchone()
            yield row[0] if row is not None else 0
            async for _ in connection.notifies(timeout=LISTEN, stop_after=1):
                pass


def _driver_error(engine: AsyncEngine) -> type[Exception]:
    driver: Any = engine.dialect.dbapi
    error: type[Exception] = driver.Error
    return error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
