"""One page of a published list, and the cursor to the next (eras.md 2.4).

A cursor names the last item that was given, so any process can go on from there even if the list has changed.
It is sealed to endpoint, method and principal.
"""

import bisect
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.view import Item, View
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, encode
from metamcp_asgi.protocol.meta import SERVER_INFO, UNAVAILABLE
from metamcp_asgi.protocol.revisions import LISTS
from metamcp_asgi.protocol.sealed import Sealer

__all__ = ["Cursor", "Page", "Pager"]

CURSOR_SECONDS = 3600
"""How long a cursor is good for."""
HOLE_MS = 1000
"""The ``ttlMs`` of a list from which a server is missing, so that clients do not keep the hole."""


class Cursor(Struct, frozen=True, array_like=True):
    """Where a list goes on. ``expires`` is in seconds since the epoch."""

    endpoint: str
    method: str
    principal: str
    server: str
    key: str
    expires: int


class Page(Struct, frozen=True, gc=False):
    """A page, ready to be joined for either era."""

    modern_head: bytes
    legacy_head: bytes
    modern_tail: bytes
    legacy_tail: bytes
    expires: float
    complete: bool
    whole: bool
    """Whether it is the only page, so that it is the same for everybody."""

    @property
    def fresh(self) -> bool:
        """Whether no server's list has to be read again before this is given out."""
        return self.complete and self.expires > time.monotonic()

    def modern(self) -> bytes:
        """Return the result for a modern client; ``ttlMs`` is what remains of the freshness (trap 10)."""
        ttl = max(0, int((self.expires - time.monotonic()) * 1000)) if self.expires < 1e12 else 3_600_000
        if not self.complete:
            ttl = min(ttl, HOLE_MS)
        return b"%b%d%b" % (self.modern_head, ttl, self.modern_tail)

    def legacy(self) -> bytes:
        """Return the result for a legacy client."""
        return self.legacy_head + self.legacy_tail


class Pager:
    """Cuts the lists of views into pages.

    Args:
        sealer: Seals cursors.
        size: How many items a page has at the most.
        server_info: Our own ``serverInfo``.
    """

    def __init__(self, sealer: Sealer[Cursor], size: int, server_info: dict[str, Any]) -> None:
        self._sealer = sealer
        self._size = size
        self._server_info = server_info

    def page(self, view: View, call: Call, order: Sequence[str], *, private: bool) -> Page:
        """Return the page that a list request asks for.

        Args:
            view: What the endpoint's namespace publishes.
            call: The request; its ``cursor`` says where to go on.
            order: The namespace's servers, in order.
            private: Whether the list must not be shared between principals.

        Raises:
            ProtocolError: ``INVALID_PARAMS``, the cursor is not one of ours for this list and principal.
        """
        items = view.items[call.method]
        start = self._start(items, call, order) if "cursor" in call.params else 0
        shown = items[start : start + self._size]
        more = start + self._size < len(items)
        head = {
            "resultType": "complete",
            "cacheScope": "private" if private or not view.public[call.method] else "public",
        }
        meta: dict[str, Any] = {}
        if view.unavailable:
            meta[UNAVAILABLE] = [{"server": name, "reason": reason} for name, reason in view.unavailable.items()]
        cursor = b""
        if more:
            place = shown[-1].place
            token = Cursor(
                call.endpoint,
                call.method,
                call.principal.id,
                order[place[0]],
                place[1],
                int(time.time()) + CURSOR_SECONDS,
            )
            cursor = b',"nextCursor":%b' % encode(self._sealer.seal(token))
        opening = b',"%b":[' % LISTS[call.method].encode()
        legacy_meta = b'{"_meta":%b%b' % (encode(meta), opening) if meta else b"{" + opening[1:]
        return Page(
            modern_head=b'%b,"_meta":%b,"ttlMs":'
            % (encode(head)[:-1], encode({**meta, SERVER_INFO: self._server_info})),
            legacy_head=legacy_meta,
            modern_tail=b"%b%b]%b}" % (opening, b",".join(item.modern for item in shown), cursor),
            legacy_tail=b"%b]%b}" % (b",".join(item.legacy for item in shown), cursor),
            expires=view.expires[call.method],
            complete=not view.unavailable,
            whole=not start and not more,
        )

    def _start(self, items: Sequence[Item], call: Call, order: Sequence[str]) -> int:
        raw = call.params["cursor"]
        try:
            cursor = self._sealer.open(msgspec.json.decode(raw, type=str))
        except msgspec.DecodeError:
            cursor = None
        if (
            cursor is None
            or (cursor.endpoint, cursor.method, cursor.principal) != (call.endpoint, call.method, call.principal.id)
            or cursor.expires < time.time()
            or cursor.server not in order
        ):
            raise ProtocolError(INVALID_PARAMS, "Invalid cursor: restart the list without one")
        return bisect.bisect_right(items, (order.index(cursor.server), cursor.key), key=lambda item: item.place)
