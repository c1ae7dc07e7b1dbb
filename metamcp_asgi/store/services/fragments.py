"""What is given, written as the piece of a configuration document that says the same, and compiled as a file is.

So the store accepts what a file accepts, in the same words. Texts mean themselves: ``${VAR}`` is no reference here.
Knows nothing of rows.
"""

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from metamcp_asgi.config import snapshot
from metamcp_asgi.config.access import compile_endpoints, compile_keys
from metamcp_asgi.config.dialects import escaped
from metamcp_asgi.config.document import tool_key
from metamcp_asgi.config.file import compile_namespace
from metamcp_asgi.config.node import Node, step
from metamcp_asgi.config.servers import compile_server
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.protocol.names import qualify
from metamcp_asgi.store.limits import LONGEST_NAME, check_limits
from metamcp_asgi.store.services.inputs import Invalid
from metamcp_asgi.store.transaction import Reader

__all__ = [
    "LONGEST_TOOL",
    "check_middlewares",
    "endpoint_of",
    "free_text",
    "key_text",
    "namespace_of",
    "server_of",
    "short_text",
]

LONGEST_TOOL: Final = 64
"""Characters of a published name that every model's API accepts."""


def server_of(name: str, entry: Mapping[str, Any]) -> snapshot.Server:
    """Return the server that an entry of ``mcpServers`` describes.

    Raises:
        Invalid: The name or a value is wrong; secrets are never quoted.
    """
    with _as("name"):
        compile_server(name, Node({"command": "x"}, {}))
    _fits("name", name)
    with _told():
        return compile_server(name, Node(_plain(entry), {}))


def namespace_of(
    name: str,
    entry: Mapping[str, Any],
    servers: Sequence[str],
    tools: Mapping[tuple[str, str], Mapping[str, Any]],
    measured: Collection[tuple[str, str]],
) -> snapshot.Namespace:
    """Return the namespace that an entry of ``namespaces`` describes, its tools checked for names that clash.

    Args:
        name: Its name.
        entry: The rest of it, but for servers and tools.
        servers: The names of its servers, in order.
        tools: What it changes, by server and tool.
        measured: Of these, the tools whose published names must not be too long.

    Raises:
        Invalid: The name, a value, or the published name of a tool is wrong; of a tool the field is
            ``tools["server__tool"].name``.
    """
    known: dict[str, None] = {}
    for server in servers:
        if server in known:
            raise Invalid("servers", f'has two servers named "{server}", whose tools would have the same names')
        known[server] = None
    with _as("name"):
        _namespace(name, {"servers": []}, ())
    _fits("name", name)
    prefix = entry.get("prefix", "always")
    overrides = {}
    for (server, tool), override in tools.items():
        try:
            overrides[tool_key(server, tool, known)] = override
        except ConfigError as error:
            raise Invalid(step("tools", f"{server}__{tool}"), error.reason) from None
    with _told(f"namespaces.{name}"):
        compiled = _namespace(name, {**_plain(entry), "servers": list(servers), "tools": _plain(overrides)}, servers)
        check_limits(snapshot.Snapshot(servers={}, namespaces={name: compiled}, endpoints={}))
    for (server, tool), renamed in compiled.tools.items():
        if renamed.enabled and renamed.name is not None and (server, tool) in measured:
            published = renamed.name if prefix == "never" else qualify(server, renamed.name)
            if len(published) > LONGEST_TOOL:
                place = step(step("tools", f"{server}__{tool}"), "name")
                raise Invalid(
                    place,
                    f'makes the tool\'s published name "{published}" {len(published)} characters long; clients take '
                    f"{LONGEST_TOOL} at most, so make it {len(published) - LONGEST_TOOL} shorter",
                )
    return compiled


def check_middlewares(tx: Reader, namespace: snapshot.Namespace) -> None:
    """Let pass a namespace whose middlewares there are, with options that they like.

    Raises:
        Invalid: One is unknown here or wrong; names its place: ``middlewares[0].limit.maxBytes``.
    """
    with _told(f"namespaces.{namespace.name}"):
        tx.check(namespace)


def endpoint_of(name: str, entry: Mapping[str, Any], namespace: str) -> snapshot.Endpoint:
    """Return the endpoint that an entry of ``endpoints`` describes.

    Args:
        name: Its name.
        entry: The rest of it, but for its namespace.
        namespace: The name of that.

    Raises:
        Invalid: The name or a value is wrong.
    """
    with _as("name"):
        compile_endpoints(Node({name: {"namespace": namespace}}, {}), (namespace,))
    _fits("name", name)
    with _told(name):
        compiled = compile_endpoints(Node({name: {**_plain(entry), "namespace": namespace}}, {}), (namespace,))[name]
    with _told(step("endpoints", name)):
        check_limits(snapshot.Snapshot(servers={}, namespaces={}, endpoints={name: compiled}))
    return compiled


def key_text(text: str) -> str:
    """Return the text of a key that was not made up here.

    Raises:
        Invalid: It is too short, or could not be sent in a header.
    """
    with _as("key"):
        compile_keys(Node([{"name": "x", "key": escaped(text)}], {}), ())
    return text


def short_text(field: str, text: str, longest: int = LONGEST_NAME) -> str:
    """Return a text of one line that must not be empty, without the space around it.

    Raises:
        Invalid: It is empty, too long, or has characters that cannot be seen.
    """
    text = free_text(field, text).strip()
    if not text:
        raise Invalid(field, "must not be empty")
    if not text.isprintable():
        raise Invalid(field, "must not have line breaks or other characters that cannot be seen")
    _fits(field, text, longest)
    return text


def free_text(field: str, text: str) -> str:
    """Return a text that may be empty and have many lines.

    Raises:
        Invalid: It has a character that no database takes.
    """
    with _as(field):
        return Node(escaped(text), {}).free_text()


def _namespace(name: str, entry: Mapping[str, Any], servers: Sequence[str]) -> snapshot.Namespace:
    ((_, node),) = Node({name: entry}, {}, path="namespaces").entries()
    return compile_namespace(name, node, dict.fromkeys(servers))


def _plain(value: Any) -> Any:
    """Return a value in which no text is a reference to a variable."""
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _fits(field: str, text: str, longest: int = LONGEST_NAME) -> None:
    if len(text) > longest:
        raise Invalid(field, f"has {len(text)} characters; {longest} at most")


@contextlib.contextmanager
def _as(field: str) -> Iterator[None]:
    """Say what is wrong of a field, whatever the document's place for it."""
    try:
        yield
    except ConfigError as error:
        raise Invalid(field, error.reason) from None


@contextlib.contextmanager
def _told(place: str = "") -> Iterator[None]:
    """Say what is wrong by the place in the entry, without where the document has the entry."""
    try:
        yield
    except ConfigError as error:
        raise Invalid(re.sub(rf"^{re.escape(place)}\.?", "", error.path), error.reason) from None
