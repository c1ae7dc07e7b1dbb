"""What ends a token of ours before its time, and what does not."""

import asyncio
import time
import uuid
from datetime import timedelta

import httpx2

from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.oauth.grants import LONGEST
from metamcp_asgi.store.models import ApiKey, User
from metamcp_asgi.store.oauth_models import OAuthGrant, SigningKey
from metamcp_asgi.store.policy import COMMAND_LINE
from tests.oauth.home import ADA, MEL, Home
from tests.serving import MODERN, until

KEY = "sk_mt_" + "k" * 64


async def test_who_is_switched_off_is_out_at_once_and_so_are_their_streams(own: Home) -> None:
    token = await own.granted(MEL)
    assert (await own.call("tools", token["access_token"])).status_code == 200
    headers = {
        "Accept": "application/json, text/event-stream",
        "Authorization": f"Bearer {token['access_token']}",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "subscriptions/listen",
    }
    params = {"_meta": MODERN, "notifications": {"toolsListChanged": True}}
    body = {"jsonrpc": "2.0", "id": 7, "method": "subscriptions/listen", "params": params}
    async with own.http.stream("POST", own.url_of("tools"), json=body, headers=headers) as stream:
        lines = stream.aiter_lines()
        assert stream.status_code == 200
        await anext(lines)
        async with (await own.store()).write(COMMAND_LINE) as tx:
            user = await tx.find(User, email=MEL)
            assert user is not None
            user.disabled = True
        async with asyncio.timeout(15):
            async for _ in lines:
                pass
    assert (await own.call("tools", token["access_token"])).status_code == 401
    assert (await own.refreshed(token["client_id"], token["refresh_token"])).status_code == 400


async def test_a_stream_ends_when_its_token_expires(own: Home) -> None:
    token = (await own.granted())["access_token"]
    streams = own.gateway._legs.streams
    streams._clock = lambda: time.time() + 3599  # nearly over, to the stream
    async with asyncio.timeout(15):
        listened = await own.call("tools", token, "subscriptions/listen", notifications={"toolsListChanged": True})
    assert '"resultType":"complete"' in listened.text


async def test_a_revoked_grant_ends_its_streams_and_no_other(own: Home) -> None:
    snapshot = lambda: own.gateway.snapshot  # noqa: E731
    first, second = await own.granted(), await own.granted()
    form = {"client_id": first["client_id"], "token": first["refresh_token"]}
    assert (await own.http.post("/oauth/revoke", data=form)).status_code == 200
    await until(lambda: snapshot().revoked, within=15)
    assert (await own.call("tools", first["access_token"])).status_code == 401
    assert (await own.call("tools", second["access_token"])).status_code == 200


async def test_what_was_granted_is_seen_and_revoked_and_a_client_is_made(own: Home) -> None:
    admin, member = "sk_mt_" + "a" * 64, "sk_mt_" + "m" * 64
    async with (await own.store()).write(COMMAND_LINE) as tx:
        mel = await tx.find(User, email=MEL)
        assert mel is not None
        for text, owner in ((admin, uuid.UUID(own.ids["ada"])), (member, mel.id)):
            digest = digest_of(text)
            await tx.add(ApiKey(name="m", digest=digest, prefix="sk_mt", owner_id=owner, admin=True))
    await own.gateway.reload()

    async def manage(method: str, path: str, key: str, **more: object) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {key}", **({"If-Match": "*"} if method == "DELETE" else {})}
        return await own.http.request(method, f"/api/v1{path}", headers=headers, **more)  # type: ignore[arg-type]

    token = await own.granted()
    assert (await manage("GET", "/consents", member)).json()["items"] == []
    (consent,) = (await manage("GET", "/consents", admin)).json()["items"]
    assert (consent["clientId"], consent["scope"], consent["user"]) == (token["client_id"], "admin", ADA)
    assert (await manage("GET", f"/consents?user={mel.id}", admin)).json()["items"] == []
    assert (await manage("GET", f"/consents?user={own.ids['ada']}", admin)).json()["items"] == [consent]
    assert (await manage("DELETE", f"/consents/{consent['id']}", member)).status_code == 404
    assert (await own.call("tools", token["access_token"])).status_code == 200
    assert (await manage("DELETE", f"/consents/{consent['id']}", admin)).status_code == 204
    await own.gateway.reload()
    assert (await own.call("tools", token["access_token"])).status_code == 401
    # A member's client acts for the member.
    assert (await manage("GET", "/clients", member)).json()["items"] == []
    made = (await manage("POST", "/clients", member, json={"name": "robot"})).json()
    form = {"grant_type": "client_credentials"}
    answer = await own.http.post("/oauth/token", data=form, auth=(made["clientId"], made["clientSecret"]))
    acting = answer.json()["access_token"]
    assert (await own.call("tools", acting)).status_code == 200
    assert (await own.call("mine", acting)).status_code == 403
    assert "clientSecret" not in (await manage("GET", "/clients", admin)).text
    assert (await manage("DELETE", f"/clients/{made['id']}", member)).status_code == 204
    await own.gateway.reload()
    assert (await own.call("tools", acting)).status_code == 401


async def test_the_signing_key_is_sealed_and_goes_with_the_rotation_of_secrets(own: Home) -> None:
    token = (await own.granted())["access_token"]
    store = await own.store()
    async with store.read() as tx:
        (row,) = await tx.list(SigningKey)
        assert b"PRIVATE" not in row.sealed
        assert "d" not in row.public
    await store.rotate(COMMAND_LINE)
    assert (await own.call("tools", token)).status_code == 200
    assert (await own.granted())["access_token"]


async def test_an_api_key_opens_an_endpoint_that_takes_tokens_too(own: Home) -> None:
    async with (await own.store()).write(COMMAND_LINE) as tx:
        await tx.add(ApiKey(name="k", digest=digest_of(KEY), prefix="sk_mt_kkkk", owner_id=uuid.UUID(own.ids["ada"])))
    await own.gateway.reload()
    assert (await own.call("both", KEY)).status_code == 200
    assert (await own.call("tools", KEY)).status_code == 401
    assert (await own.call("both", "sk_mt_wrong")).json()["error"] == "invalid_credentials"


async def test_who_tries_too_often_is_held_up_and_who_is_right_is_not(own: Home) -> None:
    token = await own.granted()
    wrong = await asyncio.gather(*(own.refreshed(token["client_id"], "mcp_refresh_1.x") for _ in range(40)))
    assert sum(answer.status_code == 400 for answer in wrong) >= 20
    assert any(answer.status_code == 429 for answer in wrong)
    assert (await own.refreshed(token["client_id"], token["refresh_token"])).status_code == 200
    metadata = {"redirect_uris": ["https://a.example/"]}
    tried = await asyncio.gather(*(own.http.post("/oauth/register", json=metadata) for _ in range(40)))
    held_up = [answer for answer in tried if answer.status_code == 429]
    assert held_up
    assert all(1 <= int(answer.headers["retry-after"]) <= 3 for answer in held_up)


async def test_a_grant_ends_after_half_a_year_however_often_it_is_refreshed(own: Home) -> None:
    token = await own.granted()

    async def earlier(by: timedelta) -> OAuthGrant:
        async with (await own.store()).write(COMMAND_LINE) as tx:
            (row,) = await tx.list(OAuthGrant, OAuthGrant.redeemed_at.is_not(None), OAuthGrant.revoked_at.is_(None))
            row.created_at, row.expires_at = row.created_at - by, row.expires_at - by
        return row

    row = await earlier(LONGEST - timedelta(days=29))
    async with (await own.store()).write(COMMAND_LINE) as tx:
        (await tx.get(OAuthGrant, row.id)).expires_at = row.created_at + LONGEST
    answer = await own.refreshed(token["client_id"], token["refresh_token"])
    assert answer.status_code == 200
    row = await earlier(timedelta(days=29))
    assert row.expires_at == row.created_at + LONGEST
    ended = await own.refreshed(token["client_id"], answer.json()["refresh_token"])
    assert (ended.status_code, ended.json()["error"]) == (400, "invalid_grant")
