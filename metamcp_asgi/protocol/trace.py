"""Trace context: a request that is part of a trace stays part of it on its way to a server (TR-01).

Source: W3C Trace Context 2, "traceparent Header" and "Mutating the traceparent Field"; W3C Baggage; SEP-414, which has
the same values in ``_meta``. What is not as these say is left out, and the server begins a trace of its own.
"""

import os
import re
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from metamcp_asgi.protocol.jsonrpc import Members, encode

__all__ = ["HEADERS", "carried", "onward", "parent_of", "reparented"]

HEADERS: Final = frozenset({b"traceparent", b"tracestate", b"baggage"})

_PARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?")
_LINE: Final = re.compile(r"[\x20-\x7e]*")
_LONGEST: Final = {"tracestate": 512, "baggage": 8192}
"""Characters that everybody has to pass on of a member; longer ones are left out."""


def carried(fields: Members, headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether a request brings any trace context, in its ``_meta`` or its headers."""
    return "traceparent" in fields or b"traceparent" in headers or "baggage" in fields or "tracestate" in fields


def parent_of(fields: Members, headers: Mapping[bytes, bytes]) -> str:
    """Return the client's own span as ``traceparent`` has it, in ``_meta`` or else in the headers; empty for none.

    Args:
        fields: The request's ``_meta``, before ``onward`` changes it.
        headers: The first value of each header by its lower-case name.
    """
    told = _text(fields.get("traceparent") or _json(headers.get(b"traceparent")))
    return told if _PARENT.fullmatch(told) else ""


def reparented(lines: bytes, parent: str) -> bytes:
    """Return header lines of ``onward`` with another parent, or with the first one.

    Args:
        lines: The lines.
        parent: The new value of ``traceparent``.
    """
    kept = [line for line in lines.splitlines(keepends=True) if not line.startswith(b"traceparent:")]
    return b"traceparent: %b\r\n" % parent.encode() + b"".join(kept)


def onward(fields: Members, headers: Mapping[bytes, bytes], *, baggage: bool) -> bytes:
    """Put the trace context for the server into a request's ``_meta``.

    The server's parent is a span of ours, in the same trace. What ``_meta`` says counts before the headers.

    Args:
        fields: The request's ``_meta``, which is changed.
        headers: The first value of each header by its lower-case name.
        baggage: Whether what the client says of itself in ``baggage`` is told to servers.

    Returns:
        The same as header lines.
    """
    given = fields if "traceparent" in fields else {name: _json(headers.get(name.encode())) for name in _NAMES}
    told = {name: _text(given.get(name)) for name in _NAMES}
    for name in _NAMES:
        fields.pop(name, None)
    parent = _PARENT.fullmatch(told["traceparent"])
    if parent is None or (told["traceparent"].startswith("00") and len(told["traceparent"]) > 55):
        return b""
    kept = {"traceparent": f"00-{parent[1]}-{os.urandom(8).hex()}-{parent[2]}"}
    for name in ("tracestate", "baggage") if baggage else ("tracestate",):
        value = told[name].strip()
        if value and len(value) <= _LONGEST[name] and _LINE.fullmatch(value):
            kept[name] = value
    fields.update((name, Raw(encode(value))) for name, value in kept.items())
    return b"".join(b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in kept.items())


_NAMES: Final = ("traceparent", "tracestate", "baggage")


def _json(value: bytes | None) -> Raw | None:
    return None if value is None else Raw(encode(value.decode("latin-1").strip()))


def _text(value: Raw | None) -> str:
    try:
        return "" if value is None else msgspec.json.decode(value, type=str)
    except msgspec.DecodeError:
        return ""
