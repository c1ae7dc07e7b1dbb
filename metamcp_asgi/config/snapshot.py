"""The compiled configuration: immutable, complete, checked; the only thing the data path reads.

Knows nothing of files, databases or connections. A change of configuration builds a new
``Snapshot`` that replaces the old one as a whole; calls in flight finish on the one they began with.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias

from msgspec import Struct

__all__ = [
    "ANONYMOUS",
    "ClientRateLimit",
    "ClientStrategy",
    "Endpoint",
    "GrantFlow",
    "GrantOwner",
    "GrantSpec",
    "Key",
    "MiddlewareSpec",
    "Namespace",
    "OAuth",
    "Principal",
    "RateLimit",
    "Server",
    "Snapshot",
    "ToolOverride",
    "digest_of",
    "known_as",
]

TransportKind: TypeAlias = Literal["stdio", "sse", "streamable_http"]
EraChoice: TypeAlias = Literal["auto", "modern", "legacy"]
Sharing: TypeAlias = Literal["auto", "shared", "principal", "session", "call"]
GrantOwner: TypeAlias = Literal["server", "user"]
GrantFlow: TypeAlias = Literal["authorization_code", "client_credentials", "none"]
PrefixRule: TypeAlias = Literal["always", "never", "on-collision"]
ClientStrategy: TypeAlias = Literal["ip", "header", "principal"]

DEFAULT_TIMEOUT = 60.0
"""Seconds that a server may stay silent during one request; the default of MetaMCP's ``MCP_TIMEOUT``."""


class GrantSpec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How we get and use OAuth tokens for a server (``GrantedHTTP``).

    ``key`` is under what its grants are kept. ``per`` says whether one serves everybody or each user has their own.
    ``client_id`` and ``client_secret`` are what the operator has registered, ``scopes`` what to ask for; without them,
    we register ourselves, and ask for what the server says. ``private_key`` (a PEM or a JWK) is there instead of a
    secret; ``key_id`` and ``algorithm`` say how it is used where the key itself does not.
    """

    key: str
    per: GrantOwner = "server"
    flow: GrantFlow = "authorization_code"
    client_id: str | None = None
    client_secret: str | None = None
    private_key: str | None = None
    key_id: str | None = None
    algorithm: str | None = None
    scopes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"GrantSpec(key={self.key!r}, per={self.per!r}, flow={self.flow!r}, <hidden>)"


def known_as(name: str, owner: str) -> str:
    """Return the name that nothing else of its kind has: two owners may use one name for things of their own."""
    return f"{name}@{owner}" if owner else name


class Sandbox(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of the machine the process of a server sees besides the system's programs.

    ``read`` and ``write`` are files and folders, ``~`` being the home of the gateway's user.
    """

    network: bool = False
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()


class Server(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One MCP server and how to reach it. Two equal values mean: keep the connection.

    ``env`` holds the configured variables only; what a child inherits is added at spawn.
    ``headers`` already contains ``Authorization`` when a bearer token was configured.
    ``timeout`` is in seconds of silence: progress restarts it. ``guarded`` says that ``url`` is a member's word: it may
    lead to public addresses only, and to what the operator allows besides.
    ``owner`` is who it belongs to, for those who tell somebody of it; empty when that is nobody in particular.
    """

    name: str
    type: TransportKind
    command: str = ""
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    cwd: str | None = None
    url: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    description: str = ""
    era: EraChoice = "auto"
    sharing: Sharing = "auto"
    timeout: float = DEFAULT_TIMEOUT
    disabled: bool = False
    grant: GrantSpec | None = None
    sandbox: Sandbox | None = None
    guarded: bool = False
    owner: str = ""

    @property
    def known_as(self) -> str:
        """The name that no other server has."""
        return known_as(self.name, self.owner)


class ToolOverride(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one namespace changes about one tool; ``None`` leaves the server's own value.

    ``annotations`` is merged key by key over the server's annotations.
    """

    enabled: bool = True
    name: str | None = None
    title: str | None = None
    description: str | None = None
    annotations: Mapping[str, Any] | None = None


class MiddlewareSpec(Struct, frozen=True):
    """One middleware of a namespace: its name, and its options as plain data that its own class reads."""

    name: str
    options: Mapping[str, Any] = {}


class Namespace(Struct, frozen=True, kw_only=True):
    """Servers grouped, in the order in which their tools are listed.

    ``tools`` is keyed by ``(server, tool)`` in the server's own names. The first of ``middlewares`` is the outermost.
    """

    name: str
    servers: tuple[str, ...]
    description: str = ""
    prefix: PrefixRule = "always"
    tools: Mapping[tuple[str, str], ToolOverride] = {}
    middlewares: tuple[MiddlewareSpec, ...] = ()


class RateLimit(Struct, frozen=True):
    """At most ``max_rate`` requests in any ``seconds``, as a token bucket that starts full."""

    max_rate: int
    seconds: float


class ClientRateLimit(Struct, frozen=True):
    """A ``RateLimit`` for each client, told apart by address, by the value of ``header``, or by who it is.

    ``header`` is lower case, and ``None`` unless it counts. With ``by_principal``, the keys of one principal count
    together, and strangers by their addresses.
    """

    max_rate: int
    seconds: float
    header: str | None = None
    by_principal: bool = False

    @property
    def strategy(self) -> ClientStrategy:
        """What tells clients apart."""
        if self.by_principal:
            return "principal"
        return "ip" if self.header is None else "header"


class OAuth(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whose access tokens open an endpoint, and what is read from them.

    Without an ``issuer`` they are those of our own authorization server. ``audiences`` count besides the endpoint's own
    URL. ``scopes`` are asked for each request, ``tool_scopes`` beyond them for the tools of a published name, in which
    ``*`` stands for anything. Of a foreign token the three claims are read, each a path with dots. ``groups``, where
    they are given, are those that may use the endpoint, and the scopes that each one stands for.
    """

    issuer: str = ""
    audiences: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    tool_scopes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    jwks_uri: str = ""
    principal_claim: str = "sub"
    name_claim: str = ""
    groups_claim: str = "groups"
    groups: tuple[tuple[str, tuple[str, ...]], ...] | None = None


class Endpoint(Struct, frozen=True, kw_only=True):
    """A published name, the namespace behind it, and who may use it how often."""

    name: str
    namespace: str
    api_key_auth: bool = True
    oauth: OAuth | None = None
    query_param_auth: bool = False
    rate_limit: RateLimit | None = None
    client_rate_limit: ClientRateLimit | None = None

    @property
    def open(self) -> bool:
        """Whether anybody who reaches the port may use the endpoint."""
        return not self.api_key_auth and self.oauth is None


class Principal(Struct, frozen=True):
    """Who calls. ``id`` is stable across restarts and reveals nothing of a key; ``user`` is the id of its user.

    ``address`` is that of a stranger, where it is known: of what strangers share, each address has a part.

    ``grant`` is what let them in: what an access token is of, or which text of a key, which may be rotated, it was.
    The rest is of those who came with an access token: its ``issuer``, empty for ours, when it ``expires``, in seconds
    since 1970, and its ``scopes``; ``None`` for everybody else, of whom no scope is asked.
    """

    id: str
    kind: Literal["anonymous", "key", "user", "client"]
    name: str = ""
    address: str = ""
    user: str | None = None
    issuer: str = ""
    grant: str = ""
    expires: float = math.inf
    scopes: frozenset[str] | None = None

    @property
    def signed_in(self) -> bool:
        """Whether they came to a page of ours, and so may be here only as long as they are signed in."""
        return self.kind == "user" and self.scopes is None

    @classmethod
    def of_key(cls, identity: str, name: str, digest: bytes, user: str | None = None) -> "Principal":
        """Return who comes with a key.

        Args:
            identity: The key's id, which outlasts its rotation.
            name: The key's name.
            digest: The digest of the text that is presented.
            user: The id of the key's owner.
        """
        return cls(id=f"key:{identity}", kind="key", name=name, user=user, grant=digest[:8].hex())


ANONYMOUS = Principal(id="anonymous", kind="anonymous")


class Key(Struct, frozen=True):
    """An API key, kept only as its digest.

    ``endpoints`` is the set of endpoints that it opens; ``None`` means all.
    """

    digest: bytes
    principal: Principal
    endpoints: frozenset[str] | None = None


class Snapshot(Struct, frozen=True, kw_only=True, dict=True):
    """Everything the gateway was told, compiled. ``keys`` is keyed by ``digest_of`` the key.

    ``people`` has the endpoints that each principal with a token of ours may use, and ``admins`` those of them who see
    what is anybody's. ``revoked`` has the grants that ended while access tokens of theirs may still be about.
    """

    servers: Mapping[str, Server]
    namespaces: Mapping[str, Namespace]
    endpoints: Mapping[str, Endpoint]
    keys: Mapping[bytes, Key] = {}
    people: Mapping[str, frozenset[str]] = {}
    admins: frozenset[str] = frozenset()
    revoked: frozenset[str] = frozenset()

    def admits(self, endpoint: str, principal: Principal) -> bool:
        """Tell whether a principal may still use an endpoint.

        Args:
            endpoint: The endpoint's name.
            principal: Who was admitted under this snapshot or an earlier one.
        """
        served = self.endpoints.get(endpoint)
        if served is None or principal.kind == "anonymous":
            return served is not None and served.open
        if principal.signed_in:
            return served.open or self.lets(endpoint, principal)
        if principal.scopes is not None:
            if served.oauth is None or served.oauth.issuer != principal.issuer:
                return False
            # What a foreign issuer takes back is known when its next token comes.
            return bool(principal.issuer) or self.lets(endpoint, principal)
        opened = self._opened.get((principal.id, principal.grant), ())
        return any(endpoints is None or endpoint in endpoints for endpoints in opened)

    def lets(self, endpoint: str, principal: Principal) -> bool:
        """Tell whether somebody with a token of ours may use an endpoint: neither they nor the grant is gone."""
        return principal.grant not in self.revoked and endpoint in self.people.get(principal.id, ())

    @cached_property
    def _opened(self) -> Mapping[tuple[str, str], Sequence[frozenset[str] | None]]:
        """What the texts of the keys of each principal open; every stream that is open asks after a swap."""
        opened: dict[tuple[str, str], list[frozenset[str] | None]] = {}
        for key in self.keys.values():
            opened.setdefault((key.principal.id, key.principal.grant), []).append(key.endpoints)
        return opened


def digest_of(key: str | bytes) -> bytes:
    """Return the SHA-256 digest under which a key is stored; keys carry enough entropy to need no salt.

    Args:
        key: The key as the client presents it.
    """
    return hashlib.sha256(key.encode() if isinstance(key, str) else key).digest()
