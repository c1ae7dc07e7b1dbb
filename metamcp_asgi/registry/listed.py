"""What a registry says of a server, in the registry's own shape, as far as it is of use here.

The shape is that of the generic registry API, v0.1 (modelcontextprotocol/registry, docs/reference/api/openapi.yaml).
What is not known is left out, so that a registry may say more. Knows nothing of how it is asked.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct, field

__all__ = ["Argument", "Input", "Listed", "Package", "Page", "Transport", "Unreadable", "read_page", "read_server"]

_Line = Annotated[str, Meta(max_length=2000, pattern=r"^[^\0]*$")]
Unreadable: Final = (msgspec.DecodeError, RecursionError)
"""What reading an answer raises: it has another shape, or is nested too deeply."""
_OFFICIAL: Final = "io.modelcontextprotocol.registry/official"


class _Told(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a registry tells; its lists may be ``null`` there."""


class Input(_Told, frozen=True, kw_only=True):
    """A value that is given, or that somebody has to give; ``name`` is that of a variable or header."""

    name: _Line = ""
    description: _Line | None = None
    is_required: bool = False
    is_secret: bool = False
    format: _Line | None = None
    value: _Line | None = None
    default: _Line | None = None
    placeholder: _Line | None = None
    choices: Sequence[_Line] | None = None
    variables: Mapping[str, "Input"] | None = None


class Argument(Input, frozen=True, kw_only=True):
    """An argument of a command line: ``positional``, or ``named`` with a flag as its ``name``."""

    type: _Line = "positional"
    value_hint: _Line | None = None


class Transport(_Told, frozen=True, kw_only=True):
    """How a server is spoken to: ``stdio``, ``streamable-http`` or ``sse``."""

    type: _Line = "stdio"
    url: _Line = ""
    headers: Sequence[Input] | None = None
    variables: Mapping[str, Input] | None = None


class Package(_Told, frozen=True, kw_only=True):
    """A package that has the server in it."""

    registry_type: _Line
    identifier: _Line
    version: _Line | None = None
    registry_base_url: _Line | None = None
    transport: Transport = Transport()
    runtime_arguments: Sequence[Argument] | None = None
    package_arguments: Sequence[Argument] | None = None
    environment_variables: Sequence[Input] | None = None


class _Repository(_Told, frozen=True, kw_only=True):
    url: _Line = ""


class Listed(_Told, frozen=True, kw_only=True):
    """A server, in one version of it."""

    name: Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\0]*$")]
    version: Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\0]*$")]
    description: _Line = ""
    title: _Line | None = None
    website_url: _Line | None = None
    repository: _Repository | None = None
    packages: Sequence[Package] | None = None
    remotes: Sequence[Transport] | None = None
    status: str = "active"
    """``active``, ``deprecated`` or ``deleted``."""


class Page(Struct, frozen=True):
    """Some of what a registry lists; ``following`` is the cursor of the next page."""

    servers: Sequence[Listed]
    following: str | None


class _Entry(Struct, frozen=True):
    server: msgspec.Raw
    meta: Mapping[str, Any] | None = field(default=None, name="_meta")


class _Metadata(_Told, frozen=True, kw_only=True):
    next_cursor: Annotated[str, Meta(max_length=1000)] | None = None


class _List(Struct, frozen=True):
    servers: Sequence[msgspec.Raw] | None = None
    metadata: _Metadata | None = None


def read_page(body: bytes) -> Page:
    """Return a list of servers that a registry answered with.

    Raises:
        Unreadable: It is none.
    """
    told = msgspec.json.decode(body, type=_List)
    found: list[Listed] = []
    for raw in told.servers or ():
        try:
            server = read_server(raw)
        except Unreadable:
            continue  # anybody may publish: what one says wrong must not hide the others
        if server.status != "deleted":
            found.append(server)
    return Page(found, (told.metadata.next_cursor if told.metadata is not None else None) or None)


def read_server(body: bytes | msgspec.Raw) -> Listed:
    """Return a server that a registry answered with.

    Raises:
        Unreadable: It is none.
    """
    entry = msgspec.json.decode(body, type=_Entry)
    server = msgspec.json.decode(entry.server, type=Listed)
    official = (entry.meta or {}).get(_OFFICIAL)
    status = official.get("status") if isinstance(official, dict) else None
    return msgspec.structs.replace(server, status=status if isinstance(status, str) else "active")
