"""The page of a server that asks for OAuth: connected by a person, and what they agreed to forgotten again."""

import httpx2
import pytest
from playwright.async_api import Browser, expect

from tests.admin_pages.visits import person, picture, signed_in
from tests.grants.test_through_the_gateway import scene
from tests.signin.people import MEL

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_server_is_connected_and_its_authorization_forgotten(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("connecting")
    async with scene(folder) as made, signed_in(browser, made.home) as page:
        page.on("dialog", lambda dialog: dialog.accept())
        path = f"/mcp-servers/{made.server}"
        await page.goto(made.home.origin + path)
        await expect(page.get_by_text("wants to be authorized").first).to_be_visible()
        await page.reload()
        await expect(page.get_by_text("not connected")).to_be_visible()
        await page.get_by_role("link", name="Connect", exact=True).click()
        await expect(page.get_by_role("heading", name="Connect a")).to_be_visible()
        done = await made.connect(f"/oauth/connect/{made.server}")
        assert path in done.text

        await made.offered()
        await page.goto(made.home.origin + path)
        await expect(page.get_by_text("connected", exact=True)).to_be_visible()
        await expect(page.locator("summary", has_text="echo")).to_be_visible()
        await picture(page, "server-connected")
        # Only who may change the server may forget what everybody uses.
        mel = await person(made.home, MEL)
        assert (await mel.send(f"{path}/forget", **{"for": "all"})).status_code == 403
        await page.get_by_role("button", name="Forget").click()
        await expect(page.get_by_text("The authorization was forgotten.")).to_be_visible()
        # The token is sent no more, and there is none any more that could be.
        await expect(page.get_by_text("wants to be authorized").first).to_be_visible()
        ada: httpx2.AsyncClient = (await person(made.home)).visitor.http
        grants = (await ada.get(f"/api/v1/servers/{made.server}/grant")).json()
        assert grants == {"everybody": None, "mine": None}
