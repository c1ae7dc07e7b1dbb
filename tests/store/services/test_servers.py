"""What people do with servers, on both kinds of database."""

import uuid
from typing import Any

import msgspec
import pytest

from metamcp_asgi.store.errors import Conflict, Duplicate, NotFound
from metamcp_asgi.store.policy import Forbidden
from metamcp_asgi.store.services import servers, settings, tools
from metamcp_asgi.store.services.inputs import Invalid, ServerChanges, ToolChanges
from tests.store.services.people import WEB, People, audit


async def test_a_member_makes_a_server_of_their_own(people: People) -> None:
    row = await people.server(people.bob, "web", headers={"X-Team": "red"}, bearer_token="secret-7f3a")
    assert (row.owner_id, row.type, row.url) == (people.bob.id, "streamable_http", WEB)
    async with people.store.read() as tx:
        assert (await servers.get(tx, people.bob, row.id)).name == "web"
        secrets = servers.shown_secrets(tx, people.bob, row)
        assert (dict(secrets.headers), secrets.bearer_token) == ({"X-Team": "red"}, "secret-7f3a")
        with pytest.raises(NotFound):
            await servers.get(tx, people.eve, row.id)


async def test_who_may_use_a_public_server_does_not_get_its_secrets(people: People) -> None:
    row = await people.server(people.ada, "web", owner_id=None, bearer_token="secret-7f3a")
    async with people.store.read() as tx:
        assert (await servers.get(tx, people.bob, row.id)).id == row.id
        with pytest.raises(Forbidden):
            servers.shown_secrets(tx, people.bob, row)


async def test_a_member_starts_nothing_on_the_machine(people: People) -> None:
    with pytest.raises(Forbidden) as refused:
        await people.server(people.bob, "shell", url=msgspec.UNSET, command="sh", args=["-c", "id"])
    assert refused.value.rule == "create-stdio"
    row = await people.server(people.bob, "web")
    with pytest.raises(Forbidden):
        await people.do(servers.update, people.bob, row.id, ServerChanges(type="stdio", command="sh"))


async def test_a_setting_lets_members_start_servers(people: People) -> None:
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


async def test_public_servers_are_for_admins_unless_a_setting_lets_members(people: People) -> None:
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


async def test_nobody_plants_a_server_in_somebody_elses_account(people: People) -> None:
    with pytest.raises(Forbidden):
        await people.server(people.bob, "web", owner_id=people.eve.id)
    row = await people.server(people.bob, "web")
    with pytest.raises(Forbidden) as refused:
        await people.do(servers.update, people.bob, row.id, ServerChanges(owner_id=people.eve.id))
    assert refused.value.rule == "move-owner"
    with pytest.raises(NotFound):
        await people.do(servers.update, people.eve, row.id, ServerChanges(owner_id=people.eve.id))
    assert (await people.server(people.ada, "web", owner_id=people.eve.id)).owner_id == people.eve.id


async def test_an_owner_that_does_not_exist_is_named(people: People) -> None:
    with pytest.raises(Invalid) as refused:
        await people.server(people.ada, "web", owner_id=uuid.uuid4())
    assert refused.value.field == "ownerId"


async def test_two_owners_may_use_one_name_and_one_owner_only_once(people: People) -> None:
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
    people: People, given: dict[str, Any], field: str, reason: str
) -> None:
    with pytest.raises(Invalid, match=reason) as refused:
        await people.server(people.bob, **({"name": "web"} | given))
    assert refused.value.field == field


async def test_a_variable_of_the_gateway_is_not_for_who_makes_a_server(people: People) -> None:
    # Dossier B7: ${DATABASE_URL} in MetaMCP's env tells every user the container's secrets.
    row = await people.server(people.bob, "web", headers={"X": "${HOME} $${HOME}"}, description="${HOME}")
    async with people.store.read() as tx:
        assert tx.secrets(row).headers == {"X": "${HOME} $${HOME}"}
        assert row.description == "${HOME}"


async def test_one_variable_is_changed_without_knowing_the_others(people: People) -> None:
    row = await people.server(people.ada, "s", url=msgspec.UNSET, command="x", env={"A": "1", "B": "2"}, args=["a"])
    await people.do(servers.update, people.ada, row.id, ServerChanges(env={"B": "3", "C": "4"}))
    await people.do(servers.update, people.ada, row.id, ServerChanges(env={"A": None}, args=["b"]))
    async with people.store.read() as tx:
        row = await servers.get(tx, people.ada, row.id)
        assert tx.secrets(row).env == {"B": "3", "C": "4"}
        assert (row.args, row.version) == (["b"], 3)


async def test_a_header_is_changed_whatever_its_case(people: People) -> None:
    row = await people.server(people.bob, "web", headers={"X-Team": "red", "X-Other": "1"})
    await people.do(servers.update, people.bob, row.id, ServerChanges(headers={"x-team": "blue"}))
    async with people.store.read() as tx:
        assert tx.secrets(await servers.get(tx, people.bob, row.id)).headers == {"X-Other": "1", "x-team": "blue"}


async def test_with_another_transport_what_does_not_go_with_it_is_dropped(people: People) -> None:
    row = await people.server(people.ada, "s", url=msgspec.UNSET, command="x", env={"A": "1"}, cwd="/tmp")
    changed = await people.do(servers.update, people.ada, row.id, ServerChanges(type="http", url=WEB))
    assert (changed.type, changed.command, changed.cwd, changed.url) == ("streamable_http", "", None, WEB)
    async with people.store.read() as tx:
        assert not tx.secrets(await servers.get(tx, people.ada, row.id))


async def test_two_editors_do_not_overwrite_each_other(people: People) -> None:
    row = await people.server(people.bob, "web")
    await people.do(servers.update, people.bob, row.id, ServerChanges(description="one"), version=1)
    with pytest.raises(Conflict):
        await people.do(servers.update, people.bob, row.id, ServerChanges(description="two"), version=1)
    with pytest.raises(Conflict):
        await people.do(servers.delete, people.bob, row.id, version=1)
    await people.do(servers.delete, people.bob, row.id, version=2)


async def test_a_change_that_changes_nothing_makes_no_version_and_no_audit(people: People) -> None:
    row = await people.server(people.bob, "web", headers={"X": "1"}, description="d")
    before = len(await audit(people.store))
    given = ServerChanges(name="web", url=WEB, headers={"X": "1"}, description="d", type="http")
    assert (await people.do(servers.update, people.bob, row.id, given)).version == 1
    assert len(await audit(people.store)) == before


async def test_a_secret_is_in_no_audit_entry_and_no_repr(people: People) -> None:
    given = ServerChanges(bearer_token="secret-7f3a")
    row = await people.server(people.bob, "web", headers={"X": "secret-7f3a"})
    await people.do(servers.update, people.bob, row.id, given)
    entries = [f"{entry.actor} {entry.action} {entry.before} {entry.after}" for entry in await audit(people.store)]
    assert entries[-1].startswith("bob@example.org update")
    assert "secret-7f3a" not in f"{entries} {given!r}"


async def test_a_private_server_that_another_thing_needs_public_stays_public(people: People) -> None:
    server = await people.server(people.ada, "web", owner_id=None)
    await people.namespace(people.ada, "all", server, owner_id=None)
    with pytest.raises(Forbidden, match='namespace "all" has this server') as refused:
        await people.do(servers.update, people.ada, server.id, ServerChanges(owner_id=people.ada.id))
    assert refused.value.rule == "public-of-public"


async def test_a_rename_that_does_not_fit_a_namespace_is_refused(people: People) -> None:
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
