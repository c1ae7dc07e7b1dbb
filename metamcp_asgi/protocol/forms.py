"""Whether what a user filled in fits the form that a server asked with (eras.md 2.6 rule 4, EL-07).

Forms are flat: fields of text, numbers, yes or no, and choices. What a schema says beyond that is not judged, nor is
``format``, which is an annotation in JSON Schema; the server that asked knows best what it wants there.
"""

import math
from typing import Any, Final

__all__ = ["misfit"]

_KINDS: Final = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
}
_SHOWN: Final = 10
"""How many choices a reason names."""


def misfit(schema: Any, content: Any) -> str | None:
    """Return why ``content`` does not fit a form, in words for its user; ``None`` when it does.

    Args:
        schema: The ``requestedSchema`` of the question, in the form of any revision.
        content: The ``content`` of an answer that accepts.
    """
    fields = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(fields, dict):
        return None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        return "content must be an object"
    required = schema.get("required")
    for name in required if isinstance(required, list) else ():
        if isinstance(name, str) and name not in content:
            return f"{name} is missing"
    for name, value in content.items():
        field = fields.get(name)
        if isinstance(field, dict) and (reason := _misfit(field, value)) is not None:
            return f"{name} must {reason}"
    return None


def _misfit(field: dict[str, Any], value: Any) -> str | None:
    kind = field.get("type")
    if not isinstance(kind, str) or kind not in _KINDS:
        return None
    if not _is(kind, value):
        return f"be {_KINDS[kind]}"
    if kind == "array":
        return _misfit_of_several(field, value)
    choices = _choices(field)
    if choices is not None and value not in choices:
        return f"be {_listed(choices)}"
    if kind == "string":
        return _out_of_bounds(field, len(value), "minLength", "maxLength", "have at {} {} characters")
    if kind in ("number", "integer"):
        return _out_of_bounds(field, value, "minimum", "maximum", "be at {} {}")
    return None


def _misfit_of_several(field: dict[str, Any], values: list[Any]) -> str | None:
    items = field.get("items")
    choices = _choices(items) if isinstance(items, dict) else None
    if choices is not None and any(value not in choices for value in values):
        return f"only have {_listed(choices)}"
    return _out_of_bounds(field, len(values), "minItems", "maxItems", "have at {} {} of them")


def _is(kind: str, value: Any) -> bool:
    if kind in ("boolean", "string", "array"):
        return isinstance(value, {"boolean": bool, "string": str, "array": list}[kind])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return kind == "number" or isinstance(value, int) or value.is_integer()


def _choices(field: dict[str, Any]) -> list[Any] | None:
    """Return what may be chosen, however the field's revision says that."""
    if isinstance(listed := field.get("enum"), list):
        return listed
    for member in ("oneOf", "anyOf"):
        titled = field.get(member)
        if isinstance(titled, list) and all(isinstance(each, dict) and "const" in each for each in titled):
            return [each["const"] for each in titled]
    return None


def _listed(choices: list[Any]) -> str:
    more = f" or {len(choices) - _SHOWN} others" if len(choices) > _SHOWN else ""
    return f"one of {', '.join(map(str, choices[:_SHOWN]))}{more}"


def _out_of_bounds(field: dict[str, Any], value: float, least: str, most: str, words: str) -> str | None:
    if value < _bound(field.get(least), -math.inf):
        return words.format("least", field[least])
    if value > _bound(field.get(most), math.inf):
        return words.format("most", field[most])
    return None


def _bound(given: Any, default: float) -> float:
    return default if isinstance(given, bool) or not isinstance(given, int | float) else given
