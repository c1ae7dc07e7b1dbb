"""How the tools of a namespace are shown, and what is given to switch many of them.

Knows rows and what servers offer; knows nothing of HTTP.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from metamcp_asgi.admin.api.shapes import Page, Shape
from metamcp_asgi.aggregate.catalogue import Entry
from metamcp_asgi.store import models
from metamcp_asgi.store.services.contents import Setting
from metamcp_asgi.store.services.namespaces import Place

__all__ = ["Counts", "NamespaceTool", "NamespaceToolPage", "Own", "Preview", "Switch", "Switched"]


class Own(Shape, frozen=True, kw_only=True, rename="camel"):
    """What the server itself says of its tool."""

    title: str | None
    description: str | None
    annotations: Any

    @classmethod
    def of(cls, entry: Entry) -> "Own":
        """Return what a server says of a tool."""
        # Not the schemas, which are the most of it: there may be thousands of tools.
        title, description, annotations = (
            msgspec.json.decode(entry.members[name]) if name in entry.members else None
            for name in ("title", "description", "annotations")
        )
        return cls(title=_text(title), description=_text(description), annotations=annotations)


class NamespaceTool(Shape, frozen=True, kw_only=True, rename="camel"):
    """A tool in a namespace. ``name`` and what follows are overrides; null is the server's own.

    ``offered``: whether the server offers it now, with ``own`` words; settings of tools that it doesn't are kept.
    """

    server_id: UUID
    server: str
    tool: str
    offered: bool
    enabled: bool
    name: str | None = None
    title: str | None = None
    description: str | None = None
    annotations: Mapping[str, Any] | None = None
    version: int = 0
    own: Own | None = None

    @classmethod
    def of(
        cls, server: Place, tool: str, row: models.ToolSetting | Setting | None, entry: Entry | None
    ) -> "NamespaceTool":
        """Return a tool as it is shown.

        Args:
            server: Its server.
            tool: The server's own name for it.
            row: What is set of it, if anything is.
            entry: What the server offers; ``None``: nothing now.
        """
        known: dict[str, Any] = {"server_id": server.id, "server": server.name, "tool": tool}
        known |= {"offered": entry is not None, "own": None if entry is None else Own.of(entry)}
        if row is None:
            return cls(**known, enabled=True)
        set_ = ("enabled", "name", "title", "description", "annotations", "version")
        return cls(**known, **{name: getattr(row, name) for name in set_})


class Counts(Shape, frozen=True, kw_only=True, rename="camel"):
    """How many tools there are, whatever the page shows; ``found``: how many fit what was asked for."""

    found: int
    all: int
    on: int
    off: int
    overridden: int
    missing: int


class NamespaceToolPage(Page, frozen=True, kw_only=True, rename="camel"):
    """A page of the tools of a namespace."""

    items: Sequence[NamespaceTool]
    counts: Counts


class Switch(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which tools to switch, and whether on or off; ``*`` and ``?`` stand for any characters and any one."""

    pattern: Annotated[str, Meta(min_length=1, max_length=500, description="On `server__tool`: `time__*`.")]
    enabled: bool
    server_id: Annotated[UUID | None, Meta(description="The server of which tools are switched; null for all.")] = None
    dry_run: Annotated[bool, Meta(description="Only tell what would be switched.")] = False
    limit: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="How many of them the answer names at most, of all that are switched; null: all."),
    ] = None


class Switched(Shape, frozen=True, kw_only=True, rename="camel"):
    """The tools that are switched otherwise now, or would be; ``number``: how many they are, be they named or not."""

    items: Sequence[NamespaceTool]
    number: int


class Preview(Shape, frozen=True, kw_only=True, rename="camel"):
    """A tool as clients would see it: its published ``name``, and its line of ``tools/list`` for either era.

    Null, when it is not listed: ``because`` it is switched ``off``, its server does not take part (``inactive``) or
    does not offer it now (``missing``), or another tool has its name (``taken``). ``long``: the name has more than 64
    characters, which many models do not take. ``later``: middlewares that may still change the list.
    """

    name: str | None
    because: Literal["", "off", "inactive", "missing", "taken"]
    long: bool
    modern: Any
    legacy: Any
    later: bool


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
