"""What a server calls a thing, and what an endpoint calls it: the way there and back."""

import re
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metamcp_asgi.protocol import names, uris
from tests.protocol.documents import TEXT

# As the configuration admits them; one that ends in "_" is looked up by its whole published name, never split.
SERVERS = st.from_regex(r"[a-zA-Z0-9_-]*[a-zA-Z0-9-]", fullmatch=True).filter(lambda name: "__" not in name)
URIS = st.text(st.characters(codec="utf-8"), min_size=1).map(
    lambda tail: tail if re.match("[a-zA-Z0-9_-]+[+]", tail) is None else f"x:{tail}"
)


@given(SERVERS, TEXT.filter(bool))
@example("outer", "inner__tool")
@example("a", "_tool")
@example("a", "__tool")
def test_a_published_name_splits_into_its_server_and_the_servers_name(server: str, name: str) -> None:
    assert names.split(names.qualify(server, name)) == (server, name)


@pytest.mark.parametrize("name", ["", "tool", "a_tool", "__", "__tool", "server__"])
def test_a_name_without_both_parts_does_not_split(name: str) -> None:
    assert names.split(name) is None


@given(TEXT)
def test_a_sanitized_server_name_has_only_characters_of_tool_names(name: str) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_-]*", names.sanitize(name))
    assert names.sanitize(names.sanitize(name)) == names.sanitize(name)


@given(SERVERS, TEXT | st.sampled_from(["ui://panel", "file:///a+b", "a+b", "ui://", "ui://x+y", "+", "{+path}"]))
def test_a_published_uri_leads_back_to_its_server_and_uri(server: str, uri: str) -> None:
    published = uris.qualify(server, uri)
    assert uris.unqualify(published) == (server, uri)
    assert published.startswith("ui://") == uri.startswith("ui://")


@given(TEXT)
@example("ui://a+b")
def test_a_uri_is_only_taken_apart_if_it_could_have_been_published(uri: str) -> None:
    if (parts := uris.unqualify(uri)) is not None:
        assert uris.qualify(*parts) == uri


VARIABLES = {
    "var": "value",
    "hello": "Hello World!",
    "path": "/foo/bar",
    "empty": "",
    "x": "1024",
    "reserved": "a/b?c=d&e#f",
    "dashes": "a-b-c.txt",
    "accent": "é😀",
}
_RESERVED = ":/?#[]@!$&'()*+,;="


def expand(operator: str, variables: list[str], values: dict[str, str]) -> str:
    """Returns the expansion of one expression of string variables: RFC 6570, appendix A."""
    safe = "-._~" + (_RESERVED if operator in ("+", "#") else "")
    defined = [(name, quote(values[name], safe=safe)) for name in variables if name in values]
    if not defined:
        return ""
    first = {"": "", "+": ""}.get(operator, operator)
    between = {"": ",", "+": ",", "#": ",", "?": "&"}.get(operator, operator)
    if operator in (";", "?", "&"):
        empty = "" if operator == ";" else "="
        parts = [f"{name}={value}" if value else f"{name}{empty}" for name, value in defined]
    else:
        parts = [value for _, value in defined]
    return first + between.join(parts)


_OPERATORS = st.sampled_from(["", "", "", "+", "#", ".", "/", ";", "?", "&"])
_EXPRESSIONS = st.tuples(_OPERATORS, st.lists(st.sampled_from([*VARIABLES, "undefined"]), min_size=1, max_size=2))
_LITERALS = st.sampled_from(
    ["", "/", "-", "a", "--", "/a", "-/", ".txt", "x/y", "?q=", "*", "(", "}", "é", "aXa", "%20"]
)
_VALUES = st.fixed_dictionaries(
    {name: st.just(value) | st.text("ab-/.X", max_size=6) for name, value in VARIABLES.items()}
)


@given(st.lists(_LITERALS | _EXPRESSIONS, max_size=8), _VALUES)
@example([("", ["x"]), "x", ("/", ["var"])], {"x": "1x2", "var": "3"})
@example([("+", ["path"]), "/", ("", ["x"])], {"path": "a/b", "x": "c"})
@example([("", ["x"]), "-", ("", ["var"]), "-"], {"x": "---", "var": "-"})
def test_a_template_matches_every_uri_that_it_expands_to(
    parts: list[str | tuple[str, list[str]]], values: dict[str, str]
) -> None:
    template = "s://" + "".join(
        part if isinstance(part, str) else f"{{{part[0]}{','.join(part[1])}}}" for part in parts
    )
    uri = "s://" + "".join(part if isinstance(part, str) else expand(*part, values) for part in parts)
    assert uris.template_pattern(template).fullmatch(uri), (template, uri)


@pytest.mark.parametrize(
    ("template", "others"),
    [
        (
            "file:///logs/{name}",
            ["file:///logs/a/b", "file:///log/a", "file:///logs", "xfile:///logs/a", "file:///logs/a?b"],
        ),
        (
            "db://{table}/rows/{id}",
            ["db://a/rows", "db://a/b/rows/1", "db://a/rows/1/2", "db://a/cols/1", "db:///rows/1#x"],
        ),
        ("plain://a.b", ["plain://aXb", "plain://a.bc"]),
        ("x://{a}{?q}", ["x://a/b", "x://a#b"]),
        ("x://{a}/b{/path}{?q}", ["x://a/bc", "x://a/c", "x://a/b#c"]),
        ("x://{a}-{b}{/path}", ["x://a/b-c", "x://a-b?c"]),
        ("x://a.{+rest}", ["x://ab", "x://b.c"]),
    ],
)
def test_a_template_matches_nothing_else(template: str, others: list[str]) -> None:
    pattern = uris.template_pattern(template)
    assert [uri for uri in others if pattern.fullmatch(uri)] == []


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "template",
    [
        "x://{a}-{b}-{c}-{d}!",
        "x://{a}{b}{c}{d}!",
        "x://{+a}-{+b}-{c}-{/d}!",
        "x://{a}--{b}--{c}!",
        "x://" + "{a}-" * 500 + "!",
        "x://{" + "{" * 100_000,
    ],
    ids=["divided", "adjacent", "mixed", "long", "many", "open"],
)
def test_no_template_of_a_server_makes_a_uri_of_a_client_expensive(template: str) -> None:
    pattern = uris.template_pattern(template)
    for uri in ("x://" + "-" * 200_000, "x://" + "a-" * 100_000, "x://" + "/" * 200_000):
        assert pattern.fullmatch(uri) is None


@given(st.text(st.sampled_from("{}+*()[]|\\\\ab?.^$"), max_size=30))
def test_text_outside_of_expressions_means_itself(template: str) -> None:
    # An expression without variables expands to nothing, whatever a server meant by it.
    literal = re.sub(r"\{[^{}]*\}", "", template)
    assert uris.template_pattern(template).fullmatch(literal)
