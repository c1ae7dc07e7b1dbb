"""A plan says what would change, field by field, and never shows a secret."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from metamcp_asgi.config.file import compile_document
from metamcp_asgi.config.plan import Change, FieldChange, difference, in_words
from metamcp_asgi.config.snapshot import Snapshot
from tests.snapshots import snapshots

KEY, OTHER_KEY = "sk_mt_0123456789abcdef", "sk_mt_fedcba9876543210"
SECRET, OTHER_SECRET = "hunter2-hunter2", "correct-horse"


def compiled(**sections: Any) -> Snapshot:
    return compile_document({"mcpServers": {}, "namespaces": {}, **sections}, environ={})


def server(**fields: Any) -> Snapshot:
    return compiled(mcpServers={"s": {"command": "x", **fields}})


def web(**fields: Any) -> Snapshot:
    return compiled(mcpServers={"s": {"url": "http://h/mcp", **fields}})


def namespace(**fields: Any) -> Snapshot:
    return compiled(mcpServers={"s": {"command": "x"}, "t": {"command": "x"}},
                    namespaces={"n": {"servers": ["s", "t"], **fields}}, endpoints={})  # fmt: skip


def endpoint(**fields: Any) -> Snapshot:
    return compiled(
        namespaces={"n": {"servers": []}, "m": {"servers": []}}, endpoints={"e": {"namespace": "n", **fields}}
    )


def keys(*entries: Any) -> Snapshot:
    return compiled(namespaces={"n": {"servers": []}}, endpoints={"e": {"namespace": "n"}}, apiKeys=list(entries))


def field(name: str, before: Any, after: Any, secret: bool = False) -> FieldChange:
    return FieldChange(name, before, after, secret)


CHANGED = [
    (server(), server(command="y"), "server", field("command", "x", "y")),
    (server(), server(args=["a b"]), "server", field("args", None, ["a b"])),
    (server(args=["--token", SECRET]), server(args=["--token", OTHER_SECRET]), "server",
     field("args", ["--token", "***"], ["--token", "***"], True)),
    (server(env={"A": SECRET}), server(env={"A": OTHER_SECRET}), "server", field("env.A", "***", "***", True)),
    (server(env={"A": SECRET}), server(), "server", field("env.A", "***", None, True)),
    (server(env={"PORT": "1"}), server(env={"PORT": "2"}), "server", field("env.PORT", "1", "2")),
    (server(), server(cwd="/tmp"), "server", field("cwd", None, "/tmp")),
    (server(), server(description="d"), "server", field("description", None, "d")),
    (server(), server(era="legacy"), "server", field("era", None, "legacy")),
    (server(), server(sharing="call"), "server", field("sharing", None, "call")),
    (server(), server(timeout=3), "server", field("timeout", None, 3.0)),
    (server(disabled=True), server(), "server", field("disabled", True, None)),
    (web(), web(url="http://h/?token=abc"), "server", field("url", "http://h/mcp", "http://h/?token=***", True)),
    (web(), web(bearerToken=SECRET), "server", field("headers.Authorization", None, "***", True)),
    (namespace(), namespace(servers=["t", "s"]), "namespace", field("servers", ["s", "t"], ["t", "s"])),
    (namespace(), namespace(prefix="never"), "namespace", field("prefix", None, "never")),
    (namespace(), namespace(description="d"), "namespace", field("description", None, "d")),
    (namespace(), namespace(tools={"s__a": {"enabled": False}}), "namespace", field("tools.s__a.enabled", None, False)),
    (namespace(tools={"s__a": {"name": "b"}}), namespace(tools={"s__a": {"name": "c"}}), "namespace",
     field("tools.s__a.name", "b", "c")),
    (namespace(), namespace(middlewares=["filter"]), "namespace", field("middlewares", None, ["filter"])),
    (endpoint(), endpoint(namespace="m"), "endpoint", field("namespace", "n", "m")),
    (endpoint(), endpoint(apiKeyAuth=False), "endpoint", field("apiKeyAuth", True, False)),
    (endpoint(), endpoint(queryParamAuth=True), "endpoint", field("queryParamAuth", False, True)),
    (endpoint(), endpoint(rateLimit={"maxRate": 1, "maxRateSeconds": 2}), "endpoint",
     field("rateLimit", None, {"maxRate": 1, "maxRateSeconds": 2.0})),
    (endpoint(), endpoint(clientRateLimit={"maxRate": 1, "maxRateSeconds": 2, "strategy": "header", "header": "Via"}),
     "endpoint", field("clientRateLimit", None,
                       {"maxRate": 1, "maxRateSeconds": 2.0, "strategy": "header", "header": "via"})),
    (endpoint(), endpoint(clientRateLimit={"maxRate": 1, "maxRateSeconds": 2, "strategy": "principal"}),
     "endpoint", field("clientRateLimit", None, {"maxRate": 1, "maxRateSeconds": 2.0, "strategy": "principal"})),
    (keys({"name": "k", "key": KEY}), keys({"name": "k", "key": OTHER_KEY}), "key",
     field("digest", "***", "***", True)),
    (keys({"name": "k", "key": KEY}), keys({"name": "k", "key": KEY, "endpoints": ["e"]}), "key",
     field("endpoints", "all", ["e"])),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "kind", "changed"), CHANGED, ids=str)
def test_one_field_changed(before: Snapshot, after: Snapshot, kind: Any, changed: FieldChange) -> None:
    (change,) = difference(before, after)
    assert (change.action, change.kind, change.fields) == ("change", kind, (changed,))


@pytest.mark.parametrize(("before", "after", "kind", "changed"), CHANGED, ids=str)
def test_no_secret_is_in_a_plan(before: Snapshot, after: Snapshot, kind: Any, changed: FieldChange) -> None:
    empty = compiled()
    for changes in (difference(before, after), difference(empty, after), difference(after, empty)):
        for text in (in_words(changes), msgspec.json.encode(changes).decode()):
            assert SECRET not in text
            assert OTHER_SECRET not in text
            assert "sk_mt_" not in text
            assert "sha256" not in text


def test_what_is_new_is_told_with_all_it_has() -> None:
    changes = difference(compiled(), server(env={"TOKEN": SECRET}))
    assert in_words(changes).splitlines() == [
        "+ server s",
        '    type: "stdio"',
        '    command: "x"',
        '    env.TOKEN: "***"',
        "1 to add, 0 to change, 0 to remove.",
    ]


def test_a_change_is_told_by_before_and_after() -> None:
    before, after = server(env={"TOKEN": SECRET}), server(command="y", env={"TOKEN": OTHER_SECRET})
    assert in_words(difference(before, after)).splitlines() == [
        "~ server s",
        '    command: "x" -> "y"',
        '    env.TOKEN: "***" -> "***" (secret)',
        "0 to add, 1 to change, 0 to remove.",
    ]


def test_what_the_file_does_not_have_is_removed_only_if_asked_for() -> None:
    assert difference(server(), compiled()) == [Change("remove", "server", "s")]
    kept = difference(server(), compiled(), prune=False)
    assert kept == [Change("keep", "server", "s")]
    assert "--prune" in in_words(kept)
    assert in_words(kept).endswith("Nothing to do.")


@settings(max_examples=40)
@given(snapshots())
def test_a_configuration_does_not_differ_from_itself(snapshot: Snapshot) -> None:
    assert difference(snapshot, snapshot) == []


@settings(max_examples=40)
@given(snapshots(), snapshots())
def test_whatever_differs_is_in_the_plan(before: Snapshot, after: Snapshot) -> None:
    changes = difference(before, after)
    told = {(change.kind, change.name) for change in changes}
    for name in before.servers.keys() | after.servers.keys():
        old, new = before.servers.get(name), after.servers.get(name)
        assert (old != new) == (("server", name) in told) or (
            # The order of variables and headers changes nothing.
            old is not None
            and new is not None
            and sorted(old.env) == sorted(new.env)
            and sorted(old.headers) == sorted(new.headers)
        )
    for name in before.endpoints.keys() | after.endpoints.keys():
        assert (before.endpoints.get(name) != after.endpoints.get(name)) == (("endpoint", name) in told)
    json.loads(msgspec.json.encode(changes))
