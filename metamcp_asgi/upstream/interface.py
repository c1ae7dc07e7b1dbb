"""What everybody above needs of a server, wherever it runs: ``server.Server``, or ``companion.remote.RemoteServer``."""

from typing import Literal, Protocol

from metamcp_asgi.config import snapshot
from metamcp_asgi.protocol.outcome import Failure, Outcome
from metamcp_asgi.upstream.happening import Completed, Happening, Updated
from metamcp_asgi.upstream.request import Peer, Request
from metamcp_asgi.upstream.sharing import Affinity

__all__ = ["Completed", "Happening", "Server", "Updated"]


class Server(Protocol):
    """One configured server, from ``start`` to ``aclose``; the methods are described at ``server.Server``."""

    config: snapshot.Server
    name: str
    state: Literal["starting", "ready", "failed"]
    error: str
    """Why the server is not ready, as it goes after its name."""
    stderr: str
    """The last lines of a process that could not be talked to. May hold secrets; for operators."""
    peer: Peer | None
    """What the server last said of itself."""

    @property
    def announces(self) -> bool:
        """Whether the server says when its lists change, and we hear it."""

    def start(self) -> None:
        """Make the server usable, and see that it stays so."""

    async def aclose(self) -> None:
        """End all use of it."""

    async def retire(self) -> None:
        """The same, once its calls in flight have ended."""

    async def reset(self, once: str = "") -> None:
        """Forget what is known of it, and begin anew.

        Args:
            once: A name of this reset; where several processes use the same server, one of a name is enough.
        """

    async def settled(self) -> None:
        """Wait until it is ready or has failed."""

    async def send(self, request: Request, affinity: Affinity | None = None) -> Outcome:
        """Send a request and return its outcome.

        Raises:
            UpstreamError: The server could not be asked; the message names the server.
        """

    async def subscribe(self, uri: str) -> Failure | None:
        """Have the listener told of updates of a resource.

        Raises:
            UpstreamError: The server could not be asked; the message names the server.
        """

    async def unsubscribe(self, uri: str) -> None:
        """End one subscription."""

    def roots_changed(self, affinity: Affinity) -> None:
        """Tell the server, in the sessions of a caller, that it has other roots now."""
