"""Files of other programs become ours: what can be said here is said, what can't is told, and the result compiles."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp_asgi.config.file import compile_document
from metamcp_asgi.config.foreign import Imported, convert, server_name
from metamcp_asgi.config.jsonc import plain_json
from metamcp_asgi.errors import ConfigError
from tests.places import BIN


def imported(document: Any, format_: Any = "auto") -> Imported:
    return convert(document if isinstance(document, str) else json.dumps(document), format_)


def entry(given: dict[str, Any], format_: Any = "claude") -> dict[str, Any]:
    document = imported({"mcpServers": {"s": given}}, format_).document
    fields: dict[str, Any] = document["mcpServers"]["s"]
    return fields


def notes(given: dict[str, Any], format_: Any = "claude") -> list[tuple[str, str]]:
    return [(note.kind, note.text) for note in imported({"mcpServers": {"s": given}}, format_).notes]


METAMCP = {
    "mcpServers": {
        "time": {"type": "STDIO", "description": "d", "command": "uvx", "args": ["x"],
                 "env": {"A": "${A}", "B": "x${B}"}},
        "web": {"type": "STREAMABLE_HTTP", "url": "https://h/mcp", "bearerToken": "token", "headers": {"X": "${Y}"}},
        "old": {"type": "SSE", "url": "http://h/sse"},
        "a__b": {"type": "STDIO", "command": "x"},
    }
}  # fmt: skip


def test_metamcp_s_export_keeps_what_metamcp_s_import_loses() -> None:
    result = imported(METAMCP)
    assert result.format == "metamcp"
    assert result.document == {
        "mcpServers": {
            # Only a whole value of "env" is a variable there; everything else is meant as it is written.
            "time": {"type": "stdio", "command": "uvx", "args": ["x"], "env": {"A": "${A}", "B": "x$${B}"},
                     "description": "d"},
            "web": {"type": "streamable_http", "url": "https://h/mcp", "headers": {"X": "$${Y}"},
                    "bearerToken": "token"},
            "old": {"type": "sse", "url": "http://h/sse"},
            "a_b": {"type": "stdio", "command": "x"},
        }
    }  # fmt: skip
    snapshot = compile_document(result.document, environ={"A": "1"})
    assert dict(snapshot.servers["web"].headers) == {"X": "${Y}", "Authorization": "Bearer token"}
    assert [str(note) for note in result.notes] == [
        'mcpServers.a__b: is now called "a_b", and its tools "a_b__..."',
        "set the environment variable A",
    ]


def test_an_entry_with_only_a_url_is_http() -> None:
    assert entry({"url": "http://h/mcp"}) == {"type": "streamable_http", "url": "http://h/mcp"}


@pytest.mark.parametrize("word", ["http", "HTTP", "streamableHttp", "streamable-http", "STREAMABLE_HTTP"])
def test_every_spelling_of_http_is_known(word: str) -> None:
    assert entry({"type": word, "url": "http://h/mcp"})["type"] == "streamable_http"


def test_a_vs_code_file_with_comments_inputs_and_an_env_file() -> None:
    result = imported(
        """// .vscode/mcp.json
        {
          "inputs": [{"type": "promptString", "id": "gh-token", "description": "GitHub token", "password": true,},],
          /* the servers */
          "servers": {
            "io.github/git": {
              "type": "stdio", "command": "npx", "args": ["-y", "//not-a-comment", "${workspaceFolder}"],
              "env": {"GITHUB_TOKEN": "${input:gh-token}", "HOME_DIR": "${env:HOME}"},
              "envFile": "${workspaceFolder}/.env",
            },
          },
        }"""
    )
    assert result.format == "vscode"
    assert result.document["mcpServers"] == {
        "io-github-git": {
            "type": "stdio",
            "command": "npx",
            "args": ["-y", "//not-a-comment", "${WORKSPACE_FOLDER}"],
            "env": {"GITHUB_TOKEN": "${GH_TOKEN}", "HOME_DIR": "${HOME}"},
        }
    }
    assert result.variables == {
        "WORKSPACE_FOLDER": "in place of ${workspaceFolder}",
        "GH_TOKEN": "GitHub token",
        "HOME": "",
    }
    assert [note.text for note in result.notes if note.kind == "lost"] == [
        '"envFile" is left out: put its variables into "env", or into the environment of metamcp'
    ]


def test_servers_in_the_settings_of_vs_code() -> None:
    result = imported({"editor.fontSize": 12, "mcp": {"servers": {"s": {"command": "x"}}}})
    assert result.document == {"mcpServers": {"s": {"type": "stdio", "command": "x"}}}
    assert result.notes == ()


def test_what_only_a_client_needs_is_left_out_with_a_note() -> None:
    given = {"command": "x", "autoApprove": ["a"], "alwaysAllow": ["b"], "watchPaths": []}
    assert entry(given, "cline") == {"type": "stdio", "command": "x"}
    assert notes(given, "cline") == [
        ("changed", '"autoApprove" is left out: the gateway asks nobody for approval'),
        ("changed", '"alwaysAllow" is left out: the gateway asks nobody for approval'),
        ("lost", '"watchPaths" is left out'),
    ]


def test_what_is_switched_off_stays_off() -> None:
    assert entry({"command": "x", "disabled": True})["disabled"] is True
    assert entry({"command": "x", "enabled": False})["disabled"] is True
    assert "disabled" not in entry({"command": "x", "disabled": False})


def test_tools_that_are_switched_off_stay_off() -> None:
    servers = {"s": {"command": "x", "disabledTools": ["t"]}, "t": {"command": "y"}}
    snapshot = compile_document(imported({"mcpServers": servers}).document)
    assert snapshot.namespaces["default"].servers == ("s", "t")
    assert not snapshot.namespaces["default"].tools["s", "t"].enabled
    assert snapshot.endpoints.keys() == {"default"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"serverUrl": "http://h/"}, {"url": "http://h/"}),
        ({"httpUrl": "http://h/"}, {"url": "http://h/"}),
        ({"url": "http://h/", "transport": "sse"}, {"type": "sse"}),
        ({"url": "http://me:p%40ss@h/x"}, {"url": "http://h/x", "headers": {"Authorization": "Basic bWU6cEBzcw=="}}),
        ({"url": "http://h/", "bearerToken": "t", "headers": {"authorization": "x"}}, {"bearerToken": "t"}),
        ({"command": "x", "args": [1, True, "a"]}, {"args": ["1", "true", "a"]}),
        ({"command": "x", "env": {"A": 1, "B": None}}, {"env": {"A": "1"}}),
        ({"command": "x", "timeout": 60}, {"timeout": 60}),
        ({"command": "x", "timeout": 60000}, {"timeout": 60.0}),
        ({"command": "x", "env": {"A": "${A:-b}"}}, {"env": {"A": "${A:-b}"}}),
        ({"command": "x", "env": {"A": "${command:pick}"}}, {"env": {"A": "$${command:pick}"}}),
        ({"command": "x", "cwd": "${userHome}/a${pathSeparator}b"}, {"cwd": "${HOME}/a/b"}),
        ({"url": "http://${env:HOST}/mcp"}, {"url": "http://${HOST}/mcp"}),
    ],
)
def test_other_ways_to_say_it(given: dict[str, Any], expected: dict[str, Any]) -> None:
    fields = entry(given)
    assert {key: fields.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    "given",
    [
        "text",
        {},
        {"type": "http"},
        {"command": ""},
        {"command": ["x"]},
        {"url": {"a": "${A}"}},
        {"url": "h/${A}"},
        {"url": "ftp://h/"},
        {"url": "http://h/", "headers": {"bad name": "x"}},
        {"command": "x", "env": {"A=B": "secret-value"}},
        {"url": "http://h/", "bearerToken": "secret value"},
    ],
)
def test_an_entry_that_cannot_be_one_of_ours_is_left_out_and_the_others_are_not(given: Any) -> None:
    result = imported({"mcpServers": {"bad": given, "good": {"command": "x"}}})
    assert list(result.document["mcpServers"]) == ["good"]
    assert any(note.kind == "lost" and note.path == "mcpServers.bad" for note in result.notes)
    assert "secret" not in str(result.notes)


@pytest.mark.parametrize(
    ("written", "name"),
    [("a", "a"), ("a b", "a-b"), ("a__b", "a_b"), ("a...b", "a-b"), ("é", "server"), ("@x/y", "x-y"), ("", "server")],
)
def test_a_name_follows_the_rule(written: str, name: str) -> None:
    assert server_name(written) == name


def test_a_name_that_is_taken_gets_a_number() -> None:
    servers = {name: {"command": name} for name in ("a b", "a.b", "a-b")}
    result = imported({"mcpServers": servers}).document["mcpServers"]
    assert {name: given["command"] for name, given in result.items()} == {"a-b": "a b", "a-b-2": "a.b", "a-b-3": "a-b"}


@pytest.mark.parametrize(
    ("text", "told"),
    [("[]", "must be an object"), ("{}", "has no servers"), ('{"a": }', "line 1, column 7"), ('// x\n{"a"}', "line 2")],
)
def test_what_is_no_such_file_is_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        convert(text)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["${A}", "${", "http://h", "// x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ENTRY = st.dictionaries(
    st.sampled_from(["type", "command", "args", "env", "url", "headers", "bearerToken", "timeout", "disabled", "cwd",
                     "disabledTools", "description", "envFile", "x"]),
    JSON | st.sampled_from(["http", "x", "http://h/${A}", "http://u:p@h"]),
)  # fmt: skip


@given(st.dictionaries(st.text(max_size=6), ENTRY, max_size=3), st.sampled_from(["auto", "metamcp", "vscode"]))
def test_whatever_is_imported_compiles(servers: dict[str, Any], format_: Any) -> None:
    class Everything(dict[str, str]):
        def __missing__(self, name: str) -> str:
            return "http://h"

        def __contains__(self, name: object) -> bool:
            return True

    result = imported({"mcpServers": servers}, format_)
    snapshot = compile_document(result.document, environ=Everything())
    assert len(snapshot.servers) + sum("left out" in note.text for note in result.notes) >= len(servers)


@given(JSON, st.sampled_from(["// c\n", "/* c, ] */", " ", "\n"]))
def test_comments_and_trailing_commas_change_nothing(value: Any, between: str) -> None:
    text = json.dumps(value, indent=1)
    written = "".join(f"{line}{between if line.rstrip().endswith(('[', '{')) else ''}\n" for line in text.splitlines())
    assert json.loads(plain_json(written)) == value
    listed = json.dumps([value, "a,]"])
    assert json.loads(plain_json(f"{listed[:-1]},{between}]")) == [value, "a,]"]


def test_the_command_writes_a_file_that_serves(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text(json.dumps(METAMCP))
    command = [str(BIN / "metamcp"), "import", "export.json", "-o", "ours.yaml", "--env-file", ".env"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert "4 servers taken over (read as metamcp)" in done.stderr
    assert 'is now called "a_b"' in done.stderr
    assert "token" not in done.stderr
    assert "bearerToken: ${WEB_TOKEN}" in (tmp_path / "ours.yaml").read_text()
    assert "WEB_TOKEN='token'" in (tmp_path / ".env").read_text()
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (again.returncode, "--force" in again.stderr) == (1, True)


def test_the_command_reads_the_standard_input_and_prints_json(tmp_path: Path) -> None:
    command = [str(BIN / "metamcp"), "import", "-", "--json"]
    text = json.dumps(METAMCP)
    done = subprocess.run(command, cwd=tmp_path, input=text, capture_output=True, text=True, check=True, timeout=60)
    told = json.loads(done.stdout)
    assert told["format"] == "metamcp"
    assert list(told["document"]["mcpServers"]) == ["time", "web", "old", "a_b"]
    assert told["notes"][0]["kind"] == "changed"
