"""The admin pages as somebody finds them who cannot see well, or uses no mouse, or a phone."""

import pytest
from playwright.async_api import Browser

from tests.admin_pages.visits import signed_in
from tests.browser.axe import accessible
from tests.signin.people import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Each area adds its pages, as they are in a new gateway. Pages of things that must be made first are for its own tests.
PATHS = (
    "/",
    "/mcp-servers",
    "/mcp-servers/new",
    "/mcp-servers/import",
    "/mcp-servers/export",
    "/namespaces",
    "/namespaces/new",
    "/endpoints",
    "/endpoints/new",
    "/api-keys",
    "/mcp-inspector",
    "/live-logs",
    "/statistics",
    "/account",
    "/oauth-clients",
    "/oauth-clients/grants",
    "/users",
    "/users/new",
    "/settings",
    "/audit",
)


async def test_every_page_is_usable_for_everybody_and_on_a_phone(browser: Browser, shared_home: House) -> None:
    async with signed_in(browser, shared_home, viewport={"width": 390, "height": 844}) as page:
        for path in PATHS:
            answer = await page.goto(shared_home.origin + path)
            assert answer is not None
            assert answer.status == 200, path
            await accessible(page)
            wide = await page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 390, f"{path} must be scrolled sideways"
