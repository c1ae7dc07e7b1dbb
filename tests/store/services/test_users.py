"""What people do with users, on both kinds of database."""

import asyncio
import hashlib
import uuid
from typing import Any

import pytest

from metamcp_asgi.store.errors import Duplicate, NotFound
from metamcp_asgi.store.models import Membership, Namespace, Server, User
from metamcp_asgi.store.policy import COMMAND_LINE, Forbidden
from metamcp_asgi.store.services import users
from metamcp_asgi.store.services.inputs import Invalid, NewUser, Unknown, UserChanges
from tests.store.services.people import PASSWORD, People, audit


async def test_the_first_user_is_an_admin_and_the_others_are_members(people: People) -> None:
    assert [each.role for each in (people.ada, people.bob, people.eve)] == ["admin", "member", "member"]


async def test_users_are_for_admins(people: People) -> None:
    new = NewUser(email="x@example.org", password=PASSWORD)
    for action, arguments in (
        (users.create, (new,)),
        (users.update, (people.bob.id, UserChanges(role="admin"))),
        (users.update, (people.bob.id, UserChanges(email="other@example.org"))),
        (users.update, (people.bob.id, UserChanges(disabled=True))),
        (users.delete, (people.bob.id,)),
    ):
        with pytest.raises(Forbidden) as refused:
            await people.do(action, people.bob, *arguments)
        assert refused.value.rule == "admin-only"
    with pytest.raises(NotFound):
        await people.do(users.update, people.bob, people.eve.id, UserChanges(name="Eva"))
    given = UserChanges(name="Bob", email="bob@example.org", role="member", disabled=False)
    assert (await people.do(users.update, people.bob, people.bob.id, given)).name == "Bob"


async def test_the_last_admin_stays_one(people: People) -> None:
    for action, arguments in (
        (users.update, (people.ada.id, UserChanges(role="member"))),
        (users.update, (people.ada.id, UserChanges(disabled=True))),
        (users.delete, (people.ada.id,)),
    ):
        with pytest.raises(Forbidden) as refused:
            await people.do(action, people.ada, *arguments)
        assert refused.value.rule == "last-admin"
    await people.do(users.update, people.ada, people.bob.id, UserChanges(role="admin"))
    await people.do(users.update, people.ada, people.ada.id, UserChanges(role="member"))


async def test_with_a_user_goes_what_is_theirs(people: People) -> None:
    await people.namespace(people.bob, "n", await people.server(people.bob, "s"))
    await people.do(users.delete, people.ada, people.bob.id)
    async with people.store.read() as tx:
        assert [len(await tx.list(kind)) for kind in (Server, Namespace, Membership, User)] == [0, 0, 0, 2]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"email": "nobody"}, "email"),
        ({"email": "a b@example.org"}, "email"),
        ({"email": ""}, "email"),
        ({"name": "x" * 201}, "name"),
        ({"password": "short"}, "password"),
    ],
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_what_is_wrong_is_named(people: People, given: Any, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        await people.do(users.create, people.ada, NewUser(**({"email": "x@example.org"} | given)))
    assert refused.value.field == field


async def test_an_email_is_the_same_in_any_case(people: People) -> None:
    with pytest.raises(Duplicate) as refused:
        await people.do(users.create, people.ada, NewUser(email="Bob@Example.org"))
    assert refused.value.field == "email"


async def test_logging_in_needs_the_password_and_tells_nothing_else(people: People) -> None:
    new = NewUser(email="joe@example.org", password=PASSWORD)
    joe = await people.do(users.create, people.ada, new)
    assert PASSWORD not in repr(new)
    assert (await users.log_in(people.store, " Joe@example.org", PASSWORD)).id == joe.id
    await people.do(users.update, people.ada, people.eve.id, UserChanges(disabled=True))
    wrong = []
    for email, password in (
        ("joe@example.org", "wrong"),
        ("eve@example.org", PASSWORD),
        ("bob@example.org", ""),
        ("who@example.org", PASSWORD),
        ("no email", "x"),
        ("joe@example.org", "x" * 5000),
    ):
        with pytest.raises(Unknown) as refused:
            await users.log_in(people.store, email, password)
        wrong.append(str(refused.value))
    assert set(wrong) == {"email or password is wrong"}


async def test_a_disabled_user_is_out_at_once(people: People) -> None:
    async with people.store.read() as tx:
        assert await users.acting(tx, people.bob.id) == people.bob
    await people.do(users.update, people.ada, people.bob.id, UserChanges(disabled=True))
    async with people.store.read() as tx:
        for identity in (people.bob.id, uuid.uuid4()):
            with pytest.raises(Unknown):
                await users.acting(tx, identity)


async def test_a_password_of_metamcp_is_hashed_anew_at_the_first_login(people: People) -> None:
    salt = "0123456789abcdef0123456789abcdef"
    key = hashlib.scrypt(b"changeme", salt=salt.encode(), n=16384, r=16, p=1, maxmem=2**26, dklen=64)
    async with people.store.write(COMMAND_LINE) as tx:
        (await tx.get(User, people.bob.id)).password_hash = f"{salt}:{key.hex()}"
    for _ in range(2):
        user = await users.log_in(people.store, "bob@example.org", "changeme")
        assert (user.password_hash or "").startswith("$argon2id$")
    entries = [entry for entry in await audit(people.store) if entry.actor == "bob@example.org"]
    assert [(entry.action, entry.after) for entry in entries] == [("update", {"password_hash": "(secret)"})]


async def test_for_ones_own_password_the_present_one_is_needed(people: People) -> None:
    store, ada, bob = people.store, people.ada, people.bob
    await users.set_password(store, ada, bob.id, PASSWORD)
    for current in (None, "wrong"):
        with pytest.raises(Invalid) as refused:
            await users.set_password(store, bob, bob.id, "another horse", current=current)
        assert refused.value.field == "current"
    await users.set_password(store, bob, bob.id, "another horse", current=PASSWORD)
    await users.log_in(store, "bob@example.org", "another horse")
    with pytest.raises(NotFound):
        await users.set_password(store, people.eve, bob.id, PASSWORD)


async def test_of_two_who_know_the_present_password_only_one_sets_another(people: People) -> None:
    store, bob = people.store, people.bob
    await users.set_password(store, people.ada, bob.id, PASSWORD)
    each = [users.set_password(store, bob, bob.id, f"another horse {n}", current=PASSWORD) for n in range(2)]
    outcomes = await asyncio.gather(*each, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Invalid, User}
