"""Clients that authenticate with a key of their own (``private_key_jwt``): registered, or described by a document."""

import asyncio
import json
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from mcp import Client
from mcp.client.auth.extensions.client_credentials import PrivateKeyJWTOAuthProvider, SignedJWTParameters
from mcp.client.streamable_http import streamable_http_client
from starlette.types import Receive, Scope, Send

from metamcp_asgi import Gateway
from metamcp_asgi.asgi.bucket import Counting
from metamcp_asgi.oauth.attempts import Attempts
from metamcp_asgi.oauth.errors import OAuthError
from metamcp_asgi.oauth.metadata import Client as ClientOfOurs
from metamcp_asgi.oauth.proofs import Proofs
from metamcp_asgi.outward.guard import Guard
from metamcp_asgi.settings import Settings
from metamcp_asgi.store.policy import COMMAND_LINE
from metamcp_asgi.store.services import oauth
from tests.databases import SECRET
from tests.gateway.running import served
from tests.oauth.company import JWT_BEARER, Company, stranger
from tests.oauth.home import CALLBACK, JSON
from tests.oauth.issuer import Issuer, jwk
from tests.oauth.test_clients import Kept
from tests.oauth.test_exchange import EXCHANGE, KIND, access_token
from tests.serving import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROOF = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
KEYED = "private_key_jwt"
KEY = jwk("one", *Issuer().keys["one"])


class Program(Issuer):
    """A client with keys, which it publishes at ``/jwks``, and a document about itself at ``/client.json``."""

    @property
    def id(self) -> str:
        return f"{self.url}/client.json"

    @property
    def jwks(self) -> JSON:
        return {"keys": [jwk(kid, *key) for kid, key in self.keys.items()]}

    def proof(self, audience: Any, client_id: str = "", kid: str | None = None, **more: Any) -> dict[str, str]:
        """Returns the fields with which it authenticates."""
        me = client_id or self.id
        said = {"iss": me, "sub": me, "iat": int(time.time()), "jti": secrets.token_urlsafe(16), **more}
        headers = said.pop("headers", None)
        return shown(self.token(audience, kid, headers, **said))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/client.json":
            await super().__call__(scope, receive, send)
            return
        document = {
            "client_id": self.id,
            "client_name": "Keyed",
            "redirect_uris": [CALLBACK],
            "grant_types": ["authorization_code", "refresh_token", JWT_BEARER, EXCHANGE],
            "token_endpoint_auth_method": KEYED,
            "jwks_uri": f"{self.url}/jwks",
        }
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(document).encode()})


def shown(proof: str) -> dict[str, str]:
    return {"client_assertion_type": PROOF, "client_assertion": proof}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def program() -> AsyncIterator[Program]:
    app = Program()
    async with serving(app) as server:
        app.url = server.origin
        yield app


async def post(company: Company, form: JSON, http: httpx2.AsyncClient | None = None) -> httpx2.Response:
    return await (http or company.home.http).post("/oauth/token", data=form)


async def test_the_metadata_says_it(company: Company) -> None:
    told = (await company.home.http.get("/.well-known/oauth-authorization-server")).json()
    for which in ("token", "revocation", "introspection"):
        assert KEYED in told[f"{which}_endpoint_auth_methods_supported"]
        algorithms = told[f"{which}_endpoint_auth_signing_alg_values_supported"]
        assert "ES256" in algorithms
        assert not [each for each in algorithms if each.startswith("HS") or each == "none"]


@pytest.mark.parametrize("where", ["jwks", "jwks_uri"])
async def test_a_registered_client_goes_the_whole_way_with_its_key_and_not_without(
    company: Company, program: Program, where: str
) -> None:
    home = company.home
    keys = {"jwks": program.jwks} if where == "jwks" else {"jwks_uri": f"{program.url}/jwks"}
    made = await home.register(token_endpoint_auth_method=KEYED, **keys)
    assert "client_secret" not in made
    me = made["client_id"]

    def proof() -> dict[str, str]:
        return program.proof(home.origin, me)

    code = await home.code(await home.signed_in(), me)
    assert (await home.token(me, code)).json()["error"] == "invalid_client"
    tokens = await home.token(me, code, **proof())
    assert tokens.status_code == 200, tokens.text
    told = tokens.json()
    assert (await home.call("tools", told["access_token"])).status_code == 200
    assert (await home.refreshed(me, told["refresh_token"])).status_code == 401
    again = await home.refreshed(me, told["refresh_token"], **proof())
    assert again.status_code == 200, again.text
    form = {"token": again.json()["refresh_token"]}
    assert (await home.http.post("/oauth/introspect", data={**form, **proof()})).json()["active"] is True
    assert (await home.http.post("/oauth/revoke", data={**form, "client_id": me})).status_code == 401
    assert (await home.http.post("/oauth/revoke", data={**form, **proof()})).status_code == 200
    assert (await home.http.post("/oauth/introspect", data={**form, **proof()})).json()["active"] is False


async def test_the_sdks_client_acts_for_its_owner_by_its_key(company: Company) -> None:
    robot = Program()
    robot.url = "https://robot.example"
    async with (await company.home.store()).write(COMMAND_LINE) as tx:
        new = oauth.NewOAuthClient(name="robot", owner_id=uuid.UUID(company.home.ids["ada"]), jwks=robot.jwks)
        row, secret = await oauth.create_client(tx, COMMAND_LINE, new)
    assert secret is None
    key = robot.keys["one"][0].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    signing = SignedJWTParameters(
        issuer=row.client_id, subject=row.client_id, signing_key=key, signing_algorithm="ES256"
    )
    url = company.home.url_of("tools")
    asserting = signing.create_assertion_provider()
    auth = PrivateKeyJWTOAuthProvider(url, Kept(), row.client_id, asserting, issuer=company.home.origin)
    async with (
        httpx2.AsyncClient(auth=auth, timeout=20) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        assert "echo__read" in {tool.name for tool in (await client.list_tools()).tools}
    async with stranger(company, "127.0.0.19") as http:
        alone = await post(company, {"grant_type": "client_credentials", "client_id": row.client_id}, http)
        assert alone.json()["error"] == "invalid_client"


async def test_what_a_document_says_of_keys_is_asked_of_whoever_comes_in_its_name(
    company: Company, program: Program
) -> None:
    home = company.home
    code = await home.code(await home.signed_in(), program.id)
    async with stranger(company, "127.0.0.11") as thief:
        form = {
            "grant_type": "authorization_code",
            "client_id": program.id,
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": "v" * 43,
        }
        assert (await post(company, form, thief)).json()["error"] == "invalid_client"
        tokens = (await post(company, {**form, **program.proof(f"{home.origin}/oauth/token")})).json()
        form = {"grant_type": "refresh_token", "client_id": program.id, "refresh_token": tokens["refresh_token"]}
        assert (await post(company, form, thief)).json()["error"] == "invalid_client"
        revoked = await thief.post("/oauth/revoke", data={"client_id": program.id, "token": tokens["refresh_token"]})
        assert revoked.status_code == 401
        asked = await thief.post("/oauth/introspect", data={"client_id": program.id, "token": tokens["refresh_token"]})
        assert asked.status_code == 401
    assert (await post(company, {**form, **program.proof([home.origin])})).status_code == 200


async def test_a_client_with_a_document_shows_assertions_and_exchanges_access_tokens(
    company: Company, program: Program
) -> None:
    form = {"grant_type": JWT_BEARER, "assertion": company.assertion(client_id=program.id)}
    assert (await post(company, {**form, "client_id": program.id})).json()["error"] == "unauthorized_client"
    given = await post(company, {**form, **program.proof(company.home.origin)})
    assert given.status_code == 200, given.text
    assert (await company.home.call("tools", given.json()["access_token"])).status_code == 200
    form = {
        "grant_type": EXCHANGE,
        "subject_token": access_token(company),
        "subject_token_type": f"{KIND}access_token",
    }
    assert (await post(company, {**form, "client_id": program.id})).json()["error"] == "unauthorized_client"
    swapped = await post(company, {**form, **program.proof(company.home.origin)})
    assert swapped.status_code == 200, swapped.text


async def test_a_proof_is_good_once_even_at_the_same_time_and_over_all_processes(
    company: Company, program: Program
) -> None:
    proof = program.proof(company.home.origin)
    form = {"token": "none", **proof}
    answers = await asyncio.gather(*(company.home.http.post("/oauth/introspect", data=form) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]
    other = Gateway.from_store(company.home.url, Settings(secret_keys=(SECRET,), outward_allowed=("127.0.0.1",)))
    async with served(other, "on") as port:
        host = company.home.origin.removeprefix("http://")  # as behind one name
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers={"Host": host}, timeout=20) as http:
            fresh = {"token": "none", **program.proof(company.home.origin)}
            assert (await http.post("/oauth/introspect", data=fresh)).status_code == 200
            again = await http.post("/oauth/introspect", data=form)
    assert "used before" in again.json()["error_description"]


async def test_a_client_shows_so_many_good_proofs_a_minute_and_nobody_else_uses_them_up(company: Company) -> None:
    robot, thief, us = Program(), Program(), "https://mcp.example"
    robot.url = thief.url = "https://robot.example"
    me, another = (
        ClientOfOurs(client_id=name, name="", redirect_uris=(), grant_types=(), jwks=robot.jwks["keys"])
        for name in (robot.id, "another")
    )
    counting = Counting(None, "local")
    uses = Attempts(counting, "proof", 3)
    proofs = Proofs(company.home.store, Guard(), Attempts(counting, "looked up", 1), uses)

    async def shows(by: Program, client: ClientOfOurs = me) -> int:
        try:
            proof = by.proof(us, client.client_id)["client_assertion"]
            await proofs.check(proof, client, us, "192.0.2.1")
        except OAuthError as error:
            return error.status
        return 200

    assert {await shows(thief) for _ in range(5)} == {401}
    assert [await shows(robot) for _ in range(4)] == [200, 200, 200, 429]
    assert await shows(robot, another) == 200
    await proofs.aclose()


async def test_what_is_wrong_with_a_proof_is_refused_and_said(company: Company, program: Program) -> None:
    now, us = int(time.time()), company.home.origin
    good = program.proof(us)
    claims = jwt.decode(good["client_assertion"], options={"verify_signature": False})
    other = Program()
    other.url = program.url
    named = {"kid": "one"}
    shared = jwt.encode(claims, program.jwks["keys"][0]["x"], "HS256", headers=named)
    key, _ = program.keys["one"]
    table = [
        (program.proof(us, iss="somebody"), "iss"),
        (program.proof("https://elsewhere.example"), "aud"),
        (program.proof([us, "https://elsewhere.example"]), "aud"),
        (program.proof(f"{us}/metamcp/tools/mcp"), "aud"),
        (program.proof(us, exp=now - 1), "expired"),
        (program.proof(us, exp=now + 3600), "300"),
        (program.proof(us, exp=None), "times"),
        (program.proof(us, exp=10**400), "times"),
        (program.proof(us, nbf=10**400), "times"),
        (program.proof(us, nbf=now + 600), "times"),
        (program.proof(us, jti=None), "jti"),
        (program.proof(us, headers={"typ": "oauth-id-jag+jwt"}), "typ"),
        (program.proof(us, headers={"typ": "at+jwt"}), "typ"),
        (other.proof(us), "key"),
        (shown(shared), "key"),
        (shown(jwt.encode(claims, None, "none")), "key"),
        (shown(jwt.encode(claims, key, "ES256", headers={**named, "crit": ["x"], "x": 1})), "key"),
        (
            shown(jwt.encode(claims, other.keys["one"][0], "ES256", headers={**named, "jwk": other.jwks["keys"][0]})),
            "key",
        ),
        (shown("a.b.c"), "JWT"),
        ({**good, "client_id": "another"}, "another"),
        ({**good, "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}, "type"),
    ]
    for number, (form, why) in enumerate(table):
        async with stranger(company, f"127.0.0.{12 + number // 10}") as http:
            refused = await post(company, {"grant_type": "client_credentials", **form}, http)
            assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client"), refused.text
            assert why in refused.json()["error_description"], refused.text
    async with stranger(company, "127.0.0.14") as http:
        both = await http.post("/oauth/token", data={"grant_type": "x", **good}, auth=("a", "b"))
        assert both.json()["error"] == "invalid_request"
        keyless = {"grant_type": "x", **program.proof(us, company.client["client_id"])}
        assert "no keys" in (await post(company, keyless, http)).json()["error_description"]


async def test_nobody_can_call_us_by_the_name_that_a_proof_or_token_was_made_for(
    company: Company, program: Program
) -> None:
    us = "http://elsewhere.example"
    exchange = {"grant_type": EXCHANGE, "client_id": program.id}
    async with stranger(company, "127.0.0.18") as http:
        for form in ({"grant_type": "x", **program.proof(us)}, exchange):
            answer = await http.post("/oauth/token", data=form, headers={"Host": "elsewhere.example"})
            assert answer.json()["error"] == "invalid_request"
            assert "APP_URL" in answer.json()["error_description"]


async def test_a_new_key_is_found_and_nobody_has_us_ask_without_end(company: Company, program: Program) -> None:
    program.add("two")
    form = {"token": "none", **program.proof(company.home.origin)}
    assert (await company.home.http.post("/oauth/introspect", data=form)).status_code == 200
    async with stranger(company, "127.0.0.15") as http:
        answers = []
        for number in range(30):
            nowhere = f"{program.url}/{number}/client.json"
            answer = await post(company, {"grant_type": "x", **program.proof("x", nowhere)}, http)
            answers.append(answer.status_code)
    assert 429 in answers


async def test_keys_inside_are_not_asked_for(company: Company, caplog: pytest.LogCaptureFixture) -> None:
    inside = Program()
    inside.url = "https://169.254.169.254"
    made = await company.home.register(token_endpoint_auth_method=KEYED, jwks_uri=f"{inside.url}/jwks")
    async with stranger(company, "127.0.0.16") as http:
        form = {"grant_type": "x", **inside.proof(company.home.origin, made["client_id"])}
        assert (await post(company, form, http)).status_code == 401
        form = {"grant_type": "x", **inside.proof(company.home.origin)}
        assert "cannot be read" in (await post(company, form, http)).json()["error_description"]
    assert "169.254.169.254 is at an address that is not public" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"jwks": {"keys": []}},
        {"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}},
        {"jwks": {"keys": [{"kty": "EC", "crv": "P-256", "x": "x", "y": "y", "d": "private"}]}},
        {"jwks": {"keys": [1]}},
        {"jwks": {"keys": [{**KEY, "alg": "none"}]}},
        {"jwks": {"keys": [KEY, {**KEY, "crv": "P-521"}]}},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://a.example/", "jwks": {"keys": [{"kty": "EC"}]}},
    ],
)
async def test_keys_that_are_none_are_not_registered(company: Company, wrong: JSON) -> None:
    body = {"client_name": "x", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": KEYED, **wrong}
    async with stranger(company, "127.0.0.17") as http:
        answer = await http.post("/oauth/register", json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")
