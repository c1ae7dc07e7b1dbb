"""Catalogues as plain data, and the view that a namespace of them publishes."""

import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from msgspec import Raw

from metamcp_asgi.aggregate.catalogue import Entry, Listing
from metamcp_asgi.aggregate.published import Route
from metamcp_asgi.aggregate.view import View, build
from metamcp_asgi.config.snapshot import Namespace, PrefixRule, ToolOverride
from metamcp_asgi.protocol.revisions import LISTS

_KEYS = {"resources/list": "uri", "resources/templates/list": "uriTemplate"}


def entry(method: str, key: str, **members: Any) -> Entry:
    definition = {_KEYS.get(method, "name"): key, **members}
    return Entry(key, {name: Raw(json.dumps(value).encode()) for name, value in definition.items()})


def catalogue(server: str, *, down: str = "", **lists: Sequence[Entry]) -> Any:
    """Returns what `build` reads of a catalogue: its server, its lists, and what is wrong with it.

    Args:
        server: the server's name.
        down: why it has no lists.
        lists: `tools`, `prompts`, `resources` and `templates`.
    """
    named = {"resourceTemplates": "templates"}
    read = {
        method: Listing(tuple(sorted(lists.get(named.get(member, member), ()), key=lambda each: each.key)), 1e12, True)
        for method, member in LISTS.items()
    }
    return SimpleNamespace(
        server=SimpleNamespace(name=server, peer=None), lists=None if down else read, unavailable=down
    )


def tools(server: str, *names: str) -> Any:
    """Returns a catalogue whose tools say in their description whose they are."""
    return catalogue(server, tools=[entry("tools/list", name, description=f"{server}/{name}") for name in names])


def view_of(
    *catalogues: Any, prefix: PrefixRule = "always", overrides: Mapping[tuple[str, str], ToolOverride] | None = None
) -> View:
    names = tuple(each.server.name for each in catalogues)
    return build(Namespace(name="n", servers=names, prefix=prefix, tools=overrides or {}), catalogues)


def listed(view: View, method: str = "tools/list") -> list[dict[str, Any]]:
    return [json.loads(item.modern) for item in view.items[method]]


def names(view: View, method: str = "tools/list") -> list[str]:
    return [item["name"] for item in listed(view, method)]


def aim(route: Route | None) -> tuple[str, str] | None:
    """Returns server and own name of what a route leads to."""
    return None if route is None else (route.server.name, route.key)


def called(view: View, name: str) -> tuple[str, str] | None:
    return aim(view.tools.get(name))
