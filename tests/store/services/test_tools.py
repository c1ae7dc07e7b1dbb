"""What people do with the tools of a namespace, on both kinds of database."""

from typing import Any

import pytest

from metamcp_asgi.store.errors import Conflict, NotFound
from metamcp_asgi.store.models import Namespace, Server, ToolSetting
from metamcp_asgi.store.policy import COMMAND_LINE
from metamcp_asgi.store.services import namespaces, tools
from metamcp_asgi.store.services.inputs import Invalid, Member, NamespaceChanges, ToolChanges
from tests.store.services.people import People


@pytest.fixture
async def place(people: People) -> tuple[People, Namespace, Server, Server]:
    time, web = await people.server(people.bob, "time"), await people.server(people.bob, "web")
    return people, await people.namespace(people.bob, "n", time, web), time, web


async def test_a_tool_is_switched_and_renamed_and_keeps_what_is_not_mentioned(place: Any) -> None:
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
async def test_a_wrong_override_is_named(place: Any, changes: Any, field: str, reason: str) -> None:
    people, namespace, time, _ = place
    with pytest.raises(Invalid, match=reason) as refused:
        await people.do(tools.change, people.bob, namespace.id, time.id, "now", ToolChanges(**changes))
    assert refused.value.field == field
    async with people.store.read() as tx:
        assert await tx.list(ToolSetting) == []


async def test_a_name_has_64_characters_as_it_is_published(place: Any) -> None:
    people, namespace, time, _ = place
    for name in ("x" * 58, "y" * 58):
        await people.do(tools.change, people.bob, namespace.id, time.id, name[0], ToolChanges(name=name))
    await people.do(namespaces.update, people.bob, namespace.id, NamespaceChanges(prefix="never"))
    await people.do(tools.change, people.bob, namespace.id, time.id, "z", ToolChanges(name="z" * 64))
    with pytest.raises(Invalid, match="64 at most"):
        await people.do(namespaces.update, people.bob, namespace.id, NamespaceChanges(prefix="always"))


async def test_a_name_that_an_import_left_too_long_keeps_nobody_from_changing_the_rest(place: Any) -> None:
    people, namespace, time, _ = place
    async with people.store.write(COMMAND_LINE) as tx:
        await tx.add(ToolSetting(namespace_id=namespace.id, server_id=time.id, tool="old", name="x" * 100))
    await people.do(namespaces.update, people.bob, namespace.id, NamespaceChanges(description="Mine"))
    await people.do(tools.change, people.bob, namespace.id, time.id, "now", ToolChanges(enabled=False))
    with pytest.raises(Invalid, match="64 at most"):
        await people.do(tools.change, people.bob, namespace.id, time.id, "old", ToolChanges(title="Old"))
    await people.do(tools.change, people.bob, namespace.id, time.id, "old", ToolChanges(name="short"))


async def test_two_tools_do_not_get_one_name(place: Any) -> None:
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


async def test_a_pattern_switches_many_tools_at_once(place: Any) -> None:
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


async def test_switching_on_never_gives_two_tools_one_name(place: Any) -> None:
    people, namespace, time, _ = place
    given = ToolChanges(name="clock", enabled=False)
    await people.do(tools.change, people.bob, namespace.id, time.id, "now", given)
    await people.do(tools.change, people.bob, namespace.id, time.id, "then", ToolChanges(name="clock"))
    with pytest.raises(Invalid, match="same name"):
        await people.do(tools.switch, people.bob, namespace.id, "*", True, {})


async def test_a_server_that_comes_back_has_its_settings_again(place: Any) -> None:
    people, namespace, time, web = place
    await people.do(tools.change, people.bob, namespace.id, time.id, "now", ToolChanges(name="clock"))
    for listed in ([web], [web, time]):
        given = NamespaceChanges(servers=[Member(server_id=server.id) for server in listed])
        await people.do(namespaces.update, people.bob, namespace.id, given)
    async with people.store.read() as tx:
        assert [row.name for row in await tools.settings(tx, people.bob, namespace.id)] == ["clock"]


async def test_others_neither_see_nor_change_it_nor_add_their_servers(place: Any) -> None:
    people, namespace, time, _ = place
    foreign = await people.server(people.eve, "foreign")
    with pytest.raises(NotFound):
        await people.do(tools.change, people.eve, namespace.id, time.id, "now", ToolChanges(enabled=False))
    with pytest.raises(NotFound):
        await people.do(tools.change, people.bob, namespace.id, foreign.id, "now", ToolChanges(enabled=False))
