"""The pages on which a person connects a server that asks for OAuth, in a real Chromium."""

import pytest
from playwright.async_api import Browser, expect

from tests.admin_pages.visits import picture, signed_in
from tests.browser.axe import accessible
from tests.grants.test_through_the_gateway import scene

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_pages_are_usable_for_everybody(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    async with scene(tmp_path_factory.mktemp("connect")) as made, signed_in(browser, made.home) as page:
        await page.goto(f"{made.home.origin}/oauth/connect/{made.server}")
        await expect(page.get_by_role("heading", name="Connect a")).to_be_visible()
        await accessible(page)
        await picture(page, "connect")
        await page.goto(f"{made.home.origin}/fe-oauth/callback?code=x&state=y")
        await expect(page.get_by_role("heading", name="Not connected")).to_be_visible()
        await accessible(page)
