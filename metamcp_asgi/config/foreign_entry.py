"""One server of another program's file, rewritten as an entry of our ``mcpServers``.

Knows the keys of Claude Desktop and Code, Cursor, VS Code, Cline, Roo Code, Windsurf, Gemini CLI and MetaMCP. What
comes out compiles: what would not is left out with a note. Knows nothing of files or of other entries.
"""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from metamcp_asgi.config.dialects import Needs, Rewrite
from metamcp_asgi.config.node import Node
from metamcp_asgi.config.servers import compile_server
from metamcp_asgi.errors import ConfigError

__all__ = ["Entry", "read_entry"]

Note = Callable[[str, str], None]
"""Takes what kind of note it is, ``changed`` or ``lost``, and its text."""

_TYPES: Final = {
    "stdio": "stdio",
    "std": "stdio",
    "local": "stdio",
    "sse": "sse",
    "http": "streamable_http",
    "remote": "streamable_http",
    "streamable_http": "streamable_http",
    "streamable-http": "streamable_http",
    "streamablehttp": "streamable_http",
}
_SAME: Final = {"serverUrl": "url", "httpUrl": "url", "transport": "type", "transportType": "type"}
_OF_CLIENT: Final = {
    "autoApprove": "the gateway asks nobody for approval",
    "alwaysAllow": "the gateway asks nobody for approval",
    "trust": "the gateway asks nobody for approval",
}
_TEXTS: Final = ("command", "cwd", "url", "bearerToken", "description")
_HIDDEN: Final = ("disabledTools", "excludeTools")
_MAX_SECONDS: Final = 3600
"""Greatest timeout that is taken for seconds; Roo Code allows no greater one, and others count in milliseconds."""


class Entry:
    """A server as read.

    Attributes:
        fields: The entry in our own words, ready for ``mcpServers``.
        hidden: Names of tools that the file switches off.
    """

    __slots__ = ("fields", "hidden")

    def __init__(self, fields: dict[str, Any], hidden: tuple[str, ...]) -> None:
        self.fields = fields
        self.hidden = hidden


def read_entry(name: str, given: object, rewrites: Mapping[str, Rewrite], needs: Needs, note: Note) -> Entry | None:
    """Read one entry.

    Args:
        name: The server's name, already a good one.
        given: What the file says of it.
        rewrites: For each field with texts, how they are rewritten; under ``""`` how all others are.
        needs: Collects the variables.
        note: Is told what was done.

    Returns:
        The entry, or ``None`` when it can't be one of ours; ``note`` was told why.
    """
    if not isinstance(given, dict):
        note("lost", "is not an object, so it is left out")
        return None
    raw = {_SAME.get(str(key), str(key)): value for key, value in given.items() if value is not None}
    for key in _TEXTS:
        if isinstance(raw.get(key), dict | list):
            note("lost", f'"{key}" is left out: it is not text')
            del raw[key]
    kind = _transport(raw, note)
    if kind is None:
        return None
    fields: dict[str, Any] = {"type": kind}
    reader = _Fields(raw, rewrites, needs, note)
    if kind == "stdio":
        fields |= reader.stdio()
    else:
        fields |= reader.http()
    fields |= reader.common()
    hidden = reader.hidden()
    for key in raw:
        reason = _OF_CLIENT.get(key)
        note("changed" if reason else "lost", f'"{key}" is left out{f": {reason}" if reason else ""}')
    try:
        _compile(name, fields)
    except ConfigError as error:
        note("lost", f"is left out, because it is wrong: {error}")
        return None
    return Entry(fields, hidden)


def _transport(raw: dict[str, Any], note: Note) -> str | None:
    """Tell the transport by ``type``, else by what is there; without either there is no server."""
    written = raw.pop("type", None)
    kind = _TYPES.get(str(written).lower()) if written is not None else None
    if written is not None and kind is None:
        note("changed", "has an unknown type, so it is told by what else is there")
    if kind is None:
        kind = "stdio" if raw.get("command") else "streamable_http"
        # MetaMCP takes an entry without a type for stdio, even if it has only a URL (dossier B25).
        if kind != "stdio" and raw.get("url"):
            note("changed", 'has no type; taken for HTTP, because it has a "url"')
    if not raw.get("command" if kind == "stdio" else "url"):
        note("lost", f'is left out: a server of type {kind} needs "{"command" if kind == "stdio" else "url"}"')
        return None
    foreign = ("url", "headers", "bearerToken") if kind == "stdio" else ("command", "args", "env", "cwd")
    for key in foreign:
        value = raw.pop(key, None)
        if value:
            note("lost", f'"{key}" is left out: it does not go with type {kind}')
    return kind


class _Fields:
    """Takes the fields out of an entry, so that what is left is what nobody knew."""

    __slots__ = ("needs", "note", "raw", "rewrites")

    def __init__(self, raw: dict[str, Any], rewrites: Mapping[str, Rewrite], needs: Needs, note: Note) -> None:
        self.raw = raw
        self.rewrites = rewrites
        self.needs = needs
        self.note = note

    def stdio(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"command": self._text("command", self.raw.pop("command"))}
        args = self.raw.pop("args", None)
        if isinstance(args, list) and args:
            fields["args"] = [self._text("args", arg) for arg in args if not isinstance(arg, dict | list | None)]
            if len(fields["args"]) < len(args):
                self.note("lost", 'what is no text in "args" is left out')
        elif args:
            self.note("lost", '"args" is left out: it is not a list')
        fields |= self._pairs("env")
        if cwd := self.raw.pop("cwd", None):
            fields["cwd"] = self._text("cwd", cwd)
        if self.raw.pop("envFile", None):
            self.note("lost", '"envFile" is left out: put its variables into "env", or into the environment of metamcp')
        return fields

    def http(self) -> dict[str, Any]:
        url = self._text("url", self.raw.pop("url"))
        fields: dict[str, Any] = {"url": url}
        headers = self._pairs("headers")
        given = headers.get("headers", {})
        token = self.raw.pop("bearerToken", None)
        own = next((name for name in given if name.lower() == "authorization"), None)
        login = None if "${" in url else _login(url)
        if login:
            fields["url"], credentials = login
            if own is None and not token:
                given["Authorization"] = credentials
                headers["headers"] = given
                self.note("changed", 'the user and password of "url" are now an Authorization header')
            else:
                self.note("lost", 'the user and password of "url" are left out: there is another authorization')
        if token:
            if own is not None:
                del given[own]
                self.note("changed", 'has "bearerToken" and an Authorization header; the token wins, as it does there')
                if not given:
                    del headers["headers"]
            fields["bearerToken"] = self._text("bearerToken", token)
        return fields | headers

    def common(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if description := self.raw.pop("description", None):
            fields["description"] = self._text("description", description)
        disabled, enabled = self.raw.pop("disabled", False), self.raw.pop("enabled", True)
        if disabled is True or enabled is False:
            fields["disabled"] = True
            self.note("changed", "is switched off there, and stays so here")
        timeout = self.raw.pop("timeout", None)
        if isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout > 0:
            milliseconds = timeout > _MAX_SECONDS
            fields["timeout"] = timeout / 1000 if milliseconds else timeout
            if milliseconds:
                self.note("changed", f'"timeout" {timeout} is taken for milliseconds')
        elif timeout:
            self.note("lost", '"timeout" is left out: it is not a number')
        return fields

    def hidden(self) -> tuple[str, ...]:
        hidden: dict[str, None] = {}
        for key in _HIDDEN:
            names = self.raw.pop(key, None) or []
            if not isinstance(names, list):
                self.note("lost", f'"{key}" is left out: it is not a list')
                continue
            hidden |= dict.fromkeys(name for name in names if isinstance(name, str) and name)
        return tuple(hidden)

    def _pairs(self, key: str) -> dict[str, Any]:
        """Return ``{key: pairs}``, or nothing when there are none."""
        given = self.raw.pop(key, None)
        if not isinstance(given, dict):
            if given:
                self.note("lost", f'"{key}" is left out: it is not an object')
            return {}
        pairs: dict[str, str] = {}
        for name, value in given.items():
            if isinstance(value, dict | list | None):
                self.note("lost", f'"{key}.{name}" is left out: its value is not text')
            else:
                pairs[name] = self._text(key, value)
        return {key: pairs} if pairs else {}

    def _text(self, field: str, value: object) -> str:
        if not isinstance(value, str):
            self.note("changed", f'a value in "{field}" is now text: it was none')
            value = ("true" if value else "false") if isinstance(value, bool) else str(value)
        return self.rewrites.get(field, self.rewrites[""])(value, self.needs)


def _login(url: str) -> tuple[str, str] | None:
    """Return a URL without its user and password, and these as an Authorization header (RFC 7617)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None  # what is wrong with it is told when it is compiled
    if parts.username is None and parts.password is None:
        return None
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return bare, f"Basic {base64.b64encode(login.encode()).decode()}"


class _AnyVariable(dict[str, str]):
    """An environment in which everything is set, to check an entry before its variables are known."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return "placeholder"

    def get(self, name: str, default: Any = None) -> Any:
        return "placeholder"


def _compile(name: str, fields: dict[str, Any]) -> None:
    """Raise ``ConfigError`` if the entry would be refused, whatever its variables are."""
    if "url" in fields:
        # What a variable stands for is unknown, except that one at the beginning must bring the scheme.
        known = re.sub(r"^\$\{[^}]*\}", "http://placeholder", fields["url"])
        fields = fields | {"url": known}
    compile_server(name, Node(fields, _AnyVariable()))
