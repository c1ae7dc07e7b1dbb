"""What the environment asks to be there at start: users, keys, namespaces, endpoints, in MetaMCP's ``BOOTSTRAP_*``.

Adds and updates, and never deletes: run at every start, it leaves alone what is there already (dossier 1.14, B23).
One thing that is wrong does not keep the others from being made. ``BOOTSTRAP_DISABLE_REGISTRATION_*`` have nothing to
do, because registration is closed here until a setting opens it.
"""

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from metamcp_asgi.errors import ConfigError
from metamcp_asgi.store.errors import StoreError
from metamcp_asgi.store.models import ApiKey, Endpoint, Namespace, Role, Setting, User
from metamcp_asgi.store.passwords import verify_password
from metamcp_asgi.store.policy import COMMAND_LINE
from metamcp_asgi.store.repository import Store
from metamcp_asgi.store.services import endpoints, keys, namespaces, users
from metamcp_asgi.store.services.inputs import (
    EndpointChanges,
    Invalid,
    NamespaceChanges,
    NewEndpoint,
    NewKey,
    NewNamespace,
    NewUser,
)
from metamcp_asgi.store.transaction import Reader, Writer

__all__ = ["Report", "bootstrap"]

logger = logging.getLogger("metamcp.bootstrap")

_TRUE: Final = frozenset({"1", "true", "yes", "y", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "n", "off"})
_DONE: Final = "bootstrapped"

Given = TypeVar("Given", bound=Struct)


class Report(Struct):
    """What was done.

    Args:
        done: What was made or changed, in words.
        problems: What could not be, and why.
        keys: Name and text of every key that was made up now, which is told nowhere else.
    """

    done: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    keys: list[tuple[str, str]] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Report(done={self.done!r}, problems={self.problems!r}, keys=<{len(self.keys)} hidden>)"


class _User(Struct, frozen=True):
    email: str
    password: str
    name: str = ""
    role: Role = "member"


class _Owned(Struct, frozen=True, kw_only=True):
    name: str
    description: str | UnsetType = UNSET
    user_email: str | None = None
    owner: str | None = None
    update: bool = True


class _Key(_Owned, frozen=True, kw_only=True):
    is_public: bool = False
    key: str | None = None


class _Namespace(_Owned, frozen=True, kw_only=True):
    is_public: bool = False


class _Endpoint(_Owned, frozen=True, kw_only=True):
    namespace: str | None = None
    enable_auth: bool = True
    enable_auth_query: bool = False
    enable_auth_oauth: bool = False
    is_public: bool | None = None


async def bootstrap(store: Store, environ: Mapping[str, str]) -> Report:
    """Make what the environment asks for, and return what was done.

    Args:
        store: Where.
        environ: The variables; those beginning with ``BOOTSTRAP_`` count.

    Raises:
        ConfigError: ``BOOTSTRAP_FAIL_HARD`` is set, and something is wrong; what was made before that stays.
    """
    report = Report()
    hard = False
    try:
        hard = _flag(environ, "BOOTSTRAP_FAIL_HARD", False)
        if not _flag(environ, "BOOTSTRAP_ENABLE", True) or not any(name in environ for name in _ASKING):
            return report
        once = _flag(environ, "BOOTSTRAP_ONLY_FIRST_RUN", False)
        async with store.read() as tx:
            if once and await tx.find(Setting, key=_DONE) is not None:
                return report
        await _Bootstrap(store, environ, report).run()
    except ConfigError as error:
        report.problems.append(str(error))
    for line in report.done:
        logger.info("%s", line)
    for line in report.problems:
        logger.error("%s", line)
    if hard and report.problems:
        raise ConfigError(report.problems[0], source="environment")
    return report


class _Bootstrap:
    """One run.

    Args:
        store: Where.
        environ: The variables.
        report: What is done is written down there.
    """

    def __init__(self, store: Store, environ: Mapping[str, str], report: Report) -> None:
        self.store = store
        self.environ = environ
        self.report = report
        # All is read first: when the text is wrong, nothing is made of half of it.
        self.users = _users(environ)
        self.keys = _list(environ, "BOOTSTRAP_API_KEYS", _Key)
        self.namespaces = _list(environ, "BOOTSTRAP_NAMESPACES", _Namespace)
        self.endpoints = _list(environ, "BOOTSTRAP_ENDPOINTS", _Endpoint)
        self.set_passwords = _flag(environ, "BOOTSTRAP_RECREATE_USER", False)
        if _flag(environ, "BOOTSTRAP_DELETE_OTHER_USERS", False):
            report.problems.append("BOOTSTRAP_DELETE_OTHER_USERS: users are never deleted at start; delete them there")

    async def run(self) -> None:
        for user in self.users:
            await self.attempt(f"user {user.email}", self.user, user)
        for namespace in self.namespaces:
            await self.attempt(f"namespace {namespace.name}", self.namespace, namespace)
        for endpoint in self.endpoints:
            await self.attempt(f"endpoint {endpoint.name}", self.endpoint, endpoint)
        for key in self.keys:
            await self.attempt(f"key {key.name}", self.key, key)
        async with self.store.write(COMMAND_LINE) as tx:
            if not self.report.problems and await tx.find(Setting, key=_DONE) is None:
                await tx.add(Setting(key=_DONE, value=True))

    async def attempt(self, what: str, make: Callable[[Writer, Any], Awaitable[str | None]], given: Struct) -> None:
        try:
            async with self.store.write(COMMAND_LINE) as tx:
                done = await make(tx, given)
        except StoreError as error:
            self.report.problems.append(f"{what}: {error}")
        else:
            if done:
                self.report.done.append(f"{what}: {done}")

    async def user(self, tx: Writer, given: _User) -> str | None:
        row = await tx.find(User, email=given.email.strip().lower())
        if row is None:
            new = NewUser(email=given.email, name=given.name, password=given.password, role=given.role)
            return f"created as {(await users.create(tx, COMMAND_LINE, new)).role}"
        if not self.set_passwords or await verify_password(row.password_hash, given.password):
            return None
        await users.put_password(tx, COMMAND_LINE, row, await users.hashed(given.password))
        return "password set"

    async def namespace(self, tx: Writer, given: _Namespace) -> str | None:
        owner = await self.owner(tx, given, public=given.is_public)
        row = await tx.find(Namespace, owner_id=owner, name=given.name)
        if row is None:
            new = NewNamespace(name=given.name, owner_id=owner, description=given.description)
            await namespaces.create(tx, COMMAND_LINE, new)
            return "created"
        if not given.update:
            return None
        return await self.updated(row, namespaces.update, tx, NamespaceChanges(description=given.description))

    async def endpoint(self, tx: Writer, given: _Endpoint) -> str | None:
        owner = await self.owner(tx, given, public=bool(given.is_public))
        namespace = await self.namespace_of(tx, given, owner)
        if given.is_public is None:
            # MetaMCP makes it public then, over a private namespace, too, and so publishes that.
            owner = namespace.owner_id
        changes: dict[str, Any] = {
            "description": given.description,
            "namespace_id": namespace.id,
            "api_key_auth": given.enable_auth,
            "oauth": given.enable_auth_oauth,
            "query_param_auth": given.enable_auth_query,
        }
        row = await tx.find(Endpoint, name=given.name)
        if row is None:
            await endpoints.create(tx, COMMAND_LINE, NewEndpoint(name=given.name, owner_id=owner, **changes))
            return "created"
        if not given.update:
            return None
        if row.owner_id != owner:
            raise Invalid("", "is there already, with another owner, and stays as it is")
        return await self.updated(row, endpoints.update, tx, EndpointChanges(**changes))

    async def key(self, tx: Writer, given: _Key) -> str | None:
        owner = await self.owner(tx, given, public=given.is_public)
        if await tx.find(ApiKey, owner_id=owner, name=given.name) is not None:
            return None
        row, text = await keys.create(tx, COMMAND_LINE, NewKey(name=given.name, owner_id=owner), text=given.key)
        if given.key is None:
            self.report.keys.append((row.name, text))
        return f"created ({row.prefix}...)"

    async def updated(self, row: Namespace | Endpoint, update: Any, tx: Writer, changes: Struct) -> str | None:
        version = row.version
        await update(tx, COMMAND_LINE, row.id, changes)
        return "updated" if row.version != version else None

    async def owner(self, tx: Reader, given: _Owned, *, public: bool) -> uuid.UUID | None:
        """Return the id of whose it is to be: who is named, else the first user of the environment."""
        if public:
            return None
        email = given.user_email or given.owner or (self.users[0].email if self.users else None)
        if email is None and isinstance(given, _Endpoint) and given.is_public is None:
            return None
        if email is None:
            raise Invalid("", 'is private, and needs "user_email", the user whose it is')
        return (await users.by_email(tx, COMMAND_LINE, email)).id

    async def namespace_of(self, tx: Reader, given: _Endpoint, owner: uuid.UUID | None) -> Namespace:
        """Return the namespace that is named, else the first one of the environment."""
        name = given.namespace or (self.namespaces[0].name if self.namespaces else None)
        if name is None:
            raise Invalid("namespace", "is needed, because BOOTSTRAP_NAMESPACES has none")
        own = await tx.find(Namespace, owner_id=owner, name=name)
        row = own or await tx.find(Namespace, owner_id=None, name=name)
        if row is None and given.is_public:
            row = await tx.find(Namespace, name=name)  # to be told that it is private, rather than not there
        if row is None:
            raise Invalid("namespace", f"there is no namespace {name}")
        return row


_ASKING: Final = (
    "BOOTSTRAP_USERS",
    "BOOTSTRAP_USER_EMAIL",
    "BOOTSTRAP_API_KEYS",
    "BOOTSTRAP_NAMESPACES",
    "BOOTSTRAP_ENDPOINTS",
)


def _users(environ: Mapping[str, str]) -> list[_User]:
    if environ.get("BOOTSTRAP_USERS", "").strip():
        return _list(environ, "BOOTSTRAP_USERS", _User)
    email, password = environ.get("BOOTSTRAP_USER_EMAIL", "").strip(), environ.get("BOOTSTRAP_USER_PASSWORD", "")
    if not email:
        return []
    if not password:
        raise ConfigError("must be set, too", path="BOOTSTRAP_USER_PASSWORD", source="environment")
    # MetaMCP has no roles, and calls this one so.
    name = environ.get("BOOTSTRAP_USER_NAME", "").strip() or "Administrator"
    return [_User(email, password, name, "admin")]


def _list(environ: Mapping[str, str], name: str, kind: type[Given]) -> list[Given]:
    text = environ.get(name, "").strip()
    if not text:
        return []
    try:
        return msgspec.json.decode(text, type=list[kind])  # type: ignore[valid-type]
    except msgspec.DecodeError as error:
        # These messages tell type and place, and never quote a value.
        raise ConfigError(
            f"is not a JSON array of what it should be: {error}", path=name, source="environment"
        ) from None


def _flag(environ: Mapping[str, str], name: str, default: bool) -> bool:
    text = environ.get(name, "").strip().lower()
    if not text:
        return default
    if text not in _TRUE | _FALSE:
        raise ConfigError("must be true or false", path=name, source="environment")
    return text in _TRUE
