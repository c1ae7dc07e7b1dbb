"""Lists over two processes (checks 34 to 44): pages, cursors, scopes, and changes."""

import asyncio
from typing import Any

import pytest
from mcp.server.subscriptions import ToolsListChanged

from tests.gateway.client import Client
from tests.gateway.running import KEY_A, KEY_B
from tests.gateway.test_changes import listening, silent
from tests.gateway.test_lists import LISTS, names, pages
from tests.lab.running import KINDS, PAGE_SIZE, Lab, expired

pytestmark = pytest.mark.asyncio(loop_scope="session")

EVERYWHERE = ("echo", "slow", "counter", "region", "ask", "ask_twice", "all_at_once", "log", "told")


async def test_check_34_pages_hold_every_tool_once_in_a_stable_order(lab: Lab) -> None:
    found = await pages(lab.client())
    assert [len(page["tools"]) for page in found[:-1]] == [PAGE_SIZE] * (len(found) - 1)
    assert len(found) > 3
    first = names(found)
    assert len(first) == len(set(first))
    assert {f"{kind}__{tool}" for kind in KINDS for tool in EVERYWHERE} <= set(first)
    servers = list(dict.fromkeys(name.split("__")[0] for name in first))
    assert servers == [*KINDS, "raw", "old"]
    for repetition in range(20):
        assert names(await pages(lab.client(), legacy=repetition % 2 == 1)) == first


async def test_check_34_the_lists_of_all_kinds_of_server(lab: Lab) -> None:
    for legacy in (False, True):
        prompts = await pages(lab.client(), "prompts/list", legacy)
        expected = [f"{kind}__{name}" for kind in KINDS for name in ("greet", "story")]
        assert [p["name"] for page in prompts for p in page["prompts"]] == expected
        resources = await pages(lab.client(), "resources/list", legacy)
        uris = [r["uri"] for page in resources for r in page["resources"]]
        assert [uri for uri in uris if not uri.startswith("ui:")] == [f"{kind}://doc" for kind in KINDS]
        templates = await pages(lab.client(), "resources/templates/list", legacy)
        uris = [t["uriTemplate"] for page in templates for t in page["resourceTemplates"]]
        expected = [f"{kind}://{path}" for kind in KINDS for path in ("items/{item}", "asked/{topic}")]
        assert sorted(uris) == sorted(expected)


async def test_check_35_a_cursor_of_one_process_is_good_at_the_other(lab: Lab) -> None:
    one, other = lab.running.pids()
    cursor = (await lab.running.at(one).modern("tools/list")).result()["nextCursor"]
    at_one, at_other = [
        (await lab.running.at(pid).modern("tools/list", {"cursor": cursor})).result() for pid in (one, other)
    ]
    assert names([at_one]) == names([at_other])
    assert len(names([at_one])) == PAGE_SIZE


async def test_check_36_cursors_are_bound(lab: Lab) -> None:
    a, b = lab.a, lab.b
    cursor = (await a.modern("tools/list")).result()["nextCursor"]
    assert (await a.modern("tools/list", {"cursor": cursor})).result()["tools"]
    middle = len(cursor) // 2
    changed = cursor[:middle] + ("A" if cursor[middle] != "A" else "B") + cursor[middle + 1 :]
    refused = {
        "another principal": await b.modern("tools/list", {"cursor": cursor}),
        "another list": await a.modern("prompts/list", {"cursor": cursor}),
        "another endpoint": await lab.client("second", KEY_A).modern("tools/list", {"cursor": cursor}),
        "expired": await a.modern("tools/list", {"cursor": expired(cursor)}),
        "changed": await a.modern("tools/list", {"cursor": changed}),
        "garbage": await a.modern("tools/list", {"cursor": "garbage"}),
        "empty": await a.modern("tools/list", {"cursor": ""}),
        "no string": await a.modern("tools/list", {"cursor": 5}),
        "legacy": await (await b.session()).request("tools/list", {"cursor": cursor}),
        "legacy, expired": await (await a.session()).request("tools/list", {"cursor": expired(cursor)}),
    }
    assert {why: answer.code() for why, answer in refused.items()} == dict.fromkeys(refused, -32602)
    assert {answer.status for answer in refused.values()} == {200}


async def test_check_37_freshness_is_what_remains(lab: Lab) -> None:
    # `raw` and `odd` say 60 s each time they are read, and both processes have read them some time ago.
    for pid in lab.running.pids():
        client = lab.running.at(pid, "public")
        first = (await client.modern("tools/list")).result()["ttlMs"]
        assert 0 <= first < 60_000


async def test_check_38_one_scope_for_all_pages(lab: Lab) -> None:
    for method in LISTS:
        assert {page["cacheScope"] for page in await pages(lab.client(), method)} == {"private"}
    assert {page["cacheScope"] for page in await pages(lab.client("public"))} == {"public"}
    # Behind a key, a list is of whoever has the key.
    assert {page["cacheScope"] for page in await pages(lab.client("filtered", KEY_A))} == {"private"}


@pytest.mark.parametrize("kind", ["um", "us", "ul", "ud"])
async def test_check_39_principals_with_different_tools(lab: Lab, kind: str) -> None:
    lists = {}
    for key in (KEY_A, KEY_B):
        found = await pages(lab.client("filtered", key))
        assert {page["cacheScope"] for page in found} == {"private"}
        lists[key] = names(found)
    assert set(lists[KEY_A]) - set(lists[KEY_B]) == {f"{k}__count" for k in ("um", "us", "ul", "ud")} | {"raw__other"}
    tag = lab.tag()
    b = lab.client("filtered", KEY_B)
    refused = [
        await b.call(f"{kind}__count", {"tag": tag}),
        await b.call("other"),
        await (await b.session()).call(f"{kind}__count", {"tag": tag}),
    ]
    assert [answer.code() for answer in refused] == [-32602] * 3
    assert f"{tag} counted" not in lab.witness.reports
    allowed = await lab.client("filtered", KEY_A).call(f"{kind}__count", {"tag": tag})
    assert allowed.result()["content"][0]["text"] == tag


@pytest.mark.parametrize("kind", ["um", "ul", "ux"])
async def test_check_40_what_one_read_is_not_given_to_another(lab: Lab, kind: str) -> None:
    uri = f"{kind}://items/{kind}40"

    def reads() -> int:
        return sum(seen.message["method"] == "resources/read" for seen in lab.arrived(kind, uri))

    for number, client in enumerate((lab.a, lab.b, lab.a), 1):
        result = (await client.modern("resources/read", {"uri": uri})).result()
        assert result["cacheScope"] == "private"
        assert result["contents"][0]["text"] == f"item {kind}40 of {kind}"
        assert reads() == number


async def until_listed(client: Client, name: str, *, there: bool = True) -> None:
    async with asyncio.timeout(30):
        while (name in names(await pages(client))) is not there:
            pass


async def test_check_41_a_change_makes_the_next_list_new(lab: Lab) -> None:
    clients = [lab.running.at(pid) for pid in lab.running.pids()]
    lab.um.add_tool(lambda: "here", "arrived_41")
    try:
        await lab.bus.publish(ToolsListChanged())
        for client in clients:
            await until_listed(client, "um__arrived_41")
            assert (await client.call("um__arrived_41")).result()["content"][0]["text"] == "here"
    finally:
        lab.um.remove_tool("arrived_41")
    await lab.bus.publish(ToolsListChanged())
    for client in clients:
        await until_listed(client, "um__arrived_41", there=False)


@pytest.mark.parametrize("kind", ["ul", "ux", "ud"])
async def test_check_41_77_a_legacy_server_changes(lab: Lab, kind: str) -> None:
    told, untold = [await listening(lab.client(), listed) for listed in ("tools", "prompts")]
    grown = (await lab.client().call(f"{kind}__mutate")).result()["content"][0]["text"]
    for pid in lab.running.pids():
        client = lab.running.at(pid)
        await until_listed(client, f"{kind}__{grown}")
        assert (await client.call(f"{kind}__{grown}")).result()["content"][0]["text"] == grown
    first = await asyncio.wait_for(told.message(), 30)
    assert first["method"] == "notifications/tools/list_changed"
    await silent(untold)
    for stream in (told, untold):
        await stream.close()


async def test_check_44_odd_cursors_of_a_server(lab: Lab) -> None:
    for pid in lab.running.pids():
        found: list[Any] = names(await pages(lab.running.at(pid, "public")))
        assert [name for name in found if name.startswith("odd__")] == ["odd__page_1", "odd__page_2"]
