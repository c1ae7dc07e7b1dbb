"""Schemas that move into a document: for any schema, every reference leads to what it led to before."""

from typing import Any
from urllib.parse import unquote

from hypothesis import given, settings
from hypothesis import strategies as st

from metamcp_asgi.downstream.openapi_schema import JSON, Names, adopt
from tests.openapi.test_document import references, resolved

KEYS = ["a", "B/C", "~", "ü x", "$ref", "items", "0"]
POINTERS = [
    "#",
    "#/",
    "#/$defs/a",
    "#/$defs/B~1C",
    "#/$defs/%C3%BC%20x",
    "#/definitions/a",
    "#/$defs/a/properties/a",
    "#/properties/a",
    "#/properties/a/items",
    "#/properties/$ref",
    "#/properties/items",
    "#/items/0",
    "#/prefixItems/0",
    "#/allOf/0",
    "#/allOf/7",
    "#/$defs",
    "#/title",
    "#anchor",
    "other.json#/$defs/a",
    "https://example.com/schema",
]
LEAVES = st.one_of(
    st.builds(lambda pointer: {"$ref": pointer}, st.sampled_from(POINTERS)),
    st.sampled_from([True, {}, {"type": "string", "title": "text"}, {"const": {"$ref": "#/nowhere"}}]),
)


def larger(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    named = st.dictionaries(st.sampled_from(KEYS), schemas, max_size=3)
    several = st.lists(schemas, min_size=1, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "title": st.just("text"),
            "$id": st.just("https://example.com/id"),
            "$defs": named,
            "definitions": named,
            "properties": named,
            "items": st.one_of(schemas, several),
            "prefixItems": several,
            "allOf": several,
        },
    )


SCHEMAS = st.recursive(LEAVES, larger, max_leaves=12).filter(lambda schema: isinstance(schema, dict))


@settings(max_examples=300, deadline=None)
@given(SCHEMAS, SCHEMAS)
def test_every_reference_resolves(one: JSON, two: JSON) -> None:
    schemas: JSON = {"taken": {}}
    names = Names(schemas)
    adopted = [adopt(schema, "taken", schemas, names) for schema in (one, two)]
    document = {"components": {"schemas": schemas}, "adopted": adopted}
    for reference in references(document):
        assert reference.startswith("#/components/schemas/")
        assert isinstance(resolved(document, reference), dict | bool)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(KEYS), min_size=1))
def test_a_reference_leads_to_the_same_definition(definitions: dict[str, str]) -> None:
    schema = {
        "properties": {key: {"$ref": "#/$defs/" + key.replace("~", "~0").replace("/", "~1")} for key in definitions},
        "$defs": {key: {"title": title} for key, title in definitions.items()},
    }
    schemas: JSON = {}
    adopted = adopt(schema, "tool", schemas, Names(schemas))
    document = {"components": {"schemas": schemas}}
    for key, title in definitions.items():
        reference = unquote(adopted["properties"][key]["$ref"])
        assert resolved(document, reference) == {"title": title}


def test_a_reference_into_a_definition_or_to_the_whole() -> None:
    schema = {
        "title": "whole",
        "properties": {"part": {"$ref": "#/$defs/a/properties/b"}, "own": {"$ref": "#/properties/part"}},
        "items": {"$ref": "#"},
        "$defs": {"a": {"properties": {"b": {"title": "b of a"}}}},
    }
    schemas: JSON = {}
    adopted = adopt(schema, "tool", schemas, Names(schemas))
    document = {"components": {"schemas": schemas}}
    whole = resolved(document, adopted["$ref"])
    assert whole["title"] == "whole"
    assert resolved(document, whole["items"]["$ref"]) is whole
    assert resolved(document, whole["properties"]["part"]["$ref"]) == {"title": "b of a"}
    assert resolved(document, whole["properties"]["own"]["$ref"]) == whole["properties"]["part"]


def test_a_very_deep_schema_is_cut() -> None:
    schema: JSON = {}
    for _ in range(500):
        schema = {"items": schema}
    assert str(adopt(schema, "deep", {}, Names({}))).count("items") < 100
