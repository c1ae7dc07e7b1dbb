"""How people come to the admin pages, with a browser or without a screen."""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page

from tests.browser.chromium import visitor
from tests.signin.people import ADA, PASSWORD, House, Visitor, token_of


@contextlib.asynccontextmanager
async def signed_in(browser: Browser, home: House, email: str = ADA, **how: Any) -> AsyncIterator[Page]:
    """Opens the first page as somebody who is signed in; `how` is that of `visitor`."""
    person = home.visitor()
    await person.sign_in(email)
    async with visitor(browser, **how) as page:
        assert person.session is not None
        await page.context.add_cookies([{"name": "metamcp_session", "value": person.session, "url": home.origin}])
        await page.goto(home.origin)
        yield page


async def manage(page: Page, name: str) -> None:
    """Goes to a page of those for admins, by the menu."""
    await page.get_by_text("Manage", exact=True).click()
    await page.get_by_role("link", name=name, exact=True).click()


async def picture(page: Page, name: str) -> None:
    """Keeps a picture where TEST_PICTURES says, for a person to look at."""
    if folder := os.environ.get("TEST_PICTURES"):
        await page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


class Person:
    """Somebody who is signed in, without a screen."""

    def __init__(self, visitor: Visitor, csrf: str) -> None:
        self.visitor = visitor
        self.csrf = csrf

    async def get(self, path: str) -> Any:
        return await self.visitor.get(path)

    async def send(self, path: str, **form: str) -> Any:
        return await self.visitor.send(path, form, csrf=self.csrf)

    async def manage(self, method: str, path: str, body: Any = None, **how: Any) -> Any:
        """Does something by the management API, and returns what it answers."""
        headers = {"Sec-Fetch-Site": "same-origin", "X-CSRF-Token": self.csrf, "If-Match": "*"}
        answer = await self.visitor.http.request(method, f"/api/v1{path}", json=body, headers=headers, **how)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None


async def person(home: House, email: str = ADA) -> Person:
    """Returns somebody who is signed in."""
    visitor = home.visitor()
    await visitor.sign_in(email, PASSWORD)
    return Person(visitor, token_of(await visitor.get("/")))
