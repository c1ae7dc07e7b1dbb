"""The pages of OAuth clients: one is made and used, and what was granted is seen and revoked."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.admin_pages.visits import Person, manage, person, picture, signed_in
from tests.browser.axe import accessible
from tests.oauth.home import ADA, MEL, Home, home

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    """A gateway with an authorization server."""
    async with home(f"sqlite:///{tmp_path_factory.mktemp('clients')}/metamcp.db") as running:
        yield running


async def test_a_client_is_made_with_a_secret_that_is_shown_once(browser: Browser, shared: Home) -> None:
    async with signed_in(browser, shared) as page:
        page.on("dialog", lambda dialog: dialog.accept())
        await manage(page, "OAuth clients")
        await page.get_by_label("Name", exact=True).fill("Nightly robot")
        await page.get_by_role("button", name="Make a client").click()
        await expect(page.get_by_text("the only time that the secret is shown")).to_be_visible()
        await accessible(page)
        await picture(page, "oauth-client-made")
        client_id, secret, endpoint = await page.locator("dd code").all_inner_texts()
        form = {"grant_type": "client_credentials", "resource": shared.url_of("tools")}
        got = await shared.http.post(endpoint, data=form, auth=(client_id, secret))
        assert got.status_code == 200, got.text
        assert (await shared.call("tools", got.json()["access_token"])).status_code == 200

        await page.get_by_role("link", name="All clients").click()
        row = page.get_by_role("row").filter(has_text="Nightly robot")
        await expect(row).to_contain_text(ADA)
        assert secret not in await page.content()
        await row.get_by_role("button", name="Revoke").click()
        await expect(page.get_by_role("status")).to_have_text(
            "The client was revoked, with all that was granted to it."
        )
        await expect(row).to_have_count(0)
        again = await shared.http.post(endpoint, data=form, auth=(client_id, secret))
        assert again.status_code == 401


async def test_what_a_person_granted_is_seen_and_revoked(browser: Browser, shared: Home) -> None:
    token = await shared.granted()
    async with signed_in(browser, shared) as page:
        page.on("dialog", lambda dialog: dialog.accept())
        await manage(page, "OAuth clients")
        row = page.get_by_role("row").filter(has_text="Test client")
        await expect(row).to_contain_text("registered itself")
        await expect(row).to_contain_text("http://127.0.0.1:33418/callback")
        for width in (1280, 1000, 390):
            await page.set_viewport_size({"width": width, "height": 800})
            beyond = await page.locator(".scroll").evaluate("list => list.scrollWidth - list.clientWidth")
            assert beyond == 0, f"of the list, {beyond} pixels are out of sight in a window of {width}"
        await accessible(page)
        await page.set_viewport_size({"width": 1280, "height": 800})
        await picture(page, "oauth-clients")
        await page.get_by_role("link", name="Grants").click()
        await expect(row).to_contain_text(ADA)
        await accessible(page)
        await picture(page, "oauth-grants")
        await row.get_by_role("button", name="Revoke").click()
        await expect(page.get_by_text("Nobody has granted anything")).to_be_visible()
        await manage(page, "Audit")
        granted = page.get_by_role("row").filter(has_text="What was granted to a client").last
        await expect(granted).to_contain_text("Redirects to")
        for column in ("redirect_uri", "code_digest", "generation", "keyed", "attributes", "grant_types"):
            await expect(page.get_by_role("table")).not_to_contain_text(column)
    await shared.gateway.reload()
    assert (await shared.call("tools", token["access_token"])).status_code == 401


async def test_everybody_sees_their_own_only(shared: Home) -> None:
    async def made(who: Person, name: str) -> str:
        """Makes a client; returns the path that revokes it, and its version."""
        assert (await who.send("/oauth-clients", name=name)).status_code == 201
        shown = (await who.get(f"/oauth-clients?search={name}")).text
        found = re.search(r'action="([^"]*/revoke)".*?name="version" value="(\d+)"', shown, re.DOTALL)
        assert found is not None
        return found[1]

    ada, mel = await person(shared), await person(shared, MEL)
    path = await made(ada, "hers")
    await made(mel, "theirs")
    assert "hers" in (await ada.get("/oauth-clients")).text
    shown = (await mel.get("/oauth-clients")).text
    assert "theirs" in shown
    assert path not in shown
    assert (await mel.send(path, version="1")).status_code == 404
    assert (await ada.send(path, version="7")).status_code == 412, "somebody changed it meanwhile"
    nameless = await ada.send("/oauth-clients", name="")
    assert nameless.status_code == 422
    assert 'aria-invalid="true"' in nameless.text
