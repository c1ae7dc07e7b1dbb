"""Users and OAuth clients as an admin looks for them, on both databases."""

import asyncio

import pytest

from metamcp_asgi.admin.api import users
from metamcp_asgi.store.repository import SYSTEM, Store
from tests.admin.managed import MEMBER, Managed
from tests.databases import SECRET


async def test_users_are_found_by_a_part_of_their_email_or_name(any_api: Managed) -> None:
    await any_api.make("/users", {"email": "grace@example.org", "name": "Grace 50% Hopper"})

    async def found(words: str, **how: str) -> list[str]:
        page = await any_api.get("/users", params={"search": words}, **how)
        return [user["email"] for user in page["items"]]

    assert await found("HOPPER") == ["grace@example.org"]
    assert await found("example.com") == ["ada@example.com", "mel@example.com"]
    assert await found("50% h") == ["grace@example.org"]
    assert await found("%") == ["grace@example.org"], "no character stands for others"
    assert await found("ada", key=MEMBER) == [], "members find themselves only"
    assert (await any_api.send("GET", "/users", params={"search": "a\0b"})).status_code == 422


async def test_what_would_go_with_a_user_is_told_before(any_api: Managed) -> None:
    mel = any_api.ids["mel"]
    url = "http://127.0.0.1:9/mcp"
    for name in ("web", "files"):
        await any_api.make("/servers", {"name": name, "url": url}, key=MEMBER)
    namespace = await any_api.make("/namespaces", {"name": "mine"}, key=MEMBER)
    await any_api.make("/endpoints", {"name": "mine", "namespaceId": namespace["id"]}, key=MEMBER)
    await any_api.make("/clients", {"name": "robot"}, key=MEMBER)
    things = await any_api.get(f"/users/{mel}/things")
    assert things == {
        "servers": {"count": 2, "names": ["files", "web"]},
        "namespaces": {"count": 1, "names": ["mine"]},
        "endpoints": {"count": 1, "names": ["mine"]},
        "api_keys": {"count": 1, "names": ["managing"]},
        "oauth_clients": {"count": 1, "names": ["robot"]},
    }
    assert (await any_api.send("GET", f"/users/{any_api.ids['ada']}/things", key=MEMBER)).status_code == 404
    assert (await any_api.send("DELETE", f"/users/{mel}", match="*")).status_code == 204
    assert (await any_api.get("/servers"))["items"] == []
    assert (await any_api.get("/clients"))["items"] == []


async def test_oauth_clients_are_found_and_told_with_their_owner(any_api: Managed) -> None:
    robot = await any_api.make("/clients", {"name": "Robot"})
    await any_api.make("/clients", {"name": "Other"}, key=MEMBER)
    assert robot["owner"] == "ada@example.com"
    (found,) = (await any_api.get("/clients", params={"search": "robo"}))["items"]
    assert (found["id"], found["owner"], found["version"]) == (robot["id"], "ada@example.com", robot["version"])
    assert [client["name"] for client in (await any_api.get("/clients", key=MEMBER))["items"]] == ["Other"]
    by_id = await any_api.get("/clients", params={"search": robot["clientId"]})
    assert [client["name"] for client in by_id["items"]] == ["Robot"]
    path = f"/clients/{robot['id']}"
    assert (await any_api.send("DELETE", path, key=MEMBER, match="*")).status_code == 404
    assert (await any_api.send("DELETE", path, match='"7"')).status_code == 412
    assert (await any_api.send("DELETE", path, match=f'"{robot["version"]}"')).status_code == 204


async def test_ones_present_password_is_tried_a_few_times_only(api: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "PASSWORD_TRIES", (2, 300.0))
    path = f"/users/{api.ids['mel']}/password"
    await api.send("POST", path, {"password": "the right password"})

    async def tried(current: str) -> tuple[int, bool]:
        body = {"password": "another long password", "current": current}
        answer = await api.send("POST", path, body, key=MEMBER)
        return answer.status_code, "retry-after" in answer.headers

    assert [await tried("wrong"), await tried("wrong")] == [(422, False), (422, False)]
    assert await tried("the right password") == (429, True)
    assert (await api.send("POST", path, {"password": "by an admin"})).status_code == 204


async def test_no_writer_waits_for_a_password_to_be_hashed(api: Managed) -> None:
    mine = {"password": "another long password", "current": "wrong"}
    store = await Store.open(api.url, environ={}, secret_keys=(SECRET,))
    try:
        # While another one writes, all is said that can be said before a turn to write.
        async with store.write(SYSTEM), asyncio.timeout(15):
            own = await api.send("POST", f"/users/{api.ids['mel']}/password", mine, key=MEMBER)
            made = await api.send("POST", "/users", {"email": "bo@example.com", "password": "short"})
    finally:
        await store.aclose()
    assert [own.json()["errors"][0]["pointer"], made.json()["errors"][0]["pointer"]] == ["/current", "/password"]
