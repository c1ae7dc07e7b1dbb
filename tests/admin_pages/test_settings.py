"""The overview, the settings and the audit, as an admin and as a member find them."""

import re

import pytest
from playwright.async_api import Browser, expect

from tests.admin_pages.visits import manage, person, picture, signed_in
from tests.signin.people import MEL, House

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_admin_changes_a_setting_and_finds_it_in_the_audit(browser: Browser, shared_home: House) -> None:
    async with signed_in(browser, shared_home) as page:
        await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        await picture(page, "overview")
        await manage(page, "Settings")
        box = page.get_by_label("Members may make things public")
        await expect(box).not_to_be_checked()
        await box.check()
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("status")).to_have_text("The settings were saved.")
        await expect(box).to_be_checked()
        await picture(page, "settings")
        await manage(page, "Audit")
        await expect(page.get_by_role("row").filter(has_text="Members may make things public added")).to_contain_text(
            "yes"
        )
        await picture(page, "audit")


async def test_the_overview_leads_to_what_a_new_gateway_needs_next(shared_home: House) -> None:
    ada = await person(shared_home)

    async def leads() -> list[str]:
        return re.findall(r'class="button primary" href="([^"]*)"', (await ada.get("/")).text)

    assert await leads() == ["/mcp-servers/new"]
    server = await ada.manage("POST", "/servers", {"name": "web", "url": "http://127.0.0.1:9/mcp", "disabled": True})
    assert await leads() == ["/namespaces/new"]
    members = [{"serverId": server["id"]}]
    namespace = await ada.manage("POST", "/namespaces", {"name": "all", "servers": members})
    assert await leads() == ["/endpoints/new"]
    await ada.manage("POST", "/endpoints", {"name": "all", "namespaceId": namespace["id"]})
    assert await leads() == ["/api-keys/new"]
    await ada.manage("POST", "/keys", {"name": "laptop"})
    assert await leads() == []
    page = (await ada.get("/")).text
    assert re.findall(r"<dd>(\d+)</dd>", page) == ["1", "1", "1", "1", "0"], "servers to keys, and no calls yet"
    assert "What to do next" not in page
    assert 'href="/mcp-servers?state=disabled"' in page


async def test_a_member_is_neither_shown_nor_told_what_is_for_admins(shared_home: House) -> None:
    mel = await person(shared_home, MEL)
    assert "/settings" not in (await mel.get("/")).text
    for path in ("/settings", "/audit"):
        assert (await mel.get(path)).status_code == 403
    assert (await mel.send("/settings", version="x", allowSignup="on")).status_code == 403


async def test_settings_that_somebody_else_changed_meanwhile_are_not_overwritten(shared_home: House) -> None:
    ada = await person(shared_home)
    answer = await ada.send("/settings", version="of-yesterday")
    assert answer.status_code == 422
    assert "changed by somebody else" in answer.text


async def test_nobody_sees_a_page_without_signing_in(shared_home: House) -> None:
    for path in ("/", "/settings", "/audit"):
        answer = await shared_home.visitor().get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login")
