"""Which URI a resource or template is published under: its own, unless another server has it as well (eras.md 2.14)."""

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Raw

from metamcp_asgi.aggregate.catalogue import Catalogue
from metamcp_asgi.aggregate.published import Item, Renamed, Route, entries_of, item_of
from metamcp_asgi.protocol import uris
from metamcp_asgi.protocol.jsonrpc import encode

__all__ = ["publish", "renamed", "schemes"]


def renamed(catalogues: Sequence[Catalogue]) -> dict[str, Renamed]:
    """Return, by server, which of its URIs and templates are published in another form, and in which."""
    found: dict[str, Renamed] = {}
    for method in ("resources/list", "resources/templates/list"):
        published = {(c.server.name, entry.key): (0, entry.key) for _, c, entry in entries_of(catalogues, method)}
        # A form that tells two servers apart may be what somebody calls a URI of their own, so this is repeated until
        # all differ. Of those that clash, the ones that were changed least give way.
        while (clash := _clash(published)) is not None:
            level = min(level for level, uri in published.values() if uri == clash)
            for (server, key), form in published.items():
                if form == (level, clash):
                    published[server, key] = (level + 1, uris.qualify(server, clash))
        for (server, key), (level, uri) in published.items():
            if level:
                of_server = found.setdefault(server, Renamed(server, {}, []))
                of_server.exact[key] = uri
                if method == "resources/templates/list":
                    of_server.templates.append((uris.template_pattern(key), level))
    return found


def publish(
    catalogues: Sequence[Catalogue], method: str, member: str, renamed: Mapping[str, Renamed]
) -> tuple[dict[str, Route], list[Item]]:
    """Return where each published URI (or template) of a list leads, and the list.

    Args:
        catalogues: The catalogues of a namespace, in its order.
        method: The list.
        member: The member that holds the URI.
        renamed: What ``renamed`` says of the same catalogues.
    """
    routes: dict[str, Route] = {}
    items: list[Item] = []
    for index, catalogue, entry in entries_of(catalogues, method):
        server = catalogue.server
        others = renamed.get(server.name)
        published = entry.key if others is None else others.exact.get(entry.key, entry.key)
        routes[published] = Route(server, catalogue, entry.key, Raw(encode(entry.key)), (), others)
        items.append(item_of((index, entry.key), {**entry.members, member: Raw(encode(published))}))
    return routes, items


def schemes(routes: Sequence[Route]) -> dict[str, Route]:
    """Return, for each URI scheme that only one server uses, a route to that server."""
    owners: dict[str, dict[str, Route]] = {}
    for route in routes:
        owners.setdefault(route.key.partition(":")[0], {})[route.server.name] = route
    return {scheme: next(iter(of.values())) for scheme, of in owners.items() if len(of) == 1}


def _clash(published: Mapping[tuple[str, str], tuple[int, str]]) -> str | None:
    uses = Counter(uri for _, uri in published.values())
    return next((uri for uri, count in uses.items() if count > 1), None)
