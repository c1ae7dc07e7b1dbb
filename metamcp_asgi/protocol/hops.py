"""Which gateways a request came through, so that gateways that lead to each other are found and named.

A hop is ``instance/namespace``. The list of them is on every request to a server, in ``_meta``, which bridges to stdio
keep, and in a header, which others keep. What a gateway answers to another one's list request says where the list comes
from (``VIA``). An extension of ours: the specification has nothing for it.
"""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from msgspec import Raw, Struct

from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, encode

__all__ = ["HEADER", "HOPS", "MAX_HOPS", "VIA", "Hops", "comes_from", "hops_of", "loop", "read", "reading"]

HOPS: Final = "io.github.metamcp-asgi/hops"
VIA: Final = "io.github.metamcp-asgi/via"
"""On the list results that one gateway gives another: every namespace that the list is made of."""
HEADER: Final = b"metamcp-hops"
MAX_HOPS: Final = 8
"""How many gateways a call may come through."""
ANY: Final = "*"
"""In the place of a namespace: any of the instance's."""

_MAX_READ: Final = 32
_MAX_LENGTH: Final = 300


class Hops(Struct, frozen=True):
    """The hops of a request to a server, ready to be written: as the first member of ``_meta``, and as a header."""

    path: tuple[str, ...]
    value: Raw
    opening: bytes
    line: bytes


def hops_of(path: Sequence[str]) -> Hops:
    """Return hops, in the order in which they were passed."""
    value = encode(path)
    return Hops(tuple(path), Raw(value), b'{"%b":%b' % (HOPS.encode(), value), b"Metamcp-Hops: %b\r\n" % value)


def reading(instance: str, namespaces: Sequence[str]) -> Hops:
    """Return the hops of a request for a server's lists, which are read for all of these namespaces at once."""
    named = namespaces if len(namespaces) <= _MAX_READ else [ANY]
    return hops_of([f"{instance}/{name}" for name in named])


def read(field: Raw | None, header: bytes | None) -> tuple[str, ...]:
    """Return the hops that a request came through.

    Args:
        field: What its ``_meta`` says.
        header: What its header says, which counts when ``_meta`` says nothing.

    Raises:
        ProtocolError: It is no list of hops.
    """
    value = field if field is not None else header
    if value is None:
        return ()
    try:
        path = msgspec.json.decode(value, type=tuple[str, ...])
    except msgspec.DecodeError:
        path = None
    if path is None or len(path) > _MAX_READ or any(len(hop) > _MAX_LENGTH for hop in path):
        raise ProtocolError(INVALID_PARAMS, f"{HOPS} must be a list of at most {_MAX_READ} texts")
    return path


def comes_from(node: str, path: Collection[str]) -> bool:
    """Tell whether a namespace is among the hops of a request."""
    return node in path or f"{node.partition('/')[0]}/{ANY}" in path


def loop(path: Sequence[str], node: str) -> str:
    """Return the sentence that names a loop: the hops, and the namespace where they come back to."""
    return f"Loop of gateways: {' > '.join((*path, node))}"
