"""Signing in at an OpenID provider: a certified one, and whom its word makes whom here."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import pytest_asyncio

from metamcp_asgi.signin.provider import OIDC, PAUSE, Provider, ProviderError
from metamcp_asgi.store.models import Identity, User, WebSession
from metamcp_asgi.store.policy import COMMAND_LINE
from metamcp_asgi.store.services import users
from metamcp_asgi.store.services.inputs import NewUser
from tests.serving import serving
from tests.signin.people import ADA, PASSWORD, House, Visitor, said
from tests.signin.provider import signed_in_there

pytestmark = pytest.mark.asyncio(loop_scope="module")

# As Chromium sends it when another site redirects.
BACK = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}


@pytest_asyncio.fixture(loop_scope="module")
async def home(shared_home: House) -> AsyncIterator[House]:
    yield shared_home
    await shared_home.set(allowSsoSignup=None, allowPasswordSignIn=None)


async def through(browser: Visitor, login: str, callback: str = "/") -> httpx2.Response:
    """Goes to the provider and comes back."""
    away = await browser.get(f"/api/auth/sign-in/oidc?callbackUrl={callback}")
    assert away.status_code == 303
    back = await signed_in_there(away.headers["location"], login)
    return await browser.get(back, **BACK)


async def refused(browser: Visitor, login: str) -> str:
    """Comes back from the provider and is not let in; returns what the page says."""
    answer = await through(browser, login)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?")
    assert browser.session is None
    return said(await browser.get(answer.headers["location"]))


async def user(home: House, email: str, password: str | None = None) -> User:
    async with (await home.store()).write(COMMAND_LINE) as tx:
        return await users.create(tx, COMMAND_LINE, NewUser(email=email, password=password))


async def test_the_provider_is_asked_for_a_code_with_pkce_state_and_nonce(home: House) -> None:
    browser = home.visitor()
    assert "Sign in with OIDC" in (await browser.get("/login")).text
    away = await browser.get("/api/auth/sign-in/oidc")
    query = {name: value for name, (value,) in parse_qs(urlsplit(away.headers["location"]).query).items()}
    assert query["response_type"] == "code"
    assert query["code_challenge_method"] == "S256"
    assert query["redirect_uri"] == f"{home.origin}/api/auth/oauth2/callback/oidc"
    assert query["scope"] == "openid email profile"
    assert min(len(query[name]) for name in ("state", "nonce", "code_challenge")) >= 43
    (cookie,) = away.headers.get_list("set-cookie")
    assert "HttpOnly" in cookie
    assert "Max-Age=600" in cookie


async def test_somebody_new_is_let_in_only_while_registration_by_sso_is_open_and_is_a_member(home: House) -> None:
    browser = home.visitor()
    assert "registration is closed" in await refused(browser, "newcomer")
    await home.set(allowSsoSignup=True)
    answer = await through(browser, "newcomer", "/?from=here")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?from=here")
    assert "newcomer@example.com" in (await browser.get("/")).text
    await home.set(allowSsoSignup=False)
    assert (await through(home.visitor(), "newcomer")).headers["location"] == "/", "who is known comes back"
    async with (await home.store()).read() as tx:
        row = await tx.find(User, email="newcomer@example.com")
        assert row is not None
        assert (row.role, row.name, row.password_hash) == ("member", "Newcomer", None)
        (identity,) = await tx.list(Identity, Identity.user_id == row.id)
        assert identity.subject == "newcomer"
        assert {session.method for session in await tx.list(WebSession, WebSession.user_id == row.id)} == {"oidc"}


async def test_an_account_that_an_admin_made_without_a_password_is_taken_by_its_verified_address(home: House) -> None:
    invited = await user(home, "invited@example.com")
    assert "not verified" in await refused(home.visitor(), "invited~no")
    assert "not verified" in await refused(home.visitor(), "invited~silent")
    assert (await through(home.visitor(), "invited")).headers["location"] == "/"
    async with (await home.store()).read() as tx:
        assert len(await tx.list(Identity, Identity.user_id == invited.id)) == 1
    # Another subject of the same address is another person.
    assert "registration is closed" in await refused(home.visitor(), "invited@example.com")


async def test_an_account_with_a_password_is_linked_by_who_knows_the_password(home: House) -> None:
    browser = home.visitor()
    assert "Sign in with that first" in await refused(browser, "ada")
    await browser.sign_in(ADA, PASSWORD)
    assert (await through(browser, "ada")).headers["location"] == "/"
    assert (await through(home.visitor(), "ada")).headers["location"] == "/", "from now on"


async def test_where_passwords_are_off_a_verified_address_is_enough_and_the_password_is_gone(home: House) -> None:
    await user(home, "former@example.com", PASSWORD)
    await home.set(allowPasswordSignIn=False)
    assert (await through(home.visitor(), "former")).headers["location"] == "/"
    await home.set(allowPasswordSignIn=True)
    assert (await home.visitor().sign_in("former@example.com", PASSWORD)).status_code == 401


async def test_a_disabled_user_and_one_without_an_address_are_not_let_in(home: House) -> None:
    await home.set(allowSsoSignup=True)
    assert "no email address" in await refused(home.visitor(), "~nobody")
    await through(home.visitor(), "fired")
    async with (await home.store()).write(COMMAND_LINE) as tx:
        row = await tx.find(User, email="fired@example.com")
        assert row is not None
        row.disabled = True
    assert "disabled" in await refused(home.visitor(), "fired")


async def test_an_answer_counts_once_in_the_browser_that_asked_and_only_from_the_provider(home: House) -> None:
    await home.set(allowSsoSignup=True)
    browser = home.visitor()
    away = await browser.get("/api/auth/sign-in/oidc")
    back = await signed_in_there(away.headers["location"], "careful")

    async def expired(url: str, who: Visitor) -> bool:
        answer = await who.get(url, **BACK)
        return answer.headers["location"].startswith("/login?error=") and who.session is None

    assert await expired(back, home.visitor()), "another browser"
    assert (await browser.get(back, **BACK)).headers["location"] == "/"
    browser.http.cookies.clear()
    assert await expired(back, browser), "again"
    other = home.visitor()
    await other.get("/api/auth/sign-in/oidc")
    assert await expired(back, other), "another state"
    mixed = home.visitor()
    away = await mixed.get("/api/auth/sign-in/oidc")
    back = await signed_in_there(away.headers["location"], "careful")
    issuer = parse_qs(urlsplit(back).query)["iss"][0]
    assert await expired(back.replace("iss=", "iss=https%3A%2F%2Fevil.example&was="), mixed), "another issuer"
    assert issuer.startswith("http://127.0.0.1:")
    fresh = home.visitor()
    away = await fresh.get("/api/auth/sign-in/oidc")
    assert await expired(f"/api/auth/oauth2/callback/oidc?error=access_denied&{urlsplit(back).query}", fresh)


async def test_a_provider_that_is_out_of_order_is_not_asked_at_every_click() -> None:
    asked, now = [], [0.0]

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with serving(broken) as place:
        oidc = OIDC(client_id="c", client_secret=None, discovery_url=f"{place.origin}/.well-known/openid-configuration")
        provider = Provider(oidc, clock=lambda: now[0])
        for seconds in (0.0, PAUSE - 1, PAUSE + 1):
            now[0] = seconds
            with pytest.raises(ProviderError, match="cannot be used"):
                await provider.begin("http://127.0.0.1/callback")
    assert len(asked) == 2
