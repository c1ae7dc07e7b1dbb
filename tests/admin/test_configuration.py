"""The whole configuration by the API: exported, planned, applied; the same as by files, for who may, and no more."""

import asyncio
import json
import os
from typing import Any

import pytest
import yaml

from tests.admin.managed import MEMBER, Managed
from tests.admin.test_life import NOWHERE
from tests.databases import SECRET
from tests.places import BIN

JSON = dict[str, Any]

DOCUMENT: JSON = {
    "mcpServers": {
        "local": {"command": "true", "args": ["--token", "clear-arg-7f3a"], "env": {"API_KEY": "clear-env-7f3a"}},
        "web": {"url": NOWHERE, "headers": {"X-Team": "clear-team-7f3a"}, "bearerToken": "clear-bearer-7f3a"},
    },
    "namespaces": {"all": {"servers": ["web", "local"], "tools": {"local__echo": {"name": "say"}}}},
    "endpoints": {"tools": {"namespace": "all", "rateLimit": {"maxRate": 5, "maxRateSeconds": 60}}},
    "apiKeys": [{"name": "laptop", "key": "sk_mt_0123456789abcdef", "endpoints": ["tools"]}],
}
"""Its servers are disabled where they would only be in the way of a test."""
for _server in DOCUMENT["mcpServers"].values():
    _server["disabled"] = True


def document(**servers: Any) -> JSON:
    """A document of servers only."""
    return {"mcpServers": servers, "namespaces": {}, "endpoints": {}}


async def apply(api: Managed, body: Any, *, query: str = "", match: str = "*", **how: Any) -> JSON:
    answer = await api.send("POST", f"/apply{query}", body, match=match, **how)
    assert answer.status_code == 200, answer.text
    done: JSON = answer.json()
    return done


def brief(changes: list[JSON]) -> list[tuple[str, str, str]]:
    return [(each["action"], each["kind"], each["name"]) for each in changes]


async def test_a_document_is_planned_applied_and_exported(any_api: Managed) -> None:
    planned = await any_api.send("POST", "/plan", DOCUMENT)
    assert planned.status_code == 200, planned.text
    added = [("add", "server", "local"), ("add", "server", "web"), ("add", "namespace", "all")]
    added += [("add", "endpoint", "tools"), ("add", "key", "laptop")]
    assert brief(planned.json()["changes"]) == added
    assert (await any_api.get("/servers"))["items"] == [], "a plan changes nothing"

    done = await apply(any_api, DOCUMENT, match=planned.headers["etag"])
    assert brief(done["changes"]) == added
    assert done["revision"] == planned.json()["revision"] + 1
    assert [server["name"] for server in (await any_api.get("/servers"))["items"]] == ["local", "web"]
    entries = (await any_api.get("/audit?kind=server"))["items"]
    assert {(entry["actor"], entry["objectName"]) for entry in entries} == {
        ("ada@example.com", "web"),
        ("ada@example.com", "local"),
    }
    assert not [body for body in any_api.bodies if "7f3a" in body]

    exported = await any_api.send("GET", "/export")
    assert exported.headers["content-type"] == "application/yaml"
    assert "LOCAL_API_KEY" in exported.text
    assert "7f3a" not in exported.text
    read = yaml.safe_load(exported.text)
    assert read["mcpServers"]["web"]["bearerToken"] == "${WEB_TOKEN}"
    assert read["namespaces"]["all"]["servers"] == ["web", "local"]
    as_json = await any_api.send("GET", "/export", headers={"Accept": "application/json"})
    assert as_json.headers["content-type"] == "application/json"
    assert as_json.json() == read
    assert as_json.headers["etag"] != exported.headers["etag"], "two representations"
    again = await any_api.send("GET", "/export", headers={"If-None-Match": exported.headers["etag"]})
    assert again.status_code == 304


async def test_an_export_can_be_sent_back_as_it_is_and_keeps_the_secrets(any_api: Managed) -> None:
    await apply(any_api, DOCUMENT)
    exported = await any_api.send("GET", "/export")
    yaml_type = {"Content-Type": "application/yaml"}
    planned = await any_api.send("POST", "/plan?prune=true", exported.content, headers=yaml_type)
    assert planned.status_code == 200, planned.text
    assert planned.json()["changes"] == []

    changed = exported.text.replace("name: say", "name: tell").encode()
    done = await apply(any_api, changed, match=exported.headers["etag"], headers=yaml_type)
    assert brief(done["changes"]) == [("change", "namespace", "all")]
    assert done["changes"][0]["fields"] == [
        {"field": "tools.local__echo.name", "before": "say", "after": "tell"},
    ]
    shown = await any_api.get("/servers?secrets=include")
    assert shown["items"][0]["env"] == {"API_KEY": "clear-env-7f3a"}
    assert shown["items"][1]["bearerToken"] == "clear-bearer-7f3a"


async def test_an_export_is_that_of_the_command_line(api: Managed) -> None:
    await apply(api, DOCUMENT)
    command = [str(BIN / "metamcp"), "export", "--format", "json", "--database", api.url]
    environment = {**os.environ, "METAMCP_SECRET_KEYS": SECRET.hex()}
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment)
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert output == (await api.send("GET", "/export?format=json")).content


async def test_secrets_are_exported_only_when_asked_for(api: Managed) -> None:
    await apply(api, DOCUMENT)
    clear = await api.get("/export?format=json&secrets=include")
    assert clear["mcpServers"]["local"]["env"] == {"API_KEY": "clear-env-7f3a"}
    assert clear["apiKeys"][0]["digest"].startswith("sha256:")
    assert (await api.send("GET", "/export?secrets=include", key=MEMBER)).status_code == 403
    # Who looked is known afterwards.
    await api.get("/servers?secrets=include")
    web = (await api.get("/servers"))["items"][0]
    await api.get(f"/servers/{web['id']}?secrets=include")
    told = [entry for entry in (await api.get("/audit"))["items"] if entry["action"] == "show-secrets"]
    assert {entry["actor"] for entry in told} == {"ada@example.com"}
    assert len(told) == 2 * len(clear["mcpServers"]) + 1
    assert (await api.send("GET", "/export?secrets=yes")).status_code == 422


async def test_the_form_of_an_export_is_negotiated(api: Managed) -> None:
    for accept, query, kind in (
        ("*/*", "", "yaml"),
        ("application/yaml, application/json;q=0.9", "", "yaml"),
        ("application/json", "", "json"),
        ("application/json, */*;q=0.1", "", "json"),
        ("application/json;q=0, */*", "", "yaml"),
        ("text/html", "", "yaml"),
        ("application/json", "?format=yaml", "yaml"),
        ("application/yaml", "?format=json", "json"),
    ):
        answer = await api.send("GET", f"/export{query}", headers={"Accept": accept})
        assert answer.headers["content-type"] == f"application/{kind}", (accept, query)


async def test_what_was_planned_is_what_is_applied(any_api: Managed) -> None:
    planned = await any_api.send("POST", "/plan", DOCUMENT)
    await any_api.make("/servers", {"name": "other", "url": NOWHERE, "disabled": True})
    late = await any_api.send("POST", "/apply", DOCUMENT, match=planned.headers["etag"])
    assert late.status_code == 412
    assert [server["name"] for server in (await any_api.get("/servers"))["items"]] == ["other"]
    assert (await any_api.send("POST", "/apply", DOCUMENT)).status_code == 428
    again = await any_api.send("POST", "/plan", DOCUMENT)
    answers = await asyncio.gather(
        *(any_api.send("POST", "/apply", DOCUMENT, match=again.headers["etag"]) for _ in range(3))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412]
    done = next(answer for answer in answers if answer.status_code == 200)
    assert done.json()["changes"] == again.json()["changes"]


async def test_what_the_document_does_not_have_stays_unless_it_is_pruned(any_api: Managed) -> None:
    await apply(any_api, DOCUMENT)
    small = document(web={"url": NOWHERE, "bearerToken": "${WEB_TOKEN}", "disabled": True})
    planned = (await any_api.send("POST", "/plan", small)).json()
    assert ("keep", "server", "local") in brief(planned["changes"])
    change = next(each for each in planned["changes"] if each["action"] == "change")
    assert change["fields"] == [{"field": "headers.X-Team", "before": "***", "secret": True}]
    done = await apply(any_api, small, query="?prune=true")
    assert ("remove", "server", "local") in brief(done["changes"])
    assert [server["name"] for server in (await any_api.get("/servers"))["items"]] == ["web"]
    assert (await any_api.get("/namespaces"))["items"] == []


async def test_all_of_it_or_nothing(any_api: Managed) -> None:
    """An endpoint's name is taken by a member, which the plan tells, too."""
    namespace = await any_api.make("/namespaces", {"name": "mine"}, key=MEMBER)
    await any_api.make("/endpoints", {"name": "tools", "namespaceId": namespace["id"]}, key=MEMBER)
    for path in ("/plan", "/apply"):
        answer = await any_api.send("POST", path, DOCUMENT, match="*")
        assert answer.status_code == 409, answer.text
        assert answer.json()["errors"][0]["pointer"] == "/endpoints/tools"
    assert (await any_api.get("/servers"))["items"] == []


WRONG: list[tuple[Any, str, str]] = [
    ({"mcpServers": {"a": {"commnad": "x"}}}, "/mcpServers/a", 'did you mean "command"?'),
    ({"mcpServers": {"a": {"command": "x", "env": {"B": 1}}}}, "/mcpServers/a/env/B", "text"),
    ({"mcpServers": {"a": {"url": NOWHERE, "headers": {"X": "a\nb"}}}}, "/mcpServers/a/headers/X", "line break"),
    ({"mcpServers": {}, "namespaces": {"n": {"servers": ["a"]}}}, "/namespaces/n/servers/0", "server"),
    (
        {"mcpServers": {}, "namespaces": {"n": {"servers": [], "middlewares": ["limmit"]}}},
        "/namespaces/n/middlewares/0",
        'did you mean "limit"?',
    ),
    ({"mcpServers": {"a" * 101: {"command": "x"}}}, f"/mcpServers/{'a' * 101}", "100"),
    ({"mcpServers": {"a": {"command": "${NOWHERE_SET}"}}}, "/mcpServers/a/command", "NOWHERE_SET"),
    ({"mcpServers": {}, "variables": {"A": 1}}, "/variables/A", "text"),
    ({"mcpServers": {"a": {"command": "x\0"}}}, "/mcpServers/a/command", "NUL"),
    ({"mcpServers": {"a\0": {"command": "x"}}}, "/mcpServers", "NUL"),
    ({"mcpServers": {"a": {"command": "\ud800"}}}, "/mcpServers/a/command", "Unicode"),
    ({"mcpServers": {"\ud800": {"command": "x"}}}, "/mcpServers", "Unicode"),
    ({"namespaces": {}}, "", "mcpServers"),
    ([], "", "object"),
    (b'{"mcpServers": {"a": {"url": "x", "url": "y"}}}', "/mcpServers/a/url", "twice"),
]


async def test_what_is_wrong_is_named_by_its_place(api: Managed) -> None:
    for body, pointer, says in WRONG:
        for path in ("/plan", "/apply"):
            answer = await api.send("POST", path, body, match="*")
            assert answer.status_code == 422, (body, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
            assert says in answer.json()["errors"][0]["detail"], body
    assert (await api.get("/servers"))["items"] == []


async def test_each_fault_of_a_body_has_its_status(api: Managed) -> None:
    bomb = "a: &a [x]\n" + "".join(f"b{each}: &b{each} [*a, *a]\n" for each in range(40))
    for status, body, kind in (
        (400, b"{", "application/json"),
        (400, b"\xff", "application/json"),
        (400, b"a: [", "application/yaml"),
        (400, b"[" * 5000, "application/json"),
        (415, b"{}", "text/plain"),
        (422, bomb.encode(), "application/yaml"),
        (422, b"a", "application/yaml"),
        (422, b"", "application/yaml"),
    ):
        answer = await api.send("POST", "/plan", body, headers={"Content-Type": kind})
        assert answer.status_code == status, (body[:20], answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await api.send("POST", "/plan?prune=many", DOCUMENT)).status_code == 422
    stranger = await api.send("POST", "/plan?owner=00000000-0000-4000-8000-000000000000", DOCUMENT)
    assert (stranger.status_code, stranger.json()["errors"][0]["parameter"]) == (422, "owner")


async def test_variables_are_those_of_the_body_and_never_the_gateways_own(
    api: Managed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAMCP_TEST_SECRET", "clear-environment-7f3a")
    assert os.environ["METAMCP_TEST_SECRET"]
    body = document(web={"url": NOWHERE + "?key=${METAMCP_TEST_SECRET}", "disabled": True})
    answer = await api.send("POST", "/apply", body, match="*")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/mcpServers/web/url"
    await apply(api, {**body, "variables": {"METAMCP_TEST_SECRET": "given-1234567890"}})
    shown = await api.get("/servers?secrets=include")
    assert shown["items"][0]["url"] == f"{NOWHERE}?key=given-1234567890"


async def test_a_member_has_a_configuration_of_their_own_and_no_other(any_api: Managed) -> None:
    api = any_api
    public = await api.make(
        "/servers",
        {"name": "shared", "url": NOWHERE, "bearerToken": "clear-shared-7f3a", "ownerId": None, "disabled": True},
    )
    web = await api.make("/servers", {"name": "own", "url": NOWHERE, "bearerToken": "clear-own-7f3a"}, key=MEMBER)
    servers = [{"serverId": public["id"]}, {"serverId": web["id"]}]
    await api.make("/namespaces", {"name": "mine", "servers": servers}, key=MEMBER)

    exported = await api.get("/export?format=json", key=MEMBER)
    assert set(exported["mcpServers"]) == {"shared", "own"}, "a document is complete by itself"
    assert "7f3a" not in json.dumps(exported)
    done = await apply(api, exported, query="?prune=true", key=MEMBER)
    assert done["changes"] == []
    exported["mcpServers"]["new"] = {"url": NOWHERE, "headers": {"Authorization": "Bearer ${OWN_TOKEN}"}}
    done = await apply(api, exported, key=MEMBER)
    assert brief(done["changes"]) == [("add", "server", "new")]
    assert {server["name"]: server["ownerId"] for server in (await api.get("/servers"))["items"]} == {
        "shared": None,
        "own": api.ids["mel"],
        "new": api.ids["mel"],
    }

    stolen = document(**exported["mcpServers"])
    stolen["mcpServers"]["thief"] = {"url": NOWHERE + "?token=${SHARED_TOKEN}"}
    refused = await api.send("POST", "/apply", stolen, match="*", key=MEMBER)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/mcpServers/thief/url")
    changed = document(shared={"url": NOWHERE, "description": "mine"})
    refused = await api.send("POST", "/apply", changed, match="*", key=MEMBER)
    assert refused.status_code == 422
    assert "public" in refused.json()["detail"]
    for owner in ("public", api.ids["ada"]):
        for method, path, body in (("GET", "/export", None), ("POST", "/plan", DOCUMENT), ("POST", "/apply", DOCUMENT)):
            answer = await api.send(method, f"{path}?owner={owner}", body, match="*", key=MEMBER)
            assert answer.status_code == 403, (owner, path)
    shell = await api.send("POST", "/apply", document(shell={"command": "sh"}), match="*", key=MEMBER)
    assert shell.status_code == 403
    assert "started" in shell.json()["detail"]
    assert (await api.send("POST", "/plan", document(shell={"command": "sh"}), key=MEMBER)).status_code == 403
    assert (await api.get("/export?format=json&owner=" + api.ids["mel"]))["mcpServers"].keys() == {
        "shared",
        "own",
        "new",
    }


async def test_a_member_lets_no_server_out_of_its_sandbox_by_a_document(api: Managed) -> None:
    boxed = {"name": "boxed", "command": "true", "sandbox": True, "ownerId": api.ids["mel"]}
    assert (await api.send("POST", "/servers", boxed)).status_code == 201
    for sandbox in ({"sandbox": {"read": ["/root"]}}, {}):
        entry = {"mcpServers": {"boxed": {"command": "true", **sandbox}}}
        for path in ("/apply", "/import?replace=true"):
            refused = await api.send("POST", path, entry, match="*", key=MEMBER)
            assert (refused.status_code, "started" in refused.json()["detail"]) == (403, True), (path, refused.text)


async def test_nobody_gets_a_key_for_managing_by_a_document(api: Managed) -> None:
    """A key of this name is there, and may manage; a document could give it another text."""
    taken = {**document(), "apiKeys": [{"name": "managing", "key": "sk_mt_another-0123456789"}]}
    refused = await api.send("POST", "/apply", taken, match="*", key=MEMBER)
    assert refused.status_code == 403
    assert (await api.send("GET", "/me", key="sk_mt_another-0123456789")).status_code == 401
    another = await api.send("POST", f"/apply?owner={api.ids['mel']}", taken, match="*")
    assert another.status_code == 403, "an admin makes no keys for somebody else"
    own = {**document(), "apiKeys": [{"name": "laptop", "key": "sk_mt_another-0123456789"}]}
    done = await apply(api, own, key=MEMBER)
    assert ("add", "key", "laptop") in brief(done["changes"])
