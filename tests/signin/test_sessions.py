"""Signing in with a password, the session that begins with it, and all that ends it."""

from datetime import timedelta
from urllib.parse import quote_plus

from sqlalchemy import update

from metamcp_asgi.store.columns import now
from metamcp_asgi.store.models import WebSession
from metamcp_asgi.store.policy import COMMAND_LINE
from metamcp_asgi.store.repository import SYSTEM
from metamcp_asgi.store.services import users, web_sessions
from metamcp_asgi.store.services.inputs import UserChanges
from tests.signin.people import ADA, MEL, PASSWORD, House, said, token_of


async def test_a_person_signs_in_sees_the_page_they_wanted_and_signs_out(any_home: House) -> None:
    browser = any_home.visitor()
    asked = await browser.get("/?from=here")
    assert (asked.status_code, asked.headers["location"]) == (303, "/login?callbackUrl=%2F%3Ffrom%3Dhere")
    form = await browser.get(asked.headers["location"])
    assert 'name="callbackUrl" value="/?from=here"' in form.text
    answer = await browser.send(
        "/login", {"email": f" {ADA.upper()} ", "password": PASSWORD, "callbackUrl": "/?from=here"}, csrf=token_of(form)
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/?from=here")
    page = await browser.get("/?from=here")
    assert page.status_code == 200
    assert "You are signed in as ada@example.com." in page.text
    old = browser.session
    gone = await browser.send("/sign-out", {}, csrf=token_of(page))
    assert (gone.status_code, gone.headers["location"], browser.session) == (303, "/login", None)
    assert (await browser.get("/", Cookie=f"metamcp_session={old}")).status_code == 303


async def test_the_cookie_is_kept_from_scripts_and_other_sites_and_its_secret_from_the_store(home: House) -> None:
    browser = home.visitor()
    answer = await browser.sign_in()
    (cookie,) = [value for value in answer.headers.get_list("set-cookie") if "session" in value]
    name, *attributes = cookie.split("; ")
    assert name.startswith("metamcp_session=")
    assert set(attributes) == {"Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=604800"}
    secret = browser.session
    assert secret is not None
    async with (await home.store()).read() as tx:
        (row,) = await tx.list(WebSession)
    assert secret.encode() not in row.digest
    assert secret not in repr(row)


async def test_signing_in_again_makes_a_new_session_and_ends_the_old_one(home: House) -> None:
    browser = home.visitor()
    await browser.sign_in()
    old, page = browser.session, await browser.get("/")
    again = await browser.send("/login", {"email": MEL, "password": PASSWORD}, csrf=token_of(page))
    assert again.status_code == 303
    assert browser.session not in (None, old)
    assert "mel@example.com" in (await browser.get("/")).text
    async with (await home.store()).read() as tx:
        assert len(await tx.list(WebSession)) == 1
    stale = await browser.send("/sign-out", {}, csrf=token_of(page))
    assert stale.status_code == 403, "the forms of the old session are worth nothing in the new one"


async def test_a_session_ends_when_it_is_idle_or_old_and_lives_on_with_use(home: House) -> None:
    browser = home.visitor()
    await browser.sign_in()
    store = await home.store()

    async def aged(**columns: timedelta) -> int:
        async with store.write(SYSTEM) as tx:
            await tx.session.execute(update(WebSession).values({name: now() + by for name, by in columns.items()}))
        return (await browser.get("/")).status_code

    almost = web_sessions.IDLE - timedelta(minutes=1)
    assert await aged(seen_at=-almost) == 200
    async with store.read() as tx:
        (row,) = await tx.list(WebSession)
    assert now() - row.seen_at < timedelta(minutes=1), "its use is written down"
    assert await aged(seen_at=-web_sessions.IDLE) == 303
    assert await aged(seen_at=timedelta(), expires_at=timedelta(seconds=60)) == 200
    assert await aged(expires_at=timedelta()) == 303
    await home.visitor().sign_in()
    async with store.read() as tx:
        assert len(await tx.list(WebSession)) == 1, "what is over is removed"


async def test_a_new_password_ends_the_sessions_and_so_does_an_admin_who_disables_or_deletes_a_user(
    home: House,
) -> None:
    store = await home.store()
    one, other = home.visitor(), home.visitor()

    async def mel_in() -> int:
        return sum([(await browser.get("/")).status_code == 200 for browser in (one, other)])

    for browser in (one, other):
        await browser.sign_in(MEL)
    assert await mel_in() == 2
    async with store.write(COMMAND_LINE) as tx:
        mel = await users.by_email(tx, COMMAND_LINE, MEL)
        kept = await tx.list(WebSession, limit=1)
        acting = await users.acting(tx, mel.id)
    await users.set_password(store, acting, mel.id, PASSWORD + "!", current=PASSWORD, session=kept[0].id)
    assert await mel_in() == 1
    await one.sign_in(MEL, PASSWORD + "!")
    async with store.write(COMMAND_LINE) as tx:
        await users.update(tx, COMMAND_LINE, mel.id, UserChanges(disabled=True))
    async with store.write(COMMAND_LINE) as tx:
        await users.update(tx, COMMAND_LINE, mel.id, UserChanges(disabled=False))
    assert await mel_in() == 0
    await one.sign_in(MEL, PASSWORD + "!")
    assert await mel_in() == 1
    async with store.write(COMMAND_LINE) as tx:
        await users.delete(tx, COMMAND_LINE, mel.id)
    assert await mel_in() == 0


async def test_the_page_that_was_asked_for_is_led_back_to_as_it_was_written(home: House) -> None:
    browser = home.visitor()
    for path in ("/?q=a%20b&c=%C3%A9", "/?%2F%2Fevil.example"):
        asked = await browser.get(path)
        assert asked.headers["location"] == f"/login?callbackUrl={quote_plus(path)}"
    part = {"HX_Request": "true", "HX_Current_URL": f"{home.origin}/?page=2"}
    by_htmx = await browser.get("/?part", **part)
    assert (by_htmx.status_code, by_htmx.headers["hx-redirect"]) == (204, "/login?callbackUrl=%2F%3Fpage%3D2")
    part["HX_Current_URL"] = "https://evil.example/"
    assert (await browser.get("/?part", **part)).headers["hx-redirect"] == "/login?callbackUrl=%2F"


async def test_what_is_wrong_is_not_told_apart(home: House) -> None:
    browser = home.visitor()
    wrong = await browser.sign_in(ADA, "wrong password")
    nobody = await browser.sign_in("nobody@example.com", PASSWORD)
    assert (wrong.status_code, nobody.status_code) == (401, 401)
    assert said(wrong) == said(nobody) == "Email or password is wrong."
    assert browser.session is None
    assert PASSWORD not in nobody.text


async def test_too_many_attempts_are_refused_for_a_while_even_with_the_right_password(home: House) -> None:
    browser, other = home.visitor(), home.visitor()
    csrf = await browser.token()
    for _ in range(10):
        # One that is too long to be anybody's, so that none has to be hashed.
        await browser.send("/login", {"email": ADA, "password": "x" * 300}, csrf=csrf)
    late = await browser.send("/login", {"email": ADA, "password": PASSWORD}, csrf=csrf)
    assert (late.status_code, said(late)) == (429, "Too many attempts. Try again later.")
    assert 1 <= int(late.headers["retry-after"]) <= 30
    assert (await other.sign_in(MEL)).status_code == 303, "another account is not concerned"


async def test_only_pages_of_this_gateway_are_led_to_after_signing_in(home: House) -> None:
    browser = home.visitor()
    for elsewhere in (
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "evil.example",
    ):
        answer = await browser.sign_in(callbackUrl=elsewhere)
        assert answer.headers["location"] == "/", elsewhere
        there = await browser.http.get("/login", params={"callbackUrl": elsewhere})
        assert (there.status_code, there.headers["location"]) == (303, "/")
    for path, expected in (("/en//evil.example", "/evil.example"), ("/en/\\evil.example", "/%5Cevil.example")):
        assert (await browser.get(path)).headers["location"] == expected


async def test_forms_are_taken_from_our_own_pages_only(home: House) -> None:
    browser = home.visitor()
    await browser.sign_in()
    csrf = await browser.token("/")
    for form, headers in (
        ({}, {}),
        ({"csrf_token": "0" * 64}, {}),
        ({"csrf_token": csrf}, {"Sec_Fetch_Site": "cross-site"}),
        ({"csrf_token": csrf}, {"Sec_Fetch_Site": "same-site"}),
    ):
        refused = await browser.send("/sign-out", form, **headers)
        assert refused.status_code == 403, headers
        assert (await browser.get("/")).status_code == 200
    for origin in ("https://evil.example", "http://127.0.0.1:1", "null"):
        older = await browser.http.post("/sign-out", data={"csrf_token": csrf}, headers={"Origin": origin})
        assert older.status_code == 403, origin
    framed = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert (await browser.get("/", **framed, Sec_Fetch_Dest="iframe")).status_code == 403
    assert (await browser.get("/", **framed, Sec_Fetch_Dest="document")).status_code == 200
    ours = await browser.http.post("/sign-out", data={"csrf_token": csrf}, headers={"Origin": home.origin})
    assert ours.status_code == 303


async def test_metamcps_addresses_lead_to_ours_and_keep_their_language(home: House) -> None:
    browser = home.visitor()
    answer = await browser.get("/zh/login?callbackUrl=/endpoints")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?callbackUrl=/endpoints")
    assert "登录" in (await browser.get("/login")).text
    assert (await browser.get("/ko")).headers["location"] == "/"
