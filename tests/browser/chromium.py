"""A real Chromium for tests of pages: one process for each worker, and a browser of its own for each visitor in it.

    @pytest.mark.asyncio(loop_scope="module")
    async def test_a_journey(browser: Browser, home: House) -> None:
        async with visitor(browser) as page:
            await page.goto(home.origin + "/login")

A visitor shares no cookies with others. A script that fails and a rule of the content security policy that is broken
fail the test.
"""

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.processes import running

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--in-process-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)
PATIENCE = 30_000
"""Milliseconds that the browser may take for one step."""
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session")
def chromium() -> Iterator[str]:
    """Chromium of this worker; yields where it is reached."""
    # The one that has no window takes half the time of the one that could have one.
    program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    assert program is not None, "Chromium is missing: run `make test-environment`"
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        with running(command, r"DevTools listening on (ws://\S+)") as (_, ready):
            yield ready[1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """The worker's Chromium, for the tests of a module."""
    async with async_playwright() as playwright:
        connected = await playwright.chromium.connect_over_cdp(chromium, timeout=PATIENCE)
        yield connected
        await connected.close()


@contextlib.asynccontextmanager
async def visitor(browser: Browser, **how: Any) -> AsyncIterator[Page]:
    """Opens a page of a new visitor, without cookies.

    Args:
        browser: the browser.
        how: what `Browser.new_context` takes: `locale`, `color_scheme`, `viewport`.
    """
    context = await browser.new_context(**{"locale": "en-US", **how})
    context.set_default_timeout(PATIENCE)
    faults: list[str] = []
    context.on("weberror", lambda error: faults.append(str(error.error)))
    page = await context.new_page()
    page.on(
        "console", lambda message: faults.append(message.text) if "Content Security Policy" in message.text else None
    )
    try:
        yield page
    finally:
        await context.close()
    assert faults == []
