"""What runs, as the API shows it: a server's state and what it offers now.

Of this process: another one of the same store has connections of its own.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from metamcp_asgi.admin.api.shapes import Page, Shape
from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.aggregate.catalogue import Catalogue, Entry
from metamcp_asgi.store import models
from metamcp_asgi.store.compile import named
from metamcp_asgi.store.policy import Acting
from metamcp_asgi.store.services.namespaces import Place

__all__ = ["Health", "ServerHealth", "State", "Tool", "ToolPage", "catalogue_of", "health_of", "says", "tool_of"]

_STDERR_LINES = 20
State: TypeAlias = Literal["disabled", "starting", "ready", "failed"]
"""How a server does, in a word."""


class ServerHealth(Shape, frozen=True, kw_only=True, rename="camel"):
    """How a server does. ``stderr`` has its last lines, which may hold secrets: for admins only."""

    id: UUID
    name: str
    state: State
    error: str
    era: Literal["modern", "legacy"] | None = None
    revision: str | None = None
    server_info: dict[str, Any] | None = None
    tools: int | None = None
    stderr: Sequence[str] | None = None


class Health(Shape, frozen=True, kw_only=True, rename="camel"):
    """How all servers do that the caller may see."""

    status: Literal["ok", "degraded"]
    servers: Sequence[ServerHealth]


class Tool(Shape, frozen=True, kw_only=True, rename="camel"):
    """A tool in its server's own words."""

    name: str
    title: str | None
    description: str | None
    input_schema: Any
    output_schema: Any
    annotations: Any


class ToolPage(Page, frozen=True, kw_only=True, rename="camel"):
    """A page of what a server offers; there is none while it is ``starting``."""

    items: Sequence[Tool]
    state: State
    error: str


def catalogue_of(aggregator: Aggregator | None, row: models.Server | Place) -> Catalogue | None:
    """Return the running catalogue of a server; ``None`` while it is disabled, or not yet taken over."""
    return None if aggregator is None else aggregator.catalogues.get(named(row.name, row.owner_id))


def health_of(aggregator: Aggregator | None, row: models.Server | Place, caller: Acting) -> ServerHealth:
    """Return how a server does, as somebody may know it."""
    catalogue = catalogue_of(aggregator, row)
    if row.disabled or catalogue is None:
        # Without a catalogue it was added a moment ago, and the next snapshot has it.
        return ServerHealth(id=row.id, name=row.name, state="disabled" if row.disabled else "starting", error="")
    server = catalogue.server
    peer = server.peer
    lists = catalogue.lists
    return ServerHealth(
        id=row.id,
        name=row.name,
        state=server.state,
        error=catalogue.unavailable if server.state != "starting" else server.error,
        era=peer.era if peer is not None else None,
        revision=peer.revision if peer is not None else None,
        server_info=peer.server_info if peer is not None else None,
        tools=len(lists["tools/list"].entries) if lists is not None else None,
        stderr=server.stderr.splitlines()[-_STDERR_LINES:] if caller.admin else None,
    )


def tool_of(entry: Entry) -> Tool:
    """Return a tool of a catalogue."""
    known = {name: msgspec.json.decode(value) for name, value in entry.members.items()}
    return Tool(
        name=entry.key,
        title=_text(known.get("title")),
        description=_text(known.get("description")),
        input_schema=known.get("inputSchema"),
        output_schema=known.get("outputSchema"),
        annotations=known.get("annotations"),
    )


def says(entry: Entry, text: str) -> bool:
    """Tell whether a tool's name, title or description has a text, which is in small letters."""
    if text in entry.key.casefold():
        return True
    for name in ("title", "description"):
        if name in entry.members:
            words = _text(msgspec.json.decode(entry.members[name]))
            if words is not None and text in words.casefold():
                return True
    return False


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
