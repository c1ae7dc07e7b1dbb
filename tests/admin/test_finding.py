"""Servers found among many, and what of them may be shown: by the API, and so by its pages and the command line."""

from typing import Any

from metamcp_asgi.admin.api.application import OPERATIONS
from tests.admin.managed import MEMBER, Managed
from tests.admin.test_life import NOWHERE


async def names(api: Managed, query: str, **how: Any) -> list[str]:
    return [server["name"] for server in (await api.get(f"/servers?{query}", **how))["items"]]


async def test_servers_are_found_by_what_is_shown_by_whose_they_are_and_by_how_they_do(api: Managed) -> None:
    echo = await api.server("echo", description="Says it AGAIN", tools=["one", "two"])
    await api.server("other", disabled=True, ownerId=None)
    await api.make("/servers", {"name": "web", "url": f"{NOWHERE}?token=s3cret-7f3a"}, key=MEMBER)
    await api.ready(echo)
    assert await names(api, "search=ECHO") == ["echo"]
    assert await names(api, "search=again") == ["echo"]
    assert await names(api, "search=stdio_server.py") == ["echo", "other"]
    # Nobody learns a secret by looking for it letter by letter.
    assert await names(api, "search=s3cret") == []
    assert await names(api, "search=token%3D") == ["web"]
    assert await names(api, "state=disabled") == ["other"]
    assert await names(api, "state=ready") == ["echo"]
    assert await names(api, "owner=public") == ["other"]
    assert await names(api, "owner=me") == ["echo"]
    assert await names(api, f"owner={api.ids['mel']}") == ["web"]
    assert await names(api, "owner=me", key=MEMBER) == ["web"]
    first = await api.get("/servers?search=stdio_server.py&limit=1")
    assert [server["name"] for server in first["items"]] == ["echo"]
    assert await names(api, f"search=stdio_server.py&limit=1&after={first['next']}") == ["other"]
    found = await api.get(f"/servers/{echo['id']}/tools?search=TWO")
    assert [tool["name"] for tool in found["items"]] == ["two"]
    health = await api.get(f"/health?ids={echo['id']}")
    assert [server["name"] for server in health["servers"]] == ["echo"]
    assert (await api.send("GET", "/health?ids=echo")).status_code == 422
    assert (await api.send("GET", "/servers?state=well")).status_code == 422


async def test_what_was_shown_as_hidden_may_come_back_and_changes_nothing(api: Managed) -> None:
    url = f"{NOWHERE}?key=s3cret"
    web = await api.make("/servers", {"name": "web", "url": url})
    assert web["url"] == f"{NOWHERE}?key=***"
    path = f"/servers/{web['id']}"
    await api.change(path, {"url": web["url"], "description": "x"})
    assert (await api.get(f"{path}?secrets=include"))["url"] == url
    refused = await api.send("PATCH", path, {"url": f"{NOWHERE}?other=1&key=***"}, match="*")
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/url"

    args = ["run", "--token", "s3cret", "--verbose"]
    tool = await api.make("/servers", {"name": "tool", "command": "true", "args": args, "disabled": True})
    path = f"/servers/{tool['id']}"
    shown = tool["args"]
    assert shown == ["run", "--token", "***", "--verbose"]
    await api.change(path, {"args": ["--quiet", *shown[1:]]})
    assert (await api.get(f"{path}?secrets=include"))["args"] == ["--quiet", "--token", "s3cret", "--verbose"]
    refused = await api.send("PATCH", path, {"args": ["***", "--token", "other"]}, match="*")
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/args/0"


async def test_what_is_hidden_twice_over_is_kept_as_well(api: Managed) -> None:
    args = ["--auth", "user=ghp_0123456789abcdef0123"]
    tool = await api.make("/servers", {"name": "twice", "command": "true", "args": args, "disabled": True})
    await api.change(f"/servers/{tool['id']}", {"args": tool["args"], "description": "x"})
    assert (await api.get(f"/servers/{tool['id']}?secrets=include"))["args"] == args


async def test_who_asks_is_told_what_they_may_make(api: Managed) -> None:
    mine = await api.get("/me")
    assert (mine["mayCreateStdio"], mine["mayCreatePublic"]) == (True, True)
    mels = await api.get("/me", key=MEMBER)
    assert (mels["mayCreateStdio"], mels["mayCreatePublic"]) == (False, False)


async def test_servers_are_exported_for_other_programs_without_their_secrets(api: Managed) -> None:
    body = {"name": "web", "url": NOWHERE, "bearerToken": "s3cret-7f3a", "description": "The web"}
    web = await api.make("/servers", body)
    await api.make("/servers", {"name": "tool", "command": "true", "env": {"KEY": "s3cret-7f3a"}, "disabled": True})
    exported = await api.get("/servers/export")
    assert exported["mcpServers"] == {
        "tool": {"type": "stdio", "command": "true", "env": {"KEY": "${TOOL_KEY}"}, "disabled": True},
        "web": {
            "type": "streamable_http",
            "url": NOWHERE,
            "bearerToken": "${WEB_TOKEN}",
            "description": "The web",
        },
    }
    assert list((await api.get(f"/servers/export?ids={web['id']}"))["mcpServers"]) == ["web"]
    assert not [text for text in api.bodies if "7f3a" in text]
    # It can be imported again, by who knows the secrets.
    for server in (await api.get("/servers"))["items"]:
        assert (await api.send("DELETE", f"/servers/{server['id']}", match="*")).status_code == 204
    given = {**exported, "variables": {"TOOL_KEY": "s3cret-7f3a", "WEB_TOKEN": "s3cret-7f3a"}}
    assert (await api.send("POST", "/import", given)).status_code == 200
    assert (await api.get("/servers/export"))["mcpServers"] == exported["mcpServers"]
    # Two of one name cannot stand in one file.
    await api.make("/servers", {"name": "web", "url": NOWHERE}, key=MEMBER)
    refused = await api.send("GET", "/servers/export")
    assert refused.status_code == 409
    assert '"web"' in refused.json()["detail"]
    assert list((await api.get("/servers/export?owner=public"))["mcpServers"]) == ["tool", "web"]
    assert (await api.send("GET", "/servers/export", key=MEMBER)).status_code == 409
    assert list((await api.get("/servers/export?owner=me", key=MEMBER))["mcpServers"]) == ["web"]


async def test_no_list_searches_for_a_nul(api: Managed) -> None:
    namespace = await api.make("/namespaces", {"name": "all"})
    lists = [each.path for each in OPERATIONS if any(parameter.name == "search" for parameter in each.query)]
    assert len(lists) > 7
    for path in lists:
        answer = await api.send("GET", path.replace("{id:uuid}", namespace["id"]), params={"search": "a\0b"})
        assert (path, answer.status_code) == (path, 422)  # which PostgreSQL would fail at
