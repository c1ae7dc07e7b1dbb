"""One client request on its way through the core."""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from metamcp_asgi.config.snapshot import Principal
from metamcp_asgi.protocol.capabilities import NOTHING, Capabilities
from metamcp_asgi.protocol.hops import Hops
from metamcp_asgi.protocol.jsonrpc import Members
from metamcp_asgi.upstream.request import Ask, OnLog, OnProgress
from metamcp_asgi.upstream.sharing import Affinity

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
    ``page_done`` tells a legacy client, also after the call, that its user is through with a page, by the
    ``elicitationId`` with which it was sent there.
    ``on_log`` gets the log messages of the call, from ``log_level`` upwards; without a level, what the server decides.
    A modern client that names no level has no ``on_log``.
    ``trace`` are the header lines that continue the client's trace, as ``meta`` does, too; ``parent`` is the client's
    own span.
    ``asked`` says that the client was asked while it waited.
    ``digest`` is that of the params as the client sent them, once somebody needed it.
    ``server`` and ``name`` tell those who count which server the call led to, and its own name of the tool or prompt.

    ``task`` are the milliseconds for which a client of 2025-11-25 wants its call kept as a task; ``None`` for no task.
    ``begun`` is there when the call is kept as a task of ours: it is called once the call's server has taken it on.
    ``drives`` says that a task on which its server insists is followed to its end within the call.
    ``of_task`` names the task at a legacy server that the requests of the call are about.
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
    page_done: Callable[[str], None] | None = None
    asked: bool = False
    digest: bytes = b""
    server: str = ""
    name: str = ""
    parent: str = ""
    trace: bytes = b""
    task: int | None = None
    begun: Callable[[], None] | None = None
    of_task: str | None = None
    drives: bool = True

    @property
    def affinity(self) -> Affinity:
        """On whose behalf servers are asked."""
        principal = None if self.principal.kind == "anonymous" else self.principal.id
        return Affinity(principal, self.session, self.of_task, self.principal.user)
