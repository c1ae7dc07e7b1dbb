"""Answers and the forms that they are for: what fits, and what a user is told of what does not."""

from typing import Any

import pytest
from hypothesis import given

from metamcp_asgi.protocol.forms import misfit
from tests.protocol.documents import VALUES

TITLED = [{"const": "r", "title": "Red"}, {"const": "g", "title": "Green"}]
FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 5},
        "mail": {"type": "string", "format": "email"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "weight": {"type": "number"},
        "sure": {"type": "boolean"},
        "size": {"type": "string", "enum": ["S", "M"], "enumNames": ["Small", "Medium"]},
        "colour": {"type": "string", "oneOf": TITLED},
        "many": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 1, "maxItems": 2},
        "titled": {"type": "array", "items": {"anyOf": TITLED}},
        "odd": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["name"],
}
GOOD: dict[str, Any] = {"name": "Anna"}


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"age": 7, "weight": 7, "sure": False},
        {"age": 7.0, "weight": 0.5},
        {"size": "M", "colour": "r", "many": ["a", "c"], "titled": []},
        {"mail": "no address, which is for the server to judge"},
        {"odd": None, "unknown": {"to": ["nobody"]}},
    ],
)
def test_what_fits(content: dict[str, Any]) -> None:
    assert misfit(FORM, GOOD | content) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"name": 5}, "name must be text"),
        ({"name": "A"}, "name must have at least 2 characters"),
        ({"name": "Annabella"}, "name must have at most 5 characters"),
        ({"age": "7"}, "age must be a whole number"),
        ({"age": 7.5}, "age must be a whole number"),
        ({"age": True}, "age must be a whole number"),
        ({"age": -1}, "age must be at least 0"),
        ({"age": 151}, "age must be at most 150"),
        ({"weight": "x"}, "weight must be a number"),
        ({"sure": "true"}, "sure must be true or false"),
        ({"sure": None}, "sure must be true or false"),
        ({"size": "L"}, "size must be one of S, M"),
        ({"colour": "Red"}, "colour must be one of r, g"),
        ({"many": "a"}, "many must be a list"),
        ({"many": []}, "many must have at least 1 of them"),
        ({"many": ["a", "b", "c"]}, "many must have at most 2 of them"),
        ({"many": ["d"]}, "many must only have one of a, b, c"),
        ({"titled": ["Red"]}, "titled must only have one of r, g"),
    ],
)
def test_what_does_not_fit(content: dict[str, Any], reason: str) -> None:
    assert misfit(FORM, GOOD | content) == reason


@pytest.mark.parametrize("content", [None, {}, {"age": 7}])
def test_what_is_required(content: Any) -> None:
    assert misfit(FORM, content) == "name is missing"


def test_a_content_that_is_no_object() -> None:
    assert misfit(FORM, [1]) == "content must be an object"


def test_only_some_of_many_choices_are_named() -> None:
    field = {"type": "string", "enum": [str(number) for number in range(15)]}
    reason = misfit({"properties": {"n": field}}, {"n": "x"})
    assert reason == "n must be one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 or 5 others"


@given(schema=VALUES, content=VALUES)
def test_a_schema_that_is_none_is_no_reason_to_fail(schema: Any, content: Any) -> None:
    misfit(schema, content)
    misfit({"properties": {"a": schema}, "required": schema}, {"a": content})


@pytest.mark.parametrize("member", ["minLength", "maxLength", "enum", "oneOf", "type"])
@given(value=VALUES)
def test_nor_is_a_field_that_is_odd(member: str, value: Any) -> None:
    misfit({"properties": {"a": {"type": "string", member: value}}}, {"a": "x"})
