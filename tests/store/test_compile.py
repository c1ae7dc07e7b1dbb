"""What the rows of a store compile to: the same as a file, with MetaMCP's rules of who may use what."""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import insert

from metamcp_asgi.config.file import compile_document
from metamcp_asgi.config.snapshot import Endpoint as ServedEndpoint
from metamcp_asgi.config.snapshot import Principal, Snapshot, digest_of
from metamcp_asgi.store.compile import Compiler, EndpointRow, KeyRow, NamespaceRow
from metamcp_asgi.store.errors import SecretsError
from metamcp_asgi.store.load import Loader
from metamcp_asgi.store.models import ApiKey, Endpoint, Membership, Namespace, Server, Setting, ToolSetting, User
from metamcp_asgi.store.policy import key_opens
from metamcp_asgi.store.repository import SYSTEM, Store
from metamcp_asgi.store.secrets import ServerSecrets
from tests.store.rows import one_of_each

NOW = datetime(2026, 11, 22, tzinfo=UTC)


async def compiled(store: Store, loader: Loader | None = None, at: datetime = NOW) -> Snapshot:
    loader = loader or Loader()
    async with store.read() as tx:
        await loader.refresh(tx)
    return loader.compiler.compile(at)[0]


def key(name: str, owner: uuid.UUID | None = None, **more: object) -> ApiKey:
    return ApiKey(name=name, digest=digest_of(name), prefix=name[:4], owner_id=owner, **more)  # type: ignore[arg-type]


async def test_the_same_configuration_compiles_to_the_same_snapshot_from_a_file_and_from_the_store(
    store: Store,
) -> None:
    document = {
        "mcpServers": {
            "clock": {"command": "clock", "args": ["-v"], "env": {"TZ": "UTC"}, "cwd": "/", "timeout": 5},
            "web": {"url": "http://h/mcp", "headers": {"X-A": "1"}, "bearerToken": "t", "era": "modern",
                    "sharing": "call"},
            "old": {"type": "sse", "url": "http://h/sse", "disabled": True, "description": "Old"},
        },
        "namespaces": {
            "tools": {
                "servers": ["web", "clock"],
                "description": "Tools",
                "prefix": "on-collision",
                "tools": {
                    "clock__now": {"name": "time", "title": "T", "description": "D", "annotations": {"a": [1]}},
                    "web__drop": {"enabled": False},
                },
            }
        },
        "endpoints": {
            "one": {
                "namespace": "tools",
                "queryParamAuth": True,
                "rateLimit": {"maxRate": 5, "maxRateSeconds": 60},
                "clientRateLimit": {"maxRate": 2, "maxRateSeconds": 1, "strategy": "header", "header": "X-Id"},
            },
            "two": {"namespace": "tools", "apiKeyAuth": False, "clientRateLimit": {
                "maxRate": 2, "maxRateSeconds": 1, "strategy": "principal"}},
        },
    }  # fmt: skip
    async with store.write(SYSTEM) as tx:
        clock = await tx.add(
            Server(name="clock", type="stdio", command="clock", args=["-v"], cwd="/", timeout=5.0),
            secrets=ServerSecrets(env={"TZ": "UTC"}),
        )
        web = await tx.add(
            Server(name="web", type="streamable_http", url="http://h/mcp", era="modern", sharing="call"),
            secrets=ServerSecrets(headers={"X-A": "1"}, bearer_token="t"),
        )
        await tx.add(Server(name="old", type="sse", url="http://h/sse", disabled=True, description="Old"))
        tools = await tx.add(Namespace(name="tools", description="Tools", prefix="on-collision"))
        await tx.add(Membership(namespace_id=tools.id, server_id=clock.id, position=1))
        await tx.add(Membership(namespace_id=tools.id, server_id=web.id, position=0))
        await tx.add(
            ToolSetting(
                namespace_id=tools.id,
                server_id=clock.id,
                tool="now",
                name="time",
                title="T",
                description="D",
                annotations={"a": [1]},
            )
        )
        await tx.add(ToolSetting(namespace_id=tools.id, server_id=web.id, tool="drop", enabled=False))
        await tx.add(
            Endpoint(
                name="one",
                namespace_id=tools.id,
                query_param_auth=True,
                max_rate=5,
                max_rate_seconds=60.0,
                client_max_rate=2,
                client_max_rate_seconds=1.0,
                client_max_rate_strategy="header",
                client_max_rate_header="x-id",
            )
        )
        await tx.add(
            Endpoint(
                name="two",
                namespace_id=tools.id,
                api_key_auth=False,
                client_max_rate=2,
                client_max_rate_seconds=1.0,
                client_max_rate_strategy="principal",
            )
        )
    found = await compiled(store)
    # A database has a place for grants, so a server of whose authorization nothing is said may be connected.
    assert found.servers["old"].grant is not None
    servers = found.servers | {"old": replace(found.servers["old"], grant=None)}
    assert replace(found, servers=servers) == compile_document(document, environ={})


async def test_a_key_opens_what_its_owner_may_use(store: Store) -> None:
    async with store.write(SYSTEM) as tx:
        ada, bob = await tx.add(User(email="ada@example.com")), await tx.add(User(email="bob@example.com"))
        gone = await tx.add(User(email="gone@example.com", disabled=True))
        namespace = await tx.add(Namespace(name="n"))
        ends = {
            name: await tx.add(Endpoint(name=name, namespace_id=namespace.id, owner_id=owner))
            for name, owner in (("public", None), ("other", None), ("adas", ada.id), ("bobs", bob.id))
        }
        both = [str(ends["adas"].id), str(ends["bobs"].id), str(uuid.uuid4())]
        await tx.add_all(
            [
                key("of-nobody"),
                key("of-ada", ada.id),
                key("of-ada-too", ada.id, admin=True),
                key("of-gone", gone.id),
                key("some", ada.id, endpoint_ids=both),
                key("none", ada.id, endpoint_ids=[]),
                key("off", disabled=True),
                key("over", expires_at=NOW),
                key("soon", expires_at=NOW + timedelta(seconds=1)),
            ]
        )
    keys = {k.principal.name: k for k in (await compiled(store)).keys.values()}
    assert {name: set(k.endpoints or ()) for name, k in keys.items()} == {
        "of-nobody": {"public", "other"},
        "of-ada": {"public", "other", "adas"},
        "of-ada-too": {"public", "other", "adas"},
        "some": {"adas"},
        "none": set(),
        "soon": {"public", "other"},
    }
    assert keys["of-ada"].endpoints is keys["of-ada-too"].endpoints
    later = await compiled(store, at=NOW + timedelta(seconds=1))
    assert "soon" not in {k.principal.name for k in later.keys.values()}


async def test_two_owners_may_use_one_name(store: Store) -> None:
    async with store.write(SYSTEM) as tx:
        ada = await tx.add(User(email="ada@example.com"))
        public = await tx.add(Server(name="web", type="stdio", command="public"))
        private = await tx.add(Server(name="web", type="stdio", command="private", owner_id=ada.id))
        one = await tx.add(Namespace(name="n"))
        two = await tx.add(Namespace(name="n", owner_id=ada.id))
        await tx.add(Membership(namespace_id=one.id, server_id=public.id))
        await tx.add(Membership(namespace_id=two.id, server_id=private.id))
        await tx.add(ToolSetting(namespace_id=two.id, server_id=private.id, tool="t", enabled=False))
        await tx.add(ToolSetting(namespace_id=two.id, server_id=public.id, tool="u", enabled=False))
        await tx.add(Endpoint(name="a", namespace_id=one.id))
        await tx.add(Endpoint(name="b", namespace_id=two.id, owner_id=ada.id))
    snapshot = await compiled(store)

    def command(endpoint: str) -> str:
        namespace = snapshot.namespaces[snapshot.endpoints[endpoint].namespace]
        return snapshot.servers[namespace.servers[0]].command

    assert (command("a"), command("b")) == ("public", "private")
    assert {server.name for server in snapshot.servers.values()} == {"web"}
    assert list(snapshot.namespaces[f"n@{ada.id}"].tools) == [("web", "t")]


async def test_a_server_that_is_off_in_a_namespace_comes_back_with_its_switches(store: Store) -> None:
    ids = await one_of_each(store)
    loader = Loader()
    before = await compiled(store, loader)
    async with store.write(SYSTEM) as tx:
        (await tx.get(Membership, ids["Membership"])).active = False
    off = (await compiled(store, loader)).namespaces["tools"]
    assert (off.servers, off.tools) == ((), {})
    async with store.write(SYSTEM) as tx:
        (await tx.get(Membership, ids["Membership"])).active = True
    assert await compiled(store, loader) == before


async def test_an_endpoint_that_asks_for_oauth_is_not_open(store: Store) -> None:
    async with store.write(SYSTEM) as tx:
        namespace = await tx.add(Namespace(name="n"))
        await tx.add(Endpoint(name="e", namespace_id=namespace.id, api_key_auth=False, oauth=True))
    assert not (await compiled(store)).endpoints["e"].open


async def test_every_change_gives_the_same_as_reading_everything(store: Store) -> None:
    ids = await one_of_each(store)
    loader = Loader()

    async def check() -> None:
        assert await compiled(store, loader) == await compiled(store)

    await check()
    changes: list[tuple[type, str, str, object]] = [
        (Server, "Server", "name", "renamed"),
        (Namespace, "Namespace", "name", "other"),
        (Endpoint, "Endpoint", "name", "published"),
        (ToolSetting, "ToolSetting", "enabled", False),
        (ApiKey, "ApiKey", "endpoint_ids", []),
        (User, "User", "disabled", True),
        (User, "User", "disabled", False),
    ]
    for kind, name, column, value in changes:
        before = await compiled(store, loader)
        async with store.write(SYSTEM) as tx:
            setattr(await tx.get(kind, ids[name]), column, value)
        assert await compiled(store, loader) != before
        await check()
    for kind, name in ((ApiKey, "ApiKey"), (ToolSetting, "ToolSetting"), (Server, "Server"), (Namespace, "Namespace")):
        async with store.write(SYSTEM) as tx:
            await tx.delete(await tx.get(kind, ids[name]))
        await check()
    await one_of_nobody(store)
    async with store.write(SYSTEM) as tx:
        await tx.delete(await tx.get(User, ids["User"]))
    await check()


async def one_of_nobody(store: Store) -> None:
    async with store.write(SYSTEM) as tx:
        user = (await tx.list(User))[0]
        namespace = await tx.add(Namespace(name="mine", owner_id=user.id))
        await tx.add(Endpoint(name="mine", namespace_id=namespace.id, owner_id=user.id))
        await tx.add(key("mine", user.id))


async def test_one_change_leaves_all_else_as_it_is(store: Store) -> None:
    ids = await one_of_each(store)
    async with store.write(SYSTEM) as tx:
        await tx.add(Server(name="other", type="stdio", command="x"))
    loader = Loader()
    before = await compiled(store, loader)
    async with store.write(SYSTEM) as tx:
        (await tx.find(Server, name="other")).command = "y"
    after = await compiled(store, loader)
    assert after.servers["other"].command == "y"
    for old, new in (
        (before.servers["web"], after.servers["web"]),
        (before.namespaces["tools"], after.namespaces["tools"]),
    ):
        assert new is old
    assert after.endpoints["tools"] is before.endpoints["tools"]
    digest = digest_of("sk_mt_laptop")
    assert after.keys[digest] is before.keys[digest]
    assert ids


async def test_the_text_before_a_rotation_is_the_same_principal_and_admits_nobody_after_its_time(store: Store) -> None:
    await one_of_each(store)
    async with store.write(SYSTEM) as tx:
        row = await tx.find(ApiKey, name="laptop")
        assert row is not None
        row.previous_until = NOW + timedelta(seconds=1)
    loader = Loader()
    during = await compiled(store, loader)
    today, before = (during.keys[digest_of(text)] for text in ("sk_mt_laptop", "sk_mt_before"))
    assert (before.principal.id, before.endpoints) == (today.principal.id, today.endpoints)
    after = await compiled(store, loader, NOW + timedelta(seconds=1))
    assert digest_of("sk_mt_before") not in after.keys
    admitted = [(each.admits("tools", key.principal)) for each in (during, after) for key in (today, before)]
    assert admitted == [True, True, True, False]


async def test_who_was_away_for_long_reads_everything(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metamcp_asgi.store.repository._KEPT_CHANGES", 3)
    loader = Loader()
    await compiled(store, loader)
    for number in range(6):
        async with store.write(SYSTEM) as tx:
            await tx.add(Server(name=f"s{number}", type="stdio", command="x"))
    assert len((await compiled(store, loader)).servers) == 6
    async with store.write(SYSTEM) as tx:
        await tx.add(Setting(key="a", value=1))
    assert len((await compiled(store, loader)).servers) == 6


async def test_a_server_sealed_with_another_key_is_refused_at_start_and_switched_off_later(
    database: Callable[[], str],
) -> None:
    url = database()
    one = await Store.open(url, environ={}, secret_keys=(b"1" * 32,))
    other = await Store.open(url, environ={}, secret_keys=(b"2" * 32,))
    await one_of_each(one)
    loader = Loader()
    await compiled(one, loader)
    async with other.write(SYSTEM) as tx:
        server = Server(name="foreign", type="stdio", command="x")
        await tx.add(server, secrets=ServerSecrets(env={"A": "b"}))
    snapshot = await compiled(one, loader)
    assert (snapshot.servers["foreign"].disabled, snapshot.servers["web"].disabled) == (True, False)
    with pytest.raises(SecretsError):
        await compiled(one)
    await one.aclose()
    await other.aclose()


async def test_a_thousand_endpoints_and_ten_thousand_keys(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    async with store.write(SYSTEM) as tx:
        users = [User(email=f"{n}@example.com") for n in range(100)]
        await tx.add_all(users)
        servers = [Server(name=f"s{n}", type="stdio", command="x") for n in range(100)]
        for server in servers:
            tx.set_secrets(server, ServerSecrets(env={"TOKEN": server.name}))
        spaces = [Namespace(name=f"n{n}", owner_id=users[n % 100].id) for n in range(1000)]
        await tx.add_all([*servers, *spaces])
        await tx.add_all([Membership(namespace_id=s.id, server_id=servers[n % 100].id) for n, s in enumerate(spaces)])
        await tx.add_all([Endpoint(name=f"e{n}", namespace_id=s.id, owner_id=s.owner_id) for n, s in enumerate(spaces)])
        # Without SQLAlchemy's objects, and without the audit: this is not about writing.
        row = {
            "version": 1,
            "admin": False,
            "disabled": False,
            "created_at": NOW,
            "updated_at": NOW,
            "prefix": "sk_mt_",
        }
        rows = [
            row | {"id": uuid.uuid4(), "name": f"k{n}", "digest": digest_of(f"k{n}"), "owner_id": users[n % 100].id}
            for n in range(10_000)
        ]
        await (await tx.session.connection()).execute(insert(ApiKey.__table__), rows)
    loader = Loader()
    begin = time.perf_counter()
    snapshot = await compiled(store, loader)
    whole = time.perf_counter() - begin
    async with store.write(SYSTEM) as tx:
        (await tx.find(Endpoint, name="e7")).max_rate = 5
    begin = time.perf_counter()
    changed = await compiled(store, loader)
    part = time.perf_counter() - begin
    async with store.write(SYSTEM) as tx:
        await tx.add(Endpoint(name="new", namespace_id=spaces[0].id))
    begin = time.perf_counter()
    opened = await compiled(store, loader)
    public = time.perf_counter() - begin
    with capsys.disabled():
        print(f"\n{store.engine.dialect.name}: 1,000 endpoints and 10,000 keys in {whole * 1000:.0f} ms, "
              f"one change in {part * 1000:.0f} ms, one public endpoint more in {public * 1000:.0f} ms")  # fmt: skip
    assert (len(snapshot.endpoints), len(snapshot.keys)) == (1000, 10_000)
    assert len({id(k.endpoints) for k in snapshot.keys.values()}) == 100
    assert sum(changed.keys[digest] is k for digest, k in snapshot.keys.items()) == 10_000
    assert all("new" in (k.endpoints or ()) for k in opened.keys.values())


OWNERS = (None, uuid.UUID(int=1), uuid.UUID(int=2))
owners = st.sampled_from(OWNERS)
endpoint_rows = st.builds(
    lambda owner: EndpointRow(owner=owner, namespace=uuid.UUID(int=9), config=ServedEndpoint(name="", namespace="")),
    owners,
)
key_rows = st.builds(
    lambda owner, endpoints, hours: (owner, endpoints, None if hours is None else NOW + timedelta(hours=hours)),
    owners,
    st.none() | st.frozensets(st.integers(0, 5), max_size=4),
    st.sampled_from([None, -1, 0, 1]),
)
states = st.tuples(
    st.dictionaries(st.integers(0, 5), endpoint_rows, max_size=6),
    st.dictionaries(st.integers(0, 5), key_rows, max_size=6),
    st.sets(st.sampled_from(OWNERS[1:])),
)


@given(st.lists(states, min_size=1, max_size=3))
def test_the_compiled_keys_open_what_the_policy_says(history: list[Any]) -> None:
    # One compiler goes from state to state, as it keeps what did not change.
    compiler = Compiler()
    compiler.namespaces[uuid.UUID(int=9)] = NamespaceRow(
        known_as="n", name="n", description="", prefix="always", middlewares=(), members=(), tools={}
    )
    for endpoints, keys, disabled in history:
        compiler.disabled = disabled
        compiler.endpoints = {
            uuid.UUID(int=n): replace(row, config=replace(row.config, name=f"e{n}")) for n, row in endpoints.items()
        }
        compiler.keys = {
            uuid.UUID(int=n): KeyRow(
                owner=owner,
                digest=digest_of(str(n)),
                principal=Principal(id=f"key:{n}", kind="key"),
                endpoints=None if only is None else frozenset(uuid.UUID(int=each) for each in only),
                expires_at=expires,
            )
            for n, (owner, only, expires) in keys.items()
        }
        snapshot, _ = compiler.compile(NOW)
        for n, (owner, only, expires) in keys.items():
            alive = owner not in disabled and (expires is None or expires > NOW)
            key = snapshot.keys.get(digest_of(str(n)))
            assert (key is not None) == alive
            for number, row in endpoints.items():
                opens = alive and key_opens(owner, row.owner) and (only is None or number in only)
                assert snapshot.admits(f"e{number}", Principal(id=f"key:{n}", kind="key")) == opens
                assert key is None or key.endpoints is None or (f"e{number}" in key.endpoints) == opens
                assert not opens or key is not None
