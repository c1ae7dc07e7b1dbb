"""Clients that are known by the URL of a document about them (CIMD), and what such a document must be."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.oauth.home import CALLBACK, Home, home
from tests.serving import Served, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Documents:
    """A server of clients' documents; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.changes: dict[str, Any] = {}
        self.origin = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        document = {
            "client_id": f"{self.origin}/client.json",
            "client_name": "Documented",
            "redirect_uris": [CALLBACK],
            "token_endpoint_auth_method": "none",
            **self.changes,
        }
        status = 302 if scope["path"] == "/away.json" else 200
        headers = [(b"cache-control", b"max-age=3600"), (b"location", b"/client.json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(document).encode()})


@pytest_asyncio.fixture(loop_scope="module")
async def documents() -> AsyncIterator[Documents]:
    app = Documents()
    async with serving(app) as server:
        assert isinstance(server, Served)
        app.origin = server.origin
        yield app


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def allowing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    """A gateway that may ask this machine."""
    async with home(
        f"sqlite:///{tmp_path_factory.mktemp('documents')}/metamcp.db", outward_allowed=("127.0.0.0/8",)
    ) as running:
        yield running


async def test_a_client_is_known_by_its_document(allowing: Home, documents: Documents) -> None:
    client_id = f"{documents.origin}/client.json"
    stranger = allowing.visitor()
    # Nobody who is not signed in has us ask anywhere.
    assert (await allowing.consent(stranger, allowing.asking(client_id))).status_code == 303
    assert documents.asked == 0
    visitor = await allowing.signed_in()
    page = await allowing.consent(visitor, allowing.asking(client_id))
    assert page.status_code == 200
    assert "It is described at 127.0.0.1:" in page.text
    assert "Documented" in page.text
    code = await allowing.code(visitor, client_id)
    tokens = await allowing.token(client_id, code)
    assert tokens.status_code == 200, tokens.text
    assert (await allowing.call("tools", tokens.json()["access_token"])).status_code == 200
    assert (await allowing.refreshed(client_id, tokens.json()["refresh_token"])).status_code == 200
    assert documents.asked == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"client_id": "https://elsewhere.example/client.json"}, "another client_id"),
        ({"redirect_uris": ["https://elsewhere.example/"]}, "redirect_uri"),
        ({"redirect_uris": ["javascript:alert(1)"]}, "redirect URI"),
        ({"redirect_uris": []}, "redirect_uris"),
        ({"client_name": ""}, "client_name"),
        ({"token_endpoint_auth_method": "client_secret_post"}, "token_endpoint_auth_method"),
        ({"padding": "x" * 20_000}, "cannot be read"),
    ],
)
async def test_a_document_that_is_not_as_it_must_be_is_refused(
    allowing: Home, documents: Documents, changes: dict[str, Any], words: str
) -> None:
    documents.changes = changes
    page = await allowing.consent(await allowing.signed_in(), allowing.asking(f"{documents.origin}/client.json"))
    assert page.status_code == 400
    assert words in page.text


async def test_check_94_a_document_inside_is_not_asked_for(shared: Home, documents: Documents) -> None:
    visitor = await shared.signed_in()
    for client_id in (
        f"{documents.origin}/client.json",
        f"https://127.0.0.1:{documents.origin.rpartition(':')[2]}/client.json",
        "https://169.254.169.254/client.json",
        "https://localhost/client.json",
        "https://example.com/",
        "https://example.com/a/../client.json",
    ):
        page = await shared.consent(visitor, shared.asking(client_id))
        assert page.status_code == 400, client_id
    assert documents.asked == 0


async def test_a_document_that_is_elsewhere_by_now_is_not_followed(allowing: Home, documents: Documents) -> None:
    page = await allowing.consent(await allowing.signed_in(), allowing.asking(f"{documents.origin}/away.json"))
    assert page.status_code == 400
    assert "302" in page.text
    assert documents.asked == 1
