"""Grants in the store: one sealed row for each server and, where each has their own, user.

A new grant is a change like any other, with its entry in the audit. A refreshed token is none: it happens by itself,
every hour or so, and says nothing of anybody.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import update

from metamcp_asgi.bus.protocol import Bus
from metamcp_asgi.config.snapshot import GrantSpec
from metamcp_asgi.grants.alone import PATIENCE, alone
from metamcp_asgi.grants.fetch import GrantError
from metamcp_asgi.grants.kept import Kept
from metamcp_asgi.grants.tokens import Tokens
from metamcp_asgi.store.audit import SYSTEM
from metamcp_asgi.store.errors import StoreError
from metamcp_asgi.store.models import Credential
from metamcp_asgi.store.repository import Store
from metamcp_asgi.store.transaction import Reader, Writer

__all__ = ["StoredLedger", "forget", "keep", "only", "opened", "read", "refreshed"]

logger = logging.getLogger("metamcp.grants")


class StoredLedger:
    """What ``grant.Ledger`` promises, in the store.

    Args:
        store: Gives the open store.
        bus: Keeps processes apart.
        spec: How the grant is used; its key is the id of the server.
        user: The id of the user whose grant it is; ``None`` for everybody's.
    """

    def __init__(self, store: Callable[[], Awaitable[Store]], bus: Bus, spec: GrantSpec, user: str | None) -> None:
        self._store = store
        self._bus = bus
        self._server = uuid.UUID(spec.key)
        # What we ask for in our own name nobody has kept before.
        self._makes = spec.flow == "client_credentials"
        self._user = None if user is None else uuid.UUID(user)
        self._name = _name(self._server, self._user)

    async def read(self) -> Kept:
        """Return what is kept.

        Raises:
            GrantError: The store cannot be read.
        """
        try:
            async with (await self._store()).read() as tx:
                return await read(tx, self._server, self._user)
        except StoreError as error:
            raise _unreadable(error) from error

    async def refreshed(self, kept: Kept) -> None:
        """Keep new tokens.

        Raises:
            GrantError: The store cannot be written.
        """
        try:
            async with (await self._store()).write(SYSTEM) as tx:
                if not await refreshed(tx, self._server, self._user, kept) and self._makes:
                    await keep(tx, self._server, self._user, kept)
        except StoreError as error:
            raise _unreadable(error) from error

    def lock(self) -> AbstractAsyncContextManager[object]:
        """Be the only one, of all processes, to get new tokens."""
        return alone(self._bus, self._name)


@contextlib.asynccontextmanager
async def only(bus: Bus, server: uuid.UUID, user: uuid.UUID | None) -> AsyncIterator[None]:
    """Be the only one, of all processes, to change a grant: who refreshes the one before would write over it.

    Raises:
        GrantError: Somebody else takes too long, or the other processes cannot be reached.
    """
    async with contextlib.AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(PATIENCE):
                await stack.enter_async_context(alone(bus, _name(server, user)))
        except TimeoutError:
            raise GrantError("is being authorized by somebody else at this moment; try again") from None
        yield


def _name(server: uuid.UUID, user: uuid.UUID | None) -> str:
    return f"grant:{server}:{user or ''}"


async def read(tx: Reader, server: uuid.UUID, user: uuid.UUID | None) -> Kept:
    """Return what is kept for a server and a user, or for the server and everybody."""
    row = await tx.find(Credential, server_id=server, user_id=user)
    return Kept() if row is None else opened(tx.credential(row))


async def keep(tx: Writer, server: uuid.UUID, user: uuid.UUID | None, kept: Kept) -> None:
    """Keep a new grant in place of the one before."""
    row = await tx.find(Credential, server_id=server, user_id=user)
    if row is None:
        row = await tx.add(Credential(server_id=server, user_id=user))
    tx.set_credential(row, msgspec.to_builtins(kept))
    row.expires_at = _expiry(kept)
    await tx.flush()


async def refreshed(tx: Writer, server: uuid.UUID, user: uuid.UUID | None, kept: Kept) -> bool:
    """Keep new tokens of a grant that is there; return whether it is."""
    row = await tx.find(Credential, server_id=server, user_id=user)
    if row is None:
        return False
    sealed = tx.seal_credential(row, msgspec.to_builtins(kept))
    values = {"sealed": sealed, "expires_at": _expiry(kept), "version": row.version + 1}
    await tx.session.execute(
        update(Credential).where(Credential.id == row.id).values(**values).execution_options(synchronize_session=False)
    )
    return True


async def forget(tx: Writer, server: uuid.UUID, user: uuid.UUID | None) -> bool:
    """Remove a grant; returns whether there was one."""
    row = await tx.find(Credential, server_id=server, user_id=user)
    if row is None:
        return False
    await tx.delete(row)
    return True


def opened(value: dict[str, Any]) -> Kept:
    """Return the grant that a row's sealed part holds."""
    if "client_information" in value:
        return _of_metamcp(value)
    return msgspec.convert(value, Kept)


def _expiry(kept: Kept) -> datetime | None:
    seconds = kept.tokens.expires if kept.tokens is not None else None
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _of_metamcp(value: dict[str, Any]) -> Kept:
    """Return what was imported from MetaMCP, which kept no issuer, expiry or token endpoint.

    A registration without its issuer is good nowhere (AU-25), and a refresh token without its client neither; so only
    the access token can be used, for as long as it lasts.
    """
    tokens = value.get("tokens")
    access = tokens.get("access_token") if isinstance(tokens, dict) else None
    url = value.get("url")
    if not isinstance(url, str):
        return Kept()
    return Kept(url=url, tokens=Tokens(access)) if isinstance(access, str) and access else Kept()


def _unreadable(error: StoreError) -> GrantError:
    logger.warning("Tokens cannot be read or written: %s", error)
    return GrantError("cannot be authorized now: the gateway's database is out of reach")
