"""Every object of the API from its first day to its last, on both databases, over real HTTP."""

import asyncio
import uuid
from typing import Any

import pytest

from metamcp_asgi.store.models import Namespace, User
from metamcp_asgi.store.repository import SYSTEM, Store
from metamcp_asgi.store.services import web_sessions
from tests.admin.managed import MEMBER, Managed
from tests.databases import SECRET

NOWHERE = "http://127.0.0.1:9/mcp"


async def test_a_server_is_made_read_changed_and_removed(any_api: Managed) -> None:
    made = await any_api.make("/servers", {"name": "web", "url": NOWHERE, "description": "A server"})
    assert made["type"] == "streamable_http"
    assert made["ownerId"] == any_api.ids["ada"]
    path = f"/servers/{made['id']}"

    read = await any_api.send("GET", path)
    assert read.json() == made
    assert read.headers["etag"] == f'"{made["version"]}"'
    assert (await any_api.send("GET", path, headers={"If-None-Match": read.headers["etag"]})).status_code == 304

    changed = await any_api.send("PATCH", path, {"description": "Another", "timeout": 5}, match=read.headers["etag"])
    assert changed.status_code == 200, changed.text
    assert changed.json()["description"] == "Another"
    assert changed.json()["timeout"] == 5
    assert changed.json()["url"] == NOWHERE
    assert changed.headers["etag"] != read.headers["etag"]
    assert (await any_api.get(path)) == changed.json()

    removed = await any_api.send("DELETE", path, match=changed.headers["etag"])
    assert (removed.status_code, removed.content) == (204, b"")
    assert (await any_api.send("GET", path)).status_code == 404
    assert (await any_api.get("/servers"))["items"] == []


async def test_a_namespace_has_its_servers_in_order_and_switches_them(any_api: Managed) -> None:
    one = await any_api.make("/servers", {"name": "one", "url": NOWHERE})
    two = await any_api.make("/servers", {"name": "two", "url": NOWHERE})
    members = [{"serverId": two["id"]}, {"serverId": one["id"], "active": False}]
    made = await any_api.make("/namespaces", {"name": "all", "servers": members, "middlewares": []})
    path = f"/namespaces/{made['id']}"
    assert made["servers"] == [
        {"serverId": two["id"], "active": True},
        {"serverId": one["id"], "active": False},
    ]

    switched = await any_api.send("PATCH", f"{path}/servers/{one['id']}", {"active": True}, match='"1"')
    assert switched.status_code == 200, switched.text
    assert [server["active"] for server in switched.json()["servers"]] == [True, True]
    assert switched.headers["etag"] != '"1"', "who read the old list of servers would not learn of it"
    assert (await any_api.send("PATCH", path, {"servers": []}, match='"1"')).status_code == 412

    turned = await any_api.change(path, {"servers": [{"serverId": one["id"]}, {"serverId": two["id"]}]})
    assert [server["serverId"] for server in turned["servers"]] == [one["id"], two["id"]]
    assert (await any_api.get("/namespaces"))["items"] == [turned]
    assert (await any_api.send("DELETE", path, match="*")).status_code == 204


async def test_an_endpoint_is_made_changed_and_removed(any_api: Managed) -> None:
    namespace = await any_api.make("/namespaces", {"name": "all"})
    rate = {"maxRate": 5, "maxRateSeconds": 60}
    made = await any_api.make("/endpoints", {"name": "tools", "namespaceId": namespace["id"], "rateLimit": rate})
    assert made["path"] == "/metamcp/tools/mcp"
    assert made["apiKeyAuth"] is True
    assert made["rateLimit"] == rate
    path = f"/endpoints/{made['id']}"
    changed = await any_api.change(path, {"rateLimit": None, "queryParamAuth": True})
    assert (changed["rateLimit"], changed["queryParamAuth"]) == (None, True)
    assert (await any_api.get("/endpoints"))["items"] == [changed]
    assert (await any_api.send("DELETE", path, match=f'"{changed["version"]}"')).status_code == 204


async def test_a_key_is_shown_once_and_then_only_its_beginning(any_api: Managed) -> None:
    made = await any_api.make("/keys", {"name": "laptop"})
    text = made.pop("key")
    assert text.startswith("sk_mt_")
    assert len(text) == 70
    assert text.startswith(made["prefix"])
    path = f"/keys/{made['id']}"
    assert await any_api.get(path) == made
    assert made in (await any_api.get("/keys"))["items"]
    changed = await any_api.change(path, {"disabled": True, "name": "old laptop"})
    assert (changed["disabled"], changed["name"]) == (True, "old laptop")
    assert (await any_api.send("DELETE", path, match="*")).status_code == 204
    assert [body for body in any_api.bodies if text in body] == any_api.bodies[:1]


async def test_a_key_is_rotated_and_the_one_before_is_good_for_a_while(any_api: Managed) -> None:
    made = await any_api.make("/keys", {"name": "laptop", "admin": True})
    path = f"/keys/{made['id']}"
    used: dict[str, Any] = {"match": f'"{made["version"]}"'}
    rotated = await any_api.send("POST", f"{path}/rotate", {"graceSeconds": 3600}, **used)
    assert rotated.status_code == 200, rotated.text
    again = rotated.json()
    first, second = made["key"], again["key"]
    assert second.startswith(again["prefix"])
    assert again["previousUntil"] > made["createdAt"]
    assert (again["id"], again["name"], first != second) == (made["id"], "laptop", True)
    assert (await any_api.send("POST", f"{path}/rotate", {}, **used)).status_code == 412, "by who saw the old one"
    await any_api.gateway.reload()
    assert (await any_api.get("/me", key=first))["name"] == "ada@example.com"
    assert await any_api.get("/me", key=first) == await any_api.get("/me", key=second)

    last = (await any_api.send("POST", f"{path}/rotate", {"graceSeconds": 0}, match="*")).json()
    assert last["previousUntil"] is None
    await any_api.gateway.reload()
    for text in (first, second):
        assert (await any_api.send("GET", "/me", key=text)).status_code == 401
    assert len([body for body in any_api.bodies if second in body]) == 1, "told once"
    (told, _) = [e for e in (await any_api.get("/audit", params={"object": made["id"]}))["items"] if e["before"]]
    assert told["after"]["digest"] == told["before"]["previous_digest"] == "(secret)"


async def test_endpoints_and_keys_are_found_by_a_part_of_what_is_shown(any_api: Managed) -> None:
    namespaces = [await any_api.make("/namespaces", {"name": name}) for name in ("all", "some")]
    for index, name in enumerate(("tools-a", "Tools_b", "other")):
        body = {"name": name, "namespaceId": namespaces[index % 2]["id"], "description": f"number {index}"}
        endpoint = await any_api.make("/endpoints", body)
        await any_api.make("/keys", {"name": f"for {name}", "endpointIds": [endpoint["id"]]})
    assert [each["name"] for each in (await any_api.get("/namespaces/names"))["items"]] == ["all", "some"]
    named = await any_api.get("/endpoints/names", params={"limit": 2})
    (last,) = (await any_api.get("/endpoints/names", params={"limit": 2, "after": named["next"]}))["items"]
    assert {each["name"] for each in (*named["items"], last)} == {"tools-a", "Tools_b", "other"}
    assert last["ownerId"] == any_api.ids["ada"]
    assert (await any_api.get("/endpoints/names", key=MEMBER))["items"] == []
    assert (endpoint["namespace"], endpoint["owner"]) == ("all", "ada@example.com")

    async def found(path: str, **asked: str) -> list[str]:
        return [each["name"] for each in (await any_api.get(path, params=asked))["items"]]

    assert await found("/endpoints", search="TOOLS") == ["Tools_b", "tools-a"]
    assert await found("/endpoints", search="number 2") == ["other"]
    assert await found("/endpoints", search="s_") == ["Tools_b"], "not a pattern"
    assert await found("/endpoints", namespace=namespaces[1]["id"]) == ["Tools_b"]
    assert await found("/keys", search="for t") == ["for Tools_b", "for tools-a"]
    (key,) = (await any_api.get("/keys", params={"search": "for other"}))["items"]
    assert (key["endpoints"], key["owner"]) == (["other"], "ada@example.com")
    await any_api.send("DELETE", f"/endpoints/{endpoint['id']}", match="*")
    assert (await any_api.get(f"/keys/{key['id']}"))["endpoints"] == []


async def test_nobody_gets_the_key_of_somebody_else_by_rotating_it(any_api: Managed) -> None:
    made = await any_api.make("/keys", {"name": "phone"}, key=MEMBER)
    refused = await any_api.send("POST", f"/keys/{made['id']}/rotate", {}, match="*")
    assert refused.status_code == 403
    public = await any_api.make("/keys", {"name": "all", "ownerId": None})
    refused = await any_api.send("POST", f"/keys/{public['id']}/rotate", {}, match="*", key=MEMBER)
    assert refused.status_code == 403
    wrong = await any_api.send("POST", f"/keys/{made['id']}/rotate", {"graceSeconds": 1e9}, match="*", key=MEMBER)
    assert wrong.status_code == 422


async def test_the_sessions_of_a_user_are_listed_and_ended_one_by_one(any_api: Managed) -> None:
    store = await Store.open(any_api.url, environ={}, secret_keys=(SECRET,))
    async with store.write(SYSTEM) as tx:
        mel = await tx.get(User, uuid.UUID(any_api.ids["mel"]))
        rows = [await web_sessions.begin(tx, mel, bytes([each]) * 32, "password") for each in range(4)]
        over = rows.pop()
        over.expires_at = over.created_at
    await store.aclose()
    path = f"/users/{any_api.ids['mel']}/sessions"
    listed = (await any_api.get(path, key=MEMBER))["items"]
    assert {each["id"] for each in listed} == {str(row.id) for row in rows}
    assert "digest" not in listed[0]
    one, two, three = (row.id for row in rows)
    assert (await any_api.send("DELETE", f"{path}/{one}", key=MEMBER)).status_code == 204
    assert (await any_api.send("DELETE", f"{path}/{one}", key=MEMBER)).status_code == 404
    assert (await any_api.send("DELETE", f"{path}?but={three}")).status_code == 204
    assert [each["id"] for each in (await any_api.get(path))["items"]] == [str(three)], two
    theirs = f"/users/{any_api.ids['ada']}/sessions"
    for method, where in (("GET", theirs), ("DELETE", theirs), ("DELETE", f"{theirs}/{three}")):
        assert (await any_api.send(method, where, key=MEMBER)).status_code == 404
    password = {"password": "a long new password", "session": str(three)}
    assert (await any_api.send("POST", path.replace("sessions", "password"), password)).status_code == 204
    assert len((await any_api.get(path))["items"]) == 1


async def test_a_user_is_added_changed_and_removed(any_api: Managed) -> None:
    made = await any_api.make("/users", {"email": "Bo@Example.com", "password": "a long password 7f3a"})
    assert made["email"] == "bo@example.com"
    assert (made["role"], made["hasPassword"], made["disabled"]) == ("member", True, False)
    path = f"/users/{made['id']}"
    changed = await any_api.change(path, {"role": "admin", "name": "Bo"})
    assert (changed["role"], changed["name"]) == ("admin", "Bo")
    again = await any_api.send("POST", f"{path}/password", {"password": "another long password"})
    assert again.status_code == 204, again.text
    assert len((await any_api.get("/users"))["items"]) == 3
    assert (await any_api.send("DELETE", path, match="*")).status_code == 204
    assert not [body for body in any_api.bodies if "7f3a" in body or "argon2" in body]


async def test_settings_are_changed_one_by_one(any_api: Managed) -> None:
    read = await any_api.send("GET", "/settings")
    known = read.json()
    assert known["membersMayCreateStdio"] is False
    changed = await any_api.send("PATCH", "/settings", {"membersMayCreateStdio": True}, match=read.headers["etag"])
    assert changed.status_code == 200, changed.text
    assert changed.json() == {**known, "membersMayCreateStdio": True}
    late = await any_api.send("PATCH", "/settings", {"allowSignup": True}, match=read.headers["etag"])
    assert late.status_code == 412
    assert await any_api.get("/settings") == changed.json()


async def test_every_change_is_in_the_audit_with_who_made_it(any_api: Managed) -> None:
    made = await any_api.make("/servers", {"name": "web", "url": NOWHERE, "bearerToken": "clear-7f3a"})
    await any_api.change(f"/servers/{made['id']}", {"description": "new"})
    await any_api.send("DELETE", f"/servers/{made['id']}", match="*")
    page = await any_api.get("/audit", params={"object": made["id"]})
    assert [entry["action"] for entry in page["items"]] == ["delete", "update", "create"]
    assert {entry["actor"] for entry in page["items"]} == {"ada@example.com"}
    assert {entry["actorId"] for entry in page["items"]} == {any_api.ids["ada"]}
    assert page["items"][1]["after"] == {"description": "new"}
    first = await any_api.get("/audit", params={"limit": 1})
    second = await any_api.get("/audit", params={"limit": 1, "after": first["next"]})
    assert (first["items"][0]["action"], second["items"][0]["action"]) == ("delete", "update")


async def test_two_editors_do_not_overwrite_each_other(any_api: Managed) -> None:
    made = await any_api.make("/servers", {"name": "web", "url": NOWHERE})
    path, tag = f"/servers/{made['id']}", f'"{made["version"]}"'
    answers = await asyncio.gather(
        *(any_api.send("PATCH", path, {"description": f"editor {each}"}, match=tag) for each in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]
    won = next(answer for answer in answers if answer.status_code == 200)
    assert await any_api.get(path) == won.json()
    assert (await any_api.send("DELETE", path, match=tag)).status_code == 412
    assert (await any_api.send("DELETE", path)).status_code == 428
    assert (await any_api.send("PATCH", path, {}, match='W/"2"')).status_code == 412
    assert (await any_api.send("PATCH", path, {}, match="2")).status_code == 400


@pytest.mark.parametrize("limit", [100, 7])
async def test_a_long_list_is_walked_page_by_page(any_api: Managed, limit: int) -> None:
    names = sorted(f"namespace-{number // 2:03}" for number in range(250))
    # Of two owners who use the same names, so that a name alone is no place in the list.
    owners = [uuid.UUID(any_api.ids[who]) for who in ("ada", "mel")]
    store = await Store.open(any_api.url, environ={}, secret_keys=(SECRET,))
    async with store.write(SYSTEM) as tx:
        await tx.add_all([Namespace(name=name, owner_id=owners[place % 2]) for place, name in enumerate(names)])
    await store.aclose()
    found: list[str] = []
    seen: set[str] = set()
    url: str | None = f"/namespaces?limit={limit}"
    while url is not None:
        answer = await any_api.send("GET", url)
        page: dict[str, Any] = answer.json()
        assert 0 < len(page["items"]) <= limit
        found += [item["name"] for item in page["items"]]
        seen |= {item["id"] for item in page["items"]}
        link = answer.links.get("next")
        assert (link is not None) == (page["next"] is not None)
        url = link["url"].removeprefix("/api/v1") if link is not None else None
    assert found == names
    assert len(seen) == 250


async def test_what_is_not_there_is_404_and_a_taken_name_409(any_api: Managed) -> None:
    for kind in ("servers", "namespaces", "endpoints", "keys", "users"):
        path = f"/{kind}/{uuid.uuid4()}"
        assert (await any_api.send("GET", path)).status_code == 404
        assert (await any_api.send("PATCH", path, {}, match="*")).status_code == 404
        assert (await any_api.send("DELETE", path, match="*")).status_code == 404
    await any_api.make("/servers", {"name": "web", "url": NOWHERE})
    taken = await any_api.send("POST", "/servers", {"name": "web", "url": NOWHERE})
    assert taken.status_code == 409
    assert taken.headers["content-type"] == "application/problem+json"
    assert taken.json()["errors"][0]["pointer"] == "/name"
