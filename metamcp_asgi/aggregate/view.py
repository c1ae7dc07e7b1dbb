"""What a namespace publishes: one immutable answer to "what is listed" and "what does this name mean".

Built anew when a catalogue or the configuration changes; never on a call.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Raw, Struct

from metamcp_asgi.aggregate import resources
from metamcp_asgi.aggregate.catalogue import Catalogue
from metamcp_asgi.aggregate.naming import Publisher
from metamcp_asgi.aggregate.published import Item, Renamed, Route, entries_of
from metamcp_asgi.config.snapshot import Namespace, ToolOverride
from metamcp_asgi.protocol import uris
from metamcp_asgi.protocol.jsonrpc import encode
from metamcp_asgi.protocol.revisions import LISTS

__all__ = ["View", "build", "tool_of"]

MAX_URI: Final = 8 * 1024
"""Characters of a URI that is not listed; what no server has told of is not worth the search for its owner."""
_AS_IS: Final = ToolOverride()


class View(Struct, frozen=True):
    """What a namespace publishes at one moment.

    ``tools`` and ``prompts`` are keyed by every name that may be called, listed or not; ``refused`` are the names of
    tools that are switched off. ``references`` are the templates by their published text. ``items``, ``expires`` (on
    the clock of ``time.monotonic``) and ``public`` are keyed by list method. ``unavailable`` tells which servers are
    missing from the lists or outdated, and why.
    """

    tools: Mapping[str, Route]
    refused: frozenset[str]
    prompts: Mapping[str, Route]
    resources: Mapping[str, Route]
    templates: Sequence[tuple[re.Pattern[str], Route]]
    references: Mapping[str, Route]
    schemes: Mapping[str, Route]
    items: Mapping[str, Sequence[Item]]
    expires: Mapping[str, float]
    public: Mapping[str, bool]
    unavailable: Mapping[str, str]
    left_out: Sequence[str]
    """Tools and prompts that could not be published, because another one has their name."""
    long: Sequence[str]
    """Published names of tools with more characters than many models take (``MODELS_TAKE``)."""

    def resource(self, uri: str) -> Route | None:
        """Return where a URI is read: listed, made from a template, or of a scheme that only one server uses (RE-05).

        A read is never tried on several servers (eras.md 2.14). Unless it is listed, a URI has ``MAX_URI`` characters
        at most.
        """
        if (route := self.resources.get(uri)) is not None:
            return route
        if len(uri) > MAX_URI:
            return None
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
    renamed = resources.renamed(catalogues)
    tools = _tools(namespace, catalogues, renamed)
    prompts = Publisher(namespace.prefix, renamed)
    for index, catalogue, entry in entries_of(catalogues, "prompts/list"):
        prompts.add(index, catalogue, entry, _AS_IS)
    tool_items, tool_routes, refused = tools.publish()
    prompt_items, prompt_routes, _ = prompts.publish()
    resource_routes, resource_items = resources.publish(catalogues, "resources/list", "uri", renamed)
    templates, template_items = resources.publish(catalogues, "resources/templates/list", "uriTemplate", renamed)
    return View(
        tools=tool_routes,
        refused=refused,
        prompts=prompt_routes,
        resources=resource_routes,
        templates=[(uris.template_pattern(template), route) for template, route in templates.items()],
        references=templates,
        schemes=resources.schemes([*resource_routes.values(), *templates.values()]),
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
        long=tools.long,
    )


def tool_of(namespace: Namespace, catalogues: Sequence[Catalogue], server: str, tool: str) -> tuple[str, Item] | None:
    """Return the published name of one tool and its line of ``tools/list``, as ``build`` would have them.

    Args:
        namespace: The configuration, be it one that is only planned.
        catalogues: The catalogues of its servers, in its order.
        server: The name of the tool's server.
        tool: The server's own name for it.

    Returns:
        ``None``: It is not listed.
    """
    return _tools(namespace, catalogues, resources.renamed(catalogues)).find(server, tool)


def _tools(namespace: Namespace, catalogues: Sequence[Catalogue], renamed: Mapping[str, Renamed]) -> Publisher:
    tools = Publisher(namespace.prefix, renamed, tasks=True)
    for index, catalogue, entry in entries_of(catalogues, "tools/list"):
        override = namespace.tools.get((catalogue.server.name, entry.key), _AS_IS)
        tools.add(index, catalogue, entry, override)
    return tools


def _aimed(route: Route, uri: str) -> Route:
    return Route(route.server, route.catalogue, uri, Raw(encode(uri)), (), route.renamed)
