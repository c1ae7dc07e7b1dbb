"""One transaction on the store: a ``Reader`` sees one state throughout, a ``Writer`` changes it, all or nothing.

Rows are read as they are and changed by assignment; that a row is still the one that was read is checked when it is
written. Knows secrets only through the vault. Knows nothing of connections, and not who may do what.
"""

import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from msgspec.structs import replace
from sqlalchemy import ColumnElement, UnaryExpression, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from metamcp_asgi.config.sensitive import masked_args, masked_url
from metamcp_asgi.config.snapshot import Namespace
from metamcp_asgi.store.audit import Recorder, kind_of
from metamcp_asgi.store.columns import Base, Kept
from metamcp_asgi.store.consequences import gone_with
from metamcp_asgi.store.errors import Conflict, NotFound
from metamcp_asgi.store.models import Credential, Membership, Server
from metamcp_asgi.store.oauth_models import SigningKey
from metamcp_asgi.store.secrets import Context, ServerSecrets, Vault

__all__ = ["Check", "Reader", "Writer", "place_of"]

Row = TypeVar("Row", bound=Base)
Check: TypeAlias = Callable[[Namespace], object]
"""Is given the compiled form of a namespace. Which middlewares there are is known above the store only."""


class Reader:
    """Reads rows; made by ``Store.read``.

    ``session`` is SQLAlchemy's, for queries that this class does not have; ``vault`` opens the secrets; ``check``
    raises a ``ConfigError`` for a namespace whose middlewares are unknown or wrong, as far as who opened the store
    can tell.
    """

    __slots__ = ("check", "session", "vault")

    def __init__(self, session: AsyncSession, vault: Vault, check: Check) -> None:
        self.session = session
        self.vault = vault
        self.check = check

    async def get(self, kind: type[Row], identity: uuid.UUID | str | int, *, version: int | None = None) -> Row:
        """Return one row.

        Args:
            kind: Its class.
            identity: Its id, or the key of a ``Setting``.
            version: The version that the caller knows, if only that one will do.

        Raises:
            NotFound: There is none.
            Conflict: It has another version.
        """
        row = await self.session.get(kind, identity)
        if row is None:
            raise NotFound(kind_of(kind), identity)
        if version is not None and getattr(row, "version", None) != version:
            raise Conflict(kind_of(kind))
        return row

    async def find(self, kind: type[Row], **values: Any) -> Row | None:
        """Return the row that has these values in its columns, or ``None``; ``None`` as a value means NULL."""
        return (await self.session.scalars(select(kind).filter_by(**values).limit(1))).first()

    async def list(
        self,
        kind: type[Row],
        *where: ColumnElement[bool],
        after: tuple[Any, ...] | None = None,
        limit: int | None = None,
        descending: bool = False,
    ) -> Sequence[Row]:
        """Return rows in a stable order.

        Args:
            kind: Their class.
            where: What they fulfil.
            after: The place (``place_of``) after which to begin.
            limit: How many at most.
            descending: Whether the order is turned round.
        """
        columns: list[Any] = [getattr(kind, name) for name in _order(kind)]
        query = select(kind).where(*where)
        if after is not None:
            here, there = tuple_(*columns), tuple_(*after)
            query = query.where(here < there if descending else here > there)
        ordered: list[UnaryExpression[Any]] = [c.desc() if descending else c.asc() for c in columns]
        return (await self.session.scalars(query.order_by(*ordered).limit(limit))).all()

    def secrets(self, server: Server) -> ServerSecrets:
        """Return the secrets of a server.

        Raises:
            SecretsError: The key that sealed them is not in the ring.
        """
        if server.secrets is None:
            return ServerSecrets()
        opened: ServerSecrets = self.vault.open(server.secrets, _context(server, "secrets"), ServerSecrets)
        return opened

    def credential(self, credential: Credential) -> dict[str, Any]:
        """Return what a credential holds.

        Raises:
            SecretsError: The key that sealed it is not in the ring.
        """
        if credential.sealed is None:
            return {}
        opened: dict[str, Any] = self.vault.open(credential.sealed, _context(credential, "sealed"), dict[str, Any])
        return opened

    def signing_key(self, key: SigningKey) -> bytes:
        """Return the private half of a key, in PKCS #8 (DER).

        Raises:
            SecretsError: The key that sealed it is not in the ring.
        """
        opened: bytes = self.vault.open(key.sealed, Context(key.__tablename__, key.kid, "sealed"), bytes)
        return opened


class Writer(Reader):
    """Changes rows, in a transaction that ends with the block of ``Store.write``."""

    __slots__ = ("_recorder",)

    def __init__(self, session: AsyncSession, vault: Vault, check: Check, recorder: Recorder) -> None:
        super().__init__(session, vault, check)
        self._recorder = recorder

    async def add(self, row: Row, *, secrets: ServerSecrets | None = None) -> Row:
        """Add a row, and return it.

        Args:
            row: The row.
            secrets: Those of a server.

        Raises:
            Duplicate: Another row has its name, or what else must be unique.
            Dangling: It refers to a row that does not exist.
        """
        if secrets is not None and isinstance(row, Server):
            self.set_secrets(row, secrets)
        self.session.add(row)
        await self.flush()
        return row

    async def add_all(self, rows: Sequence[Base]) -> None:
        """Add many rows of one kind at once; raises what ``add`` raises."""
        self.session.add_all(rows)
        await self.flush()

    async def delete(self, row: Base) -> None:
        """Delete a row, and with it what cannot be without it, which is told in the audit entry of the row.

        Raises:
            Conflict: Somebody else changed or deleted it since it was read.
        """
        self._recorder.gone(row, await gone_with(self.session, row))
        await self.session.delete(row)
        await self.flush()

    async def flush(self) -> None:
        """Write what was assigned so far, to have its errors here rather than at the end."""
        await self.session.flush()

    def set_secrets(self, server: Server, secrets: ServerSecrets) -> None:
        """Seal the secrets of a server."""
        server.secrets = self.vault.seal(secrets, _context(server, "secrets")) if secrets else None

    def set_credential(self, credential: Credential, value: dict[str, Any]) -> None:
        """Seal what a credential holds."""
        credential.sealed = self.seal_credential(credential, value)

    def seal_credential(self, credential: Credential, value: dict[str, Any]) -> bytes:
        """Return what a credential will hold, sealed for it."""
        return self.vault.seal(value, _context(credential, "sealed"))

    def set_signing_key(self, key: SigningKey, private: bytes) -> None:
        """Seal the private half of a key."""
        key.sealed = self.vault.seal(private, Context(key.__tablename__, key.kid, "sealed"))

    def note(self, action: str, row: Base, after: dict[str, Any] | None = None) -> None:
        """Put an action that changes no row into the audit.

        Args:
            action: Its name: ``reset``.
            row: What it was done to.
            after: Further facts, without secrets.
        """
        self._recorder.note(action, row, after)

    async def rotate(self) -> int:
        """Seal everything with the newest key that isn't yet, and return how many values that were.

        Secrets in a server's URL and arguments, too, which earlier versions left in their columns.

        Raises:
            SecretsError: A value cannot be opened; nothing is changed then.
        """
        servers = [row for row in await self.list(Server) if self._seal_anew(row)]
        tokens = [row for row in await self.list(Credential) if row.sealed and not self.vault.current(row.sealed)]
        for token in tokens:
            self.set_credential(token, self.credential(token))
        signing = [row for row in await self.list(SigningKey) if not self.vault.current(row.sealed)]
        for key in signing:
            self.set_signing_key(key, self.signing_key(key))
        return len(servers) + len(tokens) + len(signing)

    def _seal_anew(self, server: Server) -> bool:
        known = secrets = self.secrets(server)
        if known.url is None and (url := masked_url(server.url)) != server.url:
            secrets, server.url = replace(secrets, url=server.url), url
        if known.args is None and (args := masked_args(server.args)) != server.args:
            secrets, server.args = replace(secrets, args=tuple(server.args)), args
        if secrets == known and (server.secrets is None or self.vault.current(server.secrets)):
            return False
        self.set_secrets(server, secrets)
        return True


def place_of(row: Base) -> tuple[Any, ...]:
    """Return a row's place in the order of ``Reader.list``."""
    return tuple(getattr(row, name) for name in _order(type(row)))


def _order(kind: type[Base]) -> tuple[str, ...]:
    if not issubclass(kind, Kept):
        return tuple(column.key for column in kind.__table__.primary_key)
    if issubclass(kind, Membership):
        return "position", "id"
    return next(((name, "id") for name in ("email", "tool", "name") if hasattr(kind, name)), ("id",))


def _context(row: Server | Credential, column: str) -> Context:
    return Context(row.__tablename__, str(row.id), column)
