"""The page on which a person lets a client in, in a real Chromium."""

from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.async_api import Browser, Route, expect

from tests.admin_pages.visits import picture, signed_in
from tests.browser.axe import accessible
from tests.oauth.home import CALLBACK, Home

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_person_sees_who_wants_what_and_allows_it(browser: Browser, shared: Home) -> None:
    came: list[str] = []

    async def answered(route: Route) -> None:
        came.append(route.request.url)
        await route.fulfill(status=200, content_type="text/plain", body="You can close this page.")

    client = await shared.client()
    async with signed_in(browser, shared) as page:
        await page.route(f"{CALLBACK}*", answered)
        await page.goto(f"{shared.origin}/oauth/authorize?{urlencode(shared.asking(client))}")
        await expect(page.get_by_text("Test client")).to_be_visible()
        await accessible(page)
        await picture(page, "consent")
        await page.get_by_role("button", name="Allow").click()
        await expect(page.get_by_text("You can close this page.")).to_be_visible()
    (url,) = came
    assert parse_qs(urlsplit(url).query)["code"]


async def test_a_request_that_is_refused_says_so_to_everybody(browser: Browser, shared: Home) -> None:
    async with signed_in(browser, shared) as page:
        await page.goto(f"{shared.origin}/oauth/authorize?{urlencode(shared.asking('nobody'))}")
        await expect(page.get_by_role("heading", name="This cannot be allowed")).to_be_visible()
        await accessible(page)
