"""One's own account: the name, the password, other browsers and clients, as people look after them."""

import re
from datetime import timedelta

import pytest
from playwright.async_api import Browser, expect

from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.store.columns import now
from metamcp_asgi.store.oauth_models import OAuthGrant
from metamcp_asgi.store.policy import COMMAND_LINE
from metamcp_asgi.store.services import users
from tests.admin_pages.forms import wrong_in
from tests.admin_pages.visits import person, picture, signed_in
from tests.signin.people import ADA, MEL, PASSWORD, House

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_name_a_password_and_other_browsers(browser: Browser, shared_home: House) -> None:
    elsewhere, laptop = await person(shared_home, MEL), await person(shared_home, MEL)
    async with signed_in(browser, shared_home, MEL) as page:
        await page.get_by_role("link", name=MEL).click()
        await page.get_by_label("Name").fill("Mel Miller")
        await page.get_by_role("button", name="Save the name").click()
        await expect(page.get_by_role("status")).to_have_text("Your name was saved.")
        await expect(page.get_by_role("link", name="Mel Miller")).to_be_visible()
        await expect(page.get_by_role("row")).to_have_count(4)
        await picture(page, "account")
        await page.get_by_role("row").nth(2).get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("status")).to_have_text("The browser is signed out.")
        answers = {(await each.get("/account")).status_code for each in (elsewhere, laptop)}
        assert answers == {200, 303}, "one of them"
        await page.get_by_label("Present password").fill("not my password")
        await page.get_by_label("New password").fill("another battery horse")
        await page.get_by_role("button", name="Change the password").click()
        await expect(page.get_by_label("Present password")).to_have_accessible_description(
            "is not the present password"
        )
        await expect(page.get_by_label("Present password")).to_have_value("")
        await page.get_by_label("Present password").fill(PASSWORD)
        await page.get_by_label("New password").fill("another battery horse")
        await page.get_by_role("button", name="Change the password").click()
        await expect(page.get_by_role("status")).to_contain_text("Your password was changed.")
        assert {(await each.get("/account")).status_code for each in (elsewhere, laptop)} == {303}
        await expect(page.get_by_role("row")).to_have_count(2)
        await page.set_viewport_size({"width": 390, "height": 844})
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    async with (await shared_home.store()).read() as tx:
        mel = await users.by_email(tx, COMMAND_LINE, MEL)
    await users.set_password(await shared_home.store(), COMMAND_LINE, mel.id, PASSWORD)


async def test_what_others_have_is_neither_shown_nor_ended(shared_home: House) -> None:
    ada, other, mel = await person(shared_home), await person(shared_home), await person(shared_home, MEL)
    async with (await shared_home.store()).write(COMMAND_LINE) as tx:
        for email, name in ((ADA, "the client of Ada"), (MEL, "the client of Mel")):
            user = await users.by_email(tx, COMMAND_LINE, email)
            await tx.add(
                OAuthGrant(
                    user_id=user.id,
                    client_id="c",
                    name=name,
                    audience="http://127.0.0.1/metamcp/tools/mcp",
                    redirect_uri="http://127.0.0.1/",
                    code_digest=digest_of(name),
                    code_challenge="",
                    expires_at=now() + timedelta(days=1),
                )
            )
    page = (await ada.get("/account")).text
    assert ("the client of Ada" in page, "the client of Mel" in page) == (True, False)
    (revoke,) = set(re.findall(r'action="(/account/grants/[0-9a-f-]+/revoke)"', page))
    (end,) = set(re.findall(r'action="(/account/sessions/[0-9a-f-]{36}/end)"', page))
    for path in (revoke, end):
        assert (await mel.send(path, version="1")).status_code == 404
    assert (await ada.send(revoke, version="1")).headers["location"] == "/account?done=revoked"
    assert "the client of Ada" not in (await ada.get("/account")).text
    assert (await ada.send("/account/sessions/end")).status_code == 303
    assert (await other.get("/account")).status_code == 303
    stale = await ada.send("/account/name", version="99", name="Ada L.")
    assert stale.status_code == 409
    assert 'value="Ada L."' in stale.text
    short = await ada.send("/account/password", current=PASSWORD, password="short")
    assert (short.status_code, wrong_in(short.text)) == (422, ["password"])
    assert 'value="short"' not in short.text
