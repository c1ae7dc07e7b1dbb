"""What clients, their documents and issuers send to do harm: refused in OAuth's words, and never an error of ours."""

import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from metamcp_asgi import Gateway
from metamcp_asgi.config.file import compile_document
from metamcp_asgi.settings import Settings
from tests.gateway.running import served
from tests.oauth.home import ADA, Home, home
from tests.oauth.issuer import Issuer, jwk
from tests.serving import serving
from tests.signin.people import PASSWORD

DEEP = b'{"keys":' + b"[" * 100_000
NO_TEXT = b'{"issuer":"\xff"}'
PRIVATE = rsa.generate_private_key(65537, 2048)
TOLD = json.dumps({**RSAAlgorithm.to_jwk(PRIVATE, as_dict=True), "kid": "one", "alg": "RS256"}).encode()


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def strict(postgres_url: Callable[[], str]) -> AsyncIterator[Home]:
    """A gateway over PostgreSQL, which takes no NUL."""
    async with home(postgres_url()) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def allowing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    """A gateway that may ask this machine."""
    url = f"sqlite:///{tmp_path_factory.mktemp('hostile')}/metamcp.db"
    async with home(url, outward_allowed=("127.0.0.1",)) as running:
        yield running


async def test_a_nul_character_is_refused_and_looked_for_in_no_database(strict: Home) -> None:
    http = strict.http
    form = {"grant_type": "refresh_token", "client_id": "a\0b", "refresh_token": "c"}
    for path in ("/oauth/token", "/oauth/revoke", "/oauth/introspect"):
        for sent in ({"data": form}, {"json": form}, {"data": {"x\0": "1"}}):
            answer = await http.post(path, **sent)
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), path
    basic = base64.b64encode(b"a%00b:c").decode()
    answer = await http.post(
        "/oauth/token", data={"grant_type": "client_credentials"}, headers={"Authorization": f"Basic {basic}"}
    )
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    answer = await http.post("/oauth/register", json={"redirect_uris": ["http://127.0.0.1/"], "client_name": "a\0"})
    assert answer.status_code == 400
    page = await strict.consent(await strict.signed_in(), strict.asking("a\0b"))
    assert page.status_code == 400
    nobody = strict.visitor()
    answer = await nobody.http.post("/api/auth/sign-in/email", json={"email": f"{ADA}\0", "password": PASSWORD})
    assert answer.status_code == 401


async def test_bodies_that_are_nested_without_end_or_no_text_are_refused(allowing: Home) -> None:
    for body in (b'{"a":' + b"[" * 20_000, b'{"a":"\xff"}', b"[]", b"\xff"):
        for path in ("/oauth/token", "/oauth/register"):
            answer = await allowing.http.post(path, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 400, path
        answer = await allowing.http.post(
            "/api/auth/sign-in/email", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 400
    uris = {"redirect_uris": ["http://127.0.0.1/"], "client_uri": "https://[x"}
    assert (await allowing.http.post("/oauth/register", json=uris)).json()["error"] == "invalid_client_metadata"
    page = await allowing.consent(await allowing.signed_in(), allowing.asking("https://[x/client.json"))
    assert page.status_code == 400


async def test_a_document_of_a_client_that_is_there_to_do_harm_is_refused(allowing: Home) -> None:
    bodies = (b'{"a":' + b"[" * 16_000, NO_TEXT, b"[]")

    async def harmful(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bodies[int(scope["path"].strip("/"))]})

    async with serving(harmful) as place:
        for number in range(len(bodies)):
            page = await allowing.consent(await allowing.signed_in(), allowing.asking(f"{place.origin}/{number}"))
            assert page.status_code == 400
            assert "no JSON object" in page.text


class Harmful(Issuer):
    """An issuer that answers one path with what it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.harm: dict[str, bytes] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] not in self.harm:
            await super().__call__(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self.harm[scope["path"]]})


HARMS = (
    ("/.well-known/openid-configuration", DEEP),
    ("/.well-known/openid-configuration", NO_TEXT),
    ("/.well-known/openid-configuration", b'{"issuer":"%s","jwks_uri":"http://[x"}'),
    ("/jwks", DEEP),
    ("/jwks", b'{"keys":[{"kty":"RSA","alg":["x"],"n":"AQAB","e":"AQAB"},{"kty":{}},7]}'),
    ("/jwks", b'{"keys":[{"kty":"EC","alg":"none"}]}'),
    ("/jwks", b'{"keys":[%k]}'),
)


async def test_issuers_that_answer_to_do_harm_open_nothing_and_break_nothing() -> None:
    async with contextlib.AsyncExitStack() as stack:
        issuers = [Harmful() for _ in HARMS]
        for issuer, (path, body) in zip(issuers, HARMS, strict=True):
            issuer.url = (await stack.enter_async_context(serving(issuer))).origin
            issuer.harm[path] = body.replace(b"%s", issuer.url.encode()).replace(b"%k", TOLD)
            issuer.keys["one"] = PRIVATE, "RS256"
        endpoints = {
            f"e{number}": {"namespace": "default", "apiKeyAuth": False, "oauth": {"issuer": issuer.url}}
            for number, issuer in enumerate(issuers)
        }
        gateway = Gateway(
            compile_document({"mcpServers": {}, "endpoints": endpoints}), Settings(outward_allowed=("127.0.0.1",))
        )
        port = await stack.enter_async_context(served(gateway, "on"))
        http = await stack.enter_async_context(httpx2.AsyncClient(timeout=20))
        deep = base64.urlsafe_b64encode(b"[" * 5000).rstrip(b"=").decode()
        for number, issuer in enumerate(issuers):
            url = f"http://127.0.0.1:{port}/metamcp/e{number}/mcp"
            for token in (issuer.token(url), f"{deep}.e30.e30", f"e30.{deep}.e30"):
                answer = await http.post(url, json={}, headers={"Authorization": f"Bearer {token}"})
                assert answer.status_code == 401, HARMS[number]


async def test_keys_that_are_good_for_nothing_leave_the_others_of_their_set_good() -> None:
    issuer = Harmful()
    good = jwk("one", *issuer.keys["one"])
    issuer.harm["/jwks"] = json.dumps({"keys": [{**good, "kid": "two", "alg": "none"}, good]}).encode()
    async with serving(issuer) as provider:
        issuer.url = provider.origin
        endpoint = {"namespace": "default", "apiKeyAuth": False, "oauth": {"issuer": issuer.url}}
        document = {"mcpServers": {}, "endpoints": {"e": endpoint}}
        gateway = Gateway(compile_document(document), Settings(outward_allowed=("127.0.0.1",)))
        async with served(gateway, "on") as port, httpx2.AsyncClient(timeout=20) as http:
            url = f"http://127.0.0.1:{port}/metamcp/e/mcp"
            answers = [
                await http.post(url, json={}, headers={"Authorization": f"Bearer {issuer.token(url, headers=headers)}"})
                for headers in (None, {"kid": "two"})
            ]
        assert [answer.status_code for answer in answers] == [400, 401]
