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
from metamcp_asgi.aggregate.published import Item
from metamcp_asgi.aggregate.view import View
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol import downgrade
from metamcp_asgi.protocol.hops import VIA
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, encode
from metamcp_asgi.protocol.meta import SERVER_INFO, UNAVAILABLE
from metamcp_asgi.protocol.revisions import LATEST_LEGACY, LISTS
from metamcp_asgi.protocol.sealed import Sealer

__all__ = ["Cursor", "Page", "Pager"]

CURSOR_SECONDS = 3600
"""How long a cursor is good for."""
LONGEST_MS = 3_600_000
"""The longest ``ttlMs`` that is given out."""
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
    """A page, ready to be sent to either era: a small head, and a tail that also closes the response around it.

    ``legacy_tail`` is for the latest legacy revision; ``tail`` knows those for older ones, of which each is made when
    somebody first wants it. ``expires`` is on the clock of ``time.monotonic``. ``whole`` tells that it is the only
    page, so that it is the same for everybody.
    """

    method: str
    items: Sequence[Item]
    end: bytes
    legacy_head: bytes
    legacy_tail: bytes
    modern_tail: bytes
    expires: float
    complete: bool
    whole: bool
    before_ttl: bytes
    after_ttl: bytes
    older: dict[str, bytes] = {}

    def tail(self, revision: str) -> bytes:
        """Return the tail for a client of a legacy revision (eras.md 2.17)."""
        if revision == LATEST_LEGACY:
            return self.legacy_tail
        tail = self.older.get(revision)
        if tail is None:
            lines = [downgrade.item(item.legacy, self.method, revision) for item in self.items]
            tail = self.older[revision] = b",".join(lines) + self.end
        return tail

    @property
    def fresh(self) -> bool:
        """Whether no server's list has to be read again before this is given out."""
        return self.complete and self.expires > time.monotonic()

    def modern_head(self) -> bytes:
        """Return the head for a modern client; its ``ttlMs`` is what remains of the freshness (trap 10)."""
        remaining = min((self.expires - time.monotonic()) * 1000, LONGEST_MS if self.complete else HOLE_MS)
        ttl = max(0, int(remaining))
        return b"%b%d%b" % (self.before_ttl, ttl, self.after_ttl)


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

    def page(self, view: View, call: Call, order: Sequence[str], *, private: bool, via: Sequence[str] = ()) -> Page:
        """Return the page that a list request asks for.

        Args:
            view: What the endpoint's namespace publishes.
            call: The request; its ``cursor`` says where to go on.
            order: The namespace's servers, in order.
            private: Whether the list must not be shared between principals.
            via: The namespaces that the list is made of, for another gateway.

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
        if via:
            meta[VIA] = via
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
        opening = b'"%b":[' % LISTS[call.method].encode()
        signed = encode({**meta, SERVER_INFO: self._server_info})
        end = b"]%b}}" % cursor
        return Page(
            method=call.method,
            items=shown,
            end=end,
            legacy_head=b'{"_meta":%b,%b' % (encode(meta), opening) if meta else b"{" + opening,
            legacy_tail=b",".join([item.legacy for item in shown]) + end,
            modern_tail=b",".join([item.modern for item in shown]) + end,
            expires=view.expires[call.method],
            complete=not view.unavailable,
            whole=not start and not more,
            before_ttl=b'%b,"_meta":%b,"ttlMs":' % (encode(head)[:-1], signed),
            after_ttl=b"," + opening,
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
