"""One client request on its way through the core."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from metamcp_asgi.config.snapshot import Principal
from metamcp_asgi.protocol.hops import Hops
from metamcp_asgi.protocol.jsonrpc import Members
from metamcp_asgi.upstream.request import OnProgress

__all__ = ["Call"]


class Call(Struct, gc=False):
    """A request in the semantics of the modern revisions, in the names that the endpoint publishes.

    ``target`` is the tool, prompt or URI that it is about. ``params`` has no ``_meta``; ``meta`` only what is meant for
    the server. ``mirrored`` holds the ``Mcp-Param-*`` headers of a modern client, and is ``None`` for a legacy
    one, which sends none. ``session`` tells apart the client sessions of one principal, where the era has sessions.
    ``hops`` are the gateways that it came through, ``onward`` what a server is told of them. ``arguments_rewritten``
    says that the arguments are no longer those that the client mirrored.
    """

    endpoint: str
    principal: Principal
    method: str
    params: Members
    meta: Members = {}
    target: str = ""
    session: str | None = None
    mirrored: Mapping[bytes, Sequence[bytes]] | None = None
    on_progress: OnProgress | None = None
    hops: tuple[str, ...] = ()
    onward: Hops | None = None
    arguments_rewritten: bool = False
