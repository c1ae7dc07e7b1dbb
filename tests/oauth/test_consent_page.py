"""The page on which a person lets a client in, in a real Chromium."""

from urllib.parse import parse_qs, urlencode

import pytest
from playwright.async_api import Browser, expect
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from tests.admin_pages.visits import picture, signed_in
from tests.browser.axe import accessible
from tests.gateway.running import served
from tests.oauth.home import Home

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_person_sees_who_wants_what_and_allows_it(browser: Browser, shared: Home) -> None:
    came: list[bytes] = []

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        """Is the client, which waits for the code on a port of its own (RFC 8252 7.3)."""
        if scope["path"] == "/callback":
            came.append(scope["query_string"])
        await PlainTextResponse("You can close this page.")(scope, receive, send)

    client = await shared.client()
    async with served(waiting, "off") as port, signed_in(browser, shared) as page:
        asking = shared.asking(client, redirect_uri=f"http://127.0.0.1:{port}/callback")
        await page.goto(f"{shared.origin}/oauth/authorize?{urlencode(asking)}")
        await expect(page.get_by_text("Test client")).to_be_visible()
        await accessible(page)
        await picture(page, "consent")
        await page.get_by_role("button", name="Allow").click()
        await expect(page.get_by_text("You can close this page.")).to_be_visible()
    (query,) = came
    assert parse_qs(query.decode())["code"]


async def test_a_request_that_is_refused_says_so_to_everybody(browser: Browser, shared: Home) -> None:
    async with signed_in(browser, shared) as page:
        await page.goto(f"{shared.origin}/oauth/authorize?{urlencode(shared.asking('nobody'))}")
        await expect(page.get_by_role("heading", name="This cannot be allowed")).to_be_visible()
        await accessible(page)
