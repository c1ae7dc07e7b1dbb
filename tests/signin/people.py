"""A gateway that serves from a store, with people in it, and browsers without a screen to visit it."""

import contextlib
import os
import re
from collections.abc import AsyncIterator
from functools import cache
from html import unescape
from typing import Any
from unittest.mock import patch

import httpx2
import pytest
import pytest_asyncio
from argon2 import PasswordHasher

from metamcp_asgi import Gateway
from metamcp_asgi.settings import Settings
from metamcp_asgi.store.policy import COMMAND_LINE
from metamcp_asgi.store.repository import Store
from metamcp_asgi.store.services import settings, users
from metamcp_asgi.store.services.inputs import NewUser
from tests.databases import SECRET, opened
from tests.gateway.running import served
from tests.signin.provider import provider

PASSWORD = "correct horse battery"
ADA, MEL = "ada@example.com", "mel@example.com"


@cache
def hashed() -> str:
    """Returns the hash of PASSWORD, which takes its time, once for all tests."""
    return PasswordHasher().hash(PASSWORD)


class Visitor:
    """A browser: keeps cookies, follows no redirect by itself, and says where a request comes from."""

    def __init__(self, origin: str) -> None:
        self.http = httpx2.AsyncClient(base_url=origin, timeout=30)

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.get(path, headers={"Sec-Fetch-Site": "none", **named})

    async def send(
        self, path: str, form: dict[str, str], *, csrf: str | None = None, **headers: str
    ) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if csrf is not None:
            form = {"csrf_token": csrf, **form}
        return await self.http.post(path, data=form, headers={"Sec-Fetch-Site": "same-origin", **named})

    async def token(self, path: str = "/login") -> str:
        """Opens a page, and returns the token of its forms."""
        return token_of(await self.get(path))

    async def sign_in(self, email: str = ADA, password: str = PASSWORD, **form: str) -> httpx2.Response:
        page = await self.get("/login")
        csrf = token_of(page if page.status_code == 200 else await self.get("/"))
        return await self.send("/login", {"email": email, "password": password, **form}, csrf=csrf)

    @property
    def session(self) -> str | None:
        """The cookie of the session, if there is one."""
        return next((c.value for c in self.http.cookies.jar if c.name.endswith("metamcp_session")), None)


def token_of(page: httpx2.Response) -> str:
    found = re.search(r'name="csrf_token" value="([0-9a-f]{64})"', page.text)
    assert found is not None, page.text
    return found[1]


def said(page: httpx2.Response) -> str:
    """Returns what a page says is wrong."""
    found = re.search(r'role="(?:alert|status)">(.*?)<', page.text, re.DOTALL)
    assert found is not None, page.text
    return unescape(found[1]).strip()


class House:
    """A running gateway with Ada, an admin, and Mel, a member."""

    def __init__(self, gateway: Gateway, port: int, url: str) -> None:
        self.gateway = gateway
        self.origin = f"http://127.0.0.1:{port}"
        self.url = url
        self._visitors: list[Visitor] = []

    def visitor(self) -> Visitor:
        visitor = Visitor(self.origin)
        self._visitors.append(visitor)
        return visitor

    async def store(self) -> Store:
        """Returns the store that the gateway uses."""
        assert self.gateway.source is not None
        opened: Store = await self.gateway.source.opened()  # type: ignore[attr-defined]
        return opened

    async def set(self, **switches: bool | None) -> None:
        async with (await self.store()).write(COMMAND_LINE) as tx:
            await settings.change(tx, COMMAND_LINE, switches)

    async def aclose(self) -> None:
        for visitor in self._visitors:
            await visitor.http.aclose()


@contextlib.asynccontextmanager
async def house(url: str, **given: Any) -> AsyncIterator[House]:
    """Runs a gateway over the database at `url`."""
    store = await opened(url)
    async with store.write(COMMAND_LINE) as tx:
        for new in (NewUser(email=ADA, name="Ada"), NewUser(email=MEL)):
            user = await users.create(tx, COMMAND_LINE, new)
            user.password_hash = hashed()
    await store.aclose()
    gateway = Gateway.from_store(url, Settings(secret_keys=(SECRET,), **given))
    async with served(gateway, "on") as port:
        running = House(gateway, port, url)
        try:
            yield running
        finally:
            await running.aclose()
            gateway.close_streams()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A gateway for the tests of a module, with a real OpenID provider."""
    folder = tmp_path_factory.mktemp("house")
    with provider() as variables, patch.dict(os.environ, variables):
        async with house(f"sqlite:///{folder}/metamcp.db") as running:
            yield running
