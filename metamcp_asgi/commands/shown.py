"""What the API answers, as people read it: a table for a list, one line for each field of an object.

``COLUMNS`` says for each type of items which columns its table has. Knows the JSON of the API; what comes from servers
is made harmless for a terminal.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from metamcp_asgi.admin.api.operation import Operation
from metamcp_asgi.commands.references import FIELDS, Names
from metamcp_asgi.commands.terminal import harmless, table

__all__ = ["COLUMNS", "in_words"]

Item: TypeAlias = Mapping[str, Any]
Column: TypeAlias = tuple[str, str | Callable[[Item], Any]]

_LONGEST: Final = 60
"""Characters that a cell of a list has at most; an object by itself is shown whole."""


def _state(item: Item) -> str:
    return "disabled" if item["disabled"] else "active"


def _access(item: Item) -> str:
    ways = [name for name, field in (("key", "apiKeyAuth"), ("oauth", "oauth")) if item[field]]
    return ", ".join(ways) or "open"


def _runs(item: Item) -> str:
    return item["url"] or " ".join([item["command"], *item["args"]])


def _changed(item: Item) -> str:
    return ", ".join(sorted({*(item["before"] or ()), *(item["after"] or ())}))


def _time(key: str) -> Callable[[Item], str]:
    """Return what makes a cell of a duration, which the API has in seconds."""
    return lambda item: "-" if item[key] is None else f"{item[key] * 1000:.3g} ms"


COLUMNS: Final[Mapping[str, Sequence[Column]]] = {
    "AuditEntry": (
        ("ID", "id"),
        ("AT", "at"),
        ("WHO", "actor"),
        ("ACTION", "action"),
        ("KIND", "objectKind"),
        ("WHAT", "objectName"),
        ("FIELDS", _changed),
    ),
    "Endpoint": (
        ("NAME", "name"),
        ("NAMESPACE", "namespaceId"),
        ("OWNER", "ownerId"),
        ("ASKS FOR", _access),
        ("PATH", "path"),
    ),
    "OAuthClient": (
        ("NAME", "name"),
        ("CLIENT ID", "clientId"),
        ("OWNER", "ownerId"),
        ("MAY", "grantTypes"),
        ("USED", "usedAt"),
    ),
    "Consent": (
        ("CLIENT", "name"),
        ("USER", "userId"),
        ("SCOPE", "scope"),
        ("FOR", "audience"),
        ("UNTIL", "expiresAt"),
        ("ID", "id"),
    ),
    "CallGroup": (
        ("ENDPOINT", "endpoint"),
        ("SERVER", "server"),
        ("TOOL", "tool"),
        ("CALLS", "calls"),
        ("ERRORS", "errors"),
        ("P50", _time("p50")),
        ("P95", _time("p95")),
    ),
    "Key": (
        ("NAME", "name"),
        ("KEY", lambda item: f"{item['prefix']}..."),
        ("OWNER", "ownerId"),
        ("OPENS", "endpointIds"),
        ("MANAGES", "admin"),
        ("EXPIRES", "expiresAt"),
        ("LAST USED", "lastUsedAt"),
        ("STATUS", _state),
    ),
    "LogLine": (("AT", "at"), ("LEVEL", "level"), ("FROM", "source"), ("SERVER", "server"), ("TEXT", "text")),
    "Namespace": (
        ("NAME", "name"),
        ("OWNER", "ownerId"),
        ("SERVERS", "servers"),
        ("PREFIX", "prefix"),
        ("DESCRIPTION", "description"),
    ),
    "NamespaceTool": (
        ("SERVER", "server"),
        ("TOOL", "tool"),
        ("STATUS", lambda item: "on" if item["enabled"] else "off"),
        ("OFFERED", "offered"),
        ("NAME", "name"),
        ("TITLE", "title"),
    ),
    "Server": (
        ("NAME", "name"),
        ("OWNER", "ownerId"),
        ("TYPE", "type"),
        ("COMMAND OR URL", _runs),
        ("STATUS", _state),
    ),
    "ServerHealth": (
        ("NAME", "name"),
        ("STATE", "state"),
        ("ERA", "era"),
        ("TOOLS", "tools"),
        ("ERROR", "error"),
    ),
    "Tool": (("NAME", "name"), ("TITLE", "title"), ("DESCRIPTION", "description")),
    "User": (("EMAIL", "email"), ("NAME", "name"), ("ROLE", "role"), ("STATUS", _state)),
}
"""The columns of each type of items: a head, and the field in JSON or what makes the cell of an item."""

_FILES: Final = frozenset({"ServersFile"})
"""Types of answers that are a file by themselves, and shown as it is."""

_NOBODY: Final = {"ownerId": "public", "endpointIds": "all"}
"""What null means, where it is not nothing."""


async def in_words(operation: Operation, answer: Any, names: Names) -> str:
    """Return what an operation answers as text for people.

    Args:
        operation: The operation.
        answer: Its answer.
        names: Finds the names of what is referred to.
    """
    if getattr(operation.gives, "__name__", "") in _FILES:
        return harmless(json.dumps(answer, indent=2, ensure_ascii=False))
    field = _listed(operation.gives)
    if field is None:
        return await _lines(answer, names)
    columns = COLUMNS.get(_type_of_items(operation.gives, field)) or [(key, key) for key in _keys(answer[field])]
    rows = [
        [_short(await _cell(item, column, names) if isinstance(column, str) else column(item)) for _, column in columns]
        for item in answer[field]
    ]
    shown = table([head for head, _ in columns], rows)
    if field == "items":
        return shown
    rest = {key: value for key, value in answer.items() if key != field}
    return f"{shown}\n\n{await _lines(rest, names)}"


def _listed(gives: Any) -> str | None:
    """Return the field that makes an answer a list of things: ``items``, or all that it tells of ``servers``."""
    if not (isinstance(gives, type) and issubclass(gives, msgspec.Struct)):
        return None
    fields = gives.__struct_encode_fields__
    return next((name for name in ("items", "servers") if name in fields and "id" not in fields), None)


def _type_of_items(gives: Any, field: str) -> str:
    kind: Any = next(each.type for each in msgspec.structs.fields(gives) if each.encode_name == field)
    return getattr(kind.__args__[0], "__name__", "")


def _keys(items: Sequence[Item]) -> list[str]:
    return list(dict.fromkeys(key for item in items for key in item))


async def _lines(answer: Item, names: Names) -> str:
    cells = {key: str(_plain(await _cell(answer, key, names), whole=True)).split("\n") for key in answer}
    width = max(map(len, cells), default=0)
    return "\n".join(
        f"{key if not number else '':{width}}  {line}".rstrip()
        for key, lines in cells.items()
        for number, line in enumerate(lines)
    )


async def _cell(item: Item, key: str, names: Names) -> Any:
    value = item.get(key)
    if value is None:
        return _NOBODY.get(key)
    collection = FIELDS.get(key)
    if collection is not None and isinstance(value, str):
        return await names.name(collection, value)
    if collection is not None:
        return ", ".join([await names.name(collection, each) for each in value])
    if key == "servers" and all(isinstance(each, dict) and "serverId" in each for each in value):
        shown = [(await names.name("servers", each["serverId"]), each["active"]) for each in value]
        return ", ".join(name if active else f"{name} (off)" for name, active in shown)
    return value


def _plain(value: Any, *, whole: bool = False) -> Any:
    """Return a value as text that does nothing to a terminal; ``whole`` keeps its lines."""
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = ("\n" if whole else ", ").join(value)
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return harmless(value) if whole else harmless(value).replace("\n", " ")


def _short(value: Any) -> str:
    text = str(_plain(value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
