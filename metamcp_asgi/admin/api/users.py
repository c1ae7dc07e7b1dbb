"""Users and their passwords, and who asks."""

import uuid
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from metamcp_asgi.admin.api.operation import PAGED, Ask, Operation, Reply, page_of, searching
from metamcp_asgi.admin.api.shapes import Shape, User, UserPage
from metamcp_asgi.store import models
from metamcp_asgi.store.policy import check_admin
from metamcp_asgi.store.services import users
from metamcp_asgi.store.services.inputs import NewUser, UserChanges
from metamcp_asgi.store.services.settings import rules
from metamcp_asgi.store.transaction import place_of

__all__ = ["OPERATIONS"]

PASSWORD_TRIES = (10, 300.0)
"""How often one may try to tell one's present password, in how many seconds."""
_NAMED = 20
"""Names of each kind that are told of what goes with a user."""


class Caller(Shape, frozen=True, kw_only=True, rename="camel"):
    """As whom the key of this request manages things, and what is not every member's to make."""

    id: uuid.UUID | None
    name: str
    role: models.Role
    may_create_stdio: bool
    may_create_public: bool


class Things(Shape, frozen=True, kw_only=True, rename="camel"):
    """How many things of a kind there are, and the names of the first of them."""

    count: int
    names: Sequence[str]


class Password(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A new password; ``current`` is needed for one's own. All sessions end but ``session``, an id, if it is given."""

    password: Annotated[str, Meta(max_length=1000)]
    current: Annotated[str, Meta(max_length=1000)] | None = None
    session: uuid.UUID | None = None


async def _me(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        allowed = await rules(tx)
    caller = ask.caller
    body = Caller(
        id=caller.id,
        name=caller.name,
        role=caller.role,
        may_create_stdio=caller.admin or allowed.members_may_create_stdio,
        may_create_public=caller.admin or allowed.members_may_create_public,
    )
    return Reply(body=body)


async def _list(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        after = ask.after(str, uuid.UUID)
        rows = await users.list_(tx, ask.caller, search=ask.search, after=after, limit=ask.limit + 1)
    rows, following = page_of(rows, ask.limit, place_of)
    return Reply(body=UserPage(items=[User.of(row) for row in rows], next=following), next=following)


async def _create(ask: Ask, given: NewUser) -> Reply:
    check_admin(ask.caller, "users")  # nothing is hashed for who may not
    password_hash = None if given.password is None else await users.hashed(given.password)
    async with ask.store.write(ask.caller) as tx:
        row = await users.create(tx, ask.caller, given, password_hash)
    return Reply(body=User.of(row), version=row.version, location=f"/users/{row.id}")


async def _get(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        row = await users.get(tx, ask.caller, ask.id)
    return Reply(body=User.of(row), version=row.version)


async def _update(ask: Ask, given: UserChanges) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        row = await users.update(tx, ask.caller, ask.id, given, version=ask.version)
    return Reply(body=User.of(row), version=row.version)


async def _set_password(ask: Ask, given: Password) -> Reply:
    if ask.caller.id == ask.id:
        await ask.count("password", *PASSWORD_TRIES)
    await users.set_password(
        ask.store, ask.caller, ask.id, given.password, current=given.current, session=given.session
    )
    return Reply()


async def _delete(ask: Ask) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        await users.delete(tx, ask.caller, ask.id, version=ask.version)
    return Reply()


async def _things(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        found = await users.things(tx, ask.caller, ask.id)
    return Reply(body={kind: Things(count=len(names), names=names[:_NAMED]) for kind, names in found.items()})


_PATH = "/users/{id:uuid}"

OPERATIONS = (
    Operation(method="GET", path="/me", name="getCaller", summary="Tell who asks.", run=_me, gives=Caller),
    Operation(
        method="GET",
        path="/users",
        name="listUsers",
        summary="List users; members see themselves.",
        run=_list,
        gives=UserPage,
        query=(*PAGED, searching("email or name")),
    ),
    Operation(
        method="POST",
        path="/users",
        name="createUser",
        summary="Add a user.",
        run=_create,
        takes=NewUser,
        gives=User,
        status=201,
    ),
    Operation(method="GET", path=_PATH, name="getUser", summary="Read a user.", run=_get, gives=User),
    Operation(
        method="PATCH",
        path=_PATH,
        name="updateUser",
        summary="Change a user.",
        run=_update,
        takes=UserChanges,
        gives=User,
        conditional=True,
    ),
    Operation(
        method="DELETE",
        path=_PATH,
        name="deleteUser",
        run=_delete,
        status=204,
        conditional=True,
        summary="Remove a user, and with them all that is theirs.",
    ),
    Operation(
        method="GET",
        path=f"{_PATH}/things",
        name="getUserThings",
        summary="Tell what would be removed with a user, by kinds: servers, namespaces, endpoints, api_keys and so on.",
        run=_things,
        gives=dict[str, Things],
    ),
    Operation(
        method="POST",
        path=f"{_PATH}/password",
        name="setPassword",
        summary="Set a password.",
        run=_set_password,
        takes=Password,
        status=204,
    ),
)
