"""What is wrong with a configuration document, in words that help and that tell no secret."""

import pytest

from metamcp_asgi.config.file import compile_document
from metamcp_asgi.errors import ConfigError
from tests.config.documents import KEY, TIME, WEB, endpoint, keys, namespace, server

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
    (endpoint(oauth="yes"), "endpoints.e.oauth", ["true, false, or an object"]),
    (endpoint(oauth={"audience": "x"}), "endpoints.e.oauth.audience", ['goes with "issuer" only']),
    (endpoint(oauth={"issuer": "example.com"}), "endpoints.e.oauth.issuer", ["begins with https://"]),
    (endpoint(oauth={"scopes": ["a b"]}), "endpoints.e.oauth.scopes[0]", ["without spaces"]),
    (endpoint(oauth={"toolScopes": {"a b": []}}), 'endpoints.e.oauth.toolScopes["a b"]', ["published name"]),
    (endpoint(oauth={"isuer": "https://a.example"}), "endpoints.e.oauth", ['did you mean "issuer"?']),
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
        endpoint(clientRateLimit={**LIMIT, "strategy": "principal", "header": "X-A"}),
        "endpoints.e.clientRateLimit",
        ['"header" does not go with "strategy": "principal"'],
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
