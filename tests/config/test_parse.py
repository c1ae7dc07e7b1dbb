"""The text of a configuration: what the parsers refuse, and where they say it is."""

from collections.abc import Callable

import pytest

from metamcp_asgi.config.parse import parse_json, parse_yaml
from metamcp_asgi.errors import ConfigError


@pytest.mark.parametrize(
    ("parse", "text", "path", "reason"),
    [
        (parse_json, '{"a": 1, "b": 2, "a": 3}', "a", "given twice"),
        (parse_json, '{"x": [{}, {"y": {"a.b": 1, "a.b": 1}}]}', 'x[1].y["a.b"]', "given twice"),
        (parse_json, '{"a": 1,}', "", "column"),
        (parse_json, "", "", "line 1, column 1"),
        (parse_json, "NaN", "", "NaN is not a JSON number"),
        (parse_json, "[-Infinity]", "", "-Infinity is not a JSON number"),
        (parse_json, "9" * 5000, "", "not JSON"),
        (parse_json, "[" * 100 + "]" * 100, "", "nested too deeply"),
        (parse_json, "[" * 200_000, "", "nested too deeply"),
        (parse_json, '{"a":' * 200_000, "", "nested too deeply"),
        (parse_yaml, "a: 1\nb: 2\na: 3\n", "a", "given twice (line 3, column 1)"),
        (parse_yaml, "x:\n - {}\n - y: {a b: 1, a b: 2}\n", 'x[1].y["a b"]', "given twice (line 3"),
        (parse_yaml, "a: b: c", "", "line 1, column 5"),
        (parse_yaml, "a: 1\n--- \nb: 2\n", "", "line 2, column 1"),
        (parse_yaml, "a: *b", "", "line 1, column 4"),
        (parse_yaml, "? [a]\n: b", "", "line 1, column 3"),
        (parse_yaml, "a: !!python/object/apply:os.getcwd []", "", "constructor for the tag"),
        (parse_yaml, "a: !vault x", "", "constructor for the tag '!vault'"),
        (parse_yaml, "a: !!timestamp x", "", "constructor for the tag"),
        (parse_yaml, "a: !!int many", "", "explicit tag"),
        (parse_yaml, "a: !!bool many", "", "explicit tag"),
        (parse_yaml, "a: \x01", "", "not YAML"),
        (parse_yaml, "[" * 200_000, "", "nested too deeply (line 1, column 65)"),
        (parse_yaml, "- " * 200_000, "", "nested too deeply"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_a_text_that_is_refused(parse: Callable[[str, str], object], text: str, path: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "file")
    assert caught.value.path == path
    assert caught.value.source == "file"
    assert reason in caught.value.reason
    assert "\n" not in str(caught.value)


def test_yaml_anchors_and_merge_keys_save_typing() -> None:
    text = "base: &base {a: 1, b: 2}\nother:\n  <<: *base\n  b: 3\nlist: [*base, *base]\n"
    assert parse_yaml(text) == {
        "base": {"a": 1, "b": 2},
        "other": {"a": 1, "b": 3},
        "list": [{"a": 1, "b": 2}] * 2,
    }


def test_a_yaml_date_stays_the_text_that_was_written() -> None:
    assert parse_yaml("revision: 2025-11-25") == {"revision": "2025-11-25"}


def test_a_yaml_anchor_inside_itself_ends() -> None:
    document = parse_yaml("a: &a\n  b: *a\n")
    assert isinstance(document, dict)


def test_yaml_without_a_document_is_null() -> None:
    assert parse_yaml("# nothing\n") is None
