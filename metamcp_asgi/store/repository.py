"""The store: a database that is open, and its transactions.

A write is one transaction with all that belongs to it: the rows, who changed them, and the next revision, of which
every process learns. Writers come one after the other, so a check made inside a write still holds at its end.
"""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Table, bindparam, delete, event, or_, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.orm.exc import StaleDataError

from metamcp_asgi.config.snapshot import Namespace
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.store import schema
from metamcp_asgi.store.audit import KINDS, SYSTEM, Actor, Recorder
from metamcp_asgi.store.columns import Base, UTCDateTime
from metamcp_asgi.store.engine import connect, database_url, is_sqlite, shown, writing
from metamcp_asgi.store.errors import Busy, Conflict, Dangling, Duplicate, Full, StoreError
from metamcp_asgi.store.keys import KeyFile
from metamcp_asgi.store.models import ApiKey, Change, Revision
from metamcp_asgi.store.secrets import Vault
from metamcp_asgi.store.transaction import Check, Reader, Writer
from metamcp_asgi.store.watch import CHANNEL

__all__ = ["SYSTEM", "Actor", "Store", "out_of_reach", "ring"]

_KEPT_CHANGES: Final = 1000
_KIND_OF_TABLE: Final = {row.__tablename__: kind for row, kind in KINDS.items()}  # type: ignore[attr-defined]


class Store:
    """An open database; made by ``Store.open``.

    Args:
        engine: The database, whose schema is ours.
        vault: Seals and opens its secrets.
        key_file: The file of the vault's keys, where there is one.
        check: Refuses a namespace whose middlewares are unknown or wrong; see ``Reader``.
    """

    def __init__(
        self, engine: AsyncEngine, vault: Vault, key_file: KeyFile | None = None, check: Check | None = None
    ) -> None:
        self.engine = engine
        self.vault = vault
        self.key_file = key_file
        self._check: Check = check or _anything
        self._reading = async_sessionmaker(engine, expire_on_commit=False)
        self._writing = async_sessionmaker(writing(engine), expire_on_commit=False)
        # SQLite has writers of other processes ask again and again, in no order; those of this one stand in line.
        self._turn = asyncio.Lock()

    @classmethod
    async def open(
        cls,
        url: str | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        secret_keys: Sequence[bytes] = (),
        check: Check | None = None,
    ) -> "Store":
        """Return the store; an SQLite database is made or upgraded first.

        Args:
            url: The database; ``None``: the one that the environment names, else SQLite in the user's data folder.
            environ: The environment.
            secret_keys: What seals secrets, newest first. For SQLite the key file beside it comes after these.
            check: Refuses a namespace whose middlewares are unknown or wrong:
                ``aggregate.middleware.registry.instances``. Without it, any are written.

        Raises:
            ConfigError: The database cannot be used, or there is no key.
        """
        found = database_url(environ, url)
        engine = connect(found)
        try:
            key_file = KeyFile(Path(str(found.database)).with_suffix(".keys")) if is_sqlite(found) else None
            vault = Vault(lambda: ring(key_file, secret_keys))
            with out_of_reach(engine):
                await schema.prepare(engine)
        except BaseException:
            await engine.dispose()
            raise
        return cls(engine, vault, key_file, check)

    @property
    def name(self) -> str:
        """What people call the database; without its password."""
        return shown(self.engine.url)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.engine.dispose()

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[Reader]:
        """Read, in one transaction that sees one state throughout.

        Raises:
            Busy: The database is out of reach.
        """
        with _told():
            async with self._reading() as session:
                yield Reader(session, self.vault, self._check)

    @contextlib.asynccontextmanager
    async def write(self, actor: Actor) -> AsyncIterator[Writer]:
        """Read and change, in one transaction that is committed at the end and undone by an exception.

        Args:
            actor: Who does it, for the audit.

        Raises:
            Conflict: Somebody else changed a row since it was read.
            Duplicate: A name, or what else must be unique, is taken.
            Dangling: A row refers to one that does not exist.
            Busy: Another writer takes too long, or the database is out of reach.
            Full: There is no room on its disk.
        """
        with _told():
            async with self._turn, self._writing.begin() as session:
                recorder = Recorder(actor)
                event.listen(session.sync_session, "before_flush", recorder.before_flush)
                # Waits here for the writer before, not half-way through, where two could wait for each other.
                revision = (await session.scalars(select(Revision).with_for_update())).one()
                yield Writer(session, self.vault, self._check, recorder)
                await session.flush()
                session.add_all(recorder.entries())
                if changes := recorder.changes():
                    revision.number += 1
                    session.add_all(Change(revision=revision.number, kind=k, object_id=i) for k, i in changes)
                    await session.execute(delete(Change).where(Change.revision <= revision.number - _KEPT_CHANGES))
                    if not is_sqlite(self.engine.url):
                        number = str(revision.number)
                        await session.execute(text("SELECT pg_notify(:channel, :n)"), {"channel": CHANNEL, "n": number})

    async def revision(self) -> int:
        """Return the number of the last change of what is served."""
        async with self.read() as tx:
            return (await tx.session.scalars(select(Revision.number))).one()

    async def touch(self, used: Mapping[bytes, datetime]) -> None:
        """Write down when API keys were last used, which is no change: no revision, no version, no audit entry.

        Processes that tell of the same key at the same time do not put it back, whichever is last.

        Args:
            used: The time by the key's digest; a key that is gone is passed over.

        Raises:
            Busy: Another writer takes too long, or the database is out of reach.
        """
        if not used:
            return
        keys, at = ApiKey.__table__, bindparam("at", type_=UTCDateTime)
        assert isinstance(keys, Table)
        noted = (
            keys.update()
            .where(or_(keys.c.digest == bindparam("key"), keys.c.previous_digest == bindparam("key")))
            .where(or_(keys.c.last_used_at.is_(None), keys.c.last_used_at < at))
            .values(last_used_at=at, updated_at=keys.c.updated_at)
        )
        with _told():
            async with self._turn, self._writing.begin() as session:
                # In line with the writers, who hold rows of keys, too, in an order of their own.
                await session.execute(select(Revision.number).with_for_update())
                await (await session.connection()).execute(noted, [{"key": k, "at": at} for k, at in used.items()])

    async def rotate(self, actor: Actor) -> int:
        """Seal all secrets with a new key, made beside an SQLite database, else the first of METAMCP_SECRET_KEYS.

        Args:
            actor: Who does it.

        Returns:
            How many values were sealed anew.

        Raises:
            SecretsError: A value cannot be opened; nothing is changed then.
        """
        if self.key_file is not None and self.key_file.path.exists():
            self.key_file.prepend()
        self.vault.reload()
        async with self.write(actor) as tx:
            return await tx.rotate()


def ring(key_file: KeyFile | None, secret_keys: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the keys that seal secrets, newest first.

    Args:
        key_file: The file beside an SQLite database, which is made when there is no key at all.
        secret_keys: Those of the environment.

    Raises:
        ConfigError: There is none.
    """
    if key_file is None:
        if not secret_keys:
            raise ConfigError(
                "must be set, so that secrets can be sealed in PostgreSQL; make one with: openssl rand -hex 32",
                path="METAMCP_SECRET_KEYS",
            )
        return tuple(secret_keys)
    if not secret_keys:
        key_file.ensure()
    return (*secret_keys, *key_file.read())


def _anything(namespace: Namespace) -> None:
    """Let every namespace pass."""


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn the errors of the database into ours; none of their messages, which quote values, goes further."""
    try:
        yield
    except StaleDataError as error:
        found = re.search(r"on table '(\w+)'", str(error))
        raise Conflict(_KIND_OF_TABLE.get(found[1] if found else "", "row")) from None
    except IntegrityError as error:
        raise _violation(error) from None
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        if _is_full(error):
            raise Full(f"there is no room for the database: {_first_line(error)}") from error
        raise Busy(f"the database cannot be used now: {_first_line(error)}") from error


@contextlib.contextmanager
def out_of_reach(engine: AsyncEngine) -> Iterator[None]:
    """Turn the errors of a database into one that names it, for an operator."""
    try:
        yield
    except (DBAPIError, OSError) as error:
        raise ConfigError(f"cannot be used: {_first_line(error)}", source=shown(engine.url)) from error


def _is_full(error: Exception) -> bool:
    origin = getattr(error, "orig", None)
    # SQLite's name of the error, and PostgreSQL's code of it (disk_full).
    return getattr(origin, "sqlite_errorname", "") == "SQLITE_FULL" or getattr(origin, "sqlstate", "") == "53100"


def _first_line(error: Exception) -> str:
    origin = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return (str(origin) or type(origin).__name__).splitlines()[0]


def _violation(error: IntegrityError) -> StoreError:
    diagnosis: Any = getattr(error.orig, "diag", None)
    if diagnosis is None:  # SQLite, which names the columns, or nothing
        found = re.search(r"UNIQUE constraint failed: (\w+)\.(?:.*\.)?(\w+)$", str(error.orig))
        return Duplicate(_KIND_OF_TABLE.get(found[1], found[1]), found[2]) if found else Dangling("row")
    table = str(diagnosis.table_name)
    kind = _KIND_OF_TABLE.get(table, table)
    if diagnosis.sqlstate == "23503":
        return Dangling(kind)
    # Its last column ends a constraint's name; the longest wins, as ``server_id`` over ``id``.
    fitting = [c.name for c in Base.metadata.tables[table].columns if diagnosis.constraint_name.endswith(f"_{c.name}")]
    return Duplicate(kind, max(fitting, key=len, default="value"))
