"""A configuration document in the body of a request: parsed, and compiled against what there is.

``${VAR}`` is never a variable of this process, which would give its secrets to whoever asks. It is what the body's own
``variables`` say, else the secret that an export of the same scope has under that name. So an export can be changed
and sent back as it is. Knows nothing of who may do what.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from metamcp_asgi.admin.api.body import YAML, Text
from metamcp_asgi.admin.api.problem import Fault, Problem, pointer_of, sentence
from metamcp_asgi.aggregate.middleware.registry import check
from metamcp_asgi.config.document import document_of
from metamcp_asgi.config.file import compile_document
from metamcp_asgi.config.jsonc import plain_json
from metamcp_asgi.config.node import Node, step
from metamcp_asgi.config.parse import parse_json, parse_yaml
from metamcp_asgi.config.references import References
from metamcp_asgi.config.snapshot import Snapshot
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.store.scope import Scope

__all__ = ["Configuration", "Given", "compiled", "parsed", "told"]


class Configuration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    """A configuration, as in a file, in outline. ``variables`` are what its ``${VAR}`` mean, and no part of it.

    Without ``namespaces`` there is one with all servers, and without ``endpoints`` one for each namespace.
    """

    mcp_servers: dict[str, dict[str, Any]] = field(name="mcpServers")
    namespaces: dict[str, dict[str, Any]] | UnsetType = UNSET
    endpoints: dict[str, dict[str, Any]] | UnsetType = UNSET
    api_keys: list[dict[str, Any]] | UnsetType = UNSET
    variables: dict[str, str] | UnsetType = UNSET


class Given(Struct, frozen=True):
    """What a body said.

    Args:
        document: The document: any JSON-like value.
        variables: The variables that came with it.
    """

    document: Any
    variables: Mapping[str, str]

    def __repr__(self) -> str:
        return "Given(<hidden>)"


async def parsed(text: Text, *, lenient: bool = False) -> Given:
    """Parse a body, without holding up the event loop.

    Args:
        text: The body.
        lenient: Whether JSON may have comments and trailing commas.

    Raises:
        Problem: It is neither JSON nor YAML (400), or has what no document has (422).
    """
    return await asyncio.to_thread(_parse, text, lenient=lenient)


async def compiled(given: Given, scope: Scope | None = None) -> Snapshot:
    """Compile a document, without holding up the event loop.

    Args:
        given: The document, with its variables.
        scope: What it is meant for; ``None``: it has no variables but its own.

    Raises:
        Problem: Something is wrong with it (422); ``errors`` names the place.
    """
    return await asyncio.to_thread(_compile, given, scope)


@contextlib.contextmanager
def told(status: int = 422) -> Iterator[None]:
    """Tell an error in a document by its place there."""
    try:
        yield
    except ConfigError as error:
        pointer = pointer_of(error.path)
        detail = sentence(f"{pointer or 'The document'}: {error.reason}")
        raise Problem(status, detail, [Fault(error.reason, pointer=pointer)]) from None


def _parse(text: Text, *, lenient: bool) -> Given:
    try:
        if text.kind == YAML:
            _refuse_aliases(text.content)
            document = parse_yaml(text.content)
        else:
            document = parse_json(plain_json(text.content) if lenient else text.content)
    except ConfigError as error:
        if not error.path:
            raise Problem(400, sentence(f"The body is {error.reason}")) from None
        with told():
            raise
    with told():
        _check_texts(document, "")
        if not isinstance(document, dict):
            raise ConfigError("must be an object")
        given = Node(document.pop("variables", {}), {}, path="variables")
        variables: dict[str, str] = {}
        for name, node in given.entries():
            if not isinstance(node.value, str):
                raise node.error("must be text")
            variables[name] = node.value
    return Given(document, variables)


def _refuse_aliases(text: str) -> None:
    """Refuse what makes a small text a huge document: each alias may stand for ten others."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with contextlib.suppress(yaml.YAMLError):  # which is told, with its place, where the text is parsed
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=loader)):
            raise Problem(422, "The body has a YAML alias (*name), which is for files only; write out what it means.")


def _check_texts(value: Any, path: str) -> None:
    """Refuse keys that no database takes; of values, each reader does."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(key, str) and ("\0" in key or not _encodable(key)):
                raise ConfigError("has a key with a NUL character, or that isn't valid Unicode", path=path)
            _check_texts(inner, step(path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_texts(inner, f"{path}[{index}]")
    elif isinstance(value, str) and not _encodable(value):
        raise ConfigError("isn't valid Unicode", path=path)


def _encodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _compile(given: Given, scope: Scope | None) -> Snapshot:
    if scope is not None:
        return _compile_for(scope, given)
    with told():
        found = compile_document(given.document, environ=given.variables)
        check(found)
    return found


def _compile_for(scope: Scope, given: Given) -> Snapshot:
    document = given.document
    known = _Known()
    # Only of the servers, as a namespace may be such that no document can say it.
    exported = document_of(Snapshot(servers=scope.snapshot.servers, namespaces={}, endpoints={}), known)["mcpServers"]
    borrowed = {name for kind, name in scope.borrowed if kind == "server"}
    # Who may use a public server may not have its secrets, and so no variables for them: as it was exported, it is
    # what it is.
    entries = document.get("mcpServers")
    same: set[str] = set()
    if isinstance(entries, dict):
        same = {name for name in borrowed if name in entries and entries[name] == exported[name]}
        document = {**document, "mcpServers": entries | {name: {"command": "as it is"} for name in same}}
    own = {name: value for name, value in known.variables.items() if known.servers[name] not in borrowed}
    with told():
        found = compile_document(document, environ={**own, **given.variables})
        servers = {
            name: scope.snapshot.servers[name] if name in same else found.servers[name] for name in found.servers
        }
        wanted = Snapshot(servers=servers, namespaces=found.namespaces, endpoints=found.endpoints, keys=found.keys)
        check(wanted)
    return wanted


class _Known(References):
    """Remembers which server each variable is of."""

    __slots__ = ("servers",)

    def __init__(self) -> None:
        super().__init__()
        self.servers: dict[str, str] = {}

    def written(self, server: str, label: str, value: str) -> str:
        reference = super().written(server, label, value)
        self.servers[reference[2:-1]] = server
        return reference
