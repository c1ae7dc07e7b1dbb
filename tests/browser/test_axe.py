"""What other tests rely on: axe runs where no script may be added, and tells what is wrong in which colours."""

import pytest
from playwright.async_api import Browser

from tests.browser.axe import accessible
from tests.browser.chromium import visitor
from tests.gateway.running import served

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A page</title>
<link rel="stylesheet" href="/style.css"></head><body><main><h1>A page</h1>{}</main></body></html>"""
# Grey on black is too faint, the same grey on white is not.
STYLE = ":root { color-scheme: light dark } body { background: light-dark(#fff, #000) } p { color: #444 }"


async def page_of(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
    bodies = {"/style.css": STYLE, "/faint": PAGE.format("<p>Faint</p>"), "/nameless": PAGE.format('<input name="x">')}
    path = scope["path"]
    kind = b"text/css" if path == "/style.css" else b"text/html"
    headers = [(b"content-type", kind), (b"content-security-policy", b"default-src 'none'; style-src 'self'")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": bodies.get(path, PAGE.format("")).encode()})


async def test_axe_tells_what_is_wrong_in_which_colours(browser: Browser) -> None:
    async with served(page_of, "off") as port:
        for path, wrong in {"/": None, "/faint": "color-contrast", "/nameless": "label"}.items():
            async with visitor(browser) as page:
                await page.goto(f"http://127.0.0.1:{port}{path}")
                if wrong is None:
                    await accessible(page)
                else:
                    with pytest.raises(AssertionError, match=wrong):
                        await accessible(page)
