"""Explore: somebody finds a server in a registry and adds it; the registry is one on a real socket."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from metamcp_asgi.store.models import Server
from tests.admin_pages.visits import person, picture, signed_in
from tests.browser.axe import accessible
from tests.registry.listing import HOSTED, Listing, listing
from tests.signin.people import MEL, House, house

pytestmark = pytest.mark.asyncio(loop_scope="module")
ADD = "/search/add?name={}&version={}&way={}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[House, Listing]]:
    """A gateway, and the registry in which it looks."""
    url = f"sqlite:///{tmp_path_factory.mktemp('explore')}/metamcp.db"
    async with (
        listing() as registry,
        # No package is really fetched: nothing may be started here.
        house(url, registry_url=registry.origin, outward_allowed=("127.0.0.1",), stdio_commands=()) as home,
    ):
        yield home, registry


async def made(home: House, name: str) -> Server:
    async with (await home.store()).read() as tx:
        (server,) = await tx.list(Server, Server.name == name)
        return server


async def test_a_package_is_found_and_added_with_what_it_needs(browser: Browser, scene: tuple[House, Listing]) -> None:
    home, _ = scene
    async with signed_in(browser, home) as page:
        await page.get_by_role("link", name="Explore").first.click()
        await expect(page.get_by_role("heading", name="com.example/hosted")).to_be_visible()
        await page.get_by_role("searchbox").fill("weather")
        await page.get_by_role("searchbox").press("Enter")
        await expect(page.get_by_text("com.example/hosted")).to_have_count(0)
        await expect(page.get_by_text("Not from here: packages of this kind are not started here.")).to_be_visible()
        await accessible(page)
        await picture(page, "explore")
        await page.get_by_role("link", name="Add Weather (npm)").click()
        await expect(page.locator("pre")).to_have_text(
            "npx -y @user/weather@1.0.2 serve --units=<units> --folder=/data/<folder>"
        )
        await expect(page.get_by_text("LOG_LEVEL=warn")).to_be_visible()
        await expect(page.get_by_label("Name", exact=True)).to_have_value("weather")
        secret = page.get_by_label("WEATHER_KEY")
        await expect(secret).to_have_attribute("type", "password")
        await page.get_by_label("Name", exact=True).fill("not/possible")
        await secret.fill("k-7f3a")
        await page.get_by_label("units (optional)").select_option("imperial")
        await accessible(page)
        await picture(page, "explore-add")
        await page.get_by_role("button", name="Add the server").click()
        await expect(page.get_by_label("Name", exact=True)).to_have_attribute("aria-invalid", "true")
        await expect(page.get_by_label("units (optional)")).to_have_value("imperial")
        assert "k-7f3a" not in await page.content()
        await secret.fill("k-7f3a")
        await page.get_by_label("Name", exact=True).fill("weather")
        await page.get_by_role("button", name="Add the server").click()
        await expect(page.get_by_text("The server was added.")).to_be_visible()
    server = await made(home, "weather")
    assert (server.command, server.args) == ("npx", ["-y", "@user/weather@1.0.2", "serve", "--units=imperial"])
    async with (await home.store()).read() as tx:
        assert tx.secrets(server).env == {"WEATHER_KEY": "k-7f3a", "LOG_LEVEL": "warn"}


async def test_a_member_adds_a_remote_server_and_no_program(scene: tuple[House, Listing]) -> None:
    home, _ = scene
    mel = await person(home, MEL)
    assert "javascript:" not in (await mel.get("/search?search=hosted")).text
    remote = ADD.format("com.example/hosted", "2.0.0", "remote-0")
    assert 'name="public"' not in (await mel.get(remote)).text
    assert "Authorization: Bearer &lt;token&gt;" in (await mel.get(remote)).text
    form = {"server": "hosted", "answer.url.tenant": "acme"}
    missing = await mel.send(remote, **form)
    assert missing.status_code == 422
    assert 'aria-invalid="true"' in missing.text
    assert (await mel.send(remote, **form, **{"answer.header.Authorization.token": "t"})).status_code == 303
    server = await made(home, "hosted")
    assert (server.url, server.owner_id is None) == ("https://acme.example.com/mcp", False)
    program = ADD.format("io.github.user/weather", "1.0.2", "package-0")
    refused = await mel.send(program, **{"server": "mine", "answer.env.WEATHER_KEY": "k"})
    assert refused.status_code == 403
    assert "only admins decide what is started" in refused.text.lower()
    assert (await mel.get(ADD.format("io.github.user/weather", "1.0.2", "package-1"))).status_code == 404


async def test_a_registry_that_is_away_is_said_so(scene: tuple[House, Listing]) -> None:
    home, registry = scene
    ada = await person(home)
    registry.broken = (503, b"")
    page = await ada.get("/search?search=away")
    assert page.status_code == 200
    assert "127.0.0.1 answered with 503." in page.text
    assert (await ada.get(ADD.format("com.example/away", "1", "remote-0"))).status_code == 502
    registry.broken = None
    registry.servers = [{**HOSTED, "name": f"com.example/away-{number}"} for number in range(21)]
    page = await ada.get("/search?search=away")
    assert "away-19" in page.text
    assert "away-20" not in page.text
    assert "away-20" in (await ada.get("/search?search=away&after=20")).text
    assert "No server has this in its name." in (await ada.get("/search?search=nothing")).text
