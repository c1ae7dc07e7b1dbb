"""The pages of users: an admin adds, changes, switches off and removes somebody."""

import re

import pytest
from playwright.async_api import Browser, expect

from metamcp_asgi.store.models import Server, User
from metamcp_asgi.store.policy import COMMAND_LINE
from tests.admin_pages.visits import manage, person, picture, signed_in
from tests.browser.axe import accessible
from tests.signin.people import ADA, MEL, PASSWORD, House

pytestmark = pytest.mark.asyncio(loop_scope="module")
GRACE = "grace@example.org"


async def id_of(home: House, email: str) -> str:
    async with (await home.store()).read() as tx:
        user = await tx.find(User, email=email)
        assert user is not None
        return str(user.id)


async def test_lists_follow_what_is_typed_into_their_search(browser: Browser, shared_home: House) -> None:
    async with signed_in(browser, shared_home) as page:
        for path in ("/users", "/namespaces", "/oauth-clients", "/api-keys", "/endpoints"):
            await page.goto(shared_home.origin + path)
            await page.get_by_role("searchbox").press_sequentially("nothing like it", delay=0)
            await expect(page.locator("#found")).to_contain_text(re.compile("No .*(has this|found by this)"))
            await expect(page).to_have_url(re.compile(r"search=nothing"))
            await expect(page.get_by_role("searchbox")).to_be_focused()


async def test_an_admin_adds_changes_and_deletes_somebody(browser: Browser, shared_home: House) -> None:
    async with signed_in(browser, shared_home) as page:
        await manage(page, "Users")
        await picture(page, "users")
        await page.get_by_role("link", name="Add a user").click()
        await page.get_by_label("Email").fill(GRACE)
        await page.get_by_label("Name").fill("Grace")
        await page.get_by_label("Password").fill("short")
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.get_by_label("Password")).to_have_attribute("aria-invalid", "true")
        await expect(page.get_by_label("Email")).to_have_value(GRACE)
        await accessible(page)
        await picture(page, "user-new")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.get_by_role("status")).to_have_text("The user was added.")
        grace = shared_home.visitor()
        assert (await grace.sign_in(GRACE)).status_code == 303

        await page.get_by_label("This user may sign in").uncheck()
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("status")).to_have_text("The user was changed.")
        assert (await grace.get("/")).status_code == 303, "the session has ended"
        await page.get_by_label("Role").select_option("admin")
        await page.get_by_label("This user may sign in").check()
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_label("Role")).to_have_value("admin")
        await page.get_by_label("New password").fill(PASSWORD + "!")
        await page.get_by_role("button", name="Set the password").click()
        await expect(page.get_by_role("status")).to_have_text(re.compile("The password was set"))
        assert (await shared_home.visitor().sign_in(GRACE)).status_code == 401
        assert (await shared_home.visitor().sign_in(GRACE, PASSWORD + "!")).status_code == 303
        await accessible(page)
        await picture(page, "user")

        async with (await shared_home.store()).write(COMMAND_LINE) as tx:
            user = await tx.find(User, email=GRACE)
            assert user is not None
            await tx.add(Server(name="files-of-grace", type="sse", url="http://127.0.0.1:9/sse", owner_id=user.id))
        await page.get_by_role("link", name="Delete this user").click()
        await expect(page.get_by_text("files-of-grace")).to_be_visible()
        await picture(page, "user-delete")
        await page.get_by_role("button", name="Delete this user").click()
        await expect(page.get_by_role("status")).to_have_text("The user was deleted.")
        await page.get_by_role("searchbox").fill("grace")
        await page.get_by_role("searchbox").press("Enter")
        await expect(page.get_by_text("No user has this")).to_be_visible()
        await page.get_by_role("searchbox").fill("MEL@")
        await page.get_by_role("searchbox").press("Enter")
        await expect(page.get_by_role("row")).to_have_count(2)


async def test_the_last_admin_stays_and_is_told_why(shared_home: House) -> None:
    ada, identity = await person(shared_home), await id_of(shared_home, ADA)
    for path, form in (
        (f"/users/{identity}", {"email": ADA, "name": "Ada", "role": "member", "enabled": "on"}),
        (f"/users/{identity}", {"email": ADA, "name": "Ada", "role": "admin"}),
        (f"/users/{identity}/delete", {}),
    ):
        shown = await ada.get(path)
        version = re.search(r'name="version" value="(\d+)"', shown.text)
        assert version is not None
        answer = await ada.send(path, version=version[1], **form)
        assert answer.status_code == 403
        assert "This is the last admin" in answer.text
    assert (await ada.get("/users")).status_code == 200


async def test_what_somebody_else_changed_meanwhile_is_not_overwritten(shared_home: House) -> None:
    ada, identity = await person(shared_home), await id_of(shared_home, MEL)
    form = {"email": MEL, "role": "member", "enabled": "on"}
    seen = re.search(r'name="version" value="(\d+)"', (await ada.get(f"/users/{identity}")).text)
    assert seen is not None
    assert (await ada.send(f"/users/{identity}", version=seen[1], name="Mel B.", **form)).status_code == 303
    late = await ada.send(f"/users/{identity}", version=seen[1], name="Melanie", **form)
    assert late.status_code == 412
    assert "changed by somebody else" in late.text
    assert 'value="Melanie"' in late.text
    assert (await ada.send(f"/users/{identity}/delete", version=seen[1])).status_code == 412


async def test_a_member_sees_no_other_user(shared_home: House) -> None:
    mel, ada = await person(shared_home, MEL), await id_of(shared_home, ADA)
    assert 'href="/users"' not in (await mel.get("/")).text
    assert ADA not in (await mel.get("/users")).text
    for path in (f"/users/{ada}", f"/users/{ada}/delete"):
        assert (await mel.get(path)).status_code == 404
    assert (await mel.send(f"/users/{ada}/password", password=PASSWORD)).status_code == 404
    assert (await mel.send("/users/new", email="x@example.org", role="member")).status_code == 403
