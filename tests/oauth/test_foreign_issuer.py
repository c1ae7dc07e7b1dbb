"""Endpoints that take the tokens of somebody else's issuer, from a configuration file: no database, no people here."""

import asyncio
import base64
import json
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import jwt
import pytest
import pytest_asyncio

from metamcp_asgi import Gateway
from metamcp_asgi.config.file import compile_document
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.settings import Settings
from tests.gateway.running import served
from tests.oauth.home import server_command
from tests.oauth.issuer import Issuer
from tests.serving import MODERN, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Place:
    """A gateway, and the issuer whose tokens it takes."""

    def __init__(self, gateway: Gateway, origin: str, issuer: Issuer, http: httpx2.AsyncClient) -> None:
        self.gateway, self.origin, self.issuer, self.http = gateway, origin, issuer, http

    def url(self, endpoint: str) -> str:
        return f"{self.origin}/metamcp/{endpoint}/mcp"

    async def ask(
        self, token: str | None, endpoint: str = "plain", method: str = "tools/list", query: str = "", **params: Any
    ) -> httpx2.Response:
        headers = {
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": method,
        }
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if "name" in params:
            headers["Mcp-Name"] = params["name"]
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": MODERN}}
        return await self.http.post(self.url(endpoint) + query, json=body, headers=headers)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def place() -> AsyncIterator[Place]:
    issuer = Issuer()
    async with serving(issuer) as provider:
        issuer.url = provider.origin
        entra = {"audience": ["api://gateway"], "nameClaim": "upn", "scopes": ["mcp.use"]}
        groups = {"groupsClaim": "realm_access.roles", "groups": {"writers": ["write"], "readers": []}}
        document = {
            "mcpServers": {"echo": server_command("read", "write")},
            "namespaces": {"all": {"servers": ["echo"], "tools": {"echo__write": {"name": "renamed"}}}},
            "endpoints": {
                "plain": {"namespace": "all", "apiKeyAuth": False, "oauth": {"issuer": issuer.url}},
                "entra": {"namespace": "all", "oauth": {"issuer": issuer.url, **entra}},
                "keycloak": {
                    "namespace": "all",
                    "apiKeyAuth": False,
                    "oauth": {"issuer": issuer.url, **groups, "toolScopes": {"echo__renamed": ["write", "audit"]}},
                },
                "keyed": {"namespace": "all"},
            },
            "apiKeys": [{"name": "a", "key": "sk_mt_0123456789abcdef"}],
        }
        gateway = Gateway(compile_document(document), Settings(outward_allowed=("127.0.0.0/8",)))
        async with served(gateway, "on") as port, httpx2.AsyncClient(timeout=20) as http:
            yield Place(gateway, f"http://127.0.0.1:{port}", issuer, http)


async def test_check_88_who_has_no_token_is_told_where_to_get_one(place: Place) -> None:
    refused = await place.ask(None)
    metadata = f"{place.origin}/.well-known/oauth-protected-resource/metamcp/plain/mcp"
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == f'Bearer realm="MetaMCP", resource_metadata="{metadata}"'
    document = (await place.http.get(metadata)).json()
    assert document["resource"] == place.url("plain")
    assert document["authorization_servers"] == [place.issuer.url]
    assert "offline_access" not in document.get("scopes_supported", [])
    assert (await place.ask(None, "entra")).headers["www-authenticate"].count('scope="mcp.use"') == 1
    # One that takes keys only must not begin a flow that cannot succeed (AU-06).
    keyed = await place.ask(None, "keyed")
    assert keyed.headers["www-authenticate"] == 'Bearer realm="MetaMCP"'
    assert (await place.http.get(metadata.replace("plain", "keyed"))).status_code == 404
    assert (await place.http.get(metadata.replace("plain", "nowhere"))).status_code == 404
    root = await place.http.get(f"{place.origin}/.well-known/oauth-protected-resource")
    assert root.json()["resource"] == f"{place.origin}/"
    # There is no database, and so no authorization server of ours.
    assert (await place.http.get(f"{place.origin}/.well-known/oauth-authorization-server")).status_code == 404


async def test_a_good_token_is_verified_once(place: Place) -> None:
    token = place.issuer.token(place.url("plain"))
    assert (await place.ask(token)).status_code == 200
    read = place.issuer.asked
    for _ in range(5):
        assert (await place.ask(token)).status_code == 200
    assert place.issuer.asked == read
    # For all of the gateway (dossier 4.2), or in a list with others.
    for audience in (f"{place.origin}/", place.origin, ["else", place.url("plain")]):
        assert (await place.ask(place.issuer.token(audience))).status_code == 200


async def test_check_89_a_token_for_somebody_else_or_too_old_is_refused(place: Place) -> None:
    issuer, mine = place.issuer, place.url("plain")
    stranger = Issuer()
    stranger.url = issuer.url
    key = issuer.keys["one"][0]
    secret = base64.urlsafe_b64encode(b"x" * 32).decode()
    wrong = {
        "another resource": issuer.token("https://elsewhere.example/mcp"),
        "another endpoint": issuer.token(place.url("keycloak")),
        "no audience": issuer.token(None),
        "expired": issuer.token(mine, exp=int(time.time()) - 1),
        "not yet valid": issuer.token(mine, nbf=int(time.time()) + 3600),
        "no expiry": issuer.token(mine, exp=None),
        "an expiry past all numbers": issuer.token(mine, exp=10**400),
        "not valid before infinity": issuer.token(mine, nbf=math.inf),
        "another issuer": issuer.token(mine, iss="https://elsewhere.example"),
        "another one's key": stranger.token(mine),
        "an unknown key": stranger.token(mine, headers={"kid": "unknown"}),
        "an ID token": issuer.token(mine, nonce="n"),
        "unsigned": jwt.encode({"iss": issuer.url, "aud": mine, "exp": time.time() + 60, "sub": "u"}, "", "none"),
        "by a secret": jwt.encode(
            {"iss": issuer.url, "aud": mine, "sub": "u"}, secret, "HS256", headers={"kid": "one"}
        ),
        "critical": jwt.encode({"iss": issuer.url}, key, "ES256", headers={"kid": "one", "crit": ["x"]}),
        "of nobody": issuer.token(mine, sub=""),
        "no token": "a.b.c",
    }
    for why, token in wrong.items():
        refused = await place.ask(token)
        assert refused.status_code == 401, why
        assert 'error="invalid_token"' in refused.headers["www-authenticate"], why
        assert "resource_metadata=" in refused.headers["www-authenticate"], why
    good = issuer.token(mine)
    assert (await place.ask(None, query=f"?access_token={good}")).status_code == 401
    assert (await place.ask(None, query=f"?api_key={good}")).status_code == 401


async def test_a_token_ends_when_it_expires_although_it_is_known(place: Place) -> None:
    known = place.gateway.tokens
    token = place.issuer.token(place.url("plain"), exp=int(time.time()) + 60)
    assert (await place.ask(token)).status_code == 200
    real, known._clock = known._clock, lambda: time.time() + 61
    try:
        assert (await place.ask(token)).status_code == 401
    finally:
        known._clock = real


async def test_a_stream_ends_with_the_token_that_it_was_opened_with(place: Place) -> None:
    headers = {"Authorization": f"Bearer {place.issuer.token(place.url('plain'))}", "Accept": "text/event-stream"}
    accepting = {**headers, "Accept": "application/json, text/event-stream"}

    async def events(method: str, url: str, headers: dict[str, str], body: Any = None) -> str:
        async with place.http.stream(method, url, headers=headers, json=body) as stream:
            assert stream.status_code == 200
            return (await stream.aread()).decode()

    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    session = (await place.http.post(place.url("plain"), json=hello, headers=accepting)).headers["mcp-session-id"]
    legacy = {**headers, "Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25"}
    modern = {**accepting, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "subscriptions/listen"}
    wanted = {"_meta": MODERN, "notifications": {"toolsListChanged": True}}
    listen = {"jsonrpc": "2.0", "id": 7, "method": "subscriptions/listen", "params": wanted}
    streams = place.gateway._legs.streams
    # To the streams it is nearly over, so that it cannot end before they have begun.
    real, streams._clock = streams._clock, lambda: time.time() + 299
    try:
        async with asyncio.timeout(30):
            listened, *others = await asyncio.gather(
                events("POST", place.url("plain"), modern, listen),
                events("GET", place.url("plain"), legacy),
                events("GET", place.url("plain").replace("/mcp", "/sse"), headers),
            )
    finally:
        streams._clock = real
    *_, last = [json.loads(line[6:]) for line in listened.splitlines() if line.startswith("data: ")]
    assert (last["id"], last["result"]["resultType"]) == (7, "complete")
    assert len(others) == 2


async def test_a_key_that_the_issuer_made_later_is_found(place: Place) -> None:
    place.issuer.add("two", "RS256")
    assert (await place.ask(place.issuer.token(place.url("plain")))).status_code == 200
    assert (await place.ask(place.issuer.token(place.url("plain"), kid="one"))).status_code == 200


async def test_tokens_of_unknown_keys_do_not_have_the_issuer_asked_each_time(place: Place) -> None:
    stranger, read = Issuer(), place.issuer.asked
    stranger.url = place.issuer.url
    for number in range(12):
        await place.ask(stranger.token(place.url("plain"), headers={"kid": f"k{number}"}))
    assert place.issuer.asked - read <= 6


async def test_an_audience_and_scopes_of_the_issuers_own_kind(place: Place) -> None:
    # Entra: ``aud`` is an application, scopes are in ``scp``.
    assert (await place.ask(place.issuer.token("api://gateway", scp="mcp.use other"), "entra")).status_code == 200
    short = await place.ask(place.issuer.token("api://gateway", scp="other"), "entra")
    assert short.status_code == 403
    assert 'error="insufficient_scope"' in short.headers["www-authenticate"]
    assert 'scope="mcp.use"' in short.headers["www-authenticate"]
    assert (await place.ask("sk_mt_0123456789abcdef", "entra")).status_code == 200
    wrong = await place.ask("sk_mt_fedcba9876543210", "entra")
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_credentials")


async def test_nobody_can_call_us_by_the_name_that_a_foreign_token_was_made_for(place: Place) -> None:
    theirs = "mcp.elsewhere.example"
    url, headers = place.url("entra"), {"Host": theirs}
    token = place.issuer.token(f"http://{theirs}/metamcp/entra/mcp", scope="mcp.use")
    refused = await place.http.post(url, json={}, headers={**headers, "Authorization": f"Bearer {token}"})
    assert refused.status_code == 401
    assert "APP_URL" in refused.json()["error_description"]
    # What the configuration names is for us, whatever we are called.
    token = place.issuer.token("api://gateway", scope="mcp.use")
    taken = await place.http.post(url, json={}, headers={**headers, "Authorization": f"Bearer {token}"})
    assert taken.status_code == 400
    ours = Settings(outward_allowed=("127.0.0.0/8",), allowed_hosts=(theirs,))
    async with served(Gateway(place.gateway.snapshot, ours), "on") as port:
        token = place.issuer.token(f"http://{theirs}/metamcp/entra/mcp", scope="mcp.use")
        elsewhere = f"http://127.0.0.1:{port}/metamcp/entra/mcp"
        taken = await place.http.post(elsewhere, json={}, headers={**headers, "Authorization": f"Bearer {token}"})
        assert taken.status_code == 400


async def test_groups_decide_who_may_come_and_what_they_may(place: Place) -> None:
    def token(*roles: str, **claims: Any) -> str:
        return place.issuer.token(place.url("keycloak"), realm_access={"roles": list(roles)}, **claims)

    stranger = await place.ask(token("guests"), "keycloak")
    assert (stranger.status_code, stranger.json()["error"]) == (403, "access_denied")
    assert "resource_metadata=" in stranger.headers["www-authenticate"]
    assert (await place.ask(token("readers"), "keycloak")).status_code == 200
    assert (await place.ask(token("readers"), "keycloak", "tools/call", name="echo__read")).status_code == 200
    enough = await place.ask(token("writers", scope="audit"), "keycloak", "tools/call", name="echo__renamed")
    assert enough.status_code == 200


@pytest.mark.parametrize("name", ["echo__renamed", "echo__write"])
async def test_check_90_a_tool_that_needs_more_says_all_of_it_in_one_challenge(place: Place, name: str) -> None:
    token = place.issuer.token(place.url("keycloak"), realm_access={"roles": ["writers"]})
    refused = await place.ask(token, "keycloak", "tools/call", name=name)
    assert refused.status_code == 403
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
    assert 'scope="write audit"' in refused.headers["www-authenticate"]
    assert refused.headers["content-type"] == "application/json"
    # A legacy client and the REST face are asked the same.
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {}}}
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    legacy = {**headers, "MCP-Protocol-Version": "2025-11-25", "Mcp-Session-Id": "x"}
    assert (await place.http.post(place.url("keycloak"), json=call, headers=legacy)).status_code == 403
    assert (await place.http.post(place.url("keycloak"), json=[call], headers=legacy)).status_code == 403
    rest = f"{place.origin}/metamcp/keycloak/api/{name}"
    assert (await place.http.post(rest, json={}, headers=headers)).status_code == 403


async def test_an_issuer_that_names_another_is_not_believed(place: Place) -> None:
    other = Issuer()
    async with serving(other) as provider:
        other.url, other.says = provider.origin, {"issuer": "https://elsewhere.example"}
        endpoint = {"namespace": "default", "apiKeyAuth": False, "oauth": {"issuer": other.url}}
        document = {"mcpServers": {}, "endpoints": {"plain": endpoint}}
        gateway = Gateway(compile_document(document), Settings(outward_allowed=("127.0.0.0/8",)))
        async with served(gateway, "on") as port:
            there = Place(gateway, f"http://127.0.0.1:{port}", other, place.http)
            assert (await there.ask(other.token(there.url("plain")))).status_code == 401
            assert other.asked == 0


async def test_check_94_an_issuer_inside_is_not_asked_unless_the_operator_allows_it(place: Place) -> None:
    other = Issuer()
    async with serving(other) as provider:
        other.url = provider.origin
        endpoint = {"namespace": "default", "apiKeyAuth": False, "oauth": {"issuer": other.url}}
        gateway = Gateway(compile_document({"mcpServers": {}, "endpoints": {"plain": endpoint}}), Settings())
        async with served(gateway, "on") as port:
            there = Place(gateway, f"http://127.0.0.1:{port}", other, place.http)
            assert (await there.ask(other.token(there.url("plain")))).status_code == 401
            assert other.asked == 0


async def test_a_file_needs_an_issuer_because_ours_needs_a_database(tmp_path: Any) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {}, "endpoints": {"e": {"namespace": "default", "oauth": True}}}))
    with pytest.raises(ConfigError, match=r'endpoints\.e\.oauth: needs an "issuer"'):
        Gateway.from_file(path, Settings())
