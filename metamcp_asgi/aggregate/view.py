"""What a namespace publishes: one immutable answer to "what is listed" and "what does this name mean".

Both come from one pass over the same entries, so that what is advertised is callable, and what is switched off is
neither (advertised ⇔ callable). Built anew when a catalogue or the configuration changes; never on a call.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from metamcp_asgi.aggregate.catalogue import Catalogue, Entry
from metamcp_asgi.config.snapshot import Namespace, PrefixRule, ToolOverride
from metamcp_asgi.protocol import names, uris
from metamcp_asgi.protocol.headers import ParamHeader
from metamcp_asgi.protocol.jsonrpc import Members, encode
from metamcp_asgi.protocol.revisions import LISTS
from metamcp_asgi.upstream.server import Server

__all__ = ["Item", "Route", "View", "build"]

logger = logging.getLogger("metamcp.catalogue")

_AS_IS: Final = ToolOverride()


class Route(Struct, frozen=True, gc=False):
    """Where a published name leads.

    ``key`` is the name or URI at the server, ``raw`` the same as JSON. ``renamed`` knows those of the server's URIs
    that are published in another form, because another server has them, too.
    """

    server: Server
    catalogue: Catalogue
    key: str
    raw: Raw
    params: tuple[ParamHeader, ...] = ()
    renamed: "Renamed | None" = None


class Renamed(Struct, frozen=True):
    """Those of a server's URIs and templates that are published in another form, and in which.

    ``templates`` are the patterns of such templates, and how often their URIs have to be qualified.
    """

    server: str
    exact: dict[str, str]
    templates: list[tuple[re.Pattern[str], int]]

    def published(self, uri: str) -> str:
        """Return the published form of one of the server's URIs."""
        if (form := self.exact.get(uri)) is not None:
            return form
        for pattern, times in self.templates:
            if pattern.fullmatch(uri):
                for _ in range(times):
                    uri = uris.qualify(self.server, uri)
                break
        return uri

    def own(self, template: str, uri: str) -> str:
        """Return a URI of a published template as the server knows it."""
        # Every time that the template was qualified made it longer by the server's name and a plus sign.
        added = len(self.exact.get(template, template)) - len(template)
        for _ in range(added // (len(self.server) + 1)):
            if (parts := uris.unqualify(uri)) is not None:
                uri = parts[1]
        return uri


class Item(Struct, frozen=True, gc=False):
    """One line of a published list: its place in the order, and its JSON for either era."""

    place: tuple[int, str]
    modern: bytes
    legacy: bytes


class View(Struct, frozen=True):
    """What a namespace publishes at one moment.

    ``tools`` and ``prompts`` are keyed by every name that may be called, listed or not; ``refused`` are the names of
    tools that are switched off. ``items``, ``expires`` (on the clock of ``time.monotonic``) and ``public`` are keyed by
    list method. ``unavailable`` tells which servers are missing from the lists or outdated, and why.
    """

    tools: Mapping[str, Route]
    refused: frozenset[str]
    prompts: Mapping[str, Route]
    resources: Mapping[str, Route]
    templates: Sequence[tuple[re.Pattern[str], Route]]
    schemes: Mapping[str, Route]
    items: Mapping[str, Sequence[Item]]
    expires: Mapping[str, float]
    public: Mapping[str, bool]
    unavailable: Mapping[str, str]
    left_out: Sequence[str]
    """Tools and prompts that could not be published, because another one has their name."""

    def resource(self, uri: str) -> Route | None:
        """Return where a URI is read: listed, made from a template, or of a scheme that only one server uses (RE-05).

        A read is never tried on several servers (eras.md 2.14).
        """
        if (route := self.resources.get(uri)) is not None:
            return route
        for pattern, template in self.templates:
            if pattern.fullmatch(uri):
                renamed = template.renamed
                return _aimed(template, uri if renamed is None else renamed.own(template.key, uri))
        owner = self.schemes.get(uri.partition(":")[0])
        return _aimed(owner, uri) if owner is not None else None


def build(namespace: Namespace, catalogues: Sequence[Catalogue]) -> View:
    """Return what a namespace publishes.

    Args:
        namespace: Its configuration.
        catalogues: The catalogues of its servers, in its order.
    """
    renamed = _renamed(catalogues)
    tools = _Publisher(namespace.prefix, renamed)
    for index, catalogue, entry in _entries(catalogues, "tools/list"):
        override = namespace.tools.get((catalogue.server.name, entry.key), _AS_IS)
        tools.add(index, catalogue, entry, override)
    prompts = _Publisher(namespace.prefix, renamed)
    for index, catalogue, entry in _entries(catalogues, "prompts/list"):
        prompts.add(index, catalogue, entry, _AS_IS)
    tool_items, tool_routes, refused = tools.publish()
    prompt_items, prompt_routes, _ = prompts.publish()
    resources, resource_items = _resources(catalogues, "resources/list", "uri", renamed)
    templates, template_items = _resources(catalogues, "resources/templates/list", "uriTemplate", renamed)
    return View(
        tools=tool_routes,
        refused=refused,
        prompts=prompt_routes,
        resources=resources,
        templates=[(uris.template_pattern(template), route) for template, route in templates.items()],
        schemes=_schemes([*resources.values(), *templates.values()]),
        items={
            "tools/list": tool_items,
            "prompts/list": prompt_items,
            "resources/list": resource_items,
            "resources/templates/list": template_items,
        },
        expires={
            method: min((c.lists[method].expires for c in catalogues if c.lists is not None), default=0.0)
            for method in LISTS
        },
        public={method: all(c.lists is not None and c.lists[method].public for c in catalogues) for method in LISTS},
        unavailable={c.server.name: c.unavailable for c in catalogues if c.unavailable},
        left_out=[*tools.left_out, *prompts.left_out],
    )


class _Named(Struct, gc=False):
    """A tool or prompt on its way to its published name."""

    index: int
    entry: Entry
    route: Route
    override: ToolOverride
    base: str


class _Publisher:
    """Gives the tools (or prompts) of a namespace their published names, deterministically.

    Servers come in the namespace's order and their own names before overrides, so that an override never takes
    a name from a tool that has it by right.
    """

    def __init__(self, rule: PrefixRule, renamed: Mapping[str, Renamed]) -> None:
        self._rule = rule
        self._renamed = renamed
        self._all: list[_Named] = []
        self.left_out: list[str] = []

    def add(self, index: int, catalogue: Catalogue, entry: Entry, override: ToolOverride) -> None:
        server = catalogue.server
        route = Route(
            server, catalogue, entry.key, Raw(encode(entry.key)), entry.params, self._renamed.get(server.name)
        )
        self._all.append(_Named(index, entry, route, override, override.name or entry.key))

    def publish(self) -> tuple[list[Item], dict[str, Route], frozenset[str]]:
        """Return the list, where every callable name leads, and the names of what is switched off."""
        published = self._published()
        items = sorted((_item(name, named) for name, named in published.items()), key=lambda item: item.place)
        meaning = self._meaning(published)
        routes = {name: named.route for name, named in meaning.items() if named.override.enabled}
        return items, routes, frozenset(meaning.keys() - routes.keys())

    def _published(self) -> dict[str, _Named]:
        published: dict[str, _Named] = {}
        enabled = [named for named in self._all if named.override.enabled]
        uses = Counter(named.base for named in enabled)
        for named in sorted(enabled, key=lambda named: named.base != named.entry.key):
            server = named.route.server.name
            for base in dict.fromkeys((named.base, named.entry.key)):
                bare = self._rule == "never" or (self._rule == "on-collision" and uses[base] <= 1)
                name = base if bare else names.qualify(server, base)
                if name not in published:
                    published[name] = named
                    break
            else:
                self.left_out.append(f"{named.base} of server {server}")
                logger.warning("%s is left out, because another one has its name", self.left_out[-1])
        return published

    def _meaning(self, published: Mapping[str, _Named]) -> dict[str, _Named]:
        """Return what each name means, listed or not, switched off or not.

        After the listed names come those with their server, of which the original one of an overridden tool stays
        callable as in MetaMCP (dossier 4.4); then bare names where unambiguous, which pages of MCP Apps call (AP-01).
        """
        meaning = dict(published)
        for named in self._all:
            meaning.setdefault(names.qualify(named.route.server.name, named.entry.key), named)
        for named in self._all:
            meaning.setdefault(names.qualify(named.route.server.name, named.base), named)
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


def _item(name: str, named: _Named) -> Item:
    members: Members = {**named.entry.members, "name": Raw(encode(name))}
    override = named.override
    if override.title is not None:
        members["title"] = Raw(encode(override.title))
    if override.description is not None:
        members["description"] = Raw(encode(override.description))
    if override.annotations is not None:
        own = _decode_object(members.get("annotations"))
        members["annotations"] = Raw(encode({**own, **override.annotations}))
    if named.route.renamed is not None and "_meta" in members:
        members["_meta"] = _with_published_ui(members["_meta"], named.route.renamed)
    return _for_both_eras((named.index, named.entry.key), members)


def _for_both_eras(place: tuple[int, str], members: Members) -> Item:
    legacy = encode(members)
    # `execution` is a field of 2025-11-25 that 2026-07-28 does not have (eras.md 2.4).
    modern = encode({k: v for k, v in members.items() if k != "execution"}) if "execution" in members else legacy
    return Item(place, modern, legacy)


def _resources(
    catalogues: Sequence[Catalogue], method: str, member: str, renamed: Mapping[str, Renamed]
) -> tuple[dict[str, Route], list[Item]]:
    routes: dict[str, Route] = {}
    items: list[Item] = []
    for index, catalogue, entry in _entries(catalogues, method):
        server = catalogue.server
        others = renamed.get(server.name)
        published = entry.key if others is None else others.exact.get(entry.key, entry.key)
        routes[published] = Route(server, catalogue, entry.key, Raw(encode(entry.key)), (), others)
        items.append(_for_both_eras((index, entry.key), {**entry.members, member: Raw(encode(published))}))
    return routes, items


def _renamed(catalogues: Sequence[Catalogue]) -> dict[str, Renamed]:
    """Return, by server, which of its URIs and templates are published in another form, and in which."""
    renamed: dict[str, Renamed] = {}
    for method in ("resources/list", "resources/templates/list"):
        published = {(c.server.name, entry.key): (0, entry.key) for _, c, entry in _entries(catalogues, method)}
        # A form that tells two servers apart may be what somebody calls a URI of their own, so this is repeated until
        # all differ. Of those that clash, the ones that were changed least give way.
        while (clash := _clash(published)) is not None:
            level = min(level for level, uri in published.values() if uri == clash)
            for (server, key), form in published.items():
                if form == (level, clash):
                    published[server, key] = (level + 1, uris.qualify(server, clash))
        for (server, key), (level, uri) in published.items():
            if level:
                of_server = renamed.setdefault(server, Renamed(server, {}, []))
                of_server.exact[key] = uri
                if method == "resources/templates/list":
                    of_server.templates.append((uris.template_pattern(key), level))
    return renamed


def _clash(published: Mapping[tuple[str, str], tuple[int, str]]) -> str | None:
    uses = Counter(uri for _, uri in published.values())
    return next((uri for uri, count in uses.items() if count > 1), None)


def _schemes(routes: Sequence[Route]) -> dict[str, Route]:
    owners: dict[str, dict[str, Route]] = {}
    for route in routes:
        owners.setdefault(route.key.partition(":")[0], {})[route.server.name] = route
    return {scheme: next(iter(of.values())) for scheme, of in owners.items() if len(of) == 1}


def _aimed(route: Route, uri: str) -> Route:
    return Route(route.server, route.catalogue, uri, Raw(encode(uri)), (), route.renamed)


def _entries(catalogues: Sequence[Catalogue], method: str) -> Iterator[tuple[int, Catalogue, Entry]]:
    for index, catalogue in enumerate(catalogues):
        if catalogue.lists is not None:
            for entry in catalogue.lists[method].entries:
                yield index, catalogue, entry


def _with_published_ui(meta: Raw, renamed: Renamed) -> Raw:
    """Return a tool's ``_meta`` with the URI of its MCP App as it is published (AP-01)."""
    decoded = _decode_object(meta)
    ui = decoded.get("ui")
    if not isinstance(ui, dict) or not isinstance(ui.get("resourceUri"), str):
        return meta
    return Raw(encode({**decoded, "ui": {**ui, "resourceUri": renamed.published(ui["resourceUri"])}}))


def _decode_object(value: Raw | None) -> dict[str, Any]:
    decoded = msgspec.json.decode(value) if value is not None else {}
    return decoded if isinstance(decoded, dict) else {}
