"""Servers that ask for OAuth, used through the gateway: connected by a person in a browser, and asked for in band."""

import contextlib
import re
import uuid
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from metamcp_asgi.admin.connect import PER_MINUTE
from metamcp_asgi.store.models import Endpoint, Membership, Namespace, Server, User
from metamcp_asgi.store.policy import COMMAND_LINE
from metamcp_asgi.store.services import keys
from metamcp_asgi.store.services.inputs import NewKey
from tests.grants.authorizing import Authorizing, authorizing
from tests.serving import Client, until
from tests.signin.people import ADA, MEL, House, Visitor, house, said, token_of

CAN_OPEN_PAGES = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}, "url": {}}}}


class Scene:
    """A gateway whose endpoint ``a`` publishes one server that asks for OAuth."""

    def __init__(self, home: House, provider: Authorizing, http: httpx2.AsyncClient) -> None:
        self.home = home
        self.provider = provider
        self.http = http
        self.server: str
        self.keys: dict[str, str] = {}

    def client(self, email: str = ADA) -> Client:
        return Client(f"{self.home.origin}/metamcp/a/mcp", self.http, self.keys[email])

    async def visitor(self, email: str = ADA) -> Visitor:
        visitor = self.home.visitor()
        answer = await visitor.sign_in(email)
        assert answer.status_code == 303, answer.text
        return visitor

    async def connect(self, page: str, email: str = ADA) -> httpx2.Response:
        """Does what a person does who opens the page, and returns the last one that they see."""
        visitor = await self.visitor(email)
        path = page.removeprefix(self.home.origin)
        shown = await visitor.get(path)
        assert shown.status_code == 200, shown.text
        # The content security policy lets the form lead to the authorization server, and nowhere else.
        assert f"form-action 'self' {self.provider.served.origin};" in shown.headers["content-security-policy"]
        action = re.search(r'action="([^"]*/oauth/connect/[^"]*)"', shown.text)
        assert action is not None
        left = await visitor.send(unescape(action[1]), {}, csrf=token_of(shown))
        assert left.status_code == 303, left.text
        async with httpx2.AsyncClient() as browser:
            agreed = await browser.get(left.headers["location"])
        back = urlsplit(agreed.headers["location"])
        assert back.path == "/fe-oauth/callback"
        return await visitor.get(
            f"{back.path}?{back.query}",
            Sec_Fetch_Site="cross-site",
            Sec_Fetch_Mode="navigate",
            Sec_Fetch_Dest="document",
        )

    async def offered(self, email: str = ADA) -> None:
        """Waits until the tools of the server are listed."""
        client = self.client(email)
        async with client.listening() as stream:
            while await client.tools() != ["a__echo"]:
                await stream.message()


@contextlib.asynccontextmanager
async def scene(folder: Path, oauth: dict[str, Any] | None = None) -> AsyncIterator[Scene]:
    async with (
        authorizing() as provider,
        house(f"sqlite:///{folder}/a.db", outward_allowed=("127.0.0.1",)) as home,
        httpx2.AsyncClient(timeout=30) as http,
    ):
        made = Scene(home, provider, http)
        async with (await home.store()).write(COMMAND_LINE) as tx:
            server = await tx.add(Server(name="a", type="streamable_http", url=provider.url, oauth=oauth))
            namespace = await tx.add(Namespace(name="a"))
            await tx.add(Membership(namespace_id=namespace.id, server_id=server.id))
            await tx.add(Endpoint(name="a", namespace_id=namespace.id))
            for email in (ADA, MEL):
                user = await tx.find(User, email=email)
                assert user is not None
                made.keys[email] = (await keys.create(tx, COMMAND_LINE, NewKey(name="k", owner_id=user.id)))[1]
        made.server = str(server.id)
        await until(lambda: "a" in home.gateway.snapshot.endpoints and len(home.gateway.snapshot.keys) == 2)
        yield made


@pytest.fixture
async def begun(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        yield made


def page_of(result: dict[str, Any]) -> str:
    """Returns the page that a modern client is asked to open."""
    assert result["resultType"] == "input_required", result
    ((_, question),) = result["inputRequests"].items()
    assert question["params"]["mode"] == "url"
    url: str = question["params"]["url"]
    return url


async def test_a_server_that_asks_for_oauth_is_connected_once_for_all(begun: Scene) -> None:
    missing = await begun.client().missing()
    assert list(missing) == ["a"]
    page = re.search(r"http\S+", missing["a"])
    assert "wants to be authorized" in missing["a"]
    assert page is not None
    assert page[0].endswith(f"/oauth/connect/{begun.server}")
    last = await begun.connect(f"/oauth/connect/{begun.server}")
    assert last.status_code == 200
    assert "is connected" in last.text
    await begun.offered()
    assert await begun.client(MEL).text("a__echo", text="hello") == "hello"

    # Each look has us ask others, which is nothing to do as often as somebody likes; nobody else is held up by it.
    curious = await begun.visitor(MEL)
    looks = [(await curious.get(f"/oauth/connect/{uuid.uuid4()}")).status_code for _ in range(PER_MINUTE + 1)]
    assert looks == [404] * PER_MINUTE + [429]
    assert (await (await begun.visitor()).get(f"/oauth/connect/{begun.server}")).status_code == 200


async def test_a_call_whose_grant_has_ended_sends_its_user_to_the_page_and_goes_on(begun: Scene) -> None:
    await begun.connect(f"/oauth/connect/{begun.server}")
    await begun.offered()
    begun.provider.end_all()
    client = begun.client()
    asked = await client.call("a__echo", CAN_OPEN_PAGES, text="hello")
    page = page_of(asked)
    assert begun.provider.seen["echo"] == 0
    await begun.connect(f"/oauth/connect/{page.rpartition('/')[2]}")
    ((key, _),) = asked["inputRequests"].items()
    given = {"requestState": asked["requestState"], "inputResponses": {key: {"action": "accept"}}}
    result = await client.result(
        "tools/call", name="a__echo", arguments={"text": "hello"}, _meta=CAN_OPEN_PAGES, **given
    )
    assert result["content"][0]["text"] == "hello"
    assert begun.provider.seen["echo"] == 1


async def test_who_cannot_be_sent_to_a_page_is_told_of_it(begun: Scene) -> None:
    await begun.connect(f"/oauth/connect/{begun.server}")
    await begun.offered()
    begun.provider.end_all()
    answer = await begun.client().ask("tools/call", name="a__echo", arguments={"text": "hello"})
    text = str(answer)
    assert f"/oauth/connect/{begun.server}" in text
    assert "-32042" not in text
    session = await begun.client().session()
    assert f"/oauth/connect/{begun.server}" in str(
        await session.ask("tools/call", name="a__echo", arguments={"text": "hello"})
    )


async def test_a_token_that_has_ended_is_renewed_without_anybody_noticing(begun: Scene) -> None:
    await begun.connect(f"/oauth/connect/{begun.server}")
    await begun.offered()
    begun.provider.end_access()
    assert await begun.client().text("a__echo", text="again") == "again"
    assert begun.provider.seen["refreshed"] == 1


async def test_who_may_not_change_the_server_cannot_connect_it(begun: Scene) -> None:
    visitor = await begun.visitor(MEL)
    shown = await visitor.get(f"/oauth/connect/{begun.server}")
    assert shown.status_code == 403
    nobody = begun.home.visitor()
    led = await nobody.get(f"/oauth/connect/{begun.server}")
    assert led.status_code == 303
    assert urlsplit(led.headers["location"]).path == "/login"


async def test_an_answer_from_nowhere_is_refused_in_words(begun: Scene) -> None:
    visitor = await begun.visitor()
    answer = await visitor.get("/fe-oauth/callback?code=x&state=y")
    assert answer.status_code == 400
    assert "not asked here" in said(answer)


async def test_each_user_calls_with_a_grant_of_their_own(tmp_path: Path) -> None:
    async with scene(tmp_path, {"flow": "authorization_code", "grant": "user"}) as made:
        # The lists are read with a grant that everybody shares.
        await made.connect(f"/oauth/connect/{made.server}")
        await made.offered()
        asked = await made.client(MEL).call("a__echo", CAN_OPEN_PAGES, text="hello")
        page_of(asked)
        assert made.provider.seen["echo"] == 0
        await made.connect(f"/oauth/connect/{made.server}?for=me", MEL)
        assert await made.client(MEL).text("a__echo", text="mine") == "mine"
        page_of(await made.client(ADA).call("a__echo", CAN_OPEN_PAGES, text="hello"))
