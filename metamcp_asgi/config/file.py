"""A configuration file, JSON or YAML, compiled to a ``Snapshot``.

Knows the top of the document, namespaces, and what is assumed where the document is silent:

- without ``namespaces`` there is one, ``default``, with every server in the order of the file;
- without ``endpoints`` each namespace is published under its own name; these endpoints require a key if the document
  has ``apiKeys``, even an empty list, and are otherwise open. Declared endpoints require one unless they say otherwise.

Errors name the file, the path in the document, and what would be right, and never contain a secret. Reloading is
the gateway's; connecting to anything is the upstream's.
"""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from metamcp_asgi.config.access import compile_endpoints, compile_keys, default_endpoints, warn_of_locked
from metamcp_asgi.config.middlewares import compile_middlewares
from metamcp_asgi.config.node import Node
from metamcp_asgi.config.parse import parse_json, parse_yaml
from metamcp_asgi.config.servers import compile_server
from metamcp_asgi.config.snapshot import Namespace, PrefixRule, Snapshot, ToolOverride
from metamcp_asgi.errors import ConfigError

__all__ = ["compile_document", "compile_namespace", "load"]

DEFAULT_NAMESPACE: Final = "default"
_PARSERS: Final = {".json": parse_json, ".yaml": parse_yaml, ".yml": parse_yaml}
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]+")
_TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def load(path: str | Path, *, environ: Mapping[str, str] = os.environ, transform_localhost: bool = False) -> Snapshot:
    """Read and compile a configuration file.

    Args:
        path: A ``.json``, ``.yaml`` or ``.yml`` file in UTF-8.
        environ: Variables for ``${VAR}``.
        transform_localhost: Whether server URLs on ``localhost`` mean the machine that runs our container.

    Raises:
        ConfigError: The file can't be read, isn't JSON or YAML, or describes something impossible.
    """
    path = Path(path)
    source = str(path)
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        raise ConfigError("must end in .json, .yaml or .yml, which tells its format", source=source)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", source=source) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 (at byte {error.start})", source=source) from None
    document = parse(text, source)
    return compile_document(document, environ=environ, source=source, transform_localhost=transform_localhost)


def compile_document(
    document: object,
    *,
    environ: Mapping[str, str] = os.environ,
    source: str = "",
    transform_localhost: bool = False,
) -> Snapshot:
    """Compile a document that is already parsed.

    Args:
        document: Any JSON-like value.
        environ: Variables for ``${VAR}``.
        source: Where it comes from, for errors.
        transform_localhost: Whether server URLs on ``localhost`` mean the machine that runs our container.

    Raises:
        ConfigError: The first thing that is wrong, with its path.
    """
    sections: dict[str, Node] = Node(document, environ, source).read(
        {"mcpServers": _itself, "namespaces": _itself, "endpoints": _itself, "apiKeys": _itself},
        required=("mcpServers",),
    )
    servers = {
        name: compile_server(name, node, transform_localhost=transform_localhost)
        for name, node in sections["mcpServers"].entries()
    }
    if "namespaces" in sections:
        namespaces = {name: compile_namespace(name, node, servers) for name, node in sections["namespaces"].entries()}
    else:
        namespaces = {DEFAULT_NAMESPACE: Namespace(name=DEFAULT_NAMESPACE, servers=tuple(servers))}
    if "endpoints" in sections:
        endpoints = compile_endpoints(sections["endpoints"], namespaces)
    else:
        endpoints = default_endpoints(namespaces, locked="apiKeys" in sections)
    keys = compile_keys(sections["apiKeys"], endpoints) if "apiKeys" in sections else {}
    warn_of_locked(endpoints, keys)
    return Snapshot(servers=servers, namespaces=namespaces, endpoints=endpoints, keys=keys)


def _itself(node: Node) -> Node:
    return node


def compile_namespace(name: str, node: Node, known: Collection[str]) -> Namespace:
    """Compile one entry of ``namespaces``.

    Args:
        name: Its name.
        node: The entry.
        known: The names of all servers that there are.

    Raises:
        ConfigError: The first thing that is wrong, with its path.
    """
    if not _NAME.fullmatch(name):
        raise node.error("a namespace's name may only have letters, digits, _ and -")
    given: dict[str, Any] = node.read(
        {
            "description": Node.free_text,
            "servers": lambda servers: _members(servers, known),
            "prefix": lambda prefix: prefix.choice(("always", "never", "on-collision")),
            "tools": lambda tools: dict(tools.entries()),
            "middlewares": compile_middlewares,
        },
        required=("servers",),
    )
    servers: tuple[str, ...] = given["servers"]
    prefix: PrefixRule = given.get("prefix", "always")
    return Namespace(
        name=name,
        servers=servers,
        description=given.get("description", ""),
        prefix=prefix,
        tools=_compile_overrides(given.get("tools", {}), servers, prefix),
        middlewares=given.get("middlewares", ()),
    )


def _members(node: Node, known: Collection[str]) -> tuple[str, ...]:
    members: dict[str, None] = {}
    for item in node.items():
        member = item.reference("server", known)
        if member in members:
            raise item.error("is in the list twice; keep one of them")
        members[member] = None
    return tuple(members)


def _compile_overrides(
    nodes: Mapping[str, Node], servers: tuple[str, ...], prefix: PrefixRule
) -> dict[tuple[str, str], ToolOverride]:
    overrides: dict[tuple[str, str], ToolOverride] = {}
    known = dict.fromkeys(servers)
    exposed: dict[tuple[str, str], tuple[str, bool]] = {}  # by what must differ: the key, and whether it is renamed
    for key, node in nodes.items():
        server, tool = _split(key, node, known)
        override = ToolOverride(
            **node.read(
                {
                    "enabled": Node.flag,
                    "name": _tool_name,
                    "title": Node.text,
                    "description": Node.free_text,
                    "annotations": _annotations,
                }
            )
        )
        overrides[server, tool] = override
        if not override.enabled:
            continue
        name = override.name or tool
        # Tools of two servers that share a name are told apart by the prefix, unless there is never one.
        scope = "" if prefix == "never" else server
        other, renamed = exposed.setdefault((scope, name), (key, override.name is not None))
        # Two tools that share their own name are a matter of the servers, not of these overrides.
        if other != key and (renamed or override.name is not None):
            where = node.at("name") if override.name is not None else node
            raise where.error(f'"{other}" is published under the same name here; give one of them another')
    return overrides


def _split(key: str, node: Node, servers: Collection[str]) -> tuple[str, str]:
    """Split at the first ``__`` that has a server of the namespace before it (``_`` may end a server's name)."""
    for found in re.finditer(r"(?=__)", key):
        server, tool = key[: found.start()], key[found.start() + 2 :]
        if server in servers and tool:
            return server, tool
    server, separator, tool = key.partition("__")
    if not separator or not server or not tool:
        raise node.error('is not the name of a tool; write "server__tool", in the server\'s own names')
    return Node(server, {}, node.source, node.path).reference("server of this namespace", servers), tool


def _tool_name(node: Node) -> str:
    name = node.text(empty=True)
    if not _TOOL_NAME.fullmatch(name):
        raise node.error("must be 1 to 128 characters out of letters, digits, _ . and -")
    return name


def _annotations(node: Node) -> dict[str, Any]:
    return {key: value.json() for key, value in node.entries()}
