"""The servers of members are reached at public addresses only: nobody is lent the place that the gateway has inside."""

import asyncio
from pathlib import Path

from tests.admin.managed import JSON, MEMBER, Managed, managed
from tests.gateway.upstreams.raw import RawServer
from tests.serving import serving


async def state_of(api: Managed, server: JSON, state: str) -> JSON:
    """Waits until a server is in a state; returns its health."""
    async with asyncio.timeout(20):
        while True:
            health = await api.get(f"/servers/{server['id']}/health")
            if health["state"] == state:
                return health
            await asyncio.sleep(0.02)


async def test_a_members_server_inside_is_not_asked_under_any_of_its_names(api: Managed) -> None:
    inside = RawServer()
    async with serving(inside) as place:
        hosts = ("127.0.0.1", "localhost", "127.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433")
        urls = [("http", f"http://{host}:{place.port}/mcp") for host in hosts] + [("sse", f"{place.origin}/sse")]
        bodies = [{"name": f"m{number}", "type": kind, "url": url} for number, (kind, url) in enumerate(urls)]
        for server in [await api.make("/servers", body, key=MEMBER) for body in bodies]:
            told = (await state_of(api, server, "failed"))["error"]
            assert "is at an address that is not public" in told
            assert "METAMCP_OUTWARD_ALLOWED" in told
        assert inside.seen == []

        admins = await api.make("/servers", {"name": "admins", "url": f"{place.origin}/mcp"})
        await state_of(api, admins, "ready")


async def test_it_is_the_owners_role_that_counts_now(api: Managed) -> None:
    inside = RawServer()
    async with serving(inside) as place:
        server = await api.make("/servers", {"name": "mels", "url": f"{place.origin}/mcp"}, key=MEMBER)
        await state_of(api, server, "failed")
        await api.change(f"/users/{api.ids['mel']}", {"role": "admin"})
        await state_of(api, server, "ready")
        await api.change(f"/users/{api.ids['mel']}", {"role": "member"})
        await state_of(api, server, "failed")
        # Nor does an admin who gives one away lend their own trust with it; who makes it public does.
        await api.change(f"/servers/{server['id']}", {"ownerId": None})
        await state_of(api, server, "ready")


async def test_a_setting_that_lets_members_publish_is_no_way_around(api: Managed) -> None:
    assert (await api.send("PATCH", "/settings", {"membersMayCreatePublic": True}, match="*")).status_code == 200
    body = {"name": "everybodys", "url": "http://169.254.169.254/latest", "ownerId": None}
    answer = await api.send("POST", "/servers", body, key=MEMBER)
    assert answer.status_code == 403
    assert "nly admins make public servers with a URL" in answer.json()["detail"]


async def test_what_the_operator_allows_is_asked_and_leads_no_further(tmp_path: Path) -> None:
    secret = RawServer()

    async def away(scope: JSON, receive: object, send: object) -> None:
        headers = [(b"location", f"{place.origin}/mcp".encode()), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 307, "headers": headers})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    async with (
        managed(f"sqlite:///{tmp_path}/metamcp.db", outward_allowed=("127.0.0.1",)) as api,
        serving(secret) as place,
        serving(RawServer()) as allowed,
        serving(away) as redirecting,
    ):
        mine = await api.make("/servers", {"name": "mine", "url": f"{allowed.origin}/mcp"}, key=MEMBER)
        await state_of(api, mine, "ready")
        moved = await api.make("/servers", {"name": "moved", "url": f"{redirecting.origin}/mcp"}, key=MEMBER)
        told = (await state_of(api, moved, "failed"))["error"]
        assert "redirects, which is not followed" in told
        assert secret.seen == []
