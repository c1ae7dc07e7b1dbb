"""Endpoints that take tokens of ours: who may use which, for what a token is."""

import uuid
from typing import Any

import pytest

from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.store.models import OAuthClient
from metamcp_asgi.store.policy import COMMAND_LINE
from tests.oauth.home import MEL, Home
from tests.signin.people import house

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_check_88_the_metadata_is_there_for_what_takes_tokens_only(shared: Home) -> None:
    for path in ("/metamcp/tools/mcp", "/metamcp/tools/sse", "/metamcp/tools/api", "/metamcp/tools"):
        document = (await shared.http.get(f"/.well-known/oauth-protected-resource{path}")).json()
        assert document["resource"] == f"{shared.origin}{path}"
        assert document["authorization_servers"] == [shared.origin]
        assert document["scopes_supported"] == ["admin"]
    for path in ("/metamcp/keys/mcp", "/metamcp/tools/mcp/x", "/metamcp/nowhere/mcp", "/else/tools/mcp"):
        assert (await shared.http.get(f"/.well-known/oauth-protected-resource{path}")).status_code == 404
    refused = await shared.call("both", None)
    where = f"{shared.origin}/.well-known/oauth-protected-resource/metamcp/both/mcp"
    assert refused.headers["www-authenticate"] == (
        f'Bearer realm="MetaMCP", scope="admin", resource_metadata="{where}"'
    )
    assert refused.json()["error"] == "authentication_required"


async def test_check_89_a_token_is_good_where_it_is_meant_for(shared: Home) -> None:
    one = (await shared.granted())["access_token"]
    assert (await shared.call("tools", one)).status_code == 200
    elsewhere = await shared.call("both", one)
    assert (elsewhere.status_code, elsewhere.json()["error"]) == (401, "invalid_credentials")
    for resource in (None, shared.origin, f"{shared.origin}/"):
        everywhere = (await shared.granted(resource=resource))["access_token"]
        assert (await shared.call("tools", everywhere)).status_code == 200
        assert (await shared.call("both", everywhere)).status_code == 200
    assert (await shared.call("keys", everywhere)).status_code == 401
    assert (await shared.call("tools", None, path=f"?access_token={one}")).status_code == 401


async def test_whose_endpoint_it_is_decides_who_may_use_it(shared: Home) -> None:
    hers = (await shared.granted(resource=None))["access_token"]
    his = (await shared.granted(MEL, resource=None))["access_token"]
    assert (await shared.call("mine", hers)).status_code == 200
    refused = await shared.call("mine", his)
    assert (refused.status_code, refused.json()["error"]) == (403, "access_denied")
    assert "resource_metadata=" in refused.headers["www-authenticate"]
    asked = shared.asking(await shared.client(), resource=shared.url_of("mine"))
    assert "somebody else" in (await shared.consent(await shared.signed_in(MEL), asked)).text


async def test_check_90_a_client_steps_up(shared: Home) -> None:
    resource = shared.url_of("steps")
    first = (await shared.granted(resource=resource, scope="admin openid offline_access"))["access_token"]
    assert (await shared.call("steps", first, "tools/call", name="echo__read", arguments={})).status_code == 200
    for name in ("echo__renamed", "echo__write"):
        refused = await shared.call("steps", first, "tools/call", name=name, arguments={})
        assert refused.status_code == 403
        assert 'scope="admin files:write files:all"' in refused.headers["www-authenticate"]
    more = await shared.granted(resource=resource, scope="admin files:write files:all")
    assert more["scope"] == "admin files:write files:all"
    for name in ("echo__renamed", "echo__write"):
        called = await shared.call("steps", more["access_token"], "tools/call", name=name, arguments={})
        assert called.status_code == 200
        assert "error" not in called.json(), called.text


async def test_who_came_over_http_and_sse_is_asked_for_more_too(shared: Home) -> None:
    token = (await shared.granted(resource=shared.url_of("steps")))["access_token"]
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo__write"}}
    where = f"{shared.origin}/metamcp/steps/message?sessionId=x"
    refused = await shared.http.post(where, json=body, headers={"Authorization": f"Bearer {token}"})
    assert refused.status_code == 403
    assert "/metamcp/steps/sse" in refused.headers["www-authenticate"]


async def test_a_client_that_somebody_made_acts_for_them_by_itself(shared: Home) -> None:
    store = await shared.store()
    async with store.write(COMMAND_LINE) as tx:
        await tx.add(
            OAuthClient(
                client_id="mcp_client_robot",
                secret_digest=digest_of("mcp_secret_robot"),
                name="robot",
                owner_id=uuid.UUID(shared.ids["ada"]),
                attributes={"grant_types": ["client_credentials"]},
            )
        )
    form = {"grant_type": "client_credentials", "resource": shared.url_of("mine")}
    answer = await shared.http.post("/oauth/token", data=form, auth=("mcp_client_robot", "mcp_secret_robot"))
    assert answer.status_code == 200, answer.text
    assert "refresh_token" not in answer.json()
    # It has just been made, and yet its first call is answered.
    assert (await shared.call("mine", answer.json()["access_token"])).status_code == 200
    assert (await shared.call("tools", answer.json()["access_token"])).status_code == 401


async def test_a_registered_client_of_metamcp_keeps_working(shared: Home) -> None:
    store = await shared.store()
    async with store.write(COMMAND_LINE) as tx:
        attributes = {"grant_types": ["authorization_code"], "token_endpoint_auth_method": "client_secret_post"}
        await tx.add(
            OAuthClient(
                client_id="mcp_client_old",
                secret_digest=digest_of("mcp_secret_old"),
                redirect_uris=["http://localhost:6274/oauth/callback"],
                attributes=attributes,
            )
        )
    redirect = "http://localhost:9999/oauth/callback"
    code = await shared.code(await shared.signed_in(), "mcp_client_old", redirect_uri=redirect, scope="admin")
    # JSON, as MetaMCP takes it, too.
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": "v" * 43, "redirect_uri": redirect}
    known = {"client_id": "mcp_client_old", "client_secret": "mcp_secret_old"}
    answer = await shared.http.post("/oauth/token", json={**form, **known})
    assert answer.status_code == 200, answer.text
    assert answer.json()["scope"] == "admin"


async def test_a_gateway_without_oauth_has_no_authorization_server(shared: Home, tmp_path: Any) -> None:
    async with house(f"sqlite:///{tmp_path}/none.db") as plain:
        visitor = plain.visitor()
        for path in (
            "/oauth/register",
            "/oauth/authorize",
            "/oauth/jwks.json",
            "/.well-known/oauth-authorization-server",
            "/.well-known/oauth-protected-resource",
        ):
            assert (await visitor.get(path)).status_code == 404, path
