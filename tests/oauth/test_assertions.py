"""Enterprise-managed authorization: the OpenID provider's assertion (ID-JAG) instead of a person who is asked."""

import asyncio
import time
import uuid

import httpx2
import jwt
import pytest
from mcp import Client
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider
from mcp.client.streamable_http import streamable_http_client

from metamcp_asgi import Gateway
from metamcp_asgi.settings import Settings
from metamcp_asgi.store.policy import COMMAND_LINE
from metamcp_asgi.store.services import oauth, users
from metamcp_asgi.store.services.inputs import UserChanges
from tests.databases import SECRET
from tests.gateway.running import served
from tests.oauth.company import JWT_BEARER, TYPED, Company, stranger
from tests.oauth.home import ADA, MEL
from tests.oauth.issuer import Issuer
from tests.oauth.test_clients import Kept

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_metadata_says_that_assertions_are_taken_where_there_is_a_provider(company: Company) -> None:
    told = (await company.home.http.get("/.well-known/oauth-authorization-server")).json()
    assert JWT_BEARER in told["grant_types_supported"]
    assert told["authorization_grant_profiles_supported"] == ["urn:ietf:params:oauth:grant-profile:id-jag"]


async def test_an_assertion_gives_a_token_for_its_person_resource_and_scopes(company: Company) -> None:
    answer = await company.show(company.assertion(scope="admin nothing:here"))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert "refresh_token" not in told
    assert (told["token_type"], told["scope"], told["expires_in"]) == ("Bearer", "admin", 3600)
    claims = jwt.decode(told["access_token"], options={"verify_signature": False})
    assert claims["aud"] == company.home.url_of("tools")
    assert claims["sub"] == f"user:{company.home.ids['ada']}"
    assert claims["client_id"] == company.client["client_id"]
    assert (await company.home.call("tools", told["access_token"])).status_code == 200
    assert (await company.home.call("both", told["access_token"])).status_code == 401, "it is for another endpoint"


async def test_the_sdks_client_gets_in_by_an_assertion_alone(company: Company) -> None:
    async def asked(audience: str, resource: str) -> str:
        return company.assertion(aud=audience, resource=resource)

    url = company.home.url_of("tools")
    identity, secret = company.client["client_id"], company.client["client_secret"]
    auth = IdentityAssertionOAuthProvider(url, Kept(), identity, secret, company.home.origin, asked)
    async with (
        httpx2.AsyncClient(auth=auth, timeout=20) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        assert "echo__read" in {tool.name for tool in (await client.list_tools()).tools}


async def test_a_client_that_somebody_made_may_show_assertions_too_and_asks_for_less(company: Company) -> None:
    async with (await company.home.store()).write(COMMAND_LINE) as tx:
        new = oauth.NewOAuthClient(name="agent", owner_id=uuid.UUID(company.home.ids["ada"]))
        row, secret = await oauth.create_client(tx, COMMAND_LINE, new)
    client = {"client_id": row.client_id, "client_secret": secret}
    given = company.assertion(
        client_id=row.client_id, resource=company.home.url_of("steps"), scope="admin files:all files:write"
    )
    answer = await company.show(given, client, scope="admin files:all", resource=company.home.url_of("steps"))
    assert answer.json()["scope"] == "admin files:all"


async def test_an_assertion_is_good_once_even_when_it_comes_twice_at_a_time(company: Company) -> None:
    given = company.assertion()
    answers = await asyncio.gather(*(company.show(given) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    refused = next(answer for answer in answers if answer.status_code == 400)
    assert refused.json() == {"error": "invalid_grant", "error_description": "the assertion was used before"}


async def test_an_assertion_is_good_once_over_all_processes(company: Company) -> None:
    given = company.assertion()
    assert (await company.show(given)).status_code == 200
    other = Gateway.from_store(company.home.url, Settings(secret_keys=(SECRET,)))
    async with served(other, "on") as port:
        host = company.home.origin.removeprefix("http://")  # as behind one name
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers={"Host": host}, timeout=20) as http:
            assert (await company.show(company.assertion(), http=http)).status_code == 200
            again = await company.show(given, http=http)
    assert again.json() == {"error": "invalid_grant", "error_description": "the assertion was used before"}


async def test_the_token_ends_when_it_is_revoked_and_when_its_person_is_disabled(company: Company) -> None:
    token = (await company.show(company.assertion())).json()["access_token"]
    form = {**{name: company.client[name] for name in ("client_id", "client_secret")}, "token": token}
    assert (await company.home.http.post("/oauth/revoke", data=form)).status_code == 200
    assert (await company.home.call("tools", token)).status_code == 401
    mel = await company.link(MEL, "m-1")
    token = (await company.show(company.assertion(sub="m-1"))).json()["access_token"]
    assert (await company.home.call("tools", token)).status_code == 200
    answer = await company.show(company.assertion(sub="m-1", resource=company.home.url_of("mine")))
    assert answer.json()["error"] == "invalid_target", "the endpoint is Ada's"
    async with (await company.home.store()).write(COMMAND_LINE) as tx:
        await users.update(tx, COMMAND_LINE, mel, UserChanges(disabled=True))
    await company.home.gateway.reload()
    answer = await company.show(company.assertion(sub="m-1"))
    assert answer.json()["error"] == "invalid_grant"
    assert "disabled" in answer.json()["error_description"]
    assert (await company.home.call("tools", token)).status_code == 401


async def test_whom_nobody_knows_is_registered_only_where_single_sign_on_registers(company: Company) -> None:
    person = {"sub": "n-1", "email": "new@example.com", "email_verified": True}
    answer = await company.show(company.assertion(**person))
    assert answer.json()["error"] == "invalid_grant"
    assert "registration" in answer.json()["error_description"]
    await company.home.set(allowSsoSignup=True)
    answer = await company.show(company.assertion(**person))
    assert answer.status_code == 200, answer.text
    assert (await company.home.call("tools", answer.json()["access_token"])).status_code == 200
    await company.home.set(allowSsoSignup=None)
    # Ada has a password, and nobody but she can say that this is she.
    answer = await company.show(company.assertion(sub="a-2", email=ADA, email_verified=True))
    assert "password" in answer.json()["error_description"]


async def test_what_is_wrong_with_an_assertion_is_refused_and_said(company: Company) -> None:
    now, make = int(time.time()), company.assertion
    table = [
        (make(headers={"typ": "JWT"}), "invalid_grant", "typ"),
        (make(aud="https://elsewhere.example"), "invalid_grant", "aud"),
        (make(aud=[company.home.origin, "https://elsewhere.example"]), "invalid_grant", "aud"),
        (make(client_id="somebody else"), "invalid_grant", "client_id"),
        (make(exp=now - 1), "invalid_grant", "expired"),
        (make(exp=now + 86400), "invalid_grant", "3600"),
        (make(exp="soon"), "invalid_grant", "exp"),
        (make(iat=now + 600), "invalid_grant", "future"),
        (make(iat=None), "invalid_grant", "iat"),
        (make(jti=None), "invalid_grant", "jti"),
        (make(sub=None), "invalid_grant", "sub"),
        (make(cnf={"jkt": "of a key"}), "invalid_grant", "cnf"),
        (make(iss="https://elsewhere.example"), "invalid_grant", "issuer"),
        (make(resource=None), "invalid_target", "resource"),
        (make(resource="https://elsewhere.example/mcp"), "invalid_target", "resource"),
        (make(resource=company.home.url_of("keys")), "invalid_target", "resource"),
        (make(scope="unknown:here"), "invalid_scope", "scopes"),
    ]
    async with stranger(company, "127.0.0.2") as http:
        for given, error, why in table:
            answer = await company.show(given, http=http)
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"] == error, answer.text
            assert why in answer.json()["error_description"]


async def test_only_the_providers_own_signature_counts(company: Company) -> None:
    claims = jwt.decode(company.assertion(), options={"verify_signature": False})
    shared = jwt.encode(claims, "a secret that is long enough for HS256", "HS256", headers={**TYPED, "kid": "one"})
    unsigned = jwt.encode(claims, None, "none", headers=TYPED)
    false = Issuer()
    false.url = company.issuer.url
    stolen = company.assertion
    forged = false.token(claims["aud"], headers=TYPED, **{name: claims[name] for name in claims if name != "aud"})
    critical = stolen(headers={**TYPED, "crit": ["b64"], "b64": True})
    for given in (shared, unsigned, forged, critical, "no.jwt", ""):
        answer = await company.show(given)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"] == ("invalid_grant" if given else "invalid_request")


async def test_a_new_key_of_the_provider_is_found_and_an_unknown_one_not_sought_each_time(company: Company) -> None:
    company.issuer.add("two")
    assert (await company.show(company.assertion())).status_code == 200
    asked = company.issuer.asked
    for _ in range(2):
        assert (await company.show(company.assertion("one", {**TYPED, "kid": "none"}))).status_code == 400
    assert company.issuer.asked == asked


async def test_only_the_client_with_its_secret_may_show_one(company: Company) -> None:
    public = await company.home.client()
    async with stranger(company, "127.0.0.3") as http:
        wrong = {**company.client, "client_secret": "wrong"}
        answer = await company.show(company.assertion(), wrong, http)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        answer = await company.show(company.assertion(client_id=public), {"client_id": public}, http)
        assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")


async def test_a_request_may_not_ask_for_other_than_the_assertion_allows(company: Company) -> None:
    async with stranger(company, "127.0.0.3") as http:
        answer = await company.show(company.assertion(), http=http, resource=company.home.url_of("both"))
        assert answer.json()["error"] == "invalid_target"
        answer = await company.show(company.assertion(), http=http, scope="files:all")
        assert answer.json()["error"] == "invalid_scope"
