"""Other programs' files, sent to the API: their servers are added, and nothing that is there is lost."""

import json
from typing import Any

from tests.admin.managed import MEMBER, Managed
from tests.admin.test_life import NOWHERE

METAMCP: dict[str, Any] = {
    "mcpServers": {
        "My Time": {"type": "STDIO", "command": "true", "args": ["x"], "env": {"TOKEN": "clear-env-7f3a"}},
        "web": {"type": "STREAMABLE_HTTP", "url": NOWHERE, "bearerToken": "clear-bearer-7f3a"},
    }
}
"""``mcp-servers-export.json``."""

CURSOR = b"""{
  // As Cursor keeps it.
  "mcpServers": {
    "github": {"command": "npx", "args": ["-y", "server-github"], "env": {"GITHUB_TOKEN": "${env:GITHUB_TOKEN}"}},
  },
}"""

VSCODE = {
    "inputs": [{"type": "promptString", "id": "key", "description": "The key", "password": True}],
    "servers": {"web": {"type": "http", "url": NOWHERE, "headers": {"X-Key": "${input:key}"}}},
}

CLAUDE = {"mcpServers": {"files": {"command": "npx", "args": ["server-files"], "disabledTools": ["write"]}}}


async def imported(api: Managed, body: Any, query: str = "", **how: Any) -> Any:
    answer = await api.send("POST", f"/import{query}", body, **how)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def names(api: Managed) -> list[str]:
    return [server["name"] for server in (await api.get("/servers"))["items"]]


async def test_an_export_of_metamcp_is_taken_over(any_api: Managed) -> None:
    tried = await imported(any_api, METAMCP, "?dryRun=true")
    assert (tried["format"], tried["dryRun"]) == ("metamcp", True)
    assert [(change["action"], change["name"]) for change in tried["changes"]] == [("add", "My-Time"), ("add", "web")]
    assert [(note["kind"], note["path"]) for note in tried["notes"]] == [("changed", 'mcpServers["My Time"]')]
    assert tried["document"]["mcpServers"]["web"]["bearerToken"] == "${WEB_TOKEN}"
    assert await names(any_api) == [], "a dry run changes nothing"

    done = await imported(any_api, METAMCP)
    assert done == {**tried, "dryRun": False}
    assert not [body for body in any_api.bodies if "7f3a" in body]
    shown = (await any_api.get("/servers?secrets=include"))["items"]
    assert [(server["name"], server["ownerId"]) for server in shown] == [("My-Time", None), ("web", None)]
    assert shown[0]["env"] == {"TOKEN": "clear-env-7f3a"}
    assert shown[1]["bearerToken"] == "clear-bearer-7f3a"


async def test_what_is_there_already_stays_and_is_named(any_api: Managed) -> None:
    await imported(any_api, METAMCP)
    web = next(server for server in (await any_api.get("/servers"))["items"] if server["name"] == "web")
    await any_api.change(f"/servers/{web['id']}", {"description": "mine"})
    again = await imported(any_api, METAMCP)
    assert (again["changes"], again["conflicts"], again["unchanged"]) == ([], ["web"], ["My-Time"])
    assert (await any_api.get(f"/servers/{web['id']}"))["description"] == "mine"
    replaced = await imported(any_api, METAMCP, "?replace=true")
    assert [(change["action"], change["name"]) for change in replaced["changes"]] == [("change", "web")]
    assert replaced["conflicts"] == []
    assert (await any_api.get(f"/servers/{web['id']}"))["description"] == ""


async def test_files_of_cursor_and_vs_code_need_their_variables(api: Managed) -> None:
    tried = await imported(api, CURSOR, "?dryRun=true")
    assert tried["variables"] == {"GITHUB_TOKEN": ""}
    assert tried["changes"] == [], "it cannot be told yet"
    refused = await api.send("POST", "/import", CURSOR)
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/variables/GITHUB_TOKEN"]
    body = CURSOR.replace(b'"mcpServers"', b'"variables": {"GITHUB_TOKEN": "clear-github-7f3a"}, "mcpServers"')
    done = await imported(api, body)
    assert (done["format"], done["variables"]) == ("cursor", {})

    tried = await imported(api, VSCODE, "?dryRun=true")
    assert (tried["format"], tried["variables"]) == ("vscode", {"KEY": "The key"})
    await imported(api, {**VSCODE, "variables": {"KEY": "clear-vscode-7f3a"}})
    assert not [body for body in api.bodies if "7f3a" in body]
    github, web = (await api.get("/servers?secrets=include"))["items"]
    assert github["env"] == {"GITHUB_TOKEN": "clear-github-7f3a"}
    assert web["headers"] == {"X-Key": "clear-vscode-7f3a"}


async def test_a_file_of_claude_tells_what_is_left_to_do(api: Managed) -> None:
    done = await imported(api, CLAUDE, "?format=claude")
    assert done["notes"] == [
        {
            "path": "",
            "kind": "needs",
            "text": "tool files__write is switched off there; switch it off in the namespaces that get it",
        }
    ]
    assert await names(api) == ["files"]
    assert (await api.get("/namespaces"))["items"] == [], "an import adds servers only"


async def test_a_member_imports_for_themselves_what_they_may_have(api: Managed) -> None:
    web = {"mcpServers": {"web": METAMCP["mcpServers"]["web"]}}
    await imported(api, web, key=MEMBER)
    assert [server["ownerId"] for server in (await api.get("/servers"))["items"]] == [api.ids["mel"]]
    assert (await api.send("POST", "/import", METAMCP, key=MEMBER)).status_code == 403
    assert (await api.send("POST", "/import?owner=public", web, key=MEMBER)).status_code == 403
    assert await names(api) == ["web"]


async def test_what_is_no_file_of_servers_is_refused(api: Managed) -> None:
    for status, body in (
        (400, b"{"),
        (400, b"[1, 2"),
        (422, {}),
        (422, []),
        (422, {"mcpServers": []}),
        (422, {"mcpServers": {}, "variables": []}),
    ):
        answer = await api.send("POST", "/import", body)
        assert answer.status_code == status, (body, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    odd = {"mcpServers": {"a": 1, "b": {"command": ["x"]}, "c": {"url": NOWHERE, "headers": {"X": 1}}}}
    done = await imported(api, json.dumps(odd).encode(), "?dryRun=true")
    assert {note["path"] for note in done["notes"] if note["kind"] == "lost"} >= {"mcpServers.a", "mcpServers.b"}
