"""What servers ask, in the words of the client's revision, and the answers in the server's (eras.md 2.6, 2.17)."""

import json
from typing import Any

import pytest
from mcp_types import methods
from msgspec import Raw

from metamcp_asgi.protocol.downgrade_questions import answer_for, question_for
from metamcp_asgi.protocol.revisions import LEGACY

C25, B25, A25, C24 = LEGACY
ELICIT, SAMPLE, ROOTS = "elicitation/create", "sampling/createMessage", "roots/list"

CHOICES = [{"const": "r", "title": "Red"}, {"const": "g", "title": "Green"}]
FORM = {
    "mode": "form",
    "message": "Which?",
    "requestedSchema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "mail": {"type": "string", "format": "email", "default": "a@b.c", "title": "Mail"},
            "age": {"type": "integer", "minimum": 1, "default": 5},
            "sure": {"type": "boolean", "default": True},
            "plain": {"type": "string", "enum": ["a", "b"], "default": "a"},
            "named": {"type": "string", "enum": ["a", "b"], "enumNames": ["A", "B"]},
            "colour": {"type": "string", "oneOf": CHOICES, "description": "Pick"},
        },
        "required": ["mail"],
    },
}
MANY = {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}
URL = {"mode": "url", "message": "Open", "url": "https://example.com/a"}


def question(revision: str, method: str, params: Any) -> Any:
    changed = question_for(revision, method, json.dumps(params).encode())
    return None if changed is None else json.loads(bytes(changed))


def sampling(*contents: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content} for content in contents], "maxTokens": 5, **more}


TEXT = {"type": "text", "text": "Hi"}
AUDIO = {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"}
USE = {"type": "tool_use", "id": "1", "name": "t", "input": {}}


def test_a_form_of_june_2025() -> None:
    assert question(B25, ELICIT, FORM) == {
        "message": "Which?",
        "requestedSchema": {
            "type": "object",
            "properties": {
                "mail": {"type": "string", "title": "Mail", "format": "email"},
                "age": {"type": "integer", "minimum": 1},
                "sure": {"type": "boolean", "default": True},
                "plain": {"type": "string", "enum": ["a", "b"]},
                "named": {"type": "string", "enum": ["a", "b"], "enumNames": ["A", "B"]},
                "colour": {"type": "string", "description": "Pick", "enum": ["r", "g"], "enumNames": ["Red", "Green"]},
            },
            "required": ["mail"],
        },
    }


def test_a_form_of_november_2025_is_as_the_latest() -> None:
    assert question(C25, ELICIT, FORM) == FORM
    several = {**FORM, "requestedSchema": {"type": "object", "properties": {"many": MANY}}}
    assert question(C25, ELICIT, several) == several


@pytest.mark.parametrize("field", [MANY, {"type": "object"}, {"anyOf": []}, 5, {"type": ["string"]}])
def test_a_field_that_june_2025_cannot_have_is_not_asked_for(field: Any) -> None:
    assert (
        question(B25, ELICIT, {"message": "m", "requestedSchema": {"type": "object", "properties": {"f": field}}})
        is None
    )


@pytest.mark.parametrize("revision", [A25, C24])
def test_older_revisions_have_no_elicitation(revision: str) -> None:
    assert question(revision, ELICIT, FORM) is None
    assert question(revision, ELICIT, URL) is None


def test_a_url_has_an_id_in_november_2025_only() -> None:
    assert question(B25, ELICIT, URL) is None
    first, second = question(C25, ELICIT, URL), question(C25, ELICIT, URL)
    assert {**first, "elicitationId": None} == {**URL, "elicitationId": None}
    assert len(first["elicitationId"]) >= 16
    assert first["elicitationId"] != second["elicitationId"]
    assert question(C25, ELICIT, {**URL, "elicitationId": "own"})["elicitationId"] == "own"


@pytest.mark.parametrize("revision", LEGACY)
def test_fields_of_one_hop_are_left_out(revision: str) -> None:
    params = sampling(TEXT, task={"ttl": 5}, _meta={"progressToken": 1, "own": 2})
    assert question(revision, SAMPLE, params) == sampling(TEXT, _meta={"own": 2})
    assert question(revision, ROOTS, {"_meta": {"progressToken": 1}}) == {}


@pytest.mark.parametrize("revision", LEGACY)
def test_messages_of_sampling(revision: str) -> None:
    newest = revision == C25
    several = sampling([TEXT, TEXT], TEXT)
    assert question(revision, SAMPLE, several) == (several if newest else sampling(TEXT, TEXT, TEXT))
    assert (question(revision, SAMPLE, sampling(AUDIO)) is None) == (revision == C24)
    assert (question(revision, SAMPLE, sampling([USE])) is None) != newest
    with_tools = sampling(TEXT, tools=[{"name": "t", "inputSchema": {"type": "object"}}])
    assert question(revision, SAMPLE, with_tools) == (with_tools if newest else None)
    assert question(revision, SAMPLE, sampling(TEXT, tools=[], toolChoice={"mode": "none"})) is not None


@pytest.mark.parametrize("revision", [B25, C25])
@pytest.mark.parametrize(
    ("method", "params"), [(ELICIT, FORM), (SAMPLE, sampling(TEXT)), (ROOTS, {})], ids=["form", "sampling", "roots"]
)
def test_the_sdk_reads_what_a_client_of_the_revision_is_asked(revision: str, method: str, params: Any) -> None:
    asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": question(revision, method, params)}
    assert methods.parse_server_request(method, revision, asked["params"]) is not None


@pytest.mark.parametrize("server", LEGACY)
def test_answers_in_the_words_of_the_server(server: str) -> None:
    def answered(content: Any) -> Any:
        result = {"role": "assistant", "model": "m", "content": content, "stopReason": "endTurn"}
        changed = answer_for(server, SAMPLE, Raw(json.dumps(result).encode()))
        return None if changed is None else json.loads(bytes(changed))["content"]

    newest = server == C25
    assert answered(TEXT) == TEXT
    assert answered([TEXT]) == ([TEXT] if newest else TEXT)
    assert answered([TEXT, TEXT]) == ([TEXT, TEXT] if newest else {"type": "text", "text": "Hi\nHi"})
    assert answered([TEXT, USE]) == ([TEXT, USE] if newest else None)
    given = Raw(b'{"action":"accept","content":{"a":["x"]}}')
    assert answer_for(server, ELICIT, given) is given
