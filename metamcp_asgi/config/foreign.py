"""Configuration files of other programs, rewritten as a document of ours.

Reads Claude Desktop's and Claude Code's ``mcpServers``, Cursor's, VS Code's (``servers`` with ``inputs``, also within
its ``settings.json``), Cline's and Roo Code's, and MetaMCP's ``mcp-servers-export.json``. Says what it changed and what
it had to leave out. Knows nothing of our store; what an entry's keys mean is ``foreign_entry``'s.

A server's name keeps its letters, digits, ``_`` and ``-``. Every other run of characters becomes one ``-``, several
``_`` in a row become one (``__`` divides a server's name from its tools'), and a name that is then taken gets ``-2``,
``-3``...
"""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final, Literal, TypeAlias, get_args

from msgspec import Struct

from metamcp_asgi.config.dialects import Needs, Rewrite, client_text, literal, metamcp_env, variable_name
from metamcp_asgi.config.foreign_entry import read_entry
from metamcp_asgi.config.jsonc import plain_json
from metamcp_asgi.config.node import step
from metamcp_asgi.config.parse import parse_json
from metamcp_asgi.errors import ConfigError

__all__ = ["Format", "Imported", "Note", "convert", "server_name"]

Format: TypeAlias = Literal["auto", "metamcp", "claude", "cursor", "vscode", "cline"]

_CLIENT: Final[Mapping[str, Rewrite]] = {"": client_text}
_METAMCP: Final[Mapping[str, Rewrite]] = {"": literal, "env": metamcp_env}
_METAMCP_TYPES: Final = frozenset({"STDIO", "SSE", "STREAMABLE_HTTP"})
_OTHER: Final = frozenset({"servers", "mcpServers", "inputs", "mcp"})


class Note(Struct, frozen=True):
    """What was done with one thing.

    Args:
        path: Where in the other program's file; empty for the whole.
        kind: ``changed``: taken over in another form; ``lost``: not taken over; ``needs``: the operator has to do it.
        text: What happened, without any secret.
    """

    path: str
    kind: Literal["changed", "lost", "needs"]
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


class Imported(Struct, frozen=True):
    """A file of another program in our words.

    Args:
        format: Whose file it was.
        document: Our document; it compiles once the variables of ``variables`` are set.
        notes: What was changed and what was lost, in the order of the file.
        variables: The variables that must be set, each with what it is for (may be empty).
    """

    format: Format
    document: dict[str, Any]
    notes: tuple[Note, ...]
    variables: Mapping[str, str]


def convert(text: str, format: Format = "auto", source: str = "") -> Imported:  # noqa: A002 - the option's name
    """Rewrite a file of another program.

    Args:
        text: The file: JSON, with comments and trailing commas if it likes.
        format: Whose file it is; ``auto`` tells it by what is in it.
        source: The file's name, for errors.

    Raises:
        ConfigError: The text isn't JSON, or holds no servers.
    """
    document = parse_json(plain_json(text.removeprefix("\ufeff")), source)
    if not isinstance(document, dict):
        raise ConfigError("must be an object with the servers in it", source=source)
    path, entries, inputs = _servers(document, source)
    if format == "auto":
        format = _told(path, entries)  # noqa: A001
    needs, notes = Needs(), list[Note]()
    servers: dict[str, Any] = {}
    hidden: dict[str, dict[str, bool]] = {}
    for written, given in entries.items():
        here = step(path, written)

        def note(kind: Literal["changed", "lost"], said: str, here: str = here) -> None:
            notes.append(Note(here, kind, said))

        name = server_name(written, servers)
        if name != written:
            note("changed", f'is now called "{name}", and its tools "{name}__..."')
        entry = read_entry(name, given, _METAMCP if format == "metamcp" else _CLIENT, needs, note)  # type: ignore[arg-type]
        for reference in needs.unknown:
            note("lost", f"{reference} is nothing that this gateway can put in; it stays as plain text")
        needs.unknown.clear()
        if entry is None:
            continue
        servers[name] = entry.fields
        for tool in entry.hidden:
            hidden[f"{name}__{tool}"] = {"enabled": False}
    if path != "mcp.servers":  # VS Code's settings.json is full of other things
        notes += [Note(key, "lost", "is left out") for key in document if key not in _OTHER]
    ours: dict[str, Any] = {"mcpServers": servers}
    if hidden:
        ours["namespaces"] = {"default": {"servers": list(servers), "tools": hidden}}
    variables = _described(needs.variables, inputs)
    notes += [Note("", "needs", f"set the environment variable {name}{f': {why}' if why else ''}")
              for name, why in variables.items()]  # fmt: skip
    return Imported(format, ours, tuple(notes), variables)


def server_name(written: str, taken: Collection[str] = ()) -> str:
    """Return the name that a server gets here, by the rule that stands at the top of this file.

    Args:
        written: Its name elsewhere.
        taken: The names that there are already.
    """
    name = re.sub(r"_{2,}", "_", re.sub(r"[^a-zA-Z0-9_-]+", "-", written)).strip("-")
    name = base = name or "server"
    number = 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


def _servers(document: dict[str, Any], source: str) -> tuple[str, dict[str, Any], object]:
    """Return where the servers are, the servers, and VS Code's inputs."""
    nested = document.get("mcp")
    if isinstance(nested, dict) and isinstance(nested.get("servers"), dict):
        return "mcp.servers", nested["servers"], nested.get("inputs")
    for path in ("mcpServers", "servers"):
        if isinstance(document.get(path), dict):
            return path, document[path], document.get("inputs")
    raise ConfigError('has no servers: an object "mcpServers" or "servers" is what they are kept in', source=source)


def _told(path: str, entries: Mapping[str, Any]) -> Format:
    given = [entry for entry in entries.values() if isinstance(entry, dict)]
    if path != "mcpServers":
        return "vscode"
    if any(str(entry.get("type")) in _METAMCP_TYPES for entry in given):
        return "metamcp"
    if any(not entry.keys().isdisjoint(("autoApprove", "alwaysAllow", "disabledTools")) for entry in given):
        return "cline"
    # Cursor's and Claude's differ in nothing that matters here.
    return "cursor" if "${env:" in str(given) else "claude"


def _described(variables: Mapping[str, str], inputs: object) -> dict[str, str]:
    """Put VS Code's own words on the inputs that became variables."""
    said: dict[str, str] = {}
    for each in inputs if isinstance(inputs, list) else ():
        if isinstance(each, dict) and isinstance(each.get("id"), str) and isinstance(each.get("description"), str):
            said[variable_name(each["id"])] = each["description"]
    return {name: said.get(name, why) for name, why in variables.items()}


FORMATS: Final[tuple[Format, ...]] = get_args(Format)
