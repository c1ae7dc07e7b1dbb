"""What the store promises of rows: all or nothing, nobody overwrites anybody, names are unique where they must be."""

import asyncio
import contextlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.store.errors import Dangling, Duplicate, NotFound
from metamcp_asgi.store.models import (
    ApiKey,
    AuditEntry,
    Credential,
    Endpoint,
    Membership,
    Namespace,
    Server,
    Setting,
    ToolSetting,
    User,
)
from metamcp_asgi.store.repository import SYSTEM, Actor, Store
from metamcp_asgi.store.secrets import ServerSecrets
from metamcp_asgi.store.transaction import place_of
from tests.store.rows import SECRETS, TOKENS, one_of_each


async def test_every_kind_of_row_comes_back_as_it_was_put_in(store: Store) -> None:
    ids = await one_of_each(store)
    async with store.read() as tx:
        user = await tx.get(User, ids["User"])
        assert (user.email, user.role, user.disabled, user.version) == ("ada@example.com", "admin", False, 1)
        assert user.created_at.tzinfo is UTC
        server = await tx.get(Server, ids["Server"])
        assert (server.args, server.cwd, server.timeout) == ([], None, 60.0)
        assert tx.secrets(server) == SECRETS
        assert (await tx.get(Namespace, ids["Namespace"])).middlewares == [
            {"name": "limit", "options": {"bytes": 1000}}
        ]
        assert (await tx.get(ToolSetting, ids["ToolSetting"])).annotations == {"readOnlyHint": True}
        key = await tx.get(ApiKey, ids["ApiKey"])
        assert key.digest == digest_of("sk_mt_laptop")
        assert key.expires_at == datetime(2100, 1, 1, tzinfo=UTC)
        assert (await tx.get(Setting, "registration")).value == {"open": False}
        assert tx.credential(await tx.get(Credential, ids["Credential"])) == TOKENS
        assert (await tx.find(Endpoint, name="tools")).id == ids["Endpoint"]
        assert await tx.find(Endpoint, name="other") is None


async def test_an_exception_undoes_the_whole_write(store: Store) -> None:
    with pytest.raises(RuntimeError):  # noqa: PT012 - the block is what is tested
        async with store.write(SYSTEM) as tx:
            await tx.add(User(email="a@example.com"))
            raise RuntimeError
    assert await store.revision() == 0
    async with store.read() as tx:
        assert (await tx.list(User), await tx.list(AuditEntry)) == ([], [])


async def test_of_two_editors_of_one_version_the_second_is_told(store: Store) -> None:
    async with store.write(SYSTEM) as tx:
        server = await tx.add(Server(name="a", type="stdio", command="x"))

    async def edit(command: str) -> None:
        async with store.write(SYSTEM) as tx:
            row = await tx.get(Server, server.id, version=1)
            row.command = command

    outcomes = await asyncio.gather(*(edit(f"c{n}") for n in range(8)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict"] * 7 + ["NoneType"]
    winner = f"c{[type(outcome) for outcome in outcomes].index(type(None))}"
    async with store.read() as tx:
        row = await tx.get(Server, server.id)
    assert (row.version, row.command) == (2, winner)


async def test_writers_come_one_after_the_other_and_lose_nothing(store: Store) -> None:
    async with store.write(SYSTEM) as tx:
        await tx.add(Setting(key="count", value=0))

    async def count() -> None:
        async with store.write(SYSTEM) as tx:
            row = await tx.get(Setting, "count")
            row.value += 1

    await asyncio.gather(*(count() for _ in range(20)))
    async with store.read() as tx:
        assert (await tx.get(Setting, "count")).value == 20
    assert await store.revision() == 21


async def test_a_reader_sees_one_state_while_others_write(store: Store) -> None:
    async with store.read() as tx:
        assert await tx.list(User) == []
        async with store.write(SYSTEM) as writer:
            await writer.add(User(email="a@example.com"))
        assert await tx.list(User) == []
    async with store.read() as tx:
        assert len(await tx.list(User)) == 1


@pytest.mark.parametrize("kind", [Server, Namespace, ApiKey])
async def test_names_are_unique_per_owner_and_among_public_things(store: Store, kind: type) -> None:
    def row(owner: uuid.UUID | None) -> Server | Namespace | ApiKey:
        if kind is Server:
            return Server(name="same", type="stdio", command="x", owner_id=owner)
        if kind is Namespace:
            return Namespace(name="same", owner_id=owner)
        return ApiKey(name="same", digest=uuid.uuid4().bytes * 2, prefix="sk_mt_", owner_id=owner)

    async with store.write(SYSTEM) as tx:
        one, other = await tx.add(User(email="1@example.com")), await tx.add(User(email="2@example.com"))
        for owner in (None, one.id, other.id):
            await tx.add(row(owner))
    for owner in (None, one.id):
        with pytest.raises(Duplicate) as caught:
            async with store.write(SYSTEM) as tx:
                await tx.add(row(owner))
        assert caught.value.field == "name"
        assert caught.value.kind in ("server", "namespace", "api_key")


async def test_what_must_be_unique_is_named(store: Store) -> None:
    ids = await one_of_each(store)
    server, namespace = ids["Server"], ids["Namespace"]
    for row, kind, field in (
        (User(email="ADA@Example.com"), "user", "email"),
        (Endpoint(name="tools", namespace_id=namespace), "endpoint", "name"),
        (ApiKey(name="other", digest=digest_of("sk_mt_laptop"), prefix="s"), "api_key", "digest"),
        (Membership(namespace_id=namespace, server_id=server), "membership", "server_id"),
        (ToolSetting(namespace_id=namespace, server_id=server, tool="fetch"), "tool_setting", "tool"),
        (Credential(server_id=server, user_id=ids["User"]), "credential", "user_id"),
    ):
        with pytest.raises(Duplicate) as caught:
            async with store.write(SYSTEM) as tx:
                await tx.add(row)
        assert (caught.value.kind, caught.value.field) == (kind, field)


async def test_a_row_cannot_refer_to_nothing(store: Store) -> None:
    with pytest.raises(Dangling):
        async with store.write(SYSTEM) as tx:
            await tx.add(Endpoint(name="e", namespace_id=uuid.uuid4()))
    with pytest.raises(NotFound):
        async with store.read() as tx:
            await tx.get(Server, uuid.uuid4())


async def test_what_belongs_to_a_row_goes_with_it(store: Store) -> None:
    ids = await one_of_each(store)
    async with store.write(SYSTEM) as tx:
        await tx.delete(await tx.get(Server, ids["Server"]))
    async with store.read() as tx:
        for kind in (Membership, ToolSetting, Credential):
            assert await tx.list(kind) == []
        assert len(await tx.list(Endpoint)) == 1


async def deleted(store: Store, kind: Any, identity: uuid.UUID) -> dict[str, Any]:
    """Deletes a row, and returns what its audit entry says that went with it."""
    async with store.write(SYSTEM) as tx:
        await tx.delete(await tx.get(kind, identity))
    async with store.read() as tx:
        (entry,) = await tx.list(AuditEntry, AuditEntry.action == "delete")
    assert (entry.object_kind, entry.object_id) == (kind.__name__.lower(), str(identity))
    assert entry.before is not None
    gone: dict[str, Any] = entry.before["with"]
    return gone


async def test_the_audit_names_what_goes_with_a_server(store: Store) -> None:
    ids = await one_of_each(store)
    assert await deleted(store, Server, ids["Server"]) == {
        "memberships": ["tools"],
        "tool_settings": ["tools__fetch"],
        "credentials": ["web"],
    }


async def test_the_audit_names_what_goes_with_a_namespace(store: Store) -> None:
    ids = await one_of_each(store)
    assert await deleted(store, Namespace, ids["Namespace"]) == {
        "memberships": ["web"],
        "tool_settings": ["web__fetch"],
        "endpoints": ["tools"],
    }
    async with store.read() as tx:
        assert await tx.list(Endpoint) == []


async def test_the_audit_names_what_goes_with_a_user(store: Store) -> None:
    ids = await one_of_each(store)
    async with store.write(SYSTEM) as tx:
        await tx.add_all([Server(name=f"s{n:03}", type="stdio", command="x", owner_id=ids["User"]) for n in range(105)])
        own = await tx.add(Namespace(name="own", owner_id=ids["User"]))
        await tx.add(Endpoint(name="mine", namespace_id=own.id, owner_id=ids["User"]))
    gone = await deleted(store, User, ids["User"])
    assert gone.pop("servers") == [*(f"s{n:03}" for n in range(100)), "and 5 more"]
    assert gone == {
        "namespaces": ["own"],
        "endpoints": ["mine"],
        "api_keys": ["laptop"],
        "credentials": ["web"],
    }


async def test_nothing_is_said_to_go_with_a_row_that_stays(store: Store) -> None:
    ids = await one_of_each(store)
    with contextlib.suppress(InterruptedError):
        async with store.write(SYSTEM) as tx:
            await tx.delete(await tx.get(Namespace, ids["Namespace"]))
            raise InterruptedError
    async with store.read() as tx:
        assert not await tx.list(AuditEntry, AuditEntry.action == "delete")
        assert len(await tx.list(Endpoint)) == 1


async def test_options_of_middlewares_are_in_the_audit_without_what_may_be_a_secret(store: Store) -> None:
    options = {
        "maxBytes": 5,
        "url": "http://h/?token=clear-7f3a",
        "apiKey": "clear-7f3a",
        "pin_code": 7313,
        "auth": {"user": "clear-7f3a", "on": True, "more": ["clear-7f3a", None]},
        "texts": ["plain", "sk_clear_7f3a_0123456789"],
    }
    async with store.write(SYSTEM) as tx:
        row = await tx.add(Namespace(name="n", middlewares=[{"name": "x", "options": options}]))
    async with store.write(SYSTEM) as tx:
        (await tx.get(Namespace, row.id)).middlewares = [{"name": "x", "options": {**options, "maxBytes": 6}}]
    async with store.read() as tx:
        made, changed = await tx.list(AuditEntry, AuditEntry.object_id == str(row.id))
    shown = {
        "maxBytes": 5,
        "url": "http://h/?token=***",
        "apiKey": "***",
        "pin_code": "***",
        "auth": {"user": "***", "on": True, "more": ["***", None]},
        "texts": ["plain", "***"],
    }
    assert made.after is not None
    assert made.after["middlewares"] == [{"name": "x", "options": shown}]
    assert changed.before == {"middlewares": [{"name": "x", "options": shown}]}
    assert changed.after == {"middlewares": [{"name": "x", "options": {**shown, "maxBytes": 6}}]}


async def test_pages_follow_each_other_without_gap_or_repetition(store: Store) -> None:
    async with store.write(SYSTEM) as tx:
        await tx.add_all([Server(name=f"s{n:03}", type="stdio", command="x") for n in range(25)])
    names, after = [], None
    while True:
        async with store.read() as tx:
            page = await tx.list(Server, after=after, limit=10)
        names += [row.name for row in page]
        if len(page) < 10:
            break
        after = place_of(page[-1])
    assert names == [f"s{n:03}" for n in range(25)]
    async with store.read() as tx:
        newest = await tx.list(AuditEntry, limit=3, descending=True)
        assert [entry.object_name for entry in newest] == ["s024", "s023", "s022"]
        older = await tx.list(AuditEntry, after=place_of(newest[-1]), limit=1, descending=True)
        assert older[0].object_name == "s021"


async def test_the_audit_tells_who_changed_what_and_no_secret(store: Store) -> None:
    ids = await one_of_each(store)
    actor = Actor(ids["User"], "ada@example.com")
    async with store.write(actor) as tx:
        server = await tx.get(Server, ids["Server"])
        server.url = "http://127.0.0.1:2/mcp?api_key=clear-query-7f3a"
        await tx.flush()
        server.description = "Changed"
        tx.set_secrets(server, ServerSecrets(bearer_token="clear-other-7f3a"))
        tx.note("reset", server)
    async with store.write(actor) as tx:
        await tx.delete(await tx.get(ApiKey, ids["ApiKey"]))
    async with store.read() as tx:
        entries = await tx.list(AuditEntry, AuditEntry.actor_id == ids["User"])
        everything = repr([(e.before, e.after) for e in await tx.list(AuditEntry)])
    assert [(e.actor, e.action, e.object_kind, e.object_name) for e in entries] == [
        ("ada@example.com", "update", "server", "web"),
        ("ada@example.com", "reset", "server", "web"),
        ("ada@example.com", "delete", "api_key", "laptop"),
    ]
    assert entries[0].before == {"url": "http://127.0.0.1:1/mcp", "description": "", "secrets": "(secret)"}
    assert entries[0].after == {
        "url": "http://127.0.0.1:2/mcp?api_key=***",
        "description": "Changed",
        "secrets": "(secret)",
    }
    assert "7f3a" not in everything
    assert "argon2" not in everything


async def test_the_last_use_of_a_key_is_no_change_of_what_is_served(store: Store) -> None:
    ids = await one_of_each(store)
    revision, used = await store.revision(), datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
    async with store.read() as tx:
        before = await tx.get(ApiKey, ids["ApiKey"])
        entries = len(await tx.list(AuditEntry))
    # Another process may be told of an earlier use later, and keys go while they are used.
    for at in (used, used - timedelta(seconds=1)):
        await store.touch({before.digest: at, b"gone": at})
    async with store.read() as tx:
        key = await tx.get(ApiKey, ids["ApiKey"])
        assert len(await tx.list(AuditEntry)) == entries
    assert (key.last_used_at, key.version, key.updated_at) == (used, 1, before.updated_at)
    assert await store.revision() == revision
    await store.touch({before.digest: used + timedelta(seconds=1)})
    async with store.read() as tx:
        assert (await tx.get(ApiKey, ids["ApiKey"])).last_used_at == used + timedelta(seconds=1)


async def test_many_processes_write_the_uses_of_the_same_keys(store: Store) -> None:
    digests = [bytes([number]) * 32 for number in range(20)]
    async with store.write(SYSTEM) as tx:
        await tx.add_all([ApiKey(name=str(n), digest=d, prefix="") for n, d in enumerate(digests)])
    used = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)

    async def process(number: int) -> None:
        order = digests if number % 2 else digests[::-1]
        for _ in range(5):
            await store.touch({digest: used + timedelta(seconds=number) for digest in order})

    await asyncio.gather(*map(process, range(4)))
    async with store.read() as tx:
        assert {key.last_used_at for key in await tx.list(ApiKey)} == {used + timedelta(seconds=3)}
