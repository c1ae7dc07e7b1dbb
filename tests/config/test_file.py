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
    RateLimit,
    Server,
    ToolOverride,
    digest_of,
)
from metamcp_asgi.errors import ConfigError

EXAMPLES = Path(__file__).parents[2] / "examples"
KEY = "sk_mt_0123456789abcdef"
TIME = {"command": "mcp-server-time"}
WEB = {"url": "http://127.0.0.1:9000/mcp"}


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
    def principal(key: str) -> object:
        document = {"mcpServers": {}, "apiKeys": [{"name": "k", "key": key}]}
        return next(iter(compile_document(document, environ={}).keys.values())).principal

    assert principal(KEY) == principal(KEY[::-1])


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


def namespace(tools: object, prefix: str = "always") -> dict[str, Any]:
    return {
        "mcpServers": {"time": TIME, "web": WEB, "off": TIME},
        "namespaces": {"dev": {"servers": ["time", "web"], "prefix": prefix, "tools": tools}},
    }


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


def server(entry: object) -> dict[str, Any]:
    return {"mcpServers": {"s": entry}}


def endpoint(**entry: object) -> dict[str, Any]:
    return {"mcpServers": {}, "endpoints": {"e": {"namespace": "default", **entry}}}


def keys(*entries: object) -> dict[str, Any]:
    return {"mcpServers": {}, "apiKeys": list(entries)}


LIMIT = {"maxRate": 1, "maxRateSeconds": 1}

BAD: list[tuple[object, str, list[str]]] = [
    # the document
    (None, "", ["must be an object", "not null"]),
    ([], "", ["must be an object", "not a list"]),
    ({}, "", ['needs "mcpServers"']),
    ({"servers": {}}, "", ['unknown key "servers"', 'did you mean "mcpServers"?']),
    ({"mcpservers": {}}, "", ['did you mean "mcpServers"?']),
    ({"mcpServers": {}, "xyz": 1}, "", ['unknown key "xyz"', 'there are "mcpServers", "namespaces"']),
    ({"mcpServers": []}, "mcpServers", ["must be an object, not a list"]),
    ({"mcpServers": {1: {}}}, "mcpServers", ["a key that is a number", "quotes"]),
    ({"mcpServers": {}, "namespaces": None}, "namespaces", ["not null", "leave the key out"]),
    # servers
    ({"mcpServers": {"a__b": TIME}}, "mcpServers.a__b", ['must not contain "__"']),
    ({"mcpServers": {"a b": TIME}}, 'mcpServers["a b"]', ["letters, digits"]),
    ({"mcpServers": {"": TIME}}, 'mcpServers[""]', ["letters, digits"]),
    ({"mcpServers": {"a\n": TIME}}, 'mcpServers["a\\n"]', ["letters, digits"]),
    (server("x"), "mcpServers.s", ["must be an object, not text"]),
    (server({}), "mcpServers.s", ['needs "command"', '"url"']),
    (server({**TIME, **WEB}), "mcpServers.s", ['both "command" and "url"']),
    (server({"comand": "x"}), "mcpServers.s", ['unknown key "comand"', 'did you mean "command"?']),
    (server({**WEB, "bearer_token": "x"}), "mcpServers.s", ['did you mean "bearerToken"?']),
    (server({"type": "stdio"}), "mcpServers.s", ['needs "command"', "type stdio"]),
    (server({"type": "sse"}), "mcpServers.s", ['needs "url"', "type sse"]),
    (server({"type": "htp", **WEB}), "mcpServers.s.type", ['"stdio", "sse", "streamable_http"']),
    (server({"type": "stdioo", **TIME}), "mcpServers.s.type", ['did you mean "stdio"?']),
    (server({"type": 1, **TIME}), "mcpServers.s.type", ["must be text, not a number", "quotes"]),
    (server({"type": "stdio", **TIME, **WEB}), "mcpServers.s", ['"url" does not go with', "stdio"]),
    (server({"type": "http", **TIME, **WEB}), "mcpServers.s", ['"command" does not go with', "streamable_http"]),
    (server({**WEB, "args": []}), "mcpServers.s", ['"args" does not go with']),
    (server({**WEB, "env": {}}), "mcpServers.s", ['"env" does not go with']),
    (server({**TIME, "headers": {}}), "mcpServers.s", ['"headers" does not go with']),
    (server({**TIME, "bearerToken": "x"}), "mcpServers.s", ['"bearerToken" does not go with']),
    (server({"command": ""}), "mcpServers.s.command", ["must not be empty"]),
    (server({"command": ["npx"]}), "mcpServers.s.command", ["must be text, not a list"]),
    (server({"command": "a\0b"}), "mcpServers.s.command", ["NUL"]),
    (server({"command": "\ud800"}), "mcpServers.s.command", ["valid Unicode"]),
    (server({**TIME, "args": "-v"}), "mcpServers.s.args", ["must be a list, not text"]),
    (server({**TIME, "args": ["a", 8080]}), "mcpServers.s.args[1]", ["must be text, not a number", "quotes"]),
    (server({**TIME, "args": ["${NOPE}"]}), "mcpServers.s.args[0]", ["NOPE is not set", "${NOPE:-default}"]),
    (server({**TIME, "env": {"A": "${NOPE}"}}), "mcpServers.s.env.A", ["NOPE is not set"]),
    (server({**TIME, "env": {"A": True}}), "mcpServers.s.env.A", ["must be text", "quotes"]),
    (server({**TIME, "env": {"A": None}}), "mcpServers.s.env.A", ["must be text, not null"]),
    (server({**TIME, "env": {"A=b": "c"}}), "mcpServers.s.env", ['contains "="']),
    (server({**TIME, "env": ["A=b"]}), "mcpServers.s.env", ["must be an object, not a list"]),
    (server({**TIME, "cwd": ""}), "mcpServers.s.cwd", ["must not be empty"]),
    (server({**TIME, "era": "Modern"}), "mcpServers.s.era", ['did you mean "modern"?']),
    (server({"type": "sse", **WEB, "era": "modern"}), "mcpServers.s", ["legacy era"]),
    (server({**TIME, "sharing": "all"}), "mcpServers.s.sharing", ['"auto", "shared", "principal"']),
    (server({**TIME, "timeout": 0}), "mcpServers.s.timeout", ["must be greater than 0"]),
    (server({**TIME, "timeout": -1.5}), "mcpServers.s.timeout", ["must be greater than 0"]),
    (server({**TIME, "timeout": "60"}), "mcpServers.s.timeout", ["must be a number, not text"]),
    (server({**TIME, "timeout": True}), "mcpServers.s.timeout", ["must be a number, not a boolean"]),
    (server({**TIME, "timeout": float("nan")}), "mcpServers.s.timeout", ["finite"]),
    (server({**TIME, "timeout": 10**400}), "mcpServers.s.timeout", ["too large"]),
    (server({**TIME, "disabled": "yes"}), "mcpServers.s.disabled", ["must be true or false, not text"]),
    (server({"url": "localhost:80/mcp"}), "mcpServers.s.url", ["http:// or https://"]),
    (server({"url": "http:///mcp"}), "mcpServers.s.url", ["http:// or https://"]),
    (server({"url": "http://x:99999/mcp"}), "mcpServers.s.url", ["http:// or https://"]),
    (server({"url": "http://[::1/mcp"}), "mcpServers.s.url", ["http:// or https://"]),
    (server({"url": "http://x/a\r\nb"}), "mcpServers.s.url", ["http:// or https://"]),
    (server({"url": "http://me:secret@x/"}), "mcpServers.s.url", ["user or password", "bearerToken"]),
    (server({"url": "http://x/#a"}), "mcpServers.s.url", ["fragment"]),
    (server({**WEB, "headers": {"X A": "b"}}), "mcpServers.s.headers", ["header name"]),
    (server({**WEB, "headers": {"X-A": "b\r\nX-B: c"}}), "mcpServers.s.headers.X-A", ["line break"]),
    (server({**WEB, "headers": {"X-A": "\u20ac"}}), "mcpServers.s.headers.X-A", ["characters"]),
    (server({**WEB, "headers": {"X-A": "1", "x-a": "2"}}), "mcpServers.s.headers.x-a", ["given twice"]),
    (server({**WEB, "headers": {"Content-Length": "1"}}), "mcpServers.s.headers.Content-Length", ["remove it"]),
    (server({**WEB, "bearerToken": "a b"}), "mcpServers.s.bearerToken", ["space"]),
    (
        server({**WEB, "bearerToken": "a", "headers": {"AUTHORIZATION": "b"}}),
        "mcpServers.s",
        ['both "bearerToken" and an Authorization header'],
    ),
    (server({**TIME, "description": "${A"}), "mcpServers.s.description", ['"${"', '"$${"']),
    (server({**TIME, "description": "${env:A}"}), "mcpServers.s.description", ["${VAR:-default}"]),
    (server({**TIME, "description": "${A:-${B}}"}), "mcpServers.s.description", ["${VAR:-default}"]),
    # namespaces
    ({"mcpServers": {}, "namespaces": {"a.b": {"servers": []}}}, 'namespaces["a.b"]', ["letters, digits"]),
    ({"mcpServers": {}, "namespaces": {"n": {}}}, "namespaces.n", ['needs "servers"']),
    (
        {"mcpServers": {"time": TIME}, "namespaces": {"n": {"servers": ["tme"]}}},
        "namespaces.n.servers[0]",
        ['unknown server "tme"', 'did you mean "time"?'],
    ),
    (
        {"mcpServers": {"time": TIME}, "namespaces": {"n": {"servers": ["xyz"]}}},
        "namespaces.n.servers[0]",
        ['unknown server "xyz"', 'there are "time"'],
    ),
    ({"mcpServers": {}, "namespaces": {"n": {"servers": ["a"]}}}, "namespaces.n.servers[0]", ["there is none"]),
    (
        {"mcpServers": {"time": TIME}, "namespaces": {"n": {"servers": ["time", "time"]}}},
        "namespaces.n.servers[1]",
        ["twice"],
    ),
    (namespace({}, "allways"), "namespaces.dev.prefix", ['did you mean "always"?']),
    (namespace({"time__now": {"enabled": 1}}), "namespaces.dev.tools.time__now.enabled", ["true or false"]),
    (namespace({"time__now": {"enable": True}}), "namespaces.dev.tools.time__now", ['did you mean "enabled"?']),
    (namespace({"time__now": True}), "namespaces.dev.tools.time__now", ["must be an object"]),
    (namespace({"now": {}}), "namespaces.dev.tools.now", ['"server__tool"']),
    (namespace({"time__": {}}), "namespaces.dev.tools.time__", ['"server__tool"']),
    (namespace({"tme__now": {}}), "namespaces.dev.tools.tme__now", ['"tme"', 'did you mean "time"?']),
    (namespace({"off__now": {}}), "namespaces.dev.tools.off__now", ['"off"', "of this namespace"]),
    (namespace({"time__now": {"name": "a b"}}), "namespaces.dev.tools.time__now.name", ["1 to 128"]),
    (namespace({"time__now": {"name": "a\n"}}), "namespaces.dev.tools.time__now.name", ["1 to 128"]),
    (namespace({"time__now": {"name": ""}}), "namespaces.dev.tools.time__now.name", ["1 to 128"]),
    (namespace({"time__now": {"name": "a" * 129}}), "namespaces.dev.tools.time__now.name", ["1 to 128"]),
    (
        namespace({"time__now": {"annotations": {"a": [{"b": "${NOPE}"}]}}}),
        "namespaces.dev.tools.time__now.annotations.a[0].b",
        ["NOPE is not set"],
    ),
    (
        namespace({"time__now": {"annotations": {"a": float("inf")}}}),
        "namespaces.dev.tools.time__now.annotations.a",
        ["finite"],
    ),
    (
        namespace({"time__a": {"name": "x"}, "time__b": {"name": "x"}}),
        "namespaces.dev.tools.time__b.name",
        ['"time__a" is published under the same name'],
    ),
    (
        namespace({"time__a": {"name": "b"}, "time__b": {"title": "B"}}),
        "namespaces.dev.tools.time__b",
        ['"time__a" is published under the same name'],
    ),
    (
        namespace({"time__a": {"name": "x"}, "web__b": {"name": "x"}}, "never"),
        "namespaces.dev.tools.web__b.name",
        ['"time__a" is published under the same name'],
    ),
    # endpoints
    ({"mcpServers": {}, "endpoints": {"a/b": {"namespace": "default"}}}, 'endpoints["a/b"]', ["letters, digits"]),
    ({"mcpServers": {}, "endpoints": {"e": {}}}, "endpoints.e", ['needs "namespace"']),
    (endpoint(namespace="defualt"), "endpoints.e.namespace", ['unknown namespace "defualt"', 'mean "default"?']),
    (endpoint(oauth=True), "endpoints.e.oauth", ["no OAuth yet"]),
    (endpoint(apiKeyAuth=None), "endpoints.e.apiKeyAuth", ["true or false, not null"]),
    (endpoint(api_key_auth=False), "endpoints.e", ['did you mean "apiKeyAuth"?']),
    (endpoint(rateLimit={}), "endpoints.e.rateLimit", ['needs "maxRate"']),
    (endpoint(rateLimit={"maxRate": 1}), "endpoints.e.rateLimit", ['needs "maxRateSeconds"']),
    (endpoint(rateLimit={**LIMIT, "maxRate": 0}), "endpoints.e.rateLimit.maxRate", ["at least 1"]),
    (endpoint(rateLimit={**LIMIT, "maxRate": 1.5}), "endpoints.e.rateLimit.maxRate", ["whole number"]),
    (endpoint(rateLimit={**LIMIT, "maxRate": True}), "endpoints.e.rateLimit.maxRate", ["whole number"]),
    (endpoint(rateLimit={**LIMIT, "maxRate": 10**400}), "endpoints.e.rateLimit.maxRate", ["too large"]),
    (endpoint(rateLimit={**LIMIT, "maxRateSeconds": 0.5}), "endpoints.e.rateLimit.maxRateSeconds", ["at least 1"]),
    (endpoint(rateLimit={**LIMIT, "strategy": "ip"}), "endpoints.e.rateLimit", ['unknown key "strategy"']),
    (endpoint(clientRateLimit=LIMIT), "endpoints.e.clientRateLimit", ['needs "strategy"']),
    (
        endpoint(clientRateLimit={**LIMIT, "strategy": "header"}),
        "endpoints.e.clientRateLimit",
        ['needs "header"'],
    ),
    (
        endpoint(clientRateLimit={**LIMIT, "strategy": "ip", "header": "X-A"}),
        "endpoints.e.clientRateLimit",
        ['"header" does not go with'],
    ),
    (
        endpoint(clientRateLimit={**LIMIT, "strategy": "header", "header": "X A"}),
        "endpoints.e.clientRateLimit.header",
        ["name of an HTTP header"],
    ),
    (
        endpoint(clientRateLimit={**LIMIT, "strategy": "IP"}),
        "endpoints.e.clientRateLimit.strategy",
        ['did you mean "ip"?'],
    ),
    # keys
    ({"mcpServers": {}, "apiKeys": {"a": KEY}}, "apiKeys", ["must be a list, not an object"]),
    (keys(KEY), "apiKeys[0]", ["must be an object, not text"]),
    (keys({"key": KEY}), "apiKeys[0]", ['needs "name"']),
    (keys({"name": "a"}), "apiKeys[0]", ['needs "key"']),
    (keys({"name": "a", "key": "short"}), "apiKeys[0].key", ["at least 16 characters"]),
    (keys({"name": "a", "key": ""}), "apiKeys[0].key", ["at least 16 characters"]),
    (keys({"name": "a", "key": "correct horse battery"}), "apiKeys[0].key", ["without spaces"]),
    (keys({"name": "a", "key": KEY}, {"name": "a", "key": KEY + "x"}), "apiKeys[1].name", ["apiKeys[0].name"]),
    (keys({"name": "a", "key": KEY}, {"name": "b", "key": KEY}), "apiKeys[1].key", ["apiKeys[0].key"]),
    (keys({"name": "a", "key": KEY, "endpoints": None}), "apiKeys[0].endpoints", ["must be a list, not null"]),
    (
        keys({"name": "a", "key": KEY, "endpoints": ["defalt"]}),
        "apiKeys[0].endpoints[0]",
        ['unknown endpoint "defalt"', 'did you mean "default"?'],
    ),
]


@pytest.mark.parametrize(("document", "path", "words"), BAD)
def test_a_fault_names_its_place_and_what_would_be_right(document: object, path: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_document(document, environ={}, source="mcp.json")
    assert caught.value.path == path
    assert caught.value.source == "mcp.json"
    for word in words:
        assert word in caught.value.reason
    assert "\n" not in str(caught.value)


SECRET = "hunter2-hunter2-hunter2"


@pytest.mark.parametrize(
    "document",
    [
        server({**TIME, "env": {"A": SECRET + "${"}}),
        server({**TIME, "env": {"A": [SECRET]}}),
        server({**TIME, "env": {f"A={SECRET}": ""}}),
        server({**TIME, "env": [f"A={SECRET}"]}),
        server({**TIME, "env": SECRET}),
        server({**TIME, "args": ["--token", SECRET + "\0"]}),
        server({"url": f"https://me:{SECRET}@example.com/mcp"}),
        server({"url": f"example.com?token={SECRET}"}),
        server({**WEB, "headers": {f"Authorization: Bearer {SECRET}": ""}}),
        server({**WEB, "headers": {"Authorization": f"Bearer {SECRET}\n"}}),
        server({**WEB, "headers": [SECRET]}),
        server({**WEB, "bearerToken": f"Bearer {SECRET}"}),
        server({**WEB, "bearerToken": f"{SECRET}${{x y}}"}),
        server({**WEB, "bearerToken": SECRET, "headers": {"authorization": SECRET}}),
        server({**WEB, "type": "${S}"}),
        endpoint(namespace="${S}"),
        keys(SECRET),
        keys({"name": "a", "key": SECRET + " "}),
        keys({"name": "a", "key": SECRET[:12]}),
        keys({"name": "a", "key": SECRET}, {"name": "b", "key": SECRET}),
        keys({"name": "a", "key": [SECRET]}),
        keys({"name": "a", "key": SECRET, "endpoints": ["${S}"]}),
    ],
)
def test_no_error_tells_a_secret(document: object) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_document(document, environ={"S": SECRET})
    assert SECRET[:12] not in str(caught.value)


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
