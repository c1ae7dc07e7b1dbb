"""What surrounds signing in: registration, the switches, MetaMCP's JSON routes, the management API, the address."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.routing import Mount

from metamcp_asgi import Gateway
from metamcp_asgi.settings import Settings
from metamcp_asgi.store import passwords
from metamcp_asgi.store.models import User, WebSession
from metamcp_asgi.store.policy import COMMAND_LINE
from tests.databases import SECRET
from tests.gateway.running import served
from tests.serving import until
from tests.signin.people import ADA, MEL, PASSWORD, House, Visitor, house, said, token_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def home(shared_home: House) -> AsyncIterator[House]:
    yield shared_home
    await shared_home.set(allowSignup=None, allowPasswordSignIn=None)


async def posted(browser: Visitor, path: str, body: Any, **headers: str) -> httpx2.Response:
    return await browser.http.post(path, json=body, headers=headers)


async def test_registration_by_form_is_closed_until_it_is_opened_and_makes_a_member(home: House) -> None:
    browser = home.visitor()
    new = {"email": "New@Example.com", "name": "New", "password": PASSWORD}
    assert "Registration is closed" in said(await browser.get("/register"))
    assert "/register" not in (await browser.get("/login")).text
    refused = await browser.send("/register", new, csrf=await browser.token())
    assert (refused.status_code, said(refused)) == (403, "Registration is closed. Ask an admin for an account.")
    await home.set(allowSignup=True)
    form = await browser.get("/register?callbackUrl=/%3Fa=b")
    short = await browser.send("/register", {**new, "password": "short"}, csrf=token_of(form))
    assert short.status_code == 422
    assert "8 to 256 characters" in said(short)
    assert 'value="New@Example.com"' in short.text
    made = await browser.send("/register", {**new, "callbackUrl": "/?a=b"}, csrf=token_of(form))
    assert (made.status_code, made.headers["location"]) == (303, "/?a=b")
    assert "new@example.com" in (await browser.get("/")).text
    again = await home.visitor().sign_in("new@example.com")
    assert again.status_code == 303
    async with (await home.store()).read() as tx:
        row = await tx.find(User, email="new@example.com")
        assert row is not None
        assert row.role == "member"


async def test_strangers_who_register_hold_up_nobody_who_writes(home: House) -> None:
    await home.set(allowSignup=True)
    free = threading.Event()
    hashing = [passwords._POOL.submit(free.wait, 60) for _ in range(2)]
    new = {"email": "slow@example.com", "name": "Slow", "password": PASSWORD}
    try:
        coming = asyncio.create_task(home.visitor().http.post("/api/auth/sign-up/email", json=new))
        await until(passwords._POOL._work_queue.qsize)
        async with asyncio.timeout(20), (await home.store()).write(COMMAND_LINE) as tx:
            assert await tx.find(User, email="slow@example.com") is None
    finally:
        free.set()
    assert (await coming).status_code == 200
    assert all(each.result() for each in hashing)


async def test_passwords_that_are_switched_off_open_nothing(home: House) -> None:
    await home.set(allowPasswordSignIn=False, allowSignup=True)
    browser = home.visitor()
    page = await browser.get("/login")
    assert 'type="password"' not in page.text
    assert "Sign in with OIDC" in page.text
    by_form = await browser.send("/login", {"email": ADA, "password": PASSWORD}, csrf=await browser.token())
    assert (by_form.status_code, said(by_form)) == (403, "Signing in with a password is switched off.")
    by_json = await posted(browser, "/api/auth/sign-in/email", {"email": ADA, "password": PASSWORD})
    assert by_json.status_code == 403
    new = {"email": "other@example.com", "password": PASSWORD, "name": ""}
    assert (await posted(browser, "/api/auth/sign-up/email", new)).status_code == 403
    assert (await browser.send("/register", new, csrf=await browser.token())).status_code == 403
    assert browser.session is None


async def test_scripts_that_signed_in_to_metamcp_still_do(home: House) -> None:
    browser = home.visitor()
    wrong = await posted(browser, "/api/auth/sign-in/email", {"email": MEL, "password": "wrong password"})
    assert (wrong.status_code, wrong.json()) == (401, {"message": "Email or password is wrong."})
    answer = await posted(browser, "/api/auth/sign-in/email", {"email": MEL, "password": PASSWORD, "rememberMe": True})
    assert answer.status_code == 200
    assert answer.json()["user"]["email"] == MEL
    assert browser.session is not None
    assert browser.session not in answer.text
    told = (await browser.http.get("/api/auth/get-session")).json()
    assert told["user"]["email"] == MEL
    assert (await posted(browser, "/api/auth/sign-out", {})).json() == {"success": True}
    assert (await browser.http.get("/api/auth/get-session")).json() is None
    taken = {"email": MEL, "password": PASSWORD, "name": "M"}
    assert (await posted(browser, "/api/auth/sign-up/email", taken)).status_code == 403
    plain = await browser.http.post("/api/auth/sign-in/email", content=b'{"email": "a@b.c", "password": "x"}')
    assert plain.status_code == 415
    foreign = await posted(
        browser, "/api/auth/sign-in/email", {"email": MEL, "password": PASSWORD}, Origin="http://127.0.0.1:1"
    )
    assert foreign.status_code == 403


async def test_who_is_signed_in_manages_with_the_token_of_a_page(home: House) -> None:
    browser = home.visitor()
    assert (await browser.http.get("/api/v1/me")).status_code == 401
    await browser.sign_in(MEL)
    csrf = await browser.token("/")
    me = (await browser.http.get("/api/v1/me")).json()
    assert (me["name"], me["role"]) == (MEL, "member")
    new = {"name": "mine", "url": "http://127.0.0.1:1/mcp"}
    for headers in (
        {},
        {"X-CSRF-Token": "0" * 64},
        {"X-CSRF-Token": csrf, "Sec-Fetch-Site": "same-site"},
        {"X-CSRF-Token": csrf, "Origin": "http://127.0.0.1:1"},
    ):
        assert (await posted(browser, "/api/v1/servers", new, **headers)).status_code == 403, headers
    made = await posted(browser, "/api/v1/servers", new, **{"X-CSRF-Token": csrf, "Sec-Fetch-Site": "same-origin"})
    assert made.status_code == 201
    assert made.json()["ownerId"] == me["id"]
    others = await browser.http.get("/api/v1/servers", headers={"Authorization": "Bearer sk_mt_wrong"})
    assert others.status_code == 401, "a key goes before the cookie"


async def test_an_admin_signs_a_user_out_everywhere(home: House) -> None:
    mel, ada = home.visitor(), home.visitor()
    await mel.sign_in(MEL)
    await ada.sign_in(ADA)
    async with (await home.store()).read() as tx:
        ids = {row.email: row.id for row in await tx.list(User)}
    csrf = {"X-CSRF-Token": await mel.token("/")}
    assert (await mel.http.delete(f"/api/v1/users/{ids[ADA]}/sessions", headers=csrf)).status_code == 404
    csrf = {"X-CSRF-Token": await ada.token("/")}
    assert (await ada.http.delete(f"/api/v1/users/{ids[MEL]}/sessions", headers=csrf)).status_code == 204
    assert (await mel.get("/")).status_code == 303
    assert (await ada.get("/")).status_code == 200


async def test_calls_of_tools_ask_the_database_nothing_about_sessions(home: House) -> None:
    browser = home.visitor()
    await browser.sign_in(MEL)
    answer = await browser.http.post("/metamcp/nothing/mcp", json={})
    assert answer.status_code == 404
    assert "set-cookie" not in answer.headers


async def test_behind_tls_the_cookie_is_bound_to_the_host(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/metamcp.db"
    async with house(url, app_url="https://tools.example.com/gateway") as home:
        browser = home.visitor()
        page = await browser.get("/login")
        assert 'action="/gateway/login"' in page.text
        (visitor_cookie,) = page.headers.get_list("set-cookie")
        assert visitor_cookie.startswith("__Host-metamcp_visitor=")
        # httpx keeps to itself what is Secure, as the test has no TLS.
        held = {"Cookie": visitor_cookie.partition(";")[0], "Origin": "https://tools.example.com"}
        form = {"email": ADA, "password": PASSWORD, "callbackUrl": "/gateway/?a=b", "csrf_token": token_of(page)}
        for callback, expected in (("/gateway/?a=b", "/gateway/?a=b"), ("/elsewhere", "/gateway/")):
            answer = await browser.http.post("/login", data={**form, "callbackUrl": callback}, headers=held)
            assert (answer.status_code, answer.headers["location"]) == (303, expected)
            (cookie,) = [each for each in answer.headers.get_list("set-cookie") if "session" in each]
            assert cookie.startswith("__Host-metamcp_session=")
            assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
            assert "Domain" not in cookie
        plain = cookie.partition(";")[0].removeprefix("__Host-")
        assert (await browser.get("/", Cookie=plain)).status_code == 303, "without its prefix it is nobody's"
        assert (await browser.get("/", Cookie=cookie.partition(";")[0])).status_code == 200


async def test_nobody_signs_in_over_a_connection_that_others_can_read(home: House) -> None:
    browser = home.visitor()
    plain = {"Host": "tools.example.com", "Sec-Fetch-Site": "none"}
    page = await browser.http.get("/login", headers=plain)
    assert "https://" in said(page)
    assert "password" not in page.text.replace("passwords", "")
    cookies = {"Cookie": page.headers["set-cookie"].partition(";")[0], **plain}
    form = {"email": ADA, "password": PASSWORD, "csrf_token": token_of(page)}
    refused = await browser.http.post("/login", data=form, headers=cookies)
    assert refused.status_code == 403
    assert "session" not in refused.headers.get("set-cookie", "")


async def test_it_works_below_the_path_of_another_application(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/metamcp.db"
    async with house(url):
        pass
    gateway = Gateway.from_store(url, Settings(secret_keys=(SECRET,)))
    async with served(Starlette(routes=[Mount("/tools", gateway)], lifespan=gateway.lifespan), "on") as port:
        browser = Visitor(f"http://127.0.0.1:{port}")
        away = await browser.get("/tools/")
        assert away.headers["location"] == "/tools/login?callbackUrl=%2Ftools%2F"
        page = await browser.get(away.headers["location"])
        style = re.search(r'href="(/tools/assets/[^"]+/style.css)"', page.text)
        assert style is not None
        assert (await browser.get(style[1])).status_code == 200
        form = {"email": ADA, "password": PASSWORD, "callbackUrl": "/tools/"}
        answer = await browser.send("/tools/login", form, csrf=token_of(page))
        assert answer.headers["location"] == "/tools/"
        assert (await browser.get("/tools/")).status_code == 200
        await browser.http.aclose()


async def test_each_sign_in_is_in_the_audit_and_no_secret_is(home: House) -> None:
    ada = home.visitor()
    await ada.sign_in(ADA)
    entries = (await ada.http.get("/api/v1/audit")).text
    assert '"sign-in"' in entries
    assert ada.session is not None
    assert ada.session not in entries
    assert PASSWORD not in entries
    async with (await home.store()).read() as tx:
        assert all(row.digest.hex() not in entries for row in await tx.list(WebSession))
