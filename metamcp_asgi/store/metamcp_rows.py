"""What every part of a copy of MetaMCP's database does: puts rows under their old ids, finds names, keeps count.

Knows nothing of MetaMCP's columns, except that its rows have ``uuid`` and ``name``.
"""

import re
import uuid
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeVar

from msgspec import Struct

from metamcp_asgi.config.foreign import server_name
from metamcp_asgi.store.audit import kind_of
from metamcp_asgi.store.limits import LONGEST_NAME
from metamcp_asgi.store.models import (
    ApiKey,
    Credential,
    Endpoint,
    Membership,
    Namespace,
    OAuthClient,
    Server,
    ToolSetting,
    User,
)
from metamcp_asgi.store.secrets import ServerSecrets
from metamcp_asgi.store.transaction import Writer

__all__ = ["Copied", "Copying", "Remark"]

_NUMBER: Final = 6
"""Characters that are left for a number behind a name that is cut."""

Row = TypeVar("Row", User, Server, Namespace, Membership, ToolSetting, Endpoint, ApiKey, Credential, OAuthClient)


class Remark(Struct, frozen=True):
    """What became of one thing.

    Args:
        kind: ``changed``: taken over in another form; ``lost``: not taken over.
        what: Which thing: ``server github``.
        text: What happened, without any secret.
    """

    kind: Literal["changed", "lost"]
    what: str
    text: str


class Copied(Struct):
    """What a copy did.

    Args:
        added: How many rows of each kind are new.
        updated: How many were there and differed.
        present: How many were there and stay as they are.
        remarks: What the operator should know.
    """

    added: dict[str, int]
    updated: dict[str, int]
    present: dict[str, int]
    remarks: list[Remark]


class Copying:
    """One copy into the store.

    Args:
        tx: The transaction.
        update: Whether rows of an earlier copy are made again what MetaMCP has now.

    Attributes:
        copied: What was done so far.
        here: The ids of what is here now, by its class.
    """

    def __init__(self, tx: Writer, *, update: bool) -> None:
        self.tx = tx
        self.update = update
        self.copied = Copied({}, {}, {}, [])
        self.here: dict[type, set[uuid.UUID]] = {Server: set(), Namespace: set(), Endpoint: set()}
        self._names: dict[tuple[type, uuid.UUID | None], set[str]] = {}

    def remark(self, kind: Literal["changed", "lost"], what: str, text: str) -> None:
        """Tell what became of one thing."""
        self.copied.remarks.append(Remark(kind, what, text))

    async def put(self, kind: type[Row], identity: uuid.UUID, columns: dict[str, Any],
                  secrets: ServerSecrets | None = None) -> Row:  # fmt: skip
        """Add a row unless it is there; then bring it up to date if that was asked for."""
        row: Row | None = await self.tx.session.get(kind, identity)
        tally = self.copied.added
        if row is None:
            row = await self.tx.add(kind(id=identity, **columns), secrets=secrets)
        else:
            tally = self.copied.present
            differing = {name: value for name, value in columns.items() if getattr(row, name) != value}
            resealed = isinstance(row, Server) and self.tx.secrets(row) != (secrets or ServerSecrets())
            if self.update and (differing or resealed):
                for name, value in differing.items():
                    setattr(row, name, value)
                if isinstance(row, Server) and resealed:
                    self.tx.set_secrets(row, secrets or ServerSecrets())
                await self.tx.flush()
                tally = self.copied.updated
        tally[kind_of(kind)] = tally.get(kind_of(kind), 0) + 1
        if kind in self.here:
            self.here[kind].add(identity)
        return row

    async def free_name(self, kind: Any, given: Mapping[str, Any], owner: uuid.UUID | None) -> str:
        """Return a good name that nothing else of the owner has; MetaMCP's public names need not be unique."""
        there = await self.tx.session.get(kind, given["uuid"])
        if there is not None:
            return str(there.name)
        taken = self._names.get((kind, owner))
        if taken is None:
            mine = kind.owner_id.is_(None) if owner is None else kind.owner_id == owner
            taken = self._names[kind, owner] = {row.name for row in await self.tx.list(kind, mine)}
        long = len(given["name"]) > LONGEST_NAME
        wanted = given["name"][: LONGEST_NAME - _NUMBER] if long else given["name"]
        if kind is ApiKey:
            name, number = wanted, 1
            while name in taken:
                number += 1
                name = f"{wanted} {number}"
        else:
            # As MetaMCP makes the names of tools: what they can't have is left out.
            name = server_name(re.sub(r"[^a-zA-Z0-9_-]", "", wanted), taken)
        taken.add(name)
        if name != given["name"]:
            self.remark("changed", f"{kind_of(kind)} {given['name']}", f"is now called {name}")
        return str(name)
