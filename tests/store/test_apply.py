"""``plan``, ``apply`` and ``export`` on a store: what a file says becomes what is there, all of it or nothing."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from metamcp_asgi.aggregate.middleware.registry import instances
from metamcp_asgi.config.export import export
from metamcp_asgi.config.file import compile_document
from metamcp_asgi.config.snapshot import Snapshot, digest_of
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.store.apply import check_names, planned
from metamcp_asgi.store.errors import Duplicate
from metamcp_asgi.store.models import ApiKey, Endpoint, Membership, Namespace, Server, ToolSetting, User
from metamcp_asgi.store.policy import COMMAND_LINE
from metamcp_asgi.store.repository import SYSTEM, Store
from metamcp_asgi.store.scope import elsewhere, read_scope
from metamcp_asgi.store.services import keys
from metamcp_asgi.store.services.inputs import Rotation
from tests.databases import SECRET
from tests.snapshots import snapshots
from tests.store.applying import DOCUMENT, applied, document, there


async def test_what_was_applied_is_there_and_can_be_exported(store: Store) -> None:
    await applied(store, document())
    assert await there(store) == document()
    exported = export(await there(store))
    assert exported.variables == {"TIME_TOKEN": "secret-env", "WEB_X_TEAM": "t", "WEB_TOKEN": "secret-token"}
    assert compile_document(exported.document, environ=exported.variables) == document()


@pytest.mark.parametrize("oauth", [True, {"scopes": []}, {"scopes": ["files:write"]}])
async def test_the_scopes_of_an_endpoint_stay_what_they_are_even_when_it_asks_for_none(
    store: Store, oauth: Any
) -> None:
    wanted = document(endpoints={"e": {"namespace": "n", "apiKeyAuth": False, "oauth": oauth}}, apiKeys=[])
    await applied(store, wanted)
    assert await there(store) == wanted


async def test_applying_again_changes_nothing(store: Store) -> None:
    await applied(store, document())
    revision = await store.revision()
    assert await applied(store, document(), prune=True) == []
    assert await store.revision() == revision


async def test_what_stays_the_same_keeps_its_row(store: Store) -> None:
    await applied(store, document())
    async with store.read() as tx:
        before = {row.name: (row.id, row.version) for row in await tx.list(Server)}
    servers = {**DOCUMENT["mcpServers"], "time": {"command": "other"}}
    assert await applied(store, document(mcpServers=servers)) == [("change", "server", "time")]
    async with store.read() as tx:
        after = {row.name: (row.id, row.version) for row in await tx.list(Server)}
    assert after["web"] == before["web"]
    assert after["time"] == (before["time"][0], before["time"][1] + 1)


async def test_what_the_file_does_not_have_is_removed_only_if_asked_for(store: Store) -> None:
    await applied(store, document())
    nothing = compile_document({"mcpServers": {}, "namespaces": {}, "endpoints": {}})
    assert {action for action, _, _ in await applied(store, nothing)} == {"keep"}
    assert await there(store) == document()
    assert {action for action, _, _ in await applied(store, nothing, prune=True)} == {"remove"}
    assert await there(store) == nothing


async def test_what_no_file_can_say_survives_an_apply(store: Store) -> None:
    await applied(store, document())
    async with store.write(SYSTEM) as tx:
        namespace = await tx.find(Namespace, name="n")
        assert namespace is not None
        other = await tx.add(Server(name="other", type="stdio", command="x"))
        await tx.add(Membership(namespace_id=namespace.id, server_id=other.id, position=9, active=False))
        await tx.add(ToolSetting(namespace_id=namespace.id, server_id=other.id, tool="t", enabled=False))
        endpoint = await tx.find(Endpoint, name="e")
        assert endpoint is not None
        endpoint.description = "kept"
        await tx.add(ApiKey(name="revoked", digest=b"x" * 32, prefix="sk", disabled=True))
    servers = {**DOCUMENT["mcpServers"], "other": {"command": "x"}}
    changed = document(mcpServers=servers, namespaces={"n": {"servers": ["time"]}})
    assert await applied(store, changed, prune=True) == [("change", "namespace", "n")]
    async with store.read() as tx:
        members = [(row.server_id == other.id, row.active) for row in await tx.list(Membership)]
        assert sorted(members) == [(False, True), (True, False)]
        assert [row.tool for row in await tx.list(ToolSetting)] == ["t"]
        kept = await tx.find(Endpoint, name="e")
        assert kept is not None
        assert kept.description == "kept"
        assert await tx.find(ApiKey, name="revoked") is not None
        unsaid = (await read_scope(tx, None)).unsaid
    assert "namespace n: server other is a member that is switched off" in unsaid
    assert "key revoked: is switched off or expires, and left out" in unsaid


async def test_a_key_that_was_rotated_is_what_the_file_says_again(store: Store) -> None:
    text = DOCUMENT["apiKeys"][0]["key"]
    await applied(store, document())
    async with store.write(COMMAND_LINE) as tx:
        key = await tx.find(ApiKey, name="me")
        assert key is not None
        _, rotated = await keys.rotate(tx, COMMAND_LINE, key.id, Rotation())
        assert await keys.of_digest(tx, digest_of(text)) is key
    assert await applied(store, document()) == [("change", "key", "me")]
    async with store.read() as tx:
        found = [await keys.of_digest(tx, digest_of(each)) for each in (text, rotated)]
    assert [None if each is None else each.id for each in found] == [key.id, None]
    assert await there(store) == document()


async def test_each_owner_has_a_file_of_their_own(store: Store) -> None:
    async with store.write(SYSTEM) as tx:
        user = await tx.add(User(email="ann@example.com"))
    await applied(store, document())
    mine = compile_document({"mcpServers": {"time": {"command": "mine"}}, "endpoints": {}})
    await applied(store, mine, user.id)
    assert await there(store) == document()
    assert await there(store, user.id) == mine


async def test_a_user_s_file_has_what_is_public_but_does_not_change_it(store: Store) -> None:
    await applied(store, document())
    async with store.write(SYSTEM) as tx:
        user = await tx.add(User(email="ann@example.com"))
        public = await tx.find(Namespace, name="n")
        assert public is not None
        await tx.add(Endpoint(name="hers", namespace_id=public.id, owner_id=user.id))
    snapshot = await there(store, user.id)
    assert snapshot.servers.keys() == {"time", "web"}
    assert snapshot.namespaces.keys() == {"n"}
    assert snapshot.endpoints.keys() == {"hers"}
    async with store.read() as tx:
        scope = await read_scope(tx, user.id)
    assert planned(scope, snapshot, prune=True) == []
    nothing = compile_document({"mcpServers": {}, "namespaces": {}})
    assert [change.name for change in planned(scope, nothing, prune=True)] == ["hers"]
    servers = {**DOCUMENT["mcpServers"], "time": {"command": "taken over"}}
    with pytest.raises(ConfigError, match="server time is public"):
        planned(scope, document(mcpServers=servers), prune=False)


async def test_a_fault_in_the_middle_leaves_everything_as_it_was(store: Store) -> None:
    async with store.write(SYSTEM) as tx:
        user = await tx.add(User(email="ann@example.com"))
    key = {"name": "laptop", "key": "sk_mt_0123456789abcdef0123456789"}
    await applied(store, compile_document({"mcpServers": {}, "endpoints": {}, "apiKeys": [key]}), user.id)
    with pytest.raises(Duplicate, match="key"):
        await applied(store, document(apiKeys=[key]))
    assert (await there(store)).servers == {}


async def test_what_is_somebody_elses_is_told_before_anything_is_done(store: Store) -> None:
    async with store.write(SYSTEM) as tx:
        user = await tx.add(User(email="ann@example.com"))
    await applied(store, document(apiKeys=[]), user.id)
    async with store.read() as tx:
        scope = await read_scope(tx, None)
        told = await elsewhere(tx)
    with pytest.raises(ConfigError, match=r"endpoint .+ is there already and is not this owner's"):
        check_names(scope, planned(scope, document(apiKeys=[]), prune=False))
    assert told == ["2 servers, 1 namespace, 1 endpoint of ann@example.com: --owner ann@example.com"]


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=snapshots(), second=snapshots())
def test_any_configuration_can_be_applied_over_any_other(
    database: Callable[[], str], first: Snapshot, second: Snapshot
) -> None:
    async def over_each_other() -> None:
        # Opened here, because each example has an event loop of its own.
        store = await Store.open(database(), environ={}, secret_keys=(SECRET,))
        try:
            for wanted in (first, second):
                await applied(store, wanted, prune=True)
                assert export(await there(store)).document == export(wanted).document
        finally:
            await store.aclose()

    asyncio.run(over_each_other())


async def test_a_key_can_get_another_name(store: Store) -> None:
    key = {"name": "me", "key": "sk_mt_0123456789abcdef"}
    await applied(store, document(apiKeys=[key]))
    await applied(store, document(apiKeys=[{**key, "name": "you"}]), prune=True)
    assert [each.principal.name for each in (await there(store)).keys.values()] == ["you"]


async def test_keys_can_change_their_digests_over(store: Store) -> None:
    one, two, three = ({"name": name, "key": f"sk_mt_0123456789abcdef{name}"} for name in ("one", "two", "three"))
    await applied(store, document(apiKeys=[one, two, three]))
    async with store.read() as tx:
        ids = {row.name: row.id for row in await tx.list(ApiKey)}
    turned = [
        {**one, "key": two["key"]},
        {**two, "key": three["key"]},
        {**three, "key": one["key"]},
    ]
    assert len(await applied(store, document(apiKeys=turned))) == 3
    assert await there(store) == document(apiKeys=turned)
    # One that is new gets what one that stays has had.
    await applied(store, document(apiKeys=[*turned[1:], {**one, "key": "sk_mt_0123456789fresh"}, {**two, "name": "4"}]))
    async with store.read() as tx:
        digests = {row.name: row.digest for row in await tx.list(ApiKey)}
        assert {row.name: row.id for row in await tx.list(ApiKey) if row.name in ids} == ids
    assert (digests["one"], digests["4"]) == (digest_of("sk_mt_0123456789fresh"), digest_of(two["key"]))


@pytest.mark.parametrize(
    ("sections", "place", "reason"),
    [
        ({"mcpServers": {"s" * 101: {"command": "x"}}}, f"mcpServers.{'s' * 101}", "101 characters; the database"),
        ({"namespaces": {"n" * 101: {"servers": []}}}, f"namespaces.{'n' * 101}", "100 at most"),
        ({"endpoints": {"e" * 101: {"namespace": "n"}}}, f"endpoints.{'e' * 101}", "100 at most"),
        ({"apiKeys": [{"name": "a", "key": "k" * 16}, {"name": "b" * 101, "key": "l" * 16}]}, "apiKeys[1].name", "100"),
        (
            {"endpoints": {"e": {"namespace": "n", "rateLimit": {"maxRate": 2**31, "maxRateSeconds": 1}}}},
            "endpoints.e.rateLimit.maxRate",
            "must be at most 2147483647",
        ),
        (
            {
                "endpoints": {
                    "e": {
                        "namespace": "n",
                        "clientRateLimit": {
                            "maxRate": 1,
                            "maxRateSeconds": 1,
                            "strategy": "header",
                            "header": "h" * 201,
                        },
                    }
                }
            },
            "endpoints.e.clientRateLimit.header",
            "200 at most",
        ),
        (
            {"namespaces": {"n": {"servers": ["web"], "tools": {f"web__{'t' * 501}": {"title": "T"}}}}},
            f"namespaces.n.tools.web__{'t' * 501}",
            "500 at most",
        ),
        (
            {"namespaces": {"n": {"servers": ["web"], "tools": {"web__t": {"annotations": {"a": [{"b\0": 1}]}}}}}},
            'namespaces.n.tools.web__t.annotations.a[0]["b\\u0000"]',
            "null character",
        ),
        (
            {"namespaces": {"n": {"servers": [], "middlewares": [{"x": {"\0": 1}}]}}},
            'namespaces.n.middlewares[0].x["\\u0000"]',
            "null character",
        ),
    ],
)
async def test_what_does_not_fit_is_refused_with_its_place_before_it_is_written(
    store: Store, sections: dict[str, Any], place: str, reason: str
) -> None:
    if "mcpServers" in sections:
        sections = {"namespaces": {}, "endpoints": {}, "apiKeys": [], **sections}
    elif "namespaces" in sections:
        sections = {"endpoints": {}, "apiKeys": [], **sections}
    elif "endpoints" in sections:
        sections = {"apiKeys": [], **sections}
    wanted = document(**sections)
    async with store.read() as tx:
        scope = await read_scope(tx, None)
    with pytest.raises(ConfigError) as planning:
        planned(scope, wanted, prune=False)
    with pytest.raises(ConfigError) as applying:
        await applied(store, wanted)
    assert planning.value.path == applying.value.path == place
    assert reason in planning.value.reason


async def test_the_longest_that_fits_is_written(store: Store) -> None:
    long, wide = "x" * 100, "\U0001f600" * 100
    limit = {"maxRate": 2**31 - 1, "maxRateSeconds": 1}
    wanted = document(
        mcpServers={long: {"command": "x"}},
        namespaces={long: {"servers": [long], "tools": {f"{long}__{wide * 5}": {"name": "n" * 128}}}},
        endpoints={long: {"namespace": long, "rateLimit": limit,
                          "clientRateLimit": {**limit, "strategy": "header", "header": "h" * 200}}},
        apiKeys=[{"name": wide, "key": "sk_mt_0123456789abcdef"}],
    )  # fmt: skip
    await applied(store, wanted)
    assert await there(store) == wanted


async def test_middlewares_are_judged_before_they_are_written(database: Callable[[], str]) -> None:
    wanted = document(namespaces={"n": {"servers": []}, "m": {"servers": [], "middlewares": ["audit", "limt"]}},
                      endpoints={}, apiKeys=[])  # fmt: skip
    store = await Store.open(database(), environ={}, secret_keys=(SECRET,), check=instances)
    try:
        with pytest.raises(ConfigError, match='did you mean "limit"') as refused:
            await applied(store, wanted)
        assert refused.value.path == "namespaces.m.middlewares[1]"
        assert (await there(store)).namespaces == {}
    finally:
        await store.aclose()
