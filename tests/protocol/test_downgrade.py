"""What clients of older revisions are given, read by SDKs of their time (eras.md 2.17, check 50)."""

import json
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from metamcp_asgi.protocol import downgrade
from metamcp_asgi.protocol.revisions import LEGACY
from tests.places import ROOT, client_python

C25, B25, A25, C24 = LEGACY
SDK_OF = {C24: "mcp-1.8.1", B25: "mcp-1.12.4", C25: "mcp-1.30.0"}
"""The release of the Python SDK whose types are those of a revision."""

TEXT = {"type": "text", "text": "words"}
IMAGE = {"type": "image", "data": "AAAA", "mimeType": "image/png"}
AUDIO = {"type": "audio", "data": "AAAA", "mimeType": "audio/wav", "annotations": {"audience": ["user"]}}
LINK = {
    "type": "resource_link",
    "uri": "https://example.com/a",
    "name": "a",
    "title": "The A",
    "description": "All of it",
    "mimeType": "text/plain",
}
EMBEDDED = {"type": "resource", "resource": {"uri": "x://a", "text": "..."}}


def problems(revision: str, *documents: tuple[str, Any]) -> list[str]:
    """Returns what the SDK of a revision says of documents, each with the name of its type."""
    script = ROOT / "tests/protocol/validate_types.py"
    ran = subprocess.run(
        [client_python(SDK_OF[revision]), script],
        input=json.dumps(documents),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: list[str] = json.loads(ran.stdout)
    return found


def tool_result(content: Any, revision: str, **more: Any) -> Any:
    raw = json.dumps({"content": content, **more}).encode()
    return json.loads(bytes(downgrade.result(Raw(raw), "tools/call", revision)))


def prompt_result(content: Any, revision: str) -> Any:
    raw = json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
    return json.loads(bytes(downgrade.result(raw, "prompts/get", revision)))


def item(revision: str, members: dict[str, Any], method: str = "tools/list") -> Any:
    return json.loads(downgrade.item(json.dumps(members).encode(), method, revision))


@pytest.mark.parametrize("revision", [C24, B25, C25])
def test_check_50_the_sdk_of_the_revision_reads_every_kind_of_content(revision: str) -> None:
    blocks = [TEXT, IMAGE, AUDIO, LINK, EMBEDDED]
    given = [
        ("CallToolResult", tool_result(blocks, revision, structuredContent=[1])),
        ("CallToolResult", tool_result([], revision, structuredContent="alone")),
        *(("GetPromptResult", prompt_result(block, revision)) for block in blocks),
    ]
    assert problems(revision, *given) == [""] * len(given)


def test_check_50_which_those_sdks_would_refuse_as_it_is() -> None:
    refused = problems(
        C24,
        ("CallToolResult", {"content": [AUDIO]}),
        ("CallToolResult", {"content": [LINK]}),
        ("GetPromptResult", {"messages": [{"role": "user", "content": AUDIO}]}),
    )
    assert all(refused), refused
    for revision in (B25, C25):
        assert all(problems(revision, ("CallToolResult", {"content": [], "structuredContent": [1]})))


@pytest.mark.parametrize(
    ("revision", "told"),
    [(C24, {"audio", "resource_link"}), (A25, {"resource_link"}), (B25, set()), (C25, set())],
)
def test_blocks_that_a_revision_lacks_are_told_in_words(revision: str, told: set[str]) -> None:
    for block in (TEXT, IMAGE, AUDIO, LINK, EMBEDDED):
        [changed] = tool_result([block], revision)["content"]
        assert prompt_result(block, revision)["messages"][0] == {"role": "user", "content": changed}
        if block["type"] not in told:
            assert changed == block
            continue
        assert changed["type"] == "text"
        assert changed.get("annotations") == block.get("annotations")
        if block is LINK:
            for word in ("The A", "https://example.com/a", "All of it", "text/plain"):
                assert word in changed["text"]
        else:
            assert "audio/wav" in changed["text"]
            assert "3 bytes" in changed["text"]
            assert "AAAA" not in changed["text"]


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], "x", 1.5, True, None, {"result": [1]}, {"result": "words"}])
@pytest.mark.parametrize("revision", LEGACY)
def test_structured_content(revision: str, value: Any) -> None:
    result = tool_result([], revision, structuredContent=value, isError=False)
    assert result["isError"] is False
    if revision in (B25, C25) and isinstance(value, dict):
        assert result == {"content": [], "structuredContent": value, "isError": False}
    else:
        assert "structuredContent" not in result
        [block] = result["content"] if value is not None or result["content"] else [{"type": "text", "text": "null"}]
        assert json.loads(block["text"]) == value


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ({"a": [1, 2]}, ['{"a": [1,2]}']),
        ([1, 2], ["Two numbers", "[1, 2]"]),
        ({"result": "hello"}, ["hello"]),
        ({"result": 5}, ["5"]),
        ({"content": "a file\n"}, ["a file\n"]),
        ({"result": ["a", "b"]}, ["a", "b"]),
        ({"result": [{"a": 1}, {"b": 2}]}, ['{"a": 1}', '{"b": 2}']),
        (["a", "b"], ["a", "b"]),
        ("hello", ["hello"]),
    ],
)
def test_structured_content_that_the_text_says_already_is_not_said_again(value: Any, texts: list[str]) -> None:
    content = [{"type": "text", "text": text} for text in texts]
    assert tool_result(content, A25, structuredContent=value) == {"content": content}


@pytest.mark.parametrize("texts", [[], ["Two rows were found"], ["a"], ['{"rows": [1]}']])
def test_structured_content_that_no_text_says_is_not_lost(texts: list[str]) -> None:
    content = [{"type": "text", "text": text} for text in texts]
    *before, last = tool_result(content, A25, structuredContent={"rows": [1, 2]})["content"]
    assert before == content
    assert json.loads(last["text"]) == {"rows": [1, 2]}


def test_structured_content_keeps_its_numbers() -> None:
    raw = b'{"content":[],"structuredContent":[123456789012345678901234567890, 1.10]}'
    [block] = json.loads(bytes(downgrade.result(raw, "tools/call", C25)))["content"]
    assert block["text"] == "[123456789012345678901234567890, 1.10]"


@pytest.mark.parametrize("revision", LEGACY)
@pytest.mark.parametrize(
    ("method", "raw"),
    [
        ("tools/call", b'{ "content" : [ {"type":"text","text":"\\"audio\\" \\"structuredContent\\": 5"} ] }'),
        ("tools/call", b'{"content":{"type":"audio"}}'),
        ("tools/call", b'{"content":["audio"],"x":"audio"}'),
        ("prompts/get", b'{"messages":"audio"}'),
        ("prompts/get", b'{"messages":[{"role":"audio"}]}'),
        ("resources/read", b'{"contents":[{"uri":"x://a","text":"a","name":"audio","structuredContent":[]}]}'),
        ("completion/complete", b'{"completion":{"values":["audio","resource_link"]}}'),
    ],
)
def test_what_needs_no_change_or_is_not_mcp_stays_as_it_is(revision: str, method: str, raw: bytes) -> None:
    given = Raw(raw)
    assert downgrade.result(given, method, revision) is given


TOOL: dict[str, Any] = {
    "name": "t",
    "title": "T",
    "description": "d",
    "inputSchema": {"type": "object", "properties": {"title": {"title": "Title"}}},
    "outputSchema": {"type": "object"},
    "annotations": {"readOnlyHint": True},
    "icons": [{"src": "https://example.com/i.png"}],
    "execution": {"taskSupport": "optional"},
    "_meta": {"ui": {"resourceUri": "ui://t"}},
    "com.example/own": 1,
}


@pytest.mark.parametrize(
    ("revision", "lacks"),
    [
        (C25, set()),
        (B25, {"icons", "execution"}),
        (A25, {"icons", "execution", "title", "_meta", "outputSchema"}),
        (C24, {"icons", "execution", "title", "_meta", "outputSchema", "annotations"}),
    ],
)
def test_members_of_a_tool(revision: str, lacks: set[str]) -> None:
    assert item(revision, TOOL) == {name: value for name, value in TOOL.items() if name not in lacks}


def test_annotations_of_resources_are_older_than_those_of_tools() -> None:
    resource = {"uri": "x://a", "name": "a", "annotations": {"priority": 1}, "title": "A"}
    assert item(C24, resource, "resources/list") == {k: v for k, v in resource.items() if k != "title"}


@pytest.mark.parametrize("revision", LEGACY)
def test_a_line_that_has_nothing_new_is_not_written_again(revision: str) -> None:
    line = b'{ "name": "t", "inputSchema": {"type":"object","properties":{"title":{"icons":1}}} }'
    assert downgrade.item(line, "tools/list", revision) is line


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (None, True),
        (b'{"type":"object"}', True),
        (b'{"properties":{}, "type" : "object"}', True),
        (b'{"type":"array","items":{"type":"object"}}', False),
        (b'{"anyOf":[{"type":"object"}]}', False),
        (b'{"type":["object","null"]}', False),
        (b"true", False),
        (b"null", False),
    ],
)
def test_schemas_that_legacy_revisions_take(schema: bytes | None, expected: bool) -> None:
    assert downgrade.object_schema(None if schema is None else Raw(schema)) is expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["audio", "resource_link"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "content", "x"]), inner)
    ),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=3) | JSON, JSON, st.sampled_from(LEGACY))
def test_whatever_a_server_says_something_comes_out(content: Any, structured: Any, revision: str) -> None:
    for method, raw in (
        ("tools/call", {"content": content, "structuredContent": structured}),
        ("prompts/get", {"messages": content}),
    ):
        changed = downgrade.result(json.dumps(raw).encode(), method, revision)
        assert isinstance(json.loads(bytes(changed)), dict)
