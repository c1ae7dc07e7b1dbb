"""What is managed is what is served: within a second, in the words that were given, and with its secrets kept."""

import asyncio
import json
import sys
from collections.abc import Set
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.admin.managed import ADMIN, MEMBER, Managed, managed
from tests.admin.test_life import NOWHERE
from tests.gateway.client import Client
from tests.gateway.running import served
from tests.places import ROOT

SOON = 2
"""Seconds: the one that is promised, and one more for a busy machine."""
ROUND = 0.02
"""Seconds between two questions."""


async def names(client: Client) -> list[str]:
    answer = await client.modern("tools/list")
    return [tool["name"] for tool in answer.result()["tools"]] if answer.status == 200 else []


async def until(client: Client, wanted: set[str], absent: Set[str] = frozenset()) -> float:
    """Waits until tools are listed; returns how long it slept between its questions, in seconds.

    On a machine that is busy with something else the questions take long; what they ask about is no later for that.
    """
    slept = 0.0
    async with asyncio.timeout(30):
        while not (wanted <= (found := set(await names(client))) and not absent & found):
            await asyncio.sleep(ROUND)
            slept += ROUND
    return slept


async def test_what_is_made_is_served_within_a_second(any_api: Managed) -> None:
    server = await any_api.server()
    await any_api.ready(server)
    namespace = await any_api.make("/namespaces", {"name": "all", "servers": [{"serverId": server["id"]}]})
    await any_api.make("/endpoints", {"name": "tools", "namespaceId": namespace["id"]})
    key = (await any_api.make("/keys", {"name": "laptop"}))["key"]
    assert await until(any_api.client("tools", key), {"echo__echo"}) < SOON

    tool = f"/namespaces/{namespace['id']}/tools/{server['id']}/echo"
    read = await any_api.send("GET", tool)
    assert (read.json()["version"], read.json()["offered"], read.headers["etag"]) == (0, True, '"0"')
    changed = await any_api.send("PATCH", tool, {"name": "say", "title": "Say"}, match='"0"')
    assert changed.status_code == 200, changed.text
    assert await until(any_api.client("tools", key), {"echo__say"}) < SOON
    assert (await any_api.send("PATCH", tool, {"enabled": False}, match='"0"')).status_code == 412
    assert (await any_api.send("DELETE", tool, match=changed.headers["etag"])).status_code == 204
    assert await until(any_api.client("tools", key), {"echo__echo"}) < SOON

    switched = await any_api.send(
        "POST", f"/namespaces/{namespace['id']}/tools/switch", {"pattern": "echo__e*", "enabled": False}
    )
    assert switched.status_code == 200, switched.text
    assert [item["tool"] for item in switched.json()["items"]] == ["echo", "environ"]
    assert await until(any_api.client("tools", key), {"echo__pid"}, {"echo__echo", "echo__environ"}) < SOON


async def test_the_tools_of_a_namespace_are_listed_with_their_switches(api: Managed) -> None:
    server = await api.server(tools=[f"more{number:02}" for number in range(20)])
    health = await api.ready(server)
    namespace = await api.make("/namespaces", {"name": "all", "servers": [{"serverId": server["id"]}]})
    path = f"/namespaces/{namespace['id']}/tools"
    await api.change(f"{path}/{server['id']}/more03", {"description": "The third"})
    found, after = [], None
    while True:
        page = await api.get(path, params={"limit": 4} | ({"after": after} if after else {}))
        found += page["items"]
        after = page["next"]
        if after is None:
            break
    assert len(found) == health["tools"]
    assert [tool["tool"] for tool in found] == sorted(tool["tool"] for tool in found)
    assert {tool["tool"]: tool["description"] for tool in found if tool["description"]} == {"more03": "The third"}
    offered = await api.get(f"/servers/{server['id']}/tools", params={"limit": 200})
    assert offered["state"] == "ready"
    assert [tool["name"] for tool in offered["items"]] == [tool["tool"] for tool in found]
    assert all(tool["inputSchema"]["type"] == "object" for tool in offered["items"])
    assert (await api.send("GET", f"{path}/{server['id']}/nothing")).status_code == 404


async def test_health_tells_why_a_server_fails_and_what_it_said(api: Managed) -> None:
    does = json.dumps({"exit": 3, "stderr": "no such token\n"})
    arguments = [str(ROOT / "tests" / "stdio_server.py"), does]
    body = {"name": "bad", "command": sys.executable, "args": arguments, "ownerId": None}
    bad = await api.make("/servers", body)
    off = await api.make("/servers", {"name": "off", "url": NOWHERE, "disabled": True})
    async with asyncio.timeout(30):
        while (health := await api.get("/health"))["status"] != "degraded":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    states = {server["name"]: server for server in health["servers"]}
    assert states["bad"]["state"] == "failed"
    assert states["bad"]["error"]
    assert states["bad"]["stderr"] == ["no such token"]
    assert (states["off"]["state"], off["disabled"]) == ("disabled", True)
    seen = (await api.get("/health", key=MEMBER))["servers"]
    assert [(server["name"], server["stderr"]) for server in seen] == [("bad", None)]
    assert bad["id"] == seen[0]["id"]


async def test_a_reset_starts_the_server_anew_and_is_in_the_audit(api: Managed) -> None:
    server = await api.server()
    assert (await api.ready(server))["era"] == "legacy"
    namespace = await api.make("/namespaces", {"name": "all", "servers": [{"serverId": server["id"]}]})
    await api.make("/endpoints", {"name": "tools", "namespaceId": namespace["id"], "apiKeyAuth": False})
    client = api.client("tools")
    await until(client, {"echo__pid"})
    before = (await client.call("echo__pid")).result()["content"]
    answer = await api.send("POST", f"/servers/{server['id']}/reset")
    assert answer.status_code == 200, answer.text
    await api.ready(server)
    assert (await client.call("echo__pid")).result()["content"] != before
    entries = (await api.get("/audit", params={"object": server["id"]}))["items"]
    assert entries[0]["action"] == "reset"


async def test_a_refresh_finds_what_the_server_did_not_tell_of(api: Managed, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.write_text("")
    does = json.dumps({"tools_file": str(tools)})
    arguments = [str(ROOT / "tests" / "stdio_server.py"), does]
    server = await api.make("/servers", {"name": "s", "command": sys.executable, "args": arguments})
    before = (await api.ready(server))["tools"]
    tools.write_text("fresh\n")
    answer = await api.send("POST", f"/servers/{server['id']}/refresh")
    assert answer.json()["tools"] == before + 1


async def test_secrets_are_kept_and_never_told(any_api: Managed) -> None:
    api = any_api
    url = "http://127.0.0.1:9/mcp?token=clear-url-7f3a-0123456789"
    headers = {"X-Team": "clear-header-7f3a", "X-Other": "clear-other-7f3a"}
    web = await api.make(
        "/servers", {"name": "web", "url": url, "headers": headers, "bearerToken": "clear-bearer-7f3a"}
    )
    env = {"API_KEY": "clear-env-7f3a", "OTHER": "clear-second-7f3a"}
    arguments = ["run", "--token", "clear-arg-7f3a", "plain"]
    local = await api.make(
        "/servers", {"name": "local", "command": "true", "args": arguments, "env": env, "disabled": True}
    )
    assert (web["headerNames"], web["hasBearerToken"]) == (["X-Other", "X-Team"], True)
    assert local["envNames"] == ["API_KEY", "OTHER"]
    assert local["args"] == ["run", "--token", "***", "plain"]

    # As an editor does: it sends back what it was shown, with one thing changed.
    sent = {"url": web["url"], "description": "new", "headers": {"X-Other": None, "X-New": "clear-new-7f3a"}}
    web = await api.change(f"/servers/{web['id']}", sent)
    assert web["headerNames"] == ["X-New", "X-Team"]
    local = await api.change(f"/servers/{local['id']}", {"args": [*local["args"], "more"]})
    await api.get("/servers")
    await api.get("/audit")
    await api.get("/health")
    await api.send("POST", "/servers", {"name": "web", "url": url, "bearerToken": "clear bearer 7f3a"})
    await api.send("POST", "/servers", {"name": "x", "url": url, "headers": {"A": "clear\n7f3a"}})
    assert not [body for body in api.bodies if "7f3a" in body]

    shown = await api.get(f"/servers/{web['id']}?secrets=include")
    assert shown["url"] == url
    assert shown["headers"] == {"X-Team": "clear-header-7f3a", "X-New": "clear-new-7f3a"}
    assert shown["bearerToken"] == "clear-bearer-7f3a"
    shown = await api.get(f"/servers/{local['id']}?secrets=include")
    assert shown["args"] == [*arguments, "more"]
    assert shown["env"] == env


async def test_a_key_opens_the_api_as_soon_as_it_is_made_and_no_longer_than_it_lives(api: Managed) -> None:
    made = await api.make("/keys", {"name": "second", "admin": True})
    for _ in range(int(SOON / ROUND)):
        if (await api.send("GET", "/me", key=made["key"])).status_code == 200:
            break
        await asyncio.sleep(ROUND)
    else:
        pytest.fail(f"it opens nothing after {SOON} s")
    assert (await api.send("DELETE", f"/keys/{made['id']}", match="*", key=ADMIN)).status_code == 204
    # The row is asked, so that no second passes.
    assert (await api.send("GET", "/me", key=made["key"])).status_code == 401


async def test_it_works_mounted_below_another_path(api: Managed) -> None:
    host = Starlette(routes=[Mount("/tools", api.gateway)])
    await api.make("/servers", {"name": "a", "url": NOWHERE, "disabled": True})
    await api.make("/servers", {"name": "b", "url": NOWHERE, "disabled": True})
    headers = {"X-API-Key": ADMIN}
    async with (
        served(host, "off") as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as http,
    ):
        first = await http.get("/tools/api/v1/servers?limit=1")
        assert [server["name"] for server in first.json()["items"]] == ["a"]
        second = await http.get(first.links["next"]["url"])
        assert [server["name"] for server in second.json()["items"]] == ["b"]
        made = await http.post("/tools/api/v1/namespaces", json={"name": "all"})
        assert (await http.get(made.headers["location"])).json() == made.json()
        document = (await http.get("/tools/api/v1/openapi.json")).json()
        assert document["servers"] == [{"url": "/tools/api/v1"}]
        assert (await http.get("/api/v1/servers")).status_code == 404


async def test_links_are_those_of_the_public_url_where_there_is_one(tmp_path: Path) -> None:
    public = "https://mcp.example.com/tools"
    async with managed(f"sqlite:///{tmp_path}/metamcp.db", app_url=public) as api:
        for name in ("a", "b"):
            made = await api.send("POST", "/servers", {"name": name, "url": NOWHERE, "disabled": True})
            assert made.headers["location"] == f"{public}/api/v1/servers/{made.json()['id']}"
        page = await api.send("GET", "/servers?limit=1")
        assert page.links["next"]["url"].startswith(f"{public}/api/v1/servers?limit=1&after=")
        document = await api.get("/openapi.json", key=None)
        assert document["servers"] == [{"url": f"{public}/api/v1"}]
