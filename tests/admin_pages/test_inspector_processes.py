"""The inspector of a gateway that is several processes, each of its requests at another one than the one before."""

import itertools

import pytest
from playwright.async_api import Browser, expect
from starlette.types import Receive, Scope, Send

from metamcp_asgi import Gateway
from metamcp_asgi.settings import Settings
from tests.admin_pages.inspected import laboratory_in
from tests.admin_pages.test_inspector import inspecting
from tests.databases import SECRET
from tests.gateway.running import served
from tests.redis import Redis

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("inspector")]


async def test_sessions_questions_and_news_find_their_way_from_any_process(
    browser: Browser, shared_redis: Redis, prefix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shared = {"redis_url": shared_redis.url, "redis_prefix": prefix}
    async with laboratory_in(tmp_path_factory.mktemp("processes"), **shared) as lab:
        other = Gateway.from_store(lab.url, Settings(secret_keys=(SECRET,), **shared))
        turns = itertools.cycle((lab.gateway, other))

        async def alternating(scope: Scope, receive: Receive, send: Send) -> None:
            await next(turns)(scope, receive, send)

        async with served(other, "on"), served(alternating, "off") as port:
            try:
                for catalogue in [*other.aggregator.catalogues.values()]:
                    await catalogue.ready()
                lab.origin = f"http://127.0.0.1:{port}"
                async with inspecting(browser, lab, "server", "legacy", "2025-11-25") as seen:
                    for text in ("one", "two"):
                        await seen.start("echo", text=text)
                        await seen.result(text)
                    await seen.start("all_at_once", topic="rain")
                    await seen.answer("A word for rain?", "Send", word="wet")
                    await seen.answer("The server asks a model", "Send", What_the_model_says="It rains.")
                    await seen.answer("The server asks for your roots", "Send", Your_roots="file:///a")
                    await seen.result("wet / It rains. / 1")
                async with inspecting(browser, lab, "server", "legacy", "2026-07-28") as seen:
                    await seen.start("ask", topic="hail")
                    await seen.answer("A word for hail?", "Send", word="ice")
                    await seen.result("ice")
                async with inspecting(browser, lab, "server", "modern", "2025-11-25") as seen:
                    await seen.tab("Resources")
                    await seen.open("modern://doc")
                    await seen.press("Subscribe")
                    await expect(seen.detail.get_by_role("button", name="Unsubscribe")).to_be_visible()
                    await seen.tab("Tools")
                    await seen.start("touch")
                    await expect(seen.notices.get_by_text("modern://doc", exact=True)).to_be_visible()
            finally:
                other.close_streams()
