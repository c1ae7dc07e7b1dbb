"""Endpoints: made, looked at, given to clients, switched to another namespace and removed, as people do it."""

import asyncio
import json
import os
import re
import shlex
from html import unescape
from typing import Any

import msgspec
import pytest
from playwright.async_api import Browser, expect

from metamcp_asgi.store.policy import COMMAND_LINE, acting_user
from metamcp_asgi.store.services import endpoints, keys, namespaces, users
from metamcp_asgi.store.services.inputs import NewEndpoint, NewKey, NewNamespace
from tests.admin_pages.forms import form_in, wrong_in
from tests.admin_pages.visits import person, picture, signed_in
from tests.places import npm_program
from tests.signin.people import ADA, MEL, House

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def namespaces_made(home: House) -> dict[str, str]:
    """Makes two public namespaces; returns their ids by their names."""
    async with (await home.store()).write(COMMAND_LINE) as tx:
        made = [await namespaces.create(tx, COMMAND_LINE, NewNamespace(name=name)) for name in ("all", "some")]
    return {row.name: str(row.id) for row in made}


async def test_from_nothing_to_what_a_client_is_given(browser: Browser, shared_home: House) -> None:
    await namespaces_made(shared_home)
    async with signed_in(browser, shared_home, permissions=["clipboard-read", "clipboard-write"]) as page:
        await page.get_by_role("link", name="Endpoints").first.click()
        await expect(page.get_by_text("There are no endpoints yet.")).to_be_visible()
        await page.get_by_role("link", name="Add an endpoint").click()
        await page.get_by_label("Name", exact=True).fill("not a name")
        await page.get_by_label("Whose").select_option("For everybody")
        await expect(page.get_by_label("Issuer")).to_be_hidden()
        await page.get_by_label("Who has an access token").select_option("Those of another authorization server")
        await page.get_by_label("Issuer").fill("https://id.example.com")
        await page.get_by_label("Requests of all clients together").fill("100")
        await picture(page, "endpoint-form")
        await page.get_by_role("button", name="Add the endpoint").click()
        # One thing after the other is told, and what was typed stays.
        seconds = page.get_by_label("In so many seconds", exact=True)
        await expect(seconds).to_have_accessible_description("is required")
        await seconds.fill("60")
        await page.get_by_role("button", name="Add the endpoint").click()
        await expect(page.get_by_label("Name", exact=True)).to_have_attribute("aria-invalid", "true")
        await picture(page, "endpoint-refused")
        await expect(page.get_by_label("Issuer")).to_have_value("https://id.example.com")
        await page.get_by_label("Name", exact=True).fill("tools")
        await page.get_by_label("The key may be in the URL").check()
        await page.get_by_role("button", name="Add the endpoint").click()
        await expect(page.get_by_role("status")).to_have_text("The endpoint was created.")
        await expect(page.get_by_text("An access token of https://id.example.com")).to_be_visible()
        await page.get_by_role("button", name="Copy MCP", exact=True).first.click()
        assert await page.evaluate("navigator.clipboard.readText()") == f"{shared_home.origin}/metamcp/tools/mcp"
        await picture(page, "endpoint")
        await page.get_by_label("Namespace").select_option("some")
        await page.get_by_role("button", name="Switch", exact=True).click()
        await expect(page.get_by_role("status")).to_contain_text("publishes another namespace now")
        await page.get_by_role("link", name="Endpoints", exact=True).first.click()
        await expect(page.get_by_role("row").filter(has_text="tools")).to_contain_text("some")
        await page.get_by_label("Search").fill("nothing like it")
        await expect(page.get_by_text("No endpoint is found by this.")).to_be_visible()
        await page.get_by_role("link", name="Show all").click()
        await page.set_viewport_size({"width": 390, "height": 844})
        await picture(page, "endpoints-phone")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await page.get_by_role("link", name="tools", exact=True).click()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await picture(page, "endpoint-phone")
        page.once("dialog", lambda dialog: dialog.accept())
        await page.get_by_role("button", name="Delete").click()
        await expect(page.get_by_role("status")).to_have_text("The endpoint was deleted.")


async def endpoint_made(home: House, name: str, owner: str | None = None, **fields: object) -> str:
    """Makes an endpoint over a namespace of its own, as Ada; returns its path in the admin pages."""
    async with (await home.store()).write(COMMAND_LINE) as tx:
        acting = COMMAND_LINE if owner is None else acting_user(await users.by_email(tx, COMMAND_LINE, owner))
        namespace = await namespaces.create(tx, acting, NewNamespace(name=name))
        given = msgspec.convert({"name": name, "namespaceId": str(namespace.id), **fields}, NewEndpoint)
        made = await endpoints.create(tx, acting, given)
    await home.gateway.reload()
    return f"/endpoints/{made.id}"


async def endpoint_read(home: House, path: str) -> dict[str, Any]:
    """Returns an endpoint as the API has it; `path` is that of its page, which is the API's as well."""
    found: dict[str, Any] = (await (await person(home)).get(f"/api/v1{path}")).json()
    return found


def snippets(page: str) -> dict[str, str]:
    """Returns what each client is given, by its name."""
    found = re.findall(r'<pre [^>]*aria-label="([^"]*)">(.*?)</pre>', page, re.DOTALL)
    return {name: unescape(text) for name, text in found}


async def test_each_client_is_given_what_its_own_documentation_asks_for(shared_home: House) -> None:
    ada = await person(shared_home)
    url = f"{shared_home.origin}/metamcp/keyed/mcp"
    given = snippets((await ada.get(await endpoint_made(shared_home, "keyed"))).text)
    header = {"Authorization": "Bearer YOUR_API_KEY"}
    assert json.loads(given["Cursor"]) == {"mcpServers": {"keyed": {"url": url, "headers": header}}}
    code = json.loads(given["VS Code"])
    asked = {"type": "promptString", "id": "keyed-key", "description": "API key for keyed", "password": True}
    server = {"type": "http", "url": url, "headers": {"Authorization": "Bearer ${input:keyed-key}"}}
    assert code == {"inputs": [asked], "servers": {"keyed": server}}
    assert shlex.split(given["Claude Code"]) == [
        *("claude", "mcp", "add", "--transport", "http", "keyed", url),
        *("--header", "Authorization: Bearer YOUR_API_KEY"),
    ]
    desktop = json.loads(given["Claude Desktop"])["mcpServers"]["keyed"]
    assert desktop["args"] == ["-y", "mcp-remote", url, "--header", "Authorization:${AUTH}"]
    assert desktop["env"] == {"AUTH": "Bearer YOUR_API_KEY"}

    page = (await ada.get(await endpoint_made(shared_home, "signed-in", apiKeyAuth=False, oauth=True))).text
    assert "YOUR_API_KEY" not in page
    assert "/.well-known/oauth-protected-resource/metamcp/signed-in/mcp" in page
    assert "OAuth 2.1" in page
    page = (await ada.get(await endpoint_made(shared_home, "open", apiKeyAuth=False))).text
    assert "whoever reaches the gateway can use it" in page
    assert json.loads(snippets(page)["VS Code"])["servers"]["open"] == {
        "type": "http",
        "url": url.replace("keyed", "open"),
    }
    page = (await ada.get(await endpoint_made(shared_home, "in-url", queryParamAuth=True))).text
    assert f"{shared_home.origin}/metamcp/in-url/sse?api_key=YOUR_API_KEY" in page


async def test_the_settings_for_claude_desktop_work_as_they_are(shared_home: House) -> None:
    path = await endpoint_made(shared_home, "desktop")
    async with (await shared_home.store()).write(COMMAND_LINE) as tx:
        _, key = await keys.create(tx, COMMAND_LINE, NewKey(name="desktop", owner_id=None))
    await shared_home.gateway.reload()
    text = snippets((await (await person(shared_home)).get(path)).text)["Claude Desktop"].replace("YOUR_API_KEY", key)
    server = json.loads(text)["mcpServers"]["desktop"]
    assert (server["command"], server["args"][:2]) == ("npx", ["-y", "mcp-remote"])
    program, *arguments = npm_program("mcp-remote")
    process = await asyncio.create_subprocess_exec(
        *(program, *arguments, *server["args"][2:]),
        env={**os.environ, **server["env"]},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "desktop", "version": "1"}}
    try:
        process.stdin.write(
            json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}).encode() + b"\n"
        )
        async with asyncio.timeout(30):
            answer = json.loads(await process.stdout.readline())
        assert answer["result"]["protocolVersion"] == "2025-11-25"
    finally:
        process.kill()
        await process.wait()


async def test_every_option_comes_back_as_it_was_given(shared_home: House) -> None:
    oauth = {
        "issuer": "https://id.example.com/realm",
        "audience": ["one", "two"],
        "scopes": ["read"],
        "toolScopes": {"files__*": ["files:write", "files:read"]},
        "jwksUri": "https://id.example.com/keys",
        "principalClaim": "oid",
        "nameClaim": "email",
        "groupsClaim": "realm_access.roles",
        "groups": {"cn=staff,dc=example": ["read"], "all": []},
    }
    limits = {"maxRate": 10, "maxRateSeconds": 1.5}
    client = {"maxRate": 5, "maxRateSeconds": 60, "strategy": "header", "header": "x-team"}
    given = {"oauth": oauth, "rateLimit": limits, "clientRateLimit": client, "description": "all of it"}
    path = await endpoint_made(shared_home, "full", **given)
    ada = await person(shared_home)
    before = await endpoint_read(shared_home, path)
    # What the form shows is what is sent when nobody touches it.
    shown = form_in((await ada.get(f"{path}/edit")).text)
    assert (await ada.send(f"{path}/edit", **shown)).status_code == 303
    assert await endpoint_read(shared_home, path) == before
    assert before["oauth"] == oauth
    again = await ada.send(f"{path}/edit", **{**shown, "name": "renamed"})
    assert again.status_code == 303, "the version has not changed, for nothing has"
    stale = await ada.send(f"{path}/edit", **shown)
    assert stale.status_code == 409
    assert "changed by somebody else" in stale.text
    for field, value, there in (
        ("issuer", "nonsense", "issuer"),
        ("toolScopes", "!! = x", "toolScopes"),
        ("maxRate", "many", "maxRate"),
        ("clientHeader", "not a header", "clientHeader"),
    ):
        refused = await ada.send(f"{path}/edit", **{**form_in((await ada.get(f"{path}/edit")).text), field: value})
        assert (refused.status_code, wrong_in(refused.text)) == (422, [there]), field


async def test_members_change_their_own_only_and_publish_what_they_may(shared_home: House) -> None:
    public = await endpoint_made(shared_home, "of-all")
    hers = await endpoint_made(shared_home, "of-ada", owner=ADA)
    his = await endpoint_made(shared_home, "of-mel", owner=MEL)
    mel = await person(shared_home, MEL)
    assert (await mel.get(hers)).status_code == 404
    page = await mel.get(public)
    assert (page.status_code, "/delete" in page.text) == (200, False)
    for what in ("delete", "namespace", "edit"):
        assert (await mel.send(f"{public}/{what}", version="1", name="of-all")).status_code in (403, 422)
    mine = (await mel.get(his)).text
    offered = re.findall(r"<option value=[^>]*>([^<]*)</option>", mine)
    assert ("of-mel" in offered, "of-ada" in offered) == (True, False)
    assert (await mel.send(f"{his}/delete", version="9")).status_code == 409
    assert (await mel.send(f"{his}/delete", version="1")).headers["location"] == "/endpoints?done=deleted"
    form = {"name": "new", "namespace": (await endpoint_read(shared_home, public))["namespaceId"], "owner": "public"}
    assert (await mel.send("/endpoints/new", **form)).status_code == 403
