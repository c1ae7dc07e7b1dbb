"""Setting up from the environment in MetaMCP's formats: the first start makes it, and no later one loses anything."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.store.bootstrap import Report, bootstrap
from metamcp_asgi.store.models import ApiKey, AuditEntry, Endpoint, Namespace, User
from metamcp_asgi.store.policy import COMMAND_LINE, Acting
from metamcp_asgi.store.repository import Store
from metamcp_asgi.store.services import namespaces, users
from metamcp_asgi.store.services.inputs import NamespaceChanges, Unknown

# What MetaMCP's example.env and its documentation have, but for the names with spaces.
ENVIRON = {
    "BOOTSTRAP_ENABLE": "true",
    "BOOTSTRAP_USER_EMAIL": "test@user.example",
    "BOOTSTRAP_USER_PASSWORD": "changeme",
    "BOOTSTRAP_USER_NAME": "Administrator",
    "BOOTSTRAP_DELETE_OTHER_USERS": "false",
    "BOOTSTRAP_PRESERVE_API_KEYS": "true",
    "BOOTSTRAP_NAMESPACES": json.dumps(
        [{"name": "public", "is_public": True}, {"name": "mine", "description": "First", "update": True}]
    ),
    "BOOTSTRAP_ENDPOINTS": json.dumps(
        [
            {"name": "public", "namespace": "public", "enable_auth": False, "is_public": True},
            {"name": "mine", "namespace": "mine", "enable_auth_query": True, "owner": "test@user.example"},
        ]
    ),
    "BOOTSTRAP_API_KEYS": json.dumps(
        [{"name": "everybody", "is_public": True}, {"name": "mine", "user_email": "test@user.example"}]
    ),
}


async def start(store: Store, **environ: Any) -> Report:
    """Starts with the environment above, and what is given instead."""
    given = {name: value if isinstance(value, str) else json.dumps(value) for name, value in environ.items()}
    return await bootstrap(store, ENVIRON | given)


async def rows(store: Store, kind: type[Any]) -> dict[str, Any]:
    async with store.read() as tx:
        return {row.email if kind is User else row.name: row for row in await tx.list(kind)}


async def test_the_first_start_makes_what_is_asked_for(store: Store) -> None:
    report = await start(store)
    assert report.problems == []
    admin = (await rows(store, User))["test@user.example"]
    assert (admin.role, admin.name) == ("admin", "Administrator")
    assert (await users.log_in(store, "test@user.example", "changeme")).id == admin.id
    found = await rows(store, Namespace)
    assert {name: (row.owner_id, row.description) for name, row in found.items()} == {
        "public": (None, ""),
        "mine": (admin.id, "First"),
    }
    published = await rows(store, Endpoint)
    assert {name: (row.owner_id, row.api_key_auth, row.query_param_auth) for name, row in published.items()} == {
        "public": (None, False, False),
        "mine": (admin.id, True, True),
    }
    texts, kept = dict(report.keys), await rows(store, ApiKey)
    assert {name: row.owner_id for name, row in kept.items()} == {"everybody": None, "mine": admin.id}
    assert {name: digest_of(text) for name, text in texts.items()} == {name: row.digest for name, row in kept.items()}
    assert not any(text in f"{report!r} {report.done}" for text in texts.values())


async def test_a_second_start_changes_nothing(store: Store) -> None:
    await start(store, BOOTSTRAP_RECREATE_USER=True)
    before = {kind: await rows(store, kind) for kind in (User, Namespace, Endpoint, ApiKey)}
    async with store.read() as tx:
        audit = len(await tx.list(AuditEntry))
    report = await start(store, BOOTSTRAP_RECREATE_USER=True)
    assert (report.done, report.problems, report.keys) == ([], [], [])
    for kind, those in before.items():
        assert {name: (row.id, row.version) for name, row in (await rows(store, kind)).items()} == {
            name: (row.id, row.version) for name, row in those.items()
        }
    async with store.read() as tx:
        assert len(await tx.list(AuditEntry)) == audit


async def test_recreating_a_user_sets_the_password_and_keeps_all_that_is_theirs(store: Store) -> None:
    # Dossier B23: MetaMCP deletes the user at every start, and everything private with them.
    await start(store)
    before = await rows(store, User), await rows(store, Namespace), await rows(store, ApiKey)
    await start(store, BOOTSTRAP_USER_PASSWORD="another horse")
    await users.log_in(store, "test@user.example", "changeme")
    report = await start(store, BOOTSTRAP_USER_PASSWORD="another horse", BOOTSTRAP_RECREATE_USER=True)
    assert report.done == ["user test@user.example: password set"]
    await users.log_in(store, "test@user.example", "another horse")
    with pytest.raises(Unknown):
        await users.log_in(store, "test@user.example", "changeme")
    after = await rows(store, User), await rows(store, Namespace), await rows(store, ApiKey)
    assert [{row.id for row in kind.values()} for kind in after] == [
        {row.id for row in kind.values()} for kind in before
    ]


async def test_users_are_never_deleted(store: Store) -> None:
    await start(store)
    others = [{"email": "other@user.example", "password": "changeme"}]
    report = await start(store, BOOTSTRAP_USERS=others, BOOTSTRAP_DELETE_OTHER_USERS=True)
    assert "users are never deleted" in report.problems[0]
    found = await rows(store, User)
    assert {email: user.role for email, user in found.items()} == {
        "test@user.example": "admin",
        "other@user.example": "member",
    }


async def test_what_was_changed_since_stays_unless_it_is_to_be_updated(store: Store) -> None:
    await start(store)
    row = (await rows(store, Namespace))["mine"]
    acting = Acting(row.owner_id, "test@user.example", "admin")
    async with store.write(acting) as tx:
        await namespaces.update(tx, acting, row.id, NamespaceChanges(description="Changed"))
    kept = [{"name": "mine", "description": "First", "update": False}]
    await start(store, BOOTSTRAP_NAMESPACES=kept, BOOTSTRAP_ENDPOINTS=[])
    assert (await rows(store, Namespace))["mine"].description == "Changed"
    report = await start(store)
    assert report.done == ["namespace mine: updated"]
    assert (await rows(store, Namespace))["mine"].description == "First"


async def test_a_key_can_be_given(store: Store) -> None:
    text = "sk_mt_" + "0" * 64
    report = await start(store, BOOTSTRAP_API_KEYS=[{"name": "k", "is_public": True, "key": text}])
    assert (report.keys, report.problems) == ([], [])
    assert (await rows(store, ApiKey))["k"].digest == digest_of(text)
    report = await start(store, BOOTSTRAP_API_KEYS=[{"name": "short", "is_public": True, "key": "short-7f3a"}])
    assert "at least 16 characters" in report.problems[0]
    assert "7f3a" not in report.problems[0]


async def test_an_endpoint_with_oauth_alone_takes_no_keys_and_is_not_open(store: Store) -> None:
    await start(store, BOOTSTRAP_ENDPOINTS=[{"name": "e", "enable_auth": False, "enable_auth_oauth": True}])
    row = (await rows(store, Endpoint))["e"]
    assert (row.api_key_auth, row.oauth) == (False, True)


async def test_an_endpoint_that_does_not_say_is_as_public_as_its_namespace(store: Store) -> None:
    given: list[Mapping[str, Any]] = [
        {"name": "a", "namespace": "public"},
        {"name": "b", "namespace": "mine"},
        {"name": "c", "namespace": "mine", "is_public": True},
    ]
    report = await start(store, BOOTSTRAP_ENDPOINTS=given)
    found = await rows(store, Endpoint)
    assert {name: row.owner_id is None for name, row in found.items()} == {"a": True, "b": False}
    assert report.problems == [
        'endpoint c: namespace "mine": what is public is made of public things only',
    ]


async def test_one_thing_that_is_wrong_keeps_no_other_one_away(store: Store) -> None:
    given = [{"name": "has space"}, {"name": "fine"}, {"name": "foreign", "owner": "who@user.example"}]
    report = await start(store, BOOTSTRAP_NAMESPACES=given, BOOTSTRAP_ENDPOINTS=[])
    assert set(await rows(store, Namespace)) == {"fine"}
    assert [line.partition(":")[0] for line in report.problems] == ["namespace has space", "namespace foreign"]


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"BOOTSTRAP_USERS": '[{"email": "a@b"'}, "BOOTSTRAP_USERS"),
        ({"BOOTSTRAP_USERS": '[{"email": "a@b", "password": 7373}]'}, "BOOTSTRAP_USERS"),
        ({"BOOTSTRAP_ENDPOINTS": "{}"}, "BOOTSTRAP_ENDPOINTS"),
        ({"BOOTSTRAP_RECREATE_USER": "maybe"}, "BOOTSTRAP_RECREATE_USER"),
        ({"BOOTSTRAP_USER_PASSWORD": ""}, "BOOTSTRAP_USER_PASSWORD"),
    ],
)
async def test_a_variable_that_cannot_be_read_is_named_and_nothing_is_made(
    store: Store, environ: dict[str, str], path: str
) -> None:
    report = await start(store, **environ)
    assert len(report.problems) == 1
    assert path in report.problems[0]
    assert "7373" not in report.problems[0]
    assert await rows(store, User) == {}
    with pytest.raises(ConfigError, match=path):
        await start(store, **environ, BOOTSTRAP_FAIL_HARD="true")


async def test_it_is_done_only_when_it_is_asked_for(store: Store) -> None:
    assert await bootstrap(store, {}) == Report()
    assert await start(store, BOOTSTRAP_ENABLE="false") == Report()
    assert await rows(store, User) == {}
    await start(store, BOOTSTRAP_ONLY_FIRST_RUN="true")
    given = [{"name": "later"}]
    await start(store, BOOTSTRAP_ONLY_FIRST_RUN="true", BOOTSTRAP_NAMESPACES=given)
    assert "later" not in await rows(store, Namespace)
    await start(store, BOOTSTRAP_NAMESPACES=given)
    assert "later" in await rows(store, Namespace)


async def test_what_is_made_is_in_the_audit(store: Store) -> None:
    await start(store)
    async with store.read() as tx:
        entries = await tx.list(AuditEntry)
    assert {entry.actor for entry in entries} == {COMMAND_LINE.name}
    assert {entry.object_kind for entry in entries} >= {"user", "namespace", "endpoint", "api_key"}
    assert "changeme" not in str([entry.after for entry in entries])
