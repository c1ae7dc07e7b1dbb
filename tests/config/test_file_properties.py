"""Whatever stands in a configuration, it compiles or is refused with a ``ConfigError``; nothing else happens."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from metamcp_asgi.config.file import compile_document
from metamcp_asgi.config.parse import parse_json, parse_yaml
from metamcp_asgi.config.snapshot import Snapshot
from metamcp_asgi.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "examples" / "metamcp.yaml"
KEYS = [
    "mcpServers",
    "namespaces",
    "endpoints",
    "apiKeys",
    "type",
    "command",
    "args",
    "env",
    "cwd",
    "url",
    "headers",
    "bearerToken",
    "description",
    "era",
    "sharing",
    "timeout",
    "disabled",
    "servers",
    "prefix",
    "tools",
    "enabled",
    "name",
    "title",
    "annotations",
    "namespace",
    "apiKeyAuth",
    "oauth",
    "queryParamAuth",
    "rateLimit",
    "clientRateLimit",
    "maxRate",
    "maxRateSeconds",
    "strategy",
    "header",
    "key",
    "endpoints",
    "default",
    "a",
    "b",
    "a__x",
    "a_",
    "a___x",
]
TEXTS = [
    "stdio",
    "sse",
    "http",
    "auto",
    "modern",
    "legacy",
    "shared",
    "always",
    "never",
    "on-collision",
    "ip",
    "header",
    "default",
    "a",
    "b",
    "${A}",
    "${A:-b}",
    "${",
    "$${",
    "http://localhost/",
    "http://[",
    "https://u:p@h/",
    "0123456789abcdef",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(TEXTS)
    | st.text(st.characters(codec=None), max_size=20)
)
NAMES = st.sampled_from(KEYS) | st.text(max_size=5)
JSON_LIKE = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=20
)


def section(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name: field | JSON_LIKE for name, field in fields.items()})


NAME = st.sampled_from(["a", "b", "a_", "default", "a__b", ""])
LIMIT = section(maxRate=st.integers(), maxRateSeconds=st.floats(), strategy=st.sampled_from(TEXTS), header=st.text())
OVERRIDE = section(enabled=st.booleans(), name=st.sampled_from(["x", "y"]), annotations=JSON_LIKE)
DOCUMENTS = st.fixed_dictionaries(
    {
        "mcpServers": st.dictionaries(
            NAME,
            section(
                type=st.sampled_from(TEXTS),
                command=st.sampled_from(TEXTS),
                url=st.sampled_from(TEXTS) | st.text().map("http://".__add__),
                headers=st.dictionaries(st.text(), st.text()),
                env=st.dictionaries(st.text(), st.text()),
                timeout=st.floats() | st.integers(),
            ),
        )
    },
    optional={
        "namespaces": st.dictionaries(
            NAME,
            section(
                servers=st.lists(NAME, unique=True),
                prefix=st.sampled_from(TEXTS),
                tools=st.dictionaries(st.sampled_from(["a__x", "a___x", "b__y", "__", "a"]), OVERRIDE),
            ),
        ),
        "endpoints": st.dictionaries(NAME, section(namespace=NAME, rateLimit=LIMIT, clientRateLimit=LIMIT)),
        "apiKeys": st.lists(section(name=NAME, key=st.text(min_size=16), endpoints=st.lists(NAME))),
    },
)


def compiles_or_is_refused(document: object) -> None:
    try:
        snapshot = compile_document(document, environ={"A": "a"})
    except ConfigError as error:
        assert error.reason  # noqa: PT017 - both ends are right
        return
    assert isinstance(snapshot, Snapshot)
    assert all(endpoint.namespace in snapshot.namespaces for endpoint in snapshot.endpoints.values())
    assert all(set(namespace.servers) <= set(snapshot.servers) for namespace in snapshot.namespaces.values())
    assert all(server for namespace in snapshot.namespaces.values() for server, _ in namespace.tools)
    assert all(bool(server.command) != bool(server.url) for server in snapshot.servers.values())


@given(JSON_LIKE)
def test_any_document(document: object) -> None:
    compiles_or_is_refused(document)


@given(DOCUMENTS)
def test_any_document_of_about_the_right_shape(document: object) -> None:
    compiles_or_is_refused(document)


@given(st.data())
def test_a_good_document_with_one_value_replaced(data: st.DataObject) -> None:
    document = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8").replace("_KEY}", "_KEY:-0123456789abcdef}"))
    document["apiKeys"][1]["key"] = "fedcba9876543210"
    compile_document(document, environ={})  # was good
    inner: Any = document
    while True:
        key = data.draw(st.sampled_from(list(inner) if isinstance(inner, dict) else range(len(inner))))
        if not isinstance(inner[key], dict | list) or not inner[key] or data.draw(st.booleans()):
            break
        inner = inner[key]
    inner[key] = data.draw(JSON_LIKE)
    compiles_or_is_refused(document)


@given(JSON_LIKE)
def test_what_json_says_is_what_is_read(document: object) -> None:
    try:
        text = json.dumps(document, allow_nan=False)
    except ValueError:
        return
    assert parse_json(text) == json.loads(text)


@pytest.mark.parametrize("parse", [parse_json, parse_yaml])
@given(text=st.text() | st.text(alphabet="{}[]\"':,-&*!|>%@` \nab01.<?#\t"))
def test_any_text(parse: Any, text: str) -> None:
    try:
        parse(text)
    except ConfigError as error:
        assert error.reason  # noqa: PT017 - both ends are right
