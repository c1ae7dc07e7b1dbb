"""Namespaces on the pages: made, filled with servers, their tools found, switched and overridden, as people do it."""

import asyncio
import json
import re
import sys
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from sqlalchemy import event

from metamcp_asgi.store.models import Membership, Namespace, Server, ToolSetting
from metamcp_asgi.store.policy import COMMAND_LINE
from tests.admin_pages.visits import Person, person, picture, signed_in
from tests.places import ROOT
from tests.signin.people import MEL, House

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = dict[str, Any]
CLOCK = [
    {"name": "now", "title": "Now", "description": "Tells the time of day", "annotations": {"readOnlyHint": True}},
    {"name": "wipe", "description": "Deletes every alarm", "annotations": {"destructiveHint": True}},
    {"name": "zone", "description": "Names the zone", "execution": {"taskSupport": "forbidden"}},
]


class Api:
    """The management API, as somebody who is signed in."""

    def __init__(self, person: Person) -> None:
        self.person = person

    async def send(self, method: str, path: str, body: Any = None, **how: Any) -> Any:
        return await self.person.manage(method, path, body, **how)

    async def server(self, name: str, does: JSON, **more: Any) -> JSON:
        """Adds a stdio server, and waits until its tools are known."""
        arguments = [str(ROOT / "tests" / "stdio_server.py"), json.dumps(does)]
        body = {"name": name, "command": sys.executable, "args": arguments, **more}
        made: JSON = await self.send("POST", "/servers", body)
        async with asyncio.timeout(30):
            while (await self.send("GET", f"/servers/{made['id']}/health"))["tools"] is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(shared_home: House) -> AsyncIterator[Api]:
    """Ada's API, with the servers `clock` and `web`, which are hers, and `shared`, which is everybody's."""
    ada = Api(await person(shared_home))
    answers = [
        [{"jsonrpc": "2.0", "result": {"tools": [{**each, "inputSchema": {"type": "object"}} for each in tools]}}]
        for tools in (CLOCK, CLOCK[:2])
    ]
    await ada.server("clock", {"replies": {"tools/list": answers}}, description="Tells the time")
    await ada.server("web", {"tools": ["get", "now"]})
    await ada.server("shared", {}, ownerId=None)
    yield ada


async def namespace(api: Api, name: str, *servers: str, **more: Any) -> JSON:
    known = {server["name"]: server["id"] for server in (await api.send("GET", "/servers?limit=200"))["items"]}
    body = {"name": name, "servers": [{"serverId": known[server]} for server in servers], **more}
    made: JSON = await api.send("POST", "/namespaces", body)
    return made


def line(page: Page, tool: str) -> Any:
    return page.locator("#tools-list tbody").filter(has=page.get_by_text(tool, exact=True))


async def test_a_namespace_is_made_and_filled_and_its_servers_are_put_in_order(
    browser: Browser, shared_home: House, api: Api
) -> None:
    async with signed_in(browser, shared_home) as page:
        await page.get_by_role("link", name="Namespaces").first.click()
        await page.get_by_role("link", name="New namespace").click()
        await page.get_by_label("Name", exact=True).fill("not a name")
        await page.get_by_label("Middlewares").fill('[{"limit": {"maxBytes": "many"}}]')
        await page.get_by_role("button", name="Make the namespace").click()
        await expect(page.get_by_label("Name", exact=True)).to_have_attribute("aria-invalid", "true")
        await page.get_by_label("Name", exact=True).fill("daily")
        await page.get_by_role("button", name="Make the namespace").click()
        await expect(page.get_by_label("Middlewares")).to_have_attribute("aria-invalid", "true")
        await picture(page, "namespace-refused")
        await page.get_by_label("Middlewares").fill('["audit"]')
        await page.get_by_role("button", name="Make the namespace").click()

        await expect(page.get_by_role("status")).to_contain_text("Now add servers")
        await page.get_by_label("Search in names").fill("TELLS")
        await page.get_by_role("button", name="Search").click()
        await expect(page.get_by_role("checkbox")).to_have_count(1)
        await page.get_by_role("checkbox", name="clock").check()
        await page.get_by_role("button", name="Add what is chosen").click()
        await page.get_by_role("link", name="Add servers").click()
        await page.get_by_role("checkbox", name="web").check()
        await picture(page, "namespace-add")
        await page.get_by_role("button", name="Add what is chosen").click()

        servers = page.locator("#members tbody tr")
        await expect(servers).to_contain_text(["clock", "web"])
        await page.get_by_role("button", name="Move web up").click()
        await expect(servers).to_contain_text(["web", "clock"])
        await expect(page.get_by_role("button", name="Move web up")).to_be_disabled()
        await page.get_by_role("switch", name="web takes part").click()
        switch = page.get_by_role("switch", name="web takes part")
        await expect(switch).to_have_attribute("aria-checked", "false")
        await expect(switch).to_be_focused()
        await expect(page.get_by_role("status").first).to_have_text("The server was switched off.")
        await picture(page, "namespace")
        page.once("dialog", lambda dialog: dialog.accept())
        await page.get_by_role("button", name="Remove web").click()
        await expect(servers).to_have_count(1)

        await page.get_by_role("link", name="Namespaces").last.click()
        row = page.get_by_role("row").filter(has_text="daily")
        await expect(row.get_by_role("cell")).to_have_text(["ada@example.com", "1", "3", "0", re.compile("20")])
        await picture(page, "namespaces")
        await row.get_by_role("link").click()
        page.once("dialog", lambda dialog: dialog.accept())
        await page.get_by_role("button", name="Delete").click()
        await expect(page.get_by_role("status")).to_have_text("The namespace was deleted.")


async def test_a_tool_is_overridden_with_a_preview_of_what_clients_will_see(
    browser: Browser, shared_home: House, api: Api
) -> None:
    made = await namespace(api, "tools", "clock", "web")
    async with signed_in(browser, shared_home) as page:
        await page.goto(f"{shared_home.origin}/namespaces/{made['id']}")
        await page.get_by_label("Search in names").fill("time of")
        await expect(page.locator("#tools-list tbody")).to_have_count(1)
        await expect(page).to_have_url(re.compile("search=time"))
        await page.get_by_role("link", name="Edit now").click()
        name = page.get_by_label("Name", exact=True)
        await expect(name).to_be_focused()
        seen = page.locator(".seen")
        await expect(seen.locator(".published")).to_have_text("clock__now")
        await name.fill("what_time")
        await expect(seen.locator(".published")).to_have_text("clock__what_time")
        await page.get_by_label("Annotations").fill('{"openWorldHint": true')
        await expect(seen).to_contain_text("not JSON")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_label("Annotations")).to_have_attribute("aria-invalid", "true")
        await expect(page.locator(".override")).to_contain_text("(line 1, column 23)")
        await page.get_by_label("Annotations").fill('{"openWorldHint": true}')
        await expect(seen.locator("pre").first).to_contain_text('"openWorldHint": true')
        await picture(page, "override")
        told = json.loads(await seen.locator("pre").first.inner_text())
        await page.get_by_role("button", name="Save").click()

        row = line(page, "what_time")
        await expect(row).to_contain_text("instead of now")
        for badge in ("overridden", "reads only", "reaches outside"):
            await expect(row).to_contain_text(badge)
        await expect(page.get_by_role("link", name="Edit now")).to_be_focused()
        await expect(page.locator("#counts")).to_contain_text("overridden 1")
        tools = f"/namespaces/{made['id']}/tools"
        (saved,) = (await api.send("GET", f"{tools}?show=overridden"))["items"]
        assert (saved["name"], told["name"]) == ("what_time", "clock__what_time")

        await row.get_by_role("switch").click()
        await expect(row.get_by_role("switch")).to_have_attribute("aria-checked", "false")
        await row.get_by_role("link").click()
        await expect(page.locator(".seen")).to_contain_text("it is switched off")
        page.once("dialog", lambda dialog: dialog.accept())
        await page.get_by_role("button", name="Reset to").click()
        await expect(line(page, "now")).not_to_contain_text("overridden")
        await expect(line(page, "now").get_by_role("switch")).to_have_attribute("aria-checked", "false")


async def test_many_tools_are_switched_by_a_pattern_that_is_shown_first(
    browser: Browser, shared_home: House, api: Api
) -> None:
    made = await namespace(api, "many", "clock", "web")
    async with signed_in(browser, shared_home) as page:
        await page.goto(f"{shared_home.origin}/namespaces/{made['id']}")
        await page.get_by_text("Switch many at once").click()
        await page.get_by_label("fits a pattern").fill("*__now")
        await page.get_by_role("button", name="Switch off…").click()
        await expect(page.get_by_role("heading", name="2 tools will be switched off")).to_be_visible()
        await expect(page.get_by_role("listitem").filter(has_text="__now")).to_have_text(["clock__now", "web__now"])
        await picture(page, "many")
        await page.get_by_role("button", name="Switch off", exact=True).click()
        await expect(page.locator("#counts")).to_contain_text("off 2")
        await page.get_by_label("Show").select_option("off")
        await expect(page.locator("#tools-list tbody")).to_have_count(2)
        await expect(page.locator("#tools-list").get_by_role("status")).to_have_text("2 tools fit.")


async def test_tools_that_are_gone_are_marked_and_their_settings_can_be_taken_away(
    browser: Browser, shared_home: House, api: Api
) -> None:
    made = await namespace(api, "gone", "clock")
    async with signed_in(browser, shared_home, viewport={"width": 390, "height": 844}, color_scheme="dark") as page:
        await page.goto(f"{shared_home.origin}/namespaces/{made['id']}")
        await line(page, "zone").get_by_role("switch").click()
        await expect(line(page, "zone").get_by_role("switch")).to_have_attribute("aria-checked", "false")
        await page.get_by_role("button", name="Read again").click()  # by now, the server has two tools
        await expect(line(page, "zone")).to_contain_text("gone")
        await picture(page, "phone")
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await page.get_by_role("link", name="Edit zone").click()
        await expect(page.locator(".seen")).to_contain_text("does not offer it now")
        await picture(page, "phone-override")
        page.once("dialog", lambda dialog: dialog.accept())
        await page.get_by_role("button", name="Reset to").click()
        await expect(page.locator("#counts")).to_contain_text("gone 0")
        await expect(line(page, "zone")).to_have_count(0)


async def test_all_of_it_works_without_javascript(shared_home: House, api: Api) -> None:
    made = await namespace(api, "plain", "web")
    ada, path = api.person, f"/namespaces/{made['id']}"
    server = made["servers"][0]["serverId"]
    tool = {"server": server, "tool": "get"}
    answer = await ada.send(f"{path}/tools/switch", **tool, version="0", to="off")
    assert answer.headers["location"].startswith(f"{path}?done=tool-off")
    assert "The tool was switched off." in (await ada.get(answer.headers["location"])).text
    version = str((await api.send("GET", f"{path}/tools/{server}/get"))["version"])
    # Two people at once: who comes second is told, and nothing is overwritten.
    late = await ada.send(f"{path}/tool/save", **tool, version="0", title="Late")
    assert late.status_code == 409
    assert "changed by somebody else" in late.text
    assert 'value="Late"' in late.text
    shown = await ada.send(f"{path}/tool/preview", **tool, version=version, title="A title")
    assert (shown.status_code, 'value="A title"' in shown.text) == (200, True)
    taken = await ada.send(f"{path}/tool/save", **tool, version=version, name="has space")
    assert taken.status_code == 422
    assert 'aria-invalid="true"' in taken.text
    for annotations in ("[1]", "{"):
        wrong = await ada.send(f"{path}/tool/save", **tool, version=version, annotations=annotations)
        assert wrong.status_code == 422
    saved = await ada.send(f"{path}/tool/save", **tool, version=version, title="A title", annotations='{"x": 1}')
    assert saved.status_code == 303
    kept = await api.send("GET", f"{path}/tools/{server}/get")
    assert (kept["title"], kept["annotations"], kept["enabled"]) == ("A title", {"x": 1}, False)
    old = await ada.send(f"{path}/servers/remove", server=server, version="1000")
    assert old.status_code == 409
    edited = await ada.send(f"{path}/edit", name="plain", description="New", prefix="always", owner=made["ownerId"],
                            middlewares="", version=str(made["version"]))  # fmt: skip
    assert edited.status_code == 303
    assert (await api.send("GET", path))["description"] == "New"


async def test_a_member_sees_what_is_public_and_changes_only_what_is_theirs(shared_home: House, api: Api) -> None:
    private, public = await namespace(api, "private", "web"), await namespace(api, "public", "shared", ownerId=None)
    mel = await person(shared_home, MEL)
    assert (await mel.get(f"/namespaces/{private['id']}")).status_code == 404
    listed = (await mel.get("/namespaces")).text
    assert ("private" in listed, "public" in listed) == (False, True)
    path = f"/namespaces/{public['id']}"
    shown = (await mel.get(path)).text
    assert "Show echo" in shown
    assert 'role="switch"' not in shown
    server = public["servers"][0]["serverId"]
    refused = await mel.send(f"{path}/tools/switch", server=server, tool="echo", version="0", to="off")
    assert refused.status_code == 403
    assert (await mel.send(f"{path}/delete", version="1")).status_code == 403
    made = await mel.send("/namespaces/new", name="mels", prefix="always", owner="public")
    assert made.status_code == 403
    assert 'value="mels"' in made.text


async def test_pages_are_quick_with_thousands_of_tools(shared_home: House, api: Api) -> None:
    await api.server("huge", {"tools": [f"tool{number:04}" for number in range(5000)]})
    made = await namespace(api, "huge", "huge", "clock", "web")
    for path in ("/namespaces", f"/namespaces/{made['id']}", f"/namespaces/{made['id']}?search=tool49"):
        spent = []
        for _ in range(6):
            began = time.process_time()
            assert (await api.person.get(path)).status_code == 200
            spent.append(time.process_time() - began)
        # It takes some 30 ms where nothing else runs; a test must not fail on a machine that is slow or busy.
        assert min(spent) < 0.3, (path, spent)


async def test_pages_ask_the_database_as_little_with_500_servers_as_with_one(shared_home: House, api: Api) -> None:
    store = await shared_home.store()
    clock = uuid.UUID(next(each["id"] for each in (await api.send("GET", "/servers?search=clock"))["items"]))
    paths = {}
    async with store.write(COMMAND_LINE) as tx:
        servers = [Server(name=f"one-of-{number}", type="stdio", command="x", disabled=True) for number in range(500)]
        await tx.add_all(servers)
        for name, others in (("few", []), ("many", servers)):
            space = await tx.add(Namespace(owner_id=None, name=name))
            ids = [clock, *(server.id for server in others)]
            members = [Membership(namespace_id=space.id, server_id=each, position=n) for n, each in enumerate(ids)]
            await tx.add_all(members)
            await tx.add_all(
                [ToolSetting(namespace_id=space.id, server_id=each, tool="t", enabled=False) for each in ids]
            )
            paths[name] = f"/namespaces/{space.id}"
    await shared_home.gateway.reload()
    asked: list[str] = []

    def note(*arguments: Any) -> None:
        asked.append(arguments[2])

    async def questions(path: str) -> int:
        asked.clear()
        assert (await api.person.get(path)).status_code == 200, path
        return len(asked)

    event.listen(store.engine.sync_engine, "before_cursor_execute", note)
    try:
        for page in ("", "/edit", "/servers/add", f"/tool?server={clock}&tool=now", "/tools/many?pattern=*now&to=off"):
            few = await questions(paths["few"] + page)
            # The gateway itself looks for changes meanwhile, and reads them; a question for each server is 500 more.
            assert 0 < await questions(paths["many"] + page) < few + 250, page
    finally:
        event.remove(store.engine.sync_engine, "before_cursor_execute", note)
