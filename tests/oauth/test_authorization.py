"""Our authorization server: a person allows a client, which fetches tokens and uses them; and what is refused."""

import jwt
import pytest

from tests.oauth.home import ADA, CALLBACK, MEL, Home, new_verifier, sealed_of, sent_back
from tests.signin.people import token_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_client_goes_the_whole_way(shared: Home) -> None:
    client = await shared.register(client_name="Claude <b>Code</b>")
    assert client["client_id"].startswith("mcp_client_")
    assert "client_secret" not in client
    visitor = await shared.signed_in()
    verifier = new_verifier()
    # The port is another one than was registered (RFC 8252 7.3).
    asked = shared.asking(client["client_id"], verifier, redirect_uri="http://127.0.0.1:51000/callback", scope="admin")
    page = await shared.consent(visitor, asked)
    assert page.status_code == 200
    for words in ("Claude &lt;b&gt;Code&lt;/b&gt;", client["client_id"], "127.0.0.1:51000", ADA, "tools", "admin"):
        assert words in page.text
    assert "nobody has checked it" in page.text
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert "form-action 'self' http://127.0.0.1:51000;" in page.headers["content-security-policy"]
    assert page.headers["x-frame-options"] == "DENY"
    answer = await shared.decide(visitor, page)
    assert answer.headers["location"].startswith("http://127.0.0.1:51000/callback?")
    told = sent_back(answer)
    assert (told["state"], told["iss"]) == ("st-1", shared.origin)
    assert told["code"].startswith("mcp_code_")
    tokens = await shared.token(
        client["client_id"], told["code"], verifier, redirect_uri="http://127.0.0.1:51000/callback"
    )
    assert tokens.headers["cache-control"] == "no-store"
    given = tokens.json()
    assert (given["token_type"], given["expires_in"], given["scope"]) == ("Bearer", 3600, "admin")
    assert (await shared.call("tools", given["access_token"])).status_code == 200
    # With the public keys, anybody can verify it (RFC 9068).
    keys = jwt.PyJWKSet.from_dict((await shared.http.get("/oauth/jwks.json")).json())
    header = jwt.get_unverified_header(given["access_token"])
    claims = jwt.decode(
        given["access_token"], keys[header["kid"]], ["ES256"], audience=shared.url_of("tools"), issuer=shared.origin
    )
    assert (header["typ"], claims["sub"]) == ("at+jwt", f"user:{shared.ids['ada']}")
    info = await shared.http.get("/oauth/userinfo", headers={"Authorization": f"Bearer {given['access_token']}"})
    assert info.json()["email"] == ADA


async def test_who_is_not_signed_in_is_asked_to_and_comes_back(shared: Home) -> None:
    client = await shared.client()
    asked = shared.asking(client)
    visitor = shared.visitor()
    away = await shared.consent(visitor, asked)
    assert away.status_code == 303
    assert away.headers["location"].startswith("/login?callbackUrl=%2Foauth%2Fauthorize%3F")
    back = await visitor.sign_in(callbackUrl=f"/oauth/authorize?{away.request.url.query.decode()}")
    assert back.status_code == 303
    assert "Allow access?" in (await visitor.get(back.headers["location"])).text


async def test_who_denies_gives_nothing(shared: Home) -> None:
    client = await shared.client()
    visitor = await shared.signed_in()
    page = await shared.consent(visitor, shared.asking(client))
    told = sent_back(await shared.decide(visitor, page, "deny"))
    assert (told["error"], told["state"], told["iss"]) == ("access_denied", "st-1", shared.origin)
    assert "code" not in told


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"client_id": "mcp_client_unknown"}, "invalid_client"),
        ({"redirect_uri": "https://evil.example/"}, "redirect_uri"),
        ({"redirect_uri": "http://127.0.0.1:1/other"}, "redirect_uri"),
        ({"redirect_uri": "http://127.0.0.1.evil.example/callback"}, "redirect_uri"),
        ({"redirect_uri": "http://localhost:33418/callback"}, "redirect_uri"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": None}, "PKCE"),
        ({"code_challenge_method": "plain"}, "PKCE"),
        ({"code_challenge_method": None}, "PKCE"),
        ({"resource": "https://elsewhere.example/mcp"}, "invalid_target"),
        ({"resource": "{origin}/metamcp/keys/mcp"}, "invalid_target"),
        ({"state": "s" * 2001}, "state"),
    ],
)
async def test_a_wrong_request_is_told_to_the_person_and_sent_nowhere(
    shared: Home, wrong: dict[str, str | None], words: str
) -> None:
    client = await shared.client()
    wrong = {name: value and value.replace("{origin}", shared.origin) for name, value in wrong.items()}
    asked = {**shared.asking(client), **wrong}
    page = await shared.consent(
        await shared.signed_in(), {name: value for name, value in asked.items() if value is not None}
    )
    assert page.status_code == 400
    assert words in page.text
    assert "location" not in page.headers


async def test_a_parameter_that_comes_twice_is_refused(shared: Home) -> None:
    client = await shared.client()
    visitor = await shared.signed_in()
    query = [*shared.asking(client).items(), ("redirect_uri", "https://evil.example/")]
    page = await visitor.http.get("/oauth/authorize", params=query, headers={"Sec-Fetch-Site": "none"})
    assert page.status_code == 400
    assert "more than once" in page.text


async def test_check_95_nobody_allows_in_another_ones_name(shared: Home) -> None:
    client = await shared.client()
    ada, mel = await shared.signed_in(), await shared.signed_in(MEL)
    page = await shared.consent(ada, shared.asking(client))
    # Mel's browser is made to send Ada's page: with her own token, and with Ada's.
    other = await shared.consent(mel, shared.asking(client))
    for csrf in (token_of(other), token_of(page)):
        form = {"request": sealed_of(page), "decision": "allow"}
        answer = await mel.send("/oauth/authorize", form, csrf=csrf)
        assert answer.status_code in (400, 403)
        assert "location" not in answer.headers
    # A page of another site posts a form.
    answer = await ada.send(
        "/oauth/authorize",
        {"request": sealed_of(page), "decision": "allow"},
        csrf=token_of(page),
        Sec_Fetch_Site="cross-site",
    )
    assert answer.status_code == 403
    strangers = shared.visitor()
    answer = await strangers.send("/oauth/authorize", {"request": sealed_of(page), "decision": "allow"})
    assert answer.status_code in (401, 403)


async def test_check_95_every_client_is_asked_for_every_time(shared: Home) -> None:
    client = await shared.client()
    visitor = await shared.signed_in()
    assert await shared.code(visitor, client) != await shared.code(visitor, client)
    again = await shared.consent(visitor, shared.asking(client))
    assert "Allow access?" in again.text


async def test_a_code_that_is_shown_twice_ends_what_it_gave(shared: Home) -> None:
    client = await shared.client()
    code = await shared.code(await shared.signed_in(), client)
    first = (await shared.token(client, code)).json()
    assert (await shared.call("tools", first["access_token"])).status_code == 200
    again = await shared.token(client, code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    gone = await shared.call("tools", first["access_token"])
    assert gone.status_code == 401
    assert 'error="invalid_token"' in gone.headers["www-authenticate"]
    assert (await shared.refreshed(client, first["refresh_token"])).status_code == 400


async def test_a_code_is_of_no_use_to_who_stole_it(shared: Home) -> None:
    client, other = await shared.client(), await shared.client("other")
    code = await shared.code(await shared.signed_in(), client)
    for answer in (
        await shared.token(other, code),
        await shared.token(client, code, "w" * 43),
        await shared.token(client, code, ""),
        await shared.token(client, code, redirect_uri="https://evil.example/"),
        await shared.token(client, code, resource=shared.url_of("both")),
    ):
        assert answer.status_code == 400
        assert answer.json()["error"] in ("invalid_grant", "invalid_target")
    # None of them has used it up.
    assert (await shared.token(client, code)).status_code == 200


async def test_refresh_tokens_are_good_once_and_a_stolen_one_ends_all(shared: Home) -> None:
    first = await shared.granted()
    client = first["client_id"]
    second = (await shared.refreshed(client, first["refresh_token"])).json()
    assert (await shared.call("tools", second["access_token"])).status_code == 200
    # An answer that was lost, or another process of the same client, gets the same one again.
    third = (await shared.refreshed(client, first["refresh_token"])).json()
    assert (await shared.refreshed(client, third["refresh_token"])).status_code == 200
    # By now it is two older than the last: somebody else has it.
    stolen = await shared.refreshed(client, first["refresh_token"])
    assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
    assert (await shared.refreshed(client, second["refresh_token"])).status_code == 400
    assert (await shared.call("tools", second["access_token"])).status_code == 401


async def test_a_refresh_token_is_its_clients_alone_and_gives_no_more_than_was_granted(shared: Home) -> None:
    mine, other = await shared.granted(), await shared.client("other")
    for answer in (
        await shared.refreshed(other, mine["refresh_token"]),
        await shared.refreshed(mine["client_id"], mine["refresh_token"][:-2] + "AA"),
        await shared.refreshed(mine["client_id"], mine["refresh_token"], scope="admin files:write"),
        await shared.refreshed(mine["client_id"], mine["refresh_token"], resource=shared.url_of("both")),
    ):
        assert answer.status_code == 400
    assert (await shared.refreshed(mine["client_id"], mine["refresh_token"])).status_code == 200


async def test_a_revoked_token_is_of_no_use_and_another_client_cannot_revoke_it(shared: Home) -> None:
    mine, other = await shared.granted(), await shared.client("other")
    for token in (mine["refresh_token"], mine["access_token"]):
        form = {"client_id": other, "token": token}
        assert (await shared.http.post("/oauth/revoke", data=form)).status_code == 200
    assert (await shared.call("tools", mine["access_token"])).status_code == 200
    form = {"client_id": mine["client_id"], "token": mine["refresh_token"], "token_type_hint": "refresh_token"}
    assert (await shared.http.post("/oauth/revoke", data=form)).status_code == 200
    assert (await shared.call("tools", mine["access_token"])).status_code == 401
    assert (await shared.refreshed(mine["client_id"], mine["refresh_token"])).status_code == 400


async def test_only_a_client_with_a_secret_may_ask_and_of_its_own_tokens(shared: Home) -> None:
    client = await shared.register(token_endpoint_auth_method="client_secret_basic")
    auth = (client["client_id"], client["client_secret"])
    code = await shared.code(await shared.signed_in(), client["client_id"])
    assert (await shared.token(client["client_id"], code)).status_code == 401
    wrong = await shared.http.post("/oauth/token", data={"grant_type": "refresh_token"}, auth=(auth[0], "wrong"))
    assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, 'Basic realm="MetaMCP"')
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": "v" * 43}
    given = (await shared.http.post("/oauth/token", data=form, auth=auth)).json()
    told = (await shared.http.post("/oauth/introspect", data={"token": given["access_token"]}, auth=auth)).json()
    assert (told["active"], told["client_id"], told["scope"]) == (True, client["client_id"], "admin")
    assert (await shared.http.post("/oauth/introspect", data={"token": given["refresh_token"]}, auth=auth)).json()[
        "active"
    ]
    others = (await shared.granted())["access_token"]
    assert (await shared.http.post("/oauth/introspect", data={"token": others}, auth=auth)).json() == {"active": False}
    public = await shared.client()
    asked = {"token": others, "client_id": public}
    assert (await shared.http.post("/oauth/introspect", data=asked)).status_code == 401


@pytest.mark.parametrize(
    "redirect",
    [
        "http://example.com/cb",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://user@example.com/",
        "https://example.com/#f",
        "https://exa mple.com/",
        "//example.com",
        "cursor:",
        "http://127.0.0.1.example.com/cb",
    ],
)
async def test_no_client_registers_with_a_redirect_that_leads_astray(shared: Home, redirect: str) -> None:
    answer = await shared.http.post("/oauth/register", json={"redirect_uris": [redirect]})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_redirect_uri")


async def test_a_client_with_a_scheme_of_its_own_is_sent_back_there(shared: Home) -> None:
    client = await shared.register(redirect_uris=["cursor://anysphere.cursor-retrieval/oauth/callback"])
    visitor = await shared.signed_in()
    asked = shared.asking(client["client_id"], redirect_uri="cursor://anysphere.cursor-retrieval/oauth/callback")
    page = await shared.consent(visitor, asked)
    assert "on your own computer" in page.text
    assert "form-action 'self' cursor:;" in page.headers["content-security-policy"]
    answer = await shared.decide(visitor, page)
    assert answer.headers["location"].startswith("cursor://anysphere.cursor-retrieval/oauth/callback?code=")


async def test_a_client_that_registered_itself_cannot_act_by_itself(shared: Home) -> None:
    client = await shared.register(
        token_endpoint_auth_method="client_secret_post", grant_types=["authorization_code", "client_credentials"]
    )
    assert "client_credentials" not in client["grant_types"]
    form = {
        "grant_type": "client_credentials",
        "client_id": client["client_id"],
        "client_secret": client["client_secret"],
    }
    answer = await shared.http.post("/oauth/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")


async def test_what_is_too_large_is_refused(shared: Home) -> None:
    huge = await shared.http.post("/oauth/register", json={"redirect_uris": [CALLBACK], "x": "y" * 40_000})
    assert huge.status_code == 413
    many = await shared.http.post("/oauth/register", json={"redirect_uris": [CALLBACK] * 21})
    assert many.status_code == 400


async def test_the_documents_name_one_issuer(shared: Home) -> None:
    for path in ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"):
        document = (await shared.http.get(path)).json()
        assert document["issuer"] == shared.origin
        assert document["code_challenge_methods_supported"] == ["S256"]
        assert document["authorization_response_iss_parameter_supported"] is True
        assert document["client_id_metadata_document_supported"] is True
    assert (await shared.http.get("/.well-known/oauth-authorization-server/metamcp/tools/mcp")).status_code == 404


async def test_without_an_openid_provider_nobodys_assertions_are_taken(shared: Home) -> None:
    told = (await shared.http.get("/.well-known/oauth-authorization-server")).json()
    assert "authorization_grant_profiles_supported" not in told
    bearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert bearer not in told["grant_types_supported"]
    form = {"grant_type": bearer, "assertion": "x", "client_id": await shared.client()}
    answer = await shared.http.post("/oauth/token", data=form)
    assert answer.json()["error"] == "unsupported_grant_type"
