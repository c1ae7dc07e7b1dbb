"""The store as a source of snapshots, for a gateway that serves what is in it.

Knows when the compiled configuration is outdated: another revision, or a key that expires. What to do then is the
gateway's.
"""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy.exc import DBAPIError

from metamcp_asgi.config.snapshot import Snapshot
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.store.columns import now
from metamcp_asgi.store.errors import StoreError
from metamcp_asgi.store.load import Loader
from metamcp_asgi.store.repository import Store, ring
from metamcp_asgi.store.transaction import Check
from metamcp_asgi.store.uses import Uses
from metamcp_asgi.store.watch import revisions

__all__ = ["StoreSource"]

logger = logging.getLogger("metamcp.store")

RETRY: Final = 5.0
"""Seconds after which a revision that could not be compiled is tried again."""


class StoreSource:
    """Compiles the store, and tells when that should be done again.

    Args:
        url: The database, as in ``Store.open``.
        environ: The environment, as there.
        secret_keys: What seals secrets, as there.
        transform_localhost: Whether server URLs on ``localhost`` mean the machine that runs our container.
        check: What judges middlewares that are written, as there.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        secret_keys: Sequence[bytes] = (),
        transform_localhost: bool = False,
        check: Check | None = None,
    ) -> None:
        self.name = ""
        self.secret_keys: tuple[bytes, ...] = ()
        self._url = url
        self._environ = environ
        self._secret_keys = tuple(secret_keys)
        self._check = check
        self._store: Store | None = None
        self._opening = asyncio.Lock()
        self._reloading = asyncio.Lock()
        self._loader = Loader(transform_localhost=transform_localhost)
        self._expiry: datetime | None = None
        self._uses = Uses()

    @property
    def used(self) -> Callable[[bytes], object]:
        """What is told the digest of each key that is used."""
        return self._uses.note

    def on_grants(self, told: Callable[[], object]) -> None:
        """Have a function called when a grant at a server may have come or gone."""
        self._loader.granted = told

    def load(self) -> Snapshot:
        """Return the first snapshot, whether or not an event loop runs here; the database is closed again.

        Raises:
            ConfigError: The database cannot be used.
        """
        outcome: list[Snapshot | BaseException] = []

        async def load() -> None:
            try:
                outcome.append(await self.reload())
            finally:
                await self.aclose()

        def run() -> None:
            try:
                asyncio.run(load())
            except BaseException as error:
                outcome.append(error)

        # Connections belong to the loop that opened them, so this one gets a thread and a loop to itself.
        thread = threading.Thread(target=run, name="load the store")
        thread.start()
        thread.join()
        if isinstance(outcome[-1], BaseException):
            raise outcome[-1]
        return outcome[-1]

    async def reload(self) -> Snapshot:
        """Return the present snapshot, of which only what has changed is read.

        Raises:
            ConfigError: The database cannot be used, or a secret in it cannot be opened.
        """
        store = await self.opened()
        # Who has written something reloads, too: one at a time, or a state that is half read would be compiled, and an
        # older one could come after a newer one.
        async with self._reloading:
            try:
                async with store.read() as tx:
                    await self._loader.refresh(tx)
            except StoreError as error:
                raise ConfigError(str(error), source=self.name) from error
            snapshot, self._expiry = self._loader.compiler.compile(now())
            return snapshot

    async def changes(self) -> AsyncGenerator[None, None]:
        """Yield whenever ``reload`` has something else to tell."""
        while True:
            try:
                store = await self.opened()
                break
            except ConfigError as error:
                logger.warning("The database is out of reach, what is served stays as it is: %s", error)
                await asyncio.sleep(RETRY)
        numbers = revisions(store.engine)
        async with contextlib.aclosing(numbers):
            # A few times a second.
            async for number in numbers:
                if self._uses.due():
                    await self._touch(store)
                if number != self._loader.revision or (self._expiry is not None and self._expiry <= now()):
                    yield
                    if self._loader.revision is None or self._loader.revision < number:
                        await asyncio.sleep(RETRY)

    async def check(self) -> None:
        """See that the database answers.

        Raises:
            ConfigError: It cannot be opened.
            StoreError: It does not answer.
        """
        await (await self.opened()).revision()

    async def aclose(self) -> None:
        """Write down what is left to be, and close the database."""
        store, self._store = self._store, None
        if store is not None:
            try:
                await self._touch(store)
            finally:
                await store.aclose()

    async def _touch(self, store: Store) -> None:
        """Write down which keys were used; no reason to stop serving when that cannot be."""
        used = self._uses.take()
        try:
            await store.touch(used)
        except asyncio.CancelledError:
            self._uses.put_back(used)  # for ``aclose``
            raise
        except (StoreError, DBAPIError) as error:
            self._uses.put_back(used)
            logger.warning("When keys were last used is not written down yet: %s", error)

    async def opened(self) -> Store:
        """Return the store, which is open until ``aclose``.

        Raises:
            ConfigError: The database cannot be used.
        """
        async with self._opening:
            if self._store is None:
                keys = self._secret_keys
                store = await Store.open(self._url, environ=self._environ, secret_keys=keys, check=self._check)
                self._store, self.name = store, store.name
                self.secret_keys = ring(store.key_file, self._secret_keys)
            return self._store
