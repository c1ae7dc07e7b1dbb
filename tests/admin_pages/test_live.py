"""The live logs and the metrics, as an admin and as a member find them."""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from metamcp_asgi.admin.pages import charts
from metamcp_asgi.admin.pages.live_logs import MOST_STREAMS
from metamcp_asgi.admin.pages.statistics import duration
from metamcp_asgi.metrics.sheet import OUTCOMES
from metamcp_asgi.store.compile import named
from metamcp_asgi.store.models import User
from metamcp_asgi.store.policy import COMMAND_LINE
from metamcp_asgi.store.services import servers, users
from metamcp_asgi.store.services.inputs import NewServer, NewUser
from tests.admin_pages.visits import Person, manage, person, picture, signed_in
from tests.signin.people import MEL, House, hashed

pytestmark = pytest.mark.asyncio(loop_scope="module")


KIM = "kim@example.com"


class Home:
    """A gateway with a public server and one of Mel's, which have the same name."""

    def __init__(self, house: House, mels: str) -> None:
        self.house = house
        self.mels = mels

    def writes(self, text: str, server: str = "clock") -> None:
        """Has a server write a line to its stderr."""
        self.house.gateway.recording.lines.heard(server, text)

    def calls(self, tool: str, outcome: str = "ok", seconds: float = 0.02, times: int = 1) -> None:
        for _ in range(times):
            key = ("tools", "clock", "tools/call", tool)
            self.house.gateway.metrics.sheet.count(key, OUTCOMES.index(outcome), seconds)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(shared_home: House) -> Home:
    store = await shared_home.store()
    async with store.write(COMMAND_LINE) as tx:
        (mel,) = await tx.list(User, User.email == MEL)
        for owner in (None, mel.id):
            new = NewServer(name="clock", url="http://127.0.0.1:9/mcp", owner_id=owner, disabled=True)
            await servers.create(tx, COMMAND_LINE, new)
        kim = await users.create(tx, COMMAND_LINE, NewUser(email=KIM, role="admin"))
        kim.password_hash = hashed()
    await shared_home.gateway.reload()
    return Home(shared_home, named("clock", mel.id))


async def fits(page: Page) -> bool:
    """Tells whether nothing of a page is beyond the edge of the screen."""
    return bool(await page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"))


async def test_an_admin_watches_pauses_picks_and_clears(browser: Browser, home: Home) -> None:
    home.writes("before anybody looked")
    async with signed_in(browser, home.house) as page:
        await page.get_by_role("link", name="Live logs").click()
        lines = page.get_by_role("list", name="Lines, the latest first").get_by_role("listitem")
        await expect(lines.filter(has_text="before anybody looked")).to_be_visible()
        await expect(page.get_by_role("status")).to_have_text("Live")
        home.writes("a <b>bold</b> word\nand another")
        await expect(lines.first).to_contain_text("a <b>bold</b> word\nand another")
        await expect(lines.first).to_contain_text("clock")
        logging.getLogger("metamcp").error("The gateway is unhappy")
        await expect(lines.first).to_contain_text("The gateway is unhappy")
        await expect(lines.first).to_contain_text("error")
        await picture(page, "live-logs")

        await page.get_by_role("button", name="Pause").click()
        await expect(page.get_by_role("status")).to_have_text("Paused")
        home.writes("while it was paused")
        await expect(lines.first).to_contain_text("The gateway is unhappy")
        await page.get_by_role("button", name="Pause").click()
        await expect(lines.first).to_contain_text("while it was paused")

        await page.get_by_label("Level").select_option("Warnings and errors")
        await page.get_by_role("button", name="Filter").click()
        await expect(lines.filter(has_text="unhappy")).to_be_visible()
        await expect(lines.filter(has_text="paused")).to_have_count(0)
        await page.get_by_label("Level").select_option("All")
        await page.get_by_label("Server").select_option("clock")
        await page.get_by_role("button", name="Filter").click()
        await expect(lines.first).to_contain_text("while it was paused")
        await expect(lines.filter(has_text="unhappy")).to_have_count(0)

        await page.get_by_role("link", name="Clear").click()
        await expect(page.get_by_text("Nothing yet.")).to_be_visible()
        await expect(page.get_by_role("status")).to_have_text("Live")
        logging.getLogger("metamcp").error("Of no server")
        home.writes("after it was cleared")
        await expect(lines).to_have_count(1)
        await expect(lines).to_contain_text("after it was cleared")
        await page.get_by_role("link", name="Show it again").click()
        await expect(lines.filter(has_text="while it was paused")).to_be_visible()


@contextlib.asynccontextmanager
async def watching(who: Person, query: str = "", last: str = "") -> AsyncIterator[AsyncIterator[dict[str, str]]]:
    """Opens the stream, as a browser does; yields its events."""

    async def events(answer: httpx2.Response) -> AsyncIterator[dict[str, str]]:
        event: dict[str, str] = {}
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if name in ("id", "data"):
                event[name] = f"{event[name]}\n{value}" if name in event else value
            elif not line and event:
                yield event
                event = {}

    headers = {"Sec-Fetch-Site": "same-origin", **({"Last-Event-ID": last} if last else {})}
    async with who.visitor.http.stream("GET", f"/live-logs/stream{query}", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events(answer)


async def test_a_stream_goes_on_after_the_last_line_that_the_browser_has(home: Home) -> None:
    ada = await person(home.house)
    async with asyncio.timeout(30):
        home.writes("one")
        async with watching(ada, "?server=clock") as events:
            first = await anext(events)
            assert "one" in first["data"]
            home.writes("two\nof two")
            second = await anext(events)
            assert ("one" in second["data"], "two\nof two" in second["data"]) == (False, True)
        home.writes("three")
        async with watching(ada, "?server=clock&since=" + first["id"], last=second["id"]) as events:
            third = await anext(events)
            assert ("two" in third["data"], "three" in third["data"]) == (False, True)


async def test_a_member_sees_lines_of_own_servers_only(home: Home) -> None:
    mel = await person(home.house, MEL)
    page = (await mel.get("/live-logs")).text
    place = re.search(r'data-since="([^"]+)"', page)
    assert place is not None
    home.writes("of the public one")
    logging.getLogger("metamcp").error("Of the gateway")
    home.writes("of Mel's own", home.mels)
    async with asyncio.timeout(30), watching(mel, "?since=" + place[1]) as events:
        streamed = (await anext(events))["data"]
    page = (await mel.get("/live-logs")).text
    for seen in (streamed, page):
        assert "of Mel&#39;s own" in seen
        assert "of the public one" not in seen
        assert "Of the gateway" not in seen
    assert 'value="gateway"' not in page
    assert (await mel.get("/live-logs?level=loud")).status_code == 422
    assert (await mel.get("/live-logs/stream?level=loud")).status_code == 422
    assert (await home.house.visitor().get("/live-logs/stream")).status_code == 303


async def test_a_person_has_so_many_streams_and_no_more(home: Home) -> None:
    # Nobody but Kim, who has not yet watched: when a stream has ended that was left, no event tells.
    kim, mel = await person(home.house, KIM), await person(home.house, MEL)
    home.writes("to be seen")
    async with asyncio.timeout(30), contextlib.AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(watching(kim)) for _ in range(MOST_STREAMS)]
        for events in opened:
            await anext(events)
        assert (await kim.get("/live-logs/stream")).status_code == 429
        home.writes("to be seen by Mel", home.mels)
        async with watching(mel) as of_mel:
            await anext(of_mel)


async def test_an_admin_sees_at_a_glance_what_is_slow_and_what_fails(browser: Browser, home: Home) -> None:
    home.calls("now", times=40)
    home.calls("later", seconds=3.0, times=9)
    home.calls("later", "timeout", seconds=50.0)
    home.house.gateway.metrics.sheet.count(("tools", "", "tools/list", ""), OUTCOMES.index("ok"), 0.02)
    home.house.gateway.recording.history.sample()
    home.calls("now", times=20)
    async with signed_in(browser, home.house, color_scheme="dark") as page:
        await manage(page, "Metrics")
        await expect(page.get_by_role("img", name="Calls and errors")).to_be_visible()
        await expect(page.get_by_role("img", name="How long calls took")).to_be_visible()
        await expect(page.get_by_role("row", name="clock 70 1")).to_be_visible()
        await expect(page.get_by_role("row", name="answered by the gateway 1 0")).to_be_visible()
        await expect(page.get_by_text("The gateway itself answers")).to_be_visible()
        await picture(page, "metrics-dark")
        await page.get_by_role("link", name="By tool").click()
        await expect(page.get_by_role("row", name=re.compile(r"clock now 60 0 \S+ ms"))).to_be_visible()
        await expect(page.get_by_role("row", name=re.compile(r"clock later 10 1 \S+ s"))).to_be_visible()
        await page.get_by_role("link", name="Since the start").click()
        await expect(page.get_by_role("row", name=re.compile("clock later 10 1"))).to_be_visible()
        await page.get_by_text("The numbers of these charts").click()
        await expect(page.get_by_role("table").first.get_by_role("row")).not_to_have_count(1)
        await page.set_viewport_size({"width": 390, "height": 800})
        assert await fits(page)
        await picture(page, "metrics-phone")
        await page.get_by_role("link", name="Live logs").click()
        assert await fits(page)
        await picture(page, "live-logs-phone")
    assert (await (await person(home.house, MEL)).get("/statistics")).status_code == 403


async def test_charts_are_to_scale() -> None:
    assert [charts.scale(values).top for values in ([], [0], [3], [10], [11], [0.0021])] == [1, 1, 5, 10, 20, 0.005]
    half, whole = charts.bars([0, 5, 10, 0], charts.scale([10]))
    assert (half.height, half.y) == (charts.HEIGHT / 2, charts.HEIGHT / 2)
    assert (whole.height, whole.y) == (charts.HEIGHT, 0)
    assert half.x + half.width < whole.x < charts.WIDTH / 4 * 3
    assert charts.line([1.0, None, 0.5, 1.0], charts.scale([1.0])) == ["37.5,0 112.5,0", "375,60 525,0"]
    assert [duration(seconds) for seconds in (None, 0.00123, 0.9996, 12.345)] == ["-", "1.23 ms", "1 s", "12.3 s"]
