"""Rows compiled to a ``Snapshot``, the same as a file compiles to, and only as much anew as a change asks for.

Public things are known by their name, private ones by ``name@owner``, because two owners may use one name. A key opens
the public endpoints and its owner's private ones (dossier 1.3), or of these the ones that it is restricted to; all keys
of one owner share one set. Knows nothing of where rows come from (``load.py``), nor when.
"""

import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from metamcp_asgi.config.snapshot import (
    Endpoint,
    Key,
    MiddlewareSpec,
    Namespace,
    PrefixRule,
    Principal,
    Server,
    Snapshot,
    ToolOverride,
    known_as,
)

__all__ = ["ClientRow", "Compiler", "EndpointRow", "KeyRow", "NamespaceRow", "ServerRow", "named", "unnamed"]

logger = logging.getLogger("metamcp.store")


class ServerRow(Struct, frozen=True, kw_only=True):
    """A server as it is configured, under the name by which the snapshot knows it."""

    known_as: str
    owner: uuid.UUID | None
    config: Server


class NamespaceRow(Struct, frozen=True, kw_only=True):
    """A namespace with its active members, in their order, and what it changes about tools of any server."""

    known_as: str
    name: str
    description: str
    prefix: PrefixRule
    middlewares: tuple[MiddlewareSpec, ...]
    members: tuple[uuid.UUID, ...]
    tools: Mapping[tuple[uuid.UUID, str], ToolOverride]


class EndpointRow(Struct, frozen=True, kw_only=True):
    """An endpoint whose namespace is still an id."""

    owner: uuid.UUID | None
    namespace: uuid.UUID
    config: Endpoint


class KeyRow(Struct, frozen=True, kw_only=True):
    """A key; ``endpoints`` are the ids that it is restricted to, ``previous`` the text before, until its end."""

    owner: uuid.UUID | None
    digest: bytes
    principal: Principal
    endpoints: frozenset[uuid.UUID] | None
    expires_at: datetime | None
    previous: tuple[bytes, Principal, datetime] | None = None


class ClientRow(Struct, frozen=True, kw_only=True):
    """A client that acts for its owner by itself."""

    client_id: str
    owner: uuid.UUID


class Compiler:
    """The rows of a store as they are now, and what they compile to; rows are put into its tables and taken out."""

    def __init__(self) -> None:
        self.users: set[uuid.UUID] = set()
        self.disabled: set[uuid.UUID] = set()
        self.admins: set[uuid.UUID] = set()
        self.servers: dict[uuid.UUID, ServerRow] = {}
        self.namespaces: dict[uuid.UUID, NamespaceRow] = {}
        self.endpoints: dict[uuid.UUID, EndpointRow] = {}
        self.keys: dict[uuid.UUID, KeyRow] = {}
        self.clients: dict[uuid.UUID, ClientRow] = {}
        self.revoked: frozenset[str] = frozenset()
        # What was compiled last, with what it was compiled from: the same rows give the same object.
        self._namespaces: dict[uuid.UUID, tuple[NamespaceRow, list[ServerRow], Namespace]] = {}
        self._endpoints: dict[uuid.UUID, tuple[EndpointRow, str, Endpoint]] = {}
        self._opened: dict[uuid.UUID | None, frozenset[str]] = {}
        self._keys: dict[uuid.UUID, tuple[KeyRow, Key]] = {}

    def compile(self, now: datetime) -> tuple[Snapshot, datetime | None]:
        """Return what is to be served, and when that ends because a key expires.

        Args:
            now: The present time.
        """
        namespaces = {identity: self._namespace(identity, row) for identity, row in self.namespaces.items()}
        endpoints = {
            identity: self._endpoint(identity, row)
            for identity, row in self.endpoints.items()
            # A namespace takes its endpoints with it when it is deleted.
            if row.namespace in self.namespaces
        }
        opened = self._open(endpoints)
        keys: dict[bytes, Key] = {}
        expiry: datetime | None = None
        for identity, key in self.keys.items():
            if key.owner in self.disabled:
                continue
            if key.expires_at is not None:
                if key.expires_at <= now:
                    continue
                expiry = key.expires_at if expiry is None else min(expiry, key.expires_at)
            keys[key.digest] = made = self._key(identity, key, opened, endpoints)
            if key.previous is not None and key.previous[2] > now:
                digest, principal, until = key.previous
                # The same id, so that sessions outlast the rotation; never in the place of a key of today.
                keys.setdefault(digest, replace(made, digest=digest, principal=principal))
                expiry = until if expiry is None else min(expiry, until)
        snapshot = Snapshot(
            servers={
                row.known_as: self._server(row) for row in sorted(self.servers.values(), key=lambda row: row.known_as)
            },
            namespaces=dict(sorted((self.namespaces[identity].known_as, n) for identity, n in namespaces.items())),
            endpoints=dict(sorted((endpoint.name, endpoint) for endpoint in endpoints.values())),
            keys=keys,
            people=self._people(opened),
            admins=frozenset(f"user:{user}" for user in self.admins - self.disabled),
            revoked=self.revoked,
        )
        return snapshot, expiry

    def _server(self, row: ServerRow) -> Server:
        """Return a server, whose URL is not trusted when it is a member's; public ones are made by admins only."""
        if row.owner is None or row.owner in self.admins or not row.config.url:
            return row.config
        return replace(row.config, guarded=True)

    def _people(self, opened: Mapping[uuid.UUID | None, frozenset[str]]) -> dict[str, frozenset[str]]:
        """Return what those open who come with an access token: the users, and clients in their owners' place."""
        users = {user: opened.get(user, opened[None]) for user in self.users - self.disabled}
        people = {f"user:{user}": names for user, names in users.items()}
        acting = (client for client in self.clients.values() if client.owner in users)
        people.update((f"client:{client.client_id}", users[client.owner]) for client in acting)
        return people

    def _namespace(self, identity: uuid.UUID, row: NamespaceRow) -> Namespace:
        members = [self.servers[member] for member in row.members if member in self.servers]
        known = self._namespaces.get(identity)
        if known is not None and known[0] is row and _same(known[1], members):
            return known[2]
        servers: dict[str, str] = {}  # what the snapshot knows them as, by the name that their tools have in front
        for member in members:
            if servers.setdefault(member.config.name, member.known_as) != member.known_as:
                reason = "is left out, because another one there has its name"
                logger.warning("namespace %s: server %s %s", row.known_as, member.known_as, reason)
        present = set(servers.values())
        names = {
            member: self.servers[member].config.name
            for member in row.members
            if member in self.servers and self.servers[member].known_as in present
        }
        tools = {(names[server], tool): each for (server, tool), each in row.tools.items() if server in names}
        namespace = Namespace(
            name=row.name,
            servers=tuple(servers.values()),
            description=row.description,
            prefix=row.prefix,
            tools=tools,
            middlewares=row.middlewares,
        )
        self._namespaces[identity] = (row, members, namespace)
        return namespace

    def _endpoint(self, identity: uuid.UUID, row: EndpointRow) -> Endpoint:
        namespace = self.namespaces[row.namespace].known_as
        known = self._endpoints.get(identity)
        if known is not None and known[0] is row and known[1] == namespace:
            return known[2]
        endpoint = replace(row.config, namespace=namespace)
        self._endpoints[identity] = (row, namespace, endpoint)
        return endpoint

    def _open(self, endpoints: Iterable[uuid.UUID]) -> dict[uuid.UUID | None, frozenset[str]]:
        """Return the names that each owner's keys open; a set that stayed as it was is the same object."""
        own: dict[uuid.UUID | None, set[str]] = {None: set()}
        for identity in endpoints:
            row = self.endpoints[identity]
            own.setdefault(row.owner, set()).add(row.config.name)
        opened: dict[uuid.UUID | None, frozenset[str]] = {}
        for owner, names in own.items():
            now, before = frozenset(names | own[None]), self._opened.get(owner)
            opened[owner] = before if before == now else now
        self._opened = opened
        return opened

    def _key(
        self,
        identity: uuid.UUID,
        row: KeyRow,
        opened: Mapping[uuid.UUID | None, frozenset[str]],
        endpoints: Mapping[uuid.UUID, Endpoint],
    ) -> Key:
        names = opened.get(row.owner, opened[None])
        if row.endpoints is not None:
            names &= {endpoints[endpoint].name for endpoint in row.endpoints if endpoint in endpoints}
        known = self._keys.get(identity)
        if known is not None and known[0] is row and (known[1].endpoints is names or known[1].endpoints == names):
            return known[1]
        key = Key(digest=row.digest, principal=row.principal, endpoints=names)
        self._keys[identity] = (row, key)
        return key


def _same(before: Sequence[ServerRow], now: Sequence[ServerRow]) -> bool:
    return len(before) == len(now) and all(a is b for a, b in zip(before, now, strict=True))


def named(name: str, owner: uuid.UUID | None) -> str:
    """Return the name by which a snapshot knows a thing."""
    return known_as(name, "" if owner is None else str(owner))


def unnamed(known_as: str) -> tuple[str, uuid.UUID | None]:
    """Return the name and the owner of what a snapshot of rows knows by a name."""
    name, _, owner = known_as.partition("@")
    return name, uuid.UUID(owner) if owner else None
