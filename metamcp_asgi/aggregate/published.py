"""The parts of a view: one line of a published list, and where a published name leads."""

import re
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from msgspec import Raw, Struct

from metamcp_asgi.aggregate.catalogue import Catalogue, Entry
from metamcp_asgi.protocol import uris
from metamcp_asgi.protocol.downgrade import object_schema
from metamcp_asgi.protocol.headers import ParamHeader
from metamcp_asgi.protocol.jsonrpc import Members, encode
from metamcp_asgi.upstream.interface import Server

__all__ = ["Item", "Renamed", "Route", "TaskSupport", "entries_of", "item_of"]

TaskSupport: TypeAlias = Literal["", "optional", "required", "extension"]
"""How a tool can run as a task: not; as one of 2025-11-25, if somebody wants that, or only so; or, because its server
has the tasks extension, whenever that decides so."""


class Route(Struct, frozen=True, gc=False):
    """Where a published name leads.

    ``key`` is the name or URI at the server, ``raw`` the same as JSON. ``renamed`` knows those of the server's URIs
    that are published in another form, because another server has them, too. ``task`` says how a tool can run as one.
    """

    server: Server
    catalogue: Catalogue
    key: str
    raw: Raw
    params: tuple[ParamHeader, ...] = ()
    renamed: "Renamed | None" = None
    task: TaskSupport = ""


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
    """One line of a published list: its place in the order, and its JSON for the latest revision of either era."""

    place: tuple[int, str]
    modern: bytes
    legacy: bytes


def item_of(place: tuple[int, str], members: Members) -> Item:
    """Return a definition as a line of the list for either era."""
    modern = legacy = encode(members)
    # `execution` is a field of 2025-11-25 that 2026-07-28 does not have (eras.md 2.4), which in turn knows results that
    # are no objects (TO-06).
    if "execution" in members:
        modern = encode({name: value for name, value in members.items() if name != "execution"})
    if not object_schema(members.get("outputSchema")):
        legacy = encode({name: value for name, value in members.items() if name != "outputSchema"})
    return Item(place, modern, legacy)


def entries_of(catalogues: Sequence[Catalogue], method: str) -> Iterator[tuple[int, Catalogue, Entry]]:
    """Yield what the servers have in one kind of list, each with the place of its server."""
    for index, catalogue in enumerate(catalogues):
        if catalogue.lists is not None:
            for entry in catalogue.lists[method].entries:
                yield index, catalogue, entry
