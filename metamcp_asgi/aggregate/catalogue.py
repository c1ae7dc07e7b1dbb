"""What one server offers: its tools, prompts, resources and templates, read page by page and kept fresh.

Stale lists are served while they are read again; a list is read anew when the server says that it changed, when
its time is over and somebody asks, and when the server comes back. Definitions stay in the server's own bytes.
"""

import asyncio
import bisect
import logging
import math
import time
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from metamcp_asgi.errors import UpstreamError, UpstreamProtocolError
from metamcp_asgi.protocol.headers import ParamHeader, param_headers
from metamcp_asgi.protocol.hops import VIA, Hops
from metamcp_asgi.protocol.jsonrpc import METHOD_NOT_FOUND, Members, decode_members, encode
from metamcp_asgi.protocol.outcome import Failure, Result
from metamcp_asgi.protocol.revisions import LISTS
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.interface import Server
from metamcp_asgi.upstream.request import Change, Request

__all__ = ["Catalogue", "Entry", "Listing"]

logger = logging.getLogger("metamcp.catalogue")

LISTS_OF: Final[dict[Change, tuple[str, ...]]] = {
    "tools": ("tools/list",),
    "prompts": ("prompts/list",),
    "resources": ("resources/list", "resources/templates/list"),
}
"""The lists that a capability promises and that its change concerns."""

_KEY: Final = {
    "tools/list": "name",
    "prompts/list": "name",
    "resources/list": "uri",
    "resources/templates/list": "uriTemplate",
}

ANNOUNCED_FRESH: Final = 300.0
"""Seconds that a legacy server's list counts as fresh while the server tells of its changes."""
SILENT_FRESH: Final = 5.0
"""The same for a legacy server that does not: the list is read again on the next access."""
LEAST_FRESH: Final = 1.0
"""A list is not read again sooner than this many seconds, even if its server gives it no time at all."""
MAX_PAGES: Final = 1000
MAX_ENTRIES: Final = 100_000


class Entry(Struct, frozen=True, gc=False):
    """One tool, prompt, resource or template, keyed by its name, URI or URI template."""

    key: str
    members: Members
    params: tuple[ParamHeader, ...] = ()


class Listing(Struct, frozen=True):
    """One list of one server.

    ``expires`` is on the clock of ``time.monotonic``; ``via`` are the namespaces that it is made of, where the
    server is another gateway.
    """

    entries: tuple[Entry, ...] = ()
    expires: float = 0.0
    public: bool = False
    via: frozenset[str] = frozenset()


_NOTHING: Final = dict.fromkeys(LISTS, Listing(expires=math.inf, public=True))
"""The lists of a server that offers none."""


class Catalogue:
    """The lists of one server.

    Args:
        server: The server.
        changed: Is called when a list has another content, or the server came or went.
        stale_seconds: How long the lists of a lost server are still served.
    """

    def __init__(self, server: Server, changed: Callable[["Catalogue"], None], stale_seconds: float) -> None:
        self.server = server
        self.lists: dict[str, Listing] | None = None
        self.error = ""
        self.attempted = False
        """Whether a first reading has ended, well or badly: nothing but time will tell more."""
        self.since = time.monotonic()
        self.hops: Hops | None = None
        """On whose behalf the lists are read; set by the owner."""
        self._changed = changed
        self._stale_seconds = stale_seconds
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._read_at: dict[str, float] = {}
        self._ended_at = 0.0
        self._forget: asyncio.TimerHandle | None = None
        self._again: set[Change] = set()
        self._tasks = Tasks()

    def happened(self, happening: Literal["ready", "lost"] | Change) -> None:
        """Take what the server's connection tells."""
        if happening == "lost":
            self.error, self.attempted = self.server.error, True
            if self.lists is not None and self._forget is None:
                self._forget = asyncio.get_running_loop().call_later(self._stale_seconds, self._drop)
            self._changed(self)
        elif happening == "ready":
            if self._forget is not None:
                self._forget.cancel()
                self._forget = None
            self.refresh()
        elif self._reading:
            # What is being read now may be from before the change.
            self._again.add(happening)
        else:
            self.refresh(happening)

    def refresh(self, *kinds: Change) -> asyncio.Task[None]:
        """Read the lists of these kinds again, or all of them; one reading serves everybody who asks meanwhile."""
        name = " ".join(kinds)
        task = self._reading.get(name)
        if task is None:
            task = self._reading[name] = self._tasks.start(
                self._read(name, kinds or tuple(LISTS_OF)), f"read the lists of {self.server.name}"
            )
        return task

    async def ready(self) -> None:
        """Wait until the lists have been read, or the server has failed."""
        await self.server.settled()
        if not self.attempted and self.server.state == "ready":
            await asyncio.shield(self.refresh())

    def expired(self, method: str) -> bool:
        """Tell whether a list should be read again, now that somebody asks for it."""
        if self.server.state != "ready":
            return False
        now = time.monotonic()
        if self.lists is None:
            return now - self._ended_at >= SILENT_FRESH
        return self.lists[method].expires <= now and now - self._read_at.get(method, 0.0) >= LEAST_FRESH

    def find_tool(self, name: str) -> Entry | None:
        """Return the tool of that name, in the server's own names."""
        entries = self.lists["tools/list"].entries if self.lists is not None else ()
        place = bisect.bisect_left(entries, name, key=lambda entry: entry.key)
        return entries[place] if place < len(entries) and entries[place].key == name else None

    @property
    def via(self) -> frozenset[str]:
        """The namespaces of gateways that the server's lists are made of."""
        return frozenset[str]().union(*(listing.via for listing in self.lists.values())) if self.lists else frozenset()

    @property
    def unavailable(self) -> str:
        """Why the server's lists are missing or may be outdated; empty when all is well."""
        if self.server.state == "ready" and self.lists is not None:
            return self.error
        return self.server.error or self.error or "is starting"

    async def aclose(self) -> None:
        """Stop reading."""
        if self._forget is not None:
            self._forget.cancel()
        await self._tasks.aclose()

    def _drop(self) -> None:
        self._forget, self.lists = None, None
        self._changed(self)

    async def _read(self, name: str, kinds: tuple[Change, ...]) -> None:
        try:
            if self.lists is None:
                kinds = tuple(LISTS_OF)
            capabilities = self.server.peer.capabilities if self.server.peer is not None else {}
            methods = [method for kind in kinds if kind in capabilities for method in LISTS_OF[kind]]
            read = await asyncio.gather(*map(self._read_list, methods))
        except UpstreamError as error:
            self.error = str(error).removeprefix(f"Server {self.server.name!r} ")
            logger.warning("%s; its lists could not be read", error, extra={"server": self.server.config.known_as})
        else:
            # Only what was read here is replaced: other lists may have been read meanwhile.
            asked = {method: _NOTHING[method] for kind in kinds for method in LISTS_OF[kind]}
            self.lists = {**(self.lists or {}), **asked, **dict(zip(methods, read, strict=True))}
            self.error = ""
        finally:
            del self._reading[name]
            self._ended_at = time.monotonic()
        self.attempted = True
        if self._again and not self._reading:
            kinds, self._again = tuple(self._again), set()
            self.refresh(*kinds)
        self._changed(self)

    async def _read_list(self, method: str) -> Listing:
        entries: dict[str, Entry] = {}
        cursor: Raw | None = None
        seen: set[bytes] = set()
        expires, public, via = math.inf, True, frozenset[str]()
        for _ in range(MAX_PAGES):
            started = time.monotonic()
            params = {} if cursor is None else {"cursor": cursor}
            outcome = await self.server.send(Request(method, params, hops=self.hops))
            if isinstance(outcome, Failure):
                if outcome.code == METHOD_NOT_FOUND:
                    break
                raise UpstreamProtocolError(f"refused {method}: {outcome.message[:200]} ({outcome.code})")
            if not isinstance(outcome, Result):
                raise UpstreamProtocolError(f"asked for input in answer to {method}")
            members = outcome.split()
            page_expires, page_public = self._freshness(members, started)
            expires, public = min(expires, page_expires), public and page_public
            via |= _via(members)
            for entry in self._entries(method, members):
                entries.setdefault(entry.key, entry)
            cursor = members.get("nextCursor")
            # A cursor may be the empty string (PA-01); only null or absence ends the list.
            if cursor is None or bytes(cursor) in (b"null", *seen) or len(entries) > MAX_ENTRIES:
                break
            seen.add(bytes(cursor))
        self._read_at[method] = time.monotonic()
        return Listing(tuple(sorted(entries.values(), key=lambda entry: entry.key)), expires, public, via)

    def _freshness(self, members: Members, started: float) -> tuple[float, bool]:
        peer = self.server.peer
        if peer is not None and peer.era == "legacy":
            return started + (ANNOUNCED_FRESH if self.server.announces else SILENT_FRESH), False
        ttl = _decode(members.get("ttlMs"), 0)
        ttl = ttl if isinstance(ttl, int | float) and ttl > 0 else 0
        return started + ttl / 1000, _decode(members.get("cacheScope"), "") == "public"

    def _entries(self, method: str, members: Members) -> list[Entry]:
        try:
            items = msgspec.json.decode(members.get(LISTS[method], Raw(b"[]")), type=list[Raw])
        except msgspec.DecodeError:
            raise UpstreamProtocolError(f"answered {method} with something that is not a list") from None
        entries = []
        for item in items:
            try:
                definition = decode_members(item)
                key = msgspec.json.decode(definition[_KEY[method]], type=str)
                entry = self._tool(key, definition) if method == "tools/list" else Entry(key, definition)
            except (msgspec.DecodeError, KeyError, ValueError) as error:
                server = self.server.config
                extra = {"server": server.known_as}
                logger.warning("Server %s: an item of %s is left out: %s", server.name, method, error, extra=extra)
                continue
            entries.append(entry)
        return entries

    def _tool(self, name: str, definition: Members) -> Entry:
        schema = definition.get("inputSchema", Raw(b"{}"))
        if b'"x-mcp-header"' not in bytes(schema):
            return Entry(name, definition)
        decoded = msgspec.json.decode(schema)
        try:
            return Entry(name, definition, param_headers(decoded))
        except ValueError as error:
            peer = self.server.peer
            if peer is not None and peer.era == "modern" and self.server.config.type != "stdio":
                raise ValueError(f"tool {name!r}: {error}") from None
            # Such a server never meant the annotation for HTTP, where we publish it (eras.md 2.4).
            definition["inputSchema"] = Raw(encode(_without(decoded, "x-mcp-header")))
            return Entry(name, definition)


def _via(members: Members) -> frozenset[str]:
    meta = members.get("_meta", b"")
    if VIA.encode() not in bytes(meta):
        return frozenset()
    try:
        return frozenset(msgspec.json.decode(decode_members(meta)[VIA], type=list[str]))
    except (msgspec.DecodeError, KeyError):
        return frozenset()


def _decode(value: Raw | None, default: Any) -> Any:
    return default if value is None else msgspec.json.decode(value)


def _without(value: Any, member: str) -> Any:
    if isinstance(value, dict):
        return {name: _without(item, member) for name, item in value.items() if name != member}
    return [_without(item, member) for item in value] if isinstance(value, list) else value
