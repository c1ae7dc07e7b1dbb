"""From the text of a configuration file to plain values: JSON by the standard library, YAML by PyYAML.

Stricter than both: a key that is given twice, of which either parser silently drops one, is an error.
Knows nothing of what the keys mean. PyYAML is imported only when a YAML file is read.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NoReturn

from metamcp_asgi.config.node import step
from metamcp_asgi.errors import ConfigError

if TYPE_CHECKING:
    import yaml

__all__ = ["parse_json", "parse_yaml"]

MAX_DEPTH: Final = 64
"""Levels of nesting that a document may have. Ours needs ten; libyaml's composer overflows the C stack on thousands."""


def parse_json(text: str, source: str = "") -> object:
    """Return the value of a JSON document.

    Args:
        text: The document; a byte order mark is already gone.
        source: The file's name, for errors.

    Raises:
        ConfigError: The text isn't JSON (with line and column), or repeats a key (with its path).
    """
    try:
        document: object = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ConfigError(f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})", source=source) from None
    except RecursionError:
        raise ConfigError("is nested too deeply", source=source) from None
    except ValueError as error:  # NaN, or more digits than an int may have
        raise ConfigError(f"not JSON: {error}", source=source) from None
    _check_repeated(document, "", 0, source)
    return document


def parse_yaml(text: str, source: str = "") -> object:
    """Return the value of a YAML document, which may use anchors and merge keys but no application's own tags.

    Args:
        text: The document.
        source: The file's name, for errors.

    Raises:
        ConfigError: The text isn't YAML (with line and column), or repeats a key (with its path).
    """
    import yaml

    loader_class = _yaml_loader()
    try:
        _check_depth(yaml.parse(text, Loader=loader_class), source)
        loader = loader_class(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_unique(node, "", set(), source)
            document: object = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"not YAML: {error.problem}{_at(error.problem_mark)}", source=source) from None
    except yaml.YAMLError as error:
        # The reader's errors have no mark, and only their first line is free of the text itself.
        raise ConfigError(f"not YAML: {str(error).splitlines()[0]}", source=source) from None
    except (ValueError, LookupError):  # an explicit tag on a text that it doesn't fit, as in `!!int many`
        raise ConfigError("not YAML: a value does not fit its explicit tag (!!...)", source=source) from None
    return document


class _Repeated(dict[str, Any]):
    """An object of which ``key`` was given twice; the parser doesn't know its path yet."""

    key: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    repeated = _Repeated(plain)
    seen: set[str] = set()
    repeated.key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return repeated


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _check_repeated(value: object, path: str, depth: int, source: str) -> None:
    if depth > MAX_DEPTH:
        raise ConfigError("is nested too deeply", source=source)
    if isinstance(value, _Repeated):
        raise ConfigError("is given twice; keep one of them", path=step(path, value.key), source=source)
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_repeated(inner, step(path, key), depth + 1, source)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_repeated(inner, f"{path}[{index}]", depth + 1, source)


@cache
def _yaml_loader() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    # Dates stay text: JSON has none, and `2025-11-25` in a description or an argument means itself.
    resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:timestamp"]
        for first, pairs in base.yaml_implicit_resolvers.items()
    }
    constructors = {
        tag: construct
        for tag, construct in base.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in {"null", "bool", "int", "float", "str", "seq", "map"}
    }
    return type("Loader", (base,), {"yaml_implicit_resolvers": resolvers, "yaml_constructors": constructors})


def _check_depth(events: "Iterator[yaml.Event]", source: str) -> None:
    import yaml

    depth = 0
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise ConfigError(f"is nested too deeply{_at(event.start_mark)}", source=source)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_unique(node: "yaml.Node", path: str, seen: set[int], source: str) -> None:
    import yaml

    if id(node) in seen:  # an alias: checked where its anchor is
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, inner in enumerate(node.value):
            _check_unique(inner, f"{path}[{index}]", seen, source)
    elif isinstance(node, yaml.MappingNode):
        keys: set[tuple[str, str]] = set()
        for key, inner in node.value:
            inner_path = path
            if isinstance(key, yaml.ScalarNode):
                inner_path = step(path, key.value)
                if (key.tag, key.value) in keys:
                    reason = f"is given twice{_at(key.start_mark)}; keep one of them"
                    raise ConfigError(reason, path=inner_path, source=source)
                keys.add((key.tag, key.value))
            _check_unique(inner, inner_path, seen, source)


def _at(mark: Any) -> str:
    return f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
