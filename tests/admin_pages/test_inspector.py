"""The inspector: a person tries servers of both eras as an MCP client does, and sees every message."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any, Literal

import httpx2
import pytest
from mcp.server.subscriptions import ToolsListChanged
from playwright.async_api import Browser, Locator, Page, expect

from metamcp_asgi.downstream import streams
from metamcp_asgi.pages.assets import asset_path
from metamcp_asgi.store.policy import COMMAND_LINE
from metamcp_asgi.store.services import servers
from metamcp_asgi.store.services.inputs import NewServer
from tests.admin_pages.inspected import Laboratory
from tests.admin_pages.visits import Person, person, picture, signed_in
from tests.signin.people import MEL

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("inspector")]


class Inspector:
    """The page, in the words of who uses it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.detail = page.get_by_role("tabpanel").locator(".detail article")
        self.notices = page.get_by_role("list", name="Notifications, the newest first")
        self.messages = page.get_by_role("list", name="Messages, the newest first")
        self.question = page.locator("section.question")

    async def tab(self, name: str) -> None:
        await self.page.get_by_role("tab", name=name).click()

    async def open(self, name: str) -> None:
        """Chooses an item of the list that is shown."""
        await self.page.get_by_role("tabpanel").get_by_role("button", name=name, exact=True).click()

    async def start(self, name: str, **arguments: str) -> None:
        """Calls a tool, whose arguments are texts and numbers."""
        await self.open(name)
        for argument, value in arguments.items():
            await self.field(argument).fill(value)
        await self.press("Call")

    def field(self, name: str) -> Locator:
        return self.detail.get_by_label(re.compile(rf"^{name}\b"))

    async def press(self, name: str) -> None:
        await self.detail.get_by_role("button", name=name, exact=True).click()

    async def result(self, text: str) -> None:
        """Waits for the result that begins with a text."""
        await expect(self.detail.locator(".outcome pre").first).to_contain_text(text)

    async def asked(self, text: str) -> None:
        await expect(self.question.filter(has_text=text)).to_be_visible()

    async def answer(self, text: str, button: str, **fields: str) -> None:
        """Answers the question that has a text in it."""
        card = self.question.filter(has_text=text)
        for name, value in fields.items():
            await card.get_by_label(re.compile(rf"^{name.replace('_', ' ')}\b")).fill(value)
        await card.get_by_role("button", name=button).click()
        await expect(card).to_have_count(0)

    async def raw(self, title: str, way: Literal["sent", "received"]) -> str:
        """Opens the newest message of a title, and returns what it shows."""
        named = self.page.locator("code", has_text=re.compile(rf"^{re.escape(title)}( #\d+)?$"))
        message = self.messages.locator(f"li.{way}").filter(has=named).first
        await message.locator("summary").click()
        return await message.locator("pre").inner_text()


@contextlib.asynccontextmanager
async def inspecting(
    browser: Browser, lab: Laboratory, kind: Any, name: str, revision: str, **how: Any
) -> AsyncIterator[Inspector]:
    """Connects to a server or an endpoint by a revision of the protocol."""
    async with signed_in(browser, lab, **how) as page:
        await page.goto(lab.inspector(kind, name))
        await page.get_by_label("Revision of MCP").select_option(revision)
        await page.get_by_role("button", name="Connect", exact=True).click()
        await expect(page.get_by_text(f"by revision {revision}")).to_be_visible()
        yield Inspector(page)


async def test_a_tool_is_called_with_a_form_made_of_its_schema(browser: Browser, laboratory: Laboratory) -> None:
    async with inspecting(browser, laboratory, "server", "modern", "2026-07-28") as seen:
        await seen.open("order")
        await seen.press("Call")
        await expect(seen.detail.get_by_text("A number is needed here.")).to_be_visible()
        await expect(seen.field("count")).to_be_focused()
        await seen.field("what").fill("a hat")
        await seen.field("count").fill("2")
        await expect(seen.field("weight")).to_have_value("1.5")
        await seen.field("gift").select_option("Yes")
        await seen.field("colour").select_option("red")
        await seen.detail.get_by_label("L", exact=True).check()
        for number, note in enumerate(("soon", "please"), 1):
            await seen.field("notes").get_by_role("button", name="Add an item").click()
            await seen.detail.get_by_label(f"Item {number}").fill(note)
        await seen.field("to").get_by_label("Given").check()
        await seen.field("city").fill("Paris")
        await seen.field("zip").fill("75001")
        await seen.field("extra").fill('{"wrapped": [true]}')
        await seen.press("Call")
        await seen.result('"what": "a hat"')
        given = {
            "what": "a hat",
            "count": 2,
            "weight": 1.5,
            "gift": True,
            "colour": "red",
            "sizes": ["L"],
            "notes": ["soon", "please"],
            "to": {"city": "Paris", "zip": 75001},
            "extra": {"wrapped": [True]},
        }
        assert json.loads(await seen.detail.locator(".outcome pre").first.inner_text()) == given
        await picture(seen.page, "inspector-tool")

        # What the form says is the same as what the text says.
        await seen.press("Edit as JSON")
        whole = seen.detail.get_by_label("All of it as JSON")
        assert json.loads(await whole.input_value()) == given
        await whole.fill('{"what": "a hat", "count": ')
        await seen.press("Call")
        await expect(seen.detail.get_by_text("This is not JSON")).to_be_visible()
        await whole.fill('{"what": "a coat", "count": 9}')
        await seen.press("Edit as JSON")
        await expect(seen.field("what")).to_have_value("a coat")
        await expect(seen.field("to").get_by_label("Given")).not_to_be_checked()

        sent = await seen.raw("tools/call", "sent")
        assert "Mcp-Method: tools/call\nMcp-Name: order" in sent
        assert '"io.modelcontextprotocol/protocolVersion": "2026-07-28"' in sent
        assert '"resultType": "complete"' in await seen.raw("Result of tools/call", "received")


async def test_a_stateless_server_asks_and_is_answered_by_hand(browser: Browser, laboratory: Laboratory) -> None:
    async with inspecting(browser, laboratory, "server", "modern", "2026-07-28") as seen:
        await seen.start("all_at_once", topic="rain")
        await seen.asked("A word for rain?")
        await seen.asked("Write about rain")
        await picture(seen.page, "inspector-questions")
        await seen.answer("A word for rain?", "Send", word="wet")
        await seen.answer("The server asks a model", "Send", What_the_model_says="It rains.")
        await seen.answer("The server asks for your roots", "Send", Your_roots="file:///a\nfile:///b")
        await seen.result("wet / It rains. / 2")
        assert '"inputResponses"' in await seen.raw("tools/call", "sent")
        await seen.start("ask_twice", topic="snow")
        await seen.answer("A word for snow?", "Send", word="cold")
        await seen.answer("And one after cold?", "Decline")
        await seen.result("snow: cold, decline")
        await seen.start("open_page")
        await expect(seen.question.get_by_role("link", name="https://example.com/connect")).to_be_visible()
        await seen.answer("Connect your account", "I agree")
        await seen.result("accept")
        await seen.start("ask", topic="hail")
        await seen.asked("A word for hail?")
        await seen.press("Cancel")
        await expect(seen.question).to_have_count(0)
        await expect(seen.detail.get_by_text("Cancelled.")).to_be_visible()


async def test_what_a_stateless_server_offers_and_tells_of(browser: Browser, laboratory: Laboratory) -> None:
    async with inspecting(browser, laboratory, "server", "modern", "2026-07-28") as seen:
        await seen.tab("Resources")
        await seen.open("modern://doc")
        await seen.press("Read")
        await seen.result("document of modern")
        await seen.press("Subscribe")
        await expect(seen.detail.get_by_role("button", name="Unsubscribe")).to_be_visible()
        await seen.tab("Tools")
        await seen.start("touch")
        await expect(seen.notices.get_by_text("modern://doc", exact=True)).to_be_visible()

        await seen.tab("Templates")
        await seen.open("modern://items/{item}")
        await seen.field("item").fill("a b")
        await expect(seen.detail.get_by_text("modern://items/a%20b", exact=True)).to_be_visible()
        await seen.press("Read")
        await seen.result("item a b of modern")

        await seen.tab("Prompts")
        await seen.open("greet")
        await seen.field("who").fill("Pr")
        await expect(seen.detail.locator("datalist option")).to_have_count(1)
        await expect(seen.detail.locator("datalist option")).to_have_attribute("value", "Prague")
        await seen.field("who").fill("Prague")
        await seen.press("Get")
        await seen.result("Greet Prague from modern")

        await seen.tab("About it")
        await seen.page.get_by_label("Log messages from this level on").select_option("warning")
        await seen.page.get_by_role("button", name="Ping").click()
        await expect(seen.page.get_by_text("Answered in")).to_be_visible()
        await seen.tab("Tools")
        await seen.start("log")
        await seen.result("logged")
        await expect(seen.notices.get_by_text("a error", exact=True)).to_be_visible()
        await expect(seen.notices.get_by_text("a info", exact=True)).to_have_count(0)

        await seen.start("slow", tag="walk", steps="3")
        await seen.result("walk done")
        assert '"message": "step 3"' in await seen.raw("notifications/progress", "received")
        await seen.start("hold", tag="wait")
        await laboratory.witness.saw("wait started")
        await expect(seen.detail.get_by_role("progressbar")).to_have_attribute("value", "1")
        await seen.press("Cancel")
        await laboratory.witness.saw("wait cancelled")


async def test_a_server_with_sessions_tells_and_asks_on_its_streams(browser: Browser, laboratory: Laboratory) -> None:
    async with inspecting(browser, laboratory, "server", "legacy", "2025-11-25") as seen:
        await seen.start("echo", text="héllo")
        await seen.result("héllo")
        assert "Mcp-Session-Id: " in await seen.raw("tools/call", "sent")
        await seen.start("all_at_once", topic="rain")
        await seen.answer("A word for rain?", "Send", word="wet")
        await seen.answer("The server asks a model", "Send", What_the_model_says="It rains.")
        await seen.answer("The server asks for your roots", "Send", Your_roots="file:///a")
        await seen.result("wet / It rains. / 1")
        await picture(seen.page, "inspector-legacy")
        await seen.start("open_page")
        await seen.answer("Connect your account", "Cancel")
        await seen.result("cancel")
        await seen.start("ask", topic="hail")
        await seen.asked("A word for hail?")
        await seen.press("Cancel")
        await expect(seen.question).to_have_count(0)
        assert '"requestId"' in await seen.raw("notifications/cancelled", "sent")

        await seen.start("slow", tag="stroll", steps="3")
        await seen.result("stroll done")
        await seen.start("hold", tag="stay")
        await laboratory.witness.saw("stay started")
        await seen.press("Cancel")
        await laboratory.witness.saw("stay cancelled")

        await seen.tab("About it")
        await seen.page.get_by_role("button", name="Ping").click()
        await expect(seen.page.get_by_text("Answered in")).to_be_visible()
        await seen.page.get_by_role("button", name="Disconnect").click()
        await expect(seen.page.get_by_text("Not connected.")).to_be_visible()


async def test_an_endpoint_is_tried_on_a_phone_by_being_signed_in(browser: Browser, laboratory: Laboratory) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
    async with signed_in(
        browser, laboratory, **phone
    ) as page:  # by the lists, and by an older revision than its server
        await page.get_by_role("link", name="Inspector").click()
        await picture(page, "inspector-choose-phone")
        await page.get_by_role("searchbox").press_sequentially("LAB", delay=0)
        await expect(page.get_by_role("link", name="hers", exact=True)).to_be_hidden()
        await expect(page.get_by_text("None is found by this.")).to_be_visible()
        await page.get_by_role("link", name="lab", exact=True).click()
        await page.get_by_label("Revision of MCP").select_option("2025-06-18")
        # The session's own stream, on which the test waits for news.
        async with page.expect_response(lambda answer: answer.request.method == "GET" and "/connect/" in answer.url):
            await page.get_by_role("button", name="Connect", exact=True).click()
        seen = Inspector(page)
        await seen.start("modern__ask", topic="sleet")
        await seen.answer("A word for sleet?", "Send", word="grey")
        await seen.result("sleet: grey")
        await picture(page, "inspector-phone")
        laboratory.modern.add_tool(lambda: "here", "arrived")
        await laboratory.bus.publish(ToolsListChanged())
        await expect(seen.notices.get_by_text("tools/list_changed")).to_be_visible()
        await seen.start("modern__arrived")
        await seen.result("here")
        assert await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


class Client:
    """A program that speaks to a server as the inspector's script does, by revision 2026-07-28, and can't be asked."""

    def __init__(self, who: Person, lab: Laboratory, server: str, kind: str = "servers") -> None:
        self.who = who
        self.path = f"/mcp-inspector/connect/{kind}/{lab.ids.get(server, server)}/mcp"

    def headers(self, method: str, **more: str) -> dict[str, str]:
        return {
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": method,
            "Sec-Fetch-Site": "same-origin",
            "X-CSRF-Token": self.who.csrf,
            **more,
        }

    def message(self, method: str, **params: Any) -> dict[str, Any]:
        meta = {"protocolVersion": "2026-07-28", "clientCapabilities": {}}
        _meta = {f"io.modelcontextprotocol/{name}": value for name, value in meta.items()}
        return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": _meta}}

    async def post(self, method: str = "server/discover", **headers: str) -> httpx2.Response:
        http = self.who.visitor.http
        return await http.post(self.path, json=self.message(method), headers=self.headers(method, **headers))

    async def call(self, tool: str) -> Any:
        message, headers = self.message("tools/call", name=tool), self.headers("tools/call", **{"Mcp-Name": tool})
        answer = await self.who.visitor.http.post(self.path, json=message, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    @contextlib.asynccontextmanager
    async def listening(self, uri: str) -> AsyncIterator[AsyncIterator[Any]]:
        """Yields the messages of a stream that tells of a resource's changes."""
        message = self.message("subscriptions/listen", notifications={"resourceSubscriptions": [uri]})
        http, headers = self.who.visitor.http, self.headers("subscriptions/listen")
        async with http.stream("POST", self.path, json=message, headers=headers) as answer:
            assert answer.status_code == 200
            yield (json.loads(line[6:]) async for line in answer.aiter_lines() if line.startswith("data: {"))


async def test_only_who_is_signed_in_and_comes_from_our_page_is_connected(laboratory: Laboratory) -> None:
    ada = Client(await person(laboratory), laboratory, "modern")
    assert (await ada.post()).json()["result"]["resultType"] == "complete"
    for refused in ({"X-CSRF-Token": ""}, {"X-CSRF-Token": "0" * 64}, {"Sec-Fetch-Site": "cross-site"}):
        assert (await ada.post(**refused)).status_code == 403
    assert (await ada.post(**{"Sec-Fetch-Site": "same-site"})).status_code == 403
    stranger = laboratory.visitor()
    csrf = await stranger.token()
    answer = await Client(Person(stranger, csrf), laboratory, "modern").post()
    assert (answer.status_code, answer.json()) == (401, {"message": "You are not signed in, or not any more."})
    page = await stranger.get(f"/mcp-inspector?server={laboratory.ids['modern']}")
    assert page.headers["location"].startswith("/login")


async def test_people_reach_what_they_may_use_and_learn_of_nothing_else(laboratory: Laboratory) -> None:
    ada, mel = await person(laboratory), await person(laboratory, MEL)
    lists = {who: (await each.get("/mcp-inspector")).text for who, each in (("ada", ada), ("mel", mel))}
    for name in ("modern", "legacy", "lab", "private", "hers"):
        assert laboratory.ids[name] in lists["ada"]
        assert (laboratory.ids[name] in lists["mel"]) == (name not in ("private", "hers"))
    for kind, name in (("servers", "private"), ("endpoints", "hers")):
        assert (await Client(ada, laboratory, name, kind).post()).status_code == 200
        assert (await Client(mel, laboratory, name, kind).post()).status_code == 404
        assert (await mel.get(f"/mcp-inspector?{kind[:-1]}={laboratory.ids[name]}")).status_code == 404
    assert (await Client(mel, laboratory, "lab", "endpoints").post()).status_code == 200
    for kind, name in (("servers", "lab"), ("endpoints", "modern"), ("nothing", "lab"), ("servers", "no-id")):
        assert (await Client(ada, laboratory, name, kind).post()).status_code == 404
    assert (await ada.get("/mcp-inspector?server=no-id")).status_code == 404


async def test_a_stream_ends_when_its_server_is_gone_and_not_before(laboratory: Laboratory) -> None:
    ada = await person(laboratory)
    gateway = laboratory.gateway
    async with (await laboratory.store()).write(COMMAND_LINE) as tx:
        url = gateway.snapshot.servers["modern"].url
        made = await servers.create(tx, COMMAND_LINE, NewServer(name="brief", url=url, owner_id=None))
    await gateway.reload()
    await gateway.aggregator.catalogues["brief"].ready()
    client = Client(ada, laboratory, str(made.id))
    async with client.listening("modern://doc") as messages:
        assert (await anext(messages))["method"] == "notifications/subscriptions/acknowledged"
        assert await gateway.reload()
        await client.call("touch")
        assert (await anext(messages))["method"] == "notifications/resources/updated"
        async with (await laboratory.store()).write(COMMAND_LINE) as tx:
            await servers.delete(tx, COMMAND_LINE, made.id)
        await gateway.reload()
        assert "result" in [message async for message in messages][-1]
    assert (await client.post()).status_code == 404


async def test_a_stream_ends_in_a_while_so_that_who_signed_out_hears_nothing_more(
    laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LASTS_SIGNED_IN", 0.1)
    ada = await person(laboratory)
    client = Client(ada, laboratory, "modern")
    async with asyncio.timeout(15), client.listening("modern://doc") as messages:
        assert (await anext(messages))["method"] == "notifications/subscriptions/acknowledged"
        assert "result" in [message async for message in messages][-1]
    assert (await ada.send("/sign-out")).status_code == 303
    assert (await client.post("subscriptions/listen")).status_code in (401, 403)


async def test_what_the_script_makes_of_formats(browser: Browser, laboratory: Laboratory) -> None:
    async with signed_in(browser, laboratory) as page:

        async def made(module: str, expression: str) -> Any:
            script = f"async (path) => {{ const it = await import(path); return {expression}; }}"
            return await page.evaluate(script, asset_path(f"inspector/{module}.js"))

        # RFC 6570, with texts as values
        values = '{x: "ü/", y: "", z: "1 2", p: "a/b?c%20 d"}'
        assert await made("uritemplate", f'it.expanded("a{{/x}}{{?y,z}}{{&x:1}}", {values})') == (
            "a/%C3%BC%2F?z=1%202&x=%C3%BC"
        )
        assert await made("uritemplate", f'it.expanded("{{+p}}{{#none}}{{.p:1}}", {values})') == "a/b?c%20%20d.a"
        assert await made("uritemplate", 'it.variables("a{/x*}{?y:3,z}{x}")') == ["x", "y", "z"]
        # MCP 2026-07-28, "Value Encoding" and "Schema Extension"
        for text, value in (("plain", "plain"), ("né", "=?base64?bsOp?="), (" a", "=?base64?IGE=?=")):
            assert await made("headers", f"it.headerValue({json.dumps(text)})") == value
        schema = '{properties: {a: {"x-mcp-header": "A"}, b: {properties: {c: {"x-mcp-header": "C"}}}, d: {}}}'
        mirrored = f"it.mirrored({schema}, {{a: true, b: {{c: 3}}, d: 1}})"
        assert await made("headers", mirrored) == {"Mcp-Param-A": "true", "Mcp-Param-C": "3"}
        # No number becomes another one by being laid out.
        text = '{"n":12345678901234567890,"s":"{,}\\"","e":[],"o":{"x":1.0}}'
        laid_out = '{\n  "n": 12345678901234567890,\n  "s": "{,}\\"",\n  "e": [],\n  "o": {\n    "x": 1.0\n  }\n}'
        assert await made("json", f"it.laidOut({json.dumps(text)})") == laid_out
        # HTML 9.2.6, however the network divides it
        stream = json.dumps("data: a\r\ndata: ü\r\n\r\n: comment\nretry: 5\nid: 7\n\nid: 8\rdata:x\r\rdata: broken off")
        for size in (1, 2, 5, 1000):
            chunks = f"""(() => {{
                const bytes = new TextEncoder().encode({stream});
                let at = 0;
                return new ReadableStream({{pull(to) {{
                    if (at < bytes.length) to.enqueue(bytes.slice(at, at += {size})); else to.close();
                }}}});
            }})()"""
            events = [{"data": "a\nü"}, {"retry": 5, "id": "7", "data": ""}, {"id": "8", "data": "x"}]
            assert await made("sse", f"await Array.fromAsync(it.events({chunks}))") == events
        # A schema may lead back to itself, and elsewhere, where nobody goes.
        tree = '{$defs: {t: {type: "object", properties: {next: {$ref: "#/$defs/t"}}}}}'
        assert await made("schema", f'it.shape({{$ref: "#/$defs/t"}}, {tree}).kind') == "object"
        assert await made("schema", 'it.shape({$ref: "https://example.com/schema"}, {}).kind') == "json"
        assert await made("schema", 'it.shape({anyOf: [{type: "null"}, {type: "integer"}]}, {})') == {
            "kind": "integer",
            "nullable": True,
            "schema": {"type": "integer"},
        }
