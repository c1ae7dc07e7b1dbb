"""The pages of servers: added, watched, changed, found among many, carried from one gateway to another."""

import asyncio
import json
import re
import sys
import uuid
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from sqlalchemy import event

from metamcp_asgi.store.models import Server
from metamcp_asgi.store.policy import COMMAND_LINE
from metamcp_asgi.store.secrets import ServerSecrets
from tests.admin_pages.visits import Person, person, picture, signed_in
from tests.places import ROOT
from tests.signin.people import MEL, House, house, said
from tests.snapshots import PRIVATE_KEY

# One gateway for all of them.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("pages-of-servers")]

PROGRAM = ROOT / "tests" / "stdio_server.py"
NOWHERE = "http://127.0.0.1:9/mcp"
SECRET = "s3cret-7f3a"
WEB = {"type": "streamable_http", "url": NOWHERE, "timeout": "60", "era": "auto", "sharing": "auto", "owner": "public"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A gateway for the tests of this module."""
    async with house(f"sqlite:///{tmp_path_factory.mktemp('house')}/metamcp.db") as running:
        yield running


async def added(who: Person, name: str, **fields: str) -> str:
    """Adds a server by the form, and returns the path of its page."""
    answer = await who.send("/mcp-servers/new", name=name, **{**WEB, **fields})
    assert answer.status_code == 303, said(answer)
    path, _, done = str(answer.headers["location"]).partition("?")
    assert done == "done=created"
    return path


def version_of(page: str) -> str:
    found = re.search(r'name="version" value="(\d+)"', page)
    assert found is not None
    return found[1]


async def secretless(page: Page) -> None:
    assert SECRET not in await page.content()


async def test_a_server_is_added_watched_changed_and_deleted(browser: Browser, home: House) -> None:
    async with signed_in(browser, home) as page:
        page.on("dialog", lambda dialog: dialog.accept())
        await page.get_by_role("link", name="Servers").first.click()
        await page.get_by_role("link", name="Add a server").click()
        # Only the fields of the chosen transport are there.
        await page.get_by_label("Streamable HTTP").check()
        await expect(page.get_by_label("Command")).to_be_hidden()
        await page.get_by_label("stdio").check()
        await expect(page.get_by_label("URL")).to_be_hidden()
        await page.get_by_label("Name").fill("the echo")
        await page.get_by_label("Command").fill(sys.executable)
        broken = {"exit": 3, "stderr": "no such token\n"}
        await page.get_by_label("Arguments").fill(f"{PROGRAM}\n{json.dumps(broken)}")
        await page.get_by_label("Variables").fill(f"API_KEY={SECRET}\nMODE=slow")
        await page.get_by_text("Sandbox", exact=True).click()
        await page.get_by_label("Show it no more").check()
        await page.get_by_label("May read", exact=True).fill("/opt\nnotes")
        await page.get_by_role("button", name="Add the server").click()
        # What was typed is still there, beside what is wrong with it.
        name = page.get_by_label("Name")
        await expect(name).to_have_attribute("aria-invalid", "true")
        await expect(name).to_have_value("the echo")
        await picture(page, "servers-form-wrong")
        paths = page.get_by_label("May read", exact=True)
        await expect(paths).to_have_value("/opt\nnotes")
        await name.fill("echo")
        await page.get_by_role("button", name="Add the server").click()
        await expect(paths).to_have_attribute("aria-invalid", "true")
        await expect(page.locator("#read-hint")).to_contain_text("2: must be the absolute path")
        await paths.fill("/opt")
        await page.get_by_role("button", name="Add the server").click()
        await expect(page.get_by_role("status").first).to_have_text("The server was added.")
        # The page comes to know by itself that it does not work, and why: its program is outside of the sandbox.
        await expect(page.locator("#state .badge").first).to_have_text("failed")
        await expect(page.get_by_text("Without the network")).to_be_visible()
        await page.get_by_role("link", name="Edit").click()
        await expect(page.get_by_label("May read", exact=True)).to_have_value("/opt")
        await page.get_by_label("Show it no more").uncheck()
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_text("Without the network")).to_be_hidden()
        await expect(page.get_by_label("Standard error")).to_have_text("no such token")
        await picture(page, "server-failed")
        await page.get_by_role("link", name="Edit").click()
        await page.get_by_label("Arguments").fill(f"{PROGRAM}\n" + json.dumps({"tools": ["shout"]}))
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_text("The server was saved.")).to_be_visible()
        await expect(page.locator("#state .badge").first).to_have_text("ready")
        await expect(page.locator("summary", has_text="shout")).to_be_visible()
        await page.get_by_label("Search for a tool").fill("ECH")
        await expect(page.locator("summary", has_text="shout")).to_be_hidden()
        await page.locator("summary", has_text="echo").click()
        await expect(page.get_by_label("What it takes")).to_contain_text('"type": "object"')
        await expect(page.get_by_text("API_KEY", exact=True)).to_be_visible()
        await secretless(page)
        await picture(page, "server")
        await page.get_by_role("button", name="Reset").click()
        await expect(page.get_by_text("The server was reset and connects anew.")).to_be_visible()
        await page.get_by_role("button", name="Refresh tools").click()
        await expect(page.get_by_text("What the server offers was read again.")).to_be_visible()

        await page.get_by_role("link", name="Edit").click()
        await expect(page.get_by_label("API_KEY", exact=True)).to_have_value("")
        await secretless(page)
        await page.get_by_label("Description").fill("Says it again")
        await page.get_by_label("remove MODE").check()
        await picture(page, "servers-form")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_text("The server was saved.")).to_be_visible()
        await expect(page.get_by_text("MODE", exact=True)).to_be_hidden()
        await expect(page.get_by_text("API_KEY", exact=True)).to_be_visible()

        await page.get_by_role("link", name="Servers").first.click()
        row = page.get_by_role("row").filter(has_text="Says it again")
        await expect(row.get_by_text("ready")).to_be_visible()
        await page.get_by_role("searchbox", name="Search").fill("nothing like it")
        await expect(page.get_by_text("No server is found by this.")).to_be_visible()
        await page.get_by_role("searchbox", name="Search").fill("AGAIN")
        await row.get_by_role("button", name="Switch off echo").click()
        await expect(page.get_by_text("The server was switched off.")).to_be_visible()
        await expect(row.get_by_text("disabled")).to_be_visible()
        await row.get_by_role("link", name="echo", exact=True).click()
        await page.get_by_role("button", name="Delete").click()
        await expect(page.get_by_text("The server was deleted.")).to_be_visible()
        await expect(page.get_by_role("link", name="echo", exact=True)).to_be_hidden()


async def test_servers_of_another_program_are_shown_before_they_are_imported(
    browser: Browser, home: House, tmp_path: Path
) -> None:
    file = tmp_path / "mcp.json"
    entry = {"url": NOWHERE, "headers": {"X-Key": "${env:WEB_KEY}"}}
    file.write_text(json.dumps({"mcpServers": {"taken over": entry}}))
    async with signed_in(browser, home) as page:
        await page.goto(f"{home.origin}/mcp-servers/import")
        await page.get_by_label("Or choose the file").set_input_files(file)
        await expect(page.get_by_label("The file", exact=True)).to_have_value(re.compile("WEB_KEY"))
        await page.get_by_role("button", name="Show what it would do").click()
        await expect(page.get_by_text('is now called "taken-over"')).to_be_visible()
        await page.get_by_label("WEB_KEY").fill(SECRET)
        await page.get_by_role("button", name="Show again what it would do").click()
        await expect(page.get_by_role("listitem").filter(has_text="streamable_http").first).to_be_visible()
        await picture(page, "servers-import")
        await page.get_by_role("button", name="Import", exact=True).click()
        await expect(page.get_by_text("The servers were imported.")).to_be_visible()
        await page.get_by_role("link", name="taken-over", exact=True).click()
        await expect(page.get_by_text("X-Key", exact=True)).to_be_visible()
        await page.goto(f"{home.origin}/mcp-servers/export")
        async with page.expect_download() as download:
            await page.get_by_role("link", name="Download").click()
        path = await (await download.value).path()
        written = json.loads(await asyncio.to_thread(path.read_text))
        assert written["mcpServers"]["taken-over"]["headers"] == {"X-Key": "${TAKEN_OVER_X_KEY}"}
        await secretless(page)
        await picture(page, "servers-export")


async def test_what_was_typed_is_kept_and_a_change_of_somebody_else_is_not_overwritten(home: House) -> None:
    ada = await person(home)
    path = await added(ada, "kept", bearerToken=SECRET, headers="X-Key: one\nX-Other=two")
    page = (await ada.get(f"{path}/edit")).text
    seen = version_of(page)
    assert SECRET not in page
    saved = {**WEB, "name": "kept", "version": seen}
    assert (await ada.send(f"{path}/edit", **{**saved, "headers.X-Key": "three"})).status_code == 303
    late = await ada.send(f"{path}/edit", **{**saved, "description": "Mine"})
    assert late.status_code == 409
    assert "changed by somebody else" in said(late)
    assert 'value="Mine"' in late.text
    # A secret stays until it is typed anew, or taken away.
    async with (await home.store()).read() as tx:
        row = await tx.get(Server, uuid.UUID(path.rpartition("/")[2]))
        secrets = tx.secrets(row)
    assert secrets.bearer_token == SECRET
    assert secrets.headers == {"X-Key": "three", "X-Other": "two"}
    now = {**saved, "version": version_of((await ada.get(f"{path}/edit")).text)}
    assert (await ada.send(f"{path}/edit", **now, dropToken="on", drop="headers.X-Other")).status_code == 303
    page = (await ada.get(path)).text
    assert "X-Other" not in page
    assert "Bearer token" not in page
    for wrong in ({"timeout": "soon"}, {"headers": "no separator"}, {"headers": "{"}, {"url": "ftp://x"}, {"name": ""}):
        refused = await ada.send("/mcp-servers/new", **{**WEB, "name": "wrong", **wrong})
        assert refused.status_code == 422, wrong
        assert 'aria-invalid="true"' in refused.text, wrong
    form = {**WEB, "name": "wrong", "url": "ftp://x"}
    chinese = await ada.visitor.send("/mcp-servers/new", form, csrf=ada.csrf, accept_language="zh")
    assert '<span class="wrong">必须是以 http:// 或 https:// 加主机开头的 URL。</span>' in chinese.text


async def test_a_private_key_is_typed_and_not_shown_again(home: House) -> None:
    ada = await person(home)
    asked = {"oauth": "client_credentials", "clientId": "me"}
    key = {"privateKey": PRIVATE_KEY.replace("\n", "\r\n"), "keyId": "one", "algorithm": "ES256"}
    path = await added(ada, "keyed", **asked, **key)

    async def kept() -> ServerSecrets:
        async with (await home.store()).read() as tx:
            return tx.secrets(await tx.get(Server, uuid.UUID(path.rpartition("/")[2])))

    async def save(**fields: str) -> Any:
        page = (await ada.get(f"{path}/edit")).text
        assert PRIVATE_KEY[40:60] not in page
        saved = {**WEB, **asked, "name": "keyed", "keyId": "one", "algorithm": "ES256", "version": version_of(page)}
        return await ada.send(f"{path}/edit", **{**saved, **fields})

    assert (await kept()).private_key == PRIVATE_KEY.strip()
    assert "unless you type" in (await ada.get(f"{path}/edit")).text
    assert (await save(scopes="use")).status_code == 303
    assert (await kept()).private_key
    refused = await save(privateKey=PRIVATE_KEY, algorithm="RS256")
    assert refused.status_code == 422
    assert "does not fit the key" in said(refused)
    assert re.search(r'<select id="algorithm"[^>]*aria-invalid="true"', refused.text)
    assert PRIVATE_KEY[40:60] not in refused.text
    assert "PEM" in said(await save(privateKey="no key"))
    # A client has one of the two, and what is typed takes the place of the other.
    assert (await save(clientSecret=SECRET)).status_code == 303
    assert await kept() == ServerSecrets(client_secret=SECRET)
    assert (await save(**key)).status_code == 303
    assert (await kept()).client_secret is None
    assert (await save(dropKey="on")).status_code == 422
    assert (await save(dropKey="on", oauth="authorization_code", grant="server")).status_code == 303
    assert await kept() == ServerSecrets()
    answer = await ada.get(f"/api/v1/servers/{path.rpartition('/')[2]}")
    assert answer.json()["hasPrivateKey"] is False


async def test_a_member_changes_only_what_is_their_own(home: House) -> None:
    ada, mel = await person(home), await person(home, MEL)
    path = await added(ada, "public", headers=f"X-Key: {SECRET}")
    page = (await mel.get(path)).text
    assert SECRET not in page
    assert "/edit" not in page
    assert "standard error" not in page
    for action, form in (("switch", {"to": "disabled"}), ("reset", {}), ("delete", {}), ("forget", {"for": "all"})):
        assert (await mel.send(f"{path}/{action}", version="1", **form)).status_code == 403, action
    assert (await mel.get(f"{path}/edit")).status_code == 403
    form = (await mel.get("/mcp-servers/new")).text
    assert 'value="stdio"' not in form
    assert "Everybody (public)" not in form
    refused = await mel.send("/mcp-servers/new", **{**WEB, "name": "x", "type": "stdio", "command": "true"})
    assert refused.status_code == 403
    own = await added(mel, "mels", owner=await _me(mel))
    assert "mels" in (await ada.get("/mcp-servers?search=mels")).text
    assert (await mel.send(f"{own}/delete", version="1")).headers["location"] == "/mcp-servers?done=deleted"


async def _me(who: Person) -> str:
    found = re.search(r'"id":"([0-9a-f-]{36})"', (await who.get("/api/v1/me")).text)
    assert found is not None
    return found[1]


async def test_a_page_of_500_servers_is_found_with_few_questions_to_the_database(home: House) -> None:
    store = await home.store()
    async with store.write(COMMAND_LINE) as tx:
        for number in range(500):
            await tx.add(Server(name=f"many-{number:03}", type="streamable_http", url=NOWHERE, disabled=True))
    ada = await person(home)
    asked: list[str] = []

    def note(*arguments: Any) -> None:
        asked.append(arguments[2])

    event.listen(store.engine.sync_engine, "before_cursor_execute", note)
    try:
        first = await ada.get("/mcp-servers?search=many-4&state=disabled&owner=public")
    finally:
        event.remove(store.engine.sync_engine, "before_cursor_execute", note)
    # A page has 50; not one question for each of them.
    assert first.text.count("<tr>") == 51
    assert 0 < len(asked) < 15, asked
    following = re.search(r'href="(/mcp-servers\?[^"]*after=[^"]*)"', first.text)
    assert following is not None
    assert "many-499" in (await ada.get(unescape(following[1]))).text
