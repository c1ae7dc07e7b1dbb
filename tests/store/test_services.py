"""What people do with servers, namespaces, endpoints, keys, users and settings, on both kinds of database."""

import asyncio
import hashlib
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from metamcp_asgi.aggregate.middleware.registry import instances
from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.store.errors import Conflict, Duplicate, NotFound
from metamcp_asgi.store.models import (
    ApiKey,
    AuditEntry,
    Endpoint,
    Membership,
    Namespace,
    Server,
    ToolSetting,
    User,
)
from metamcp_asgi.store.policy import COMMAND_LINE, Acting, Forbidden, may_see, visible
from metamcp_asgi.store.repository import Store
from metamcp_asgi.store.services import endpoints, keys, namespaces, servers, settings, tools, users
from metamcp_asgi.store.services.inputs import (
    ClientRateLimitInput,
    EndpointChanges,
    Invalid,
    KeyChanges,
    Member,
    NamespaceChanges,
    NewEndpoint,
    NewKey,
    NewNamespace,
    NewServer,
    NewUser,
    RateLimitInput,
    ServerChanges,
    ToolChanges,
    Unknown,
    UserChanges,
)
from metamcp_asgi.store.transaction import place_of
from tests.databases import SECRET

WEB = "http://127.0.0.1:1/mcp"
PASSWORD = "correct horse"


class People:
    """An admin and two members, who act on one store; each action is a transaction of its own."""

    def __init__(self, store: Store, ada: Acting, bob: Acting, eve: Acting) -> None:
        self.store = store
        self.ada, self.bob, self.eve = ada, bob, eve

    async def do(self, action: Any, acting: Acting, *arguments: Any, **options: Any) -> Any:
        """Does an action as somebody."""
        async with self.store.write(acting) as tx:
            return await action(tx, acting, *arguments, **options)

    async def server(self, acting: Acting, name: str, **given: Any) -> Server:
        """Makes a server with a URL."""
        row: Server = await self.do(servers.create, acting, NewServer(name=name, **({"url": WEB} | given)))
        return row

    async def namespace(self, acting: Acting, name: str, *members: Server, **given: Any) -> Namespace:
        """Makes a namespace of servers."""
        listed = [Member(server_id=server.id) for server in members]
        row: Namespace = await self.do(namespaces.create, acting, NewNamespace(name=name, servers=listed, **given))
        return row

    async def endpoint(self, acting: Acting, name: str, namespace: Namespace, **given: Any) -> Endpoint:
        """Publishes a namespace."""
        new = NewEndpoint(name=name, namespace_id=namespace.id, **given)
        row: Endpoint = await self.do(endpoints.create, acting, new)
        return row


@pytest.fixture
async def people(store: Store) -> People:
    actings = []
    async with store.write(COMMAND_LINE) as tx:
        for name in ("ada", "bob", "eve"):
            user = await users.create(tx, COMMAND_LINE, NewUser(email=f"{name}@example.org"))
            actings.append(Acting(user.id, user.email, user.role))
    return People(store, *actings)


async def audit(store: Store) -> list[AuditEntry]:
    async with store.read() as tx:
        return list(await tx.list(AuditEntry))


class TestServers:
    async def test_a_member_makes_a_server_of_their_own(self, people: People) -> None:
        row = await people.server(people.bob, "web", headers={"X-Team": "red"}, bearer_token="secret-7f3a")
        assert (row.owner_id, row.type, row.url) == (people.bob.id, "streamable_http", WEB)
        async with people.store.read() as tx:
            assert (await servers.get(tx, people.bob, row.id)).name == "web"
            secrets = servers.shown_secrets(tx, people.bob, row)
            assert (dict(secrets.headers), secrets.bearer_token) == ({"X-Team": "red"}, "secret-7f3a")
            with pytest.raises(NotFound):
                await servers.get(tx, people.eve, row.id)

    async def test_who_may_use_a_public_server_does_not_get_its_secrets(self, people: People) -> None:
        row = await people.server(people.ada, "web", owner_id=None, bearer_token="secret-7f3a")
        async with people.store.read() as tx:
            assert (await servers.get(tx, people.bob, row.id)).id == row.id
            with pytest.raises(Forbidden):
                servers.shown_secrets(tx, people.bob, row)

    async def test_a_member_starts_nothing_on_the_machine(self, people: People) -> None:
        with pytest.raises(Forbidden) as refused:
            await people.server(people.bob, "shell", url=msgspec.UNSET, command="sh", args=["-c", "id"])
        assert refused.value.rule == "create-stdio"
        row = await people.server(people.bob, "web")
        with pytest.raises(Forbidden):
            await people.do(servers.update, people.bob, row.id, ServerChanges(type="stdio", command="sh"))

    async def test_a_setting_lets_members_start_servers(self, people: People) -> None:
        await people.do(settings.change, people.ada, {"membersMayCreateStdio": True})
        row = await people.server(people.bob, "shell", url=msgspec.UNSET, command="sh", sandbox=True)
        await people.do(settings.change, people.ada, {"membersMayCreateStdio": None})
        steps = {"args": ["-c", "id"]}, {"env": {"PATH": "/tmp"}}, {"sandbox": {"write": ["/srv"]}}, {"sandbox": None}
        for changes in ({"command": "bash"}, {"cwd": "/tmp"}, *steps):
            with pytest.raises(Forbidden) as refused:
                await people.do(servers.update, people.bob, row.id, ServerChanges(**changes))
            assert refused.value.rule == "create-stdio"
        changed = await people.do(servers.update, people.bob, row.id, ServerChanges(name="sh", disabled=True))
        assert (changed.name, changed.disabled, changed.command) == ("sh", True, "sh")

    async def test_public_servers_are_for_admins_unless_a_setting_lets_members(self, people: People) -> None:
        with pytest.raises(Forbidden):
            await people.server(people.bob, "web", owner_id=None)
        row = await people.server(people.ada, "web", owner_id=None)
        with pytest.raises(Forbidden):
            await people.do(servers.update, people.bob, row.id, ServerChanges(description="mine"))
        await people.do(settings.change, people.ada, {"membersMayCreatePublic": True})
        with pytest.raises(Forbidden) as refused:
            await people.server(people.bob, "two", owner_id=None)
        assert refused.value.rule == "public-url"
        await people.do(settings.change, people.ada, {"membersMayCreateStdio": True})
        row = await people.server(people.bob, "two", owner_id=None, url=msgspec.UNSET, command="sh")
        assert row.owner_id is None

    async def test_nobody_plants_a_server_in_somebody_elses_account(self, people: People) -> None:
        with pytest.raises(Forbidden):
            await people.server(people.bob, "web", owner_id=people.eve.id)
        row = await people.server(people.bob, "web")
        with pytest.raises(Forbidden) as refused:
            await people.do(servers.update, people.bob, row.id, ServerChanges(owner_id=people.eve.id))
        assert refused.value.rule == "move-owner"
        with pytest.raises(NotFound):
            await people.do(servers.update, people.eve, row.id, ServerChanges(owner_id=people.eve.id))
        assert (await people.server(people.ada, "web", owner_id=people.eve.id)).owner_id == people.eve.id

    async def test_an_owner_that_does_not_exist_is_named(self, people: People) -> None:
        with pytest.raises(Invalid) as refused:
            await people.server(people.ada, "web", owner_id=uuid.uuid4())
        assert refused.value.field == "ownerId"

    async def test_two_owners_may_use_one_name_and_one_owner_only_once(self, people: People) -> None:
        for acting in (people.ada, people.bob, people.eve):
            await people.server(acting, "web")
        await people.server(people.ada, "web", owner_id=None)
        with pytest.raises(Duplicate) as refused:
            await people.server(people.bob, "web")
        assert (refused.value.kind, refused.value.field) == ("server", "name")
        with pytest.raises(Duplicate):
            await people.server(people.ada, "web", owner_id=None)
        other = await people.server(people.bob, "other")
        with pytest.raises(Duplicate):
            await people.do(servers.update, people.bob, other.id, ServerChanges(name="web"))

    @pytest.mark.parametrize(
        ("given", "field", "reason"),
        [
            ({"name": "a b"}, "name", "letters, digits"),
            ({"name": "a__b"}, "name", "__"),
            ({"name": "x" * 101}, "name", "100 at most"),
            ({"url": "ftp://x"}, "url", "http://"),
            ({"headers": {"Bad Name": "x"}}, "headers", "header name"),
            ({"headers": {"X": "a\nb"}}, "headers.X", "line break"),
            ({"url": msgspec.UNSET}, "", "command"),
            ({"command": "x"}, "", "command"),
            ({"era": "old"}, "era", "must be one of"),
            ({"timeout": 0}, "timeout", "greater"),
            ({"description": "\0"}, "description", "NUL"),
        ],
    )
    @pytest.mark.parametrize("database", ["sqlite"], indirect=True)
    async def test_what_a_file_would_not_accept_is_named(
        self, people: People, given: dict[str, Any], field: str, reason: str
    ) -> None:
        with pytest.raises(Invalid, match=reason) as refused:
            await people.server(people.bob, **({"name": "web"} | given))
        assert refused.value.field == field

    async def test_a_variable_of_the_gateway_is_not_for_who_makes_a_server(self, people: People) -> None:
        # Dossier B7: ${DATABASE_URL} in MetaMCP's env tells every user the container's secrets.
        row = await people.server(people.bob, "web", headers={"X": "${HOME} $${HOME}"}, description="${HOME}")
        async with people.store.read() as tx:
            assert tx.secrets(row).headers == {"X": "${HOME} $${HOME}"}
            assert row.description == "${HOME}"

    async def test_one_variable_is_changed_without_knowing_the_others(self, people: People) -> None:
        row = await people.server(people.ada, "s", url=msgspec.UNSET, command="x", env={"A": "1", "B": "2"}, args=["a"])
        await people.do(servers.update, people.ada, row.id, ServerChanges(env={"B": "3", "C": "4"}))
        await people.do(servers.update, people.ada, row.id, ServerChanges(env={"A": None}, args=["b"]))
        async with people.store.read() as tx:
            row = await servers.get(tx, people.ada, row.id)
            assert tx.secrets(row).env == {"B": "3", "C": "4"}
            assert (row.args, row.version) == (["b"], 3)

    async def test_a_header_is_changed_whatever_its_case(self, people: People) -> None:
        row = await people.server(people.bob, "web", headers={"X-Team": "red", "X-Other": "1"})
        await people.do(servers.update, people.bob, row.id, ServerChanges(headers={"x-team": "blue"}))
        async with people.store.read() as tx:
            assert tx.secrets(await servers.get(tx, people.bob, row.id)).headers == {"X-Other": "1", "x-team": "blue"}

    async def test_with_another_transport_what_does_not_go_with_it_is_dropped(self, people: People) -> None:
        row = await people.server(people.ada, "s", url=msgspec.UNSET, command="x", env={"A": "1"}, cwd="/tmp")
        changed = await people.do(servers.update, people.ada, row.id, ServerChanges(type="http", url=WEB))
        assert (changed.type, changed.command, changed.cwd, changed.url) == ("streamable_http", "", None, WEB)
        async with people.store.read() as tx:
            assert not tx.secrets(await servers.get(tx, people.ada, row.id))

    async def test_two_editors_do_not_overwrite_each_other(self, people: People) -> None:
        row = await people.server(people.bob, "web")
        await people.do(servers.update, people.bob, row.id, ServerChanges(description="one"), version=1)
        with pytest.raises(Conflict):
            await people.do(servers.update, people.bob, row.id, ServerChanges(description="two"), version=1)
        with pytest.raises(Conflict):
            await people.do(servers.delete, people.bob, row.id, version=1)
        await people.do(servers.delete, people.bob, row.id, version=2)

    async def test_a_change_that_changes_nothing_makes_no_version_and_no_audit(self, people: People) -> None:
        row = await people.server(people.bob, "web", headers={"X": "1"}, description="d")
        before = len(await audit(people.store))
        given = ServerChanges(name="web", url=WEB, headers={"X": "1"}, description="d", type="http")
        assert (await people.do(servers.update, people.bob, row.id, given)).version == 1
        assert len(await audit(people.store)) == before

    async def test_a_secret_is_in_no_audit_entry_and_no_repr(self, people: People) -> None:
        given = ServerChanges(bearer_token="secret-7f3a")
        row = await people.server(people.bob, "web", headers={"X": "secret-7f3a"})
        await people.do(servers.update, people.bob, row.id, given)
        entries = [f"{entry.actor} {entry.action} {entry.before} {entry.after}" for entry in await audit(people.store)]
        assert entries[-1].startswith("bob@example.org update")
        assert "secret-7f3a" not in f"{entries} {given!r}"

    async def test_a_private_server_that_another_thing_needs_public_stays_public(self, people: People) -> None:
        server = await people.server(people.ada, "web", owner_id=None)
        await people.namespace(people.ada, "all", server, owner_id=None)
        with pytest.raises(Forbidden, match='namespace "all" has this server') as refused:
            await people.do(servers.update, people.ada, server.id, ServerChanges(owner_id=people.ada.id))
        assert refused.value.rule == "public-of-public"

    async def test_a_rename_that_does_not_fit_a_namespace_is_refused(self, people: People) -> None:
        one, two = await people.server(people.bob, "one"), await people.server(people.ada, "two", owner_id=None)
        namespace = await people.namespace(people.bob, "mine", one, two)
        with pytest.raises(Invalid, match='two servers named "two"') as refused:
            await people.do(servers.update, people.bob, one.id, ServerChanges(name="two"))
        assert refused.value.field == "name"
        given = ToolChanges(name="x" * 50)
        await people.do(tools.change, people.bob, namespace.id, one.id, "tool", given)
        with pytest.raises(Invalid, match="64 at most"):
            await people.do(servers.update, people.bob, one.id, ServerChanges(name="o" * 20))
        async with people.store.read() as tx:
            assert [each.name for each in await servers.users_of(tx, people.bob, one.id)] == ["mine"]


class TestListing:
    async def test_what_a_list_has_is_what_may_be_seen(self, people: People) -> None:
        for acting in (people.ada, people.bob, people.eve):
            server = await people.server(acting, "web")
            namespace = await people.namespace(acting, "n", server)
            await people.endpoint(acting, acting.name.partition("@")[0], namespace)
            await people.do(keys.create, acting, NewKey(name="k"))
        public = await people.server(people.ada, "web", owner_id=None)
        namespace = await people.namespace(people.ada, "n", public, owner_id=None)
        await people.endpoint(people.ada, "public", namespace, owner_id=None)
        await people.do(keys.create, people.ada, NewKey(name="k", owner_id=None))
        nobody = Acting(None, "nobody")
        async with people.store.read() as tx:
            for kind in (Server, Namespace, Endpoint, ApiKey, User):
                every = await tx.list(kind)
                for acting in (people.ada, people.bob, people.eve, nobody, COMMAND_LINE):
                    listed = await tx.list(kind, visible(acting, kind))
                    assert {row.id for row in listed} == {row.id for row in every if may_see(acting, row)}
            for service in (servers, namespaces, endpoints, keys):
                assert len(await service.list_(tx, people.ada)) == 4
                assert len(await service.list_(tx, people.bob)) == 2
            assert [user.email for user in await users.list_(tx, people.bob)] == ["bob@example.org"]

    async def test_a_list_goes_on_after_its_last_row(self, people: People) -> None:
        for number in range(5):
            await people.server(people.bob, f"s{number}")
        async with people.store.read() as tx:
            first = await servers.list_(tx, people.bob, limit=3)
            rest = await servers.list_(tx, people.bob, after=place_of(first[-1]), limit=3)
        assert [row.name for row in [*first, *rest]] == ["s0", "s1", "s2", "s3", "s4"]


class TestNamespaces:
    async def test_servers_keep_their_order_and_their_switches(self, people: People) -> None:
        rows = [await people.server(people.bob, name) for name in ("one", "two", "three")]
        listed = [Member(server_id=rows[2].id), Member(server_id=rows[0].id, active=False)]
        namespace = await people.do(namespaces.create, people.bob, NewNamespace(name="n", servers=listed))

        async def members() -> list[tuple[uuid.UUID, bool]]:
            async with people.store.read() as tx:
                found = await namespaces.places(tx, people.bob, namespace.id)
                return [(place.id, place.active) for place in found]

        assert await members() == [(rows[2].id, True), (rows[0].id, False)]
        listed = [Member(server_id=rows[0].id), Member(server_id=rows[1].id)]
        changed = await people.do(namespaces.update, people.bob, namespace.id, NamespaceChanges(servers=listed))
        assert await members() == [(rows[0].id, True), (rows[1].id, True)]
        # Who read the list before holds an old version of the namespace.
        assert changed.version == 2
        await people.do(namespaces.switch_server, people.bob, namespace.id, rows[1].id, False)
        assert await members() == [(rows[0].id, True), (rows[1].id, False)]
        with pytest.raises(Conflict):
            await people.do(namespaces.update, people.bob, namespace.id, NamespaceChanges(name="m"), version=2)
        with pytest.raises(NotFound):
            await people.do(namespaces.switch_server, people.bob, namespace.id, rows[2].id, False)

    async def test_a_list_that_stays_the_same_makes_no_version(self, people: People) -> None:
        server = await people.server(people.bob, "one")
        namespace = await people.namespace(people.bob, "n", server)
        given = NamespaceChanges(servers=[Member(server_id=server.id)], name="n", prefix="always")
        assert (await people.do(namespaces.update, people.bob, namespace.id, given)).version == 1

    async def test_a_public_namespace_has_public_servers_only(self, people: People) -> None:
        own = await people.server(people.ada, "own")
        with pytest.raises(Forbidden) as refused:
            await people.namespace(people.ada, "all", own, owner_id=None)
        assert refused.value.rule == "public-of-public"
        namespace = await people.namespace(people.ada, "mine", own)
        with pytest.raises(Forbidden):
            await people.do(namespaces.update, people.ada, namespace.id, NamespaceChanges(owner_id=None))

    async def test_a_private_namespace_has_its_owners_and_public_servers(self, people: People) -> None:
        public = await people.server(people.ada, "public", owner_id=None)
        others, own = await people.server(people.eve, "eves"), await people.server(people.bob, "own")
        await people.namespace(people.bob, "mine", own, public)
        with pytest.raises(Invalid, match="does not exist") as refused:
            await people.namespace(people.bob, "stolen", own, others)
        assert refused.value.field == "servers[1].serverId"
        # An admin sees it, and may not give it to somebody else either.
        with pytest.raises(Forbidden) as forbidden:
            await people.namespace(people.ada, "given", others, owner_id=people.bob.id)
        assert forbidden.value.rule == "own-or-public"

    async def test_two_servers_of_one_name_cannot_be_in_one_namespace(self, people: People) -> None:
        public, own = await people.server(people.ada, "web", owner_id=None), await people.server(people.bob, "web")
        with pytest.raises(Invalid, match='two servers named "web"'):
            await people.namespace(people.bob, "n", own, public)
        with pytest.raises(Invalid, match="twice") as refused:
            await people.namespace(people.bob, "n", own, own)
        assert refused.value.field == "servers[1].serverId"

    async def test_middlewares_and_prefix_are_written_as_in_a_file(self, people: People) -> None:
        given = {"middlewares": ["audit", {"limit": {"maxBytes": 10}}], "prefix": "on-collision"}
        namespace = await people.namespace(people.bob, "n", **given)
        assert namespace.middlewares == [
            {"name": "audit", "options": {}},
            {"name": "limit", "options": {"maxBytes": 10}},
        ]
        changed = await people.do(namespaces.update, people.bob, namespace.id, NamespaceChanges(description="${HOME}"))
        assert (changed.middlewares, changed.prefix, changed.description) == (
            namespace.middlewares,
            "on-collision",
            "${HOME}",
        )
        with pytest.raises(Invalid) as refused:
            await people.do(namespaces.update, people.bob, namespace.id, NamespaceChanges(middlewares=[{}]))
        assert refused.value.field == "middlewares[0]"
        with pytest.raises(Invalid) as refused:
            await people.do(namespaces.update, people.bob, namespace.id, NamespaceChanges(prefix="sometimes"))
        assert refused.value.field == "prefix"

    @pytest.mark.parametrize(
        ("middleware", "field", "reason"),
        [
            ("limt", "middlewares[1]", 'did you mean "limit"'),
            ("caller", "middlewares[1]", "not installed on this machine"),
            ({"limit": {"maxByte": 1}}, "middlewares[1].limit", 'did you mean "maxBytes"'),
            ({"limit": {"maxBytes": 1}}, "middlewares[1].limit.maxBytes", ">= 256"),
            ({"redact": {"patterns": ["(a+)+$"]}}, "middlewares[1].redact.patterns[0]", "a repeat within a repeat"),
        ],
    )
    async def test_a_middleware_is_judged_when_it_is_written(
        self, database: Any, middleware: Any, field: str, reason: str
    ) -> None:
        # As the gateway and the command line open it.
        store = await Store.open(database(), environ={}, secret_keys=(SECRET,), check=instances)
        try:
            async with store.write(COMMAND_LINE) as tx:
                row = await namespaces.create(
                    tx, COMMAND_LINE, NewNamespace(name="n", owner_id=None, middlewares=["audit", "limit"])
                )
            for wrong in (
                (namespaces.create, NewNamespace(name="m", owner_id=None, middlewares=["audit", middleware])),
                (namespaces.update, row.id, NamespaceChanges(middlewares=["audit", middleware])),
            ):
                with pytest.raises(Invalid) as refused:
                    async with store.write(COMMAND_LINE) as tx:
                        await wrong[0](tx, COMMAND_LINE, *wrong[1:])
                assert (refused.value.field, reason in refused.value.reason) == (field, True), refused.value
        finally:
            await store.aclose()

    async def test_a_package_that_is_gone_keeps_nobody_from_changing_the_rest(self, database: Any) -> None:
        store = await Store.open(database(), environ={}, secret_keys=(SECRET,), check=instances)
        try:
            async with store.write(COMMAND_LINE) as tx:
                row = await tx.add(Namespace(name="n", middlewares=[{"name": "gone", "options": {}}]))
                changes = NamespaceChanges(description="D")
                assert (await namespaces.update(tx, COMMAND_LINE, row.id, changes)).description == "D"
        finally:
            await store.aclose()

    async def test_a_namespace_that_a_public_endpoint_publishes_stays_public(self, people: People) -> None:
        namespace = await people.namespace(people.ada, "n", owner_id=None)
        await people.endpoint(people.ada, "e", namespace, owner_id=None)
        with pytest.raises(Forbidden, match='endpoint "e" has this namespace'):
            await people.do(namespaces.update, people.ada, namespace.id, NamespaceChanges(owner_id=people.ada.id))
        await people.do(namespaces.delete, people.ada, namespace.id)
        async with people.store.read() as tx:
            assert await tx.list(Endpoint) == []


class TestTools:
    @pytest.fixture
    async def place(self, people: People) -> tuple[People, Namespace, Server, Server]:
        time, web = await people.server(people.bob, "time"), await people.server(people.bob, "web")
        return people, await people.namespace(people.bob, "n", time, web), time, web

    async def test_a_tool_is_switched_and_renamed_and_keeps_what_is_not_mentioned(self, place: Any) -> None:
        people, namespace, time, _ = place
        change = people.do, tools.change, people.bob, namespace.id, time.id, "now"
        await change[0](*change[1:], ToolChanges(name="clock", title="Clock", annotations={"readOnlyHint": True}))
        row = await change[0](*change[1:], ToolChanges(enabled=False, title=None))
        assert (row.enabled, row.name, row.title, row.annotations) == (False, "clock", None, {"readOnlyHint": True})
        assert row.version == 2
        with pytest.raises(Conflict):
            await change[0](*change[1:], ToolChanges(enabled=True), version=1)
        await people.do(tools.clear, people.bob, namespace.id, time.id, "now")
        async with people.store.read() as tx:
            assert await tools.settings(tx, people.bob, namespace.id) == []

    @pytest.mark.parametrize(
        ("changes", "field", "reason"),
        [
            ({"name": "x" * 59}, "name", "65 characters long.*make it 1 shorter"),
            ({"name": "has space"}, "name", "letters, digits"),
            ({"name": ""}, "name", "1 to 128"),
            ({"title": ""}, "title", "must not be empty"),
            ({"description": "\0"}, "description", "NUL"),
        ],
    )
    @pytest.mark.parametrize("database", ["sqlite"], indirect=True)
    async def test_a_wrong_override_is_named(self, place: Any, changes: Any, field: str, reason: str) -> None:
        people, namespace, time, _ = place
        with pytest.raises(Invalid, match=reason) as refused:
            await people.do(tools.change, people.bob, namespace.id, time.id, "now", ToolChanges(**changes))
        assert refused.value.field == field
        async with people.store.read() as tx:
            assert await tx.list(ToolSetting) == []

    async def test_a_name_has_64_characters_as_it_is_published(self, place: Any) -> None:
        people, namespace, time, _ = place
        for name in ("x" * 58, "y" * 58):
            await people.do(tools.change, people.bob, namespace.id, time.id, name[0], ToolChanges(name=name))
        await people.do(namespaces.update, people.bob, namespace.id, NamespaceChanges(prefix="never"))
        await people.do(tools.change, people.bob, namespace.id, time.id, "z", ToolChanges(name="z" * 64))
        with pytest.raises(Invalid, match="64 at most"):
            await people.do(namespaces.update, people.bob, namespace.id, NamespaceChanges(prefix="always"))

    async def test_a_name_that_an_import_left_too_long_keeps_nobody_from_changing_the_rest(self, place: Any) -> None:
        people, namespace, time, _ = place
        async with people.store.write(COMMAND_LINE) as tx:
            await tx.add(ToolSetting(namespace_id=namespace.id, server_id=time.id, tool="old", name="x" * 100))
        await people.do(namespaces.update, people.bob, namespace.id, NamespaceChanges(description="Mine"))
        await people.do(tools.change, people.bob, namespace.id, time.id, "now", ToolChanges(enabled=False))
        with pytest.raises(Invalid, match="64 at most"):
            await people.do(tools.change, people.bob, namespace.id, time.id, "old", ToolChanges(title="Old"))
        await people.do(tools.change, people.bob, namespace.id, time.id, "old", ToolChanges(name="short"))

    async def test_two_tools_do_not_get_one_name(self, place: Any) -> None:
        people, namespace, time, web = place
        given = ToolChanges(name="clock")
        await people.do(tools.change, people.bob, namespace.id, time.id, "now", given)
        with pytest.raises(Invalid, match="same name") as refused:
            await people.do(tools.change, people.bob, namespace.id, time.id, "then", given)
        assert refused.value.field == "name"
        # Another server's has another prefix, unless there is none.
        await people.do(tools.change, people.bob, namespace.id, web.id, "then", given)
        with pytest.raises(Invalid, match="same name"):
            await people.do(namespaces.update, people.bob, namespace.id, NamespaceChanges(prefix="never"))

    async def test_a_pattern_switches_many_tools_at_once(self, place: Any) -> None:
        people, namespace, time, web = place
        known = {time.id: ["now", "zone"], web.id: ["get", "get_all"]}
        switch = people.do, tools.switch, people.bob, namespace.id
        changed = await switch[0](*switch[1:], "*__get*", False, known)
        assert sorted((row.tool, row.enabled) for row in changed) == [("get", False), ("get_all", False)]
        assert await switch[0](*switch[1:], "web__*", False, known) == []
        # Those that have a setting are known without the catalogue.
        assert [row.tool for row in await switch[0](*switch[1:], "web__get_?ll", True, {})] == ["get_all"]
        assert len(await switch[0](*switch[1:], "*", False, known)) == 3
        with pytest.raises(Invalid):
            await switch[0](*switch[1:], "", False, known)

    async def test_switching_on_never_gives_two_tools_one_name(self, place: Any) -> None:
        people, namespace, time, _ = place
        given = ToolChanges(name="clock", enabled=False)
        await people.do(tools.change, people.bob, namespace.id, time.id, "now", given)
        await people.do(tools.change, people.bob, namespace.id, time.id, "then", ToolChanges(name="clock"))
        with pytest.raises(Invalid, match="same name"):
            await people.do(tools.switch, people.bob, namespace.id, "*", True, {})

    async def test_a_server_that_comes_back_has_its_settings_again(self, place: Any) -> None:
        people, namespace, time, web = place
        await people.do(tools.change, people.bob, namespace.id, time.id, "now", ToolChanges(name="clock"))
        for listed in ([web], [web, time]):
            given = NamespaceChanges(servers=[Member(server_id=server.id) for server in listed])
            await people.do(namespaces.update, people.bob, namespace.id, given)
        async with people.store.read() as tx:
            assert [row.name for row in await tools.settings(tx, people.bob, namespace.id)] == ["clock"]

    async def test_others_neither_see_nor_change_it_nor_add_their_servers(self, place: Any) -> None:
        people, namespace, time, _ = place
        foreign = await people.server(people.eve, "foreign")
        with pytest.raises(NotFound):
            await people.do(tools.change, people.eve, namespace.id, time.id, "now", ToolChanges(enabled=False))
        with pytest.raises(NotFound):
            await people.do(tools.change, people.bob, namespace.id, foreign.id, "now", ToolChanges(enabled=False))


class TestEndpoints:
    async def test_an_endpoint_needs_a_key_unless_it_says_otherwise(self, people: People) -> None:
        namespace = await people.namespace(people.bob, "n")
        row = await people.endpoint(people.bob, "e", namespace, description="Mine")
        assert (row.api_key_auth, row.query_param_auth, row.owner_id) == (True, False, people.bob.id)
        changed = await people.do(endpoints.update, people.bob, row.id, EndpointChanges(api_key_auth=False))
        assert (changed.api_key_auth, changed.description, changed.version) == (False, "Mine", 2)

    async def test_limits_are_set_and_taken_away(self, people: People) -> None:
        namespace = await people.namespace(people.bob, "n")
        limit = RateLimitInput(max_rate=5, max_rate_seconds=60)
        each = ClientRateLimitInput(max_rate=1, max_rate_seconds=1, strategy="header", header="X-Client")
        row = await people.endpoint(people.bob, "e", namespace, rate_limit=limit, client_rate_limit=each)
        assert (row.max_rate, row.max_rate_seconds) == (5, 60.0)
        assert (row.client_max_rate_strategy, row.client_max_rate_header) == ("header", "x-client")
        changed = await people.do(endpoints.update, people.bob, row.id, EndpointChanges(name="f", rate_limit=None))
        assert (changed.max_rate, changed.client_max_rate, changed.name) == (None, 1, "f")
        by_principal = ClientRateLimitInput(max_rate=3, max_rate_seconds=1, strategy="principal")
        given = EndpointChanges(client_rate_limit=by_principal)
        changed = await people.do(endpoints.update, people.bob, row.id, given)
        assert (changed.client_max_rate_strategy, changed.client_max_rate_header) == ("principal", None)
        changed = await people.do(endpoints.update, people.bob, row.id, EndpointChanges(description="kept"))
        assert (changed.client_max_rate, changed.client_max_rate_strategy) == (3, "principal")

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ({"name": "a b"}, "name"),
            ({"rate_limit": RateLimitInput(max_rate=0, max_rate_seconds=1)}, "rateLimit.maxRate"),
            ({"rate_limit": RateLimitInput(max_rate=2**31, max_rate_seconds=1)}, "rateLimit.maxRate"),
            (
                {"client_rate_limit": ClientRateLimitInput(max_rate=1, max_rate_seconds=1, strategy="header")},
                "clientRateLimit",
            ),
            ({"namespace_id": uuid.uuid4()}, "namespaceId"),
        ],
    )
    @pytest.mark.parametrize("database", ["sqlite"], indirect=True)
    async def test_what_a_file_would_not_accept_is_named(self, people: People, given: Any, field: str) -> None:
        namespace = await people.namespace(people.bob, "n")
        with pytest.raises(Invalid) as refused:
            await people.do(
                endpoints.create,
                people.bob,
                NewEndpoint(**({"name": "e", "namespace_id": namespace.id} | given)),
            )
        assert refused.value.field == field

    async def test_a_public_endpoint_publishes_a_public_namespace_only(self, people: People) -> None:
        private = await people.namespace(people.ada, "private")
        public = await people.namespace(people.ada, "public", owner_id=None)
        with pytest.raises(Forbidden) as refused:
            await people.endpoint(people.ada, "e", private, owner_id=None)
        assert refused.value.rule == "public-of-public"
        row = await people.endpoint(people.ada, "e", public, owner_id=None)
        with pytest.raises(Forbidden):
            await people.do(endpoints.update, people.ada, row.id, EndpointChanges(namespace_id=private.id))
        assert (await people.endpoint(people.bob, "own", public)).owner_id == people.bob.id

    async def test_nobody_publishes_somebody_elses_namespace(self, people: People) -> None:
        namespace = await people.namespace(people.eve, "n")
        with pytest.raises(Invalid, match="does not exist") as refused:
            await people.endpoint(people.bob, "e", namespace)
        assert refused.value.field == "namespaceId"

    async def test_names_are_unique_among_all(self, people: People) -> None:
        await people.endpoint(people.eve, "e", await people.namespace(people.eve, "n"))
        with pytest.raises(Duplicate):
            await people.endpoint(people.bob, "e", await people.namespace(people.bob, "n"))


class TestKeys:
    async def test_a_key_is_told_once_and_kept_as_its_digest(self, people: People) -> None:
        row, text = await people.do(keys.create, people.bob, NewKey(name="laptop of Bob"))
        assert len(text) == 70
        assert text.startswith("sk_mt_")
        assert (row.digest, row.prefix, row.owner_id) == (digest_of(text), text[:10], people.bob.id)
        assert text not in str([entry.after for entry in await audit(people.store)])

    async def test_nobody_makes_a_key_for_somebody_else(self, people: People) -> None:
        for acting in (people.ada, people.bob):
            with pytest.raises(Forbidden) as refused:
                await people.do(keys.create, acting, NewKey(name="k", owner_id=people.eve.id))
            assert refused.value.rule == "own-key"
        with pytest.raises(Forbidden):
            await people.do(keys.create, people.bob, NewKey(name="k", owner_id=None))
        assert (await people.do(keys.create, people.ada, NewKey(name="k", owner_id=None)))[0].owner_id is None

    async def test_only_admins_have_keys_for_managing(self, people: People) -> None:
        _, text = await people.do(keys.create, people.ada, NewKey(name="ci", admin=True))
        async with people.store.read() as tx:
            assert await keys.acting(tx, text) == people.ada
        with pytest.raises(Forbidden):
            await people.do(keys.create, people.bob, NewKey(name="ci", admin=True))
        row, text = await people.do(keys.create, people.bob, NewKey(name="ci"))
        with pytest.raises(Forbidden):
            await people.do(keys.update, people.bob, row.id, KeyChanges(admin=True))
        # Not even an admin makes somebody else's key one with which things are done in that name.
        with pytest.raises(Forbidden):
            await people.do(keys.update, people.ada, row.id, KeyChanges(admin=True))
        async with people.store.read() as tx:
            with pytest.raises(Forbidden, match="endpoints only"):
                await keys.acting(tx, text)
            with pytest.raises(Unknown):
                await keys.acting(tx, text + "x")

    async def test_a_key_that_is_off_or_over_is_as_good_as_unknown(self, people: People) -> None:
        for changes in ({"disabled": True}, {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}):
            row, text = await people.do(keys.create, people.ada, NewKey(name=str(changes)[:20].strip(), admin=True))
            await people.do(keys.update, people.ada, row.id, KeyChanges(**changes))
            async with people.store.read() as tx:
                with pytest.raises(Unknown):
                    await keys.acting(tx, text)

    async def test_a_key_is_restricted_to_endpoints_that_it_could_open(self, people: People) -> None:
        own = await people.endpoint(people.bob, "own", await people.namespace(people.bob, "n"))
        row, _ = await people.do(keys.create, people.bob, NewKey(name="k", endpoint_ids=[own.id, own.id]))
        assert row.endpoint_ids == [str(own.id)]
        with pytest.raises(Invalid, match="does not exist") as refused:
            await people.do(keys.create, people.eve, NewKey(name="k", endpoint_ids=[own.id]))
        assert refused.value.field == "endpointIds[0]"
        with pytest.raises(Invalid, match="public endpoints only"):
            await people.do(keys.create, people.ada, NewKey(name="k", owner_id=None, endpoint_ids=[own.id]))
        changed = await people.do(keys.update, people.bob, row.id, KeyChanges(endpoint_ids=None, name="renamed"))
        assert (changed.endpoint_ids, changed.name) == (None, "renamed")

    async def test_an_expiry_needs_a_time_zone(self, people: People) -> None:
        given = NewKey(name="k", expires_at=datetime(2100, 1, 1))
        with pytest.raises(Invalid) as refused:
            await people.do(keys.create, people.bob, given)
        assert refused.value.field == "expiresAt"

    async def test_others_keys_are_neither_seen_nor_removed(self, people: People) -> None:
        row, _ = await people.do(keys.create, people.bob, NewKey(name="k"))
        public, _ = await people.do(keys.create, people.ada, NewKey(name="k", owner_id=None))
        with pytest.raises(NotFound):
            await people.do(keys.delete, people.eve, row.id)
        # Dossier 1.3: in MetaMCP anybody deletes the keys of all.
        with pytest.raises(Forbidden):
            await people.do(keys.delete, people.eve, public.id)
        await people.do(keys.delete, people.bob, row.id)


class TestUsers:
    async def test_the_first_user_is_an_admin_and_the_others_are_members(self, people: People) -> None:
        assert [each.role for each in (people.ada, people.bob, people.eve)] == ["admin", "member", "member"]

    async def test_users_are_for_admins(self, people: People) -> None:
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

    async def test_the_last_admin_stays_one(self, people: People) -> None:
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

    async def test_with_a_user_goes_what_is_theirs(self, people: People) -> None:
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
    async def test_what_is_wrong_is_named(self, people: People, given: Any, field: str) -> None:
        with pytest.raises(Invalid) as refused:
            await people.do(users.create, people.ada, NewUser(**({"email": "x@example.org"} | given)))
        assert refused.value.field == field

    async def test_an_email_is_the_same_in_any_case(self, people: People) -> None:
        with pytest.raises(Duplicate) as refused:
            await people.do(users.create, people.ada, NewUser(email="Bob@Example.org"))
        assert refused.value.field == "email"

    async def test_logging_in_needs_the_password_and_tells_nothing_else(self, people: People) -> None:
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

    async def test_a_disabled_user_is_out_at_once(self, people: People) -> None:
        async with people.store.read() as tx:
            assert await users.acting(tx, people.bob.id) == people.bob
        await people.do(users.update, people.ada, people.bob.id, UserChanges(disabled=True))
        async with people.store.read() as tx:
            for identity in (people.bob.id, uuid.uuid4()):
                with pytest.raises(Unknown):
                    await users.acting(tx, identity)

    async def test_a_password_of_metamcp_is_hashed_anew_at_the_first_login(self, people: People) -> None:
        salt = "0123456789abcdef0123456789abcdef"
        key = hashlib.scrypt(b"changeme", salt=salt.encode(), n=16384, r=16, p=1, maxmem=2**26, dklen=64)
        async with people.store.write(COMMAND_LINE) as tx:
            (await tx.get(User, people.bob.id)).password_hash = f"{salt}:{key.hex()}"
        for _ in range(2):
            user = await users.log_in(people.store, "bob@example.org", "changeme")
            assert (user.password_hash or "").startswith("$argon2id$")
        entries = [entry for entry in await audit(people.store) if entry.actor == "bob@example.org"]
        assert [(entry.action, entry.after) for entry in entries] == [("update", {"password_hash": "(secret)"})]

    async def test_for_ones_own_password_the_present_one_is_needed(self, people: People) -> None:
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

    async def test_of_two_who_know_the_present_password_only_one_sets_another(self, people: People) -> None:
        store, bob = people.store, people.bob
        await users.set_password(store, people.ada, bob.id, PASSWORD)
        each = [users.set_password(store, bob, bob.id, f"another horse {n}", current=PASSWORD) for n in range(2)]
        outcomes = await asyncio.gather(*each, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {Invalid, User}


class TestSettings:
    async def test_settings_are_for_admins_and_have_defaults(self, people: People) -> None:
        async with people.store.read() as tx:
            known = await settings.all_(tx, people.ada)
            assert {name for name, on in known.items() if on} == {"allowPasswordSignIn"}
            with pytest.raises(Forbidden):
                await settings.all_(tx, people.bob)
        with pytest.raises(Forbidden):
            await people.do(settings.change, people.bob, {"membersMayCreateStdio": True})
        after = await people.do(settings.change, people.ada, {"allowSignup": True})
        assert (after["allowSignup"], after["membersMayCreateStdio"]) == (True, False)

    @pytest.mark.parametrize("given", [{"allowSignups": True}, {"allowSignup": "yes"}])
    @pytest.mark.parametrize("database", ["sqlite"], indirect=True)
    async def test_what_is_no_setting_is_named(self, people: People, given: Any) -> None:
        with pytest.raises(Invalid) as refused:
            await people.do(settings.change, people.ada, given)
        assert refused.value.field in given


def test_inputs_read_the_words_of_a_configuration_file() -> None:
    body = b'{"name": "x", "url": "http://a", "bearerToken": null, "env": {"A": null}, "ownerId": null}'
    given = msgspec.json.decode(body, type=NewServer)
    assert (given.bearer_token, given.env, given.owner_id, given.headers) == (None, {"A": None}, None, msgspec.UNSET)
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.json.decode(b'{"nome": "x"}', type=ServerChanges)
