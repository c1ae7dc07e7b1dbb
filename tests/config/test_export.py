"""What is exported is what was configured: a file and its variables compile to the same snapshot."""

import json
from io import StringIO
from typing import Any

import msgspec
import pytest
from dotenv import dotenv_values
from hypothesis import given, settings
from hypothesis import strategies as st

from metamcp_asgi.config.export import dotenv, export, to_text
from metamcp_asgi.config.file import compile_document
from metamcp_asgi.config.parse import parse_json, parse_yaml
from metamcp_asgi.config.snapshot import (
    Endpoint,
    GrantSpec,
    Key,
    Namespace,
    OAuth,
    Sandbox,
    Server,
    Snapshot,
    ToolOverride,
)
from metamcp_asgi.errors import ConfigError
from tests.snapshots import NAME, SECRET, TEXT, snapshots

SECTIONS = ("servers", "namespaces", "endpoints", "keys")
"""What of a snapshot is configuration; people and grants are in the store only."""


@pytest.mark.parametrize("with_secrets", [False, True])
@pytest.mark.parametrize(("format_", "parse"), [("yaml", parse_yaml), ("json", parse_json)])
@settings(max_examples=40)
@given(snapshot=snapshots())
def test_an_export_compiles_to_what_was_exported(
    snapshot: Snapshot, format_: Any, parse: Any, with_secrets: bool
) -> None:
    exported = export(snapshot, with_secrets=with_secrets)
    text = to_text(exported.document, format_, "a comment\nof two lines")
    assert compile_document(parse(text), environ=exported.variables) == snapshot


@settings(max_examples=30)
@given(snapshots())
def test_the_order_in_which_things_were_made_does_not_matter(snapshot: Snapshot) -> None:
    fields = {name: dict(reversed(getattr(snapshot, name).items())) for name in SECTIONS}
    assert json.dumps(export(snapshot).document) == json.dumps(export(Snapshot(**fields)).document)


@settings(max_examples=30)
@given(snapshots())
def test_a_variable_keeps_its_name_when_its_secret_changes(snapshot: Snapshot) -> None:
    exported = export(snapshot)
    changed = {name: f"{value[:-1]}Z" for name, value in exported.variables.items() if len(value) > 20}
    try:
        other = compile_document(exported.document, environ=exported.variables | changed)
    except ConfigError:
        return  # not a good value there
    assert export(other).variables == exported.variables | changed


@given(st.dictionaries(NAME.map(lambda name: f"_{name.replace('-', '')}"), TEXT))
def test_the_variables_file_gives_the_values_back(variables: dict[str, str]) -> None:
    # Windows line ends are not kept by python-dotenv, and no secret has them.
    variables = {name: value.replace("\r", "") for name, value in variables.items()}
    assert dict(dotenv_values(stream=StringIO(dotenv(variables)))) == variables


@pytest.mark.parametrize(
    "entry",
    [
        {"command": "x", "env": {"GITHUB_TOKEN": SECRET}},
        {"command": "x", "env": {"MODE": SECRET}},
        {"command": "x", "args": ["--api-key", SECRET]},
        {"command": "x", "args": ["--api-key", "hunter2-hunter2"]},
        {"command": "x", "args": [f"--password={SECRET}"]},
        {"command": "x", "args": ["-e", f"TOKEN={SECRET}"]},
        {"command": "x", "args": ["--header", f"Authorization: Bearer {SECRET}"]},
        {"command": "x", "args": [SECRET]},
        {"command": "x", "args": [f"postgresql://me:{SECRET}@host/db"]},
        {"command": "x", "args": [f"https://h.example/mcp?key={SECRET}"]},
        {"url": f"https://h.example/mcp?key={SECRET}"},
        {"url": f"https://h.example/s/{SECRET}/mcp"},
        {"url": "http://h.example", "headers": {"X-Whatever": SECRET}},
        {"url": "http://h.example", "bearerToken": SECRET},
    ],
)
def test_no_secret_is_in_an_export_unless_asked_for(entry: dict[str, Any]) -> None:
    snapshot = compile_document({"mcpServers": {"github": entry}})
    secret = "hunter2" if "hunter2" in str(entry) else SECRET
    exported = export(snapshot)
    assert secret not in to_text(exported.document, "yaml")
    assert any(secret in value for value in exported.variables.values())
    assert secret in to_text(export(snapshot, with_secrets=True).document, "yaml")


def test_what_is_no_secret_stays_readable() -> None:
    entry = {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/home/me/my files"],
             "env": {"DEBUG": "true", "PORT": "8080", "EMPTY": ""}}  # fmt: skip
    exported = export(compile_document({"mcpServers": {"files": entry}}))
    assert exported.document["mcpServers"]["files"] == {"type": "stdio", **entry}
    assert exported.variables == {}


def test_variables_are_called_after_the_server_and_what_they_are_there() -> None:
    document = {
        "mcpServers": {
            "git-hub": {"command": "x", "env": {"GIT_HUB_TOKEN": "a", "OTHER": "b"}, "args": ["--api-key", "c"]},
            "git": {"url": "http://h", "headers": {"X-Key": "d"}, "bearerToken": "e"},
            "1": {"command": "x", "env": {"HUB": "f"}},
        }
    }
    assert export(compile_document(document)).variables == {
        "_1_HUB": "f",
        "GIT_X_KEY": "d",
        "GIT_TOKEN": "e",
        "GIT_HUB_API_KEY": "c",
        "GIT_HUB_TOKEN": "a",
        "GIT_HUB_OTHER": "b",
    }


def test_two_secrets_never_share_a_variable() -> None:
    servers = {"a": {"command": "x", "env": {"B-C": "1st", "B_C": "2nd"}}, "a-b": {"command": "x", "env": {"C": "3rd"}}}
    variables = export(compile_document({"mcpServers": servers})).variables
    assert variables == {"A_B_C": "1st", "A_B_C_2": "2nd", "A_B_C_3": "3rd"}


def test_a_key_keeps_working_without_being_known() -> None:
    snapshot = compile_document({"mcpServers": {}, "apiKeys": [{"name": "me", "key": "sk_mt_0123456789abcdef"}]})
    exported = export(snapshot)
    assert "sk_mt" not in str(exported)
    assert compile_document(exported.document).keys == snapshot.keys


def test_a_tool_that_a_file_cannot_name_is_refused() -> None:
    members = tuple(Server(name=name, type="stdio", command="x") for name in ("a", "a_"))
    namespace = Namespace(name="n", servers=("a", "a_"), tools={("a_", "x"): ToolOverride(enabled=False)})
    snapshot = Snapshot(servers={each.name: each for each in members}, namespaces={"n": namespace}, endpoints={})
    with pytest.raises(ConfigError, match=r'tool "x" of server "a_".*rename the server'):
        export(snapshot)


def test_no_field_of_a_snapshot_is_forgotten() -> None:
    # Whoever adds a field makes this fail, and then teaches ``document`` and ``plan`` to write it. ``guarded`` and
    # ``owner`` are of none: they say whose the server is, and what a file has is the operator's.
    known = {
        Server: "name type command args env cwd url headers description era sharing timeout disabled grant sandbox "
        "guarded owner",
        GrantSpec: "key per flow client_id client_secret private_key key_id algorithm scopes",
        Sandbox: "network read write",
        Namespace: "name servers description prefix tools middlewares",
        Endpoint: "name namespace api_key_auth oauth query_param_auth rate_limit client_rate_limit",
        ToolOverride: "enabled name title description annotations",
        Key: "digest principal endpoints",
        OAuth: "issuer audiences scopes tool_scopes jwks_uri principal_claim name_claim groups_claim groups",
        Snapshot: "servers namespaces endpoints keys people admins revoked",
    }
    for kind, fields in known.items():
        assert [field.name for field in msgspec.structs.fields(kind)] == fields.split(), kind
