"""A namespace at work: the catalogues of its servers and what they currently publish together."""

import asyncio
import logging
import time
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.catalogue import LISTS_OF, Catalogue
from metamcp_asgi.aggregate.middleware.chain import Chain
from metamcp_asgi.aggregate.naming import MODELS_TAKE
from metamcp_asgi.aggregate.page import Page, Pager
from metamcp_asgi.aggregate.published import Item, Renamed, Route
from metamcp_asgi.aggregate.view import View, build
from metamcp_asgi.config import snapshot
from metamcp_asgi.protocol import names
from metamcp_asgi.protocol.hops import hops_of, loop
from metamcp_asgi.upstream.interface import Server
from metamcp_asgi.upstream.request import Change

__all__ = ["REVALIDATION_SECONDS", "Running"]

logger = logging.getLogger("metamcp")

REVALIDATION_SECONDS = 0.25
"""How long a list waits for the servers whose list is stale before it is answered from what is known."""

NESTED_SECONDS = 1.0
"""How long another gateway's list request waits for servers that were never read: two that read each other would wait
for each other. Of what comes later it is told."""

MAX_INSTRUCTIONS = 8_192
"""Characters of one server's instructions that are passed on."""
MAX_ALL_INSTRUCTIONS = 65_536
"""Characters of all instructions together; they are part of what a client puts before its model."""

MAX_WARNINGS = 100
"""Of how many tools of one namespace it is said that their names are long."""

_KIND_OF: dict[str, Change] = {method: kind for kind, methods in LISTS_OF.items() for method in methods}


class Shown(Struct, frozen=True):
    """What the middlewares leave of a list, and the places of it."""

    items: Sequence[Item]
    places: frozenset[tuple[int, str]]


class Running:
    """One configured namespace with the running catalogues of its servers.

    Args:
        config: Its configuration.
        catalogues: The catalogues of its enabled servers, in its order.
        pager: Cuts lists into pages.
        deadline: Seconds that a list waits for a server that has never been read.
        node: Its name among the namespaces of all gateways.
        chain: Its middlewares, if it has any.
    """

    def __init__(
        self,
        config: snapshot.Namespace,
        catalogues: Sequence[Catalogue],
        pager: Pager,
        deadline: float,
        *,
        node: str,
        chain: Chain | None = None,
    ) -> None:
        self.config = config
        self.catalogues = catalogues
        self.node = node
        self.hops = hops_of((node,))
        self.chain = chain
        self._pager = pager
        self._deadline = deadline
        self._order = [catalogue.server.name for catalogue in catalogues]
        self._view: View | None = None
        self._pages: dict[tuple[str, bool], Page] = {}
        self._shown: dict[str, Shown] = {}
        self._offered: object = None
        self._looping: set[str] = set()
        self._warned_of: set[str] = set()

    @property
    def view(self) -> View:
        """What the namespace publishes now."""
        if self._view is None:
            self._view = build(self.config, self.catalogues)
            for name in self._view.long:
                self._warn_of(name)
        return self._view

    def instructions(self) -> str:
        """Return what a model should know: the namespace's own words, then those of its servers that are there now."""
        parts = [self.config.description] if self.config.description else []
        for catalogue in self.catalogues:
            peer = catalogue.server.peer
            if peer is not None and (told := peer.instructions.strip()):
                parts.append(f"## {catalogue.server.name}\n\n{told[:MAX_INSTRUCTIONS]}")
        return "\n\n".join(parts)[:MAX_ALL_INSTRUCTIONS]

    def renamed(self, server: Server) -> Renamed | None:
        """Return which of a server's URIs are published in another form."""
        return next((route.renamed for route in self.view.tools.values() if route.server is server), None)

    def outdate(self) -> None:
        """Have the view built anew when it is next needed: a catalogue has changed."""
        self._view = None
        self._pages.clear()
        self._shown.clear()
        if self.chain is not None:
            # Often a list is read again and says the same.
            offered = [
                {method: listing.entries for method, listing in c.lists.items()} if c.lists is not None else None
                for c in self.catalogues
            ]
            if offered != self._offered:
                self._offered = offered
                self.chain.changed()

    async def settle(self, *, nested: bool = False) -> None:
        """Wait for servers that were never read, none longer than the deadline after its start.

        Args:
            nested: Whether another gateway asks.
        """
        waiting = [catalogue for catalogue in self.catalogues if not catalogue.attempted]
        if waiting and nested:
            await _for_a_while(waiting, NESTED_SECONDS)
        elif waiting:
            youngest = max(catalogue.since for catalogue in waiting)
            await _for_a_while(waiting, youngest + self._deadline - time.monotonic())

    async def settle_for(self, target: str) -> None:
        """Wait for the servers that could have a name, up to the deadline: somebody wants this very one."""
        parts = names.split(target)
        waiting = [catalogue for catalogue in self.catalogues if not catalogue.attempted]
        named = [catalogue for catalogue in waiting if parts and catalogue.server.name == parts[0]]
        if waiting:
            await _for_a_while(named or waiting, self._deadline)

    async def page(self, call: Call, *, private: bool) -> Page:
        """Return the page that a list request asks for; no server holds it up for longer than the deadline.

        Raises:
            ProtocolError: The cursor is not valid.
        """
        key = (call.method, private)
        nested = bool(call.hops)
        if (cached := self._page(key, call)) is not None and cached.fresh:
            return cached
        await self.settle(nested=nested)
        stale = [c.refresh(_KIND_OF[call.method]) for c in self.catalogues if c.expired(call.method)]
        if stale:
            await asyncio.wait(stale, timeout=REVALIDATION_SECONDS)
        if (cached := self._page(key, call)) is not None:
            return cached
        view = current = self.view
        via: Sequence[str] = ()
        shared = not nested
        if self.chain is not None and call.method in self.chain.lists:
            shown = await self._show(call.method, call)
            view = msgspec.structs.replace(view, items={**view.items, call.method: shown.items})
            if call.method in self.chain.per_principal:
                private, shared = True, False
        if nested:
            view, via = self._for_gateway(view, call), self._via()
        page = self._pager.page(view, call, self._order, private=private, via=via)
        if page.whole and shared and self._view is current:
            self._pages[key] = page
        return page

    async def given(self, items: Sequence[Item], call: Call) -> Sequence[Item]:
        """Return the whole list that a caller is given.

        Args:
            items: What the view has, or had, in this list.
            call: The list request.

        Raises:
            MetaMCPError: A middleware failed.
        """
        if self.chain is None or call.method not in self.chain.lists:
            return items
        if items is self.view.items[call.method]:
            return (await self._show(call.method, call)).items
        return await self.chain.shown(call.method, items, self._order, call)

    async def shows(self, call: Call, route: Route) -> bool:
        """Tell whether the middlewares leave what a call leads to in its list: nothing else is callable.

        Raises:
            ProtocolError: A middleware failed.
        """
        assert self.chain is not None
        method, key = _LIST_OF.get(call.method, ""), route.key
        if not method:
            method, key = self._listed_as(call.target)
        if method not in self.chain.lists:
            return True
        return (self._order.index(route.server.name), key) in (await self._show(method, call)).places

    async def revalidate(self, method: str) -> None:
        """Read again the stale lists in which an unknown name could be, within the deadline."""
        kind = next(kind for kind in LISTS_OF if method.startswith(kind))
        stale = [c.refresh(kind) for c in self.catalogues if any(c.expired(each) for each in LISTS_OF[kind])]
        if stale:
            await asyncio.wait(stale, timeout=self._deadline)

    def _page(self, key: tuple[str, bool], call: Call) -> Page | None:
        return None if "cursor" in call.params or call.hops else self._pages.get(key)

    def _listed_as(self, uri: str) -> tuple[str, str]:
        """Return the list, and the key in it, that lets a URI be read; no list, when only its scheme does."""
        view = self.view
        if (listed := view.resources.get(uri)) is not None:
            return "resources/list", listed.key
        for pattern, template in view.templates:
            if pattern.fullmatch(uri):
                return "resources/templates/list", template.key
        return "", ""

    async def _show(self, method: str, call: Call) -> Shown:
        assert self.chain is not None
        if (kept := self._shown.get(method)) is not None:
            return kept
        view = self.view
        items = await self.chain.shown(method, view.items[method], self._order, call)
        shown = Shown(items, frozenset(item.place for item in items))
        if method not in self.chain.per_principal and self._view is view:
            self._shown[method] = shown
        return shown

    def _warn_of(self, name: str) -> None:
        if name not in self._warned_of and len(self._warned_of) < MAX_WARNINGS:
            self._warned_of.add(name)
            logger.warning(
                "Namespace %s: the name of tool %s has %d characters; many models take %d, so give it a shorter one",
                self.config.name,
                name,
                len(name),
                MODELS_TAKE,
            )

    def _via(self) -> Sequence[str]:
        return sorted({self.node}.union(*(catalogue.via for catalogue in self.catalogues)))

    def _for_gateway(self, view: View, call: Call) -> View:
        """Return what another gateway is shown: not the servers that lead back to it."""
        looping: dict[str, str] = {}
        for catalogue in self.catalogues:
            if back := sorted(catalogue.via & set(call.hops)):
                looping[catalogue.server.name] = loop((*call.hops, self.node), back[0])
        for name in looping.keys() - self._looping:
            self._looping.add(name)
            logger.warning("Server %s is left out of what another gateway is shown. %s", name, looping[name])
        if not looping:
            return view
        left = [item for item in view.items[call.method] if self._order[item.place[0]] not in looping]
        unavailable = {**view.unavailable, **looping}
        return msgspec.structs.replace(view, items={**view.items, call.method: left}, unavailable=unavailable)


_LIST_OF = {"tools/call": "tools/list", "prompts/get": "prompts/list"}


async def _for_a_while(catalogues: Sequence[Catalogue], seconds: float) -> None:
    """Wait for all, at most ``seconds``; who is not done by then is no longer waited for, but not disturbed."""
    waiting = [asyncio.ensure_future(catalogue.ready()) for catalogue in catalogues]
    try:
        await asyncio.wait(waiting, timeout=max(seconds, 0))
    finally:
        for future in waiting:
            future.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
