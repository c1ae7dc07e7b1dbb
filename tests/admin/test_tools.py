"""The tools of a namespace as they are managed: found, counted, previewed, switched; and what a namespace has in it."""

import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from tests.admin.managed import JSON, MEMBER, Managed, managed
from tests.admin.test_running import until
from tests.places import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOOLS = [
    {"name": "now", "title": "Now", "description": "Tells the time of day", "annotations": {"readOnlyHint": True}},
    {"name": "wipe", "description": "Deletes everything", "annotations": {"destructiveHint": True}},
    {"name": "zone"},
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Managed]:
    """A gateway with the servers `clock`, whose tools say what they are, and `web`, both ready."""
    folder = tmp_path_factory.mktemp("tools")
    async with managed(f"sqlite:///{folder}/metamcp.db") as running:
        definitions = [{**tool, "inputSchema": {"type": "object"}} for tool in TOOLS]
        does = {"replies": {"tools/list": [[{"jsonrpc": "2.0", "result": {"tools": definitions}}]]}}
        arguments = [str(ROOT / "tests" / "stdio_server.py"), json.dumps(does)]
        clock = await running.make("/servers", {"name": "clock", "command": sys.executable, "args": arguments})
        web = await running.server("web", tools=["now"])
        for server in (clock, web):
            await running.ready(server)
            running.ids[server["name"]] = server["id"]
        yield running


class Place:
    """A namespace of its own for a test."""

    def __init__(self, api: Managed, namespace: JSON, endpoint: str) -> None:
        self.api = api
        self.id = namespace["id"]
        self.endpoint = endpoint

    def tool(self, name: str, server: str = "clock") -> str:
        return f"/namespaces/{self.id}/tools/{self.api.ids[server]}/{name}"

    async def page(self, **query: Any) -> JSON:
        return await self.api.get(f"/namespaces/{self.id}/tools", params=query)

    async def names(self, **query: Any) -> list[str]:
        return [tool["tool"] for tool in (await self.page(**query))["items"]]

    async def preview(self, name: str, changes: JSON, server: str = "clock") -> JSON:
        answer = await self.api.send("POST", f"{self.tool(name, server)}/preview", changes)
        assert answer.status_code == 200, answer.text
        found: JSON = answer.json()
        return found


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return iter(range(1000))


@pytest_asyncio.fixture(loop_scope="module")
async def place(shared: Managed, numbers: Iterator[int]) -> Place:
    name = f"n{next(numbers)}"
    members = [{"serverId": shared.ids[server]} for server in ("clock", "web")]
    namespace = await shared.make("/namespaces", {"name": name, "servers": members})
    await shared.make("/endpoints", {"name": name, "namespaceId": namespace["id"], "apiKeyAuth": False})
    return Place(shared, namespace, name)


async def test_tools_are_found_by_what_they_are_called_and_what_they_say(place: Place) -> None:
    assert await place.names(search="TIME of day") == ["now"]
    assert await place.names(search="clock__w") == ["wipe"]
    assert await place.names(search="nothing like it") == []
    assert await place.names(server=place.api.ids["clock"]) == ["now", "wipe", "zone"]
    await place.api.change(place.tool("zone"), {"name": "place_of_time", "description": "Where"})
    assert await place.names(search="place_of_t") == ["zone"]
    assert await place.names(search="where") == ["zone"]
    (now,) = (await place.page(search="tells the"))["items"]
    assert now["own"] == {
        "title": "Now",
        "description": "Tells the time of day",
        "annotations": {"readOnlyHint": True},
    }


async def test_tools_are_counted_and_shown_by_how_they_are(place: Place) -> None:
    await place.api.change(place.tool("wipe"), {"enabled": False})
    await place.api.change(place.tool("zone"), {"title": "Zone"})
    await place.api.change(place.tool("once"), {"title": "Not offered any more"})
    page = await place.page(limit=1, server=place.api.ids["clock"])
    assert len(page["items"]) == 1
    counts = page["counts"]
    assert counts.pop("all") == counts["on"] + 1
    assert {name: counts[name] for name in ("found", "off", "overridden", "missing")} == {
        "found": 4,
        "off": 1,
        "overridden": 2,
        "missing": 1,
    }
    assert await place.names(show="off") == ["wipe"]
    assert await place.names(show="overridden") == ["once", "zone"]
    assert await place.names(show="missing") == ["once"]
    assert "wipe" not in await place.names(show="on", limit=200)
    answer = await place.api.send("GET", f"/namespaces/{place.id}/tools", params={"show": "some"})
    assert answer.status_code == 422


async def test_a_preview_is_what_clients_of_either_era_then_see(place: Place) -> None:
    changes = {"name": "clock", "title": "Clock", "description": "What time", "annotations": {"idempotentHint": True}}
    preview = await place.preview("now", changes)
    assert (await place.api.get(place.tool("now")))["version"] == 0
    await place.api.change(place.tool("now"), changes)
    client = place.api.client(place.endpoint)
    await until(client, {"clock__clock"})
    modern = (await client.modern("tools/list")).result()["tools"]
    assert preview["modern"] in modern
    assert preview["modern"]["annotations"] == {"readOnlyHint": True, "idempotentHint": True}
    session = await client.session()
    legacy = (await session.request("tools/list")).result()["tools"]
    assert preview["legacy"] in legacy
    assert (preview["name"], preview["because"], preview["later"]) == ("clock__clock", "", False)


async def test_a_preview_tells_why_a_tool_is_not_listed(place: Place) -> None:
    assert (await place.preview("now", {"enabled": False}))["because"] == "off"
    assert (await place.preview("gone", {}))["because"] == "missing"
    await place.api.change(f"/namespaces/{place.id}/servers/{place.api.ids['clock']}", {"active": False})
    found = await place.preview("now", {"title": "x"})
    assert (found["because"], found["name"], found["modern"]) == ("inactive", None, None)


async def test_a_name_that_another_tool_has_is_refused_at_its_field(place: Place) -> None:
    for method, path in (("POST", f"{place.tool('zone')}/preview"), ("PATCH", place.tool("zone"))):
        answer = await place.api.send(method, path, {"name": "now"}, match="*")
        assert answer.status_code == 422, answer.text
        (error,) = answer.json()["errors"]
        assert error["pointer"] == "/name"
        assert '"clock__now"' in error["detail"]
    # The same tool of another server has another prefix.
    await place.api.change(place.tool("now", "web"), {"name": "zone"})


async def test_a_dry_run_tells_what_a_pattern_would_switch(place: Place) -> None:
    path = f"/namespaces/{place.id}/tools/switch"
    given = {"pattern": "*__now", "enabled": False}
    told = await place.api.send("POST", path, {**given, "dryRun": True})
    assert [(tool["server"], tool["tool"], tool["enabled"]) for tool in told.json()["items"]] == [
        ("clock", "now", False),
        ("web", "now", False),
    ]
    assert (await place.page())["counts"]["off"] == 0
    only = await place.api.send("POST", path, {**given, "serverId": place.api.ids["web"]})
    assert [tool["server"] for tool in only.json()["items"]] == ["web"]
    assert (await place.page())["counts"]["off"] == 1


async def test_a_list_of_five_thousand_tools_is_quick(shared: Managed) -> None:
    many = await shared.server("many", tools=[f"tool{number:04}" for number in range(5000)])
    await shared.ready(many)
    namespace = await shared.make("/namespaces", {"name": "many", "servers": [{"serverId": many["id"]}]})
    path = f"/namespaces/{namespace['id']}/tools"
    switched = await shared.send("POST", f"{path}/switch", {"pattern": "many__tool*[05]", "enabled": False})
    assert len(switched.json()["items"]) == 1000
    for query in ({}, {"search": "tool49"}, {"show": "off"}):
        spent = []
        for _ in range(5):
            began = time.process_time()
            await shared.get(path, params=query)
            spent.append(time.process_time() - began)
        # It takes some 15 ms where nothing else runs; a test must not fail on a machine that is slow or busy.
        assert min(spent) < 0.2, (query, spent)


async def test_members_are_told_with_how_they_do_and_servers_to_add_are_found(shared: Managed) -> None:
    clock, web = shared.ids["clock"], shared.ids["web"]
    body = {"name": "made-of-web", "servers": [{"serverId": web, "active": False}]}
    path = f"/namespaces/{(await shared.make('/namespaces', body))['id']}"
    (member,) = (await shared.get(f"{path}/servers"))["items"]
    assert (member["serverId"], member["name"], member["active"], member["state"]) == (web, "web", False, "ready")
    assert member["tools"] == 11
    found = [server["id"] for server in (await shared.get(f"{path}/candidates", params={"limit": 200}))["items"]]
    assert clock in found
    assert web not in found
    named = await shared.get(f"{path}/candidates", params={"search": "LOC"})
    assert [server["name"] for server in named["items"]] == ["clock"]
    for part in ("servers", "candidates"):
        assert (await shared.send("GET", f"{path}/{part}", key=MEMBER)).status_code == 404


async def test_namespaces_are_found_and_their_details_told(shared: Managed) -> None:
    members = [{"serverId": shared.ids["clock"]}, {"serverId": shared.ids["web"], "active": False}]
    body = {"name": "detailed", "description": "Of 100% detail", "servers": members}
    namespace = await shared.make("/namespaces", body)
    await shared.make("/endpoints", {"name": "detailed", "namespaceId": namespace["id"]})
    tool = f"/namespaces/{namespace['id']}/tools/{shared.ids['clock']}/wipe"
    await shared.change(tool, {"enabled": False})
    listed = await shared.get("/namespaces", params={"search": "100%", "details": "include"})
    assert [(item["name"], item["owner"], item["tools"], item["endpoints"]) for item in listed["items"]] == [
        ("detailed", "ada@example.com", 2, 1)
    ]
    assert "owner" not in await shared.get(f"/namespaces/{namespace['id']}")
    of_it = await shared.get("/endpoints", params={"namespace": namespace["id"]})
    assert [endpoint["name"] for endpoint in of_it["items"]] == ["detailed"]
    assert (await shared.send("GET", "/namespaces", params={"details": "all"})).status_code == 422


async def test_middlewares_are_told_with_their_options(shared: Managed) -> None:
    known = {each["name"]: each for each in (await shared.get("/namespaces/middlewares"))["items"]}
    assert {"audit", "cache", "limit", "rate_limit", "redact", "retry", "validate"} <= known.keys()
    assert "maxBytes" in json.dumps(known["limit"]["options"])
    assert all(each["summary"] and not each["error"] for each in known.values())
