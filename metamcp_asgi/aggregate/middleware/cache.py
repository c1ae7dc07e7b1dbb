"""``cache``: answers again what was answered before.

Resources for as long as their server allows; tools where the operator says so, or where they say of themselves that
they only read and the operator trusts that. Errors are never kept, and what is private is kept for each principal apart
(CA-01 to CA-08).
"""

import time
from collections import OrderedDict
from collections.abc import Collection
from typing import Annotated, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from metamcp_asgi.aggregate.middleware.protocol import (
    AnyCall,
    Next,
    ResourceCall,
    ResourceResult,
    ToolCall,
    ToolResult,
)
from metamcp_asgi.protocol.jsonrpc import Members
from metamcp_asgi.protocol.outcome import Result

__all__ = ["Cache"]

SILENT: Final = frozenset({"traceparent", "tracestate", "baggage", "progressToken"})
"""Members of ``_meta`` that say nothing about what the answer is."""

Key: TypeAlias = tuple[str, ...]
R = TypeVar("R", bound=ToolResult | ResourceResult)


class CacheOptions(Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """What can be configured.

    ``ttl_seconds`` is how long results of tools are kept: of ``tools``, given as ``server__tool`` in the server's own
    names, and with ``trust_annotations`` of those that say that they are read-only and idempotent. Resources are kept
    for as long as their server allows, unless ``resources`` is off. ``max_bytes`` is for all together.
    """

    ttl_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 60.0
    tools: Collection[str] = ()
    trust_annotations: bool = False
    resources: bool = True
    max_bytes: Annotated[int, Meta(ge=1024)] = 16 * 1024 * 1024


class _Kept(Struct, frozen=True):
    """A result; ``expires`` is on the clock of ``time.monotonic``."""

    members: Members
    expires: float
    size: int


class Cache:
    """Keeps results, the most recently used ones within a number of bytes.

    Args:
        options: What is configured.
    """

    Options = CacheOptions

    def __init__(self, options: CacheOptions) -> None:
        self._options = options
        self._tools = frozenset(options.tools)
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._size = 0
        self._generation = 0

    def changed(self) -> None:
        """Forget everything: what the servers offer has changed (CA-05)."""
        self._kept.clear()
        self._size = 0
        self._generation += 1

    async def call_tool(self, call: ToolCall, next: Next[ToolCall, ToolResult]) -> ToolResult:  # noqa: A002
        """Call a tool, or answer what it answered before."""
        if call.route is None or not self._keeps(call) or (whose := _whose(call)) is None or _interactive(call):
            return await next(call)
        key = (*whose, *_about(call))
        if (kept := self._get(key)) is not None:
            return ToolResult(Result(b"", dict(kept.members)))
        generation = self._generation
        result = await next(call)
        if not result.is_error and not _interactive(call) and generation == self._generation:
            self._put(key, result.members, self._options.ttl_seconds)
        return result

    async def read_resource(
        self,
        call: ResourceCall,
        next: Next[ResourceCall, ResourceResult],  # noqa: A002
    ) -> ResourceResult:
        """Read a resource, or answer what was read before; its ``ttlMs`` is what remains."""
        if call.route is None or not self._options.resources or _interactive(call):
            return await next(call)
        about, whose = _about(call), _whose(call)
        for key in [("public", *about)] + ([(*whose, *about)] if whose is not None else []):
            if (kept := self._get(key)) is not None:
                left = max(0, int((kept.expires - time.monotonic()) * 1000))
                return ResourceResult(Result(b"", {**kept.members, "ttlMs": Raw(b"%d" % left)}))
        generation, started = self._generation, time.monotonic()
        result = await next(call)
        owner = ("public",) if result.scope == "public" else whose
        if result.ttl_ms > 0 and owner is not None and not _interactive(call) and generation == self._generation:
            self._put((*owner, *about), result.members, result.ttl_ms / 1000 - (time.monotonic() - started))
        return result

    def _keeps(self, call: ToolCall) -> bool:
        if f"{call.server}__{call.own_name}" in self._tools:
            return True
        if not self._options.trust_annotations:
            return False
        annotations = call.annotations
        return annotations.get("readOnlyHint") is True and annotations.get("idempotentHint") is True

    def _get(self, key: Key) -> _Kept | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.expires <= time.monotonic():
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return kept

    def _put(self, key: Key, members: Members, seconds: float) -> None:
        size = sum(len(name) + len(value) for name, value in members.items()) + sum(map(len, key)) + 200
        if size > self._options.max_bytes or seconds <= 0:
            return
        if key in self._kept:
            self._drop(key)
        # In their own bytes, so that the whole message that they came in is not kept with them.
        own = {name: Raw(bytes(value)) for name, value in members.items()}
        self._kept[key] = _Kept(own, time.monotonic() + seconds, size)
        self._size += size
        while self._size > self._options.max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        self._size -= self._kept.pop(key).size


def _whose(call: AnyCall) -> Key | None:
    """Return who may be given a private answer again; ``None`` if nobody."""
    assert call.route is not None
    sharing = call.route.server.config.sharing
    if sharing in ("auto", "shared"):
        return ("private", call.principal.id)
    # The server knows its callers apart, and what it answers may depend on what a session did before.
    if sharing == "call" or call.core.session is None:
        return None
    return ("private", call.principal.id, call.core.session)


def _about(call: AnyCall) -> Key:
    """Return everything that the answer may depend on (CA-02)."""
    meta = {name: value for name, value in call.core.meta.items() if name not in SILENT}
    params = {name: value for name, value in call.core.params.items() if name not in ("name", "uri")}
    more = msgspec.json.encode([params, meta], order="sorted").decode()
    return (call.method, call.server, call.own_name, more)


def _interactive(call: AnyCall) -> bool:
    """Tell whether the result depends on what the user said meanwhile (CA-02)."""
    return call.core.asked or call.core.inputs is not None
