"""How values are written on a command line: texts and files, names with values, JSON.

Knows msgspec's types; knows nothing of commands. A wrong one is a usage error of click, which names the option.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
from msgspec import inspect

__all__ = ["is_pairs", "json_of", "text_of", "way_of"]

_SECRET: Final = frozenset({"bearer_token", "password", "current"})
"""What must not be on a command line, which every user of the machine can read."""


def text_of(value: str, option: str) -> str:
    """Return a text that may be in a file: ``@FILE``, or ``-`` for the standard input.

    Raises:
        click.BadParameter: It cannot be read.
    """
    try:
        if value == "-":
            return sys.stdin.buffer.read().decode()
        if value.startswith("@"):
            return Path(value[1:]).read_text(encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(f"{value[1:]}: {error.strerror}", param_hint=f"'--{option}'") from None
    except UnicodeDecodeError:
        raise click.BadParameter("is not UTF-8", param_hint=f"'--{option}'") from None
    return value


def json_of(value: str, option: str) -> Any:
    """Return the JSON in a text that may be in a file.

    Raises:
        click.BadParameter: It is not JSON, or cannot be read.
    """
    try:
        return json.loads(text_of(value, option))
    except ValueError as error:
        raise click.BadParameter(f"is not JSON: {error}", param_hint=f"'--{option}'") from None


def way_of(kind: inspect.Type, name: str, option: str) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    """Return how the values of a type are read, and how click is to take them.

    Args:
        kind: The type.
        name: The field's name.
        option: The option's name without dashes.
    """
    if name in _SECRET:
        return lambda value: _hidden(value, option), {"metavar": "@FILE|-", "help": "Read from a file, or from -."}
    match kind:
        case inspect.BoolType():
            return bool, {"is_flag": True}
        case inspect.FloatType():
            return float, {"type": float}
        case inspect.IntType():
            return int, {"type": int}
        case inspect.LiteralType():
            return str, {"type": click.Choice([str(value) for value in kind.values])}
        case inspect.StrType() | inspect.UUIDType() | inspect.DateTimeType():
            return str, {"metavar": "NAME" if isinstance(kind, inspect.UUIDType) else "TEXT"}
        case inspect.ListType(item_type=inspect.StrType() | inspect.UUIDType()):
            return list, {"multiple": True, "metavar": "TEXT" if name == "args" else "NAME"}
        case inspect.ListType(item_type=inspect.StructType()) if name == "servers":
            return lambda values: list(map(_member, values)), {"multiple": True, "metavar": "NAME[=off]"}
        case inspect.ListType():
            return lambda values: [_named(value, option) for value in values], {
                "multiple": True,
                "metavar": "NAME|JSON",
            }
        case inspect.DictType() if is_pairs(kind):
            return lambda values: dict(_pair(value, option) for value in values), {
                "multiple": True,
                "metavar": "NAME=VALUE",
            }
        case _:
            return lambda value: json_of(value, option), {"metavar": "JSON|@FILE|-"}


def is_pairs(kind: inspect.Type) -> bool:
    """Tell whether a type is an object of plain values, each of which may be given and removed by itself."""
    return isinstance(kind, inspect.DictType) and not isinstance(kind.value_type, inspect.AnyType)


def _hidden(value: str, option: str) -> str:
    if value != "-" and not value.startswith("@"):
        shown = "could be read by every user of this machine here; give @FILE, or - for the standard input"
        raise click.BadParameter(shown, param_hint=f"'--{option}'")
    return text_of(value, option).removesuffix("\n").removesuffix("\r")


def _member(value: str) -> dict[str, Any]:
    name, switch, state = value.partition("=")
    if switch and state not in ("on", "off"):
        raise click.BadParameter(f"{value}: must end in =on or =off, or have no =", param_hint="'--server'")
    return {"serverId": name, "active": state != "off"}


def _named(value: str, option: str) -> Any:
    return json_of(value, option) if value.startswith("{") else value


def _pair(value: str, option: str) -> tuple[str, str]:
    name, sign, text = value.partition("=")
    if sign:
        return name, text
    if name not in os.environ:
        raise click.BadParameter(
            f"{name} has no value here, and is no variable of this environment; give NAME=VALUE",
            param_hint=f"'--{option}'",
        )
    return name, os.environ[name]
