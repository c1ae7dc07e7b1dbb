"""API keys: made, shown once, used, rotated, switched off and removed, as people do it."""

import re

import pytest
from playwright.async_api import Browser, expect

from metamcp_asgi.store.policy import COMMAND_LINE, acting_user
from metamcp_asgi.store.services import endpoints, keys, namespaces, users
from metamcp_asgi.store.services.inputs import NewEndpoint, NewKey, NewNamespace
from tests.admin_pages.visits import person, picture, signed_in
from tests.signin.people import ADA, MEL, House, Visitor

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = re.compile(r"sk_mt_[A-Za-z0-9]{64}")


async def opens(home: House, endpoint: str, key: str) -> int:
    """Returns the status with which an endpoint answers a key."""
    visitor = Visitor(home.origin)
    try:
        return (await visitor.http.get(f"/metamcp/{endpoint}/api/openapi.json", headers={"X-API-Key": key})).status_code
    finally:
        await visitor.http.aclose()


async def published(home: House) -> list[str]:
    """Makes two public endpoints; returns their ids."""
    async with (await home.store()).write(COMMAND_LINE) as tx:
        namespace = await namespaces.create(tx, COMMAND_LINE, NewNamespace(name="all"))
        made = [
            await endpoints.create(tx, COMMAND_LINE, NewEndpoint(name=name, namespace_id=namespace.id))
            for name in ("tools", "more")
        ]
    await home.gateway.reload()
    return [str(row.id) for row in made]


async def test_a_key_is_made_used_rotated_and_removed(browser: Browser, shared_home: House) -> None:
    (tools, _) = await published(shared_home)
    async with signed_in(browser, shared_home) as page:
        await page.goto(f"{shared_home.origin}/api-keys/new?endpoint={tools}")
        await expect(page.get_by_label("tools")).to_be_checked()
        await page.get_by_label("Name", exact=True).fill("laptop")
        await picture(page, "key-form")
        await page.get_by_role("button", name="Make the key").click()
        await expect(page.get_by_text("it is shown this once")).to_be_visible()
        await picture(page, "key-made")
        first = await page.locator("code").filter(has_text=KEY).inner_text()
        assert [await opens(shared_home, name, first) for name in ("tools", "more")] == [200, 403]
        await page.get_by_role("link", name="I have it").click()
        row = page.get_by_role("row").filter(has_text="laptop")
        await expect(row).to_contain_text(first[:10])
        assert first not in await page.content()
        await picture(page, "keys")

        await page.get_by_role("link", name="laptop").click()
        await page.get_by_label("Clients that have the key before").select_option("The key before is refused at once")
        await picture(page, "key")
        await page.get_by_role("button", name="Rotate").click()
        second = await page.locator("code").filter(has_text=KEY).inner_text()
        assert [await opens(shared_home, "tools", key) for key in (first, second)] == [401, 200]
        await page.get_by_role("link", name="I have it").click()
        await row.get_by_role("button", name="Switch off").click()
        await expect(page.get_by_role("status")).to_have_text("The key was switched off.")
        assert await opens(shared_home, "tools", second) == 401
        await row.get_by_role("button", name="Switch on").click()
        await expect(page.get_by_role("status")).to_have_text("The key was switched on.")
        assert await opens(shared_home, "tools", second) == 200

        await page.get_by_role("link", name="laptop").click()
        await page.get_by_label("Expires (UTC)").fill("2020-01-31T12:00")
        await page.get_by_role("button", name="Save").click()
        await expect(row).to_contain_text("expired")
        assert await opens(shared_home, "tools", second) == 401
        await page.set_viewport_size({"width": 390, "height": 844})
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        beyond = await page.locator(".scroll").evaluate("list => list.scrollWidth - list.clientWidth")
        assert beyond == 0, "the buttons are in sight"
        page.once("dialog", lambda dialog: dialog.accept())
        await row.get_by_role("button", name="Delete").click()
        await expect(page.get_by_role("status")).to_contain_text("The key was deleted.")


async def test_a_form_that_is_sent_again_does_not_show_a_key_again(shared_home: House) -> None:
    ada = await person(shared_home)
    form = {"name": "twice", "owner": "me", "only": "all"}
    made = await ada.send("/api-keys/new", **form)
    assert (made.status_code, made.headers["cache-control"]) == (200, "no-store")
    assert KEY.search(made.text)
    again = await ada.send("/api-keys/new", **form)
    assert (again.status_code, KEY.search(again.text)) == (409, None)
    assert 'value="twice"' in again.text
    listed = (await ada.get("/api-keys?search=twice")).text
    (path,) = set(re.findall(r"/api-keys/[0-9a-f-]{36}(?=\")", listed))
    (version,) = re.findall(r'name="version" value="(\d+)"', (await ada.get(path)).text)[:1]
    rotated = await ada.send(f"{path}/rotate", version=version, grace="3600")
    assert (rotated.status_code, rotated.headers["cache-control"]) == (200, "no-store")
    assert len(set(KEY.findall(rotated.text))) == 1
    again = await ada.send(f"{path}/rotate", version=version, grace="3600")
    assert (again.status_code, KEY.search(again.text)) == (409, None)
    assert "The key before is good until" in (await ada.get(path)).text


async def test_members_see_their_own_and_public_keys_and_admins_rotate_nobody_elses(shared_home: House) -> None:
    async with (await shared_home.store()).write(COMMAND_LINE) as tx:
        acting = {email: acting_user(await users.by_email(tx, COMMAND_LINE, email)) for email in (ADA, MEL)}
        hers, _ = await keys.create(tx, acting[ADA], NewKey(name="of-ada"))
        his, _ = await keys.create(tx, acting[MEL], NewKey(name="of-mel"))
        await keys.create(tx, acting[ADA], NewKey(name="of-all", owner_id=None))
    ada, mel = await person(shared_home), await person(shared_home, MEL)
    listed = (await mel.get("/api-keys")).text
    assert ("of-mel" in listed, "of-all" in listed, "of-ada" in listed) == (True, True, False)
    assert (await mel.get(f"/api-keys/{hers.id}")).status_code == 404
    assert (await mel.send(f"/api-keys/{hers.id}/rotate", version="1", grace="0")).status_code == 404
    public = await mel.send("/api-keys/new", name="x", owner="public", only="all")
    assert public.status_code == 403
    assert "/rotate" not in (await ada.get(f"/api-keys/{his.id}")).text
    assert (await ada.send(f"/api-keys/{his.id}/rotate", version="1", grace="0")).status_code == 403
    managing = await mel.send(f"/api-keys/{his.id}", version="1", name="of-mel", only="all", admin="on")
    assert managing.status_code == 403
    old = await ada.send(f"/api-keys/{his.id}/delete", version="7")
    assert old.status_code == 409
    wrong = await mel.send("/api-keys/new", name="x", only="all", expiresAt="soon")
    assert wrong.status_code == 422
    assert 'aria-invalid="true"' in wrong.text
