"""Token exchange (RFC 8693): a token of the OpenID provider for one of ours, for the same person and no more."""

import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2
import jwt
import pytest
import pytest_asyncio

from metamcp_asgi.store.models import AuditEntry, User
from metamcp_asgi.store.policy import COMMAND_LINE, Acting, Forbidden
from metamcp_asgi.store.repository import SYSTEM
from metamcp_asgi.store.services import oauth, users
from metamcp_asgi.store.services.inputs import UserChanges
from tests.oauth.company import Company, stranger
from tests.oauth.home import ADA, CALLBACK, JSON, MEL, challenge_of, home
from tests.oauth.issuer import Issuer
from tests.oauth.test_provider import openid_provider, signed_in

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
KIND = "urn:ietf:params:oauth:token-type:"


async def exchanger(company: Company, email: str = ADA) -> JSON:
    """Returns a client that an admin made for exchanging tokens."""
    async with (await company.home.store()).write(COMMAND_LINE) as tx:
        owner = next(user.id for user in await tx.list(User) if user.email == email)
        new = oauth.NewOAuthClient(name="portal", owner_id=owner, token_exchange=True)
        row, secret = await oauth.create_client(tx, COMMAND_LINE, new)
    return {"client_id": row.client_id, "client_secret": secret}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def portal(company: Company) -> JSON:
    return await exchanger(company)


async def swap(
    company: Company,
    client: Mapping[str, Any],
    token: str,
    kind: str = "id_token",
    http: httpx2.AsyncClient | None = None,
    **more: str,
) -> httpx2.Response:
    form = {
        "grant_type": EXCHANGE,
        "subject_token": token,
        "subject_token_type": KIND + kind,
        **{name: client[name] for name in ("client_id", "client_secret") if name in client},
        **more,
    }
    return await (http or company.home.http).post("/oauth/token", data=form)


def id_token(company: Company, **claims: Any) -> str:
    said = {"sub": "a-1", "iat": int(time.time()), "nonce": "n", **claims}
    return company.issuer.token(said.pop("aud", "metamcp"), said.pop("kid", None), said.pop("headers", None), **said)


def access_token(company: Company, **claims: Any) -> str:
    said = {"sub": "a-1", "headers": {"typ": "at+jwt"}, "scope": "admin", **claims}
    audience = said.pop("aud", company.home.url_of("tools"))
    return company.issuer.token(audience, None, said.pop("headers"), **said)


async def test_an_id_token_gives_a_token_for_its_person_and_the_endpoint_that_is_named(
    company: Company, portal: JSON
) -> None:
    told = (await company.home.http.get("/.well-known/oauth-authorization-server")).json()
    assert EXCHANGE in told["grant_types_supported"]
    answer = await swap(company, portal, id_token(company), resource=company.home.url_of("tools"))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["issued_token_type"] == f"{KIND}access_token"
    assert (told["token_type"], told["scope"]) == ("Bearer", "admin")
    assert "refresh_token" not in told
    claims = jwt.decode(told["access_token"], options={"verify_signature": False})
    assert claims["sub"] == f"user:{company.home.ids['ada']}"
    assert (claims["aud"], claims["client_id"]) == (company.home.url_of("tools"), portal["client_id"])
    assert (await company.home.call("tools", told["access_token"])).status_code == 200
    assert (await company.home.call("both", told["access_token"])).status_code == 401
    # ``audience`` says the same, and without either it is for all of the gateway.
    named = await swap(company, portal, id_token(company), audience=company.home.url_of("both"))
    assert (await company.home.call("both", named.json()["access_token"])).status_code == 200
    anywhere = (await swap(company, portal, id_token(company))).json()["access_token"]
    assert (await company.home.call("tools", anywhere)).status_code == 200


async def test_the_token_ends_with_the_token_that_it_was_given_for(company: Company, portal: JSON) -> None:
    ends = int(time.time()) + 120
    told = (await swap(company, portal, id_token(company, exp=ends))).json()
    claims = jwt.decode(told["access_token"], options={"verify_signature": False})
    assert claims["exp"] == ends
    assert told["expires_in"] == claims["exp"] - claims["iat"]
    long = (await swap(company, portal, id_token(company, exp=ends + 86400))).json()
    assert long["expires_in"] == 3600


async def test_an_access_token_is_good_for_what_it_is_for_and_no_more(company: Company, portal: JSON) -> None:
    url = company.home.url_of
    registered = await company.home.register(
        token_endpoint_auth_method="client_secret_post",
        grant_types=["authorization_code", EXCHANGE],
    )
    for client in (portal, registered):
        for kind in ("access_token", "jwt"):
            answer = await swap(company, client, access_token(company), kind)
            assert answer.status_code == 200, answer.text
            assert (await company.home.call("tools", answer.json()["access_token"])).status_code == 200
    both = access_token(company, aud=["account", url("steps"), url("tools")], scope="files:all openid")
    assert (await swap(company, portal, both, "jwt")).json()["error"] == "invalid_target"
    steps = await swap(company, portal, both, "jwt", resource=url("steps"))
    assert steps.json()["scope"] == "files:all"
    all_of_it = access_token(company, aud=company.home.origin, scope=None, scp=["admin", "files:all"])
    less = await swap(company, portal, all_of_it, "jwt", resource=url("steps"), scope="files:all files:write")
    assert less.json()["scope"] == "files:all"
    table = [
        (access_token(company), {"resource": url("both")}, "invalid_target"),
        (access_token(company, scope="openid profile"), {}, "invalid_scope"),
        (access_token(company, scope=""), {}, "invalid_scope"),
        (access_token(company, scope=None), {}, "invalid_scope"),
        (access_token(company, scope=None), {"scope": "admin"}, "invalid_scope"),
        (access_token(company, scope="admin"), {"scope": "files:all"}, "invalid_scope"),
        (access_token(company, aud="https://elsewhere.example/mcp"), {}, "invalid_request"),
        (access_token(company, aud="metamcp"), {}, "invalid_request"),
        (access_token(company, aud=url("keys")), {}, "invalid_target"),
        (access_token(company, nonce="n"), {}, "invalid_request"),
        (access_token(company, typ="Refresh"), {}, "invalid_request"),
        (id_token(company), {}, "invalid_request"),
    ]
    async with stranger(company, "127.0.0.4") as http:
        for given, more, error in table:
            answer = await swap(company, portal, given, "access_token", http, **more)
            assert (answer.status_code, answer.json()["error"]) == (400, error), answer.text


async def test_what_is_no_id_token_for_us_is_refused_and_said(company: Company, portal: JSON) -> None:
    now = int(time.time())
    claims = jwt.decode(id_token(company), options={"verify_signature": False})
    false = Issuer()
    false.url = company.issuer.url
    table = [
        (id_token(company, aud="another"), "another client"),
        (id_token(company, aud=["metamcp", "another"]), "another client"),
        (id_token(company, azp="another"), "another client"),
        (id_token(company, headers={"typ": "at+jwt"}), "typ"),
        (id_token(company, headers={"typ": "logout+jwt"}), "typ"),
        (id_token(company, headers={"typ": "oauth-id-jag+jwt"}), "typ"),
        (id_token(company, events={"http://schemas.openid.net/event/backchannel-logout": {}}), "events"),
        (id_token(company, cnf={"jkt": "of a key"}), "cnf"),
        (id_token(company, may_act={"sub": "somebody"}), "may_act"),
        (id_token(company, act={"sub": "somebody"}), "act"),
        (id_token(company, exp=now - 1), "expired"),
        (id_token(company, exp=10**400), "seconds"),
        (id_token(company, iat=now + 600), "iat"),
        (id_token(company, nbf=now + 600), "nbf"),
        (id_token(company, sub=None), "sub"),
        (id_token(company, scope="admin"), "no ID token"),
        (id_token(company, iss="https://elsewhere.example"), "iss"),
        (jwt.encode(claims, "a secret that is long enough for HS256", "HS256", headers={"kid": "one"}), "signed"),
        (jwt.encode(claims, None, "none"), "signed"),
        (false.token("metamcp", iat=now), "signed"),
    ]
    async with stranger(company, "127.0.0.5") as http:
        for given, why in table:
            answer = await swap(company, portal, given, http=http)
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), answer.text
            assert why in answer.json()["error_description"], answer.text


async def test_a_request_that_asks_for_something_else_is_refused(company: Company, portal: JSON) -> None:
    table: list[tuple[dict[str, str], str, str]] = [
        ({"actor_token": "x", "actor_token_type": f"{KIND}jwt"}, "invalid_request", "actor_token"),
        ({"requested_token_type": f"{KIND}refresh_token"}, "invalid_request", "requested_token_type"),
        ({"subject_token_type": f"{KIND}saml2"}, "invalid_request", "subject_token_type"),
        ({"subject_token": ""}, "invalid_request", "subject_token is missing"),
        ({"resource": "https://elsewhere.example/"}, "invalid_target", "issues"),
        ({"resource": company.home.url_of("tools"), "audience": company.home.url_of("both")}, "invalid_target", "same"),
    ]
    async with stranger(company, "127.0.0.6") as http:
        for more, error, why in table:
            answer = await swap(company, portal, **{"token": id_token(company), "http": http, **more})
            assert answer.json()["error"] == error, answer.text
            assert why in answer.json()["error_description"]


async def test_only_clients_that_are_made_for_it_exchange_tokens(company: Company, portal: JSON) -> None:
    public = {"client_id": await company.home.client()}
    async with stranger(company, "127.0.0.7") as http:
        for client in (public, company.client):
            answer = await swap(company, client, access_token(company), "jwt", http)
            assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
        # One that made itself is not trusted to come by an ID token, which says no more than who somebody is.
        itself = await company.home.register(
            token_endpoint_auth_method="client_secret_post", grant_types=["authorization_code", EXCHANGE]
        )
        answer = await swap(company, itself, id_token(company), http=http)
        assert answer.json()["error"] == "unauthorized_client"
        wrong = await swap(company, {**portal, "client_secret": "wrong"}, id_token(company), http=http)
        assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
    async with (await company.home.store()).write(SYSTEM) as tx:
        mel = next(user for user in await tx.list(User) if user.email == MEL)
        new = oauth.NewOAuthClient(name="mine", token_exchange=True)
        with pytest.raises(Forbidden):
            await oauth.create_client(tx, Acting(mel.id, mel.email), new)


async def test_the_person_must_be_somebody_here_and_may_use_what_is_theirs(company: Company, portal: JSON) -> None:
    async with stranger(company, "127.0.0.8") as http:
        nobody = await swap(company, portal, id_token(company, sub="n-1", email="n@example.com"), http=http)
        assert nobody.json()["error"] == "invalid_request"
        assert "registration" in nobody.json()["error_description"]
        mel = await company.link(MEL, "m-1")
        theirs = await swap(
            company, portal, id_token(company, sub="m-1"), http=http, resource=company.home.url_of("mine")
        )
        assert theirs.json()["error"] == "invalid_target"
        robot = await exchanger(company, MEL)
        assert (await swap(company, robot, id_token(company), http=http)).status_code == 200
        async with (await company.home.store()).write(COMMAND_LINE) as tx:
            await users.update(tx, COMMAND_LINE, mel, UserChanges(disabled=True))
        await company.home.gateway.reload()
        gone = await swap(company, portal, id_token(company, sub="m-1"), http=http)
        assert "disabled" in gone.json()["error_description"]
        ownerless = await swap(company, robot, id_token(company), http=http)
        assert ownerless.json()["error"] == "unauthorized_client"


async def test_it_is_told_once_and_what_is_revoked_stays_revoked(company: Company, portal: JSON) -> None:
    given = id_token(company, jti=str(uuid.uuid4()))
    first, again = [(await swap(company, portal, given)).json()["access_token"] for _ in range(2)]
    grants = [jwt.decode(each, options={"verify_signature": False})["gid"] for each in (first, again)]
    assert grants[0] == grants[1]
    async with (await company.home.store()).read() as tx:
        told = [each for each in await tx.list(AuditEntry) if str(each.object_id) == grants[0]]
    assert [each.actor for each in told] == [ADA]
    form = {**portal, "token": again}
    assert (await company.home.http.post("/oauth/revoke", data=form)).status_code == 200
    assert (await company.home.call("tools", first)).status_code == 401
    refused = await swap(company, portal, given)
    assert (refused.json()["error"], "revoked" in refused.json()["error_description"]) == ("invalid_request", True)


async def test_what_is_revoked_is_not_had_again_by_naming_it_in_another_way(company: Company, portal: JSON) -> None:
    place = company.home.url_of("steps").removesuffix("/mcp")
    given = access_token(company, aud=company.home.origin, scope="admin files:all", jti=str(uuid.uuid4()))
    ways = [
        {"resource": f"{place}/mcp", "scope": "admin files:all"},
        {"resource": place, "scope": "files:all admin"},
        {"resource": f"{place}/sse"},
        {"resource": f"{place}/api"},
    ]
    tokens = [(await swap(company, portal, given, "jwt", **way)).json()["access_token"] for way in ways]
    grants = {jwt.decode(each, options={"verify_signature": False})["gid"] for each in tokens}
    assert len(grants) == 1  # what is listed among the consents once is revoked at once
    assert (await company.home.http.post("/oauth/revoke", data={**portal, "token": tokens[0]})).status_code == 200
    for token in tokens:
        assert (await company.home.call("steps", token)).status_code == 401
    async with stranger(company, "127.0.0.9") as http:
        for way in (*ways, {}, {"scope": "admin"}, {"resource": company.home.url_of("tools")}):
            refused = await swap(company, portal, given, "jwt", http, **way)
            assert (refused.status_code, "revoked" in refused.text) == (400, True), (way, refused.text)


@pytest.mark.node
async def test_tokens_of_a_real_provider_are_exchanged(tmp_path: Path) -> None:
    async with openid_provider() as issuer, httpx2.AsyncClient(timeout=20) as http:
        metadata = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none", "application_type": "native"}
        theirs = (await http.post(f"{issuer}/reg", json=metadata)).json()["client_id"]
        variables = {"OIDC_CLIENT_ID": theirs, "OIDC_DISCOVERY_URL": f"{issuer}/.well-known/openid-configuration"}
        with patch.dict(os.environ, variables):
            async with home(f"sqlite:///{tmp_path}/metamcp.db") as running:
                company = Company(running, Issuer(), {})
                company.issuer.url = issuer
                await company.link(ADA, "ada")
                portal = await exchanger(company)
                query = {
                    "response_type": "code",
                    "client_id": theirs,
                    "redirect_uri": CALLBACK,
                    "scope": "openid admin",
                    "resource": running.url_of("tools"),
                    "code_challenge": challenge_of("v" * 43),
                    "code_challenge_method": "S256",
                    "nonce": "n",
                }
                told = await signed_in(str(httpx2.URL(f"{issuer}/auth", params=query)))
                form = {
                    "grant_type": "authorization_code",
                    "client_id": theirs,
                    "code": told["code"],
                    "redirect_uri": CALLBACK,
                    "code_verifier": "v" * 43,
                    "resource": running.url_of("tools"),
                }
                tokens = (await http.post(f"{issuer}/token", data=form)).json()
                for kind in ("id_token", "access_token"):
                    answer = await swap(company, portal, tokens[kind], kind)
                    assert answer.status_code == 200, answer.text
                    called = await running.call("tools", answer.json()["access_token"])
                    assert called.status_code == 200
                    other = "access_token" if kind == "id_token" else "id_token"
                    confused = await swap(company, portal, tokens[kind], other)
                    assert confused.json()["error"] == "invalid_request", confused.text
