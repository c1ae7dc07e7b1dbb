"""One client request on its way through the core."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from metamcp_asgi.config.snapshot import Principal
from metamcp_asgi.protocol.capabilities import NOTHING, Capabilities
from metamcp_asgi.protocol.hops import Hops
from metamcp_asgi.protocol.jsonrpc import Members
from metamcp_asgi.upstream.request import Ask, OnLog, OnProgress

__all__ = ["Call", "Inputs"]


class Inputs(Struct, gc=False):
    """What a modern client brings along when it repeats a call that asked for input.

    ``responses`` are its answers by key, each a result as JSON; ``state`` is what it was given for the repetition.
    """

    responses: Members = {}
    state: str | None = None


class Call(Struct, gc=False):
    """A request in the semantics of the modern revisions, in the names that the endpoint publishes.

    ``target`` is the tool, prompt or URI that it is about. ``params`` has no ``_meta``; ``meta`` only what is meant for
    the server. ``mirrored`` holds the ``Mcp-Param-*`` headers of a modern client, and is ``None`` for a legacy
    one, which sends none. ``session`` tells apart the client sessions of one principal, where the era has sessions.
    ``hops`` are the gateways that it came through, ``onward`` what a server is told of them. ``arguments_rewritten``
    says that the arguments are no longer those that the client mirrored.

    ``capabilities`` are what the client declared that it can be asked for. ``ask`` puts a question to a legacy client
    while it waits; a modern one has none, but is answered with ``InputRequired``, and repeats its call with ``inputs``.
    ``on_log`` gets the log messages of the call, from ``log_level`` upwards; without a level, what the server decides.
    A modern client that names no level has no ``on_log``.
    ``trace`` are the header lines that continue the client's trace, as ``meta`` does, too.
    ``asked`` says that the client was asked while it waited.
    ``digest`` is that of the params as the client sent them, once somebody needed it.
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
    capabilities: Capabilities = NOTHING
    ask: Ask | None = None
    inputs: Inputs | None = None
    log_level: str | None = None
    on_log: OnLog | None = None
    asked: bool = False
    digest: bytes = b""
    trace: bytes = b""
