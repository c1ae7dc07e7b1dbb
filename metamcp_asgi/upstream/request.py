"""What is asked of a server, in the server's own names; era-neutral, so that either leg can send it."""

from collections.abc import Callable
from typing import Any, Final, Literal, Protocol, TypeAlias

from msgspec import UNSET, Raw, Struct, UnsetType, ValidationError

from metamcp_asgi.errors import UpstreamUnavailable
from metamcp_asgi.protocol.hops import Hops
from metamcp_asgi.protocol.jsonrpc import Members, Message, decode_members
from metamcp_asgi.protocol.outcome import Outcome

__all__ = [
    "ACKNOWLEDGED",
    "CHANGES",
    "Change",
    "Events",
    "Leg",
    "OnProgress",
    "Peer",
    "Request",
    "Session",
    "SessionLost",
    "progress_of",
]

OnProgress: TypeAlias = Callable[[Members], None]
"""Gets the members of a progress notification, without its token."""
Change: TypeAlias = Literal["tools", "prompts", "resources"]

CHANGES: Final[dict[str, Change]] = {
    "notifications/tools/list_changed": "tools",
    "notifications/prompts/list_changed": "prompts",
    "notifications/resources/list_changed": "resources",
}
"""The notifications that say that a list has changed."""


ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
"""Opens a listen stream. On every stream but the first it means that changes may have been missed before."""


class Events(Protocol):
    """Who wants to know what happens on a session outside of its requests."""

    def changed(self, kind: Change) -> None:
        """A list of the server has changed, or may have while nobody listened."""

    def lost(self, reason: str) -> None:
        """The session is over; requests in flight have failed with the same reason."""


class Request(Struct, gc=False):
    """One request to a server.

    ``params`` has no ``_meta``; ``meta`` only what is meant for the server (``meta.end_to_end``). ``name`` is the
    tool, prompt or URI that a modern request mirrors in ``Mcp-Name``; ``param_headers`` are its ``Mcp-Param-*`` lines.
    ``hops`` are the gateways that it comes through, ourselves included.
    """

    method: str
    params: Members
    meta: Members = {}
    name: str | None = None
    param_headers: bytes = b""
    on_progress: OnProgress | None = None
    hops: Hops | None = None


class Peer(Struct, frozen=True):
    """What a server said of itself when the connection was opened."""

    era: Literal["modern", "legacy"]
    revision: str
    capabilities: dict[str, Any] = {}
    server_info: dict[str, Any] = {}
    instructions: str = ""

    def changes(self) -> list[Change]:
        """Return the kinds of list of which the server announces changes."""
        kinds: tuple[Change, ...] = ("tools", "prompts", "resources")
        return [kind for kind in kinds if _announces(self.capabilities.get(kind))]


class SessionLost(UpstreamUnavailable):
    """The server no longer knows the session, so it has not executed the request: a new session may replay it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, sent=False)


class Leg(Protocol):
    """How one era writes a request and reads its response."""

    def params(self, request: Request, token: int) -> bytes:
        """Return the request's params in bytes; ``token`` is the progress token, used where progress is wanted."""

    def outcome(self, message: Message) -> Outcome:
        """Return what a response says."""


class Session(Protocol):
    """One usable connection to a server, whatever its transport."""

    peer: Peer
    listening: bool
    """Whether a stream is open on which the server can tell of changes."""

    async def send(self, request: Request) -> Outcome:
        """Send a request and return its outcome.

        Cancelling it cancels the request upstream.

        Raises:
            UpstreamError: The server could not be asked, or what it said is not MCP.
        """

    async def aclose(self) -> None:
        """End the session at the server, too."""


def progress_of(params: Raw | UnsetType) -> tuple[int | None, Members]:
    """Return the token and the other members of a progress notification; a token that is no integer is not ours."""
    try:
        members = decode_members(params) if params is not UNSET else {}
    except ValidationError:
        return None, {}
    token = bytes(members.pop("progressToken", b""))
    return (int(token) if token.isdigit() else None), members


def _announces(capability: object) -> bool:
    return isinstance(capability, dict) and capability.get("listChanged") is True
