"""A tool's JSON Schema made at home in an OpenAPI document, where ``#`` is the document and no longer the schema.

Definitions move to ``components/schemas`` and every ``$ref`` to where its target is now, so that each resolves. Nothing
is ever fetched: a reference that leads out of the schema, or to nowhere, is taken away, which allows anything there.
Knows nothing of tools. Sources: OpenAPI 3.1.1 section 4.8.24, JSON Schema 2020-12 core sections 7 and 8.
"""

import re
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

__all__ = ["JSON", "Names", "adopt"]

JSON: TypeAlias = dict[str, Any]

MAX_DEPTH: Final = 64
"""How deep a schema may be nested; what is deeper allows anything."""

_DEFINITIONS: Final = ("$defs", "definitions")
_MAPS: Final = frozenset((*_DEFINITIONS, "properties", "patternProperties", "dependentSchemas"))
"""Keywords whose value has schemas under names that are no keywords."""
_DATA: Final = frozenset(("const", "default", "enum", "example", "examples"))
"""Keywords whose value is data, in which ``$ref`` means nothing."""
_IDENTITY: Final = frozenset(("$schema", "$id", "id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef"))
"""Keywords that would give the references of a part of the document another base, or look for a target by its name."""
_NOT_IN_A_KEY: Final = re.compile(r"[^a-zA-Z0-9._-]")


class Names:
    """Names for components, each given once.

    Args:
        taken: Names that are not free.
    """

    def __init__(self, taken: JSON) -> None:
        self._taken = set(taken)

    def new(self, wish: str) -> str:
        """Return ``wish`` in the characters of a component's name, with a number where that is taken."""
        name = base = _NOT_IN_A_KEY.sub("_", wish)
        number = 1
        while name in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name)
        return name


def adopt(schema: Any, name: str, schemas: JSON, names: Names) -> JSON:
    """Return a schema as it can stand anywhere in the document.

    Args:
        schema: A decoded JSON Schema; what is no object stands for ``{"type": "object"}``, which MCP demands.
        name: What the components that it needs are called after.
        schemas: The ``components/schemas`` of the document, to which they are added.
        names: Gives them their names.
    """
    if not isinstance(schema, dict):
        return {"type": "object"}
    return _Adoption(schema, name, schemas, names).result()


class _Adoption:
    def __init__(self, schema: JSON, name: str, schemas: JSON, names: Names) -> None:
        self._schema = schema
        self._name = name
        self._schemas = schemas
        self._names = names
        self._moved: dict[tuple[str, str], str] = {}
        self._root = ""

    def result(self) -> JSON:
        definitions = {
            (keyword, key): value
            for keyword in _DEFINITIONS
            if isinstance(self._schema.get(keyword), dict)
            for key, value in self._schema[keyword].items()
        }
        self._moved = {place: self._names.new(f"{self._name}_{place[1]}") for place in definitions}
        for place, value in definitions.items():
            self._schemas[self._moved[place]] = self._adopted(value, 1)
        rest = self._adopted({key: value for key, value in self._schema.items() if key not in _DEFINITIONS}, 0)
        assert isinstance(rest, dict)
        if not self._root:
            return rest
        # It refers to itself as a whole, or to one of its parts: so it needs an address.
        self._schemas[self._root] = rest
        return {"$ref": f"#/components/schemas/{self._root}"}

    def _adopted(self, node: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            return {}
        if isinstance(node, list):
            return [self._adopted(item, depth + 1) for item in node]
        if not isinstance(node, dict):
            return node
        adopted: JSON = {}
        for key, value in node.items():
            if key in _IDENTITY and isinstance(value, str):
                continue
            if key == "$ref":
                if (target := self._target(value)) is not None:
                    adopted[key] = target
            elif key in _DATA:
                adopted[key] = value
            elif key in _MAPS and isinstance(value, dict):
                adopted[key] = {name: self._adopted(item, depth + 1) for name, item in value.items()}
            elif key == "items" and isinstance(value, list):
                # Tuples as they were written before 2020-12.
                adopted["prefixItems"] = self._adopted(value, depth + 1)
                if "additionalItems" in node:
                    adopted["items"] = self._adopted(node["additionalItems"], depth + 1)
            elif key != "additionalItems":
                adopted[key] = self._adopted(value, depth + 1)
        return adopted

    def _target(self, reference: Any) -> str | None:
        """Return where the target of a reference is in the document, ``None`` when it has none in this schema."""
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            return None
        pointer = [unquote(part).replace("~1", "/").replace("~0", "~") for part in reference.split("/")[1:]]
        if not _leads_to_schema(self._schema, pointer):
            return None
        if len(pointer) > 1 and (moved := self._moved.get((pointer[0], pointer[1]))) is not None:
            rest = reference.split("/")[3:]
        else:
            self._root = moved = self._root or self._names.new(self._name)
            rest = reference.split("/")[1:]
        return "/".join(("#/components/schemas", moved, *rest))


def _leads_to_schema(node: Any, pointer: list[str]) -> bool:
    if (len(pointer) == 1 and pointer[0] in _DEFINITIONS) or len(pointer) >= MAX_DEPTH:
        return False
    for part in pointer:
        if isinstance(node, dict) and part in node:
            if part == "additionalItems" or (part == "items" and isinstance(node[part], list)):
                # A tuple of the old form, which has another place in the document.
                return False
            node = node[part]
        elif isinstance(node, list) and part.isdecimal() and int(part) < len(node):
            node = node[int(part)]
        else:
            return False
    return isinstance(node, dict | bool)
