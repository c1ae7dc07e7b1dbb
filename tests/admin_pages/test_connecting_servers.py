"""The page of a server that asks for OAuth: connected by a person, and what they agreed to forgotten again."""

import uuid
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.admin_pages.visits import person, picture, signed_in
from tests.grants.test_through_the_gateway import Scene, scene
from tests.signin.people import ADA, MEL

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
        await page.get_by_role("link", name="Connect For everybody").click()
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
        assert await grants(made) == {"everybody": None, "mine": None, "users": []}


async def test_each_person_sees_and_forgets_their_own_and_who_may_change_the_server_all(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("connecting")
    async with scene(folder, {"flow": "authorization_code", "grant": "user"}) as made:
        path = f"/mcp-servers/{made.server}"
        await made.connect(f"/oauth/connect/{made.server}?for=me", MEL)
        own = await grants(made, MEL)
        assert own["mine"]["connected"]
        assert own["users"] is None
        mel = await person(made.home, MEL)
        assert "For my own calls" in (await mel.get(path)).text
        (known,) = (await grants(made))["users"]
        ada = await person(made.home)
        assert "no server for your own calls" in (await ada.get("/account")).text
        forget = f"/account/servers/{made.server}/forget"
        assert forget in (await mel.get("/account")).text
        assert (await ada.send(forget)).status_code == 404
        assert (await mel.send(forget)).headers["location"] == "/account?done=forgotten"
        assert (await grants(made, MEL))["mine"] is None
        await made.connect(f"/oauth/connect/{made.server}?for=me", MEL)
        assert (await mel.send(f"{path}/forget", **{"for": str(uuid.uuid4())})).status_code == 403
        async with signed_in(browser, made.home) as page:
            page.on("dialog", lambda dialog: dialog.accept())
            await page.goto(made.home.origin + path)
            await picture(page, "server-connected-by-users")
            mels = page.locator(".grant").filter(has_text=f"For the calls of {MEL}")
            await mels.get_by_role("button", name="Forget").click()
            await expect(page.get_by_text("The authorization was forgotten.")).to_be_visible()
            await expect(mels).to_be_hidden()
        assert known["userId"]
        assert (await grants(made, MEL))["mine"] is None
        assert (await mel.send(f"{path}/forget", **{"for": "me"})).status_code == 404


async def grants(made: Scene, email: str = ADA) -> Any:
    """Returns what the API tells somebody of the grants at the server."""
    visitor = (await person(made.home, email)).visitor
    return (await visitor.get(f"/api/v1/servers/{made.server}/grant")).json()
