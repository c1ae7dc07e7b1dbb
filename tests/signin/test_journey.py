"""How a person signs in, in a real Chromium: by keyboard, at the provider, in their language, in the dark."""

import os
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.axe import accessible
from tests.browser.chromium import visitor
from tests.signin.people import ADA, PASSWORD, House

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def picture(page: Page, name: str) -> None:
    """Keeps a picture where TEST_PICTURES says, for a person to look at."""
    if folder := os.environ.get("TEST_PICTURES"):
        await page.screenshot(path=Path(folder) / f"{name}.png")


async def test_by_keyboard_with_a_password_and_out_again(browser: Browser, shared_home: House) -> None:
    async with visitor(browser) as page:
        await page.goto(f"{shared_home.origin}/?from=here")
        await expect(page.get_by_label("Email")).to_be_focused()
        await picture(page, "login")
        await page.keyboard.type(ADA)
        await page.keyboard.press("Tab")
        await page.keyboard.type("not my password")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_have_text("Email or password is wrong.")
        await expect(page.get_by_label("Password")).to_be_focused()
        await accessible(page)
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(page.get_by_text(f"You are signed in as {ADA}.")).to_be_visible()
        assert page.url == f"{shared_home.origin}/?from=here"
        assert await page.evaluate("document.cookie") == "", "no script sees a cookie"
        await page.get_by_role("button", name="Sign out").press("Enter")
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await page.goto(shared_home.origin)
        assert "/login" in page.url


async def test_everybody_can_register(browser: Browser, shared_home: House) -> None:
    await shared_home.set(allowSignup=True)
    async with visitor(browser) as page:
        await page.goto(f"{shared_home.origin}/login")
        await page.get_by_role("link", name="Register").click()
        await page.get_by_label("Name").fill("Grace")
        await page.get_by_label("Email").fill("grace@example.org")
        await page.get_by_label("Password").fill(PASSWORD)
        await accessible(page)
        await page.get_by_role("button", name="Register").click()
        await expect(page.get_by_text("You are signed in as grace@example.org.")).to_be_visible()


async def test_at_the_provider_in_chinese_and_in_the_dark(browser: Browser, shared_home: House) -> None:
    await shared_home.set(allowSsoSignup=True)
    async with visitor(browser, locale="zh-CN", viewport={"width": 390, "height": 844}) as page:
        await page.goto(f"{shared_home.origin}/login")
        light = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        await page.get_by_role("button", name="深色").click()
        dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (light, dark) == ("rgb(246, 247, 249)", "rgb(21, 23, 28)")
        await picture(page, "login-dark")
        wide = await page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, "nothing is cut off on a phone"
        await page.get_by_role("link", name="使用 OIDC 登录").click()
        await page.locator("[name=login]").fill("grace")
        await page.locator("[name=password]").fill("anything")
        await page.get_by_role("button").click()
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_text("您已登录为 grace@example.com。")).to_be_visible()
        await picture(page, "signed-in")
