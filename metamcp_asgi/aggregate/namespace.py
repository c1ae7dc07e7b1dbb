"""A namespace at work: the catalogues of its servers and what they currently publish together."""

import asyncio
import time
from collections.abc import Sequence

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.catalogue import LISTS_OF, Catalogue
from metamcp_asgi.aggregate.page import Page, Pager
from metamcp_asgi.aggregate.view import View, build
from metamcp_asgi.config import snapshot
from metamcp_asgi.protocol import names
from metamcp_asgi.upstream.request import Change

__all__ = ["REVALIDATION_SECONDS", "Running"]

REVALIDATION_SECONDS = 0.25
"""How long a list waits for the servers whose list is stale before it is answered from what is known."""

_KIND_OF: dict[str, Change] = {method: kind for kind, methods in LISTS_OF.items() for method in methods}


class Running:
    """One configured namespace with the running catalogues of its servers.

    Args:
        config: Its configuration.
        catalogues: The catalogues of its enabled servers, in its order.
        pager: Cuts lists into pages.
        deadline: Seconds that a list waits for a server that has never been read.
    """

    def __init__(
        self, config: snapshot.Namespace, catalogues: Sequence[Catalogue], pager: Pager, deadline: float
    ) -> None:
        self.config = config
        self.catalogues = catalogues
        self._pager = pager
        self._deadline = deadline
        self._order = [catalogue.server.name for catalogue in catalogues]
        self._view: View | None = None
        self._pages: dict[tuple[str, bool], Page] = {}

    @property
    def view(self) -> View:
        """What the namespace publishes now."""
        if self._view is None:
            self._view = build(self.config, self.catalogues)
        return self._view

    def outdate(self) -> None:
        """Have the view built anew when it is next needed: a catalogue has changed."""
        self._view = None
        self._pages.clear()

    async def settle(self) -> None:
        """Wait for servers that were never read, none longer than the deadline after its start."""
        waiting = [catalogue for catalogue in self.catalogues if not catalogue.attempted]
        if waiting:
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
        if (cached := self._page(key, call)) is not None and cached.fresh:
            return cached
        await self.settle()
        stale = [c.refresh(_KIND_OF[call.method]) for c in self.catalogues if c.expired(call.method)]
        if stale:
            await asyncio.wait(stale, timeout=REVALIDATION_SECONDS)
        if (cached := self._page(key, call)) is not None:
            return cached
        page = self._pager.page(self.view, call, self._order, private=private)
        if page.whole:
            self._pages[key] = page
        return page

    async def revalidate(self, method: str) -> None:
        """Read again the stale lists in which an unknown name could be, within the deadline."""
        kind = next(kind for kind in LISTS_OF if method.startswith(kind))
        stale = [c.refresh(kind) for c in self.catalogues if any(c.expired(each) for each in LISTS_OF[kind])]
        if stale:
            await asyncio.wait(stale, timeout=self._deadline)

    def _page(self, key: tuple[str, bool], call: Call) -> Page | None:
        return None if "cursor" in call.params else self._pages.get(key)


async def _for_a_while(catalogues: Sequence[Catalogue], seconds: float) -> None:
    """Wait for all, at most ``seconds``; who is not done by then is no longer waited for, but not disturbed."""
    waiting = [asyncio.ensure_future(catalogue.ready()) for catalogue in catalogues]
    try:
        await asyncio.wait(waiting, timeout=max(seconds, 0))
    finally:
        for future in waiting:
            future.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
