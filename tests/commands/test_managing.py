"""What the management API does, done by `metamcp`: on a database, and on a running gateway, with the same words."""

import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import httpx2
import pytest

from metamcp_asgi.admin.api.application import OPERATIONS
from metamcp_asgi.cli import main
from metamcp_asgi.commands.managing import (
    audit,
    clients,
    consents,
    endpoints,
    keys,
    namespaces,
    registry,
    servers,
    settings,
    tools,
)
from metamcp_asgi.commands.users import users
from metamcp_asgi.commands.verbs import commands_of, group_of, verb_of
from metamcp_asgi.settings import Settings
from metamcp_asgi.store.models import Namespace, Server
from tests.commands.conftest import ADMIN, MEMBER, Environ, Metamcp
from tests.conftest import StartGateway
from tests.places import ROOT

GROUPS: tuple[click.Group, ...] = (
    servers,
    namespaces,
    tools,
    endpoints,
    keys,
    clients,
    consents,
    settings,
    audit,
    registry,
    users,
)
NOTHING = "/does/not/exist"
ECHO = [sys.executable, str(ROOT / "tests" / "stdio_server.py")]


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yields every command of the groups with its name."""
    for group in GROUPS:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield f"{group.name} {name}", command


class TestTheTable:
    def test_every_operation_on_an_object_has_a_command_of_its_own(self) -> None:
        otherwise = {"createUser": "users add", "listUsers": "users list", "setPassword": "users passwd"}
        alone: Environ = {"getHealth": "health", "getCaller": "me"}
        there = {name for name, _ in commands()} | set(main.list_commands(click.Context(main)))
        groups = {group.name for group in GROUPS}
        wanted = [
            otherwise.get(operation.name) or alone.get(operation.name) or f"{group_of(operation)} {verb_of(operation)}"
            for operation in OPERATIONS
            if group_of(operation) in groups or operation.name in alone
        ]
        assert set(wanted) <= there
        assert len(wanted) == len(set(wanted))
        assert len(wanted) > 35

    def test_what_is_of_the_whole_configuration_is_left_to_the_commands_for_files(self) -> None:
        left = {operation.path for operation in OPERATIONS if group_of(operation) not in {g.name for g in GROUPS}}
        assert left <= {"/health", "/logs", "/metrics", "/me", "/me/grants", "/export", "/import", "/plan", "/apply"}

    def test_every_command_and_option_says_what_it_is_for(self) -> None:
        for name, command in commands():
            assert command.help, name
            for parameter in command.params:
                if isinstance(parameter, click.Option) and not parameter.hidden:
                    assert parameter.help, f"{name} {parameter.opts}"

    def test_no_two_options_of_a_command_have_one_name(self) -> None:
        for group in GROUPS:
            for name, command in commands_of(group.name or "").items():
                options = [
                    each for parameter in command.params for each in (*parameter.opts, *parameter.secondary_opts)
                ]
                assert len(options) == len(set(options)), f"{group.name} {name}"


def test_a_configuration_is_made_and_changed_by_names(anywhere: Metamcp) -> None:
    said = anywhere.said(
        "servers", "create", "--name", "time", "--command", NOTHING, "--arg", "mcp-server-time", "--arg", "-v"
    )
    assert "name             time" in said.splitlines()
    anywhere.said("servers", "create", "--name", "web", "--server-url", "http://127.0.0.1:1/mcp", "--header", "X-A=b=c")
    assert [line.split() for line in anywhere.said("servers", "list").splitlines()] == [
        ["NAME", "OWNER", "TYPE", "COMMAND", "OR", "URL", "STATUS"],
        ["time", *owner(anywhere), "stdio", NOTHING, "mcp-server-time", "-v", "active"],
        ["web", *owner(anywhere), "streamable_http", "http://127.0.0.1:1/mcp", "active"],
    ]
    anywhere.said(
        "namespaces",
        "create",
        "--name",
        "all",
        "--server",
        "time",
        "--server",
        "web=off",
        "--prefix",
        "never",
    )
    assert anywhere.said("namespaces", "list").splitlines()[1].split(None, 2)[2].split("  ")[0] == "time, web (off)"
    anywhere.said("namespaces", "switch-server", "all", "web", "--active")
    made = anywhere.json(
        "endpoints", "create", "--name", "work", "--namespace", "all", "--no-api-key-auth", "--query-param-auth"
    )
    assert (made["apiKeyAuth"], made["queryParamAuth"]) == (False, True)
    assert made["namespaceId"] == anywhere.json("namespaces", "get", "all")["id"]
    assert anywhere.said("endpoints", "list").splitlines()[1].split() == [
        "work", "all", *owner(anywhere), "open", "/metamcp/work/mcp"
    ]  # fmt: skip
    changed = anywhere.json("servers", "update", "time", "--name", "clock", "--timeout", "7.5", "--clear", "arg")
    assert (changed["name"], changed["timeout"], changed["args"], changed["version"]) == ("clock", 7.5, [], 2)
    assert anywhere.json("servers", "disable", "clock")["disabled"] is True
    assert anywhere.json("servers", "enable", changed["id"].upper())["disabled"] is False

    assert anywhere.said("endpoints", "delete", "work") == "deleted work\n"
    assert anywhere.said("servers", "delete", "web", "--json") == ""
    assert [each["name"] for each in anywhere.json("servers", "list")["items"]] == ["clock"]
    written = anywhere.json("audit", "list", "--kind", "server", "--object", "clock")["items"]
    assert [each["action"] for each in written] == ["update", "update", "update", "create"]
    assert written[2]["after"]["name"] == "clock"
    assert {each["actor"] for each in written} == {anywhere.json("me")["name"]}


def owner(metamcp: Metamcp) -> list[str]:
    """Returns who owns what is made: who does it, which is nobody in particular at the machine itself."""
    return ["ada@example.com" if metamcp.environ["METAMCP_URL"] else "public"]


def test_a_key_is_shown_once(anywhere: Metamcp) -> None:
    made = anywhere("keys", "create", "--name", "laptop", "--expires-at", "2090-01-01T00:00:00Z")
    key = next(line.split()[1] for line in made.stdout.splitlines() if line.startswith("key "))
    assert key.startswith("sk_mt_")
    assert "shown this once" in made.stderr
    listed = anywhere.said("keys", "list")
    assert key not in listed
    assert next(line for line in listed.splitlines() if line.startswith("laptop")).split()[1] == f"{key[:10]}..."
    scripted = anywhere("keys", "create", "--name", "phone", "--json")
    assert json.loads(scripted.stdout)["key"].startswith("sk_mt_")
    again = anywhere.json("keys", "rotate", "laptop", "--grace-seconds", "60")
    assert again["key"] != key
    assert again["previousUntil"] is not None
    assert anywhere.json("keys", "rotate", "laptop")["key"] not in (key, again["key"])
    assert anywhere.said("keys", "delete", "laptop") == "deleted laptop\n"


def test_the_operator_makes_the_key_with_which_a_gateway_is_managed(metamcp: Metamcp) -> None:
    made = metamcp.json("keys", "create", "--name", "laptop", "--admin", "--owner", "ada@example.com")
    assert (made["admin"], made["ownerId"]) == (True, metamcp.json("users", "get", "ada@example.com")["id"])


def test_tools_are_overridden_one_by_one(anywhere: Metamcp) -> None:
    anywhere.said("servers", "create", "--name", "time", "--command", NOTHING)
    anywhere.said("namespaces", "create", "--name", "all", "--server", "time")
    changed = anywhere.json(
        "tools", "update", "all", "time", "a/b now?", "--name", "clock", "--annotations", '{"readOnlyHint": true}'
    )
    assert (changed["tool"], changed["name"], changed["annotations"]) == ("a/b now?", "clock", {"readOnlyHint": True})
    assert anywhere.json("tools", "update", "all", "time", "a/b now?", "--no-enabled", "--clear", "name") == {
        **changed, "enabled": False, "name": None, "version": 2
    }  # fmt: skip
    assert anywhere.json("tools", "get", "all", "time", "a/b now?")["version"] == 2
    assert anywhere.said("tools", "clear", "all", "time", "a/b now?") == "cleared all time a/b now?\n"
    assert "there is no tool a/b now?" in anywhere.error("tools", "get", "all", "time", "a/b now?").lower()
    assert "no server" in anywhere.error("tools", "get", "all", "clock", "x")


def test_settings_are_names_with_values(anywhere: Metamcp) -> None:
    assert anywhere.json("settings", "update", "allowSignup=true", "membersMayCreateStdio=yes")["allowSignup"] is True
    assert anywhere.json("settings", "update", "--data", '{"allowSignup": null}') == {
        **anywhere.json("settings", "get"), "allowSignup": False, "membersMayCreateStdio": True
    }  # fmt: skip
    assert "metamcp: allowSigup: is not a setting" in anywhere.error("settings", "update", "allowSigup=true")
    assert "NAME=VALUE" in anywhere.error("settings", "update", "allowSignup", code=2)
    assert "nothing is to be changed" in anywhere.error("settings", "update", code=2)


def test_users_are_managed(anywhere: Metamcp) -> None:
    horse = "correct horse"
    assert (
        anywhere.said("users", "add", "Bob@example.com", "--password-stdin", text=horse)
        == "bob@example.com added as member\n"
    )
    assert anywhere.said("users", "role", "bob@example.com", "admin") == "bob@example.com is an admin now\n"
    assert anywhere.said("users", "passwd", "bob@example.com", "--password-stdin", text=f"{horse}s") != ""
    assert anywhere.json("users", "get", "BOB@example.com")["hasPassword"] is True
    assert anywhere.json("users", "update", "bob@example.com", "--name", "Bob")["name"] == "Bob"
    anywhere.said("users", "sessions", "bob@example.com")
    assert "give its id" in anywhere.error("users", "end-session", "bob@example.com", "laptop")
    anywhere.said("users", "end-sessions", "bob@example.com")
    anywhere.said("users", "disable", "bob@example.com")
    assert anywhere.said("users", "list").splitlines()[2].split() == ["bob@example.com", "Bob", "admin", "disabled"]
    assert anywhere.said("users", "delete", "bob@example.com") == "deleted bob@example.com\n"
    assert [user["email"] for user in anywhere.json("users", "list")] == ["ada@example.com", "mel@example.com"]
    assert "last admin" in anywhere.error("users", "disable", "ada@example.com")


class TestNames:
    def test_an_unknown_one_brings_the_nearest(self, anywhere: Metamcp) -> None:
        for name in ("time", "timer", "other"):
            anywhere.said("servers", "create", "--name", name, "--command", NOTHING)
        assert anywhere.error("servers", "get", "tiem") == (
            'metamcp: there is no server tiem; did you mean "time" or "timer"?\n'
        )
        assert anywhere.error("servers", "delete", "zzz") == "metamcp: there is no server zzz\n"
        assert "no namespace x" in anywhere.error("endpoints", "create", "--name", "e", "--namespace", "x")
        unknown = str(uuid.uuid4())
        assert unknown in anywhere.error("servers", "get", unknown)

    def test_of_several_each_is_told_with_its_owner(self, metamcp: Metamcp) -> None:
        metamcp.said("servers", "create", "--name", "time", "--command", NOTHING)
        metamcp.said("servers", "create", "--name", "time", "--command", NOTHING, "--owner", "mel@example.com")
        said = metamcp.error("servers", "update", "time", "--timeout", "5")
        items = metamcp.json("servers", "list")["items"]
        whose = {None: "public"}
        for item in items:
            assert f"{item['id']} ({whose.get(item['ownerId'], 'of mel@example.com')})" in said
        assert metamcp.json("servers", "update", items[0]["id"], "--timeout", "5")["timeout"] == 5

    def test_they_are_names_in_a_whole_body_too(self, metamcp: Metamcp, one_file: Callable[[str], Path]) -> None:
        metamcp.said("servers", "create", "--name", "time", "--command", NOTHING)
        body = {"name": "all", "ownerId": None, "servers": [{"serverId": "time", "active": False}]}
        path = one_file(json.dumps(body))
        made = metamcp.json("namespaces", "create", "--data", f"@{path}", "--description", "for all")
        assert (made["description"], made["servers"][0]["active"]) == ("for all", False)
        given = metamcp.json("endpoints", "create", "--data", "-", text='{"name": "e", "namespaceId": "all"}')
        assert given["namespaceId"] == made["id"]


class TestConditions:
    def test_who_names_a_version_changes_only_that(self, anywhere: Metamcp) -> None:
        anywhere.said("servers", "create", "--name", "time", "--command", NOTHING)
        for tag in ("7", '"7"'):
            said = anywhere.error("servers", "update", "time", "--timeout", "5", "--if-match", tag)
            assert "changed by somebody else" in said
        assert "changed by somebody else" in anywhere.error("servers", "delete", "time", "--if-match", "7")
        assert anywhere.json("servers", "update", "time", "--timeout", "5", "--if-match", "1")["version"] == 2
        assert anywhere.json("servers", "update", "time", "--timeout", "6", "--if-match", "*")["version"] == 3
        for wrong in ('"1"\r\nX-Other: 1', 'a"b'):
            assert "entity tag" in anywhere.error("servers", "delete", "time", "--if-match", wrong, code=2)


class TestLongLists:
    def test_all_pages_are_one_list_unless_a_limit_says_otherwise(self, anywhere: Metamcp) -> None:
        anywhere.add(*(Namespace(name=f"n{number:03}") for number in range(450)))
        names = [f"n{number:03}" for number in range(450)]
        whole = anywhere.json("namespaces", "list")
        assert ([each["name"] for each in whole["items"]], whole["next"]) == (names, None)
        assert len(anywhere.said("namespaces", "list").splitlines()) == 451
        part = anywhere.json("namespaces", "list", "--limit", "203")
        assert [each["name"] for each in part["items"]] == names[:203]
        rest = anywhere.json("namespaces", "list", "--after", part["next"])
        assert [each["name"] for each in rest["items"]] == names[203:]
        short = anywhere("namespaces", "list", "--limit", "2")
        assert len(short.stdout.splitlines()) == 3
        assert "There are more: --after " in short.stderr
        assert anywhere.json("namespaces", "list", "--limit", "450")["next"] is None
        assert "after" in anywhere.error("namespaces", "list", "--after", "zzz")


class TestBodies:
    def test_secrets_are_read_and_never_shown(self, metamcp: Metamcp, one_file: Callable[[str], Path]) -> None:
        make = ("servers", "create", "--name", "s", "--command", NOTHING)
        said = metamcp.error(*make, "--bearer-token", "t0ken", code=2)
        assert "could be read by every user" in said
        path = one_file("t0ken\n")
        web = ("servers", "create", "--name", "w", "--server-url", "http://127.0.0.1:1/mcp")
        shown = metamcp.said(*web, "--bearer-token", f"@{path}")
        shown += metamcp.said(*make, "--env", "API_KEY", "--env", "MODE=a=b", env={"API_KEY": "s3cret"})
        assert "t0ken" not in shown
        assert "s3cret" not in shown
        assert metamcp.json("servers", "get", "w", "--secrets")["bearerToken"] == "t0ken"
        assert metamcp.json("servers", "get", "s", "--secrets")["env"] == {"API_KEY": "s3cret", "MODE": "a=b"}
        left = metamcp.json("servers", "update", "s", "--env", "NEW=1", "--remove-env", "MODE")
        assert left["envNames"] == ["API_KEY", "NEW"]
        assert "no variable of this environment" in metamcp.error(*make, "--env", "NOT_THERE", code=2)
        assert metamcp.json("servers", "update", "w", "--clear", "bearer-token")["hasBearerToken"] is False

    def test_what_is_missing_or_contradicts_itself_is_a_matter_of_usage(self, metamcp: Metamcp) -> None:
        for arguments, message in (
            (("servers", "create"), "--name"),
            (("endpoints", "create", "--name", "e"), "--namespace"),
            (("servers", "update", "x"), "nothing is to be changed"),
            (("servers", "create", "--name", "x", "--owner", "a@b.c", "--public"), "contradicts"),
            (("servers", "update", "x", "--cwd", "/", "--clear", "cwd"), "contradicts"),
            (("servers", "create", "--data", "{"), "is not JSON"),
            (("servers", "create", "--data", "@/does/not/exist"), "No such file"),
            (("servers", "create", "--data", "[]", "--name", "x"), "must be an object"),
            (("servers", "create", "--data", "-", "--bearer-token", "-"), "read once only"),
            (("namespaces", "create", "--name", "n", "--server", "s=maybe"), "=on or =off"),
        ):
            assert message in metamcp.error(*arguments, code=2)

    def test_what_the_api_refuses_is_told_in_its_words(self, anywhere: Metamcp) -> None:
        anywhere.said("servers", "create", "--name", "time", "--command", NOTHING)
        make = ("servers", "create", "--name", "time")
        assert anywhere.error(*make, "--command", NOTHING) == "metamcp: name: another server has the same name\n"
        said = anywhere.error(*make, "--data", '{"commnad": "x"}')
        assert said == 'metamcp: commnad: is not a field here; did you mean "command"?\n'
        assert "got `array`" in anywhere.error("servers", "create", "--data", "[]")

    def test_what_others_wrote_does_nothing_to_the_terminal(self, metamcp: Metamcp) -> None:
        metamcp.add(Server(name="evil", type="stdio", command="x\x1b]0;title\x07\ny", description="a\n\x1b[2Jb\x9b2J"))
        for said in (metamcp.said("servers", "list"), metamcp.said("servers", "get", "evil")):
            assert not {"\x1b", "\x07", "\x9b"} & set(said)
        assert "\\x1b]0;title\\x07 y" in metamcp.said("servers", "list")


class TestWhatRuns:
    def test_it_is_not_known_at_a_database(self, metamcp: Metamcp) -> None:
        metamcp.said("servers", "create", "--name", "time", "--command", NOTHING)
        metamcp.said("namespaces", "create", "--name", "all", "--server", "time")
        for arguments in (
            ("health",),
            ("servers", "health", "time"),
            ("servers", "reset", "time"),
            ("servers", "refresh", "time"),
            ("servers", "tools", "time"),
            ("tools", "list", "all"),
            ("tools", "switch", "all", "--pattern", "*", "--no-enabled"),
        ):
            said = metamcp.error(*arguments)
            assert "only a running gateway" in said
            assert "--url" in said

    def test_a_gateway_tells(self, served: Metamcp) -> None:
        served.said("servers", "create", "--name", "echo", "--command", ECHO[0], "--arg", ECHO[1])
        served.said("namespaces", "create", "--name", "all", "--server", "echo")
        deadline = time.monotonic() + 30
        while served.json("servers", "refresh", "echo")["state"] != "ready":
            assert time.monotonic() < deadline
        assert served.said("servers", "health", "echo").splitlines()[1] == "name        echo"
        assert served.said("health").splitlines()[1].split()[:2] == ["echo", "ready"]
        assert served.said("health").splitlines()[-1] == "status  ok"
        assert "echo" in {line.split()[0] for line in served.said("servers", "tools", "echo").splitlines()}
        switched = served.json("tools", "switch", "all", "--pattern", "echo__e*", "--no-enabled")["items"]
        assert {each["tool"] for each in switched} == {"echo", "environ"}
        rows = [line.split() for line in served.said("tools", "list", "all").splitlines()]
        assert ["echo", "echo", "off", "yes", "-", "-"] in rows
        assert ["echo", "pid", "on", "yes", "-", "-"] in rows
        assert served.json("servers", "reset", "echo")["name"] == "echo"


class TestGateways:
    def test_json_is_what_the_api_answers(self, served: Metamcp) -> None:
        served.said("servers", "create", "--name", "time", "--command", NOTHING)
        api = f"{served.environ['METAMCP_URL']}/api/v1"
        with httpx2.Client(headers={"X-API-Key": ADMIN}) as http:
            assert served.json("servers", "list") == http.get(f"{api}/servers").json()
            one = served.json("servers", "get", "time")
            assert one == http.get(f"{api}/servers/{one['id']}").json()
            assert served.json("settings", "get") == http.get(f"{api}/settings").json()

    def test_a_member_manages_their_own(self, served: Metamcp) -> None:
        served.said("namespaces", "create", "--name", "adas")
        mel: Environ = {"METAMCP_API_KEY": MEMBER}
        served.said("namespaces", "create", "--name", "mels", env=mel)
        assert [each["name"] for each in served.json("namespaces", "list", env=mel)["items"]] == ["mels"]
        assert (
            served.json("namespaces", "get", "mels")["ownerId"] == served.json("users", "get", "mel@example.com")["id"]
        )
        assert "only admins" in served.error("settings", "get", env=mel).lower()
        assert served.said("me", env=mel).splitlines()[1].split() == ["name", "mel@example.com"]

    def test_the_key_comes_from_the_environment_or_the_standard_input(self, served: Metamcp) -> None:
        url = served.environ["METAMCP_URL"] or ""
        alone: Environ = {"METAMCP_URL": None, "METAMCP_API_KEY": None}
        assert "needs an admin-scoped API key" in served.error("me", "--url", url, env=alone)
        assert "API key is not valid" in served.error("me", "--url", url, env={"METAMCP_API_KEY": "sk_mt_wrong"})
        assert served.json("me", "--url", f"{url}/", "--key-stdin", text=f"{MEMBER}\n", env=alone)["role"] == "member"
        assert "once only" in served.error("servers", "create", "--data", "-", "--key-stdin", code=2)
        assert served("me", "--key", ADMIN).exit_code == 2

    def test_a_database_that_is_named_wins_over_the_environment(self, served: Metamcp) -> None:
        assert served.json("me", "--database", served.database)["name"] == "system"
        both = served.error("me", "--database", served.database, "--url", "http://127.0.0.1:1", code=2)
        assert "choose one" in both

    def test_what_names_a_gateway_is_no_unknown_variable(self, caplog: pytest.LogCaptureFixture) -> None:
        known = {"METAMCP_URL": "http://127.0.0.1:12008", "METAMCP_API_KEY": ADMIN}
        Settings.from_environ({**known, "METAMCP_ULR": "x"}, None)
        assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == ["METAMCP_ULR"]

    def test_of_a_servers_url_and_a_gateways_neither_is_guessed(self, served: Metamcp) -> None:
        # The key of the gateway would go to the server.
        said = served.error("servers", "create", "--name", "x", "--url", "http://127.0.0.1:1/mcp", code=2)
        assert "--server-url" in said
        assert "--gateway" in said
        url = served.environ["METAMCP_URL"] or ""
        served.said("servers", "create", "--name", "x", "--server-url", "http://127.0.0.1:1/mcp", "--gateway", url)

    def test_what_is_no_gateway_with_a_management_api(self, metamcp: Metamcp, gateway: StartGateway) -> None:
        key: Environ = {"METAMCP_API_KEY": ADMIN}
        assert "127.0.0.1:1" in metamcp.error("me", "--url", "http://127.0.0.1:1", env=key)
        assert "http" in metamcp.error("me", "--url", "localhost:12008", env=key)
        of_file = gateway({"mcpServers": {}})
        said = metamcp.error("me", "--url", of_file.origin, env=key)
        assert "404 where a gateway has its management API" in said
