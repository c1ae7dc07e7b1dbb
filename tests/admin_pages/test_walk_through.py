"""The way of the README, from nothing to Claude Desktop calling a tool, gone as it is written there.

It is gone with the programs themselves: `metamcp`, a server of another maker, Chromium, and npx with mcp-remote as the
page for Claude Desktop has it. The pictures of the README are made on it:

    make pictures
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters
from playwright.async_api import Browser, Page, ViewportSize, expect

from tests.admin_pages.visits import manage
from tests.browser.chromium import visitor
from tests.command import metamcp
from tests.places import BIN, NODE_MODULES, ROOT, node
from tests.processes import running

README = (ROOT / "README.md").read_text(encoding="utf-8")
WAY = README.partition("## From nothing to a tool call\n")[2].partition("\n## ")[0]
PICTURES = ROOT / "docs" / "pictures"
MAKING = "TEST_PICTURES" in os.environ
PASSWORD = "correct horse battery"
WIDTH = 1280
"""Of the window and of the pictures, in pixels."""
WINDOW: ViewportSize = {"width": WIDTH, "height": 800}

COPIED = """async () => {
  for (;;) {
    const text = await navigator.clipboard.readText();
    if (text) return text;
    await new Promise(requestAnimationFrame);
  }
}"""


class Walk:
    """Somebody who follows the README in a browser, and sees there what it speaks of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.seen = ""

    async def look(self) -> None:
        """Reads the page that is shown."""
        self.seen += await self.page.locator("body").inner_text() + "\n"

    async def go(self, *links: str) -> None:
        """Follows links, one after the other."""
        for link in links:
            await self.look()
            await self.page.get_by_role("link", name=link, exact=True).first.click()

    async def press(self, button: str) -> None:
        await self.look()
        await self.page.get_by_role("button", name=button, exact=True).click()

    async def fill(self, **fields: str) -> None:
        for label, value in fields.items():
            await self.page.get_by_label(label, exact=True).fill(value)

    async def copied(self, what: str) -> str:
        """Copies something with its button, and returns it."""
        # Nothing is evaluated in a page that is about to be another one.
        await self.page.get_by_role("button", name=f"Copy {what}", exact=True).wait_for()
        await self.page.evaluate("navigator.clipboard.writeText('')")
        await self.press(f"Copy {what}")
        text: str = await self.page.evaluate(COPIED)
        return text

    async def picture(self, name: str, first: str, last: str) -> None:
        """Makes a picture for the README, of the page between two elements, by their selectors."""
        await self.look()
        if MAKING:
            # As high as the page, so that nothing of it is beside a scroll bar.
            height = await self.page.evaluate("document.documentElement.scrollHeight")
            await self.page.set_viewport_size({"width": WIDTH, "height": height})
            boxes = [await self.page.locator(each).first.bounding_box() for each in (first, last)]
            (top, bottom) = (box for box in boxes if box is not None)
            begin, end = max(top["y"] - 12, 0), bottom["y"] + bottom["height"] + 12
            clip = {"x": 0, "y": begin, "width": WIDTH, "height": end - begin}
            await self.page.screenshot(path=Path(os.environ["TEST_PICTURES"]) / f"{name}.png", clip=clip)
            await self.page.set_viewport_size(WINDOW)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[str]:
    """The gateway of somebody who has nothing yet but did the first step; yields its address."""
    commands = re.findall(r"(?m)^ *(metamcp .*?)(?: +#.*)?$", WAY)
    assert commands == ["metamcp users add ada@example.com", "metamcp serve"]
    surroundings = {"HOME": str(tmp_path), "PATH": f"{BIN}:{os.environ['PATH']}", "XDG_DATA_HOME": str(tmp_path)}
    _, *add = commands[0].split()
    done = metamcp(*add, "--password-stdin", env=surroundings, cwd=tmp_path, text=PASSWORD)
    assert done.returncode == 0, done.stderr
    program, *serve = commands[1].split()
    # Pictures show the port of the README, which a test must not take for itself.
    serve += [] if MAKING else ["--port", "0"]
    with running([BIN / program, *serve], r"serves .* on (http://\S+)", surroundings, tmp_path) as (_, ready):
        yield ready[1]


def as_claude_desktop(settings: str, folder: Path) -> StdioServerParameters:
    """Returns how Claude Desktop starts what is in its settings, where npx finds mcp-remote without a network."""
    (server,) = json.loads(settings)["mcpServers"].values()
    npx = folder / "npx"
    npx.write_text(f'#!/bin/sh\nexec {node()} {node().parent.parent}/lib/node_modules/npm/bin/npx-cli.js "$@"\n')
    npx.chmod(0o755)
    own = {"HOME": str(folder), "PATH": f"{folder}:{node().parent}:{os.environ['PATH']}", "npm_config_offline": "true"}
    server["env"] |= own
    return StdioServerParameters(**server, cwd=NODE_MODULES.parent)


@pytest.mark.node
@pytest.mark.asyncio(loop_scope="module")
async def test_from_nothing_to_a_tool_call(browser: Browser, gateway: str, tmp_path: Path) -> None:
    clipboard = ["clipboard-read", "clipboard-write"]
    async with visitor(browser, viewport=WINDOW, permissions=clipboard) as page:
        walk = Walk(page)
        await page.goto(gateway)
        await walk.fill(Email="ada@example.com", Password=PASSWORD)
        await walk.press("Sign in")

        await walk.go("Servers", "Add a server")
        await walk.fill(Name="time", Command="mcp-server-time")
        await walk.press("Add the server")
        await expect(page.locator("#state .badge").first).to_have_text("ready")
        await expect(page.locator("summary", has_text="get_current_time")).to_be_visible()
        await walk.picture("server", "header", "#tools")

        await walk.go("Namespaces", "New namespace")
        await walk.fill(Name="daily")
        await walk.press("Make the namespace")
        await page.get_by_role("checkbox", name="time").check()
        await walk.press("Add what is chosen")
        await expect(page.locator("#tools-list")).to_contain_text("get_current_time")
        await walk.picture("namespace", "h1", "#tools-list")

        await walk.go("Endpoints", "Add an endpoint")
        await walk.fill(Name="tools")
        await page.get_by_label("Namespace", exact=True).select_option("daily")
        await walk.press("Add the endpoint")
        await walk.go("Make a key for this endpoint")
        await walk.fill(Name="laptop")
        await walk.press("Make the key")
        key = await walk.copied("the key")
        await walk.go("I have it", "Endpoints", "tools")
        settings = await walk.copied("Claude Desktop")
        await walk.picture("endpoint", "#clients", "pre[aria-label='Claude Code']")
        (written,) = re.findall(r"```json\n(.*?)```", WAY, re.DOTALL)
        assert json.loads(settings) == json.loads(written.replace("http://127.0.0.1:12008", gateway))

        settings = settings.replace("YOUR_API_KEY", key)
        async with Client(as_claude_desktop(settings, tmp_path), read_timeout_seconds=30) as claude:
            assert "time__get_current_time" in {tool.name for tool in (await claude.list_tools()).tools}
            result = await claude.call_tool("time__get_current_time", {"timezone": "Asia/Tokyo"})
        assert not result.is_error
        assert "+09:00" in result.content[0].text

        await walk.go("Inspector", "tools")
        await walk.press("Connect")
        await walk.press("time__get_current_time")
        call = page.get_by_role("tabpanel").locator(".detail article")
        await call.get_by_label(re.compile("^timezone")).fill("Asia/Tokyo")
        await walk.press("Call")
        await expect(call.locator(".outcome pre").first).to_contain_text("+09:00")
        await walk.picture("inspector", "h1", "#inspector-open")

        # What Claude has called, and what was called by hand.
        await walk.look()
        await manage(page, "Metrics")
        await walk.go("By tool")
        tool = page.get_by_role("row").filter(has_text="get_current_time")
        await expect(tool.get_by_role("cell").nth(1)).to_have_text("2")
        await walk.picture("metrics", "h1", "main")
        await walk.go("Live logs")
        lines = page.get_by_role("list", name="Lines, the latest first")
        await expect(lines.get_by_role("listitem").filter(has_text="time: ready")).to_be_visible()
        await walk.look()

        labels = re.findall(r"(?<![*\w])\*([^*]+)\*(?!\*)", WAY)
        assert len(labels) > 10
        assert [label for label in labels if label not in walk.seen] == []


def test_the_pictures_are_there_and_small() -> None:
    shown = re.findall(r"\]\(docs/pictures/([a-z-]+\.png)\)", README)
    assert sorted(shown) == sorted(path.name for path in PICTURES.iterdir())
    for name in shown:
        picture = (PICTURES / name).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert int.from_bytes(picture[16:20]) <= 1280, f"{name} is wider than a page"
        assert len(picture) < 150_000, f"{name} is larger than a reader should have to load"
