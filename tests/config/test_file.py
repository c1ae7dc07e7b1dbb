"""A configuration document, good and bad, and what becomes of it."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from metamcp_asgi.config.file import compile_document, load
from metamcp_asgi.config.snapshot import (
    ClientRateLimit,
    Endpoint,
    Namespace,
    Principal,
    RateLimit,
    Server,
    ToolOverride,
    digest_of,
)
from metamcp_asgi.errors import ConfigError
from tests.config.documents import KEY, TIME, WEB, keys, namespace, server

EXAMPLES = Path(__file__).parents[2] / "examples"


def one(entry: object, **environ: str) -> Server:
    return compile_document({"mcpServers": {"s": entry}}, environ=environ).servers["s"]


def test_every_key_of_the_format() -> None:
    snapshot = compile_document(
        {
            "mcpServers": {
                "time": {
                    "type": "stdio",
                    "command": "${BIN}/time",
                    "args": ["--zone", "${ZONE:-UTC}", ""],
                    "env": {"TOKEN": "a-${SECRET}", "PRICE": "$${5} $5"},
                    "cwd": "/srv",
                    "description": "time",
                    "era": "legacy",
                    "sharing": "session",
                    "timeout": 2.5,
                    "disabled": True,
                },
                "web": {
                    "url": "https://example.com/mcp?x=${ZONE:-UTC}",
                    "headers": {"X-A": "1", "x-b": ""},
                    "bearerToken": "${SECRET}",
                },
                "old": {"type": "SSE", "url": "http://[::1]:8/sse", "headers": {"authorization": "Basic eA=="}},
            },
            "namespaces": {
                "dev": {
                    "description": "d",
                    "servers": ["web", "time"],
                    "prefix": "on-collision",
                    "tools": {
                        "time__now": {"enabled": False},
                        "web__get__it": {
                            "name": "fetch",
                            "title": "T",
                            "description": "",
                            "annotations": {"a": [None, 1, {"b": "${SECRET}"}]},
                        },
                    },
                },
                "empty": {"servers": []},
            },
            "endpoints": {
                "e": {
                    "namespace": "dev",
                    "apiKeyAuth": True,
                    "oauth": False,
                    "queryParamAuth": True,
                    "rateLimit": {"maxRate": 5, "maxRateSeconds": 1.5},
                    "clientRateLimit": {
                        "maxRate": 1,
                        "maxRateSeconds": 60,
                        "strategy": "header",
                        "header": "X-Forwarded-For",
                    },
                },
                "open": {
                    "namespace": "empty",
                    "apiKeyAuth": False,
                    "clientRateLimit": {"maxRate": 1, "maxRateSeconds": 1, "strategy": "ip"},
                },
            },
            "apiKeys": [{"name": "a", "key": KEY, "endpoints": ["e"]}, {"name": "b", "key": "${SECRET}-and-some-more"}],
        },
        environ={"BIN": "/opt", "SECRET": "s3cr3t"},
    )
    assert snapshot.servers == {
        "time": Server(
            name="time",
            type="stdio",
            command="/opt/time",
            args=("--zone", "UTC", ""),
            env=(("TOKEN", "a-s3cr3t"), ("PRICE", "${5} $5")),
            cwd="/srv",
            description="time",
            era="legacy",
            sharing="session",
            timeout=2.5,
            disabled=True,
        ),
        "web": Server(
            name="web",
            type="streamable_http",
            url="https://example.com/mcp?x=UTC",
            headers=(("X-A", "1"), ("x-b", ""), ("Authorization", "Bearer s3cr3t")),
        ),
        "old": Server(name="old", type="sse", url="http://[::1]:8/sse", headers=(("authorization", "Basic eA=="),)),
    }
    assert snapshot.namespaces == {
        "dev": Namespace(
            name="dev",
            servers=("web", "time"),
            description="d",
            prefix="on-collision",
            tools={
                ("time", "now"): ToolOverride(enabled=False),
                ("web", "get__it"): ToolOverride(
                    name="fetch", title="T", description="", annotations={"a": [None, 1, {"b": "s3cr3t"}]}
                ),
            },
        ),
        "empty": Namespace(name="empty", servers=()),
    }
    assert snapshot.endpoints == {
        "e": Endpoint(
            name="e",
            namespace="dev",
            query_param_auth=True,
            rate_limit=RateLimit(5, 1.5),
            client_rate_limit=ClientRateLimit(1, 60.0, "x-forwarded-for"),
        ),
        "open": Endpoint(
            name="open", namespace="empty", api_key_auth=False, client_rate_limit=ClientRateLimit(1, 1.0, None)
        ),
    }
    first, second = snapshot.keys[digest_of(KEY)], snapshot.keys[digest_of("s3cr3t-and-some-more")]
    assert (first.principal.kind, first.principal.name, first.endpoints) == ("key", "a", frozenset({"e"}))
    assert (second.principal.name, second.endpoints) == ("b", None)
    assert first.principal.id != second.principal.id


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ({"command": "npx", "args": ["-y", "mcp-remote", "http://localhost:12008/metamcp/EP/mcp"]}, "stdio"),
        ({"command": "uvx", "args": ["mcp-proxy"], "env": {"API_ACCESS_TOKEN": "sk_mt_x"}}, "stdio"),
        ({"type": "STDIO", "command": "npx"}, "stdio"),
        ({"type": "std", "command": "npx"}, "stdio"),
        ({"url": "http://localhost:12008/metamcp/EP/sse"}, "streamable_http"),
        ({"url": "http://localhost/mcp", "headers": {"Authorization": "Bearer sk_mt_x"}}, "streamable_http"),
        ({"type": "http", "url": "https://api.example.com/mcp/"}, "streamable_http"),
        ({"type": "sse", "url": "https://mcp.example.com/sse"}, "sse"),
        ({"type": "streamable_http", **WEB}, "streamable_http"),
        ({"type": "streamableHttp", **WEB}, "streamable_http"),
        ({"type": "streamable-http", **WEB}, "streamable_http"),
        ({"type": "STREAMABLE_HTTP", **WEB, "bearerToken": "x"}, "streamable_http"),
    ],
)
def test_entries_as_other_clients_write_them(entry: dict[str, Any], kind: str) -> None:
    assert one(entry).type == kind


def test_servers_alone_give_one_open_endpoint_over_all_of_them_in_file_order() -> None:
    snapshot = compile_document({"mcpServers": {"b": TIME, "a": WEB}}, environ={})
    assert snapshot.namespaces == {"default": Namespace(name="default", servers=("b", "a"))}
    assert snapshot.endpoints == {"default": Endpoint(name="default", namespace="default", api_key_auth=False)}


def test_servers_and_keys_give_one_locked_endpoint() -> None:
    document = {"mcpServers": {"a": WEB}, "apiKeys": [{"name": "k", "key": KEY, "endpoints": ["default"]}]}
    assert not compile_document(document, environ={}).endpoints["default"].open


def test_an_empty_list_of_keys_locks_rather_than_opens() -> None:
    assert not compile_document({"mcpServers": {}, "apiKeys": []}, environ={}).endpoints["default"].open


def test_namespaces_without_endpoints_are_published_under_their_names() -> None:
    document = {"mcpServers": {"a": WEB}, "namespaces": {"x": {"servers": ["a"]}, "y": {"servers": []}}}
    endpoints = compile_document(document, environ={}).endpoints
    assert {name: (endpoint.namespace, endpoint.open) for name, endpoint in endpoints.items()} == {
        "x": ("x", True),
        "y": ("y", True),
    }


def test_a_declared_endpoint_requires_a_key_and_says_so_when_there_is_none(caplog: pytest.LogCaptureFixture) -> None:
    document = {
        "mcpServers": {},
        "endpoints": {"locked": {"namespace": "default"}, "used": {"namespace": "default"}},
        "apiKeys": [{"name": "k", "key": KEY, "endpoints": ["used"]}],
    }
    with caplog.at_level(logging.WARNING):
        assert not compile_document(document, environ={}).endpoints["locked"].open
    (warning,) = caplog.messages
    assert '"locked"' in warning


def test_a_principal_outlives_the_rotation_of_its_key() -> None:
    def principal(key: str) -> Principal:
        document = {"mcpServers": {}, "apiKeys": [{"name": "k", "key": key}]}
        return next(iter(compile_document(document, environ={}).keys.values())).principal

    old, new = principal(KEY), principal(KEY[::-1])
    assert old.id == new.id
    assert old.grant != new.grant, "the streams that the old text opened can be told, and end"


def test_equal_entries_compile_to_equal_servers() -> None:
    assert one({**TIME, "env": {"A": "${A}"}}, A="1") == one({**TIME, "env": {"A": "1"}})
    assert one({**TIME, "env": {"A": "${A}"}}, A="2") != one({**TIME, "env": {"A": "1"}})


def test_an_override_key_finds_its_server_even_when_that_ends_in_an_underscore() -> None:
    document = {
        "mcpServers": {"a": TIME, "a_": TIME},
        "namespaces": {
            "n": {"servers": ["a_"], "tools": {"a___x": {}}},
            "m": {"servers": ["a"], "tools": {"a___x": {}}},
        },
    }
    namespaces = compile_document(document, environ={}).namespaces
    assert list(namespaces["n"].tools) == [("a_", "x")]
    assert list(namespaces["m"].tools) == [("a", "_x")]


@pytest.mark.parametrize(
    ("tools", "prefix"),
    [
        ({"time__a": {"name": "x"}, "web__a": {"name": "x"}}, "always"),  # time__x and web__x
        ({"time__a": {"name": "x"}, "web__a": {"name": "x"}}, "on-collision"),  # told apart by the prefix
        ({"time__a": {"name": "x"}, "time__b": {"name": "x", "enabled": False}}, "always"),
        ({"time__a": {"name": "b"}, "time__b": {"name": "a"}}, "always"),  # swapped
        ({"time__a": {"title": "A"}, "web__a": {"title": "A"}}, "never"),  # not made by these overrides
    ],
)
def test_overrides_that_do_not_collide(tools: dict[str, Any], prefix: str) -> None:
    assert len(compile_document(namespace(tools, prefix), environ={}).namespaces["dev"].tools) == 2


def test_a_key_is_nowhere_in_the_snapshot() -> None:
    assert KEY not in repr(compile_document(keys({"name": "a", "key": KEY}), environ={}))


def test_localhost_becomes_the_host_of_the_container_only_when_asked() -> None:
    document = server({"url": "http://localhost:9000/mcp"})
    assert compile_document(document, environ={}).servers["s"].url == "http://localhost:9000/mcp"
    transformed = compile_document(document, environ={}, transform_localhost=True)
    assert transformed.servers["s"].url == "http://host.docker.internal:9000/mcp"


# Files.


def test_json_and_yaml_of_the_same_document_are_the_same(tmp_path: Path) -> None:
    as_json, as_yaml, as_yml = tmp_path / "a.json", tmp_path / "a.YAML", tmp_path / "a.yml"
    as_json.write_bytes(b"\xef\xbb\xbf" + json.dumps({"mcpServers": {"time": {**TIME, "timeout": 5}}}).encode())
    as_yaml.write_text("mcpServers:\n  time: {command: mcp-server-time, timeout: 5}\n", encoding="utf-8")
    as_yml.write_text(as_yaml.read_text(encoding="utf-8"), encoding="utf-8")
    assert load(as_json, environ={}) == load(str(as_yaml), environ={}) == load(as_yml, environ={})


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.json", None, "cannot be read: No such file"),
        ("mcp.toml", b"", "must end in .json, .yaml or .yml"),
        ("mcp.json", b"\xff", "not UTF-8 (at byte 0)"),
        ("mcp.json", b'{\n "a": }', "line 2, column 7"),
        ("mcp.yaml", b"a: [\n", "line 2, column 1"),
        ("mcp.yaml", b"", "must be an object, not null"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path, environ={})
    assert reason in caught.value.reason
    assert caught.value.source == str(path)


def test_a_folder_is_not_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "mcp.json").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "mcp.json", environ={})


# The examples that we ship.


def test_the_bare_example_needs_no_environment() -> None:
    snapshot = load(EXAMPLES / "mcp.json", environ={})
    assert [server.command for server in snapshot.servers.values()] == ["mcp-server-time", "mcp-server-fetch"]
    assert snapshot.endpoints["default"].open


def test_the_full_example_validates_and_shows_every_key() -> None:
    environ = {"OPERATIONS_KEY": KEY, "DEVELOPER_KEY": KEY[::-1]}
    snapshot = load(EXAMPLES / "metamcp.yaml", environ=environ)
    assert {server.type for server in snapshot.servers.values()} == {"stdio", "sse", "streamable_http"}
    assert snapshot.keys[digest_of(KEY[::-1])].endpoints == frozenset({"dev"})


def test_the_full_example_has_no_built_in_key() -> None:
    with pytest.raises(ConfigError, match="OPERATIONS_KEY is not set") as caught:
        load(EXAMPLES / "metamcp.yaml", environ={})
    assert caught.value.path == "apiKeys[0].key"
