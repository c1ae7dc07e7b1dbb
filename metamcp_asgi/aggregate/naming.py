"""Which name a tool or prompt is published under, and what every other name means.

One pass over the same entries decides both what is listed and what is callable (advertised ⇔ callable).
"""

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from metamcp_asgi.aggregate.catalogue import Catalogue, Entry
from metamcp_asgi.aggregate.published import Item, Renamed, Route, TaskSupport, item_of
from metamcp_asgi.config.snapshot import PrefixRule, ToolOverride
from metamcp_asgi.protocol import names
from metamcp_asgi.protocol.capabilities import TASKS
from metamcp_asgi.protocol.jsonrpc import Members, encode
from metamcp_asgi.upstream.interface import Server

__all__ = ["MODELS_TAKE", "Publisher"]

logger = logging.getLogger("metamcp.catalogue")

MODELS_TAKE: Final = 64
"""Characters of a tool's name that the interfaces of most models take; MCP itself allows 128 (eras.md 2.4)."""

_OFFERED: Final = Raw(b'{"taskSupport":"optional"}')
"""What legacy clients are told of a tool that can run as a task. Never ``required``: for a client that wants no task,
one is driven here (eras.md 2.13)."""
_NO_TASKS: Final = Raw(b'{"taskSupport":"forbidden"}')


class _Named(Struct, gc=False):
    """A tool or prompt on its way to its published name."""

    index: int
    catalogue: Catalogue
    entry: Entry
    override: ToolOverride
    base: str


class Publisher:
    """Gives the tools (or prompts) of a namespace their published names, deterministically.

    Servers come in the namespace's order and their own names before overrides, so that an override never takes
    a name from a tool that has it by right.

    Args:
        rule: When a name has its server before it.
        renamed: Which URIs of which servers are published in another form.
        tasks: Whether what is published can run as a task, as tools can.
    """

    def __init__(self, rule: PrefixRule, renamed: Mapping[str, Renamed], *, tasks: bool = False) -> None:
        self._tasks = tasks
        self._rule = rule
        self._renamed = renamed
        self._all: list[_Named] = []
        self.left_out: list[str] = []
        self.long: list[str] = []
        """The published names that many models do not take."""

    def add(self, index: int, catalogue: Catalogue, entry: Entry, override: ToolOverride) -> None:
        """Add one tool or prompt.

        Args:
            index: The place of its server in the namespace.
            catalogue: The server's catalogue.
            entry: The tool or prompt.
            override: What the namespace changes about it.
        """
        self._all.append(_Named(index, catalogue, entry, override, override.name or entry.key))

    def publish(self) -> tuple[list[Item], dict[str, Route], frozenset[str]]:
        """Return the list, where every callable name leads, and the names of what is switched off."""
        published = self._published()
        for each in self.left_out:
            logger.warning("%s is left out, because another one has its name", each)
        self.long = sorted(name for name in published if len(name) > MODELS_TAKE)
        leads = {id(named): self._route(named) for named in self._all}
        lines = (_item(name, named, leads[id(named)]) for name, named in published.items())
        items = sorted(lines, key=lambda item: item.place)
        meaning = self._meaning(published)
        routes = {name: leads[id(named)] for name, named in meaning.items() if named.override.enabled}
        return items, routes, frozenset(meaning.keys() - routes.keys())

    def find(self, server: str, key: str) -> tuple[str, Item] | None:
        """Return the published name of one of them, and its line of the list; ``None``: it is not in there.

        Args:
            server: The name of its server.
            key: Its own name there.
        """
        for name, named in self._published().items():
            if named.entry.key == key and named.catalogue.server.name == server:
                return name, _item(name, named, self._route(named))
        return None

    def _route(self, named: _Named) -> Route:
        server, entry = named.catalogue.server, named.entry
        return Route(
            server,
            named.catalogue,
            entry.key,
            Raw(encode(entry.key)),
            entry.params,
            self._renamed.get(server.name),
            _task_support(server, entry) if self._tasks else "",
        )

    def _published(self) -> dict[str, _Named]:
        published: dict[str, _Named] = {}
        enabled = [named for named in self._all if named.override.enabled]
        uses = Counter(named.base for named in enabled) if self._rule == "on-collision" else {}
        for named in sorted(enabled, key=lambda named: named.base != named.entry.key):
            server = named.catalogue.server.name
            for base in (named.base,) if named.base == named.entry.key else (named.base, named.entry.key):
                bare = self._rule == "never" or (self._rule == "on-collision" and uses[base] <= 1)
                name = base if bare else names.qualify(server, base)
                if name not in published:
                    published[name] = named
                    break
            else:
                self.left_out.append(f"{named.base} of server {server}")
        return published

    def _meaning(self, published: Mapping[str, _Named]) -> dict[str, _Named]:
        """Return what each name means, listed or not, switched off or not.

        After the listed names come those with their server, of which the original one of an overridden tool stays
        callable as in MetaMCP (dossier 4.4); then bare names where unambiguous, which pages of MCP Apps call (AP-01).
        """
        meaning = dict(published)
        for named in self._all:
            meaning.setdefault(names.qualify(named.catalogue.server.name, named.entry.key), named)
        for named in self._all:
            meaning.setdefault(names.qualify(named.catalogue.server.name, named.base), named)
        shown = {id(named) for named in published.values()}
        known = [named for named in self._all if id(named) in shown or not named.override.enabled]
        owners: dict[str, list[_Named]] = {}
        for named in known:
            for bare in {named.base, named.entry.key}:
                owners.setdefault(bare, []).append(named)
        for bare, those in owners.items():
            if len(those) == 1 or not any(named.override.enabled for named in those):
                meaning.setdefault(bare, those[0])
        # What could not be listed is not callable either, but nobody else answers to its name.
        return {name: named for name, named in meaning.items() if id(named) in shown or not named.override.enabled}


def _task_support(server: Server, entry: Entry) -> TaskSupport:
    """Return how a tool can run as a task, by what it says and what its server declares (TK-07)."""
    peer = server.peer
    if peer is None:
        return ""
    if peer.era == "modern":
        return "extension" if _declares(peer.capabilities, "extensions", TASKS) else ""
    support = _decode_object(entry.members.get("execution")).get("taskSupport")
    if support == "required":
        return "required"
    # With the sharing "call", each request has a session of its own, which knows no task of another.
    able = _declares(peer.capabilities, "tasks", "requests", "tools", "call") and server.config.sharing != "call"
    return "optional" if support == "optional" and able else ""


def _declares(capabilities: Any, *path: str) -> bool:
    for part in path:
        capabilities = capabilities.get(part) if isinstance(capabilities, dict) else None
    return isinstance(capabilities, dict)


def _item(name: str, named: _Named, route: Route) -> Item:
    members: Members = {**named.entry.members, "name": Raw(encode(name))}
    override = named.override
    if override.title is not None:
        members["title"] = Raw(encode(override.title))
    if override.description is not None:
        members["description"] = Raw(encode(override.description))
    if override.annotations is not None:
        own = _decode_object(members.get("annotations"))
        members["annotations"] = Raw(encode({**own, **override.annotations}))
    if route.task:
        members["execution"] = _OFFERED
    elif "execution" in members:
        members["execution"] = _NO_TASKS
    if route.renamed is not None and "_meta" in members:
        members["_meta"] = _with_published_ui(members["_meta"], route.renamed)
    return item_of((named.index, named.entry.key), members)


def _with_published_ui(meta: Raw, renamed: Renamed) -> Raw:
    """Return a tool's ``_meta`` with the URI of its MCP App as it is published (AP-01)."""
    if b"resourceUri" not in bytes(meta):
        return meta
    changed = _decode_object(meta)
    ui = changed.get("ui")
    if isinstance(ui, dict) and isinstance(uri := ui.get("resourceUri"), str):
        changed["ui"] = {**ui, "resourceUri": renamed.published(uri)}
    # Before SEP-1865 was final it was a key of its own, which kits for servers write as well.
    if isinstance(uri := changed.get("ui/resourceUri"), str):
        changed["ui/resourceUri"] = renamed.published(uri)
    return Raw(encode(changed))


def _decode_object(value: Raw | None) -> dict[str, Any]:
    decoded = msgspec.json.decode(value) if value is not None else {}
    return decoded if isinstance(decoded, dict) else {}
